//! The paper's structure: `scenarios/paper.toml` (`model.md §5`) with a narrower band and less memory, so that
//! all four limits can bind.
//!
//! Every [`REQUESTS_AN_EPOCH`] requests have the memory, band and time of one node: limits and slacks grow with the
//! number of requests, needs do not. As in `reduce`, prompts are padded to the longest for memory and compute, and
//! transmitted unpadded.

use hedgerow_core::allocator::{Channel, Modem, full_band_rate, share_needed};
use hedgerow_core::engine::cost::{Attention, CostModel, FlopsCost};
use hedgerow_core::quantization::{Precision, Residency};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Bits, Bytes, FlopPerSecond, Hertz, Quality, Tokens, Watts};
use hedgerow_solver::{Capacity, Instance, Item, Timing};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::channel::{Cell, ChannelKnowledge, Fading, GainDraws};
use crate::models::Model;

/// Number of requests that share one epoch of one node.
const REQUESTS_AN_EPOCH: u64 = 24;

const LENGTHS: [u64; 3] = [128, 256, 512];
const PADDED_PROMPT: Tokens = Tokens(512);

/// `model.md §5` assumes 4 bytes of text per token.
const CELL: Cell = Cell::simple(10.0, 250.0, Fading::Rayleigh, 32.0);

/// KV memory in bytes; the paper's node would have about ten times as much.
const KV_MEMORY: u64 = 2_700_000_000;
const COMPUTE_SLOT_US: u64 = 1_500_000;
const SLACK_US: std::ops::RangeInclusive<u64> = 500_000..=2_000_000;

/// Short slots on the bandwidth of one LTE resource block make the band scarce.
const UPLINK_SLOT: Span = Span::from_millis(50);
const DOWNLINK_SLOT: Span = Span::from_millis(30);
const BANDWIDTH_HZ: f64 = 180e3;

pub(super) fn draw(draws: &mut ChaCha8Rng, requests: usize) -> Instance {
    let mut gains = GainDraws::new(&CELL, ChannelKnowledge::default(), draws.random());
    let needs = LENGTHS.map(|output| (output, memory_and_compute(Tokens(output as u32))));
    let grown = |number: u64| number * requests as u64 / REQUESTS_AN_EPOCH;
    let mut item = || {
        let prompt = LENGTHS[draws.random_range(0..LENGTHS.len())];
        let (output, (memory, compute_us)) = needs[draws.random_range(0..needs.len())];
        let gain = gains.draw(Instant::START).known.uplink;
        Item {
            uplink: share(20.0, UPLINK_SLOT, prompt, gain),
            downlink: share(43.0, DOWNLINK_SLOT, output, gain),
            memory,
            compute_us,
            slack_us: grown(draws.random_range(SLACK_US)),
            value: 1,
        }
    };
    Instance {
        items: (0..requests).map(|_| item()).collect(),
        capacity: Capacity {
            uplink: grown(hedgerow_core::allocator::Share::WHOLE.0),
            downlink: grown(hedgerow_core::allocator::Share::WHOLE.0),
            memory: grown(KV_MEMORY),
            compute_us: grown(COMPUTE_SLOT_US),
        },
        timing: Timing::Together,
    }
}

/// The share of the band in billionths, for a sender of this power in dBm.
fn share(power_dbm: f64, slot: Span, tokens: u64, gain: f64) -> u64 {
    let channel = Channel {
        bandwidth: Hertz::new(BANDWIDTH_HZ),
        transmit_power: Watts::new(10_f64.powf((power_dbm - 30.0) / 10.0)),
        // −174 dBm/Hz.
        noise_density_w_per_hz: 10_f64.powf(-20.4),
        modem: Modem::IDEAL,
    };
    let payload = Bits::new(tokens as f64 * CELL.bits_per_token);
    share_needed(payload, slot, full_band_rate(&channel, gain)).0
}

/// Memory in bytes and compute time in microseconds of a request with this output: BLOOM-3B in 8 bits on the
/// paper's node.
fn memory_and_compute(output: Tokens) -> (u64, u64) {
    let model = Model::named("BLOOM-3B").expect("it is in the table").shape();
    let precision = Precision {
        name: "W8A16".to_owned(),
        weights: Bytes(model.weights_16_bit().0 / 2),
        beta_prefill: 1.0675,
        beta_decode: 0.5727,
        quality: Quality::new(1.0).expect("it is between 0 and 1"),
        residency: Residency::Always,
        measured: None,
    };
    let cost =
        CostModel::Flops(FlopsCost { speed: FlopPerSecond::new(20.0 * 1.33e12), attention: Attention::Full });
    let prefill = cost.prefill(&model, &precision, PADDED_PROMPT, Tokens::ZERO, PADDED_PROMPT);
    let decodes = output.0 - 1;
    let decode = cost.decode(&model, &precision, 1, PADDED_PROMPT + Tokens(decodes / 2)) * decodes;
    let held = u64::from((PADDED_PROMPT + output).0);
    (held * model.kv_per_token().0, (prefill + decode).as_micros_ceil())
}
