//! Aggregates the runs: a row for each instance generator, size and solver.

use std::collections::BTreeMap;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_node::terminal::fitting;
use hedgerow_solver::Policy;
use serde::Serialize;

use super::SolversArgs;
use super::measure::{Contender, Run};

/// The whole report, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    hedgerow: &'static str,
    /// The processor's model name.
    processor: Option<String>,
    seeds: String,
    pub(super) time_limit_s: f64,
    repeat: u32,
    /// The version of OR-tools.
    cp_sat: Option<String>,
    pub(super) rows: Vec<Row>,
    overall: Vec<Overall>,
}

/// One solver on all instances of a size that both it and `exact` solved.
#[derive(Debug, Serialize)]
struct Overall {
    requests: usize,
    solver: String,
    instances: usize,
    /// As in [`Row::times_exact`].
    times_exact: f64,
}

/// One solver on the instances of one generator and size.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) family: &'static str,
    pub(super) requests: usize,
    pub(super) solver: String,
    instances: usize,
    /// How many answers are proven optimal.
    proven: usize,
    pub(super) median_us: f64,
    p99_us: f64,
    max_us: f64,
    nodes_median: Option<u64>,
    nodes_max: Option<u64>,
    /// The largest gap to the bound, in percent of the bound.
    gap_max_percent: f64,
    /// The mean of the value divided by the best known value, in percent.
    value_percent: f64,
    /// The sum of all values: it changes only if an answer does.
    value_sum: u128,
    /// The geometric mean of its time divided by that of `exact` on the same instance. The time of a search that ran
    /// out of time is the limit.
    times_exact: Option<f64>,
}

impl Report {
    pub(super) fn of(args: &SolversArgs, contenders: &[Contender], runs: &[Run]) -> Self {
        let mut rows = Vec::new();
        // Runs of a generator and size are adjacent, in the order of their instances.
        for group in runs.chunk_by(|a, b| (a.family, a.requests) == (b.family, b.requests)) {
            let mut names: Vec<&String> = Vec::new();
            for run in group {
                if !names.contains(&&run.solver) {
                    names.push(&run.solver);
                }
            }
            rows.extend(names.into_iter().map(|name| Row::of(name, group)));
        }
        Self {
            hedgerow: env!("CARGO_PKG_VERSION"),
            processor: processor(),
            seeds: format!("{}..{}", args.seeds.start, args.seeds.end),
            time_limit_s: args.time_limit.as_secs_f64(),
            repeat: args.repeat,
            cp_sat: contenders.iter().find_map(Contender::peer_version),
            overall: overall(&rows),
            rows,
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report is JSON")
    }

    /// Formats the report as a table.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header([
            "family",
            "requests",
            "solver",
            "instances",
            "proven",
            "median µs",
            "p99 µs",
            "max µs",
            "nodes",
            "max nodes",
            "max gap",
            "value",
            "× exact",
        ]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        let mut text_columns = [true, false, true].into_iter();
        for column in table.column_iter_mut() {
            if !text_columns.next().unwrap_or(false) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = fitting(&table).trim_end().to_owned();
        for Overall { requests, solver, instances, times_exact } in &self.overall {
            let line = format!("{solver} takes {times_exact:.2} times as long as exact");
            text += &format!("\n{line}: geometric mean over {instances} instances of {requests} requests");
        }
        text
    }
}

/// Aggregates the rows of each solver and size.
fn overall(rows: &[Row]) -> Vec<Overall> {
    let mut logs = BTreeMap::<(usize, &str), (usize, f64)>::new();
    for row in rows {
        if let Some(ratio) = row.times_exact {
            let (instances, log) = logs.entry((row.requests, &row.solver)).or_default();
            *instances += row.instances;
            *log += row.instances as f64 * ratio.ln();
        }
    }
    let sum = |((requests, solver), (instances, log)): ((usize, &str), (usize, f64))| Overall {
        requests,
        solver: solver.to_owned(),
        instances,
        times_exact: (log / instances as f64).exp(),
    };
    logs.into_iter().map(sum).collect()
}

impl Row {
    /// Aggregates one solver's runs of a group.
    fn of(solver: &str, group: &[Run]) -> Self {
        let own: Vec<&Run> = group.iter().filter(|run| run.solver == solver).collect();
        let mut times: Vec<f64> = own.iter().map(|run| run.time_us).collect();
        times.sort_by(f64::total_cmp);
        let mut nodes: Vec<u64> = own.iter().filter_map(|run| run.nodes).collect();
        nodes.sort_unstable();
        let parts = own.iter().map(|run| part(run.value, run.best_known));
        Self {
            family: group[0].family,
            requests: group[0].requests,
            solver: solver.to_owned(),
            instances: own.len(),
            proven: own.iter().filter(|run| run.proven).count(),
            median_us: *at(&times, 50).expect("a row has runs"),
            p99_us: *at(&times, 99).expect("a row has runs"),
            max_us: *at(&times, 100).expect("a row has runs"),
            nodes_median: at(&nodes, 50).copied(),
            nodes_max: at(&nodes, 100).copied(),
            gap_max_percent: own
                .iter()
                .map(|run| 100.0 * (1.0 - part(run.value, run.bound)))
                .fold(0.0, f64::max),
            value_percent: 100.0 * parts.sum::<f64>() / own.len() as f64,
            value_sum: own.iter().map(|run| run.value).sum(),
            times_exact: times_exact(&own, group),
        }
    }

    fn cells(&self) -> [String; 13] {
        let count = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        [
            self.family.to_owned(),
            self.requests.to_string(),
            self.solver.clone(),
            self.instances.to_string(),
            self.proven.to_string(),
            format!("{:.1}", self.median_us),
            format!("{:.1}", self.p99_us),
            format!("{:.1}", self.max_us),
            count(self.nodes_median),
            count(self.nodes_max),
            format!("{:.2} %", self.gap_max_percent),
            format!("{:.2} %", self.value_percent),
            self.times_exact.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        ]
    }
}

/// Returns a percentile of a sorted list by the nearest-rank method.
fn at<T>(sorted: &[T], percent: usize) -> Option<&T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1))
}

fn part(value: u128, whole: u128) -> f64 {
    if whole == 0 { 1.0 } else { value as f64 / whole as f64 }
}

/// Returns the geometric mean of the time divided by that of `exact`; `None` for `exact` itself.
fn times_exact(own: &[&Run], group: &[Run]) -> Option<f64> {
    let name = Policy::Exact.to_string();
    let mut log_sum = 0.0;
    for run in own {
        let exact = group.iter().find(|other| other.seed == run.seed && other.solver == name)?;
        if run.solver == name {
            return None;
        }
        // At least a nanosecond, because a clock may measure zero.
        log_sum += (run.time_us.max(1e-3) / exact.time_us.max(1e-3)).ln();
    }
    Some((log_sum / own.len() as f64).exp())
}

/// Returns the processor's model name, as Linux reports it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, solver: &str, time_us: f64, value: u128, bound: u128) -> Run {
        let (family, requests, nodes) = ("tight", 10, (solver != "cp-sat").then_some(seed));
        let solver = solver.to_owned();
        let proven = value == bound;
        Run { family, requests, seed, solver, time_us, proven, value, bound, best_known: 10, nodes }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let hundred: Vec<usize> = (1..=100).collect();
        assert_eq!([1, 50, 99, 100].map(|percent| *at(&hundred, percent).unwrap()), [1, 50, 99, 100]);
        assert_eq!([50, 99, 100].map(|percent| *at(&[7], percent).unwrap()), [7, 7, 7]);
        assert_eq!(at::<u64>(&[], 50), None);
    }

    #[test]
    fn a_row_sums_up_one_solver_and_compares_it_by_instance() {
        let group = [
            run(0, "exact", 1.0, 10, 10),
            run(0, "cp-sat", 100.0, 8, 16),
            run(1, "exact", 4.0, 10, 10),
            run(1, "cp-sat", 16.0, 10, 10),
        ];
        let row = Row::of("cp-sat", &group);
        assert_eq!((row.instances, row.proven, row.value_sum), (2, 1, 18));
        assert_eq!((row.median_us, row.max_us), (16.0, 100.0));
        assert_eq!((row.gap_max_percent, row.value_percent), (50.0, 90.0));
        // The geometric mean of 100 and 4.
        assert!((row.times_exact.unwrap() - 20.0).abs() < 1e-9);
        assert_eq!(row.nodes_max, None);
        let row = Row::of("exact", &group);
        assert_eq!((row.times_exact, row.nodes_median, row.nodes_max), (None, Some(0), Some(1)));
    }
}
