//! A scenario with all values in force: those from defaults and tables, and derived ones.

use hedgerow_core::allocator::{Channel, Coding, PowerOver, Radio, full_band_rate};
use hedgerow_core::engine::CostModel;
use hedgerow_core::engine::cost::Attention;
use hedgerow_core::settings::{Padding, Protocol};
use hedgerow_workload::{Lengths, Process, RateBy};
use serde_json::{Value, json};

use super::{Extent, OutputKnowledge, Range, Scenario, Users};
use crate::channel::{Cell, Direct, Fading, PathLoss, correlation, from_db};
use crate::models::{Device, Model};

/// A section of values of a scenario; each key contains its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The section's name, mostly that of the file's table.
    pub name: String,
    /// The values.
    pub values: Vec<(&'static str, Value)>,
}

impl Scenario {
    /// All values in force, by section.
    pub fn sections(&self) -> Vec<Section> {
        let section = |name: &str, values| Section { name: name.to_owned(), values };
        let mut sections = vec![
            section("scenario", self.extent_values()),
            section("node", self.node_values()),
            section("model", self.model_values()),
        ];
        for precision in &self.node.precisions {
            let values = vec![
                ("weights_gb", json!(precision.weights.0 as f64 / 1e9)),
                ("beta_prefill", json!(precision.beta_prefill)),
                ("beta_decode", json!(precision.beta_decode)),
                ("quality", json!(precision.quality.get())),
            ];
            sections.push(section(&format!("precision.{}", precision.name), values));
        }
        sections.push(section("cost", cost_values(&self.node.cost)));
        if let (Some(radio), Some(cell)) = (&self.node.radio, &self.cell) {
            sections.push(section("radio", radio_values(radio, cell)));
            sections.push(section("radio.at_the_edge", edge_values(radio, cell)));
        }
        sections.push(section("users", users_values(&self.users)));
        for class in &self.classes {
            sections.push(section(&format!("class.{}", class.name), users_values(&class.users)));
        }
        sections.push(section("arrivals", process_values(&self.process)));
        sections.push(section("knowledge", self.knowledge_values()));
        sections.push(section("planning", self.planning_values()));
        sections
    }

    fn extent_values(&self) -> Vec<(&'static str, Value)> {
        let extent = match self.extent {
            Extent::Requests(requests) => ("requests", json!(requests)),
            Extent::Duration(duration) => ("duration_s", json!(duration.as_seconds())),
        };
        vec![("name", json!(self.name)), ("seed", json!(self.seed)), extent]
    }

    fn node_values(&self) -> Vec<(&'static str, Value)> {
        let node = &self.node;
        let device = self.device.as_deref().and_then(Device::named);
        let mut values = vec![
            ("accelerators", json!(self.accelerators)),
            ("memory_gb", json!(node.memory.0 as f64 / 1e9)),
            ("kv_memory_gb", json!(node.kv_memory().0 as f64 / 1e9)),
            ("kv_memory_tokens", json!(node.kv_memory().0 / node.model.kv_per_token().0)),
            ("max_parallel", json!(node.max_parallel)),
            ("context_tokens", json!(node.context.0)),
            ("prefill_chunk_tokens", json!(node.prefill_chunk.0)),
        ];
        values.extend(device.into_iter().flat_map(|device| {
            [
                ("device", json!(device.name)),
                ("device_checked", json!(device.checked)),
                ("device_source", json!(device.source)),
            ]
        }));
        values
    }

    fn model_values(&self) -> Vec<(&'static str, Value)> {
        let shape = &self.node.model;
        let mut values = vec![
            ("name", json!(self.model)),
            ("layers", json!(shape.layers)),
            ("hidden", json!(shape.hidden)),
            ("kv_width", json!(shape.kv_width)),
            ("feed_forward", json!(shape.feed_forward)),
            ("vocabulary", json!(shape.vocabulary)),
            ("kv_bytes_per_token", json!(shape.kv_per_token().0)),
        ];
        values.extend(Model::named(&self.model).into_iter().flat_map(|model| {
            [
                ("parameters_billion", json!(model.weights_16_bit().0 as f64 / 2e9)),
                ("trained_context_tokens", json!(model.context)),
                ("source", json!(model.source)),
            ]
        }));
        values
    }

    fn knowledge_values(&self) -> Vec<(&'static str, Value)> {
        let knowledge = &self.knowledge;
        let mut values = match knowledge.output {
            OutputKnowledge::Limit => vec![("output_length", json!("limit"))],
            OutputKnowledge::Oracle => vec![("output_length", json!("oracle"))],
            OutputKnowledge::Hint { factor, sigma } => vec![
                ("output_length", json!("hint")),
                ("hint_factor", json!(factor)),
                ("hint_sigma", json!(sigma)),
            ],
        };
        values.push(("engine_factor", json!(knowledge.engine_factor)));
        values.push(("channel_error_db", json!(knowledge.channel.error_db)));
        values.push(("channel_delay_ms", json!(knowledge.channel.delay.as_millis())));
        if let Some(cell) = &self.cell {
            let doppler_hz = cell.propagation.doppler_hz(cell.speed_m_per_s);
            let rho = correlation(doppler_hz, knowledge.channel.delay);
            values.push(("channel_correlation_after_delay", json!(rho)));
        }
        values
    }

    fn planning_values(&self) -> Vec<(&'static str, Value)> {
        let settings = &self.settings;
        let mut values = match settings.protocol {
            Protocol::Continuous => vec![("protocol", json!("continuous"))],
            Protocol::Epoch { length, compute_slot } => vec![
                ("protocol", json!("epoch")),
                ("epoch_ms", json!(length.as_millis())),
                ("compute_slot_ms", json!(compute_slot.as_millis())),
            ],
        };
        values.extend([
            ("policy", json!(settings.policy.to_string())),
            ("margin", json!(settings.margin)),
            ("confidence", json!(settings.confidence)),
            ("best_effort_share", json!(settings.best_effort_share)),
            ("queue_capacity", json!(settings.queue_capacity)),
            ("node_limit", json!(settings.node_limit)),
        ]);
        values.push(match settings.padding {
            Padding::None => ("padding", json!("none")),
            Padding::BatchMax => ("padding", json!("batch_max")),
            Padding::Fixed(length) => ("padding_tokens", json!(length.0)),
        });
        values
    }
}

fn cost_values(cost: &CostModel) -> Vec<(&'static str, Value)> {
    match cost {
        CostModel::Flops(cost) => vec![
            ("model", json!("flops")),
            ("node_tflops", json!(cost.speed.get() / 1e12)),
            (
                "attention",
                match cost.attention {
                    Attention::Full => json!("full"),
                    Attention::Causal => json!("causal"),
                },
            ),
        ],
        CostModel::Roofline(cost) => vec![
            ("model", json!("roofline")),
            ("node_tflops", json!(cost.speed.get() / 1e12)),
            ("node_bandwidth_gb_per_s", json!(cost.bandwidth.get() / 1e9)),
        ],
        CostModel::Measured(cost) => vec![
            ("model", json!("measured")),
            ("prefill_128_tokens_ms", json!(cost.prefill.at(128, 0).as_millis())),
            ("decode_1_request_ms", json!(cost.decode.at(1, 256).as_millis())),
            ("decode_8_requests_ms", json!(cost.decode.at(8, 2048).as_millis())),
        ],
    }
}

fn radio_values(radio: &Radio, cell: &Cell) -> Vec<(&'static str, Value)> {
    let Radio { uplink, downlink, uplink_slot, downlink_slot } = radio;
    let propagation = &cell.propagation;
    let mut values = vec![
        ("uplink_bandwidth_mhz", json!(uplink.bandwidth.get() / 1e6)),
        ("downlink_bandwidth_mhz", json!(downlink.bandwidth.get() / 1e6)),
        ("user_power_dbm", json!(rounded(dbm(uplink.transmit_power.get())))),
        ("node_power_dbm", json!(rounded(dbm(downlink.transmit_power.get())))),
        ("uplink_noise_dbm_per_hz", json!(rounded(dbm(uplink.noise_density_w_per_hz)))),
        ("downlink_noise_dbm_per_hz", json!(rounded(dbm(downlink.noise_density_w_per_hz)))),
        ("uplink_slot_ms", json!(uplink_slot.as_millis())),
        ("downlink_slot_ms", json!(downlink_slot.as_millis())),
        ("bits_per_token", json!(cell.bits_per_token)),
        (
            "coding",
            match uplink.modem.coding {
                Coding::Shannon => json!("shannon"),
                Coding::Cqi => json!("cqi"),
            },
        ),
        ("snr_gap_db", json!(rounded(10.0 * uplink.modem.snr_gap.log10()))),
        ("payload_part", json!(uplink.modem.payload_part)),
        (
            "uplink_power_over",
            match uplink.modem.power_over {
                PowerOver::Band => json!("band"),
                PowerOver::Share => json!("share"),
            },
        ),
        ("min_distance_m", json!(cell.min_distance_m)),
        ("cell_radius_m", json!(cell.radius_m)),
        ("path_loss", json!(propagation.path_loss)),
    ];
    if propagation.path_loss != PathLoss::Macro {
        values.extend([
            ("node_height_m", json!(propagation.node_height_m)),
            ("user_height_m", json!(propagation.user_height_m)),
            ("line_of_sight", json!(propagation.sight)),
        ]);
    }
    if propagation.path_loss != PathLoss::Macro || cell.speed_m_per_s > 0.0 {
        values.push(("carrier_ghz", json!(propagation.carrier_ghz)));
    }
    if let Some([sighted, hidden]) = cell.shadowing {
        values.extend([
            ("shadowing_db", json!([sighted.sigma_db, hidden.sigma_db])),
            ("shadowing_distance_m", json!([sighted.correlation_m, hidden.correlation_m])),
        ]);
    }
    values.extend([
        ("walkers", json!(cell.walkers)),
        ("speed_km_h", json!(rounded(cell.speed_m_per_s * 3.6))),
        ("doppler_hz", json!(rounded(propagation.doppler_hz(cell.speed_m_per_s)))),
    ]);
    values.extend(fading_values(cell.fading));
    values
}

fn fading_values(fading: Fading) -> Vec<(&'static str, Value)> {
    let direct = |direct: Direct| {
        [("rician_k_db", json!(direct.k_db)), ("rician_k_sigma_db", json!(direct.k_sigma_db))]
    };
    let (name, more) = match fading {
        Fading::None => ("none", Vec::new()),
        Fading::Rayleigh => ("rayleigh", Vec::new()),
        Fading::Rician(k) => ("rician", direct(k).into()),
        Fading::Jakes { step, direct: k } => {
            let step = ("fading_step_ms", json!(step.as_millis()));
            ("jakes", std::iter::once(step).chain(k.into_iter().flat_map(direct)).collect())
        }
    };
    std::iter::once(("fading", json!(name))).chain(more).collect()
}

/// Channel values of a user without line of sight at the cell's edge, without shadowing and fading.
fn edge_values(radio: &Radio, cell: &Cell) -> Vec<(&'static str, Value)> {
    let loss_db = cell.propagation.loss_db(cell.radius_m, false);
    let gain = from_db(-loss_db);
    let snr_db = |channel: &Channel| rounded(10.0 * channel.snr(gain).log10());
    let mbit_per_s = |channel: &Channel| rounded(full_band_rate(channel, gain).get() / 1e6);
    vec![
        ("path_loss_db", json!(rounded(loss_db))),
        ("line_of_sight_probability", json!(rounded(cell.propagation.sight_probability(cell.radius_m)))),
        ("uplink_snr_db", json!(snr_db(&radio.uplink))),
        ("downlink_snr_db", json!(snr_db(&radio.downlink))),
        ("uplink_mbit_per_s", json!(mbit_per_s(&radio.uplink))),
        ("downlink_mbit_per_s", json!(mbit_per_s(&radio.downlink))),
    ]
}

fn users_values(users: &Users) -> Vec<(&'static str, Value)> {
    let both = |range: &Range| json!([range.least, range.most]);
    let either = |range: &Option<Range>| range.as_ref().map_or(Value::Null, both);
    vec![
        ("rate_per_s", json!(users.rate_per_s)),
        ("prompt_tokens", lengths_value(&users.prompts)),
        ("output_tokens", lengths_value(&users.outputs)),
        ("length_correlation", json!(users.length_correlation)),
        ("answer_part", both(&users.answer_part)),
        ("deadline_s", either(&users.deadline_s)),
        ("min_quality", both(&users.min_quality)),
        ("value", json!(users.value)),
        ("payload_bytes", either(&users.payload_bytes)),
        ("answer_bytes", either(&users.answer_bytes)),
        ("patience_s", either(&users.patience_s)),
    ]
}

fn lengths_value(lengths: &Lengths) -> Value {
    match lengths {
        Lengths::OneOf(choices) => json!(choices.iter().map(|tokens| tokens.0).collect::<Vec<_>>()),
        Lengths::Uniform { least, most } => json!({ "least": least.0, "most": most.0 }),
        Lengths::LogNormal { median, sigma, most } => {
            json!({ "median": median, "sigma": sigma, "most": most.0 })
        }
    }
}

fn process_values(process: &Process) -> Vec<(&'static str, Value)> {
    match process {
        Process::Poisson => vec![("process", json!("poisson"))],
        Process::Gamma { cv } => vec![("process", json!("gamma")), ("cv", json!(cv))],
        Process::OnOff { on_s, off_s } => {
            vec![("process", json!("on_off")), ("on_s", json!(on_s)), ("off_s", json!(off_s))]
        }
        Process::Diurnal { period_s, amplitude, peak_s } => vec![
            ("process", json!("diurnal")),
            ("period_s", json!(period_s)),
            ("amplitude", json!(amplitude)),
            ("peak_s", json!(peak_s)),
        ],
        Process::Trace(replay) => vec![
            ("process", json!("trace")),
            ("trace_requests", json!(replay.trace.rows().len())),
            ("trace_length_s", json!(replay.trace.length_s())),
            ("trace_rate_per_s", json!(replay.trace.rate_per_s())),
            ("start_s", json!(replay.start_s)),
            (
                "rate_by",
                match replay.rate_by {
                    RateBy::Thinning => json!("thinning"),
                    RateBy::Stretching => json!("stretching"),
                },
            ),
            ("scale_prompt", json!(replay.fit.scale_prompt)),
            ("scale_output", json!(replay.fit.scale_output)),
            ("max_prompt_tokens", json!(replay.fit.max_prompt)),
            ("max_output_tokens", json!(replay.fit.max_output)),
        ],
    }
}

fn dbm(watts: f64) -> f64 {
    10.0 * watts.log10() + 30.0
}

/// Rounds to six decimals, the accuracy of decibels after conversion through watts.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
