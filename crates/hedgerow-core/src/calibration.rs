//! How much slower the engine is now than its cost model says: other processes, a hot processor, callers
//! who are served. Prompts and decodes are slowed differently, so each has a factor of its own.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;

use crate::engine::StepLoad;
use crate::time::{Instant, Span};

/// What is left of a step's weight after each later step: the last thirty or so count.
const DECAY: f64 = 0.97;
/// A cost model that is wrong by more than this is no model; nothing is promised on it.
const LIMITS: (f64, f64) = (0.4, 12.0);
/// As much evidence as so many steps says that both factors are alike, until steps of both kinds say more.
const PRIOR_STEPS: f64 = 2.0;
/// Predictions are compared with what happened over stretches this long: what a promise depends on is not
/// one step but many.
const STRETCH: Span = Span(1_000_000_000);
/// So many stretches are remembered, and for so long: a node that was slow and therefore refuses nearly everybody
/// has hardly any steps to learn from that it is fast again.
const STRETCHES: usize = 60;
const MEMORY: Span = Span(60_000_000_000);
/// After so long without a step half of what the factors say is forgotten.
const HALF_LIFE: Span = Span(60_000_000_000);
/// Of them, the margin covers this part.
const COVERED: f64 = 0.9;

/// How many times as long as a cost model says steps take, for their prompts and for their decodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Factors {
    /// Time taken over time predicted, for chunks of prompts.
    pub prompts: f64,
    /// The same for decodes.
    pub decodes: f64,
}

impl Factors {
    /// As the cost model says.
    pub const ONE: Self = Self::both(1.0);

    /// The same for prompts and decodes.
    pub const fn both(factor: f64) -> Self {
        Self { prompts: factor, decodes: factor }
    }

    /// The factors that explain steps best in the sense of least squares, drawn towards `common` by as much evidence as
    /// `prior` steps have. Sums over the steps: `pp` of the squares of what prompts were predicted to take, `dd` of
    /// those of decodes, `pd` of their products, and with the time taken `pt` and `dt`.
    fn fit([pp, pd, dd, pt, dt]: [f64; 5], common: f64, prior: f64) -> Self {
        let (pp, dd) = (pp + prior, dd + prior);
        let (pt, dt) = (pt + prior * common, dt + prior * common);
        let determinant = pp * dd - pd * pd;
        if determinant <= 1e-9 * pp * dd {
            return Self::both(common);
        }
        Self { prompts: (pt * dd - dt * pd) / determinant, decodes: (dt * pp - pt * pd) / determinant }
    }

    /// A load's time with these factors; `cost` is the cost model's word.
    pub fn correct(self, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) -> Span {
        let factor = match (load.prefill.is_empty(), load.decode_count) {
            (true, _) => self.decodes,
            (false, 0) => self.prompts,
            // Without taking it apart: no rounding.
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

/// Steps that were taken, added up: how well a cost model explains all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// As for [`Factors::fit`], each step divided by its predicted time: then what the factors explain and what was
    /// taken are the same on the whole.
    sums: [f64; 5],
    /// The time they took.
    pub taken_s: f64,
    /// The time that the cost model gives them.
    pub predicted_s: f64,
}

impl Fit {
    /// Adds a step: how long it took, and the cost model's word on loads.
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

    /// The mean slowdown: time taken over time predicted; 1 where nothing was run.
    pub fn slowdown(&self) -> f64 {
        if self.predicted_s == 0.0 { 1.0 } else { self.taken_s / self.predicted_s }
    }

    /// The factors that explain the steps best.
    pub fn factors(&self) -> Factors {
        let factors = Factors::fit(self.sums, self.slowdown(), 0.0);
        // A handful of odd steps may be explained best by decodes that take less than no time.
        if factors.prompts > 0.0 && factors.decodes > 0.0 { factors } else { Factors::both(self.slowdown()) }
    }
}

/// What one step adds to the sums of [`Factors::fit`].
fn products(prompts: f64, decodes: f64, taken: f64) -> [f64; 5] {
    [prompts * prompts, prompts * decodes, decodes * decodes, prompts * taken, decodes * taken]
}

/// Time taken over time predicted, of the latest steps.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTimeCalibration {
    /// As for [`Factors::fit`], each step by its own predicted time so that all count alike.
    sums: [f64; 5],
    taken_s: f64,
    predicted_s: f64,
    factors: Factors,
    /// The stretch that is going on: time taken, and time predicted as corrected at the time.
    stretch: (Span, Span),
    /// When each of the latest stretches ended, and its time taken over time predicted.
    stretches: VecDeque<(Instant, f64)>,
    margin: f64,
    /// Until when it knows of the engine: the latest step, or what was forgotten since.
    known_until: Instant,
}

impl Default for StepTimeCalibration {
    fn default() -> Self {
        Self {
            sums: [0.0; 5],
            taken_s: 0.0,
            predicted_s: 0.0,
            factors: Factors::ONE,
            stretch: (Span::ZERO, Span::ZERO),
            stretches: VecDeque::new(),
            margin: 0.0,
            known_until: Instant::START,
        }
    }
}

impl StepTimeCalibration {
    /// Notes a step that has ended: how long it took, and the cost model's word on loads.
    pub fn note(&mut self, now: Instant, taken: Span, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) {
        let (prompts, decodes) = parts(load, &cost);
        let corrected = prompts * self.factors.prompts + decodes * self.factors.decodes;
        self.note_stretch(now, taken, Span::from_seconds(corrected));
        self.known_until = now;
        let (whole, taken_s) = (prompts + decodes, taken.as_seconds());
        if whole <= 0.0 {
            return;
        }
        for (sum, term) in self.sums.iter_mut().zip(products(prompts, decodes, taken_s)) {
            *sum = DECAY * *sum + term / (whole * whole);
        }
        self.taken_s = DECAY * self.taken_s + taken_s;
        self.predicted_s = DECAY * self.predicted_s + whole;
        self.factors = self.fit();
    }

    /// Forgets what is too long ago to say much about the next step.
    pub fn forget(&mut self, now: Instant) {
        let is_old = |&(ended, _): &(Instant, f64)| now.since(ended) > MEMORY;
        if self.stretches.front().is_some_and(is_old) {
            self.stretches.retain(|stretch| !is_old(stretch));
            self.margin = self.margin_of_stretches();
        }
        let kept = 0.5_f64.powf(now.since(self.known_until).as_seconds() / HALF_LIFE.as_seconds());
        self.known_until = now;
        // Drawn towards what the sums would be had every step taken the time predicted.
        let towards = |sum: f64, as_predicted: f64| as_predicted + (sum - as_predicted) * kept;
        let [pp, pd, dd, pt, dt] = self.sums;
        self.sums = [pp, pd, dd, towards(pt, pp + pd), towards(dt, pd + dd)];
        self.taken_s = towards(self.taken_s, self.predicted_s);
        self.factors = self.fit();
    }

    /// Where the latest steps cannot tell prompts from decodes, both are as slow as the whole.
    fn fit(&self) -> Factors {
        let Factors { prompts, decodes } = Factors::fit(self.sums, self.common(), PRIOR_STEPS);
        let within_limits = |factor: f64| factor.clamp(LIMITS.0, LIMITS.1);
        Factors { prompts: within_limits(prompts), decodes: within_limits(decodes) }
    }

    fn common(&self) -> f64 {
        if self.predicted_s > 0.0 { (self.taken_s / self.predicted_s).clamp(LIMITS.0, LIMITS.1) } else { 1.0 }
    }

    fn note_stretch(&mut self, now: Instant, taken: Span, predicted: Span) {
        self.stretch = (self.stretch.0 + taken, self.stretch.1 + predicted);
        if self.stretch.0 < STRETCH {
            return;
        }
        if self.stretches.len() == STRETCHES {
            self.stretches.pop_front();
        }
        let ratio = self.stretch.0.as_seconds() / self.stretch.1.as_seconds().max(1e-9);
        self.stretches.push_back((now, ratio));
        self.stretch = (Span::ZERO, Span::ZERO);
        self.margin = self.margin_of_stretches();
    }

    fn margin_of_stretches(&self) -> f64 {
        let mut sorted: Vec<f64> = self.stretches.iter().map(|&(_, ratio)| ratio).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * COVERED).ceil() as usize;
        rank.checked_sub(1).map_or(0.0, |covered| (sorted[covered] - 1.0).max(0.0))
    }

    /// A load's time as the engine keeps up now; `cost` is the cost model's word.
    pub fn correct(&self, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) -> Span {
        self.factors.correct(load, cost)
    }

    /// The factor that predictions are stretched by on the whole; 1 until a step was noted.
    pub fn factor(&self) -> f64 {
        self.common()
    }

    /// The factors of prompts and of decodes.
    pub fn factors(&self) -> Factors {
        self.factors
    }

    /// The part by which nine of ten stretches of a second were at most slower than predicted: what planning
    /// adds to its predictions, unless the operator asks for more.
    pub fn margin(&self) -> f64 {
        self.margin
    }
}

/// What the prompts and what the decodes of a step are predicted to take, in seconds. What both together
/// take beyond their sum is divided between them.
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
    use crate::engine::cost::ChunkLoad;
    use crate::units::Tokens;

    /// A token of prompt takes 1 ms, a decoded one 10 ms.
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
    fn where_only_decodes_were_seen_prompts_are_taken_to_be_slowed_alike() {
        let mut calibration = StepTimeCalibration::default();
        (0..50).for_each(|_| calibration.note(Instant::START, Span::from_millis(60), &load(0, 3), cost));
        let Factors { prompts, decodes } = calibration.factors();
        assert!((prompts - 2.0).abs() < 0.01 && (decodes - 2.0).abs() < 0.01, "{prompts} {decodes}");
    }

    #[test]
    fn the_margin_grows_with_what_the_factors_cannot_explain() {
        let mut calibration = StepTimeCalibration::default();
        for stretch in 0..60 {
            // Every third second everything takes half as long again.
            let taken = if stretch % 3 == 0 { 45 } else { 30 };
            let at = Instant::START + Span::from_seconds(f64::from(stretch));
            (0..1000 / taken + 1)
                .for_each(|_| calibration.note(at, Span::from_millis(taken), &load(0, 3), cost));
        }
        assert!((0.1..0.6).contains(&calibration.margin()), "{}", calibration.margin());
    }

    #[test]
    fn a_node_that_was_slow_and_then_refused_everybody_forgets_it() {
        let mut calibration = StepTimeCalibration::default();
        let seconds = |seconds: u64| Instant::START + Span::from_millis(1000 * seconds);
        for second in 0..20 {
            // Ever slower, so that the margin is large too.
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
