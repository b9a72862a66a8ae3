//! Stage 4 of 6: quantization.
//!
//! - takes: the available precisions and the requests' quality floors
//! - gives: which precisions a request may run at, and which of them are in memory ([`LoadedPrecisions`])
//! - never: loads, converts or measures a model

mod loaded;

pub use crate::model::precision::{
    Precision, PrecisionIndex, Residency, quality_by_agreement, quality_by_perplexity,
};
pub use loaded::{LoadedPrecisions, PrecisionLoad};

use crate::model::request::Request;
use crate::model::units::Quality;

/// Whether a request may run at a precision: the precision reaches its quality floor, and is the required one if the
/// request requires one.
pub fn suits(precisions: &[Precision], index: PrecisionIndex, request: &Request) -> bool {
    request.precision.is_none_or(|only| only == index) && precisions[index.0].quality >= request.min_quality
}

/// Whether some usable precision suits a request.
///
/// # Errors
///
/// The best quality of the precisions that it may run at, when that is below its floor; `None` when there are none.
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

/// Precisions in the order in which to try them for a batch with one precision: fastest decode first, because a batch
/// spends most of its time in decodes; ties in the order listed.
pub fn fastest_first(precisions: &[Precision]) -> Vec<PrecisionIndex> {
    let mut order: Vec<_> = (0..precisions.len()).map(PrecisionIndex).collect();
    order.sort_by(|a, b| precisions[a.0].beta_decode.total_cmp(&precisions[b.0].beta_decode));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::request::RequestId;
    use crate::model::time::Instant;
    use crate::model::units::{Bytes, Tokens};

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
    fn a_request_that_requires_a_precision_gets_that_or_none() {
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
