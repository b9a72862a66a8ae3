//! How much slower the engine is now than its cost model says: other processes, a hot processor, callers
//! who are served. Prompts and decodes are slowed differently, so each has a factor of its own.

use std::collections::VecDeque;

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

/// Time taken over time predicted, of the latest steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// Weighted sums over steps, each step by its own predicted time so that all count alike: `p` and `d` are
    /// the parts of the prediction for prompts and decodes, `t` is the time taken.
    pp: f64,
    pd: f64,
    dd: f64,
    pt: f64,
    dt: f64,
    taken_s: f64,
    predicted_s: f64,
    factors: (f64, f64),
    /// The stretch that is going on: time taken, and time predicted as corrected at the time.
    stretch: (Span, Span),
    /// When each of the latest stretches ended, and its time taken over time predicted.
    stretches: VecDeque<(Instant, f64)>,
    margin: f64,
    /// Until when it knows of the engine: the latest step, or what was forgotten since.
    known_until: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pp: 0.0,
            pd: 0.0,
            dd: 0.0,
            pt: 0.0,
            dt: 0.0,
            taken_s: 0.0,
            predicted_s: 0.0,
            factors: (1.0, 1.0),
            stretch: (Span::ZERO, Span::ZERO),
            stretches: VecDeque::new(),
            margin: 0.0,
            known_until: Instant::START,
        }
    }
}

impl Pace {
    /// Notes a step that has ended: how long it took, and the cost model's word on loads.
    pub fn note(&mut self, now: Instant, taken: Span, load: &StepLoad, cost: impl Fn(&StepLoad) -> Span) {
        let (prompts, decodes) = parts(load, &cost);
        let corrected = prompts * self.factors.0 + decodes * self.factors.1;
        self.note_stretch(now, taken, Span::from_seconds(corrected));
        self.known_until = now;
        let (whole, taken_s) = (prompts + decodes, taken.as_seconds());
        if whole <= 0.0 {
            return;
        }
        for (sum, term) in [
            (&mut self.pp, prompts * prompts),
            (&mut self.pd, prompts * decodes),
            (&mut self.dd, decodes * decodes),
            (&mut self.pt, prompts * taken_s),
            (&mut self.dt, decodes * taken_s),
        ] {
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
        self.pt = towards(self.pt, self.pp + self.pd);
        self.dt = towards(self.dt, self.pd + self.dd);
        self.taken_s = towards(self.taken_s, self.predicted_s);
        self.factors = self.fit();
    }

    /// The two factors that explain the latest steps best in the sense of least squares, drawn towards the
    /// common one where the steps cannot tell them apart.
    fn fit(&self) -> (f64, f64) {
        let common = self.common();
        let (pp, dd) = (self.pp + PRIOR_STEPS, self.dd + PRIOR_STEPS);
        let (pt, dt) = (self.pt + PRIOR_STEPS * common, self.dt + PRIOR_STEPS * common);
        let determinant = pp * dd - self.pd * self.pd;
        let prompts = (pt * dd - dt * self.pd) / determinant;
        let decodes = (dt * pp - pt * self.pd) / determinant;
        (prompts.clamp(LIMITS.0, LIMITS.1), decodes.clamp(LIMITS.0, LIMITS.1))
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
        let factor = match (load.prefill.is_empty(), load.decode_count) {
            (true, _) => self.factors.1,
            (false, 0) => self.factors.0,
            (false, _) => {
                let (prompts, decodes) = parts(load, &cost);
                return Span::from_seconds(prompts * self.factors.0 + decodes * self.factors.1);
            }
        };
        cost(load).scaled(factor)
    }

    /// The factor that predictions are stretched by on the whole; 1 until a step was noted.
    pub fn factor(&self) -> f64 {
        self.common()
    }

    /// The factors of prompts and of decodes.
    pub fn factors(&self) -> (f64, f64) {
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
        let mut pace = Pace::default();
        assert_eq!(pace.factor(), 1.0);
        for step in 0..200 {
            let (prompt, decodes) = if step % 3 == 0 { (50, 2) } else { (0, 3) };
            let taken = Span::from_millis(u64::from(prompt + 15 * decodes));
            pace.note(Instant::START, taken, &load(prompt, decodes), cost);
        }
        let (prompts, decodes) = pace.factors();
        assert!((prompts - 1.0).abs() < 0.1 && (decodes - 1.5).abs() < 0.1, "{prompts} {decodes}");
        assert!((pace.correct(&load(50, 2), cost).as_seconds() - 0.080).abs() < 0.004);
        assert!(pace.margin() < 0.1, "what the factors explain needs no margin: {}", pace.margin());
    }

    #[test]
    fn where_only_decodes_were_seen_prompts_are_taken_to_be_slowed_alike() {
        let mut pace = Pace::default();
        (0..50).for_each(|_| pace.note(Instant::START, Span::from_millis(60), &load(0, 3), cost));
        let (prompts, decodes) = pace.factors();
        assert!((prompts - 2.0).abs() < 0.01 && (decodes - 2.0).abs() < 0.01, "{prompts} {decodes}");
    }

    #[test]
    fn the_margin_grows_with_what_the_factors_cannot_explain() {
        let mut pace = Pace::default();
        for stretch in 0..60 {
            // Every third second everything takes half as long again.
            let taken = if stretch % 3 == 0 { 45 } else { 30 };
            let at = Instant::START + Span::from_seconds(f64::from(stretch));
            (0..1000 / taken + 1).for_each(|_| pace.note(at, Span::from_millis(taken), &load(0, 3), cost));
        }
        assert!((0.1..0.6).contains(&pace.margin()), "{}", pace.margin());
    }

    #[test]
    fn a_node_that_was_slow_and_then_refused_everybody_forgets_it() {
        let mut pace = Pace::default();
        let seconds = |seconds: u64| Instant::START + Span::from_millis(1000 * seconds);
        for second in 0..20 {
            // Ever slower, so that the margin is large too.
            let taken = Span::from_millis(30 + 10 * second);
            (0..1000 / (30 + 10 * second) + 1)
                .for_each(|_| pace.note(seconds(second), taken, &load(0, 3), cost));
        }
        let slow = pace.factors().1;
        assert!(slow > 4.0 && pace.margin() > 0.3, "{slow} {}", pace.margin());
        pace.forget(seconds(20));
        assert!(pace.factors().1 > 0.9 * slow && pace.margin() > 0.3, "a second later it still knows");
        (21..200).for_each(|second| pace.forget(seconds(second)));
        assert!(
            pace.factors().1 < 1.0 + (slow - 1.0) / 7.0,
            "after three minutes an eighth: {:?}",
            pace.factors()
        );
        assert_eq!(pace.margin(), 0.0);
    }
}
