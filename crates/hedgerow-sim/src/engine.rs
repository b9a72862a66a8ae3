//! A simulated engine: its steps take the time of the cost model and produce no text.

use std::collections::BTreeMap;

use hedgerow_core::engine::cost::ChunkLoad;
use hedgerow_core::engine::sequences::Sequences;
use hedgerow_core::engine::{
    Emission, EndReason, Engine, EngineError, EngineLimits, GenerationTask, Step, StepLoad, StepReport,
    TokenId, TokenSink,
};
use hedgerow_core::node::Node;
use hedgerow_core::request::RequestId;
use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::units::Tokens;

/// Runs steps instantly and reports the durations of the node's cost model (`model.md §1`).
#[derive(Clone, Debug)]
pub struct SimulatedEngine {
    node: Node,
    /// The open requests, each with the number of tokens after which its answer ends by itself.
    sequences: Sequences<Option<Tokens>>,
    answers: BTreeMap<RequestId, Tokens>,
    /// Factors by which steps are slower than the cost model.
    slowdown: Factors,
}

impl SimulatedEngine {
    /// Creates the engine of a node, without open requests.
    pub fn new(node: &Node) -> Self {
        let kv = node.kv_memory().0 / node.model.kv_per_token().0;
        let limits = EngineLimits {
            parallel: node.max_parallel,
            context: node.context,
            kv: Tokens(u32::try_from(kv).unwrap_or(u32::MAX)),
        };
        Self {
            node: node.clone(),
            sequences: Sequences::new(limits),
            answers: BTreeMap::new(),
            slowdown: Factors::ONE,
        }
    }

    /// Multiplies the duration of all further steps by these factors.
    pub fn slow_down(&mut self, slowdown: Factors) {
        self.slowdown = slowdown;
    }

    /// Makes a request's answer end by itself after this many tokens; to be called before the request is opened.
    pub fn answer_with(&mut self, request: RequestId, tokens: Tokens) {
        self.answers.insert(request, tokens);
    }

    /// Treats the first `cached` tokens of a prompt that has not begun as cached.
    ///
    /// # Errors
    ///
    /// When the request is not open.
    pub fn skip(&mut self, request: RequestId, cached: Tokens) -> Result<(), EngineError> {
        self.sequences.skip(request, cached)
    }

    /// The load of a step, from the progress of its requests.
    fn load(&self, step: &Step) -> Result<StepLoad, EngineError> {
        let mut load = StepLoad { decode_count: step.decode.len() as u32, ..StepLoad::default() };
        for chunk in &step.prefill {
            let sequence = self.sequences.get(chunk.request)?;
            let prompt = Tokens(sequence.work.prompt_tokens.len() as u32);
            load.prefill.push(ChunkLoad { tokens: chunk.tokens, start: sequence.prefilled, prompt });
        }
        for &request in &step.decode {
            let kv = self.sequences.get(request)?.kv();
            load.decode_kv += u64::from(kv.0);
            load.decode_longest = load.decode_longest.max(kv);
        }
        Ok(load)
    }
}

impl Engine for SimulatedEngine {
    fn limits(&self) -> EngineLimits {
        self.sequences.limits()
    }

    fn open(&mut self, request: RequestId, work: GenerationTask) -> Result<(), EngineError> {
        let answer = self.answers.remove(&request);
        self.sequences.open(request, work, |work| Ok(answer.filter(|_| !work.ignore_eos)))
    }

    fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError> {
        self.sequences.check(step)?;
        let precision = &self.node.precisions[step.precision.0];
        let cost = |load: &StepLoad| self.node.cost.step(&self.node.model, precision, load);
        let elapsed = self.slowdown.correct(&self.load(step)?, cost);
        let mut report = StepReport { elapsed, ..StepReport::default() };
        report.progress.reserve_exact(step.request_count());
        let chunks = step.prefill.iter().map(|chunk| (chunk.request, chunk.tokens));
        let decodes = step.decode.iter().map(|&request| (request, Tokens::ZERO));
        for (request, prefilled) in chunks.chain(decodes) {
            let mut token = TokenId(0);
            let progress = self.sequences.advance(request, prefilled, |sequence| {
                token = TokenId(sequence.produced.0 as i32 - 1);
                // An answer that reaches its limit ends by length, not by itself.
                let is_end = sequence.produced < sequence.work.max_output;
                (is_end && Some(sequence.produced) == sequence.own).then_some(EndReason::Stop)
            });
            if progress.produced {
                sink.token(Emission { request, token, text: "", end: progress.end });
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
