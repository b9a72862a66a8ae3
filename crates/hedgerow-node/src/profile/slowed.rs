//! For tests: an engine some of whose steps take longer.

use hedgerow_core::engine::{
    Engine, EngineError, EngineLimits, GenerationTask, ScriptedEngine, Step, StepReport, TokenSink,
};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;

/// A scripted engine whose steps take a multiple of their time.
pub(super) struct Slowed {
    engine: ScriptedEngine,
    /// The multiple, by the step and its number, from 1.
    factor: fn(&Step, u32) -> u32,
    steps: u32,
}

impl Slowed {
    pub(super) fn new(engine: ScriptedEngine, factor: fn(&Step, u32) -> u32) -> Self {
        Self { engine, factor, steps: 0 }
    }
}

impl Engine for Slowed {
    fn limits(&self) -> EngineLimits {
        self.engine.limits()
    }

    fn open(&mut self, request: RequestId, work: GenerationTask) -> Result<(), EngineError> {
        self.engine.open(request, work)
    }

    fn step(&mut self, step: &Step, sink: &mut dyn TokenSink) -> Result<StepReport, EngineError> {
        self.steps += 1;
        let report = self.engine.step(step, sink)?;
        Ok(StepReport { elapsed: report.elapsed * (self.factor)(step, self.steps), ..report })
    }

    fn close(&mut self, request: RequestId) {
        self.engine.close(request);
    }

    fn kv_used(&self) -> Tokens {
        self.engine.kv_used()
    }
}
