//! Stage 4 of 6: quantization.
//!
//! - takes: the precisions there are and what quality the requests ask for
//! - gives: which precision a request may run at, and which of them are in memory ([`LoadedPrecisions`])
//! - never: loads, converts or measures a model

mod loaded;

pub use loaded::{LoadedPrecisions, PrecisionLoad};

use crate::engine::cost::MeasuredCost;
use crate::request::Request;
use crate::time::Span;
use crate::units::{Bytes, Quality};

/// One quantized form of the model, and what it costs and loses on this node (`model.md §1`).
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Precision {
    /// Its name in the field's words: `F16`, `Q4_0`, `W8A16`.
    pub name: String,
    /// Bytes its weights hold, `α_q · weights`.
    pub weights: Bytes,
    /// Time factor of prefill against 16 bits, `β_q`.
    pub beta_prefill: f64,
    /// Time factor of decode against 16 bits, `β_q`.
    pub beta_decode: f64,
    /// `f(ΔPPL_q)`: see [`quality_by_perplexity`] and [`quality_by_agreement`].
    pub quality: Quality,
    /// When its weights are in memory.
    #[serde(default)]
    pub residency: Residency,
    /// Its own step times, for a node that measured each precision's; `None` where the cost model's hold for all.
    #[serde(default)]
    pub measured: Option<MeasuredCost>,
}

/// When a precision's weights are in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// From the node's start to its end.
    #[default]
    Always,
    /// While it is worth it.
    OnDemand {
        /// How long loading them takes, during which the engine runs nothing.
        load: Span,
        /// Whether they are there when the node starts.
        at_start: bool,
    },
}

impl Residency {
    /// Whether the weights are there when the node starts.
    pub fn is_there_at_start(self) -> bool {
        match self {
            Self::Always => true,
            Self::OnDemand { at_start, .. } => at_start,
        }
    }
}

/// The place of a precision in [`crate::node::Node::precisions`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize,
)]
pub struct PrecisionIndex(pub usize);

/// Quality as the ratio of perplexities: `f = PPL_ref / PPL_q`, at most 1 (`model.md §1`).
///
/// # Panics
///
/// If a perplexity is not a positive number.
pub fn quality_by_perplexity(reference: f64, quantized: f64) -> Quality {
    assert!(reference > 0.0 && quantized > 0.0, "perplexities {reference} and {quantized} must be positive");
    Quality::new((reference / quantized).min(1.0)).expect("a ratio capped at 1 is a fraction")
}

/// Quality as the measured share of tokens on which the quantized model's first choice is the
/// reference's (`model.md §1`). `None` unless `agreeing` of `all` is a fraction.
pub fn quality_by_agreement(agreeing: u64, all: u64) -> Option<Quality> {
    Quality::new(agreeing as f64 / all as f64)
}

/// Whether a request may run at one of the node's precisions: it is as good as asked, and the one that was
/// asked for if one was.
pub fn suits(precisions: &[Precision], index: PrecisionIndex, request: &Request) -> bool {
    request.precision.is_none_or(|only| only == index) && precisions[index.0].quality >= request.min_quality
}

/// Whether some usable precision suits a request.
///
/// # Errors
///
/// The best quality among those that it may run at, when that is below its floor; `None` when there are none.
pub fn reachable(
    precisions: &[Precision],
    is_usable: impl Fn(PrecisionIndex) -> bool,
    request: &Request,
) -> Result<(), Option<Quality>> {
    let indices = (0..precisions.len()).map(PrecisionIndex);
    let may_run =
        |&index: &PrecisionIndex| is_usable(index) && request.precision.is_none_or(|only| only == index);
    let qualities = indices.filter(may_run).map(|index| precisions[index.0].quality);
    let best = qualities.reduce(|a, b| if b > a { b } else { a });
    if best >= Some(request.min_quality) { Ok(()) } else { Err(best) }
}

/// Precisions in the order in which to try them when a batch runs at one: fastest decode first, because
/// decode is where a batch spends its time; ties in the order they were listed.
pub fn fastest_first(precisions: &[Precision]) -> Vec<PrecisionIndex> {
    let mut order: Vec<_> = (0..precisions.len()).map(PrecisionIndex).collect();
    order.sort_by(|a, b| precisions[a.0].beta_decode.total_cmp(&precisions[b.0].beta_decode));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestId;
    use crate::time::Instant;
    use crate::units::Tokens;

    fn precision(name: &str, beta: f64, quality: f64) -> Precision {
        Precision {
            name: name.into(),
            weights: Bytes(1),
            beta_prefill: beta,
            beta_decode: beta,
            quality: Quality::new(quality).unwrap(),
            residency: Residency::Always,
            measured: None,
        }
    }

    #[test]
    fn tries_the_fastest_precision_first() {
        let resident =
            [precision("F16", 1.0, 1.0), precision("Q4_0", 0.4, 0.9), precision("Q8_0", 0.6, 0.99)];
        let names: Vec<_> =
            fastest_first(&resident).iter().map(|index| resident[index.0].name.as_str()).collect();
        assert_eq!(names, ["Q4_0", "Q8_0", "F16"]);
    }

    fn request(floor: Quality, only: Option<usize>) -> Request {
        let request = Request::new(RequestId(0), Instant::START, Tokens(1), Tokens(1));
        Request { min_quality: floor, precision: only.map(PrecisionIndex), ..request }
    }

    #[test]
    fn names_the_best_quality_when_no_precision_reaches_the_floor() {
        let resident = [precision("Q4_0", 0.4, 0.9), precision("Q8_0", 0.6, 0.99)];
        let high = Quality::new(0.99).unwrap();
        assert_eq!(reachable(&resident, |_| true, &request(high, None)), Ok(()));
        assert_eq!(reachable(&resident, |_| true, &request(Quality::FULL, None)), Err(Some(high)));
    }

    #[test]
    fn a_request_that_insists_on_a_precision_gets_that_or_none() {
        let resident = [precision("Q4_0", 0.4, 0.9), precision("Q8_0", 0.6, 0.99)];
        let low = Quality::new(0.9).unwrap();
        assert_eq!(reachable(&resident, |_| true, &request(low, Some(0))), Ok(()));
        assert_eq!(
            reachable(&resident, |_| true, &request(Quality::new(0.95).unwrap(), Some(0))),
            Err(Some(low))
        );
        let others = |index| index != PrecisionIndex(0);
        assert_eq!(reachable(&resident, others, &request(Quality::NONE, Some(0))), Err(None));
        let suits =
            |floor, only| [0, 1].map(|index| suits(&resident, PrecisionIndex(index), &request(floor, only)));
        assert_eq!(suits(low, None), [true, true]);
        assert_eq!(suits(low, Some(1)), [false, true]);
        assert_eq!(suits(Quality::new(0.95).unwrap(), Some(0)), [false, false]);
    }

    #[test]
    fn a_quantized_model_is_never_called_better_than_its_reference() {
        assert_eq!(quality_by_perplexity(20.0, 19.5), Quality::FULL);
        assert_eq!(quality_by_perplexity(20.0, 25.0), Quality::new(0.8).unwrap());
        assert_eq!(quality_by_agreement(0, 0), None);
    }
}
