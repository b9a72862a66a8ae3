//! Decides whether two sets of scores come from the same model and text, computed by different kernels.

use serde::{Deserialize, Serialize};

/// Scores of all tokens at each position; `None` for a value that is not finite.
pub(super) type Scores = [Vec<Option<f32>>];

/// Difference of scores from the reference's, in units of the standard deviation of the reference's scores at the
/// same position; the maximum over all positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// Root mean square over all tokens.
    pub(crate) rms: f64,
    /// Largest absolute difference of any token.
    pub(crate) largest: f64,
    /// How much lower the reference scores the first choice of the other kernels than its own first choice.
    pub(crate) first_choice: f64,
}

/// Differences allowed between correct kernels.
///
/// Correct kernels sum in another order, and each layer quantizes its input again, which amplifies the difference.
/// Measured with SmolLM2-135M, where it is largest because the model is small, on a CPU with AVX-512 VNNI, fast
/// against plain kernels: 0 in F16, Q8_0, Q4_1, Q5_0, Q5_1 and Q6_K (which are not repacked); rms 0.07 to 0.12 and
/// largest 0.24 to 0.41 in Q4_0, Q4_K, Q3_K, Q2_K, IQ4_NL and IQ4_XS; with a cache in Q4_0, 0.39 and 1.1. The first
/// choice moved by 0.06 at most. All layers on Vulkan (Mesa's llvmpipe) against plain kernels: rms 0.03 to 0.15 and
/// largest 0.10 to 0.40 in F16, Q8_0, Q4_1, Q4_0, Q4_K and IQ4_NL; with a cache in Q4_0, 0.26 to 0.72 and 0.9 to 1.5,
/// which is noise: from the scores with a cache in F16, both differ by 0.25 to 0.58. Wrong scores differ more: those
/// of the token with the next number, rms 1.35, largest 7, first choice 6; those of another position in the text 3.2,
/// 9.8 and 5.1; all zero, at least 1. So errors are detected whose effect is larger than 1.3 times that of storing F16
/// weights in Q4_0 (rms 0.70).
pub(super) const ALLOWED: Difference = Difference { rms: 0.9, largest: 3.0, first_choice: 1.5 };

/// Why scores are wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wrong {
    /// A value is not finite where the reference's is.
    NotANumber,
    /// The difference exceeds [`ALLOWED`].
    Far(Difference),
    /// The numbers of scores differ.
    OtherCount,
}

/// Compares scores with the reference's.
pub(super) fn compare(reference: &Scores, scores: &Scores) -> Result<Difference, Wrong> {
    if reference.len() != scores.len() || reference.is_empty() {
        return Err(Wrong::OtherCount);
    }
    let mut most = Difference::default();
    for (reference, scores) in reference.iter().zip(scores) {
        let here = compare_place(reference, scores)?;
        most.rms = most.rms.max(here.rms);
        most.largest = most.largest.max(here.largest);
        most.first_choice = most.first_choice.max(here.first_choice);
    }
    let is_near = most.rms <= ALLOWED.rms
        && most.largest <= ALLOWED.largest
        && most.first_choice <= ALLOWED.first_choice;
    if is_near { Ok(most) } else { Err(Wrong::Far(most)) }
}

fn compare_place(reference: &[Option<f32>], scores: &[Option<f32>]) -> Result<Difference, Wrong> {
    if reference.len() != scores.len() {
        return Err(Wrong::OtherCount);
    }
    let mut pairs = Vec::with_capacity(reference.len());
    for pair in reference.iter().zip(scores) {
        match pair {
            (Some(reference), Some(score)) => pairs.push((f64::from(*reference), f64::from(*score))),
            // A model may exclude tokens.
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(Wrong::NotANumber),
        }
    }
    let Some(first) = pairs.iter().copied().reduce(|a, b| if b.0 > a.0 { b } else { a }) else {
        return Err(Wrong::NotANumber);
    };
    let rival = pairs.iter().copied().fold(first, |a, b| if b.1 > a.1 { b } else { a });
    let count = pairs.len() as f64;
    let mean = pairs.iter().map(|pair| pair.0).sum::<f64>() / count;
    let deviation = (pairs.iter().map(|pair| (pair.0 - mean).powi(2)).sum::<f64>() / count).sqrt();
    // If a model scores all tokens equally, there is no scale to compare by, and only equal scores are accepted.
    let unit = deviation.max(f64::MIN_POSITIVE);
    let square = pairs.iter().map(|pair| (pair.1 - pair.0).powi(2)).sum::<f64>() / count;
    let largest = pairs.iter().map(|pair| (pair.1 - pair.0).abs()).fold(0.0, f64::max);
    Ok(Difference {
        rms: square.sqrt() / unit,
        largest: largest / unit,
        first_choice: (first.0 - rival.0) / unit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes scores like a model's: spread over some units, in a different order at each position.
    fn scores(error: f32) -> Vec<Vec<Option<f32>>> {
        let place = |place: usize| {
            let score = |token: usize| {
                let mixed = (token * 7919 + place * 104_729) % 1009;
                let sign = if (token + place).is_multiple_of(2) { 1.0 } else { -1.0 };
                Some(mixed as f32 / 100.0 - 5.0 + sign * error)
            };
            (0..1009).map(score).collect()
        };
        (0..3).map(place).collect()
    }

    #[test]
    fn equal_scores_do_not_differ() {
        assert_eq!(compare(&scores(0.0), &scores(0.0)), Ok(Difference::default()));
    }

    #[test]
    fn scores_that_were_rounded_differently_are_near() {
        let difference = compare(&scores(0.0), &scores(0.05)).unwrap();
        assert!((0.01..0.05).contains(&difference.rms), "{difference:?}");
    }

    #[test]
    fn scores_of_something_else_are_far() {
        let reference = scores(0.0);
        let mut other = reference.clone();
        other.rotate_left(1);
        assert!(matches!(compare(&reference, &other), Err(Wrong::Far(_))));
        let zero = vec![vec![Some(0.0); 1009]; 3];
        assert!(matches!(compare(&reference, &zero), Err(Wrong::Far(_))));
        let huge: Vec<Vec<_>> =
            reference.iter().map(|row| row.iter().map(|score| score.map(|x| x * 1e30)).collect()).collect();
        assert!(matches!(compare(&reference, &huge), Err(Wrong::Far(_))));
    }

    #[test]
    fn one_token_that_is_far_away_among_many_is_found() {
        let reference = scores(0.0);
        for wrong in [30.0, -30.0] {
            let mut other = reference.clone();
            other[2][1008] = Some(wrong);
            let found = compare(&reference, &other);
            assert!(matches!(found, Err(Wrong::Far(Difference { rms, .. })) if rms < 1.0), "{found:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_wrong_unless_the_reference_has_none_there_either() {
        let reference = scores(0.0);
        let mut other = reference.clone();
        other[1][5] = None;
        assert_eq!(compare(&reference, &other), Err(Wrong::NotANumber));
        assert_eq!(compare(&other, &reference), Err(Wrong::NotANumber));
        assert_eq!(compare(&other, &other), Ok(Difference::default()));
        let nothing = vec![vec![None; 1009]; 3];
        assert_eq!(compare(&nothing, &nothing), Err(Wrong::NotANumber));
    }

    #[test]
    fn scores_of_another_vocabulary_or_of_no_place_are_wrong() {
        let reference = scores(0.0);
        assert_eq!(compare(&reference, &reference[..2]), Err(Wrong::OtherCount));
        assert_eq!(compare(&[], &[]), Err(Wrong::OtherCount));
        let mut other = reference.clone();
        other[0].pop();
        assert_eq!(compare(&reference, &other), Err(Wrong::OtherCount));
    }
}
