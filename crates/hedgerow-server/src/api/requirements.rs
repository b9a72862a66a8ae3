//! A request's service requirements, from headers and body: deadline, TTFT and TPOT targets, quality floor and value.

use axum::http::{HeaderMap, HeaderValue};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Quality;
use serde::Deserialize;

use super::ApiError;
use crate::access::Caller;

/// The shortest deadline or target; a shorter one is rejected as a mistake.
const DEADLINE_MS_MIN: f64 = 1.0;
/// One day; a longer deadline is rejected as a mistake.
const DEADLINE_MS_MAX: f64 = 86_400_000.0;

/// Maximum value of a request.
const VALUE_MAX: f64 = 1000.0;

/// The requirements as a body's object `hedgerow` has them.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SloFields {
    /// End-to-end deadline, ms from arrival.
    pub(super) deadline_ms: Option<f64>,
    /// Quality floor, 0 to 1.
    pub(super) min_quality: Option<f64>,
    /// Target for the time to the first token, ms from arrival.
    pub(super) ttft_ms: Option<f64>,
    /// Target for the time per token after the first, ms.
    pub(super) tpot_ms: Option<f64>,
    /// Value of serving the request; the default is 1.
    pub(super) value: Option<f64>,
}

/// A request's service requirements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Requirements {
    /// When the client wants to have the whole answer; `None`: best effort.
    pub(super) client_deadline: Option<Instant>,
    pub(super) ttft: Option<Span>,
    pub(super) tpot: Option<Span>,
    pub(super) min_quality: Quality,
    pub(super) value: u32,
}

/// A number with the name of the header or field that it comes from.
type Named = Option<(&'static str, f64)>;

/// The requirements as the headers have them, which are known before the body is read. Of several values, the strictest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HeaderRequirements {
    /// Time from arrival.
    pub(super) deadline: Option<Span>,
    ttft: Option<Span>,
    tpot: Option<Span>,
    min_quality: Quality,
}

impl HeaderRequirements {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let times = |what, names: &[&'static str]| {
            let numbers = names.iter().map(|name| numbers(headers, name)).collect::<Result<Vec<_>, _>>()?;
            let times = numbers.into_iter().flatten().map(|named| time(what, named));
            times.collect::<Result<Vec<_>, _>>().map(|times| times.into_iter().flatten().min())
        };
        let floors = numbers(headers, "x-slo-min-quality")?.into_iter().map(quality);
        let floors = floors.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            deadline: times("a deadline", &["x-slo-e2e-ms"])?,
            ttft: times("a TTFT target", &["x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"])?,
            tpot: times("a TPOT target", &["x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"])?,
            min_quality: floors.into_iter().fold(Quality::NONE, higher),
        })
    }

    /// Adds the requirements of a body. If both set one, the stricter applies.
    pub(super) fn with(
        self,
        body: &SloFields,
        caller: &Caller,
        default_deadline: Option<Span>,
        arrived: Instant,
    ) -> Result<Requirements, ApiError> {
        let named = |name, value: Option<f64>| -> Named { value.map(|value| (name, value)) };
        let of_body = time("a deadline", named("hedgerow.deadline_ms", body.deadline_ms))?;
        let deadline = shortest(self.deadline, of_body).or(caller.default_deadline()).or(default_deadline);
        let ttft = time("a TTFT target", named("hedgerow.ttft_ms", body.ttft_ms))?;
        let tpot = time("a TPOT target", named("hedgerow.tpot_ms", body.tpot_ms))?;
        let floor = quality(named("hedgerow.min_quality", body.min_quality))?;
        Ok(Requirements {
            client_deadline: deadline.map(|span| arrived + span),
            ttft: shortest(self.ttft, ttft),
            tpot: shortest(self.tpot, tpot),
            min_quality: match higher(floor, self.min_quality) {
                Quality::NONE => caller.default_min_quality(),
                floor => floor,
            },
            value: value(named("hedgerow.value", body.value), caller.value_max())?,
        })
    }
}

fn higher(one: Quality, other: Quality) -> Quality {
    if one > other { one } else { other }
}

fn shortest(one: Option<Span>, other: Option<Span>) -> Option<Span> {
    one.into_iter().chain(other).min()
}

/// A time given in milliseconds.
fn time(what: &str, named: Named) -> Result<Option<Span>, ApiError> {
    let Some((name, value_ms)) = named else { return Ok(None) };
    if (DEADLINE_MS_MIN..=DEADLINE_MS_MAX).contains(&value_ms) {
        return Ok(Some(Span::from_seconds(value_ms / 1e3)));
    }
    let limit = format!("{what} is from {DEADLINE_MS_MIN} to {DEADLINE_MS_MAX} ms");
    Err(ApiError::bad_value(name, value_ms, &limit))
}

fn quality(named: Named) -> Result<Quality, ApiError> {
    let Some((name, value)) = named else { return Ok(Quality::NONE) };
    Quality::new(value).ok_or_else(|| ApiError::bad_value(name, value, "a quality is from 0 to 1"))
}

/// A value, up to the most that the caller may give.
fn value(named: Named, most: u32) -> Result<u32, ApiError> {
    match named {
        None => Ok(1),
        Some((_, value)) if value.fract() == 0.0 && (1.0..=f64::from(most)).contains(&value) => {
            Ok(value as u32)
        }
        Some((name, value)) if value.fract() == 0.0 && (1.0..=VALUE_MAX).contains(&value) => {
            let message = format!("`{name}` is {value}, but the most of this caller is {most}");
            Err(ApiError::not_allowed(
                name,
                format!(
                    "{message} (the key's `value_max`, or `access.anonymous_value_max` where there are no keys)"
                ),
            ))
        }
        Some((name, value)) => {
            Err(ApiError::bad_value(name, value, "a value is a whole number from 1 to 1000"))
        }
    }
}

/// The numbers of a header, which may be repeated: the strictest applies.
fn numbers(headers: &HeaderMap, name: &'static str) -> Result<Vec<Named>, ApiError> {
    let number = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or("text that is not ASCII");
        match value.trim().parse() {
            Ok(number) => Ok(Some((name, number))),
            Err(_) => Err(ApiError::bad_value(name, format!("`{value}`"), "it must be a number")),
        }
    };
    headers.get_all(name).iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: Option<(&'static str, &'static str)>, body: SloFields) -> Result<Requirements, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        let caller = Caller::anonymous(3);
        HeaderRequirements::read(&headers)?.with(&body, &caller, None, Instant(1_000_000))
    }

    fn deadline(ms: f64) -> SloFields {
        SloFields { deadline_ms: Some(ms), ..SloFields::default() }
    }

    #[test]
    fn the_stricter_of_header_and_body_counts() {
        let read = read(Some(("x-slo-e2e-ms", "500")), deadline(2000.0)).unwrap();
        assert_eq!(read.client_deadline, Some(Instant(501_000_000)));
    }

    #[test]
    fn targets_are_read_under_both_of_their_names() {
        let body = SloFields { tpot_ms: Some(40.0), value: Some(3.0), ..SloFields::default() };
        for name in ["x-slo-ttft-ms", "x-llm-d-slo-ttft-ms"] {
            let body = SloFields { tpot_ms: body.tpot_ms, value: body.value, ..SloFields::default() };
            let read = read(Some((name, "250")), body).unwrap();
            assert_eq!(read.ttft, Some(Span::from_millis(250)));
            assert_eq!((read.tpot, read.value, read.client_deadline), (Some(Span::from_millis(40)), 3, None));
        }
    }

    #[test]
    fn the_strictest_of_repeated_headers_counts() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-slo-e2e-ms", "900"),
            ("x-slo-e2e-ms", "300"),
            ("x-slo-ttft-ms", "50"),
            ("x-llm-d-slo-ttft-ms", "70"),
            ("x-slo-min-quality", "0.5"),
            ("x-slo-min-quality", "0.9"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let read = HeaderRequirements::read(&headers).unwrap();
        assert_eq!((read.deadline, read.ttft), (Some(Span::from_millis(300)), Some(Span::from_millis(50))));
        assert_eq!(read.min_quality, Quality::new(0.9).unwrap());
        headers.append("x-slo-e2e-ms", "5e-324".parse().unwrap());
        assert!(HeaderRequirements::read(&headers).is_err());
    }

    #[test]
    fn absurd_demands_are_refused_with_the_field_and_its_limit() {
        let refused = [
            read(None, deadline(-5.0)),
            read(None, deadline(0.0)),
            read(None, deadline(1e12)),
            read(Some(("x-slo-e2e-ms", "soon")), SloFields::default()),
            read(Some(("x-slo-min-quality", "1.5")), SloFields::default()),
            read(None, SloFields { min_quality: Some(-0.1), ..SloFields::default() }),
            read(None, SloFields { value: Some(0.5), ..SloFields::default() }),
            read(None, SloFields { value: Some(4.0), ..SloFields::default() }),
            read(Some(("x-slo-ttft-ms", "0")), SloFields::default()),
        ];
        let messages: Vec<_> = refused
            .map(|refused| refused.unwrap_err().body()["error"]["message"].as_str().unwrap().to_owned())
            .into();
        assert_eq!(
            messages,
            [
                "`hedgerow.deadline_ms` is -5, but a deadline is from 1 to 86400000 ms",
                "`hedgerow.deadline_ms` is 0, but a deadline is from 1 to 86400000 ms",
                "`hedgerow.deadline_ms` is 1000000000000, but a deadline is from 1 to 86400000 ms",
                "`x-slo-e2e-ms` is `soon`, but it must be a number",
                "`x-slo-min-quality` is 1.5, but a quality is from 0 to 1",
                "`hedgerow.min_quality` is -0.1, but a quality is from 0 to 1",
                "`hedgerow.value` is 0.5, but a value is a whole number from 1 to 1000",
                "`hedgerow.value` is 4, but the most of this caller is 3 (the key's `value_max`, or \
                 `access.anonymous_value_max` where there are no keys)",
                "`x-slo-ttft-ms` is 0, but a TTFT target is from 1 to 86400000 ms",
            ]
        );
    }
}
