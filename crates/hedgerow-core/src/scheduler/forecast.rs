//! Forecast of when each request will have its last token: a simulation of the steps to come, by the rules of
//! [`super::compose`].
//!
//! An instance models how much work there is, but not that a prompt delays the decodes beside it, or that the
//! number of running requests is limited. So in continuous batching a request is admitted only if the forecast
//! confirms it.

use super::reduce::Candidate;
use super::view::{InFlight, View};
use crate::engine::{Step, StepLoad};
use crate::model::cost::ChunkLoad;
use crate::model::request::{Request, Urgency};
use crate::model::running::{Running, load_of};
use crate::model::time::{Instant, Span};
use crate::model::units::Tokens;
use crate::quantization::PrecisionIndex;

/// One request's progress through the steps to come.
#[derive(Clone, Debug)]
pub(super) struct SequenceForecast {
    urgency: Urgency,
    precision: PrecisionIndex,
    due: Due,
    /// When its prompt has arrived; `None` until it has a place.
    ready: Option<Span>,
    /// Whether it runs already.
    pub(super) is_running: bool,
    prompt: Tokens,
    prefilled: Tokens,
    decodes_left: u32,
    kv: Tokens,
    /// When it has its first token, by this forecast.
    first: Option<Span>,
    /// When it has its last token; set once it has.
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

impl Due {
    fn of(view: &View<'_>, request: &Request, slack: Option<Span>, first_token: Option<Instant>) -> Self {
        let gaps = request.expected_output.0.saturating_sub(1);
        let passed = first_token.map_or(Span::ZERO, |at| view.state.now.since(at));
        let until = |ttft: Span| (request.arrived + ttft).since(view.state.now);
        Self {
            slack: slack.map(|slack| slack.saturating_sub(view.state.node.downlink_slot())),
            first: request.ttft.filter(|_| first_token.is_none()).map(until),
            decoding: request.tpot.map(|tpot| (tpot * gaps, passed)),
        }
    }
}

impl SequenceForecast {
    fn of_running(view: &View<'_>, running: &Running) -> Self {
        Self {
            urgency: running.request.urgency(),
            precision: running.precision,
            due: Due::of(view, &running.request, running.request.slack(view.state.now), running.first_token),
            ready: Some(running.ready.since(view.state.now)),
            is_running: true,
            prompt: running.padded_len,
            prefilled: running.prefilled,
            decodes_left: running.decodes_left(),
            kv: running.kv(),
            first: running.first_token.map(|_| Span::ZERO),
            finish: None,
        }
    }

    fn of_planned(view: &View<'_>, candidate: &Candidate<'_>) -> Self {
        let Candidate { request, precision, .. } = *candidate;
        Self {
            urgency: request.urgency(),
            precision,
            due: Due::of(view, request, view.slack_to_plan_with(request), None),
            ready: None,
            is_running: false,
            prompt: request.prompt_len,
            prefilled: request.cached,
            decodes_left: request.expected_output.0 - 1,
            kv: request.cached,
            first: None,
            finish: None,
        }
    }

    fn is_decoding(&self) -> bool {
        self.prefilled == self.prompt
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
    let running = view.state.running.iter().map(|running| SequenceForecast::of_running(view, running));
    // Best-effort requests come last and are never late: more of them than there are places change nothing.
    let mut best_effort_left = view.state.node.max_parallel;
    let matters = |candidate: &&Candidate<'_>| {
        let is_best_effort = candidate.request.is_best_effort();
        let counts = !is_best_effort || best_effort_left > 0;
        best_effort_left = best_effort_left.saturating_sub(u32::from(is_best_effort));
        counts
    };
    let planned =
        planned.iter().filter(matters).map(|candidate| SequenceForecast::of_planned(view, candidate));
    let forecasts: Vec<SequenceForecast> = running.chain(planned).collect();
    let mut open: Vec<usize> = (0..forecasts.len()).collect();
    open.sort_unstable_by_key(|&forecast| forecasts[forecast].urgency);
    // Where a share of the time is reserved for best-effort requests, so is one place.
    let reserved =
        usize::from(view.state.settings.best_effort_share > 0.0 && view.state.node.max_parallel > 1);
    let places = (view.state.node.max_parallel as usize - reserved).saturating_sub(view.state.running.len());
    let batch = batch as usize;
    let (ready, decoding) = (Vec::new(), Vec::new());
    let mut forecaster = StepForecaster {
        view,
        batch,
        forecasts,
        open,
        ready,
        decoding,
        places,
        load: view.load,
        now: Span::ZERO,
    };
    match view.state.in_flight {
        Some(InFlight::Step { step, ordered }) => forecaster.end_step(step, *ordered),
        Some(InFlight::Load { until, .. }) => forecaster.now = until.since(view.state.now),
        None => {}
    }
    forecaster.play()
}

/// The state of the simulation.
struct StepForecaster<'a> {
    view: &'a View<'a>,
    batch: usize,
    forecasts: Vec<SequenceForecast>,
    /// Unfinished requests, the most urgent first.
    open: Vec<usize>,
    /// Buffers: the open requests that take part in a phase, and those of them that decode.
    ready: Vec<usize>,
    decoding: Vec<usize>,
    /// Free places.
    places: usize,
    /// The precision still to be loaded, and how long that takes.
    load: Option<(PrecisionIndex, Span)>,
    now: Span,
}

impl StepForecaster<'_> {
    /// Completes the step that the engine is running.
    fn end_step(&mut self, step: &Step, ordered: Instant) {
        let load = load_of(step, self.view.state.running);
        let duration = self.view.state.step_time(step.precision, &load);
        self.now = duration.saturating_sub(self.view.state.now.since(ordered));
        for (forecast, running) in self.forecasts.iter_mut().zip(self.view.state.running) {
            let id = running.request.id;
            if let Some(chunk) = step.prefill.iter().find(|chunk| chunk.request == id) {
                forecast.prefilled = forecast.prefilled + chunk.tokens;
                forecast.kv = forecast.kv + chunk.tokens;
            } else if step.decode.contains(&id) {
                forecast.decodes_left -= 1;
                forecast.kv = forecast.kv + Tokens(1);
            } else {
                continue;
            }
            if forecast.is_decoding() && forecast.decodes_left == 0 {
                forecast.finish = Some(self.now);
            }
        }
        self.close_finished();
    }

    fn play(mut self) -> Vec<SequenceForecast> {
        // Best-effort requests come last: if the first is one, all are.
        while self.open.first().is_some_and(|&forecast| self.forecasts[forecast].has_target()) {
            self.give_places();
            let has_place = self.open.iter().filter_map(|&forecast| self.forecasts[forecast].ready);
            let first_ready = has_place.min().expect("a request has a place, or there would be none");
            self.now = self.now.max(first_ready);
            self.phase();
            self.close_finished();
        }
        self.forecasts
    }

    /// Gives free places to the most urgent requests that have none.
    fn give_places(&mut self) {
        for &forecast in self.open.iter().take(self.batch) {
            let forecast = &mut self.forecasts[forecast];
            if forecast.ready.is_none() && self.places > 0 {
                forecast.ready = Some(self.now + self.view.state.node.uplink_slot());
                self.places -= 1;
            }
        }
    }

    fn close_finished(&mut self) {
        let before = self.open.len();
        self.open.retain(|&forecast| self.forecasts[forecast].finish.is_none());
        self.places += before - self.open.len();
    }

    /// Runs equal steps until the batch changes: a prompt arrives or is done, or a request ends.
    fn phase(&mut self) {
        let is_ready =
            |forecast: &usize| self.forecasts[*forecast].ready.is_some_and(|ready| ready <= self.now);
        let all_ready = || self.open.iter().copied().filter(is_ready);
        let first = all_ready().next().expect("a request is ready");
        let precision = self.forecasts[first].precision;
        if let Some((_, takes)) = self.load.take_if(|(loaded, _)| *loaded == precision) {
            self.now += takes;
            return;
        }
        let (mut ready, mut decoding) = (std::mem::take(&mut self.ready), std::mem::take(&mut self.decoding));
        ready.clear();
        decoding.clear();
        // A step has one precision: that of the most urgent.
        let has_it = |forecast: &usize| self.forecasts[*forecast].precision == precision;
        ready.extend(all_ready().filter(has_it).take(self.batch));
        decoding.extend(ready.iter().filter(|&&forecast| self.forecasts[forecast].is_decoding()));
        let decode = self.decode_time(&decoding, precision);
        // A prompt waits for more urgent requests that need steps of another precision.
        let other =
            all_ready().find(|forecast| !has_it(forecast)).map(|forecast| self.forecasts[forecast].urgency);
        let goes_first = |forecast: usize| other.is_none_or(|other| self.forecasts[forecast].urgency < other);
        let prompt = ready
            .iter()
            .copied()
            .find(|&forecast| !self.forecasts[forecast].is_decoding() && goes_first(forecast));
        let chunks = prompt.map_or(0, |forecast| self.chunks(forecast, &decoding, decode));
        let prompt = prompt.filter(|_| chunks > 0);
        let step = decode + prompt.map_or(Span::ZERO, |forecast| self.next_chunk_time(forecast));
        let until_an_end = decoding.iter().map(|&forecast| self.forecasts[forecast].decodes_left).min();
        let coming = self
            .open
            .iter()
            .filter_map(|&forecast| self.forecasts[forecast].ready)
            .filter(|&at| at > self.now);
        let until_one_comes = coming
            .min()
            .map(|at| at.saturating_sub(self.now).0.div_ceil(step.0.max(1)))
            .map(|steps| u32::try_from(steps).unwrap_or(u32::MAX));
        let steps =
            [until_an_end, until_one_comes, (chunks > 0).then_some(chunks)].into_iter().flatten().min();
        let steps = steps.expect("a request is ready");
        self.now += decode * steps;
        if let Some(forecast) = prompt {
            self.prefill(forecast, steps);
        }
        for &forecast in &decoding {
            let forecast = &mut self.forecasts[forecast];
            forecast.decodes_left -= steps;
            forecast.kv = forecast.kv + Tokens(steps);
        }
        let now = self.now.scaled(self.view.state.safety_factor());
        for &forecast in &ready {
            let forecast = &mut self.forecasts[forecast];
            if forecast.is_decoding() {
                forecast.first.get_or_insert(now);
                if forecast.decodes_left == 0 {
                    forecast.finish.get_or_insert(now);
                }
            }
        }
        (self.ready, self.decoding) = (ready, decoding);
    }

    /// How many chunks of a prompt the next equal steps may take: all that are left, or as many as the slack of more
    /// urgent decodes allows.
    fn chunks(&self, forecast: usize, decoding: &[usize], decode: Span) -> u32 {
        let prompt = &self.forecasts[forecast];
        let chunk = self.view.state.node.prefill_chunk;
        let to_its_end = (prompt.prompt - prompt.prefilled).0.div_ceil(chunk.0);
        let time = self.next_chunk_time(forecast);
        let more_urgent = decoding
            .iter()
            .map(|&other| &self.forecasts[other])
            .filter(|other| other.urgency < prompt.urgency);
        let spare = more_urgent
            .filter_map(|other| {
                let path = (self.now + decode * other.decodes_left).scaled(self.view.state.safety_factor());
                Some(other.due.slack?.saturating_sub(path))
            })
            .min();
        match spare {
            None => to_its_end,
            // A prompt waits for a decode without slack, as in `compose`, until that decode ends.
            Some(spare) => to_its_end.min(u32::try_from(spare.0 / time.0.max(1)).unwrap_or(u32::MAX)),
        }
    }

    fn prefill(&mut self, forecast: usize, chunks: u32) {
        for _ in 0..chunks {
            self.now += self.next_chunk_time(forecast);
            let prompt = &mut self.forecasts[forecast];
            prompt.prefilled = prompt.prompt.min(prompt.prefilled + self.view.state.node.prefill_chunk);
            prompt.kv = prompt.prefilled;
        }
    }

    fn next_chunk_time(&self, forecast: usize) -> Span {
        let SequenceForecast { precision, prompt, prefilled, .. } = self.forecasts[forecast];
        let tokens = self.view.state.node.prefill_chunk.min(prompt - prefilled);
        self.view.state.chunk_time(precision, ChunkLoad { tokens, start: prefilled, prompt })
    }

    /// Time of one step of these decodes, with their caches as they will be half-way to the next end.
    fn decode_time(&self, decoding: &[usize], precision: PrecisionIndex) -> Span {
        let until_an_end =
            decoding.iter().map(|&forecast| self.forecasts[forecast].decodes_left).min().unwrap_or(0);
        let kv = |&forecast: &usize| self.forecasts[forecast].kv + Tokens(until_an_end / 2);
        let load = StepLoad {
            prefill: Vec::new(),
            decode_count: decoding.len() as u32,
            decode_kv: decoding.iter().map(|forecast| u64::from(kv(forecast).0)).sum(),
            decode_longest: decoding.iter().map(kv).max().unwrap_or_default(),
        };
        self.view.state.step_time(precision, &load)
    }
}
