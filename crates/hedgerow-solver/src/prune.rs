//! The pruning rules of the tree search, each with the argument why it is safe.

use super::partial_batch::PartialBatch;

/// Which rules are enabled. All are, except in tests that show that a rule changes only the node count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Cut branches that break a limit.
    pub limit: bool,
    /// Leave out branches with more requests than the target size.
    pub too_many: bool,
    /// Cut branches with too few requests left.
    pub too_few_left: bool,
    /// Cut branches whose cheapest completion breaks a limit.
    pub too_dear: bool,
    /// Skip sizes above the bound.
    pub above_bound: bool,
}

impl Rules {
    /// All rules.
    pub const ALL: Self =
        Self { limit: true, too_many: true, too_few_left: true, too_dear: true, above_bound: true };
    /// No rules: the whole tree.
    pub const NONE: Self =
        Self { limit: false, too_many: false, too_few_left: false, too_dear: false, above_bound: false };
}

/// A reason to cut a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The branch breaks a limit already.
    Limit,
    /// Even all remaining requests would not reach the target size.
    TooFewLeft,
    /// Even the cheapest remaining requests would break a limit before reaching the target size.
    TooCostly,
    /// No batch of the target size can exist.
    AboveBound,
}

/// How often each rule cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Branches that broke a limit.
    pub limit: u64,
    /// Branches left out because they hold more requests than the target size.
    pub too_many: u64,
    /// Branches with too few requests left.
    pub too_few_left: u64,
    /// Branches whose cheapest completion breaks a limit.
    pub too_dear: u64,
    /// Sizes above the bound.
    pub above_bound: u64,
}

impl Cuts {
    pub(super) fn count(&mut self, rule: Rule) {
        match rule {
            Rule::Limit => self.limit += 1,
            Rule::TooFewLeft => self.too_few_left += 1,
            Rule::TooCostly => self.too_dear += 1,
            Rule::AboveBound => self.above_bound += 1,
        }
    }
}

/// Cuts a branch that breaks a limit.
///
/// Safe because every limit is monotone: adding a request frees no memory, band or compute time and relaxes no
/// deadline, so no larger batch is feasible either.
pub(super) fn breaks_a_limit(batch: &PartialBatch<'_>) -> bool {
    batch.limit().is_some()
}

/// The most requests to take of a class: leaves out branches with more than `size` requests in all.
///
/// Safe because requests are only added down the tree, and other batch sizes are searched in passes of their own.
pub(super) fn most_to_take(batch: &PartialBatch<'_>, size: usize, class: usize) -> usize {
    class.min(size.saturating_sub(batch.chosen().len()))
}

/// Cuts a branch that cannot reach `size` with all of the `left` requests below it.
///
/// Safe because no descendant holds more than that.
pub(super) fn has_too_few_left(batch: &PartialBatch<'_>, size: usize, left: usize) -> bool {
    batch.chosen().len() + left < size
}

/// Cuts a branch in which even the cheapest completion breaks a limit.
///
/// Safe because each of the `size − chosen` missing requests needs at least the least need below the branch, of each
/// resource by itself; and the allowed compute time only decreases.
pub(super) fn is_too_costly(batch: &PartialBatch<'_>, size: usize, least: &[u64; 4]) -> bool {
    let missing = size.saturating_sub(batch.chosen().len()) as u128;
    let (used, allowed) = (batch.sums(), batch.allowed());
    (0..4).any(|sum| used[sum] + missing * u128::from(least[sum]) > u128::from(allowed[sum]))
}
