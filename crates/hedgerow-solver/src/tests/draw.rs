//! Sources of numbers for test instances: exhaustive and seeded.

/// A source of choices.
pub(super) trait Draw {
    /// A whole number from 0 to `most`.
    fn up_to(&mut self, most: u64) -> u64;

    /// One of some values.
    fn one_of(&mut self, values: &[u64]) -> u64 {
        values[self.up_to(values.len() as u64 - 1) as usize]
    }
}

/// Enumerates all sequences of choices.
///
/// A test draws any number of choices between two calls of [`Exhaustive::next`]; the last choice changes fastest.
#[derive(Default)]
pub(super) struct Exhaustive {
    /// Each choice made, and the most it could have been.
    choices: Vec<(u64, u64)>,
    made: usize,
    has_begun: bool,
}

impl Exhaustive {
    /// Advances to the next sequence; `false` after the last one.
    pub(super) fn next(&mut self) -> bool {
        self.made = 0;
        if !std::mem::replace(&mut self.has_begun, true) {
            return true;
        }
        while self.choices.pop_if(|(choice, most)| choice == most).is_some() {}
        self.choices.last_mut().map(|(choice, _)| *choice += 1).is_some()
    }
}

impl Draw for Exhaustive {
    fn up_to(&mut self, most: u64) -> u64 {
        if self.made == self.choices.len() {
            self.choices.push((0, most));
        }
        let (choice, known_most) = self.choices[self.made];
        assert_eq!(most, known_most, "a test drew differently after the same choices");
        self.made += 1;
        choice
    }
}

/// Pseudo-random choices, the same for the same seed (SplitMix64).
pub(super) struct Seeded(pub(super) u64);

impl Draw for Seeded {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % (most + 1)
    }
}

#[test]
fn exhaustive_draws_are_all_sequences_once() {
    let mut draws = Exhaustive::default();
    let mut seen = Vec::new();
    while draws.next() {
        let first = draws.up_to(1);
        seen.push((first, draws.up_to(1 + first)));
    }
    assert_eq!(seen, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]);
}
