//! The slowdown of an engine over time.

use std::collections::BTreeMap;

use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::time::Instant;

/// Factors by which an engine's steps are slower than its cost model.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSlowdown {
    /// The overall factors.
    pub factors: Factors,
    /// Further factors for single seconds (residual noise by other processes), on which the planner's safety factor
    /// depends; 1 for seconds that are missing.
    pub residuals: BTreeMap<u64, f64>,
}

impl EngineSlowdown {
    /// A constant slowdown.
    pub fn steady(factors: Factors) -> Self {
        Self { factors, residuals: BTreeMap::new() }
    }

    /// The factors of a step that begins now.
    pub(crate) fn at(&self, now: Instant) -> Factors {
        let residual = self.residuals.get(&second(now)).copied().unwrap_or(1.0);
        Factors { prompts: self.factors.prompts * residual, decodes: self.factors.decodes * residual }
    }
}

/// The number of the second that contains an instant.
pub(crate) fn second(at: Instant) -> u64 {
    at.0 / 1_000_000_000
}
