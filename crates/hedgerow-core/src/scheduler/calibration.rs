//! Calibration of step times: how much slower the engine currently is than its cost model, because of other
//! processes, a hot processor, or the connections being served. Prompts and decodes are slowed differently, so each
//! has its own factor.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;

use crate::engine::StepLoad;
use crate::model::time::{Instant, Span};

/// Exponential smoothing: the factor on a step's weight with each later step, so that about the last thirty count.
const DECAY: f64 = 0.97;
/// The same while the speed has changed, so that only the last few steps count: while this many steps in a row took
/// more than `CHANGED` times their prediction, or less than its reciprocal.
const DECAY_AFTER_CHANGE: f64 = 0.7;
const IN_A_ROW: usize = 3;
const CHANGED: f64 = 1.5;
/// The range that factors are clamped to: beyond it the cost model is unusable.
const LIMITS: (f64, f64) = (0.4, 12.0);
/// How many times its prediction a step may count at most: one that took longer was interrupted (a stopped process, a
/// suspended machine). The bound grows with the step before it, so that a real slowdown counts in full from its
/// second step.
const STEP_RATIO_MAX: f64 = 4.0;
/// Weight, in steps, of the prior that both factors are equal.
const PRIOR_STEPS: f64 = 2.0;
/// Length of the intervals over which predictions are compared with measured times: an admission depends on many
/// steps, not on one.
const INTERVAL: Span = Span(1_000_000_000);
/// How many intervals are remembered, and for how long: a node that was slow and therefore rejects nearly all
/// requests runs hardly any steps from which to learn that it is fast again.
const MAX_INTERVALS: usize = 60;
const RETENTION: Span = Span(60_000_000_000);
/// Without a step, the factors return half-way to 1 in this time.
const HALF_LIFE: Span = Span(60_000_000_000);
/// The quantile of the remembered intervals that the margin covers.
const MARGIN_QUANTILE: f64 = 0.9;

/// Ratios of measured to predicted step time, for prompts and for decodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Factors {
    /// Measured over predicted time of prompt chunks.
    pub prompts: f64,
    /// Measured over predicted time of decodes.
    pub decodes: f64,
}

impl Factors {
    /// No correction of the cost model.
    pub const ONE: Self = Self::both(1.0);

    /// The same for prompts and decodes.
    pub const fn both(factor: f64) -> Self {
        Self { prompts: factor, decodes: factor }
    }

    /// The least-squares factors, regularized towards `common` with the weight of `prior` steps. With the predicted
    /// time `p` of a step's prompts, `d` of its decodes and the measured time `t`, the arguments are the sums over
    /// the steps of `p²`, `p·d`, `d²`, `p·t` and `d·t`.
    fn fit([pp, pd, dd, pt, dt]: [f64; 5], common: f64, prior: f64) -> Self {
        let (pp, dd) = (pp + prior, dd + prior);
        let (pt, dt) = (pt + prior * common, dt + prior * common);
        let determinant = pp * dd - pd * pd;
        if determinant <= 1e-9 * pp * dd {
            return Self::both(common);
        }
        Self { prompts: (pt * dd - dt * pd) / determinant, decodes: (dt * pp - pt * pd) / determinant }
    }

    /// A load's predicted time with these factors; `cost` is the cost model.
    pub fn correct(self, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) -> Span {
        let factor = match (load.prefill.is_empty(), load.decode_count) {
            (true, _) => self.decodes,
            (false, 0) => self.prompts,
            // Not split into parts, which avoids rounding.
            (false, _) if self.prompts == self.decodes => self.prompts,
            (false, _) => {
                let (prompts, decodes) = parts(load, &cost);
                return Span::from_seconds(prompts * self.prompts + decodes * self.decodes);
            }
        };
        cost(load).scaled(factor)
    }
}

impl fmt::Display for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prompts == self.decodes {
            return write!(f, "{:.3} times", self.prompts);
        }
        write!(f, "{:.3} times (prompts) and {:.3} times (decodes)", self.prompts, self.decodes)
    }
}

/// Sums over measured steps: how well a cost model explains them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// As for [`Factors::fit`], each step divided by its predicted time: then the times predicted with the fitted
    /// factors and the measured times have the same total.
    sums: [f64; 5],
    /// Their measured time.
    pub taken_s: f64,
    /// Their time as predicted by the cost model.
    pub predicted_s: f64,
}

impl Fit {
    /// Adds a step: its measured time, its load, and the cost model.
    pub fn add(&mut self, taken: Span, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) {
        let (prompts, decodes) = parts(load, &cost);
        let (whole, taken_s) = (prompts + decodes, taken.as_seconds());
        self.taken_s += taken_s;
        self.predicted_s += whole;
        if whole > 0.0 {
            let terms = products(prompts, decodes, taken_s);
            self.sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term / whole);
        }
    }

    /// The mean slowdown: measured over predicted time; 1 without steps.
    pub fn slowdown(&self) -> f64 {
        if self.predicted_s == 0.0 { 1.0 } else { self.taken_s / self.predicted_s }
    }

    /// The least-squares factors.
    pub fn factors(&self) -> Factors {
        let factors = Factors::fit(self.sums, self.slowdown(), 0.0);
        // A few outliers can make the fit negative.
        if factors.prompts > 0.0 && factors.decodes > 0.0 { factors } else { Factors::both(self.slowdown()) }
    }
}

/// One step's terms in the sums of [`Factors::fit`].
fn products(prompts: f64, decodes: f64, taken: f64) -> [f64; 5] {
    [prompts * prompts, prompts * decodes, decodes * decodes, prompts * taken, decodes * taken]
}

/// The factors by which recent steps took longer than predicted, by exponential smoothing, and the margin for the
/// residual noise.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTimeCalibration {
    /// As for [`Factors::fit`], each step relative to its predicted time so that all have the same weight.
    sums: [f64; 5],
    taken_s: f64,
    predicted_s: f64,
    factors: Factors,
    /// Measured over predicted time of each of the latest steps, not bounded; the latest is the last.
    latest_ratios: [f64; IN_A_ROW],
    /// The current interval: measured time, and time predicted with the factors of that time.
    interval: (Span, Span),
    /// The end of each of the latest intervals, and its ratio of measured to predicted time.
    intervals: VecDeque<(Instant, f64)>,
    margin: f64,
    /// The time up to which the sums have been decayed: the latest step, or the latest call of `forget`.
    known_until: Instant,
}

impl Default for StepTimeCalibration {
    fn default() -> Self {
        Self {
            sums: [0.0; 5],
            taken_s: 0.0,
            predicted_s: 0.0,
            factors: Factors::ONE,
            latest_ratios: [1.0; IN_A_ROW],
            interval: (Span::ZERO, Span::ZERO),
            intervals: VecDeque::new(),
            margin: 0.0,
            known_until: Instant::START,
        }
    }
}

impl StepTimeCalibration {
    /// Notes a step that has ended: its measured time, its load, and the cost model.
    pub fn note(&mut self, now: Instant, taken: Span, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) {
        let (prompts, decodes) = parts(load, &cost);
        let corrected = prompts * self.factors.prompts + decodes * self.factors.decodes;
        self.known_until = now;
        let whole = prompts + decodes;
        if whole <= 0.0 {
            return;
        }
        let before = self.latest_ratios[IN_A_ROW - 1].clamp(1.0, LIMITS.1);
        self.latest_ratios.rotate_left(1);
        self.latest_ratios[IN_A_ROW - 1] = taken.as_seconds() / corrected.max(1e-9);
        // Winsorizing: an interruption says nothing of the next step.
        let taken = taken.min(Span::from_seconds(STEP_RATIO_MAX * before * corrected));
        self.note_interval(now, taken, Span::from_seconds(corrected));
        let (taken_s, decay) = (taken.as_seconds(), self.decay());
        for (sum, term) in self.sums.iter_mut().zip(products(prompts, decodes, taken_s)) {
            *sum = decay * *sum + term / (whole * whole);
        }
        self.taken_s = decay * self.taken_s + taken_s;
        self.predicted_s = decay * self.predicted_s + whole;
        self.factors = self.fit();
    }

    /// The factor on the weight of earlier steps.
    fn decay(&self) -> f64 {
        let is_slower = self.latest_ratios.iter().all(|&ratio| ratio > CHANGED);
        let is_faster = self.latest_ratios.iter().all(|&ratio| ratio < 1.0 / CHANGED);
        if is_slower || is_faster { DECAY_AFTER_CHANGE } else { DECAY }
    }

    /// Decays old measurements, which say little about the next step.
    pub fn forget(&mut self, now: Instant) {
        let is_old = |&(ended, _): &(Instant, f64)| now.since(ended) > RETENTION;
        if self.intervals.front().is_some_and(is_old) {
            self.intervals.retain(|interval| !is_old(interval));
            self.margin = self.margin_of_intervals();
        }
        let weight = 0.5_f64.powf(now.since(self.known_until).as_seconds() / HALF_LIFE.as_seconds());
        self.known_until = now;
        // Decays the sums towards their values if every step had taken its predicted time.
        let towards = |sum: f64, as_predicted: f64| as_predicted + (sum - as_predicted) * weight;
        let [pp, pd, dd, pt, dt] = self.sums;
        self.sums = [pp, pd, dd, towards(pt, pp + pd), towards(dt, pd + dd)];
        self.taken_s = towards(self.taken_s, self.predicted_s);
        self.factors = self.fit();
    }

    /// The regularized factors: where the latest steps cannot separate prompts from decodes, both are equal.
    fn fit(&self) -> Factors {
        let Factors { prompts, decodes } = Factors::fit(self.sums, self.common(), PRIOR_STEPS);
        let within_limits = |factor: f64| factor.clamp(LIMITS.0, LIMITS.1);
        Factors { prompts: within_limits(prompts), decodes: within_limits(decodes) }
    }

    fn common(&self) -> f64 {
        if self.predicted_s > 0.0 { (self.taken_s / self.predicted_s).clamp(LIMITS.0, LIMITS.1) } else { 1.0 }
    }

    fn note_interval(&mut self, now: Instant, taken: Span, predicted: Span) {
        self.interval = (self.interval.0 + taken, self.interval.1 + predicted);
        if self.interval.0 < INTERVAL {
            return;
        }
        if self.intervals.len() == MAX_INTERVALS {
            self.intervals.pop_front();
        }
        let ratio = self.interval.0.as_seconds() / self.interval.1.as_seconds().max(1e-9);
        self.intervals.push_back((now, ratio));
        self.interval = (Span::ZERO, Span::ZERO);
        self.margin = self.margin_of_intervals();
    }

    fn margin_of_intervals(&self) -> f64 {
        let mut sorted: Vec<f64> = self.intervals.iter().map(|&(_, ratio)| ratio).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * MARGIN_QUANTILE).ceil() as usize;
        rank.checked_sub(1).map_or(0.0, |covered| (sorted[covered] - 1.0).max(0.0))
    }

    /// A load's predicted time at the engine's current speed; `cost` is the cost model.
    pub fn correct(&self, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) -> Span {
        self.factors.correct(load, cost)
    }

    /// The overall ratio of measured to predicted time; 1 until a step was noted.
    pub fn factor(&self) -> f64 {
        self.common()
    }

    /// The factors of prompts and of decodes.
    pub fn factors(&self) -> Factors {
        self.factors
    }

    /// The margin for residual noise: the relative excess over the prediction that nine of ten one-second intervals
    /// did not exceed. Planning adds it to its predictions, unless the operator sets a larger one.
    pub fn margin(&self) -> f64 {
        self.margin
    }
}

/// The predicted times of a step's prompts and of its decodes, in seconds. The decodes get their time without the
/// prompts, and the prompts the rest.
fn parts(load: &StepLoad, cost: &impl Fn(&StepLoad) -> Span) -> (f64, f64) {
    let whole = cost(load).as_seconds();
    if load.prefill.is_empty() {
        return (0.0, whole);
    }
    if load.decode_count == 0 {
        return (whole, 0.0);
    }
    let StepLoad { decode_count, decode_kv, decode_longest, .. } = *load;
    let decodes = StepLoad { prefill: Vec::new(), decode_count, decode_kv, decode_longest };
    let decodes = cost(&decodes).as_seconds().min(whole);
    (whole - decodes, decodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cost::ChunkLoad;
    use crate::model::units::Tokens;

    /// A cost model in which a prompt token takes 1 ms and a decoded one 10 ms.
    fn cost(load: &StepLoad) -> Span {
        let prompts: u32 = load.prefill.iter().map(|chunk| chunk.tokens.0).sum();
        Span::from_millis(u64::from(prompts + 10 * load.decode_count))
    }

    fn load(prompt: u32, decode_count: u32) -> StepLoad {
        let prefill = if prompt > 0 { vec![ChunkLoad::whole(Tokens(prompt))] } else { Vec::new() };
        StepLoad { prefill, decode_count, ..StepLoad::default() }
    }

    #[test]
    fn tells_slow_decodes_from_slow_prompts() {
        let mut calibration = StepTimeCalibration::default();
        assert_eq!(calibration.factor(), 1.0);
        for step in 0..200 {
            let (prompt, decodes) = if step % 3 == 0 { (50, 2) } else { (0, 3) };
            let taken = Span::from_millis(u64::from(prompt + 15 * decodes));
            calibration.note(Instant::START, taken, &load(prompt, decodes), cost);
        }
        let Factors { prompts, decodes } = calibration.factors();
        assert!((prompts - 1.0).abs() < 0.1 && (decodes - 1.5).abs() < 0.1, "{prompts} {decodes}");
        assert!((calibration.correct(&load(50, 2), cost).as_seconds() - 0.080).abs() < 0.004);
        assert!(
            calibration.margin() < 0.1,
            "what the factors explain needs no margin: {}",
            calibration.margin()
        );
    }

    #[test]
    fn where_only_decodes_were_seen_prompts_get_the_same_factor() {
        let mut calibration = StepTimeCalibration::default();
        (0..50).for_each(|_| calibration.note(Instant::START, Span::from_millis(60), &load(0, 3), cost));
        let Factors { prompts, decodes } = calibration.factors();
        assert!((prompts - 2.0).abs() < 0.01 && (decodes - 2.0).abs() < 0.01, "{prompts} {decodes}");
    }

    #[test]
    fn the_margin_grows_with_what_the_factors_cannot_explain() {
        let mut calibration = StepTimeCalibration::default();
        for interval in 0..60 {
            // Every third second, steps take half as long again.
            let taken = if interval % 3 == 0 { 45 } else { 30 };
            let at = Instant::START + Span::from_seconds(f64::from(interval));
            (0..1000 / taken + 1)
                .for_each(|_| calibration.note(at, Span::from_millis(taken), &load(0, 3), cost));
        }
        assert!((0.1..0.6).contains(&calibration.margin()), "{}", calibration.margin());
    }

    /// A hundred steps as predicted.
    fn calibrated() -> StepTimeCalibration {
        let mut calibration = StepTimeCalibration::default();
        (0..100).for_each(|_| calibration.note(Instant::START, Span::from_millis(30), &load(0, 3), cost));
        calibration
    }

    #[test]
    fn one_interrupted_step_is_no_calibration() {
        let mut calibration = calibrated();
        calibration.note(Instant::START, Span::from_millis(20_000), &load(0, 3), cost);
        (0..30).for_each(|_| calibration.note(Instant::START, Span::from_millis(30), &load(0, 3), cost));
        let Factors { prompts, decodes } = calibration.factors();
        assert!(prompts < 1.1 && decodes < 1.1, "{prompts} {decodes}");
        assert!(calibration.margin() < 0.2, "{}", calibration.margin());
    }

    #[test]
    fn a_node_that_became_three_times_slower_is_learned_within_ten_steps_and_so_is_its_recovery() {
        let mut calibration = calibrated();
        (0..10).for_each(|_| calibration.note(Instant::START, Span::from_millis(90), &load(0, 3), cost));
        assert!(calibration.factors().decodes > 2.0, "{:?}", calibration.factors());
        (0..40).for_each(|_| calibration.note(Instant::START, Span::from_millis(90), &load(0, 3), cost));
        assert!(calibration.factors().decodes > 2.7, "{:?}", calibration.factors());
        (0..10).for_each(|_| calibration.note(Instant::START, Span::from_millis(30), &load(0, 3), cost));
        assert!(calibration.factors().decodes < 1.6, "{:?}", calibration.factors());
    }

    #[test]
    fn short_interruptions_that_recur_count_nearly_in_full() {
        let mut calibration = calibrated();
        for step in 0..200 {
            let taken = if step % 10 == 0 { 210 } else { 30 };
            calibration.note(Instant::START, Span::from_millis(taken), &load(0, 3), cost);
        }
        let decodes = calibration.factors().decodes;
        assert!((1.3..1.7).contains(&decodes), "1.6 on average, less just before the next: {decodes}");
    }

    #[test]
    fn a_node_that_was_slow_and_then_rejected_all_requests_forgets_it() {
        let mut calibration = StepTimeCalibration::default();
        let seconds = |seconds: u64| Instant::START + Span::from_millis(1000 * seconds);
        for second in 0..20 {
            // Increasingly slow, so that the margin is large too.
            let taken = Span::from_millis(30 + 10 * second);
            (0..1000 / (30 + 10 * second) + 1)
                .for_each(|_| calibration.note(seconds(second), taken, &load(0, 3), cost));
        }
        let slow = calibration.factors().decodes;
        assert!(slow > 4.0 && calibration.margin() > 0.3, "{slow} {}", calibration.margin());
        calibration.forget(seconds(20));
        assert!(
            calibration.factors().decodes > 0.9 * slow && calibration.margin() > 0.3,
            "a second later it still knows"
        );
        (21..200).for_each(|second| calibration.forget(seconds(second)));
        assert!(
            calibration.factors().decodes < 1.0 + (slow - 1.0) / 7.0,
            "after three minutes an eighth: {:?}",
            calibration.factors()
        );
        assert_eq!(calibration.margin(), 0.0);
    }
}
