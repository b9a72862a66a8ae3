//! The figures beyond the paper: where its conclusions change.

use super::paper::sweep;
use super::{Embedded, Figure, Lines, Measure, Part};

const PROTOCOL: Part = Part {
    sweep: sweep!("f-protocol"),
    x: ("users.rate_per_s", "requests/s offered"),
    is_log_x: true,
    panel: Some("case"),
    lines: Lines::By("policy"),
    y: Measure::Percent("attainment"),
    label: "attainment, %",
    is_log_y: false,
    is_claimed: false,
};

/// What `hedgerow figures beyond` draws.
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
        name: "k-roofline",
        title: "(k) Arithmetic only against memory speed",
        caption: "Requests an epoch that met deadline and quality, over the memory speed of an accelerator, under the cost \
                  model `roofline`; far to the right it is arithmetic alone. The dashed place of a Jetson TX2 is at \
                  59.7 GB/s. Assumed: scenarios/paper.toml with deadlines of 2 to 6 s, 10 requests/s.",
        parts: &[Part {
            sweep: sweep!("k-bandwidth"),
            x: ("node.accelerator_bandwidth_gb_per_s", "memory speed of an accelerator, GB/s"),
            panel: None,
            y: Measure::Column("met_per_epoch"),
            label: "met/epoch",
            is_claimed: true,
            ..PROTOCOL
        }],
    },
];
