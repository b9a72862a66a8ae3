//! The pruning rules of the tree search: each a named claim that it can be cut safely.

use super::partial_batch::PartialBatch;

/// Which rules are on. All are, except in tests that show a rule changes nothing but the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Cut branches that break a limit.
    pub limit: bool,
    /// Leave out branches with more requests than the size looked for.
    pub too_many: bool,
    /// Cut branches with too few requests left.
    pub too_few_left: bool,
    /// Cut branches whose cheapest completion breaks a limit.
    pub too_dear: bool,
    /// Skip sizes above the bound.
    pub above_bound: bool,
}

impl Rules {
    /// Every rule.
    pub const ALL: Self =
        Self { limit: true, too_many: true, too_few_left: true, too_dear: true, above_bound: true };
    /// No rule: the whole tree.
    pub const NONE: Self =
        Self { limit: false, too_many: false, too_few_left: false, too_dear: false, above_bound: false };
}

/// A reason to cut a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The branch breaks a limit already.
    Limit,
    /// Even all remaining requests would not reach the size looked for.
    TooFewLeft,
    /// Even the cheapest remaining requests would break a limit before reaching the size.
    TooDear,
    /// No batch of the size looked for can exist.
    AboveBound,
}

/// How often each rule cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Branches that broke a limit.
    pub limit: u64,
    /// Branches left out because they hold more requests than the size looked for.
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
            Rule::TooDear => self.too_dear += 1,
            Rule::AboveBound => self.above_bound += 1,
        }
    }
}

/// Cuts a branch that breaks a limit.
///
/// Safe because every limit is monotone: adding a request frees no memory, band or compute time and
/// moves no deadline back, so no larger batch can be allowed either.
pub(super) fn breaks_a_limit(load: &PartialBatch<'_>) -> bool {
    load.limit().is_some()
}

/// Leaves out the branches that would take a class past `size` requests in all: the most to take of it.
///
/// Safe because requests are only added down the tree, and a batch of another size is looked for in a
/// pass of its own.
pub(super) fn most_to_take(load: &PartialBatch<'_>, size: usize, class: usize) -> usize {
    class.min(size.saturating_sub(load.chosen().len()))
}

/// Cuts a branch that cannot reach `size` with all of the `left` requests below it.
///
/// Safe because no descendant holds more than that.
pub(super) fn has_too_few_left(load: &PartialBatch<'_>, size: usize, left: usize) -> bool {
    load.chosen().len() + left < size
}

/// Cuts a branch in which even the cheapest completion breaks a limit.
///
/// Safe because each of the `size − chosen` requests still to come needs at least the least need below
/// the branch, of each resource by itself; and the compute time allowed only shrinks.
pub(super) fn is_too_dear(load: &PartialBatch<'_>, size: usize, least: &[u64; 4]) -> bool {
    let missing = size.saturating_sub(load.chosen().len()) as u128;
    let (used, allowed) = (load.sums(), load.allowed());
    (0..4).any(|sum| used[sum] + missing * u128::from(least[sum]) > u128::from(allowed[sum]))
}
