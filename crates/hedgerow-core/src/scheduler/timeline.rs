//! When each request will have its last token, if nothing unexpected happens: the steps to come, played
//! forward by the rules of [`super::compose`].
//!
//! An instance knows how much work there is, but not that a prompt holds up the decodes beside it, or
//! that only so many requests run at once. So in continuous batching nothing is promised that this
//! does not confirm.

use super::reduce::Candidate;
use super::view::{InFlight, View};
use crate::engine::cost::ChunkLoad;
use crate::engine::{Step, StepLoad};
use crate::quantization::PrecisionIndex;
use crate::request::{Request, RequestId};
use crate::running::{Running, load_of};
use crate::time::{Instant, Span};
use crate::units::Tokens;

/// One request's way through the steps to come.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    urgency: (Instant, RequestId),
    precision: PrecisionIndex,
    due: Due,
    /// When its prompt is here; `None` until it has a place.
    ready: Option<Span>,
    /// Whether it runs already.
    pub(super) is_running: bool,
    prompt: Tokens,
    prefilled: Tokens,
    decodes_left: u32,
    kv: Tokens,
    /// When it has its first token, in this future.
    first: Option<Span>,
    /// When it has its last token; set once it has.
    finish: Option<Span>,
}

/// What a lane must keep.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// Time left for its last token; the longest there is where nobody asked.
    slack: Span,
    /// Time left for its first token, if that was asked and it has none.
    first: Option<Span>,
    /// The most time from its first token to its last, and what of it has passed, if that was asked.
    fluency: Option<(Span, Span)>,
}

impl Due {
    fn of(view: &View<'_>, request: &Request, slack: Span, first_token: Option<Instant>) -> Self {
        let gaps = request.expected_output.0.saturating_sub(1);
        let passed = first_token.map_or(Span::ZERO, |at| view.now.since(at));
        let until = |ttft: Span| (request.arrived + ttft).since(view.now);
        Self {
            slack: slack.saturating_sub(view.node.downlink_slot()),
            first: request.ttft.filter(|_| first_token.is_none()).map(until),
            fluency: request.tpot.map(|tpot| (tpot * gaps, passed)),
        }
    }
}

impl Lane {
    fn of_running(view: &View<'_>, running: &Running) -> Self {
        Self {
            urgency: running.request.urgency(),
            precision: running.precision,
            due: Due::of(view, &running.request, running.request.slack(view.now), running.first_token),
            ready: Some(running.ready.since(view.now)),
            is_running: true,
            prompt: running.prompt,
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
            prompt: request.prompt,
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

    /// Whether somebody waits for it: a time that it is to keep was named.
    fn is_awaited(&self) -> bool {
        self.urgency.0 != Instant(u64::MAX)
    }

    /// Whether it keeps not all of the times that were asked for.
    pub(super) fn is_late(&self) -> bool {
        let Some(finish) = self.finish else { return self.is_awaited() };
        let Due { slack, first, fluency } = self.due;
        let begins_late = first.is_some_and(|due| self.first.is_none_or(|first| first > due));
        let since_first = finish.saturating_sub(self.first.unwrap_or(Span::ZERO));
        let falters = fluency.is_some_and(|(most, passed)| passed + since_first > most);
        finish > slack || begins_late || falters
    }

    /// When it has its last token.
    pub(super) fn finish(&self) -> Option<Span> {
        self.finish
    }

    pub(super) fn urgency(&self) -> (Instant, RequestId) {
        self.urgency
    }
}

/// Plays the steps to come, `batch` requests in each: those who run, and `planned` as they become urgent
/// enough and places come free. The lanes of those who run come first, then those of `planned`, both in the
/// order given.
pub(super) fn play(view: &View<'_>, batch: u32, planned: &[Candidate<'_>]) -> Vec<Lane> {
    let running = view.running.iter().map(|running| Lane::of_running(view, running));
    // Those whom nobody awaits come last and are never late: more of them than have a place change nothing.
    let mut unawaited = view.node.max_parallel;
    let matters = |candidate: &&Candidate<'_>| {
        let is_best_effort = candidate.request.is_best_effort();
        let counts = !is_best_effort || unawaited > 0;
        unawaited = unawaited.saturating_sub(u32::from(is_best_effort));
        counts
    };
    let planned = planned.iter().filter(matters).map(|candidate| Lane::of_planned(view, candidate));
    let lanes: Vec<Lane> = running.chain(planned).collect();
    let mut open: Vec<usize> = (0..lanes.len()).collect();
    open.sort_unstable_by_key(|&lane| lanes[lane].urgency);
    // Where a share is kept for those who name no time, so is a place.
    let kept = usize::from(view.settings.best_effort_share > 0.0 && view.node.max_parallel > 1);
    let places = (view.node.max_parallel as usize - kept).saturating_sub(view.running.len());
    let batch = batch as usize;
    let (ready, decoding) = (Vec::new(), Vec::new());
    let mut player =
        Player { view, batch, lanes, open, ready, decoding, places, load: view.load, now: Span::ZERO };
    match view.in_flight {
        Some(InFlight::Step { step, ordered }) => player.end_step(step, *ordered),
        Some(InFlight::Load { until, .. }) => player.now = until.since(view.now),
        None => {}
    }
    player.play()
}

struct Player<'a> {
    view: &'a View<'a>,
    batch: usize,
    lanes: Vec<Lane>,
    /// Who has not finished, the most urgent first.
    open: Vec<usize>,
    /// Room for those of them who take part in a phase, and for those of these who decode.
    ready: Vec<usize>,
    decoding: Vec<usize>,
    /// Places that nobody holds.
    places: usize,
    /// What is yet to be loaded.
    load: Option<(PrecisionIndex, Span)>,
    now: Span,
}

impl Player<'_> {
    /// The step that the engine is running comes to its end before anything else.
    fn end_step(&mut self, step: &Step, ordered: Instant) {
        let load = load_of(step, self.view.running);
        let duration = self.view.step_time(step.precision, &load);
        self.now = duration.saturating_sub(self.view.now.since(ordered));
        for (lane, running) in self.lanes.iter_mut().zip(self.view.running) {
            let id = running.request.id;
            if let Some(chunk) = step.prefill.iter().find(|chunk| chunk.request == id) {
                lane.prefilled = lane.prefilled + chunk.tokens;
                lane.kv = lane.kv + chunk.tokens;
            } else if step.decode.contains(&id) {
                lane.decodes_left -= 1;
                lane.kv = lane.kv + Tokens(1);
            } else {
                continue;
            }
            if lane.is_decoding() && lane.decodes_left == 0 {
                lane.finish = Some(self.now);
            }
        }
        self.close_finished();
    }

    fn play(mut self) -> Vec<Lane> {
        // The most urgent is first: if nobody awaits it, nobody awaits any.
        while self.open.first().is_some_and(|&lane| self.lanes[lane].is_awaited()) {
            self.give_places();
            let has_place = self.open.iter().filter_map(|&lane| self.lanes[lane].ready);
            let first_ready = has_place.min().expect("somebody has a place, or there would be none");
            self.now = self.now.max(first_ready);
            self.phase();
            self.close_finished();
        }
        self.lanes
    }

    /// Those among the most urgent who have no place yet get one, as long as there are any.
    fn give_places(&mut self) {
        for &lane in self.open.iter().take(self.batch) {
            let lane = &mut self.lanes[lane];
            if lane.ready.is_none() && self.places > 0 {
                lane.ready = Some(self.now + self.view.node.uplink_slot());
                self.places -= 1;
            }
        }
    }

    fn close_finished(&mut self) {
        let before = self.open.len();
        self.open.retain(|&lane| self.lanes[lane].finish.is_none());
        self.places += before - self.open.len();
    }

    /// Runs equal steps until something changes: a prompt is here or done, or a request is.
    fn phase(&mut self) {
        let is_ready = |lane: &usize| self.lanes[*lane].ready.is_some_and(|ready| ready <= self.now);
        let all_ready = || self.open.iter().copied().filter(is_ready);
        let first = all_ready().next().expect("somebody is ready");
        let precision = self.lanes[first].precision;
        if let Some((_, takes)) = self.load.take_if(|(loaded, _)| *loaded == precision) {
            self.now += takes;
            return;
        }
        let (mut ready, mut decoding) = (std::mem::take(&mut self.ready), std::mem::take(&mut self.decoding));
        ready.clear();
        decoding.clear();
        // A step has one precision: that of the most urgent.
        let has_it = |lane: &usize| self.lanes[*lane].precision == precision;
        ready.extend(all_ready().filter(has_it).take(self.batch));
        decoding.extend(ready.iter().filter(|&&lane| self.lanes[lane].is_decoding()));
        let decode = self.decode_time(&decoding, precision);
        // A prompt waits for whoever is more urgent and needs steps of another precision.
        let rival = all_ready().find(|lane| !has_it(lane)).map(|lane| self.lanes[lane].urgency);
        let goes_first = |lane: usize| rival.is_none_or(|rival| self.lanes[lane].urgency < rival);
        let prompt = ready.iter().copied().find(|&lane| !self.lanes[lane].is_decoding() && goes_first(lane));
        let chunks = prompt.map_or(0, |lane| self.chunks(lane, &decoding, decode));
        let prompt = prompt.filter(|_| chunks > 0);
        let step = decode + prompt.map_or(Span::ZERO, |lane| self.next_chunk_time(lane));
        let until_an_end = decoding.iter().map(|&lane| self.lanes[lane].decodes_left).min();
        let coming = self.open.iter().filter_map(|&lane| self.lanes[lane].ready).filter(|&at| at > self.now);
        let until_one_comes = coming
            .min()
            .map(|at| at.saturating_sub(self.now).0.div_ceil(step.0.max(1)))
            .map(|steps| u32::try_from(steps).unwrap_or(u32::MAX));
        let steps =
            [until_an_end, until_one_comes, (chunks > 0).then_some(chunks)].into_iter().flatten().min();
        let steps = steps.expect("somebody is ready");
        self.now += decode * steps;
        if let Some(lane) = prompt {
            self.prefill(lane, steps);
        }
        for &lane in &decoding {
            let lane = &mut self.lanes[lane];
            lane.decodes_left -= steps;
            lane.kv = lane.kv + Tokens(steps);
        }
        let now = self.now.scaled(self.view.stretch());
        for &lane in &ready {
            let lane = &mut self.lanes[lane];
            if lane.is_decoding() {
                lane.first.get_or_insert(now);
                if lane.decodes_left == 0 {
                    lane.finish.get_or_insert(now);
                }
            }
        }
        (self.ready, self.decoding) = (ready, decoding);
    }

    /// How many chunks of a prompt the next equal steps may take: to its end, or as many as the more
    /// urgent decodes can spare.
    fn chunks(&self, lane: usize, decoding: &[usize], decode: Span) -> u32 {
        let prompt = &self.lanes[lane];
        let chunk = self.view.node.prefill_chunk;
        let to_its_end = (prompt.prompt - prompt.prefilled).0.div_ceil(chunk.0);
        let time = self.next_chunk_time(lane);
        let more_urgent =
            decoding.iter().map(|&other| &self.lanes[other]).filter(|other| other.urgency < prompt.urgency);
        let spare = more_urgent
            .map(|other| {
                let path = (self.now + decode * other.decodes_left).scaled(self.view.stretch());
                other.due.slack.saturating_sub(path)
            })
            .min();
        match spare {
            None => to_its_end,
            // A decode that is late anyway is waited for, as in `compose`, but not for ever.
            Some(spare) => to_its_end.min(u32::try_from(spare.0 / time.0.max(1)).unwrap_or(u32::MAX)),
        }
    }

    fn prefill(&mut self, lane: usize, chunks: u32) {
        for _ in 0..chunks {
            self.now += self.next_chunk_time(lane);
            let prompt = &mut self.lanes[lane];
            prompt.prefilled = prompt.prompt.min(prompt.prefilled + self.view.node.prefill_chunk);
            prompt.kv = prompt.prefilled;
        }
    }

    fn next_chunk_time(&self, lane: usize) -> Span {
        let Lane { precision, prompt, prefilled, .. } = self.lanes[lane];
        let tokens = self.view.node.prefill_chunk.min(prompt - prefilled);
        self.view.chunk_time(precision, ChunkLoad { tokens, start: prefilled, prompt })
    }

    /// Time of one step of these decodes, their caches as they will be half-way to the next end.
    fn decode_time(&self, decoding: &[usize], precision: PrecisionIndex) -> Span {
        let until_an_end = decoding.iter().map(|&lane| self.lanes[lane].decodes_left).min().unwrap_or(0);
        let kv = |&lane: &usize| self.lanes[lane].kv + Tokens(until_an_end / 2);
        let load = StepLoad {
            prefill: Vec::new(),
            decode_count: decoding.len() as u32,
            decode_kv: decoding.iter().map(|lane| u64::from(kv(lane).0)).sum(),
            decode_longest: decoding.iter().map(kv).max().unwrap_or_default(),
        };
        self.view.step_time(precision, &load)
    }
}
