//! Arrival processes.

use std::f64::consts::TAU;
use std::sync::Arc;

use hedgerow_core::time::{Instant, Span};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1, Gamma};

use crate::random::{self, Purpose};
use crate::trace::{Trace, TraceFit, TraceRow};

/// An arrival process. Its mean rate is that of the users.
#[derive(Clone, Debug, PartialEq)]
pub enum Process {
    /// Independent arrivals: gaps are exponential.
    Poisson,
    /// Gaps from a gamma distribution.
    Gamma {
        /// Coefficient of variation of the gaps: 1 is Poisson, above 1 is bursty, below 1 is more regular.
        cv: f64,
    },
    /// Interrupted Poisson process: Poisson arrivals in *on* periods, none in *off* periods; both have exponential
    /// lengths.
    OnOff {
        /// Mean length of an *on* period in seconds.
        on_s: f64,
        /// Mean length of an *off* period in seconds.
        off_s: f64,
    },
    /// Poisson with a sinusoidal rate: `rate·(1 + amplitude·cos(2π(t − peak)/period))`.
    Diurnal {
        /// From one peak to the next, in seconds.
        period_s: f64,
        /// Amplitude of the rate as a fraction of its mean; at most 1.
        amplitude: f64,
        /// Time of the first peak in seconds.
        peak_s: f64,
    },
    /// Arrivals of a recorded trace.
    Trace(Replay),
}

/// A trace to replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The trace.
    pub trace: Arc<Trace>,
    /// Where in the trace to begin, in seconds.
    pub start_s: f64,
    /// How the trace is adapted to the configured rate.
    pub rate_by: RateBy,
    /// How its lengths are scaled and limited.
    pub fit: TraceFit,
}

/// How a trace is adapted to another rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateBy {
    /// Each request is kept independently with the same probability, so gaps within a burst stay as they were. Only
    /// lower rates are possible.
    Thinning,
    /// All gaps are multiplied by the same factor.
    Stretching,
}

/// Arrival times in increasing order, without end but for a trace's.
#[derive(Clone, Debug)]
pub struct ArrivalTimes {
    process: Process,
    rate_per_s: f64,
    gaps: ChaCha8Rng,
    phases: ChaCha8Rng,
    thinning: ChaCha8Rng,
    last: Instant,
    /// Whether the current period is *on*, and when it ends (`on_off`).
    busy: Option<(bool, Instant)>,
    /// Index of the next row (`trace`).
    row: usize,
}

impl ArrivalTimes {
    /// The times of a process at a mean rate above 0. A trace cannot be thinned to a rate above its own.
    pub fn new(process: &Process, rate_per_s: f64, seed: u64) -> Self {
        let row = match process {
            Process::Trace(Replay { trace, start_s, .. }) => {
                trace.rows().partition_point(|row| row.at_s < *start_s)
            }
            Process::Poisson | Process::Gamma { .. } | Process::OnOff { .. } | Process::Diurnal { .. } => 0,
        };
        Self {
            process: process.clone(),
            rate_per_s,
            gaps: random::stream(seed, Purpose::Arrivals),
            phases: random::stream(seed, Purpose::Bursts),
            thinning: random::stream(seed, Purpose::Thinning),
            last: Instant::START,
            busy: None,
            row,
        }
    }

    /// Draws a gap of a Poisson process.
    fn gap(&mut self, rate_per_s: f64) -> Span {
        let gap: f64 = Exp1.sample(&mut self.gaps);
        Span::from_seconds(gap / rate_per_s)
    }

    fn next_busy(&mut self, on_s: f64, off_s: f64) -> Instant {
        let busy_rate_per_s = self.rate_per_s * (on_s + off_s) / on_s;
        let mut now = self.last;
        let lasts = |is_on: bool, phases: &mut ChaCha8Rng| {
            let length: f64 = Exp1.sample(phases);
            Span::from_seconds(length * if is_on { on_s } else { off_s })
        };
        loop {
            let phases = &mut self.phases;
            let (is_on, until) = *self.busy.get_or_insert_with(|| {
                let is_on = phases.random::<f64>() < on_s / (on_s + off_s);
                (is_on, now + lasts(is_on, phases))
            });
            // Exponential gaps are memoryless, so each *on* period begins with a new one.
            let next = if is_on { now + self.gap(busy_rate_per_s) } else { until };
            if is_on && next < until {
                return next;
            }
            now = until;
            self.busy = Some((!is_on, now + lasts(!is_on, &mut self.phases)));
        }
    }

    fn next_row(&mut self) -> Option<(Instant, (u32, u32))> {
        let Process::Trace(Replay { trace, start_s, rate_by, fit }) = &self.process else { return None };
        let wanted = self.rate_per_s / trace.rate_per_s();
        loop {
            let row: TraceRow = *trace.rows().get(self.row)?;
            self.row += 1;
            let after_s = row.at_s - start_s;
            let at_s = match rate_by {
                RateBy::Thinning if self.thinning.random::<f64>() >= wanted => continue,
                RateBy::Thinning => after_s,
                RateBy::Stretching => after_s / wanted,
            };
            return Some((Instant::START + Span::from_seconds(at_s), fit.lengths(row)));
        }
    }
}

impl Iterator for ArrivalTimes {
    /// An arrival time, with the prompt and output lengths of a trace.
    type Item = (Instant, Option<(u32, u32)>);

    fn next(&mut self) -> Option<Self::Item> {
        let Self { rate_per_s, .. } = *self;
        let mut lengths = None;
        self.last = match self.process {
            Process::Poisson => self.last + self.gap(rate_per_s),
            Process::Gamma { cv } => {
                let shape = cv.powi(-2);
                let gaps = Gamma::new(shape, 1.0 / (rate_per_s * shape)).expect("rate and cv were checked");
                self.last + Span::from_seconds(gaps.sample(&mut self.gaps))
            }
            Process::OnOff { on_s, off_s } => self.next_busy(on_s, off_s),
            Process::Diurnal { period_s, amplitude, peak_s } => loop {
                // Thinning (Lewis and Shedler): candidates at the peak rate, kept with probability rate(t)/peak rate.
                self.last = self.last + self.gap(rate_per_s * (1.0 + amplitude));
                let turn = TAU * (self.last.as_seconds() - peak_s) / period_s;
                let stays = (1.0 + amplitude * turn.cos()) / (1.0 + amplitude);
                if self.thinning.random::<f64>() < stays {
                    break self.last;
                }
            },
            Process::Trace(_) => {
                let (at, of_trace) = self.next_row()?;
                lengths = Some(of_trace);
                at
            }
        };
        Some((self.last, lengths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of all arrivals before `end_s`.
    fn times_s(process: &Process, rate_per_s: f64, end_s: f64) -> Vec<f64> {
        ArrivalTimes::new(process, rate_per_s, 1)
            .map(|(at, _)| at.as_seconds())
            .take_while(|&at_s| at_s < end_s)
            .collect()
    }

    fn cv_of_gaps(times_s: &[f64]) -> f64 {
        let gaps: Vec<f64> = times_s.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        variance.sqrt() / mean
    }

    /// Index of dispersion: variance of the counts per window over their mean, 1 for Poisson.
    fn dispersion(times_s: &[f64], end_s: f64, window_s: f64) -> f64 {
        let mut counts = vec![0_u32; (end_s / window_s) as usize];
        times_s.iter().for_each(|at_s| counts[(at_s / window_s) as usize] += 1);
        let count = counts.len() as f64;
        let mean = f64::from(counts.iter().sum::<u32>()) / count;
        counts.iter().map(|&number| (f64::from(number) - mean).powi(2)).sum::<f64>() / count / mean
    }

    #[test]
    fn gamma_gaps_have_the_configured_rate_and_variation() {
        for cv in [0.5, 1.0, 2.0] {
            let times_s = times_s(&Process::Gamma { cv }, 2.0, 20_000.0);
            // Four standard deviations of a renewal process' count.
            assert!((times_s.len() as f64 - 40_000.0).abs() < 4.0 * cv * 200.0, "{cv}: {}", times_s.len());
            let measured = cv_of_gaps(&times_s);
            assert!((measured / cv - 1.0).abs() < 0.05, "{measured} is not {cv}");
        }
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_are_neither_bursty_nor_even() {
        let times_s = times_s(&Process::Poisson, 2.0, 20_000.0);
        assert!((times_s.len() as f64 - 40_000.0).abs() < 800.0);
        assert!((cv_of_gaps(&times_s) - 1.0).abs() < 0.02);
        assert!((dispersion(&times_s, 20_000.0, 10.0) - 1.0).abs() < 0.13);
    }

    #[test]
    fn bursts_have_the_mean_rate_and_the_variance_of_their_equation() {
        let (on_s, off_s, rate) = (10.0, 30.0, 4.0);
        let times_s = times_s(&Process::OnOff { on_s, off_s }, rate, 200_000.0);
        assert!((times_s.len() as f64 / 800_000.0 - 1.0).abs() < 0.05, "{}", times_s.len());
        // An on-off Poisson process in the long run: 1 + 2·λ·(off/(on + off))²·on, with the rate λ of *on* periods;
        // a window of 2,000 s is long compared with its relaxation time of 7.5 s.
        let expected = 1.0 + 2.0 * 16.0 * 0.75_f64.powi(2) * 10.0;
        let measured = dispersion(&times_s, 200_000.0, 2_000.0);
        assert!((measured / expected - 1.0).abs() < 0.5, "{measured} is not {expected}");
        // No request arrives in an *off* period: gaps of more than ten seconds are common.
        let pauses = times_s.windows(2).filter(|pair| pair[1] - pair[0] > 10.0).count();
        assert!(pauses > 3_000, "{pauses} pauses of some 5,000");
    }

    #[test]
    fn a_diurnal_process_has_its_peak_and_its_trough() {
        let process = Process::Diurnal { period_s: 1_000.0, amplitude: 0.8, peak_s: 250.0 };
        let times_s = times_s(&process, 5.0, 50_000.0);
        assert!((times_s.len() as f64 / 250_000.0 - 1.0).abs() < 0.02, "{}", times_s.len());
        // The tenth of the period around the peak and around the trough, each 5,000 s long in all.
        let near = |middle_s: f64| {
            let is_near = |at_s: &&f64| ((*at_s % 1_000.0) - middle_s).abs() < 50.0;
            times_s.iter().filter(is_near).count() as f64 / 5_000.0
        };
        // The mean of the cosine within a tenth of a turn around its peak is 0.984.
        assert!((near(250.0) - 5.0 * (1.0 + 0.8 * 0.984)).abs() < 0.2, "{}", near(250.0));
        assert!((near(750.0) - 5.0 * (1.0 - 0.8 * 0.984)).abs() < 0.1, "{}", near(750.0));
    }

    /// 600 bursts of ten requests within a second, ten seconds apart: one request a second.
    fn bursts(rate_by: RateBy, start_s: f64) -> Process {
        let rows = (0..6000_u32).map(|index| TraceRow {
            at_s: f64::from(index / 10 * 10) + f64::from(index % 10) * 0.1,
            prompt_tokens: 400,
            output_tokens: 100,
        });
        let fit = TraceFit { scale_prompt: 1.0, scale_output: 1.0, max_prompt: 300, max_output: 300 };
        Process::Trace(Replay { trace: Arc::new(Trace::new(rows.collect()).unwrap()), start_s, rate_by, fit })
    }

    #[test]
    fn a_thinned_trace_has_the_configured_rate_and_keeps_its_gaps() {
        let times_s = times_s(&bursts(RateBy::Thinning, 1_000.0), 0.5, f64::MAX);
        assert!((times_s.len() as f64 - 2_500.0).abs() < 4.0 * 1250_f64.sqrt(), "{}", times_s.len());
        assert!(times_s.iter().all(|at_s| at_s % 10.0 < 1.0), "kept requests keep their times");
        assert!(cv_of_gaps(&times_s) > 1.5, "bursts stay bursty");
    }

    #[test]
    fn a_stretched_trace_has_the_configured_rate_and_every_request() {
        let at = |rate| times_s(&bursts(RateBy::Stretching, 0.0), rate, f64::MAX);
        for rate in [0.5, 4.0] {
            let times_s = at(rate);
            assert_eq!(times_s.len(), 6_000);
            let measured = 5_999.0 / times_s.last().unwrap();
            assert!((measured / rate - 1.0).abs() < 1e-9, "{measured} is not {rate}");
        }
        assert!((cv_of_gaps(&at(0.5)) - cv_of_gaps(&at(4.0))).abs() < 1e-6);
    }

    #[test]
    fn a_trace_gives_its_lengths_and_ends() {
        let all: Vec<_> = ArrivalTimes::new(&bursts(RateBy::Stretching, 5_985.0), 1.0, 1).collect();
        assert_eq!(all.len(), 10);
        assert!(all.iter().all(|(_, lengths)| *lengths == Some((300, 100))));
    }
}
