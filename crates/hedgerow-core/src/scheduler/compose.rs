//! Step composition: which requests decode in the next step, and how many tokens of which prompts it prefills
//! (continuous batching with chunked prefill). The engine's orders, the forecast and an epoch's duration all use it.

use std::cell::LazyCell;

use super::sequence::Sequence;
use super::view::NodeState;
use crate::engine::{PrefillChunk, Step, StepLoad};
use crate::model::cost::ChunkLoad;
use crate::model::settings::Protocol;
use crate::model::time::Span;
use crate::model::units::Tokens;
use crate::quantization::PrecisionIndex;
use hedgerow_solver::Policy;

/// The shortest chunk worth a step; where the decodes leave less time, prompts wait.
const LEAST_CHUNK: Tokens = Tokens(16);

/// Composes the next step from the ready requests; the step is empty when none is ready.
///
/// - `epoch`: all prompts of the batch first, then its decodes in shared steps, as in the paper.
/// - `continuous`: the step takes the precision of the most urgent request and the most urgent requests of that
///   precision, at most the plan's batch limit. Decodes run beside chunks of the most urgent prompts (chunked
///   prefill); the other requests pause. A prompt delays the decodes of a more urgent request by no more than
///   its slack. Best-effort requests come first while they have credit.
///
/// Without batching (`none`) a step has one request, under both protocols.
pub fn compose(state: &NodeState<'_>) -> Step {
    let of_running = |running| Sequence::of_running(state, running);
    let sequences: Vec<Sequence> = state.running.iter().map(of_running).collect();
    let composer = Composer { state, batch: state.batch as usize };
    let mut ready: Vec<usize> =
        (0..sequences.len()).filter(|&place| sequences[place].is_ready(state.now)).collect();
    composer.sort(&mut ready, &sequences, state.best_effort_has_credit);
    let composed = composer.compose(&sequences, ready, Span::ZERO);
    let id = |place: usize| state.running[place].request.id;
    Step {
        precision: composed.precision,
        prefill: composed
            .prefill
            .into_iter()
            .map(|(place, tokens)| PrefillChunk { request: id(place), tokens })
            .collect(),
        decode: composed.decode.into_iter().map(id).collect(),
    }
}

/// A step of sequences that are named by their places in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ComposedStep {
    pub(super) precision: PrecisionIndex,
    /// Prompts, each with the tokens of its chunk.
    pub(super) prefill: Vec<(usize, Tokens)>,
    pub(super) decode: Vec<usize>,
    /// The delay by further prompts that the more urgent decodes tolerate; `None`: any.
    pub(super) spare: Option<Span>,
}

impl ComposedStep {
    /// The load of the middle one of `steps` equal steps, the first of which is this one.
    pub(super) fn load(&self, sequences: &[Sequence], steps: u32) -> StepLoad {
        let chunk = |&(place, tokens): &(usize, Tokens)| {
            let chunk = sequences[place].chunk(tokens);
            ChunkLoad { start: chunk.start + Tokens(tokens.0 * (steps - 1) / 2), ..chunk }
        };
        let caches = self.decode.iter().map(|&place| sequences[place].kv + Tokens(steps / 2));
        StepLoad { prefill: self.prefill.iter().map(chunk).collect(), ..StepLoad::of_decodes(caches) }
    }
}

/// Composes steps in one state of the node, of at most `batch` sequences each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Composer<'a> {
    pub(super) state: &'a NodeState<'a>,
    pub(super) batch: usize,
}

impl Composer<'_> {
    /// Sorts sequences by precedence: by urgency, best-effort ones first while they have credit. A policy that does
    /// not plan keeps them as they started.
    pub(super) fn sort(&self, places: &mut [usize], sequences: &[Sequence], best_effort_has_credit: bool) {
        if self.state.settings.policy.traits().plans_for_all {
            places.sort_unstable_by_key(|&place| {
                let urgency = sequences[place].urgency;
                (!best_effort_has_credit || urgency.due().is_some(), urgency)
            });
        }
    }

    /// Composes a step that begins `after` the time of the state, from the sequences that are ready then, sorted by
    /// precedence.
    pub(super) fn compose(&self, sequences: &[Sequence], mut ready: Vec<usize>, after: Span) -> ComposedStep {
        let Self { state, batch } = *self;
        if matches!(state.settings.policy, Policy::None { .. }) {
            // The request whose accelerator is furthest behind; decodes first, because a prompt would delay all others.
            ready.sort_by_key(|&place| {
                let sequence = &sequences[place];
                (!sequence.is_decoding(), sequence.ready, sequence.urgency.id())
            });
            ready.truncate(1);
        }
        // A step has one precision: that of the first request.
        let precision = ready.first().map(|&place| sequences[place].precision).unwrap_or_default();
        let has_it = |place: usize| sequences[place].precision == precision;
        let before_other = ready.iter().take_while(|&&place| has_it(place)).count();
        ready.retain(|&place| has_it(place));
        if state.settings.policy.traits().plans_for_all {
            ready.truncate(batch);
        }
        let decode = ready.iter().copied().filter(|&place| sequences[place].is_decoding()).collect();
        let mut step = ComposedStep { precision, prefill: Vec::new(), decode, spare: None };
        // In most steps all sequences decode.
        if step.decode.len() < ready.len() {
            self.add_prompts(&mut step, sequences, &ready, before_other, after);
        }
        if matches!(state.settings.protocol, Protocol::Epoch { .. }) && !step.prefill.is_empty() {
            step.decode.clear();
        }
        step
    }

    /// Adds chunks of the prompts among the first `before_other` ready sequences: a prompt waits for more urgent
    /// requests of another precision, which need steps of their own.
    fn add_prompts(
        &self,
        step: &mut ComposedStep,
        sequences: &[Sequence],
        ready: &[usize],
        before_other: usize,
        after: Span,
    ) {
        let precision = step.precision;
        let mut left = self.state.node.prefill_chunk;
        // Once these prompts are in the cache, all ready sequences decode together.
        let caches = ready.iter().map(|&place| sequences[place].kv.max(sequences[place].padded_len));
        let decode_time = LazyCell::new(|| self.state.step_time(precision, &StepLoad::of_decodes(caches)));
        for &place in ready.iter().take(before_other) {
            let sequence = &sequences[place];
            if sequence.is_decoding() {
                step.spare =
                    step.spare.into_iter().chain(self.time_to_spare(sequence, *decode_time, after)).min();
                continue;
            }
            let wanted = sequence.prompt_left();
            let tokens = self.longest_chunk(sequence, wanted.min(left), step.spare);
            if tokens == Tokens::ZERO {
                break;
            }
            step.prefill.push((place, tokens));
            left = left - tokens;
            step.spare = step.spare.map(|spare| spare.saturating_sub(self.chunk_time(sequence, tokens)));
            if left == Tokens::ZERO || tokens < wanted {
                break;
            }
        }
    }

    /// The delay by prompts that a decoding sequence tolerates, if each of its steps takes `step`; `None`: any.
    fn time_to_spare(&self, sequence: &Sequence, step: Span, after: Span) -> Option<Span> {
        let is_epoch = matches!(self.state.settings.protocol, Protocol::Epoch { .. });
        if is_epoch || !self.state.settings.policy.traits().plans_for_all {
            return None;
        }
        let own_path = (after + step * sequence.decodes_left).scaled(self.state.safety_factor());
        Some(sequence.slack?.saturating_sub(own_path))
    }

    /// The longest chunk of at most `most` tokens that takes no more time than `spare`, found by halving.
    fn longest_chunk(&self, sequence: &Sequence, most: Tokens, spare: Option<Span>) -> Tokens {
        let Some(spare) = spare else { return most };
        let fits = |tokens| self.chunk_time(sequence, tokens) <= spare;
        if !fits(most.min(LEAST_CHUNK)) {
            return Tokens::ZERO;
        }
        let halves = std::iter::successors(Some(most), |tokens| Some(Tokens(tokens.0 / 2)));
        let mut worthwhile = halves.take_while(|&tokens| tokens == most || tokens >= LEAST_CHUNK);
        worthwhile.find(|&tokens| fits(tokens)).unwrap_or(Tokens::ZERO)
    }

    /// How long one chunk takes by itself.
    pub(super) fn chunk_time(&self, sequence: &Sequence, tokens: Tokens) -> Span {
        self.state.chunk_time(sequence.precision, sequence.chunk(tokens))
    }
}
