//! The ledger: accounts for granted and free memory and band shares, exactly.

use crate::model::grant::Grant;
use crate::model::node::Node;
use crate::model::radio::Share;

/// The node's resources, and the free part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    whole: Grant,
    free: Grant,
}

impl Ledger {
    /// A ledger with all of the node's resources free.
    pub fn new(node: &Node) -> Self {
        let whole = Grant { memory: node.kv_memory(), uplink: Share::WHOLE, downlink: Share::WHOLE };
        Self { whole, free: whole }
    }

    /// The free resources.
    pub fn free(&self) -> Grant {
        self.free
    }

    /// All of the node's resources.
    pub fn whole(&self) -> Grant {
        self.whole
    }

    /// Whether a grant could be taken now.
    pub fn fits(&self, grant: &Grant) -> bool {
        grant.memory <= self.free.memory
            && grant.uplink <= self.free.uplink
            && grant.downlink <= self.free.downlink
    }

    /// Whether a grant would fit an idle node.
    pub fn could_ever_fit(&self, grant: &Grant) -> bool {
        Self { whole: self.whole, free: self.whole }.fits(grant)
    }

    /// Takes a grant.
    ///
    /// # Panics
    ///
    /// If it does not fit: a plan that overdraws is a bug.
    pub fn take(&mut self, grant: &Grant) {
        assert!(self.fits(grant), "plan takes {grant:?} of {:?}", self.free);
        self.free.memory = self.free.memory - grant.memory;
        self.free.uplink = self.free.uplink - grant.uplink;
        self.free.downlink = self.free.downlink - grant.downlink;
    }

    /// Gives a grant back.
    pub fn give_back(&mut self, grant: &Grant) {
        self.free.memory = self.free.memory + grant.memory;
        self.free.uplink = self.free.uplink + grant.uplink;
        self.free.downlink = self.free.downlink + grant.downlink;
    }

    /// Checks conservation: free and held resources add up to the whole.
    ///
    /// # Panics
    ///
    /// If they do not; the message shows both sides.
    pub fn assert_conserved<'a>(&self, held: impl Iterator<Item = &'a Grant>) {
        let mut sum = self.clone();
        held.for_each(|grant| sum.give_back(grant));
        assert_eq!(sum.free, self.whole, "free and held (left) are not the whole (right)");
    }
}
