//! How long a search may go on.

/// A search's budget: polled at every node.
pub struct Budget<'a> {
    nodes_left: u64,
    should_stop: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("nodes_left", &self.nodes_left).finish_non_exhaustive()
    }
}

impl Budget<'static> {
    /// At most so many nodes.
    pub fn nodes(limit: u64) -> Self {
        Self { nodes_left: limit, should_stop: &|| false }
    }

    /// As long as it takes.
    pub fn unlimited() -> Self {
        Self::nodes(u64::MAX)
    }
}

impl<'a> Budget<'a> {
    /// At most so many nodes, and no further once `should_stop` says so: the only way in which wall
    /// time enters a search.
    pub fn with_stop(limit: u64, should_stop: &'a dyn Fn() -> bool) -> Self {
        Self { nodes_left: limit, should_stop }
    }

    /// Pays for one node; `false` when the search must end instead of visiting it.
    pub(super) fn spend_node(&mut self) -> bool {
        // A clock costs more than a node, so it is asked once in a while.
        if self.nodes_left == 0 || (self.nodes_left.is_multiple_of(64) && (self.should_stop)()) {
            return false;
        }
        self.nodes_left -= 1;
        true
    }

    /// Nodes that may still be visited.
    pub fn nodes_left(&self) -> u64 {
        self.nodes_left
    }
}
