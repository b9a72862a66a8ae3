//! The paper's figures.

use super::{Axis, Embedded, End, Figure, Lines, Measure, Part};

macro_rules! sweep {
    ($name:literal) => {
        &Embedded {
            name: $name,
            text: include_str!(concat!("../../../../scenarios/figures/", $name, ".toml")),
        }
    };
}
pub(super) use sweep;

const POLICIES: Lines = Lines::By("policy");
const THROUGHPUT: Measure = Measure::Column("met_per_epoch");

const OVER_RATE: Part = Part {
    sweep: sweep!("a-arrival-rate"),
    x: Axis { column: "users.rate_per_s", end: End::Upper, label: "requests/s offered", is_log: true },
    panel: Some("case"),
    lines: POLICIES,
    y: THROUGHPUT,
    label: "met/epoch",
    is_log_y: false,
    is_claimed: true,
};

const LIMITS: Part = Part {
    sweep: sweep!("e-bandwidth"),
    x: Axis { column: "radio.uplink_bandwidth_mhz", end: End::Upper, label: "uplink, MHz", is_log: true },
    panel: None,
    lines: Lines::Limits,
    y: Measure::Binding,
    label: "% of plans bound, over uplink bandwidth",
    is_log_y: false,
    is_claimed: false,
};

/// The figures of `hedgerow figures paper`.
pub(crate) const PAPER: &[Figure] = &[
    Figure {
        name: "a-arrival-rate",
        title: "(a) Throughput over arrival rate",
        caption: "Requests an epoch that met deadline and quality. Assumed: everything in scenarios/paper.toml, above \
                  all epochs of 2 s, deadlines uniform in 0.5 to 2 s from arrival, prompts and answers of 128, 256 or \
                  512 tokens, W8A16, 32 GB, accelerators of 1.33 TFLOPS; the paper's own values are not known to us. \
                  20 of them leave OPT-13B time for less than one request an epoch, so a node of 100 stands below.",
        parts: &[OVER_RATE],
    },
    Figure {
        name: "b-latency",
        title: "(b) Throughput over the latency requirement",
        caption: "Deadlines are uniform between half of what stands below the axis and all of it. Assumed: as in (a), \
                  100 accelerators, 10 requests/s. Waiting for the next epoch takes 1 s on average and the two radio \
                  slots 0.5 s, so that requirements of 1 s are hardly ever met.",
        parts: &[Part {
            sweep: sweep!("b-latency"),
            x: Axis {
                column: "users.deadline_s",
                end: End::Upper,
                label: "latency requirement, s",
                is_log: false,
            },
            panel: Some("model.name"),
            ..OVER_RATE
        }],
    },
    Figure {
        name: "c-quality",
        title: "(c) Throughput over the quality requirement, by quantization method, under dftsp",
        caption: "Requirements are uniform between what stands below the axis and 1; quality is the perplexity of 16 \
                  bits over that of the method (WikiText2, GPTQ paper; W8A16's is Llama-3-8B's, assumed). Assumed: as \
                  in (a), 100 accelerators, 10 requests/s; the time of a precision against 16 bits is that of \
                  Llama-3.1-8B in llama.cpp.",
        parts: &[Part {
            sweep: sweep!("c-quality-methods"),
            panel: Some("case"),
            lines: Lines::By("node.resident"),
            is_claimed: false,
            ..QUALITY
        }],
    },
    Figure {
        name: "c2-quality-policies",
        title: "(c) The same by policy, for BLOOM-7.1B",
        caption: "As before; a panel for each quantization method.",
        parts: &[QUALITY],
    },
    Figure {
        name: "d-search",
        title: "(d) Search effort over arrival rate",
        caption: "Above: tree nodes of a plan, by one rule for all searches (docs/design/solvers.md). Below: how many percent fewer than brute \
                  force visits. Nodes do not depend on the machine; times are made apart, by --times. Assumed: as in \
                  (a), 100 accelerators. Brute force here is every subset of the waiting requests; whether the paper's \
                  is, is not known.",
        parts: &[
            NODES,
            Part {
                y: Measure::PercentBelow { column: "nodes", line: "brute-force" },
                label: "% fewer nodes",
                is_log_y: false,
                ..NODES
            },
        ],
    },
    Figure {
        name: "e-limits",
        title: "(e) Which limit binds where",
        caption: "Percent of the plans in which a limit excluded most of the requests left out (`none`: no request was). Under \
                  dftsp, BLOOM-3B, 100 accelerators, 20 requests/s, deadlines of 2 to 6 s except where they are the \
                  axis; the rest as in (a).",
        parts: &[
            LIMITS,
            Part {
                sweep: sweep!("e-payload"),
                x: Axis {
                    column: "radio.bits_per_token",
                    end: End::Upper,
                    label: "bits a token",
                    is_log: true,
                },
                label: "% of plans bound, over payload",
                ..LIMITS
            },
            Part {
                sweep: sweep!("e-memory"),
                x: Axis { column: "node.memory_gb", end: End::Upper, label: "memory, GB", is_log: false },
                label: "% of plans bound, over memory",
                ..LIMITS
            },
            Part {
                sweep: sweep!("e-deadline"),
                x: Axis {
                    column: "users.deadline_s",
                    end: End::Upper,
                    label: "latency requirement, s",
                    is_log: false,
                },
                label: "% of plans bound, over deadlines",
                ..LIMITS
            },
        ],
    },
];

const QUALITY: Part = Part {
    sweep: sweep!("c-quality-policies"),
    x: Axis { column: "users.min_quality", end: End::Lower, label: "least quality asked for", is_log: false },
    panel: Some("node.resident"),
    ..OVER_RATE
};

const NODES: Part = Part {
    sweep: sweep!("d-search"),
    x: Axis { is_log: false, ..OVER_RATE.x },
    panel: Some("model.name"),
    y: Measure::PerPlan("nodes"),
    label: "tree nodes a plan",
    is_log_y: true,
    is_claimed: false,
    ..OVER_RATE
};
