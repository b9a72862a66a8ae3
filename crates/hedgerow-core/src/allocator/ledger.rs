//! Who holds what: memory and band shares are handed out and come back, to the last byte.

use super::Share;
use crate::node::Node;
use crate::units::Bytes;

/// What one request holds from its choice to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Grant {
    /// KV memory.
    pub memory: Bytes,
    /// Share of the uplink.
    pub uplink: Share,
    /// Share of the downlink.
    pub downlink: Share,
}

/// What is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    whole: Grant,
    free: Grant,
}

impl Ledger {
    /// Everything the node has, free.
    pub fn new(node: &Node) -> Self {
        let whole = Grant { memory: node.kv_memory(), uplink: Share::WHOLE, downlink: Share::WHOLE };
        Self { whole, free: whole }
    }

    /// What is free now.
    pub fn free(&self) -> Grant {
        self.free
    }

    /// What there is in all.
    pub fn whole(&self) -> Grant {
        self.whole
    }

    /// Whether a grant could be taken now.
    pub fn fits(&self, grant: &Grant) -> bool {
        grant.memory <= self.free.memory
            && grant.uplink <= self.free.uplink
            && grant.downlink <= self.free.downlink
    }

    /// Whether a grant could be taken if nobody held anything.
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

    /// Conservation: what is free and what is held add up to the whole.
    ///
    /// # Panics
    ///
    /// If they do not, with both sides.
    pub fn assert_conserved<'a>(&self, held: impl Iterator<Item = &'a Grant>) {
        let mut sum = self.clone();
        held.for_each(|grant| sum.give_back(grant));
        assert_eq!(sum.free, self.whole, "free and held (left) are not the whole (right)");
    }
}
