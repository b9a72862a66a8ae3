//! Path loss and line-of-sight probability (3GPP TR 38.901, clause 7.4).

use serde::{Deserialize, Serialize};

/// The speed of light in metres per second.
const LIGHT_M_PER_S: f64 = 299_792_458.0;
/// Effective environment height `h_E` in metres, for users of at most [`USER_HEIGHT_M_MAX`].
const CLUTTER_M: f64 = 1.0;
/// Largest user height in metres; above it TR 38.901 draws `h_E`, which is not implemented.
pub(crate) const USER_HEIGHT_M_MAX: f64 = 13.0;

/// A path loss model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathLoss {
    /// `128.1 + 37.6·log10(d/km)`, with or without line of sight.
    Macro,
    /// UMi street canyon: the node is below the roofs.
    Umi,
    /// UMa: the node is above the roofs.
    Uma,
    /// InH open office: all users are in the same room.
    Inh,
}

/// Whether users have line of sight to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Drawn with the probability of TR 38.901, table 7.4.2-1.
    Drawn,
    /// All users have it.
    Always,
    /// No user has it.
    Never,
}

/// The parameters of the path loss besides the distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Propagation {
    /// The path loss model.
    pub path_loss: PathLoss,
    /// Carrier frequency in GHz.
    pub carrier_ghz: f64,
    /// Height of the node's antenna in metres.
    pub node_height_m: f64,
    /// Height of the users' antennas in metres.
    pub user_height_m: f64,
    /// Which users have line of sight.
    pub sight: Sight,
}

/// The macro path loss over a distance, in decibels.
///
/// ```text
/// PL = 128.1 + 37.6 · log10(d / km)
/// ```
///
/// This is the simple macro-cell model of many edge papers; the paper does not say which model it uses.
///
/// # Examples
///
/// ```
/// assert_eq!(hedgerow_sim::path_loss_db(1000.0), 128.1);
/// ```
pub fn path_loss_db(distance_m: f64) -> f64 {
    128.1 + 37.6 * (distance_m / 1000.0).log10()
}

impl Propagation {
    /// The macro model.
    pub const MACRO: Self = Self {
        path_loss: PathLoss::Macro,
        carrier_ghz: 2.0,
        node_height_m: 25.0,
        user_height_m: 1.5,
        sight: Sight::Never,
    };

    /// Path loss over a horizontal distance, in decibels (TR 38.901, table 7.4.1-1).
    pub fn loss_db(&self, distance_m: f64, in_sight: bool) -> f64 {
        let Self { carrier_ghz, node_height_m, user_height_m, .. } = *self;
        let slant_m = distance_m.hypot(node_height_m - user_height_m);
        let (slant, carrier) = (slant_m.log10(), carrier_ghz.log10());
        let (sighted_db, hidden_db) = match self.path_loss {
            PathLoss::Macro => return path_loss_db(distance_m),
            PathLoss::Umi => (
                self.broken_line_db(distance_m, slant, 32.4, 21.0, 9.5),
                22.4 + 35.3 * slant + 21.3 * carrier - 0.3 * (user_height_m - 1.5),
            ),
            PathLoss::Uma => (
                self.broken_line_db(distance_m, slant, 28.0, 22.0, 9.0),
                13.54 + 39.08 * slant + 20.0 * carrier - 0.6 * (user_height_m - 1.5),
            ),
            PathLoss::Inh => (32.4 + 17.3 * slant + 20.0 * carrier, 17.3 + 38.3 * slant + 24.9 * carrier),
        };
        if in_sight { sighted_db } else { sighted_db.max(hidden_db) }
    }

    /// Line-of-sight loss with two slopes: it grows faster beyond the breakpoint, where the ground reflection
    /// cancels the direct path.
    fn broken_line_db(&self, distance_m: f64, slant: f64, at_1_m: f64, slope: f64, bend: f64) -> f64 {
        let carrier_db = 20.0 * self.carrier_ghz.log10();
        let breakpoint_m = self.breakpoint_m();
        if distance_m <= breakpoint_m {
            return at_1_m + slope * slant + carrier_db;
        }
        let height_m = self.node_height_m - self.user_height_m;
        at_1_m + 40.0 * slant + carrier_db - bend * (breakpoint_m.powi(2) + height_m.powi(2)).log10()
    }

    /// The breakpoint distance `d'_BP = 4·(h_BS − h_E)·(h_UT − h_E)·f/c`.
    fn breakpoint_m(&self) -> f64 {
        let above = (self.node_height_m - CLUTTER_M) * (self.user_height_m - CLUTTER_M);
        4.0 * above * self.carrier_ghz * 1e9 / LIGHT_M_PER_S
    }

    /// Line-of-sight probability over a horizontal distance (TR 38.901, table 7.4.2-1; the office is the open one).
    pub fn sight_probability(&self, distance_m: f64) -> f64 {
        match self.sight {
            Sight::Always => return 1.0,
            Sight::Never => return 0.0,
            Sight::Drawn => {}
        }
        let near_18_m = |decay_m: f64| match 18.0 / distance_m {
            near if near >= 1.0 => 1.0,
            near => near + (-distance_m / decay_m).exp() * (1.0 - near),
        };
        match self.path_loss {
            PathLoss::Macro => 0.0,
            PathLoss::Umi => near_18_m(36.0),
            // The height factor applies above 13 m only, and no such user is allowed here.
            PathLoss::Uma => near_18_m(63.0),
            PathLoss::Inh if distance_m <= 5.0 => 1.0,
            PathLoss::Inh if distance_m <= 49.0 => (-(distance_m - 5.0) / 70.8).exp(),
            PathLoss::Inh => 0.54 * (-(distance_m - 49.0) / 211.7).exp(),
        }
    }

    /// Maximum Doppler shift in hertz: `v·f/c`, for a user who moves straight to the node.
    pub fn doppler_hz(&self, speed_m_per_s: f64) -> f64 {
        speed_m_per_s * self.carrier_ghz * 1e9 / LIGHT_M_PER_S
    }
}

impl PathLoss {
    /// The default height of the node's antenna in metres, for which the equations hold.
    pub(crate) fn usual_node_height_m(self) -> f64 {
        match self {
            Self::Macro | Self::Uma => 25.0,
            Self::Umi => 10.0,
            Self::Inh => 3.0,
        }
    }

    /// Range of horizontal distances for which the equations hold, in metres.
    pub(crate) fn valid_m(self) -> (f64, f64) {
        match self {
            Self::Macro => (f64::MIN_POSITIVE, f64::MAX),
            Self::Umi | Self::Uma => (10.0, 5_000.0),
            Self::Inh => (1.0, 150.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_3_5_ghz(path_loss: PathLoss) -> Propagation {
        Propagation {
            path_loss,
            carrier_ghz: 3.5,
            node_height_m: path_loss.usual_node_height_m(),
            user_height_m: 1.5,
            sight: Sight::Drawn,
        }
    }

    /// Checks rows of `(distance, loss with line of sight, loss without)` to 0.051 dB.
    fn check_losses(path_loss: PathLoss, expected: &[(f64, f64, f64)]) {
        for &(distance_m, sighted, hidden) in expected {
            let propagation = at_3_5_ghz(path_loss);
            for (in_sight, expected) in [(true, sighted), (false, hidden)] {
                let loss_db = propagation.loss_db(distance_m, in_sight);
                assert!((loss_db - expected).abs() < 0.051, "{distance_m} m, {in_sight}: {loss_db} dB");
            }
        }
    }

    #[test]
    fn loses_90_5_db_over_100_m_and_105_46_db_over_250_m() {
        assert!((path_loss_db(100.0) - 90.5).abs() < 1e-9);
        assert!((path_loss_db(250.0) - 105.462_5).abs() < 1e-4);
    }

    #[test]
    fn the_street_canyon_loss_is_that_of_table_7_4_1_1() {
        // By hand; the breakpoint at 3.5 GHz is 210 m, so the last two lie beyond it.
        let losses = [(50.0, 79.1, 94.2), (100.0, 85.3, 104.6), (200.0, 91.6, 115.2)];
        check_losses(PathLoss::Umi, &losses);
        check_losses(PathLoss::Umi, &[(300.0, 98.2, 121.4), (500.0, 107.1, 129.3)]);
    }

    #[test]
    fn the_urban_macro_loss_is_that_of_table_7_4_1_1() {
        // 100 m: slant 102.72 m, 28 + 22·2.01166 + 10.881 = 83.14; 13.54 + 39.08·2.01166 + 10.881 = 103.04.
        // 1 km, beyond the breakpoint of 560.4 m: 28 + 40·3.00012 + 10.881 − 9·log10(560.4² + 23.5²) = 109.4.
        check_losses(PathLoss::Uma, &[(100.0, 83.14, 103.04), (1000.0, 109.40, 141.67)]);
    }

    #[test]
    fn the_office_loss_is_that_of_table_7_4_1_1() {
        // 20 m: slant 20.056 m, 32.4 + 17.3·1.30225 + 10.881 = 65.81; 17.3 + 38.3·1.30225 + 24.9·0.54407 = 80.72.
        check_losses(PathLoss::Inh, &[(20.0, 65.81, 80.72)]);
    }

    #[test]
    fn the_loss_without_line_of_sight_is_no_smaller() {
        for path_loss in [PathLoss::Umi, PathLoss::Uma, PathLoss::Inh] {
            for distance_m in 1..150 {
                let propagation = at_3_5_ghz(path_loss);
                let loss_db = |in_sight| propagation.loss_db(f64::from(distance_m), in_sight);
                assert!(loss_db(false) >= loss_db(true), "{path_loss:?}, {distance_m} m");
            }
        }
    }

    #[test]
    fn the_line_of_sight_probability_is_that_of_table_7_4_2_1() {
        let check = |path_loss, distance_m, expected: f64| {
            let probability = at_3_5_ghz(path_loss).sight_probability(distance_m);
            assert!((probability - expected).abs() < 5e-4, "{path_loss:?}, {distance_m} m: {probability}");
        };
        // 18/100 + e^(−100/36)·0.82 and so on, by hand.
        [(18.0, 1.0), (50.0, 0.5196), (100.0, 0.2310), (200.0, 0.0935), (500.0, 0.036)]
            .into_iter()
            .for_each(|(distance_m, expected)| check(PathLoss::Umi, distance_m, expected));
        [(18.0, 1.0), (100.0, 0.3477)]
            .into_iter()
            .for_each(|(distance_m, expected)| check(PathLoss::Uma, distance_m, expected));
        [(5.0, 1.0), (20.0, 0.8091), (100.0, 0.4244)]
            .into_iter()
            .for_each(|(distance_m, expected)| check(PathLoss::Inh, distance_m, expected));
    }

    #[test]
    fn a_pedestrian_at_3_5_ghz_shifts_the_carrier_by_9_7_hz() {
        assert!((at_3_5_ghz(PathLoss::Umi).doppler_hz(3.0 / 3.6) - 9.729).abs() < 1e-3);
    }
}
