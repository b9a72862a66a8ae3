//! Search budgets: limits on nodes and, through a callback, on time.

/// How much work, in columns or sets scanned, is done between two calls of `should_stop`.
const WORK_UNASKED: usize = 1 << 12;

/// The budget of a search, checked at every node.
pub struct Budget<'a> {
    nodes_left: u64,
    work_done: usize,
    is_stopped: bool,
    should_stop: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("nodes_left", &self.nodes_left).finish_non_exhaustive()
    }
}

impl Budget<'static> {
    /// A budget of at most `limit` nodes.
    pub fn nodes(limit: u64) -> Self {
        Self { nodes_left: limit, work_done: 0, is_stopped: false, should_stop: &|| false }
    }

    /// A budget without limit.
    pub fn unlimited() -> Self {
        Self::nodes(u64::MAX)
    }
}

impl<'a> Budget<'a> {
    /// A budget of at most `limit` nodes that also ends once `should_stop` returns true: the only way in which wall
    /// time enters a search.
    pub fn with_stop(limit: u64, should_stop: &'a dyn Fn() -> bool) -> Self {
        Self { nodes_left: limit, work_done: 0, is_stopped: false, should_stop }
    }

    /// Spends one node; `false` when the search must end instead of visiting it.
    pub(super) fn spend_node(&mut self) -> bool {
        // Reading a clock costs more than a node, so it is read at every 64th node only.
        self.is_stopped |= self.nodes_left.is_multiple_of(64) && self.nodes_left > 0 && (self.should_stop)();
        if self.nodes_left == 0 || self.is_stopped {
            return false;
        }
        self.nodes_left -= 1;
        true
    }

    /// Spends `count` of the nodes that are left.
    pub(super) fn spend_nodes(&mut self, count: u64) {
        self.nodes_left -= count;
    }

    /// Notes work done between two nodes; `false` when the search must end, and then it may not visit another node
    /// either.
    pub(super) fn may_go_on(&mut self, work: usize) -> bool {
        self.work_done += work;
        if self.work_done >= WORK_UNASKED {
            self.work_done = 0;
            self.is_stopped |= (self.should_stop)();
        }
        !self.is_stopped
    }

    /// Nodes that may still be visited.
    pub fn nodes_left(&self) -> u64 {
        self.nodes_left
    }
}
