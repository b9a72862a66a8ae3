//! Positions and movement of the users.

use std::f64::consts::TAU;

use hedgerow_core::time::Instant;
use hedgerow_workload::{Purpose, stream};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::Cell;

/// After this many drawn headings that lead out of the ring, the user is placed anew.
const HEADINGS_MAX: u32 = 16;

/// Draws the positions of the users, in metres from the node.
#[derive(Clone, Debug)]
pub(super) struct Places {
    ring: Ring,
    speed_m_per_s: f64,
    /// The moving users who send all requests; empty if each request has a user of its own.
    walkers: Vec<Walker>,
    choice: ChaCha8Rng,
    headings: ChaCha8Rng,
}

#[derive(Clone, Debug)]
struct Ring {
    /// Squares of its radii: a position is uniform over the area, so its squared distance is uniform.
    nearest: f64,
    farthest: f64,
    distances: ChaCha8Rng,
    angles: ChaCha8Rng,
}

/// A user who moves in a straight line and draws a new heading where that leads out of the ring.
#[derive(Clone, Copy, Debug)]
struct Walker {
    place: [f64; 2],
    heading: f64,
    since: Instant,
}

impl Places {
    pub(super) fn new(cell: &Cell, seed: u64) -> Self {
        let stream = |purpose| stream(seed, purpose);
        let mut places = Self {
            ring: Ring {
                nearest: cell.min_distance_m.powi(2),
                farthest: cell.radius_m.powi(2),
                distances: stream(Purpose::Places),
                angles: stream(Purpose::Angles),
            },
            speed_m_per_s: cell.speed_m_per_s,
            walkers: Vec::new(),
            choice: stream(Purpose::Walkers),
            headings: stream(Purpose::Headings),
        };
        let walker = |_| Walker {
            place: places.ring.draw(),
            heading: TAU * places.headings.random::<f64>(),
            since: Instant::START,
        };
        places.walkers = (0..cell.walkers).map(walker).collect();
        places
    }

    /// The position of the user of a request that arrives now; `now` never decreases.
    pub(super) fn draw(&mut self, now: Instant) -> [f64; 2] {
        if self.walkers.is_empty() {
            return self.ring.draw();
        }
        let index = self.choice.random_range(0..self.walkers.len());
        let Walker { place: [x, y], mut heading, since } = self.walkers[index];
        let walked_m = self.speed_m_per_s * now.since(since).as_seconds();
        let ahead = |heading: f64| [x + walked_m * heading.cos(), y + walked_m * heading.sin()];
        let mut turns = 0;
        while !self.ring.contains(ahead(heading)) && turns < HEADINGS_MAX {
            heading = TAU * self.headings.random::<f64>();
            turns += 1;
        }
        let place = if self.ring.contains(ahead(heading)) { ahead(heading) } else { self.ring.draw() };
        self.walkers[index] = Walker { place, heading, since: now };
        place
    }
}

impl Ring {
    fn draw(&mut self) -> [f64; 2] {
        let part: f64 = self.distances.random();
        let distance_m = (self.nearest + part * (self.farthest - self.nearest)).sqrt();
        let (sine, cosine) = (TAU * self.angles.random::<f64>()).sin_cos();
        [distance_m * cosine, distance_m * sine]
    }

    fn contains(&self, [x, y]: [f64; 2]) -> bool {
        (self.nearest..=self.farthest).contains(&(x * x + y * y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Fading;
    use hedgerow_core::time::Span;

    fn places(walkers: u32, speed_m_per_s: f64) -> Places {
        let cell = Cell { walkers, speed_m_per_s, ..Cell::simple(10.0, 250.0, Fading::None, 32.0) };
        Places::new(&cell, 1)
    }

    fn distance_m([x, y]: [f64; 2]) -> f64 {
        x.hypot(y)
    }

    #[test]
    fn half_of_the_users_are_in_the_outer_half_of_the_area() {
        let mut places = places(0, 0.0);
        let halfway_m = ((10.0_f64.powi(2) + 250.0_f64.powi(2)) / 2.0).sqrt();
        let far = (0..10_000).filter(|_| distance_m(places.draw(Instant::START)) > halfway_m).count();
        assert!((4_850..5_150).contains(&far), "{far} of 10,000");
    }

    #[test]
    fn a_walker_moves_at_its_speed_and_stays_in_the_ring() {
        let mut places = places(1, 1.5);
        let mut before = places.draw(Instant::START);
        let mut now = Instant::START;
        for _ in 0..2_000 {
            now = now + Span::from_seconds(4.0);
            let [x, y] = places.draw(now);
            let walked_m = (x - before[0]).hypot(y - before[1]);
            assert!((walked_m - 6.0).abs() < 1e-6, "{walked_m} m in 4 s");
            assert!((9.999..=250.001).contains(&distance_m([x, y])));
            before = [x, y];
        }
    }

    #[test]
    fn positions_are_uniform_when_users_cross_the_cell_between_requests() {
        let mut places = places(3, 30.0);
        let far = (1..2_000).filter(|&minute| {
            let now = Instant::START + Span::from_seconds(60.0 * f64::from(minute));
            distance_m(places.draw(now)) > 177.0
        });
        let far = far.count();
        assert!((850..1_150).contains(&far), "{far} of 2,000");
    }
}
