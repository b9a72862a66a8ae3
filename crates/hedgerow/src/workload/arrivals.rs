//! Arrival processes.

use std::time::Duration;

use hedgerow_sim::{Trace, TraceFit, TraceRow};
use rand::RngExt as _;
use rand_distr::{Distribution as _, Gamma};

use super::draw::{Purpose, stream};
use crate::hint::hinted;

/// An arrival process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arrivals {
    /// Gamma-distributed gaps whose mean is the inverse of the rate. A shape of 1 is a Poisson process; below 1 is
    /// burstier, above 1 more regular. The coefficient of variation of the gaps is `1 / sqrt(shape)`, as with
    /// vLLM's `--burstiness`.
    Gamma {
        /// Above 0.
        shape: f64,
    },
    /// The arrivals of a recorded trace.
    Trace {
        /// The trace.
        trace: Trace,
        /// Where in the trace to begin; `None`: drawn from the seed.
        start: Option<Duration>,
        /// How its lengths are scaled and capped.
        fit: TraceFit,
    },
}

/// Draws the times of a renewal process with gamma-distributed gaps, up to, but without, `duration`.
pub(super) fn gamma_times(rate_per_s: f64, shape: f64, duration: Duration, seed: u64) -> Vec<Duration> {
    let mut random = stream(seed, Purpose::Gaps);
    let gaps = Gamma::new(shape, 1.0 / (rate_per_s * shape)).expect("rate and shape were checked");
    let mut at_s = 0.0;
    let mut times = Vec::new();
    loop {
        at_s += gaps.sample(&mut random);
        if at_s >= duration.as_secs_f64() {
            return times;
        }
        times.push(Duration::from_secs_f64(at_s));
    }
}

/// Returns a window of a trace, thinned to a rate: each request stays with the probability `rate / trace's rate`,
/// independently of the others, so that bursts are preserved.
///
/// # Errors
///
/// When the trace's rate is too low, or the trace is too short.
pub(super) fn thinned(
    trace: &Trace,
    start: Option<Duration>,
    rate_per_s: f64,
    duration: Duration,
    seed: u64,
) -> anyhow::Result<Vec<(Duration, TraceRow)>> {
    let keep = rate_per_s / trace.rate_per_s();
    if keep > 1.0 {
        return Err(hinted(
            format!("the trace has {:.2} requests a second, fewer than {rate_per_s}", trace.rate_per_s()),
            "ask for a lower --rate; a trace can only be thinned",
        ));
    }
    let start_s = window_start(trace, start, duration, seed)?;
    let end_s = start_s + duration.as_secs_f64();
    let mut random = stream(seed, Purpose::Thinning);
    let window = trace.rows().iter().filter(|row| (start_s..end_s).contains(&row.at_s));
    let sampled = window.filter(|_| random.random::<f64>() < keep);
    Ok(sampled.map(|row| (Duration::from_secs_f64(row.at_s - start_s), *row)).collect())
}

/// Returns where in the trace the run begins, in seconds.
fn window_start(
    trace: &Trace,
    start: Option<Duration>,
    duration: Duration,
    seed: u64,
) -> anyhow::Result<f64> {
    let room_s = trace.length_s() - duration.as_secs_f64();
    let asked_s = start.map_or(0.0, |start| start.as_secs_f64());
    if asked_s > room_s {
        return Err(hinted(
            format!(
                "the trace is {:.0} s long, which is less than {asked_s} s + {} s",
                trace.length_s(),
                duration.as_secs_f64()
            ),
            "ask for a shorter --duration or an earlier --trace-start",
        ));
    }
    let random_s = || stream(seed, Purpose::Window).random::<f64>() * room_s;
    Ok(start.map_or_else(random_s, |_| asked_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_gaps(shape: f64) {
        let duration = Duration::from_secs(20_000);
        let times = gamma_times(2.0, shape, duration, 1);
        let cv = 1.0 / f64::sqrt(shape);
        // Four standard deviations of a renewal process' count.
        let expected = 40_000.0;
        assert!((times.len() as f64 - expected).abs() < 4.0 * cv * f64::sqrt(expected), "{}", times.len());
        let measured = coefficient_of_variation(&times);
        assert!((measured / cv - 1.0).abs() < 0.05, "shape {shape}: {measured} is not {cv}");
    }

    fn coefficient_of_variation(times: &[Duration]) -> f64 {
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        variance.sqrt() / mean
    }

    #[test]
    fn gaps_have_the_requested_rate_and_burstiness() {
        [0.25, 1.0, 4.0].into_iter().for_each(check_gaps);
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let times = |seed| gamma_times(5.0, 0.5, Duration::from_secs(10), seed);
        assert_eq!(times(3), times(3));
        assert_ne!(times(3), times(4));
    }

    /// 600 bursts of ten requests within a second, ten seconds apart: one request a second.
    fn bursts() -> Trace {
        let rows = (0..6000).map(|index| TraceRow {
            at_s: f64::from(index / 10 * 10) + f64::from(index % 10) * 0.1,
            prompt_tokens: 400,
            output_tokens: 100,
        });
        Trace::new(rows.collect()).unwrap()
    }

    #[test]
    fn a_thinned_trace_has_the_requested_rate_and_preserves_bursts() {
        let duration = Duration::from_secs(5000);
        let sample = thinned(&bursts(), Some(Duration::ZERO), 0.5, duration, 1).unwrap();
        assert!((sample.len() as f64 - 2500.0).abs() < 4.0 * f64::sqrt(1250.0), "{}", sample.len());
        // Each arrives within the first second of ten, as before.
        assert!(sample.iter().all(|(at, _)| at.as_secs() % 10 == 0));
        let times: Vec<Duration> = sample.iter().map(|(at, _)| *at).collect();
        let all: Vec<Duration> =
            bursts().rows().iter().map(|row| Duration::from_secs_f64(row.at_s)).collect();
        // Thinning tends to a Poisson process, whose coefficient is 1, but these stay much burstier.
        assert!(coefficient_of_variation(&all) > 2.5);
        assert!(coefficient_of_variation(&times) > 1.5, "{}", coefficient_of_variation(&times));
    }

    #[test]
    fn the_seed_determines_the_window_unless_a_start_is_given() {
        let minute = Duration::from_secs(60);
        let window = |start, seed| thinned(&bursts(), start, 1.0, minute, seed).unwrap();
        assert_ne!(window(None, 1), window(None, 2));
        assert_eq!(window(None, 1), window(None, 1));
        // No request is removed at the trace's own rate.
        assert_eq!(window(Some(minute), 1), window(Some(minute), 2));
        assert_eq!(window(Some(minute), 1).len(), 60);
    }

    #[test]
    fn a_trace_that_is_too_slow_or_too_short_is_refused() {
        let error = |rate, duration| {
            thinned(&bursts(), None, rate, Duration::from_secs(duration), 1).unwrap_err().to_string()
        };
        assert_eq!(error(3.0, 60), "the trace has 1.00 requests a second, fewer than 3");
        assert_eq!(error(0.5, 6000), "the trace is 5991 s long, which is less than 0 s + 6000 s");
    }
}
