//! The modem: spectral efficiency of a link as a function of its signal-to-noise ratio.

/// Spectral efficiencies of CQI 1 to 15 in bit/s/Hz, for modulations up to 64QAM (3GPP TS 38.214, table
/// 5.2.2.1-2): bits per symbol times code rate.
pub const CQI_EFFICIENCIES: [f64; 15] = [
    2.0 * 78.0 / 1024.0,
    2.0 * 120.0 / 1024.0,
    2.0 * 193.0 / 1024.0,
    2.0 * 308.0 / 1024.0,
    2.0 * 449.0 / 1024.0,
    2.0 * 602.0 / 1024.0,
    4.0 * 378.0 / 1024.0,
    4.0 * 490.0 / 1024.0,
    4.0 * 616.0 / 1024.0,
    6.0 * 466.0 / 1024.0,
    6.0 * 567.0 / 1024.0,
    6.0 * 666.0 / 1024.0,
    6.0 * 772.0 / 1024.0,
    6.0 * 873.0 / 1024.0,
    6.0 * 948.0 / 1024.0,
];

/// How one direction of the band turns signal power into a data rate.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Modem {
    /// The available rates.
    pub coding: Coding,
    /// SNR gap to Shannon's limit, `Γ`: the factor of power needed beyond the limit; 1 is the limit itself.
    pub snr_gap: f64,
    /// Part of the band that carries payload; the rest is pilots and control.
    pub payload_part: f64,
    /// The band that a sender's power is spread over.
    pub power_over: PowerOver,
}

/// The rates that a link can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// Any rate up to Shannon's limit (less the SNR gap).
    Shannon,
    /// The highest of [`CQI_EFFICIENCIES`] that the SNR allows; zero below the first.
    Cqi,
}

/// The band that a sender's power is spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerOver {
    /// The whole band, whatever the share: power per hertz is fixed, as in the paper.
    Band,
    /// The granted share only: a smaller share has a higher SNR.
    Share,
}

impl Modem {
    /// Shannon's limit at a fixed power per hertz.
    pub const IDEAL: Self =
        Self { coding: Coding::Shannon, snr_gap: 1.0, payload_part: 1.0, power_over: PowerOver::Band };

    /// Spectral efficiency in bit/s/Hz at a signal-to-noise ratio.
    ///
    /// ```text
    /// η = part · log2(1 + SNR/Γ), for `cqi` rounded down to the table     model.md §1
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(hedgerow_core::allocator::Modem::IDEAL.efficiency(3.0), 2.0);
    /// ```
    pub fn efficiency(&self, snr: f64) -> f64 {
        let possible = (1.0 + snr / self.snr_gap).log2();
        let coded = match self.coding {
            Coding::Shannon => possible,
            Coding::Cqi => CQI_EFFICIENCIES.into_iter().rev().find(|&table| table <= possible).unwrap_or(0.0),
        };
        self.payload_part * coded
    }

    /// The least fraction of the band that carries `needed` bits per second and hertz of the whole band when the
    /// power is spread over the fraction only; `None` where not even the whole band does. `snr` is the
    /// signal-to-noise ratio on the whole band.
    ///
    /// ```text
    /// ρ·η(SNR/ρ) ≥ needed                                                 model.md §1
    /// ```
    ///
    /// For `shannon` the left side grows with `ρ`, so bisection finds it. For `cqi` each row of the table needs
    /// `ρ = needed/η` and is decodable while `SNR/ρ` reaches its threshold; the highest decodable row has the least
    /// `ρ`.
    pub fn concentrated_fraction(&self, snr: f64, needed: f64) -> Option<f64> {
        let (snr, needed) = (snr / self.snr_gap, needed / self.payload_part);
        match self.coding {
            Coding::Shannon => {
                let carried = |fraction: f64| fraction * (1.0 + snr / fraction).log2();
                if carried(1.0) < needed {
                    return None;
                }
                let (mut too_little, mut enough) = (0.0, 1.0);
                for _ in 0..BISECTIONS {
                    let middle = (too_little + enough) / 2.0;
                    if carried(middle) >= needed {
                        enough = middle;
                    } else {
                        too_little = middle;
                    }
                }
                Some(enough)
            }
            Coding::Cqi => {
                let rows = CQI_EFFICIENCIES.into_iter().rev().map(|row| (row, needed / row));
                let mut decodable = rows.filter(|(row, fraction)| snr / fraction >= row.exp2() - 1.0);
                decodable.next().map(|(_, fraction)| fraction).filter(|&fraction| fraction <= 1.0)
            }
        }
    }
}

/// Bisection steps: shares are whole billionths, so a precision of 2⁻⁴⁰ of the band suffices.
const BISECTIONS: u32 = 40;

impl Default for Modem {
    fn default() -> Self {
        Self::IDEAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gap of uncoded QAM at a bit error rate of 5·10⁻⁵, `−ln(5·BER)/1.5`: 7.43 dB.
    const GAP: f64 = 5.529_369_7;

    const CQI: Modem = Modem { coding: Coding::Cqi, snr_gap: GAP, ..Modem::IDEAL };

    fn snr(db: f64) -> f64 {
        10_f64.powf(db / 10.0)
    }

    #[test]
    fn shannon_gives_one_bit_at_0_db_and_10_bits_at_30_db() {
        assert_eq!(Modem::IDEAL.efficiency(1.0), 1.0);
        assert!((Modem::IDEAL.efficiency(snr(30.0)) - 9.967_226).abs() < 1e-6);
    }

    #[test]
    fn cqi_efficiencies_are_those_of_the_standard() {
        // As the table prints them, with four decimals.
        let printed = [
            0.1523, 0.2344, 0.3770, 0.6016, 0.8770, 1.1758, 1.4766, 1.9141, 2.4063, 2.7305, 3.3223, 3.9023,
            4.5234, 5.1152, 5.5547,
        ];
        for (row, printed) in CQI_EFFICIENCIES.into_iter().zip(printed) {
            assert!((row - printed).abs() < 5.1e-5, "{row} is not {printed}");
        }
    }

    #[test]
    fn each_cqi_begins_at_its_threshold() {
        // SNR = Γ·(2^η − 1) in dB, by hand from the printed efficiencies, to a tenth.
        let thresholds_db =
            [-2.1, -0.1, 2.2, 4.6, 6.7, 8.4, 9.9, 11.8, 13.8, 14.9, 17.0, 18.9, 20.9, 22.7, 24.1];
        assert_eq!(CQI.efficiency(snr(-2.3)), 0.0, "below the table there is nothing");
        for (index, threshold_db) in thresholds_db.into_iter().enumerate() {
            assert_eq!(CQI.efficiency(snr(threshold_db + 0.1)), CQI_EFFICIENCIES[index]);
            if index > 0 {
                assert_eq!(CQI.efficiency(snr(threshold_db - 0.1)), CQI_EFFICIENCIES[index - 1]);
            }
        }
        assert_eq!(CQI.efficiency(snr(60.0)), CQI_EFFICIENCIES[14], "and above it no more");
    }

    #[test]
    fn power_on_the_share_alone_needs_less_of_the_band_than_power_over_all_of_it() {
        // At an SNR of 3 over the whole band, 1 bit/s/Hz needs half of the band at fixed power per hertz.
        let fraction = Modem::IDEAL.concentrated_fraction(3.0, 1.0).unwrap();
        assert!(fraction < 0.5, "{fraction}");
        assert!((fraction * (1.0 + 3.0 / fraction).log2() - 1.0).abs() < 1e-9);
        // ρ·log2(1 + s/ρ) stays below s/ln 2; here even the whole band stays below 2.
        assert_eq!(Modem::IDEAL.concentrated_fraction(3.0, 2.01), None);
        assert_eq!(Modem::IDEAL.concentrated_fraction(3.0, 2.0), Some(1.0));
    }

    #[test]
    fn a_concentrated_cqi_share_is_the_least_that_carries_the_payload() {
        for snr_db in [-5.0, 0.0, 5.0, 12.0, 20.0, 40.0] {
            let fraction = CQI.concentrated_fraction(snr(snr_db), 0.05).unwrap();
            let carried = |fraction: f64| fraction * CQI.efficiency(snr(snr_db) / fraction * (1.0 + 1e-12));
            assert!(carried(fraction) >= 0.05 * (1.0 - 1e-9), "{snr_db} dB: {fraction}");
            // No smaller fraction does, by exhaustive search.
            let smaller = (1..1000).map(|part| fraction * f64::from(part) / 1000.0);
            assert!(smaller.into_iter().all(|smaller| carried(smaller) < 0.05), "{snr_db} dB: {fraction}");
        }
        assert_eq!(CQI.concentrated_fraction(snr(-20.0), 0.05), None);
    }
}
