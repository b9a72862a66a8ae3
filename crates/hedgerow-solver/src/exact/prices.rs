//! Integer prices (Lagrange multipliers), and the bounds that they prove.

use super::table::{ROWS, Table, refill};

/// The most that a price times a need may be: the sum of four and a scaled value stays below 2⁶³.
const PRODUCT_MAX: i64 = 1 << 58;

/// The price of one coarse unit of each row, in scaled values.
///
/// For any prices, the value of every feasible batch is at most the price of all that is left plus the sum of all
/// positive profits (Lagrangian bound). Each flip of a decision costs the request's absolute profit, and leftovers of
/// a row cost their price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prices(pub(super) [i64; ROWS]);

impl Prices {
    /// Rounds multipliers, which are in value per largest limit.
    pub(super) fn new(table: &Table, multipliers: &[f64; ROWS]) -> Self {
        let unit = table.scale.unit();
        Self(std::array::from_fn(|row| {
            let whole = table.whole[row];
            // The conversion saturates and turns NaN into 0, which is safe: any price proves a bound.
            ((multipliers[row] * unit / whole).round() as i64).clamp(0, PRODUCT_MAX / whole as i64)
        }))
    }

    /// Prices in value per unit of each row, which do not depend on the instance.
    pub(super) fn in_units(&self, table: &Table) -> [f64; ROWS] {
        let unit = table.scale.unit();
        std::array::from_fn(|row| self.0[row] as f64 / unit / f64::from(table.shift[row]).exp2())
    }

    /// The inverse of [`Prices::in_units`].
    pub(super) fn of_units(table: &Table, prices: &[f64; ROWS]) -> Self {
        let whole = |row: usize| table.whole[row] * f64::from(table.shift[row]).exp2();
        Self::new(table, &std::array::from_fn(|row| prices[row] * whole(row)))
    }

    /// The price of what is left of each row.
    pub(super) fn of_rest(&self, table: &Table, left: &[i64; ROWS]) -> i64 {
        (0..ROWS).map(|row| self.0[row] * (left[row] >> table.shift[row])).sum()
    }

    /// A request's profit: its scaled value less the price of its needs.
    pub(super) fn profit(&self, table: &Table, item: u32) -> i64 {
        let item = item as usize;
        let price: i64 = (0..ROWS).map(|row| self.0[row] * table.coarse[row][item]).sum();
        table.scaled[item] - price
    }

    /// The profits of all requests.
    pub(super) fn profits(&self, table: &Table, profits: &mut Vec<i64>) {
        let [uplink, downlink, memory, compute] = &table.coarse;
        let needs = uplink.iter().zip(downlink).zip(memory.iter().zip(compute));
        let profit = |(scaled, ((uplink, downlink), (memory, compute)))| {
            scaled - self.0[0] * uplink - self.0[1] * downlink - self.0[2] * memory - self.0[3] * compute
        };
        refill(profits, table.scaled.iter().zip(needs).map(profit));
    }

    /// The most that a better batch leaves of each row, if it may lose no more than `gap`.
    pub(super) fn most_left(&self, table: &Table, gap: i64) -> [i64; ROWS] {
        std::array::from_fn(|row| match self.0[row] {
            0 => i64::MAX,
            price => {
                // Coarse numbers are rounded, so the exact leftover may be up to one coarse unit more.
                let coarse = gap / price + i64::from(table.shift[row] > 0);
                coarse.checked_mul(1 << table.shift[row]).unwrap_or(i64::MAX)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capacity, Instance, Item, Timing};

    #[test]
    fn whatever_the_multipliers_the_prices_can_be_reckoned_with() {
        let most = crate::NUMBER_LIMIT - 1;
        let item =
            Item { uplink: most, downlink: 1, memory: 0, compute_us: most / 2, slack_us: most, value: most };
        let instance = Instance {
            capacity: Capacity { uplink: most, downlink: 1, memory: 0, compute_us: most },
            items: vec![item; 100],
            timing: Timing::Together,
        };
        let mut table = Table::default();
        table.read(&instance);
        for multiplier in [0.0, -1.0, 1.0, 1e9, 1e30, f64::INFINITY, f64::NAN] {
            let prices = Prices::new(&table, &[multiplier; ROWS]);
            let mut profits = Vec::new();
            prices.profits(&table, &mut profits);
            assert_eq!(profits[7], prices.profit(&table, 7));
            let profits: i64 = profits.into_iter().map(|profit| profit.max(0)).sum();
            let bound = prices.of_rest(&table, &table.passes[0].limit) + profits;
            assert!(table.scale.most_value(bound) >= u128::from(most), "{multiplier}: {bound}");
        }
    }
}
