//! How fast an engine is, now and then.

use std::collections::BTreeMap;

use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::time::Instant;

/// How many times as long as its cost model says an engine's steps take.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSlowdown {
    /// On the whole.
    pub factors: Factors,
    /// And how many times that in some seconds: other processes come and go, and what planning adds for that depends
    /// on it.
    pub wavers: BTreeMap<u64, f64>,
}

impl EngineSlowdown {
    /// Always the same.
    pub fn steady(factors: Factors) -> Self {
        Self { factors, wavers: BTreeMap::new() }
    }

    /// For a step that begins now.
    pub(crate) fn at(&self, now: Instant) -> Factors {
        let waver = self.wavers.get(&second(now)).copied().unwrap_or(1.0);
        Factors { prompts: self.factors.prompts * waver, decodes: self.factors.decodes * waver }
    }
}

/// Which second an instant is in.
pub(crate) fn second(at: Instant) -> u64 {
    at.0 / 1_000_000_000
}
