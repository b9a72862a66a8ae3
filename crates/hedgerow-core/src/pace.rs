//! How much slower the engine is now than its cost model says: other processes, a hot processor, callers
//! who are served.

use crate::time::Span;

/// What is left of a step's weight after each later step: the last twenty or so count.
const DECAY: f64 = 0.95;
/// A cost model that is wrong by more than this is no model; nothing is promised on it.
const LIMITS: (f64, f64) = (0.5, 10.0);

/// Time taken over time predicted, of the latest steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    taken_s: f64,
    predicted_s: f64,
}

impl Pace {
    /// Notes a step.
    pub fn note(&mut self, taken: Span, predicted: Span) {
        self.taken_s = DECAY * self.taken_s + taken.as_seconds();
        self.predicted_s = DECAY * self.predicted_s + predicted.as_seconds();
    }

    /// The factor that predictions are to be stretched by; 1 until a step was noted.
    pub fn factor(&self) -> f64 {
        if self.predicted_s > 0.0 { (self.taken_s / self.predicted_s).clamp(LIMITS.0, LIMITS.1) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_latest_steps_by_their_length() {
        let mut pace = Pace::default();
        assert_eq!(pace.factor(), 1.0);
        (0..200).for_each(|_| pace.note(Span::from_millis(10), Span::from_millis(10)));
        assert!((pace.factor() - 1.0).abs() < 1e-9);
        (0..200).for_each(|_| pace.note(Span::from_millis(30), Span::from_millis(20)));
        assert!((pace.factor() - 1.5).abs() < 1e-3);
    }
}
