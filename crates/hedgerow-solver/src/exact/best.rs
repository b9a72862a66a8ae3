//! The incumbent: the best batch so far, and the values that a better one must reach.

use super::table::Table;

/// The incumbent.
#[derive(Default)]
pub(super) struct Best {
    /// Its requests, as rows of the table.
    pub(super) chosen: Vec<u32>,
    pub(super) value: u128,
    /// The least value of a better batch.
    pub(super) wanted: u128,
    /// The least scaled value of a batch of that value.
    pub(super) wanted_scaled: i64,
}

impl Best {
    /// Resets the incumbent to the empty batch.
    pub(super) fn clear(&mut self, table: &Table) {
        self.chosen.clear();
        self.raise(table, 0);
    }

    /// Replaces the incumbent by a better batch.
    pub(super) fn take(&mut self, table: &Table, value: u128, chosen: impl IntoIterator<Item = u32>) {
        assert!(value > self.value, "{value} is no better than {}", self.value);
        self.chosen.clear();
        self.chosen.extend(chosen);
        self.raise(table, value);
    }

    fn raise(&mut self, table: &Table, value: u128) {
        self.value = value;
        self.wanted = value + u128::from(table.step);
        self.wanted_scaled = table.scale.least_scaled(self.wanted);
    }
}
