//! Which precisions are in memory.

use super::{Precision, PrecisionIndex, Residency};
use crate::node::Node;
use crate::time::{Instant, Span};
use crate::units::Bytes;

/// Which precisions are in memory, and which could be.
#[derive(Clone, Debug)]
pub struct LoadedPrecisions {
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    is_held: bool,
    /// Set once it could not be loaded: it is not tried again.
    is_broken: bool,
    /// When it was last started with, or loaded.
    used: Instant,
}

/// A change of what is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrecisionLoad {
    /// What is to be loaded.
    pub precision: PrecisionIndex,
    /// What has to leave the memory first.
    pub unload: Vec<PrecisionIndex>,
    /// How long loading takes.
    pub takes: Span,
}

impl LoadedPrecisions {
    /// What is in memory at a node's start.
    pub fn new(node: &Node) -> Self {
        let state = |precision: &Precision| State {
            is_held: precision.residency.is_there_at_start(),
            is_broken: false,
            used: Instant::START,
        };
        Self { states: node.precisions.iter().map(state).collect() }
    }

    /// What is in memory.
    pub fn held(&self) -> Vec<PrecisionIndex> {
        (0..self.states.len()).map(PrecisionIndex).filter(|&index| self.is_held(index)).collect()
    }

    /// Whether a precision is in memory.
    pub fn is_held(&self, index: PrecisionIndex) -> bool {
        self.states[index.0].is_held
    }

    /// Whether a precision is in memory or may be loaded.
    pub fn is_usable(&self, index: PrecisionIndex) -> bool {
        !self.states[index.0].is_broken
    }

    /// Every precision that could be loaded now, and what would have to leave for it: of what nobody needs,
    /// what has not been used for longest.
    pub fn loads(&self, node: &Node, is_needed: impl Fn(PrecisionIndex) -> bool) -> Vec<PrecisionLoad> {
        let weights = |index: PrecisionIndex| node.precisions[index.0].weights;
        let held = self.held();
        let in_memory: Bytes = held.iter().map(|&index| weights(index)).sum();
        let mut idle: Vec<PrecisionIndex> = held
            .into_iter()
            .filter(|&index| node.precisions[index.0].residency != Residency::Always && !is_needed(index))
            .collect();
        idle.sort_by_key(|index| self.states[index.0].used);
        let mut loads = Vec::new();
        for (index, precision) in (0..).map(PrecisionIndex).zip(&node.precisions) {
            let Residency::OnDemand { load, .. } = precision.residency else { continue };
            if self.is_held(index) || !self.is_usable(index) {
                continue;
            }
            let mut needed = in_memory + precision.weights;
            let mut unload = Vec::new();
            for &victim in &idle {
                if needed <= node.weights_memory() {
                    break;
                }
                needed = needed.saturating_sub(weights(victim));
                unload.push(victim);
            }
            if needed <= node.weights_memory() {
                loads.push(PrecisionLoad { precision: index, unload, takes: load });
            }
        }
        loads
    }

    /// Notes that a request starts at a precision.
    pub fn note_use(&mut self, now: Instant, index: PrecisionIndex) {
        self.states[index.0].used = now;
    }

    /// Notes that a precision has left the memory.
    pub fn note_unloaded(&mut self, index: PrecisionIndex) {
        self.states[index.0].is_held = false;
    }

    /// Notes that a precision is in memory, or cannot be.
    pub fn note_loaded(&mut self, now: Instant, index: PrecisionIndex, is_there: bool) {
        self.states[index.0] = State { is_held: is_there, is_broken: !is_there, used: now };
    }

    /// Conservation: what is in memory fits it, and what always is there is there.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn assert_fits(&self, node: &Node) {
        let held: Bytes = self.held().iter().map(|&index| node.precisions[index.0].weights).sum();
        assert!(held <= node.weights_memory(), "weights of {held} are held in {}", node.weights_memory());
        for (precision, state) in node.precisions.iter().zip(&self.states) {
            assert!(state.is_held || precision.residency != Residency::Always, "{} is gone", precision.name);
        }
    }
}
