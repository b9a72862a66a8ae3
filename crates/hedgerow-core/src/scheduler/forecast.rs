//! Forecast of when each request will have its last token: a simulation of the steps to come, each composed by
//! [`super::compose`].
//!
//! An instance models how much work there is, but not that a prompt delays the decodes beside it, or that the
//! number of running requests is limited. So in continuous batching a request is admitted only if the forecast
//! confirms it.

use super::compose::{ComposedStep, Composer};
use super::reduce::Candidate;
use super::sequence::Sequence;
use super::view::{InFlight, View};
use crate::engine::Step;
use crate::model::request::{Request, Urgency};
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;
use crate::quantization::PrecisionIndex;

#[cfg(test)]
mod tests;

/// What is forecast of one request.
#[derive(Clone, Debug)]
pub(super) struct SequenceForecast {
    urgency: Urgency,
    due: Due,
    /// Whether it runs already.
    pub(super) is_running: bool,
    /// When it has its first token.
    first: Option<Span>,
    /// When it has its last token.
    finish: Option<Span>,
}

/// The targets that a request must meet.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// Time left for its last token; `None` without a deadline.
    slack: Option<Span>,
    /// Time left for its first token, if it has a TTFT target and no token yet.
    first: Option<Span>,
    /// The most time from its first token to its last, and how much of it has passed, if it has a TPOT target.
    decoding: Option<(Span, Span)>,
}

impl SequenceForecast {
    fn new(view: &View<'_>, request: &Request, slack: Option<Span>, first_token: Option<Instant>) -> Self {
        let gaps = request.expected_output.0.saturating_sub(1);
        let passed = first_token.map_or(Span::ZERO, |at| view.state.now.since(at));
        let until = |ttft: Span| (request.arrived + ttft).since(view.state.now);
        let due = Due {
            slack,
            first: request.ttft.filter(|_| first_token.is_none()).map(until),
            decoding: request.tpot.map(|tpot| (tpot * gaps, passed)),
        };
        let first = first_token.map(|_| Span::ZERO);
        Self { urgency: request.urgency(), due, is_running: false, first, finish: None }
    }

    /// Whether it has a deadline or target, so that it is not best effort.
    fn has_target(&self) -> bool {
        self.urgency.due().is_some()
    }

    /// Whether it misses its deadline or one of its targets.
    pub(super) fn is_late(&self) -> bool {
        let Some(finish) = self.finish else { return self.has_target() };
        let Due { slack, first, decoding } = self.due;
        let misses_ttft = first.is_some_and(|due| self.first.is_none_or(|first| first > due));
        let since_first = finish.saturating_sub(self.first.unwrap_or(Span::ZERO));
        let misses_tpot = decoding.is_some_and(|(most, passed)| passed + since_first > most);
        slack.is_some_and(|slack| finish > slack) || misses_ttft || misses_tpot
    }

    /// When it has its last token.
    pub(super) fn finish(&self) -> Option<Span> {
        self.finish
    }

    pub(super) fn urgency(&self) -> Urgency {
        self.urgency
    }
}

/// Simulates the steps to come, with at most `batch` requests in each: the running requests, and `planned` ones as
/// they become urgent enough and places come free. The forecasts of the running requests come first, then those of
/// `planned`, both in the order given.
pub(super) fn play(view: &View<'_>, batch: u32, planned: &[Candidate<'_>]) -> Vec<SequenceForecast> {
    let mut forecaster = StepForecaster::new(view, batch, planned);
    match view.state.in_flight {
        Some(InFlight::Step { step, ordered }) => forecaster.end_step(step, *ordered),
        Some(InFlight::Load { until, .. }) => forecaster.now = until.since(view.state.now),
        None => forecaster.best_effort_has_credit = view.state.best_effort_has_credit,
    }
    // What happens to best-effort requests after all others are done matters to none.
    while forecaster.open.iter().any(|&place| forecaster.forecasts[place].has_target()) {
        forecaster.give_places();
        forecaster.run_steps();
    }
    forecaster.forecasts
}

/// How long an idle node takes for a batch whose requests all start at once.
pub(super) fn duration(view: &View<'_>, batch: &[Candidate<'_>]) -> Span {
    let mut forecaster = StepForecaster::new(view, view.state.node.max_parallel, batch);
    for sequence in &mut forecaster.sequences {
        sequence.ready = Some(view.state.now);
    }
    while !forecaster.open.is_empty() {
        forecaster.run_steps();
    }
    forecaster.now.scaled(view.state.safety_factor())
}

/// The state of the simulation.
struct StepForecaster<'a> {
    view: &'a View<'a>,
    composer: Composer<'a>,
    /// The requests' progress, and what is forecast of each.
    sequences: Vec<Sequence>,
    forecasts: Vec<SequenceForecast>,
    /// Places in these lists of the unfinished requests, in the order in which they start.
    open: Vec<usize>,
    /// Free places on the node.
    places: usize,
    /// The precision still to be loaded, and how long that takes.
    load: Option<(PrecisionIndex, Span)>,
    /// Whether the next step is of best-effort requests: known only of the first. Later ones' share of the time is
    /// part of the safety factor.
    best_effort_has_credit: bool,
    /// Time since the time of the node's state.
    now: Span,
}

impl<'a> StepForecaster<'a> {
    fn new(view: &'a View<'a>, batch: u32, planned: &[Candidate<'_>]) -> Self {
        let state = &view.state;
        let (mut sequences, mut forecasts) = (Vec::new(), Vec::new());
        for running in state.running {
            let sequence = Sequence::of_running(state, running);
            let forecast = SequenceForecast::new(view, &running.request, sequence.slack, running.first_token);
            forecasts.push(SequenceForecast { is_running: true, ..forecast });
            sequences.push(sequence);
        }
        let longest = planned.iter().map(|candidate| candidate.request.prompt_len).max().unwrap_or_default();
        // Best-effort requests come last and are never late: more of them than may hold places change nothing.
        let running = state.running.iter().filter(|running| running.request.is_best_effort()).count();
        let mut best_effort_left = state.best_effort_places().saturating_sub(running);
        for &Candidate { request, precision, .. } in planned {
            if request.is_best_effort() {
                if best_effort_left == 0 {
                    continue;
                }
                best_effort_left -= 1;
            }
            let sequence = Sequence::of_planned(view, request, precision, longest);
            forecasts.push(SequenceForecast::new(view, request, sequence.slack, None));
            sequences.push(sequence);
        }
        let composer = Composer { state, batch: batch as usize };
        let mut open: Vec<usize> = (0..sequences.len()).collect();
        composer.sort(&mut open, &sequences, false);
        // Where a share of the time is reserved for best-effort requests, so is one place.
        let reserved = usize::from(state.settings.best_effort_share > 0.0 && state.node.max_parallel > 1);
        let places = (state.node.max_parallel as usize - reserved).saturating_sub(state.running.len());
        Self {
            view,
            composer,
            sequences,
            forecasts,
            open,
            places,
            load: view.load,
            best_effort_has_credit: false,
            now: Span::ZERO,
        }
    }

    fn at(&self) -> Instant {
        self.view.state.now + self.now
    }

    /// Completes the step that the engine is running.
    fn end_step(&mut self, step: &Step, ordered: Instant) {
        let state = &self.view.state;
        let place = |id| state.running.iter().position(|running| running.request.id == id);
        let chunks = step.prefill.iter().filter_map(|chunk| Some((place(chunk.request)?, chunk.tokens)));
        let step = ComposedStep {
            precision: step.precision,
            prefill: chunks.collect(),
            decode: step.decode.iter().filter_map(|&id| place(id)).collect(),
            spare: None,
        };
        let whole = state.step_time(step.precision, &step.load(&self.sequences, 1));
        self.advance(&step, 1, whole.saturating_sub(state.now.since(ordered)));
    }

    /// Gives free places to the first requests that have none.
    fn give_places(&mut self) {
        let ready = self.at() + self.view.state.node.uplink_slot();
        for &place in self.open.iter().take(self.composer.batch) {
            let sequence = &mut self.sequences[place];
            if sequence.ready.is_none() && self.places > 0 {
                sequence.ready = Some(ready);
                self.places -= 1;
            }
        }
    }

    /// The next step, which begins once a request is ready.
    fn next_step(&mut self) -> ComposedStep {
        let first_ready = self.open.iter().filter_map(|&place| self.sequences[place].ready).min();
        let first_ready = first_ready.expect("a request has a place, or there would be none");
        self.now = self.now.max(first_ready.since(self.view.state.now));
        let is_ready = |place: &usize| self.sequences[*place].is_ready(self.at());
        let mut ready: Vec<usize> = self.open.iter().copied().filter(is_ready).collect();
        if std::mem::take(&mut self.best_effort_has_credit) {
            self.composer.sort(&mut ready, &self.sequences, true);
        }
        self.composer.compose(&self.sequences, ready, self.now)
    }

    /// Runs equal steps until the batch changes: a prompt arrives or is done, or a request ends.
    fn run_steps(&mut self) {
        let step = self.next_step();
        if let Some((_, takes)) = self.load.take_if(|(loaded, _)| *loaded == step.precision) {
            self.now += takes;
            return;
        }
        let until_an_end = step.decode.iter().map(|&place| self.sequences[place].decodes_left).min();
        let alike = until_an_end.into_iter().chain(self.equal_chunks(&step)).min();
        let alike = alike.expect("a request is ready");
        let duration = self.view.state.step_time(step.precision, &step.load(&self.sequences, alike));
        let at = self.at();
        let coming = self.open.iter().filter_map(|&place| self.sequences[place].ready);
        let until_one_comes = coming
            .filter(|&ready| ready > at)
            .min()
            .map(|ready| ready.since(at).0.div_ceil(duration.0.max(1)))
            .map_or(u32::MAX, |steps| u32::try_from(steps).unwrap_or(u32::MAX));
        let steps = alike.min(until_one_comes);
        self.advance(&step, steps, duration * steps);
    }

    /// How many steps with the same chunks follow each other; `None` without chunks.
    fn equal_chunks(&self, step: &ComposedStep) -> Option<u32> {
        let &(place, tokens) = step.prefill.first()?;
        let sequence = &self.sequences[place];
        if tokens < self.view.state.node.prefill_chunk {
            return Some(1);
        }
        let whole = sequence.prompt_left().0 / tokens.0;
        let Some(spare) = step.spare else { return Some(whole) };
        let more = spare.0 / self.composer.chunk_time(sequence, tokens).0.max(1);
        Some(u32::try_from(1 + more).map_or(whole, |chunks| whole.min(chunks)))
    }

    /// Notes what `steps` such steps do, which take `duration` together.
    fn advance(&mut self, step: &ComposedStep, steps: u32, duration: Span) {
        self.now += duration;
        let done = self.now.scaled(self.view.state.safety_factor());
        let wait = duration * self.view.state.settings.slowdown_of_steps();
        let chunks = step.prefill.iter().map(|&(place, tokens)| (place, tokens.0 * steps, 0));
        for (place, prefilled, decoded) in chunks.chain(step.decode.iter().map(|&place| (place, 0, steps))) {
            let (sequence, forecast) = (&mut self.sequences[place], &mut self.forecasts[place]);
            sequence.prefilled = sequence.prefilled + Tokens(prefilled);
            sequence.kv = sequence.kv + Tokens(prefilled + decoded);
            sequence.decodes_left -= decoded;
            sequence.ready = sequence.ready.map(|ready| ready + wait);
            if sequence.is_decoding() {
                forecast.first.get_or_insert(done);
                forecast.finish = (sequence.decodes_left == 0).then_some(done);
            }
        }
        let before = self.open.len();
        self.open.retain(|&place| self.forecasts[place].finish.is_none());
        self.places += before - self.open.len();
    }
}
