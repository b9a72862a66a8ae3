//! Surprisal and Kullback-Leibler divergence from models' scores at one position of a text.

/// A model's prediction of the next token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Guess {
    /// Its top token; of several equal ones, the first.
    pub(super) top: usize,
    /// The log-sum-exp of its scores: a score minus this is a log-probability.
    log_sum: f64,
}

/// A position in the text: the reference's prediction there, buffered for the comparison with others.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The exponentials of the reference's scores minus the largest score.
    weights: Vec<f32>,
    sum: f64,
}

impl Guess {
    pub(super) fn of(scores: &[f32]) -> Self {
        let (top, highest) = highest(scores);
        let sum: f64 = scores.iter().map(|&score| f64::from((score - highest).exp())).sum();
        Self { top, log_sum: f64::from(highest) + sum.ln() }
    }

    /// The surprisal of a token, `−ln p`, in nats.
    pub(super) fn surprise(&self, scores: &[f32], token: usize) -> f64 {
        self.log_sum - f64::from(scores[token])
    }
}

impl Place {
    /// Sets the reference's scores, and returns its prediction.
    pub(super) fn reference(&mut self, scores: &[f32]) -> Guess {
        let (top, highest) = highest(scores);
        self.weights.clear();
        self.weights.extend(scores.iter().map(|&score| (score - highest).exp()));
        self.sum = self.weights.iter().map(|&weight| f64::from(weight)).sum();
        Guess { top, log_sum: f64::from(highest) + self.sum.ln() }
    }

    /// The Kullback-Leibler divergence of another model from the reference, in nats:
    ///
    /// ```text
    /// Σ p_ref · (ln p_ref − ln p)
    /// ```
    pub(super) fn divergence(&self, reference: (&[f32], &Guess), other: (&[f32], &Guess)) -> f64 {
        let pairs = reference.0.iter().zip(other.0);
        let apart: f64 = self
            .weights
            .iter()
            .zip(pairs)
            .map(|(&weight, (&own, &other))| f64::from(weight) * (f64::from(own) - f64::from(other)))
            .sum();
        // Negative only by rounding.
        (apart / self.sum + other.1.log_sum - reference.1.log_sum).max(0.0)
    }
}

fn highest(scores: &[f32]) -> (usize, f32) {
    let start = (0, f32::NEG_INFINITY);
    scores.iter().copied().enumerate().fold(start, |best, next| if next.1 > best.1 { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of a distribution, with an arbitrary offset as scores may have.
    fn scores(probabilities: &[f64]) -> Vec<f32> {
        probabilities.iter().map(|probability| (probability.ln() + 7.5) as f32).collect()
    }

    #[test]
    fn the_surprisal_is_the_negative_logarithm_of_the_probability() {
        let scores = scores(&[0.5, 0.25, 0.25]);
        let guess = Guess::of(&scores);
        assert_eq!(guess.top, 0);
        assert!((guess.surprise(&scores, 1) - 4.0_f64.ln()).abs() < 1e-6);
        assert_eq!(Guess::of(&[1.0, 3.0, 3.0]).top, 1);
    }

    #[test]
    fn the_divergence_agrees_with_its_definition_and_is_zero_from_itself() {
        let (p, q) = ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25]);
        let expected: f64 = p.iter().zip(q).map(|(p, q): (&f64, f64)| p * (p / q).ln()).sum();
        let (of_p, of_q) = (scores(&p), scores(&q));
        let mut place = Place::default();
        let (reference, other) = (place.reference(&of_p), Guess::of(&of_q));
        let found = place.divergence((&of_p, &reference), (&of_q, &other));
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        assert_eq!(place.divergence((&of_p, &reference), (&of_p, &Guess::of(&of_p))), 0.0);
    }
}
