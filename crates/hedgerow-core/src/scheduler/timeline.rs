//! When each request will have its last token, if nothing unexpected happens: the steps to come, played
//! forward by the rules of [`super::compose`].
//!
//! An instance knows how much work there is, but not that a prompt holds up the decodes beside it, or
//! that only so many requests run at once. So in continuous batching nothing is promised that this
//! does not confirm.

use super::plan::{InFlight, View};
use crate::engine::StepLoad;
use crate::engine::cost::ChunkLoad;
use crate::quantization::{Precision, PrecisionIndex};
use crate::request::{Request, RequestId};
use crate::running::load_of;
use crate::time::{Instant, Span};
use crate::units::Tokens;

/// One request's way through the steps to come.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    urgency: (Instant, RequestId),
    slack: Span,
    /// When its prompt is here.
    ready: Span,
    /// Whether it runs already.
    pub(super) is_running: bool,
    prompt: Tokens,
    prefilled: Tokens,
    decodes_left: u32,
    kv: Tokens,
    /// When it has its last token; set once it has.
    finish: Option<Span>,
}

impl Lane {
    fn is_decoding(&self) -> bool {
        self.prefilled == self.prompt
    }

    /// Whether its last token comes after its deadline.
    pub(super) fn is_late(&self) -> bool {
        self.finish.is_none_or(|finish| finish > self.slack)
    }

    pub(super) fn urgency(&self) -> (Instant, RequestId) {
        self.urgency
    }
}

/// Plays the steps to come: those who run, and `planned` as places come free, in this order. The lanes
/// of those who run come first.
pub(super) fn play(
    view: &View<'_>,
    precision: PrecisionIndex,
    batch_limit: u32,
    planned: &[&Request],
) -> Vec<Lane> {
    let running = view.running.iter().map(|running| Lane {
        urgency: running.request.urgency(),
        slack: running.request.slack(view.now).saturating_sub(view.node.downlink_slot()),
        ready: running.ready.since(view.now),
        is_running: true,
        prompt: running.prompt,
        prefilled: running.prefilled,
        decodes_left: running.decodes_left(),
        kv: running.kv(),
        finish: None,
    });
    let planned = planned.iter().map(|request| Lane {
        urgency: request.urgency(),
        slack: request.slack(view.now).saturating_sub(view.node.downlink_slot()),
        // Set when it gets a place.
        ready: Span::MAX,
        is_running: false,
        prompt: request.prompt,
        prefilled: Tokens::ZERO,
        decodes_left: request.max_output.0 - 1,
        kv: Tokens::ZERO,
        finish: None,
    });
    let lanes: Vec<Lane> = running.chain(planned).collect();
    let mut player = Player { view, precision: &view.node.precisions[precision.0], lanes, now: Span::ZERO };
    if let Some(in_flight) = view.in_flight {
        player.end_step(in_flight);
    }
    player.play(batch_limit as usize)
}

struct Player<'a> {
    view: &'a View<'a>,
    precision: &'a Precision,
    lanes: Vec<Lane>,
    now: Span,
}

impl Player<'_> {
    /// The step that the engine is running comes to its end before anything else.
    fn end_step(&mut self, in_flight: &InFlight) {
        let load = load_of(&in_flight.step, self.view.running);
        let duration =
            self.view.node.cost.step(&self.view.node.model, self.precision, &load).scaled(self.view.pace);
        // Later it is stretched with everything else, so here it is not.
        let left = duration.saturating_sub(self.view.now.since(in_flight.ordered));
        self.now = left.scaled(1.0 / self.view.pace);
        let mut advanced = Vec::new();
        for (index, running) in self.view.running.iter().enumerate() {
            let id = running.request.id;
            if let Some(chunk) = in_flight.step.prefill.iter().find(|chunk| chunk.request == id) {
                advanced.push((index, chunk.tokens, 0));
            } else if in_flight.step.decode.contains(&id) {
                advanced.push((index, Tokens::ZERO, 1));
            }
        }
        for (index, prefilled, decoded) in advanced {
            let lane = &mut self.lanes[index];
            lane.prefilled = lane.prefilled + prefilled;
            lane.decodes_left -= decoded;
            lane.kv = lane.kv + prefilled + Tokens(decoded);
            if lane.is_decoding() && lane.decodes_left == 0 {
                lane.finish = Some(self.now);
            }
        }
    }

    fn play(mut self, batch_limit: usize) -> Vec<Lane> {
        let mut active: Vec<usize> = (0..self.view.running.len()).collect();
        let mut next = active.len();
        active.retain(|&lane| self.lanes[lane].finish.is_none());
        loop {
            while next < self.lanes.len() && active.len() < batch_limit {
                self.lanes[next].ready = self.now + self.view.node.uplink_slot();
                active.push(next);
                next += 1;
            }
            let Some(first_ready) = active.iter().map(|&lane| self.lanes[lane].ready).min() else {
                return self.lanes;
            };
            self.now = self.now.max(first_ready);
            active.sort_unstable_by_key(|&lane| self.lanes[lane].urgency);
            self.phase(&active);
            active.retain(|&lane| self.lanes[lane].finish.is_none());
        }
    }

    /// Runs equal steps until something changes: a prompt is here or done, or a request is.
    fn phase(&mut self, active: &[usize]) {
        let (ready, coming): (Vec<usize>, Vec<usize>) =
            active.iter().copied().partition(|&lane| self.lanes[lane].ready <= self.now);
        let decoding: Vec<usize> =
            ready.iter().copied().filter(|&lane| self.lanes[lane].is_decoding()).collect();
        let decode = self.decode_time(&decoding);
        let prompt = ready.iter().copied().find(|&lane| !self.lanes[lane].is_decoding());
        let chunks = prompt.map_or(0, |lane| self.chunks(lane, &decoding, decode));
        let prompt = prompt.filter(|_| chunks > 0);
        let step = decode + prompt.map_or(Span::ZERO, |lane| self.next_chunk_time(lane));
        let until_an_end = decoding.iter().map(|&lane| self.lanes[lane].decodes_left).min();
        let until_one_comes = coming
            .iter()
            .map(|&lane| self.lanes[lane].ready.saturating_sub(self.now).0.div_ceil(step.0.max(1)))
            .min()
            .map(|steps| u32::try_from(steps).unwrap_or(u32::MAX));
        let steps =
            [until_an_end, until_one_comes, (chunks > 0).then_some(chunks)].into_iter().flatten().min();
        let steps = steps.expect("somebody is ready");
        self.now += decode * steps;
        if let Some(lane) = prompt {
            self.prefill(lane, steps);
        }
        for lane in decoding {
            let lane = &mut self.lanes[lane];
            lane.decodes_left -= steps;
            lane.kv = lane.kv + Tokens(steps);
        }
        for lane in ready {
            let lane = &mut self.lanes[lane];
            if lane.is_decoding() && lane.decodes_left == 0 {
                lane.finish.get_or_insert(self.now.scaled(self.view.stretch()));
            }
        }
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
                other.slack.saturating_sub(path)
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
        let Lane { prompt, prefilled, .. } = self.lanes[lane];
        let tokens = self.view.node.prefill_chunk.min(prompt - prefilled);
        let load =
            StepLoad { prefill: vec![ChunkLoad { tokens, start: prefilled, prompt }], ..StepLoad::default() };
        self.view.node.cost.step(&self.view.node.model, self.precision, &load)
    }

    /// Time of one step of these decodes, their caches as they will be half-way to the next end.
    fn decode_time(&self, decoding: &[usize]) -> Span {
        let until_an_end = decoding.iter().map(|&lane| self.lanes[lane].decodes_left).min().unwrap_or(0);
        let kv = decoding.iter().map(|&lane| u64::from(self.lanes[lane].kv.0 + until_an_end / 2)).sum();
        let load = StepLoad { prefill: Vec::new(), decode_count: decoding.len() as u32, decode_kv: kv };
        self.view.node.cost.step(&self.view.node.model, self.precision, &load)
    }
}
