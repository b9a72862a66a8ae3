//! By when and how well: a request's deadline and quality floor, from headers and body.

use axum::http::HeaderMap;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Quality;

use super::ApiError;
use super::body::HedgerowBody;

/// A day: longer deadlines are mistakes.
const DEADLINE_MS_MAX: f64 = 86_400_000.0;

const DEADLINE_HEADER: &str = "x-slo-e2e-ms";

/// What a request demands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Requirements {
    pub(super) deadline: Option<Instant>,
    pub(super) min_quality: Quality,
}

impl Requirements {
    /// The deadline that a header names: what is known before the body is here.
    pub(super) fn header_deadline(headers: &HeaderMap) -> Result<Option<Span>, ApiError> {
        number(headers, DEADLINE_HEADER)?.map(deadline).transpose()
    }

    /// Reads them. Where header and body both speak, the stricter counts.
    pub(super) fn read(
        headers: &HeaderMap,
        body: Option<&HedgerowBody>,
        default_deadline: Option<Span>,
        arrived: Instant,
    ) -> Result<Self, ApiError> {
        let deadline_ms = [
            number(headers, DEADLINE_HEADER)?,
            body.and_then(|body| body.deadline_ms).map(|value| ("hedgerow.deadline_ms", value)),
        ];
        let min_quality = [
            number(headers, "x-slo-min-quality")?,
            body.and_then(|body| body.min_quality).map(|value| ("hedgerow.min_quality", value)),
        ];
        let mut strictest: Option<Span> = None;
        for said in deadline_ms.into_iter().flatten() {
            let span = deadline(said)?;
            strictest = Some(strictest.map_or(span, |other| other.min(span)));
        }
        let mut floor = Quality::NONE;
        for (name, value) in min_quality.into_iter().flatten() {
            let quality = Quality::new(value)
                .ok_or_else(|| ApiError::bad_value(name, value, "a quality is from 0 to 1"))?;
            if quality > floor {
                floor = quality;
            }
        }
        Ok(Self { deadline: strictest.or(default_deadline).map(|span| arrived + span), min_quality: floor })
    }
}

fn deadline((name, value_ms): (&str, f64)) -> Result<Span, ApiError> {
    if value_ms > 0.0 && value_ms <= DEADLINE_MS_MAX {
        Ok(Span::from_seconds(value_ms / 1e3))
    } else {
        let limit = "a deadline is more than 0 and at most 86400000 ms";
        Err(ApiError::bad_value(name, value_ms, limit))
    }
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
        HedgerowBody { deadline_ms: Some(ms), min_quality: None }
    }

    #[test]
    fn the_stricter_of_header_and_body_counts() {
        let read = read(Some(("x-slo-e2e-ms", "500")), deadline(2000.0)).unwrap();
        assert_eq!(read.deadline, Some(Instant(501_000_000)));
    }

    #[test]
    fn absurd_demands_are_refused_with_the_field_and_its_limit() {
        let refused = [
            read(None, deadline(-5.0)),
            read(None, deadline(0.0)),
            read(None, deadline(1e12)),
            read(Some(("x-slo-e2e-ms", "soon")), HedgerowBody::default()),
            read(Some(("x-slo-min-quality", "1.5")), HedgerowBody::default()),
            read(None, HedgerowBody { deadline_ms: None, min_quality: Some(-0.1) }),
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
            ]
        );
    }
}
