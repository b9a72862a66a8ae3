//! The table: a line for each server, workload intensity, kind of client and class; seeds are aggregated.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_loadgen::{Class, Outcome, Patience, Record, Series, Tally};
use hedgerow_node::terminal::fitting;
use serde::Serialize;

use super::cells::{Measured, Pressure, Server};

/// The outcomes of a set of requests, over all seeds.
#[derive(Debug)]
pub(super) struct Group {
    /// Index of the server.
    pub(super) server: usize,
    pub(super) pressure: Pressure,
    pub(super) patience: Patience,
    /// The class, or `all`.
    pub(super) class: String,
    pub(super) tally: Tally,
    /// How long requests were sent, summed over all seeds.
    pub(super) seconds: f64,
    /// Prompt tokens and output tokens processed while requests were sent.
    tokens: (f64, f64),
}

impl Group {
    /// Returns every group: the classes of each server at each intensity, and all classes combined last.
    pub(super) fn all(servers: &[Server], classes: &[Class], measured: &[Measured]) -> Vec<Self> {
        let mut kinds: Vec<(Pressure, Patience)> = Vec::new();
        for run in measured {
            let kind = (run.cell.pressure, run.cell.offer.patience);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let mut groups = Vec::new();
        for (pressure, patience) in kinds {
            for server in 0..servers.len() {
                let is_own = |run: &&Measured| {
                    (run.server, run.cell.pressure, run.cell.offer.patience) == (server, pressure, patience)
                };
                let own: Vec<&Measured> = measured.iter().filter(is_own).collect();
                let group = |class: Option<usize>| {
                    let name = class.map_or("all", |class| &classes[class].name).to_owned();
                    Self::of(&own, classes, class, (server, pressure, patience, name))
                };
                groups.extend((0..classes.len()).map(|class| group(Some(class))).chain([group(None)]));
            }
        }
        groups
    }

    fn of(
        runs: &[&Measured],
        classes: &[Class],
        class: Option<usize>,
        (server, pressure, patience, name): (usize, Pressure, Patience, String),
    ) -> Self {
        let is_in = |record: &&Record| class.is_none_or(|class| class == record.class);
        let records = || runs.iter().flat_map(|measured| measured.run.records.iter()).filter(is_in);
        let mut tokens = (0.0, 0.0);
        for measured in runs {
            for record in measured.run.records.iter().filter(is_in) {
                let (prompt, output) = record.tokens_by(measured.run.duration);
                tokens = (tokens.0 + prompt, tokens.1 + output);
            }
        }
        let seconds = runs.iter().map(|measured| measured.run.duration.as_secs_f64()).sum();
        let tally = Tally::of(classes, records());
        Self { server, pressure, patience, class: name, tally, seconds, tokens }
    }

    /// Whether it combines all classes.
    pub(super) fn is_all(&self) -> bool {
        self.class == "all"
    }

    /// Goodput: requests per second that were answered in time.
    pub(super) fn goodput(&self) -> f64 {
        self.tally.met() as f64 / self.seconds
    }

    /// Throughput in tokens per second, of prompts and of outputs.
    pub(super) fn throughput(&self) -> (f64, f64) {
        (self.tokens.0 / self.seconds, self.tokens.1 / self.seconds)
    }
}

/// One line of summary.csv, and of the table.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    server: String,
    pressure: String,
    clients: &'static str,
    class: String,
    offered: usize,
    met: usize,
    late: usize,
    refused: usize,
    cut: usize,
    hung_up: usize,
    failed: usize,
    attainment: Option<f64>,
    admitted_attainment: Option<f64>,
    goodput_per_s: f64,
    goodput_tokens_per_s: f64,
    prompt_tokens_per_s: f64,
    output_tokens_per_s: f64,
    ttft_p50_ms: Option<f64>,
    ttft_p99_ms: Option<f64>,
    tpot_p50_ms: Option<f64>,
    tpot_p99_ms: Option<f64>,
    e2e_p50_ms: Option<f64>,
    e2e_p99_ms: Option<f64>,
    refusal_p99_ms: Option<f64>,
}

impl Line {
    pub(super) fn of(servers: &[Server], group: &Group) -> Self {
        let tally = &group.tally;
        let count = |outcome| tally.count_of(outcome);
        let at = |series: &Series, percent| series.percentile(percent);
        let (prompt_tokens_per_s, output_tokens_per_s) = group.throughput();
        Self {
            server: servers[group.server].name.clone(),
            pressure: group.pressure.to_string(),
            clients: group.patience.name(),
            class: group.class.clone(),
            offered: tally.offered,
            met: tally.met(),
            late: count(Outcome::Late),
            refused: count(Outcome::Refused),
            cut: count(Outcome::Cut),
            hung_up: count(Outcome::HungUp),
            failed: count(Outcome::Failed),
            attainment: tally.attainment(),
            admitted_attainment: tally.admitted_attainment(),
            goodput_per_s: group.goodput(),
            goodput_tokens_per_s: tally.met_tokens as f64 / group.seconds,
            prompt_tokens_per_s,
            output_tokens_per_s,
            ttft_p50_ms: at(&tally.ttft, 50),
            ttft_p99_ms: at(&tally.ttft, 99),
            tpot_p50_ms: at(&tally.tpot, 50),
            tpot_p99_ms: at(&tally.tpot, 99),
            e2e_p50_ms: at(&tally.e2e, 50),
            e2e_p99_ms: at(&tally.e2e, 99),
            refusal_p99_ms: at(&tally.refusal, 99),
        }
    }

    fn cells(&self) -> [String; HEADER.len()] {
        let percent =
            |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.1} %", 100.0 * part));
        let number = |number: Option<f64>| match number {
            None => "-".to_owned(),
            Some(small) if small < 9.95 => format!("{small:.1}"),
            Some(large) => format!("{large:.0}"),
        };
        let pair = |one, other| format!("{} / {}", number(one), number(other));
        [
            self.server.clone(),
            self.pressure.clone(),
            self.clients.to_owned(),
            self.class.clone(),
            self.offered.to_string(),
            self.met.to_string(),
            self.late.to_string(),
            self.refused.to_string(),
            self.cut.to_string(),
            self.hung_up.to_string(),
            self.failed.to_string(),
            percent(self.attainment),
            percent(self.admitted_attainment),
            format!("{:.2}", self.goodput_per_s),
            format!("{:.0}", self.goodput_tokens_per_s),
            pair(Some(self.prompt_tokens_per_s), Some(self.output_tokens_per_s)),
            pair(self.ttft_p50_ms, self.ttft_p99_ms),
            pair(self.tpot_p50_ms, self.tpot_p99_ms),
            pair(self.e2e_p50_ms, self.e2e_p99_ms),
            number(self.refusal_p99_ms),
        ]
    }
}

const HEADER: [&str; 20] = [
    "server",
    "load",
    "clients",
    "class",
    "offered",
    "met",
    "late",
    "refused",
    "cut",
    "hung up",
    "failed",
    "attainment",
    "of admitted",
    "goodput/s",
    "tokens/s in time",
    "tokens/s in / out",
    "TTFT p50 / p99 ms",
    "TPOT p50 / p99 ms",
    "E2E p50 / p99 ms",
    "refusal p99 ms",
];

/// Formats the table.
pub(super) fn table(lines: &[Line]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(HEADER);
    for line in lines {
        table.add_row(line.cells());
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    fitting(&table).trim_end().to_owned()
}

/// Compares the first server with the second: a line for each workload that both were offered.
pub(super) fn ratios(servers: &[Server], groups: &[Group]) -> Vec<String> {
    let [first, second] = servers else { return Vec::new() };
    let names = format!("{}/{}", first.name, second.name);
    let alls = || groups.iter().filter(|group| group.is_all());
    let pairs = alls().filter(|group| group.server == 0).filter_map(|one| {
        let is_same = |other: &&Group| {
            (other.server, other.pressure, other.patience) == (1, one.pressure, one.patience)
        };
        Some((one, alls().find(is_same)?))
    });
    let line = |(one, other): (&Group, &Group)| {
        let kind = format!("{}, {}", one.pressure, one.patience.name());
        match one.pressure {
            Pressure::Rate(_) => format!(
                "{kind}: goodput ratio {names} = {} ({:.2} / {:.2} requests a second in time)",
                ratio(one.goodput(), other.goodput()),
                one.goodput(),
                other.goodput()
            ),
            Pressure::Callers(_) => {
                let (ours, theirs) = (one.throughput().1, other.throughput().1);
                let ratio = ratio(ours, theirs);
                format!(
                    "{kind}: output throughput ratio {names} = {ratio} ({ours:.0} / {theirs:.0} tokens a second)"
                )
            }
        }
    };
    pairs.map(line).collect()
}

fn ratio(one: f64, other: f64) -> String {
    if other > 0.0 { format!("{:.2}", one / other) } else { "-".to_owned() }
}
