//! The best batch so far, and what it takes to be better.

use super::table::Table;

/// The best batch found.
#[derive(Default)]
pub(super) struct Best {
    /// Who is in it, as places of the table.
    pub(super) chosen: Vec<u32>,
    pub(super) value: u128,
    /// The least value that is better.
    pub(super) wanted: u128,
    /// No batch of that value has less worth.
    pub(super) wanted_worth: i64,
}

impl Best {
    /// Forgets it: nobody is the best so far.
    pub(super) fn clear(&mut self, table: &Table) {
        self.chosen.clear();
        self.raise(table, 0);
    }

    /// Takes over a better batch.
    pub(super) fn take(&mut self, table: &Table, value: u128, chosen: impl IntoIterator<Item = u32>) {
        assert!(value > self.value, "{value} is no better than {}", self.value);
        self.chosen.clear();
        self.chosen.extend(chosen);
        self.raise(table, value);
    }

    fn raise(&mut self, table: &Table, value: u128) {
        self.value = value;
        self.wanted = value + u128::from(table.step);
        self.wanted_worth = table.scale.least_worth(self.wanted);
    }
}
