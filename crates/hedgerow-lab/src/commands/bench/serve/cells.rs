//! The runs: every workload offered to every server, in turns.

use std::time::{Duration, SystemTime};

use hedgerow_loadgen::{Client, Offer, Outcome, Pattern, Record, Request, Run, Seeds, Tally, failures};
use hedgerow_node::console::Notes;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::ServeArgs;

/// A larger send lag at the 99th percentile makes a run doubtful, and gives a warning.
const LAG_MS_MAX: f64 = 50.0;

/// The intensity of the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pressure {
    /// Open loop: requests per second, whatever their outcomes.
    Rate(f64),
    /// Closed loop: the number of clients, each with one request at a time.
    Callers(u32),
}

impl Pressure {
    /// Its coordinate on an axis.
    pub(super) fn number(self) -> f64 {
        match self {
            Self::Rate(rate_per_s) => rate_per_s,
            Self::Callers(callers) => f64::from(callers),
        }
    }
}

impl std::fmt::Display for Pressure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rate(rate_per_s) => write!(f, "{rate_per_s} req/s"),
            Self::Callers(1) => f.write_str("1 caller"),
            Self::Callers(callers) => write!(f, "{callers} callers"),
        }
    }
}

/// One workload, and how it is offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) pressure: Pressure,
    pub(super) seed: u64,
    pub(super) offer: Offer,
}

/// A server under measurement.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) client: Client,
}

/// One server's run of one workload.
#[derive(Debug)]
pub(super) struct Measured {
    /// Index of the server.
    pub(super) server: usize,
    pub(super) cell: Cell,
    pub(super) began: SystemTime,
    pub(super) run: Run,
}

/// Connects to the servers and probes each with a request for two tokens.
///
/// # Errors
///
/// When one of them cannot be measured.
pub(super) async fn find_servers(args: &ServeArgs, notes: Notes<'_>) -> anyhow::Result<Vec<Server>> {
    let first = (&args.url, &args.name, &args.model);
    let second = args.compare.as_ref().map(|url| (url, &args.compare_name, &args.compare_model));
    let mut servers: Vec<Server> = Vec::new();
    for (url, name, model) in [Some(first), second].into_iter().flatten() {
        let client = Client::connect(url, model.as_deref(), notes).await?;
        client.probe(notes).await?;
        let mut name = name.clone().unwrap_or_else(|| client.authority().to_owned());
        if servers.iter().any(|server| server.name == name) {
            name += " (2)";
        }
        if servers.iter().any(|server| server.client.authority() == client.authority()) {
            notes(&format!(
                "warning: both servers are {url}: what it cached in the first run helps it in the second"
            ));
        }
        servers.push(Server { name, url: url.clone(), client });
    }
    Ok(servers)
}

/// Offers every workload to every server: A B, then B A, so that neither always comes first.
///
/// # Errors
///
/// When a trace cannot reach a rate.
pub(super) async fn measure(
    servers: &[Server],
    cells: &[Cell],
    pattern: &Pattern,
    pause: Duration,
    notes: Notes<'_>,
) -> anyhow::Result<Vec<Measured>> {
    // New words for each workload, so that a server's prefix cache does not help.
    let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let seeds = |index: usize| Seeds { load: cells[index].seed, words: (stamp << 20) + index as u64 };
    // Errors of any workload are reported before the first is offered.
    let workloads = (0..cells.len()).map(|index| match cells[index].pressure {
        Pressure::Rate(rate) => pattern.open_loop(rate, cells[index].offer.duration, seeds(index)),
        Pressure::Callers(_) => Ok(Vec::new()),
    });
    let workloads: Vec<Vec<Request>> = workloads.collect::<anyhow::Result<_>>()?;
    let mut all = Vec::new();
    for (index, (&cell, requests)) in cells.iter().zip(&workloads).enumerate() {
        let mut order: Vec<usize> = (0..servers.len()).collect();
        if index % 2 == 1 {
            order.reverse();
        }
        for server in order {
            if !all.is_empty() {
                tokio::time::sleep(pause).await;
            }
            let mut live = Live::new(&servers[server], cell, requests.len() as u64);
            let client = &servers[server].client;
            let watch = |record: &Record| live.count(record);
            let began = SystemTime::now();
            let run = match cell.pressure {
                Pressure::Rate(_) => cell.offer.open_loop(client, requests, watch).await?,
                Pressure::Callers(callers) => {
                    let draws = pattern.draws(seeds(index));
                    cell.offer.closed_loop(client, callers as usize, draws, watch).await?
                }
            };
            live.end();
            warn(&servers[server], cell, &Tally::of(&pattern.classes, &run.records), &run, notes);
            all.push(Measured { server, cell, began, run });
        }
    }
    Ok(all)
}

/// Warns of what makes a run's numbers doubtful.
fn warn(server: &Server, cell: Cell, tally: &Tally, run: &Run, notes: Notes<'_>) {
    let of = format!("{}, {}", server.name, cell.pressure);
    if let Some(lag_ms) = tally.lag.percentile(99).filter(|&lag_ms| lag_ms > LAG_MS_MAX) {
        notes(&format!(
            "warning: {of}: sending fell behind by {lag_ms:.0} ms (p99); this machine is too busy to send on time"
        ));
    }
    if tally.short > 0 {
        let (short, completed) = (tally.short, tally.completed);
        notes(&format!(
            "warning: {of}: {short} of {completed} answers are shorter than was asked for (`ignore_eos`)"
        ));
    }
    for (why, count) in failures(&run.records).into_iter().take(3) {
        notes(&format!("warning: {of}: {count} failed: {why}"));
    }
}

/// The progress of a run: a bar on a terminal, nothing elsewhere.
struct Live {
    bar: ProgressBar,
    met: usize,
    late: usize,
    refused: usize,
    other: usize,
}

impl Live {
    fn new(server: &Server, cell: Cell, requests: u64) -> Self {
        let (bar, template) = match cell.pressure {
            Pressure::Rate(_) => {
                (ProgressBar::new(requests), "{prefix} {bar:30} {pos}/{len}, {elapsed}, {msg}")
            }
            Pressure::Callers(_) => {
                (ProgressBar::new_spinner(), "{prefix} {spinner} {pos}, {elapsed}, {msg}")
            }
        };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let prefix =
            format!("{}, {}, seed {}, {}", server.name, cell.pressure, cell.seed, cell.offer.patience.name());
        Self { bar: bar.with_style(style).with_prefix(prefix), met: 0, late: 0, refused: 0, other: 0 }
    }

    fn count(&mut self, record: &Record) {
        match record.outcome() {
            Outcome::Met => self.met += 1,
            Outcome::Late | Outcome::Cut | Outcome::HungUp => self.late += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Failed => self.other += 1,
        }
        let Self { met, late, refused, other, .. } = self;
        let failed = if *other > 0 { format!(", failed {other}") } else { String::new() };
        self.bar.set_message(format!("met {met}, not in time {late}, refused {refused}{failed}"));
        self.bar.inc(1);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
