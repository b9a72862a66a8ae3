//! A scripted engine, for tests of the code around engines.

use std::collections::{BTreeMap, BTreeSet};

use super::sequences::Sequences;
use super::{
    Emission, EndReason, Engine, EngineError, EngineLimits, GenerationTask, Step, StepReport, TokenId,
    TokenSink,
};
use crate::model::request::RequestId;
use crate::model::time::Span;
use crate::model::units::Tokens;

/// An engine that produces the tokens 0, 1, 2, … for each request; every step takes the same time.
#[derive(Clone, Debug)]
pub struct ScriptedEngine {
    sequences: Sequences<()>,
    step_time: Span,
    stops_after: BTreeMap<RequestId, Tokens>,
    remembered: BTreeMap<RequestId, Tokens>,
    failing_steps: u32,
    not_opened: BTreeSet<RequestId>,
    bad_scores: BTreeSet<RequestId>,
}

impl ScriptedEngine {
    /// An engine without open requests.
    pub fn new(limits: EngineLimits, step_time: Span) -> Self {
        Self {
            sequences: Sequences::new(limits),
            step_time,
            stops_after: BTreeMap::new(),
            remembered: BTreeMap::new(),
            failing_steps: 0,
            not_opened: BTreeSet::new(),
            bad_scores: BTreeSet::new(),
        }
    }

    /// Makes this request end by itself after `tokens` tokens.
    pub fn stop_after(&mut self, request: RequestId, tokens: Tokens) {
        self.stops_after.insert(request, tokens);
    }

    /// Makes the engine find the first `tokens` tokens of this request's prompt in its cache.
    pub fn remember(&mut self, request: RequestId, tokens: Tokens) {
        self.remembered.insert(request, tokens);
    }

    /// Makes the next `count` steps fail.
    pub fn fail_steps(&mut self, count: u32) {
        self.failing_steps = count;
    }

    /// Makes the scores of this request's tokens no numbers.
    pub fn spoil_scores(&mut self, request: RequestId) {
        self.bad_scores.insert(request);
    }

    /// Makes opening this request fail.
    pub fn fail_to_open(&mut self, request: RequestId) {
        self.not_opened.insert(request);
    }
}

impl Engine for ScriptedEngine {
    fn limits(&self) -> EngineLimits {
        self.sequences.limits()
    }

    fn open(&mut self, request: RequestId, work: GenerationTask) -> Result<(), EngineError> {
        let fails = self.not_opened.contains(&request);
        let error = || EngineError::Backend { what: "following its script".into(), code: 1 };
        self.sequences.open(request, work, |_| if fails { Err(error()) } else { Ok(()) })
    }

    fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError> {
        self.sequences.check(step)?;
        if self.failing_steps > 0 {
            self.failing_steps -= 1;
            return Err(EngineError::Backend { what: "following its script".into(), code: 1 });
        }
        let chunks = step.prefill.iter().map(|chunk| (chunk.request, chunk.tokens));
        let decodes = step.decode.iter().map(|&request| (request, Tokens::ZERO));
        let spoiled = |request: &RequestId| self.bad_scores.contains(request);
        if let Some(request) = chunks.clone().chain(decodes.clone()).map(|(request, _)| request).find(spoiled)
        {
            return Err(EngineError::BadScores { request });
        }
        let mut report = StepReport { elapsed: self.step_time, ..StepReport::default() };
        for (request, prefilled) in chunks.chain(decodes) {
            if let Some(cached) = self.remembered.remove(&request) {
                self.sequences.skip(request, cached)?;
            }
            let prefilled = prefilled.min(self.sequences.get(request)?.prompt_left());
            let stops_after = self.stops_after.get(&request).copied();
            let mut token = TokenId(0);
            let progress = self.sequences.advance(request, prefilled, |sequence| {
                token = TokenId(sequence.produced.0 as i32 - 1);
                let is_end = !sequence.work.ignore_eos && Some(sequence.produced) == stops_after;
                is_end.then_some(EndReason::Stop)
            });
            if progress.produced {
                sink.token(Emission { request, token, text: &format!("{} ", token.0), end: progress.end });
            }
            report.progress.push(progress);
        }
        report.kv_used = self.kv_used();
        Ok(report)
    }

    fn close(&mut self, request: RequestId) {
        self.sequences.close(request);
    }

    fn kv_used(&self) -> Tokens {
        self.sequences.kv_used()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conformance;

    #[test]
    fn passes_the_conformance_suite() {
        let limits = EngineLimits { parallel: 4, context: Tokens(64), kv: Tokens(256) };
        let mut engine = ScriptedEngine::new(limits, Span::from_millis(1));
        conformance::check(&mut engine, &|length| vec![TokenId(1); length as usize]);
    }
}
