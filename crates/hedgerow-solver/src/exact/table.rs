//! The instance in the layout of the search: columns of integers, and the passes over them.

use super::super::instance::{Capacity, Instance};

/// The number of limited sums: uplink, downlink, memory, compute.
pub(super) const ROWS: usize = 4;

/// Coarse numbers of a row are below two to this power, so that a price times a need is far below 2⁶³.
const COARSE_BITS: u32 = 31;

/// The sum of all scaled values is at most two to this power.
const SCALED_BITS: u32 = 52;

/// The tolerance is the scaled value of 1, shifted right by this many bits.
const TOLERANCE_BITS: u32 = 10;

/// The individually feasible requests of positive value, in descending order of slack.
///
/// Stored by column: one vector per quantity, with one entry per request.
#[derive(Default)]
pub(super) struct Table {
    /// Sort keys: complement of the useful slack, then index in the instance.
    keys: Vec<u128>,
    /// The request's index in the instance.
    pub(super) index: Vec<u32>,
    /// Its value.
    pub(super) value: Vec<u64>,
    /// Its need of each row.
    pub(super) need: [Vec<i64>; ROWS],
    /// The same in the row's coarse unit, rounded down. A batch that fits exactly also fits coarsely, so bounds
    /// computed from these hold.
    pub(super) coarse: [Vec<i64>; ROWS],
    /// Its scaled value: its value in fixed point.
    pub(super) scaled: Vec<i64>,
    /// Its needs as parts of the largest limit, for the linear program.
    pub(super) part: [Vec<f64>; ROWS],
    /// Its value for the linear program, perturbed so that no two are equal.
    pub(super) gain: Vec<f64>,
    /// By how many bits a row's needs are shifted right to be coarse.
    pub(super) shift: [u32; ROWS],
    /// The largest limit of each row, in coarse units: the whole that parts refer to.
    pub(super) whole: [f64; ROWS],
    /// The conversion between values and scaled values.
    pub(super) scale: Scale,
    /// Profits of at most this may be rounding errors.
    pub(super) tolerance: i64,
    /// Every batch's value is a multiple of this.
    pub(super) step: u64,
    /// The passes: the best batch over all of them is optimal.
    pub(super) passes: Vec<Pass>,
}

/// The subproblem for one tightest slack: the requests with at least that slack, and their limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// The first `len` requests of the table take part.
    pub(super) len: usize,
    /// What a batch may use of each row.
    pub(super) limit: [i64; ROWS],
}

/// Values as fixed-point integers: `value · 2^up`, or `value / 2^down` rounded up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scale {
    up: u32,
    down: u32,
}

impl Table {
    /// Reads an instance: one pass for each slack that could be a batch's tightest; slack beyond the compute slot
    /// does not bind, so all such slacks share one.
    pub(super) fn read(&mut self, instance: &Instance) {
        self.order_by_slack(instance);
        refill(&mut self.index, self.keys.iter().map(|&key| key as u32));
        let items = self.index.iter().map(|&index| &instance.items[index as usize]);
        refill(&mut self.value, items.clone().map(|item| item.value));
        let [uplink, downlink, memory, compute] = &mut self.need;
        refill(uplink, items.clone().map(|item| item.uplink as i64));
        refill(downlink, items.clone().map(|item| item.downlink as i64));
        refill(memory, items.clone().map(|item| item.memory as i64));
        refill(compute, items.map(|item| item.compute_us as i64));
        self.scale = Scale::new(self.value.iter().map(|&value| u128::from(value)).sum());
        self.tolerance = self.scale.scaled(1) >> TOLERANCE_BITS;
        self.step = common_divisor(self.value.iter().copied());
        refill(&mut self.scaled, self.value.iter().map(|&value| self.scale.scaled(value)));
        refill(&mut self.gain, self.value.iter().enumerate().map(|(place, &value)| unequal(value, place)));
        for (row, limit) in instance.capacity.limits().into_iter().enumerate() {
            let shift = (u64::BITS - limit.leading_zeros()).saturating_sub(COARSE_BITS);
            self.shift[row] = shift;
            self.whole[row] = ((limit >> shift) as f64).max(1.0);
            refill(&mut self.coarse[row], self.need[row].iter().map(|need| need >> shift));
            let each = 1.0 / self.whole[row];
            refill(&mut self.part[row], self.coarse[row].iter().map(|&need| need as f64 * each));
        }
        self.make_passes(&instance.capacity);
    }

    /// Sorts the individually feasible requests by useful slack, which is at most the compute slot.
    fn order_by_slack(&mut self, instance: &Instance) {
        let limits = instance.capacity.limits();
        let slot_us = instance.capacity.compute_us;
        self.keys.clear();
        for (index, item) in instance.items.iter().enumerate() {
            let fits = item.needs().iter().zip(&limits).all(|(need, limit)| need <= limit);
            if fits && item.compute_us <= item.slack_us && item.value > 0 {
                self.keys.push((u128::from(!item.slack_us.min(slot_us)) << 32) | index as u128);
            }
        }
        self.keys.sort_unstable();
    }

    /// Makes the passes: one ends where the slack changes. Limits are rounded down to multiples of the greatest
    /// common divisor of their row's needs, since no batch can use the rest.
    fn make_passes(&mut self, capacity: &Capacity) {
        let divisor: [i64; ROWS] =
            std::array::from_fn(|row| common_divisor(self.need[row].iter().map(|&need| need as u64)) as i64);
        let lowered = |(limit, divisor): (u64, i64)| match divisor {
            1 => limit as i64,
            _ => limit as i64 - limit as i64 % divisor,
        };
        self.passes.clear();
        let useful_slack_us = |&key: &u128| !((key >> 32) as u64);
        for (place, key) in self.keys.iter().enumerate() {
            let compute_us = useful_slack_us(key);
            if self.keys.get(place + 1).map(useful_slack_us) != Some(compute_us) {
                let limit = Capacity { compute_us, ..*capacity }.limits();
                let limit = std::array::from_fn(|row| lowered((limit[row], divisor[row])));
                self.passes.push(Pass { len: place + 1, limit });
            }
        }
    }

    /// Whether a request fits what is left.
    pub(super) fn fits(&self, item: u32, left: &[i64; ROWS]) -> bool {
        (0..ROWS).all(|row| self.need[row][item as usize] <= left[row])
    }

    /// Subtracts a request's needs from what is left.
    pub(super) fn take(&self, item: u32, left: &mut [i64; ROWS]) {
        for (left, need) in left.iter_mut().zip(&self.need) {
            *left -= need[item as usize];
        }
    }
}

/// Replaces the contents of a column, reusing its allocation.
pub(super) fn refill<T>(column: &mut Vec<T>, values: impl Iterator<Item = T>) {
    column.clear();
    column.extend(values);
}

/// A value perturbed by less than one part in 2²⁸: equal values could make the simplex cycle.
fn unequal(value: u64, place: usize) -> f64 {
    let noise = (place as u32).wrapping_mul(0x9E37_79B9) >> 8;
    value as f64 * (1.0 + f64::from(noise) / (1_u64 << 52) as f64)
}

/// The greatest common divisor; 1 if there are only zeros.
fn common_divisor(mut numbers: impl Iterator<Item = u64>) -> u64 {
    let divide = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        // Early exit: a divisor of 1 stays 1.
        if a == 1 { Err(a) } else { Ok(a) }
    };
    let (Ok(divisor) | Err(divisor)) = numbers.try_fold(0, divide);
    divisor.max(1)
}

impl Scale {
    fn new(total: u128) -> Self {
        let bits = u128::BITS - total.leading_zeros();
        Self { up: SCALED_BITS.saturating_sub(bits), down: bits.saturating_sub(SCALED_BITS) }
    }

    fn scaled(self, value: u64) -> i64 {
        self.least_scaled(u128::from(value))
    }

    /// The least scaled value of a batch of this value: rounding up each request's value only adds to it.
    pub(super) fn least_scaled(self, value: u128) -> i64 {
        // Rounded up by hand: a division of such wide numbers would take most of the time.
        (((value + ((1 << self.down) - 1)) >> self.down) << self.up) as i64
    }

    /// The highest value of a batch of at most this scaled value.
    pub(super) fn most_value(self, scaled: i64) -> u128 {
        ((scaled.max(0) as u128) >> self.up) << self.down
    }

    /// The scaled value of one unit of value, as a float.
    pub(super) fn unit(self) -> f64 {
        f64::from(self.up as i32 - self.down as i32).exp2()
    }
}
