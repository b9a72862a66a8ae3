//! A request's service requirements, from headers and body: deadline, TTFT and TPOT targets, quality floor and value.

use axum::http::HeaderMap;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Quality;

use super::ApiError;
use super::body::HedgerowBody;

/// One day; a longer deadline is rejected as a mistake.
const DEADLINE_MS_MAX: f64 = 86_400_000.0;

const DEADLINE_HEADER: &str = "x-slo-e2e-ms";

/// Maximum value of a request.
const VALUE_MAX: f64 = 1000.0;

/// A request's service requirements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Requirements {
    pub(super) deadline: Option<Instant>,
    pub(super) ttft: Option<Span>,
    pub(super) tpot: Option<Span>,
    pub(super) min_quality: Quality,
    pub(super) value: u32,
}

impl Requirements {
    /// The deadline from the headers, which is known before the body is read.
    pub(super) fn header_deadline(headers: &HeaderMap) -> Result<Option<Span>, ApiError> {
        shortest("a deadline", [number(headers, DEADLINE_HEADER)?, None])
    }

    /// Reads the requirements. If header and body both set one, the stricter applies.
    pub(super) fn read(
        headers: &HeaderMap,
        body: Option<&HedgerowBody>,
        default_deadline: Option<Span>,
        arrived: Instant,
    ) -> Result<Self, ApiError> {
        let of_body =
            |name, read: fn(&HedgerowBody) -> Option<f64>| body.and_then(read).map(|value| (name, value));
        let deadline = shortest(
            "a deadline",
            [number(headers, DEADLINE_HEADER)?, of_body("hedgerow.deadline_ms", |body| body.deadline_ms)],
        )?;
        let ttft = shortest(
            "a TTFT target",
            [
                number(headers, "x-llm-d-slo-ttft-ms")?.or(number(headers, "x-slo-ttft-ms")?),
                of_body("hedgerow.ttft_ms", |body| body.ttft_ms),
            ],
        )?;
        let tpot = shortest(
            "a TPOT target",
            [
                number(headers, "x-llm-d-slo-tpot-ms")?.or(number(headers, "x-slo-tpot-ms")?),
                of_body("hedgerow.tpot_ms", |body| body.tpot_ms),
            ],
        )?;
        let min_quality =
            [number(headers, "x-slo-min-quality")?, of_body("hedgerow.min_quality", |body| body.min_quality)];
        let mut floor = Quality::NONE;
        for (name, value) in min_quality.into_iter().flatten() {
            let quality = Quality::new(value)
                .ok_or_else(|| ApiError::bad_value(name, value, "a quality is from 0 to 1"))?;
            if quality > floor {
                floor = quality;
            }
        }
        let value = match of_body("hedgerow.value", |body| body.value) {
            None => 1,
            Some((_, value)) if value.fract() == 0.0 && (1.0..=VALUE_MAX).contains(&value) => value as u32,
            Some((name, value)) => {
                return Err(ApiError::bad_value(name, value, "a value is a whole number from 1 to 1000"));
            }
        };
        let deadline = deadline.or(default_deadline).map(|span| arrived + span);
        Ok(Self { deadline, ttft, tpot, min_quality: floor, value })
    }
}

/// The shortest of several times, each in milliseconds with the name of its field.
fn shortest(what: &str, named: [Option<(&'static str, f64)>; 2]) -> Result<Option<Span>, ApiError> {
    let mut shortest: Option<Span> = None;
    for (name, value_ms) in named.into_iter().flatten() {
        if !(value_ms > 0.0 && value_ms <= DEADLINE_MS_MAX) {
            let limit = format!("{what} is more than 0 and at most {DEADLINE_MS_MAX} ms");
            return Err(ApiError::bad_value(name, value_ms, &limit));
        }
        let span = Span::from_seconds(value_ms / 1e3);
        shortest = Some(shortest.map_or(span, |other| other.min(span)));
    }
    Ok(shortest)
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<(&'static str, f64)>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let value = value.to_str().unwrap_or("text that is not ASCII");
    match value.trim().parse() {
        Ok(number) => Ok(Some((name, number))),
        Err(_) => Err(ApiError::bad_value(name, format!("`{value}`"), "it must be a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        header: Option<(&'static str, &'static str)>,
        body: HedgerowBody,
    ) -> Result<Requirements, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        Requirements::read(&headers, Some(&body), None, Instant(1_000_000))
    }

    fn deadline(ms: f64) -> HedgerowBody {
        HedgerowBody { deadline_ms: Some(ms), ..HedgerowBody::default() }
    }

    #[test]
    fn the_stricter_of_header_and_body_counts() {
        let read = read(Some(("x-slo-e2e-ms", "500")), deadline(2000.0)).unwrap();
        assert_eq!(read.deadline, Some(Instant(501_000_000)));
    }

    #[test]
    fn targets_are_read_under_both_of_their_names() {
        let body = HedgerowBody { tpot_ms: Some(40.0), value: Some(3.0), ..HedgerowBody::default() };
        for name in ["x-slo-ttft-ms", "x-llm-d-slo-ttft-ms"] {
            let body = HedgerowBody { tpot_ms: body.tpot_ms, value: body.value, ..HedgerowBody::default() };
            let read = read(Some((name, "250")), body).unwrap();
            assert_eq!(read.ttft, Some(Span::from_millis(250)));
            assert_eq!((read.tpot, read.value, read.deadline), (Some(Span::from_millis(40)), 3, None));
        }
    }

    #[test]
    fn absurd_demands_are_refused_with_the_field_and_its_limit() {
        let refused = [
            read(None, deadline(-5.0)),
            read(None, deadline(0.0)),
            read(None, deadline(1e12)),
            read(Some(("x-slo-e2e-ms", "soon")), HedgerowBody::default()),
            read(Some(("x-slo-min-quality", "1.5")), HedgerowBody::default()),
            read(None, HedgerowBody { min_quality: Some(-0.1), ..HedgerowBody::default() }),
            read(None, HedgerowBody { value: Some(0.5), ..HedgerowBody::default() }),
            read(Some(("x-slo-ttft-ms", "0")), HedgerowBody::default()),
        ];
        let messages: Vec<_> = refused
            .map(|refused| refused.unwrap_err().body()["error"]["message"].as_str().unwrap().to_owned())
            .into();
        assert_eq!(
            messages,
            [
                "`hedgerow.deadline_ms` is -5, but a deadline is more than 0 and at most 86400000 ms",
                "`hedgerow.deadline_ms` is 0, but a deadline is more than 0 and at most 86400000 ms",
                "`hedgerow.deadline_ms` is 1000000000000, but a deadline is more than 0 and at most 86400000 ms",
                "`x-slo-e2e-ms` is `soon`, but it must be a number",
                "`x-slo-min-quality` is 1.5, but a quality is from 0 to 1",
                "`hedgerow.min_quality` is -0.1, but a quality is from 0 to 1",
                "`hedgerow.value` is 0.5, but a value is a whole number from 1 to 1000",
                "`x-slo-ttft-ms` is 0, but a TTFT target is more than 0 and at most 86400000 ms",
            ]
        );
    }
}
