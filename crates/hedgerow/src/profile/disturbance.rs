//! Whether a measurement says more about other work on the machine than about the machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::Noise;

/// What disturbed a measurement. A profile that has one is used until the machine is quiet, and then measured again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disturbance {
    /// By how much the middle of several runs of one step was above the fastest, on average over all steps.
    pub(crate) scatter_percent: u32,
    #[serde(flatten)]
    pub(crate) noise: Noise,
}

/// Beside nothing else the middle of three runs is a few percent above the fastest.
const SCATTER_PERCENT_MAX: u32 = 40;

impl Disturbance {
    /// `None` for a measurement that was not disturbed.
    ///
    /// Steps also differ where the CPU quota is used up in some of them, which is how fast this machine is.
    pub(crate) fn of(noise: Noise, scatter_percent: u32) -> Option<Self> {
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
