//! Arrival processes of a workload.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_workload::hint::hinted;
use hedgerow_workload::{ArrivalTimes, Process, Purpose, RateBy, Replay, Trace, TraceFit, stream};
use rand::RngExt as _;

/// An arrival process.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Gamma-distributed gaps whose mean is the inverse of the rate. A shape of 1 is a Poisson process; below 1 is
    /// burstier, above 1 more regular. The coefficient of variation of the gaps is `1 / sqrt(shape)`, as with
    /// vLLM's `--burstiness`.
    Gamma {
        /// Above 0.
        shape: f64,
    },
    /// The arrivals of a recorded trace, thinned to the rate.
    Trace {
        /// The trace.
        trace: Arc<Trace>,
        /// Where in the trace to begin; `None`: drawn from the seed.
        start: Option<Duration>,
        /// How its lengths are scaled and capped.
        fit: TraceFit,
    },
}

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arrival {
    /// When it is, from the start.
    pub(super) at: Duration,
    /// Its prompt and output lengths in tokens, if a trace gives them.
    pub(super) lengths: Option<(u32, u32)>,
}

impl Arrivals {
    /// Draws the arrivals up to, but without, `duration`.
    ///
    /// # Errors
    ///
    /// When a trace's rate is too low, or the trace is too short.
    pub(super) fn draw(
        &self,
        rate_per_s: f64,
        duration: Duration,
        seed: u64,
    ) -> anyhow::Result<Vec<Arrival>> {
        let process = match self {
            Self::Gamma { shape } => Process::Gamma { cv: shape.powf(-0.5) },
            Self::Trace { trace, start, fit } => {
                if rate_per_s > trace.rate_per_s() {
                    return Err(too_slow(trace, rate_per_s));
                }
                let start_s = window_start(trace, *start, duration, seed)?;
                let (trace, fit) = (Arc::clone(trace), *fit);
                Process::Trace(Replay { trace, start_s, rate_by: RateBy::Thinning, fit })
            }
        };
        let times = ArrivalTimes::new(&process, rate_per_s, seed);
        let arrivals = times.map(|(at, lengths)| Arrival { at: Duration::from_nanos(at.0), lengths });
        Ok(arrivals.take_while(|arrival| arrival.at < duration).collect())
    }
}

fn too_slow(trace: &Trace, rate_per_s: f64) -> anyhow::Error {
    hinted(
        format!("the trace has {:.2} requests a second, fewer than {rate_per_s}", trace.rate_per_s()),
        "ask for a lower --rate; a trace can only be thinned",
    )
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
    let random_s = || stream(seed, Purpose::TraceStart).random::<f64>() * room_s;
    Ok(start.map_or_else(random_s, |_| asked_s))
}

#[cfg(test)]
mod tests {
    use hedgerow_workload::TraceRow;

    use super::*;

    const FIT: TraceFit =
        TraceFit { scale_prompt: 1.0, scale_output: 1.0, max_prompt: 4096, max_output: 4096 };

    #[test]
    fn a_shape_gives_gaps_of_its_coefficient_of_variation() {
        let duration = Duration::from_secs(20_000);
        for shape in [0.25, 1.0, 4.0] {
            let arrivals = Arrivals::Gamma { shape }.draw(2.0, duration, 1).unwrap();
            let gaps: Vec<f64> =
                arrivals.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            let (measured, cv) = (variance.sqrt() / mean, 1.0 / f64::sqrt(shape));
            assert!((measured / cv - 1.0).abs() < 0.05, "shape {shape}: {measured} is not {cv}");
        }
    }

    /// 600 bursts of ten requests within a second, ten seconds apart: one request a second.
    fn bursts(start: Option<Duration>) -> Arrivals {
        let rows = (0..6000).map(|index| TraceRow {
            at_s: f64::from(index / 10 * 10) + f64::from(index % 10) * 0.1,
            prompt_tokens: 400,
            output_tokens: 100,
        });
        Arrivals::Trace { trace: Arc::new(Trace::new(rows.collect()).unwrap()), start, fit: FIT }
    }

    #[test]
    fn the_seed_determines_the_window_unless_a_start_is_given() {
        let minute = Duration::from_secs(60);
        let window = |start, seed| bursts(start).draw(1.0, minute, seed).unwrap();
        assert_ne!(window(None, 1), window(None, 2));
        assert_eq!(window(None, 1), window(None, 1));
        // Hardly a request is removed at the trace's own rate, and all of them are within the window.
        let sample = window(Some(minute), 1);
        assert!((55..=60).contains(&sample.len()), "{}", sample.len());
        assert!(sample.iter().all(|arrival| arrival.at < minute && arrival.lengths == Some((400, 100))));
    }

    #[test]
    fn a_trace_that_is_too_slow_or_too_short_is_refused() {
        let error = |rate, duration| {
            bursts(None).draw(rate, Duration::from_secs(duration), 1).unwrap_err().to_string()
        };
        assert_eq!(error(3.0, 60), "the trace has 1.00 requests a second, fewer than 3");
        assert_eq!(error(0.5, 6000), "the trace is 5991 s long, which is less than 0 s + 6000 s");
    }
}
