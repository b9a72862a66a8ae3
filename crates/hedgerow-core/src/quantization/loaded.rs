//! The precisions that are in memory, and the loads and unloads that change them.

use super::{Precision, PrecisionIndex, Residency};
use crate::model::node::Node;
use crate::model::time::{Instant, Span};
use crate::model::units::Bytes;

/// The state of each precision: in memory, loadable or broken.
#[derive(Clone, Debug)]
pub struct LoadedPrecisions {
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    is_held: bool,
    /// Set once it could not be loaded; it is not tried again.
    is_broken: bool,
    /// When a request last started at it, or when it was loaded.
    used: Instant,
}

/// A possible load of a precision, with the unloads that make room for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrecisionLoad {
    /// The precision to load.
    pub precision: PrecisionIndex,
    /// The precisions to unload first.
    pub unload: Vec<PrecisionIndex>,
    /// How long loading takes.
    pub takes: Span,
}

impl LoadedPrecisions {
    /// The state at a node's start.
    pub fn new(node: &Node) -> Self {
        let state = |precision: &Precision| State {
            is_held: precision.residency.is_there_at_start(),
            is_broken: false,
            used: Instant::START,
        };
        Self { states: node.precisions.iter().map(state).collect() }
    }

    /// The precisions in memory.
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

    /// Every precision that could be loaded now, each with the unloads that make room for it: the least recently used
    /// ones that are not needed.
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

    /// Notes that a precision was unloaded.
    pub fn note_unloaded(&mut self, index: PrecisionIndex) {
        self.states[index.0].is_held = false;
    }

    /// Notes that a precision was loaded, or could not be loaded.
    pub fn note_loaded(&mut self, now: Instant, index: PrecisionIndex, is_there: bool) {
        self.states[index.0] = State { is_held: is_there, is_broken: !is_there, used: now };
    }

    /// Checks that the loaded weights fit the memory for weights, and that permanent precisions are loaded.
    ///
    /// # Panics
    ///
    /// If they do not fit, or one is missing.
    pub fn assert_fits(&self, node: &Node) {
        let held: Bytes = self.held().iter().map(|&index| node.precisions[index.0].weights).sum();
        assert!(held <= node.weights_memory(), "weights of {held} are held in {}", node.weights_memory());
        for (precision, state) in node.precisions.iter().zip(&self.states) {
            assert!(state.is_held || precision.residency != Residency::Always, "{} is gone", precision.name);
        }
    }
}
