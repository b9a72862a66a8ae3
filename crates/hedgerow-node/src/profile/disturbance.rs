//! Decides whether other work on the machine disturbed a measurement.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::Noise;

/// What disturbed a measurement. A disturbed profile is used until the machine is quiet, and is then measured again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Excess of the median over the fastest of several runs of one step, averaged over all steps.
    pub(crate) scatter_percent: u32,
    #[serde(flatten)]
    pub(crate) noise: Noise,
}

/// On a quiet machine the median of three runs is a few percent above the fastest.
const SCATTER_PERCENT_MAX: u32 = 40;

impl Disturbance {
    /// Returns the disturbance; `None` for a measurement that was not disturbed.
    ///
    /// Scatter is ignored where the CPU quota was used up in some steps: that belongs to this machine's speed.
    pub fn of(noise: Noise, scatter_percent: u32) -> Option<Self> {
        let is_scattered = scatter_percent > SCATTER_PERCENT_MAX && !noise.is_throttled;
        (noise.is_loud() || is_scattered).then_some(Self { scatter_percent, noise })
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; steps of one kind differed by {} %", self.noise, self.scatter_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scatter_and_other_work_disturb_and_the_own_quota_does_not() {
        let quiet = Noise::default();
        let loud = Noise { steal_percent: Some(30), ..quiet };
        let throttled = Noise { is_throttled: true, ..quiet };
        assert_eq!(Disturbance::of(quiet, 10), None);
        assert!(Disturbance::of(quiet, 60).is_some() && Disturbance::of(loud, 0).is_some());
        assert_eq!(Disturbance::of(throttled, 60), None);
    }
}
