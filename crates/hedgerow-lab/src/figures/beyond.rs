//! The figures beyond the paper, which show where its conclusions change.

use super::paper::sweep;
use super::{Axis, Embedded, End, Figure, Lines, Measure, Part};

const PROTOCOL: Part = Part {
    sweep: sweep!("f-protocol"),
    x: Axis { column: "users.rate_per_s", end: End::Upper, label: "requests/s offered", is_log: true },
    panel: Some("case"),
    lines: Lines::By("policy"),
    y: Measure::Percent("attainment"),
    label: "attainment, %",
    is_log_y: false,
    is_claimed: false,
};

/// The figures of `hedgerow figures beyond`.
pub(crate) const BEYOND: &[Figure] = &[
    Figure {
        name: "f-protocol",
        title: "(f) Epochs against continuous batching",
        caption: "How many of all requests met deadline and quality. Assumed: the users, node and radio of \
                  scenarios/continuous.toml (deadlines uniform in 0.5 to 2 s, BLOOM-3B in W8A16, 20 accelerators); \
                  epochs of 2 s; prompts are not padded. `arithmetic only` is the paper's cost model, `memory speed \
                  too` takes the slower of arithmetic and memory traffic.",
        parts: &[PROTOCOL],
    },
    Figure {
        name: "g-mobility",
        title: "(g) Mobility and late knowledge of the channel",
        caption: "How many of all requests met deadline and quality, over the users' speed. Assumed: scenarios/city.toml (3GPP UMi \
                  at 3.5 GHz, 40 users who walk, Rician echoes that turn with the Doppler shift, CQI rates, classes of \
                  voice, chat and pictures) on 2 MHz each way, 2 requests/s. The panel gives the age of an estimate.",
        parts: &[Part {
            sweep: sweep!("g-mobility"),
            x: Axis { column: "radio.speed_km_h", end: End::Upper, label: "speed, km/h", is_log: true },
            ..PROTOCOL
        }],
    },
    Figure {
        name: "h-bursts",
        title: "(h) Bursts, and a real trace",
        caption: "How many of all requests met deadline and quality, at the same mean rate of 3 requests/s and, of a real \
                  trace, at several. Assumed: scenarios/continuous.toml. The trace is two minutes (2023-11-16, 18:17 to 18:19) \
                  of AzureLLMInferenceTrace_conv, Azure Public Dataset, © Microsoft Corporation, CC-BY 4.0; requests were \
                  left out at random to get the rate, prompts are a quarter as long, and neither prompts nor answers \
                  are longer than 512 tokens.",
        parts: &[
            Part {
                sweep: sweep!("h-bursts"),
                x: Axis {
                    column: "arrivals.cv",
                    end: End::Upper,
                    label: "coefficient of variation of the gaps",
                    is_log: true,
                },
                panel: None,
                label: "attainment, %: gamma gaps",
                ..PROTOCOL
            },
            Part {
                sweep: sweep!("h-on-off"),
                x: Axis {
                    column: "arrivals.off_s",
                    end: End::Upper,
                    label: "idle time after 5 s of arrivals, s",
                    is_log: true,
                },
                panel: None,
                label: "attainment, %: busy and idle",
                ..PROTOCOL
            },
            Part { sweep: sweep!("h-trace"), panel: None, label: "attainment, %: a real trace", ..PROTOCOL },
        ],
    },
    Figure {
        name: "i-large",
        title: "(i) 30 to 70 billion weights, and fragmented caches",
        caption: "How many of all requests met deadline and quality, over the node's memory. `by limit`: caches are held \
                  for the longest answer allowed, of which answers take 5 to 100 %; `by length`: for just the answer that \
                  comes. Assumed: 8 accelerators of 150 TFLOPS and 900 GB/s, weights in 4 bits, deadlines of 2 to 10 s, 10 \
                  requests/s; the rest as in scenarios/continuous.toml.",
        parts: &[Part {
            sweep: sweep!("i-large"),
            x: Axis { column: "node.memory_gb", end: End::Upper, label: "memory, GB", is_log: true },
            ..PROTOCOL
        }],
    },
    Figure {
        name: "j-wrong",
        title: "(j) Wrong parameters",
        caption: "How many of all requests met deadline and quality when the node is wrong about its own speed (above), \
                  about lengths (answers take 10 to 100 % of their limit) and about channels (0.5 MHz each way). Assumed: \
                  scenarios/continuous.toml, 3 requests/s.",
        parts: &[
            Part {
                sweep: sweep!("j-speed"),
                x: Axis {
                    column: "knowledge.engine_factor",
                    end: End::Upper,
                    label: "time taken / time predicted",
                    is_log: true,
                },
                ..PROTOCOL
            },
            Part {
                sweep: sweep!("j-hints"),
                x: Axis {
                    column: "knowledge.hint_factor",
                    end: End::Upper,
                    label: "length said / length",
                    is_log: true,
                },
                panel: None,
                label: "attainment, %: hints off",
                ..PROTOCOL
            },
            Part {
                sweep: sweep!("j-channel"),
                x: Axis {
                    column: "knowledge.channel_error_db",
                    end: End::Upper,
                    label: "error of estimates, dB",
                    is_log: false,
                },
                panel: None,
                label: "attainment, %: estimates off",
                ..PROTOCOL
            },
        ],
    },
    Figure {
        name: "k-roofline",
        title: "(k) Arithmetic only against memory speed",
        caption: "Requests an epoch that met deadline and quality, over the memory speed of an accelerator, under the cost \
                  model `roofline`; far to the right it is arithmetic alone. A Jetson TX2 has \
                  59.7 GB/s. Assumed: scenarios/paper.toml with deadlines of 2 to 6 s, 10 requests/s.",
        parts: &[Part {
            sweep: sweep!("k-bandwidth"),
            x: Axis {
                column: "node.accelerator_bandwidth_gb_per_s",
                end: End::Upper,
                label: "memory speed of an accelerator, GB/s",
                is_log: true,
            },
            panel: None,
            y: Measure::Column("met_per_epoch"),
            label: "met/epoch",
            is_claimed: true,
            ..PROTOCOL
        }],
    },
];
