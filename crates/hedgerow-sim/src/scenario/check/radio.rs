//! Checks of the radio: the band, the slots and the cell.

use hedgerow_core::allocator::{Channel, Coding, Modem, PowerOver, Radio};
use hedgerow_core::units::{Hertz, Watts};

use super::super::raw::{RawCoding, RawFading, RawKnowledge, RawPowerOver, RawRadio};
use super::Checked;
use super::values::{millis, missing, unused, value};
use crate::channel::{
    Cell, Direct, Fading, PathLoss, Propagation, Shadowing, Sight, USER_HEIGHT_M_MAX, from_db,
};

/// SNR gap of a 64QAM table to Shannon's limit: `−ln(5·BER)/1.5` at a bit error rate of 5·10⁻⁵.
const CQI_GAP_DB: f64 = 7.43;
/// Default correlation distance in metres of shadowing with the macro path loss.
const SHADOWS_M: f64 = 50.0;

pub(super) fn radio(raw: &RawRadio) -> Radio {
    let channel = |bandwidth_mhz: f64, power_dbm, figure_db: Option<f64>, power_over| Channel {
        bandwidth: Hertz::new(bandwidth_mhz * 1e6),
        transmit_power: Watts::new(watts(power_dbm)),
        noise_density_w_per_hz: watts(raw.noise_dbm_per_hz + figure_db.unwrap_or(0.0)),
        modem: Modem { power_over, ..modem(raw) },
    };
    let uplink_power_over = match raw.uplink_power_over {
        None | Some(RawPowerOver::Band) => PowerOver::Band,
        Some(RawPowerOver::Share) => PowerOver::Share,
    };
    Radio {
        uplink: channel(
            raw.uplink_bandwidth_mhz,
            raw.user_power_dbm,
            raw.node_noise_figure_db,
            uplink_power_over,
        ),
        // The node's power is shared by all users, so it is spread over the band.
        downlink: channel(
            raw.downlink_bandwidth_mhz,
            raw.node_power_dbm,
            raw.user_noise_figure_db,
            PowerOver::Band,
        ),
        uplink_slot: millis(raw.uplink_slot_ms),
        downlink_slot: millis(raw.downlink_slot_ms),
    }
}

fn modem(raw: &RawRadio) -> Modem {
    let (coding, usual_gap_db) = match raw.coding {
        None | Some(RawCoding::Shannon) => (Coding::Shannon, 0.0),
        Some(RawCoding::Cqi) => (Coding::Cqi, CQI_GAP_DB),
    };
    Modem {
        coding,
        snr_gap: from_db(raw.snr_gap_db.unwrap_or(usual_gap_db)),
        payload_part: raw.payload_part.unwrap_or(1.0),
        power_over: PowerOver::Band,
    }
}

pub(super) fn cell(raw: &RawRadio, radio: &Radio, knowledge: Option<&RawKnowledge>) -> Checked<Cell> {
    let (min_distance_m, radius_m) = (raw.min_distance_m, raw.cell_radius_m);
    if radius_m < min_distance_m {
        return Err(value("radio.cell_radius_m", radius_m, "at least `radio.min_distance_m`"));
    }
    let propagation = propagation(raw, knowledge)?;
    let (nearest_m, farthest_m) = propagation.path_loss.valid_m();
    if min_distance_m < nearest_m {
        let must_be = "at least 10 (`umi`, `uma`) or 1 (`inh`), where the path loss begins to hold";
        return Err(value("radio.min_distance_m", min_distance_m, must_be));
    }
    if radius_m > farthest_m {
        let must_be = "at most 5000 (`umi`, `uma`) or 150 (`inh`), where the path loss ceases to hold";
        return Err(value("radio.cell_radius_m", radius_m, must_be));
    }
    Ok(Cell {
        min_distance_m,
        radius_m,
        fading: fading(raw)?,
        bits_per_token: raw.bits_per_token,
        propagation,
        shadowing: shadowing(raw, propagation.path_loss),
        walkers: raw.walkers.unwrap_or(0),
        speed_m_per_s: raw.speed_km_h.unwrap_or(0.0) / 3.6,
        slots: [radio.uplink_slot, radio.downlink_slot],
        snr_of_gain: [&radio.uplink, &radio.downlink].map(|channel| channel.snr(1.0) / channel.modem.snr_gap),
    })
}

fn propagation(raw: &RawRadio, knowledge: Option<&RawKnowledge>) -> Checked<Propagation> {
    let path_loss = raw.path_loss.unwrap_or(PathLoss::Macro);
    let is_late = knowledge.is_some_and(|knowledge| knowledge.channel_delay_ms > Some(0.0));
    let because = match (path_loss, raw.fading) {
        (PathLoss::Umi | PathLoss::Uma | PathLoss::Inh, _) => {
            Some("the path losses of 3GPP depend on the carrier")
        }
        (PathLoss::Macro, RawFading::Jakes) => Some("how fast a channel changes depends on the carrier"),
        (PathLoss::Macro, _) if is_late => Some("how fast an estimate ages depends on the carrier"),
        (PathLoss::Macro, _) => None,
    };
    let carrier_ghz = match (raw.carrier_ghz, because) {
        (Some(carrier_ghz), _) => carrier_ghz,
        (None, Some(because)) => return Err(missing("radio.carrier_ghz", because)),
        // Nothing depends on the carrier.
        (None, None) => Propagation::MACRO.carrier_ghz,
    };
    let user_height_m = raw.user_height_m.unwrap_or(Propagation::MACRO.user_height_m);
    if path_loss != PathLoss::Macro && !(1.0..=USER_HEIGHT_M_MAX).contains(&user_height_m) {
        return Err(value("radio.user_height_m", user_height_m, "a number from 1 to 13"));
    }
    Ok(Propagation {
        path_loss,
        carrier_ghz,
        node_height_m: raw.node_height_m.unwrap_or(path_loss.usual_node_height_m()),
        user_height_m,
        sight: raw.line_of_sight.unwrap_or(Sight::Drawn),
    })
}

fn shadowing(raw: &RawRadio, path_loss: PathLoss) -> Option<[Shadowing; 2]> {
    let [mut sighted, mut hidden] = Shadowing::of(path_loss);
    for shadowing in [&mut sighted, &mut hidden] {
        if let Some(sigma_db) = raw.shadowing_db {
            shadowing.sigma_db = sigma_db;
        }
        if let Some(correlation_m) = raw.shadowing_distance_m {
            shadowing.correlation_m = correlation_m;
        } else if path_loss == PathLoss::Macro {
            shadowing.correlation_m = SHADOWS_M;
        }
    }
    Some([sighted, hidden]).filter(|both| both.iter().any(|shadowing| shadowing.sigma_db > 0.0))
}

fn fading(raw: &RawRadio) -> Checked<Fading> {
    let direct = |k_db| Direct { k_db, k_sigma_db: raw.rician_k_sigma_db.unwrap_or(0.0) };
    let has_direct = matches!(raw.fading, RawFading::Rician | RawFading::Jakes);
    if raw.rician_k_db.is_some() && !has_direct {
        return Err(unused("radio.rician_k_db", "only the fadings `rician` and `jakes` have a direct path"));
    }
    if raw.fading_step_ms.is_some() && raw.fading != RawFading::Jakes {
        return Err(unused("radio.fading_step_ms", "only the fading `jakes` changes within a slot"));
    }
    Ok(match raw.fading {
        RawFading::None => Fading::None,
        RawFading::Rayleigh => Fading::Rayleigh,
        RawFading::Rician => {
            let because = "the fading `rician` has a direct path of some strength";
            Fading::Rician(direct(raw.rician_k_db.ok_or_else(|| missing("radio.rician_k_db", because))?))
        }
        RawFading::Jakes => {
            let because = "the fading `jakes` comes from moving";
            raw.speed_km_h.ok_or_else(|| missing("radio.speed_km_h", because))?;
            let step = millis(raw.fading_step_ms.unwrap_or(5.0));
            Fading::Jakes { step, direct: raw.rician_k_db.map(direct) }
        }
    })
}

/// Converts dBm to watts.
fn watts(dbm: f64) -> f64 {
    10_f64.powf((dbm - 30.0) / 10.0)
}
