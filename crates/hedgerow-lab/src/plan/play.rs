//! A node at an arrival rate: one run of the simulator for each seed, and their aggregate.

use std::collections::BTreeMap;
use std::convert::Infallible;

use hedgerow_core::engine::Step;
use hedgerow_core::node::Node;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::running::Running;
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Bytes;
use hedgerow_sim::{Arrival, EngineSlowdown, Simulation, Sink};
use serde::Serialize;

use super::Play;

/// The outcome of the workload at a rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    pub(crate) rate_per_s: f64,
    /// The attainment (met / offered) of each seed.
    pub(crate) attained: Vec<f64>,
    pub(crate) usage: Usage,
}

/// The node's utilization over all seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) all: Part,
    /// The outcomes by class.
    pub(crate) of_classes: Vec<Part>,
    /// The counts of requests not met, by refusal code or outcome name.
    pub(crate) missed: BTreeMap<&'static str, u64>,
    /// The fraction of the time in which a step ran.
    pub(crate) busy: f64,
    /// The mean number of requests in a step.
    pub(crate) batch: f64,
    /// The most requests that ran at once.
    pub(crate) running_max: u32,
    /// The peak of KV memory in use, in bytes.
    pub(crate) kv_bytes_max: u64,
}

/// Requests offered, and those of them that were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Part {
    pub(crate) offered: u64,
    pub(crate) met: u64,
}

impl Part {
    /// Met over offered; 1 if no request was offered.
    pub(crate) fn attainment(self) -> f64 {
        if self.offered == 0 { 1.0 } else { self.met as f64 / self.offered as f64 }
    }

    fn note(&mut self, is_met: bool) {
        self.offered += 1;
        self.met += u64::from(is_met);
    }
}

impl Point {
    /// The mean attainment over the seeds.
    pub(crate) fn mean(&self) -> f64 {
        self.mean_without(None)
    }

    /// The mean attainment over the seeds except one.
    pub(super) fn mean_without(&self, left_out: Option<usize>) -> f64 {
        let used = self.attained.iter().enumerate().filter(|(seed, _)| Some(*seed) != left_out);
        let (sum, count) = used.fold((0.0, 0.0), |(sum, count), (_, attained)| (sum + attained, count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }
}

impl Play {
    /// Simulates a node at a rate, the seeds in parallel.
    ///
    /// # Errors
    ///
    /// When the workload cannot be drawn.
    ///
    /// # Panics
    ///
    /// When a simulation panics.
    pub(super) fn at(&self, node: &Node, rate_per_s: f64) -> anyhow::Result<Point> {
        let workloads = self.seeds.iter().map(|&seed| self.mix.arrivals(node, rate_per_s, seed));
        let workloads: Vec<Vec<Arrival>> = workloads.collect::<anyhow::Result<_>>()?;
        let run = |workload: Vec<Arrival>| {
            let mut watch = Watch::new(&workload, self.mix.classes().len());
            let simulation = Simulation::replay(node, &self.settings, workload.into_iter());
            let Ok(()) =
                simulation.slowed_by(EngineSlowdown::steady(self.slowdown)).run_into(&mut watch, |_| {});
            watch
        };
        let watched: Vec<Watch> = std::thread::scope(|scope| {
            let threads: Vec<_> = workloads.into_iter().map(|one| scope.spawn(|| run(one))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Watch>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        let attained = watched.iter().map(|run| run.all.attainment()).collect();
        Ok(Point { rate_per_s, attained, usage: Watch::sum(&watched) })
    }
}

/// Accumulates the figures of one run while it is simulated.
#[derive(Debug, Default)]
struct Watch {
    /// Each request's class, by its number.
    class_of: Vec<usize>,
    all: Part,
    of_classes: Vec<Part>,
    missed: BTreeMap<&'static str, u64>,
    running: u32,
    running_max: u32,
    kv: Bytes,
    kv_max: Bytes,
    steps: u64,
    in_steps: u64,
    busy: Span,
    last: Instant,
}

impl Watch {
    fn new(workload: &[Arrival], classes: usize) -> Self {
        let class_of = workload.iter().map(|arrival| arrival.class).collect();
        Self { class_of, of_classes: vec![Part::default(); classes], ..Self::default() }
    }

    fn sum(runs: &[Self]) -> Usage {
        let mut missed = BTreeMap::new();
        for (&why, count) in runs.iter().flat_map(|run| &run.missed) {
            *missed.entry(why).or_default() += count;
        }
        let all = |number: fn(&Self) -> u64| runs.iter().map(number).sum::<u64>();
        let busy: Span = runs.iter().map(|run| run.busy).sum();
        let lasted: Span = runs.iter().map(|run| run.last.since(Instant::START)).sum();
        let part = |parts: &mut dyn Iterator<Item = Part>| {
            parts.fold(Part::default(), |sum, part| Part {
                offered: sum.offered + part.offered,
                met: sum.met + part.met,
            })
        };
        let classes = runs.first().map_or(0, |run| run.of_classes.len());
        let of_class = |class: usize| part(&mut runs.iter().map(|run| run.of_classes[class]));
        Usage {
            all: part(&mut runs.iter().map(|run| run.all)),
            of_classes: (0..classes).map(of_class).collect(),
            missed,
            busy: busy.as_seconds() / lasted.as_seconds().max(f64::MIN_POSITIVE),
            batch: all(|run| run.in_steps) as f64 / all(|run| run.steps).max(1) as f64,
            running_max: runs.iter().map(|run| run.running_max).max().unwrap_or(0),
            kv_bytes_max: runs.iter().map(|run| run.kv_max.0).max().unwrap_or(0),
        }
    }
}

impl Sink for Watch {
    type Error = Infallible;

    fn planned(&mut self, _plan: &PlanReport) -> Result<(), Infallible> {
        Ok(())
    }

    fn started(&mut self, running: &Running) -> Result<(), Infallible> {
        self.running += 1;
        self.kv = self.kv + running.grant.memory;
        self.running_max = self.running_max.max(self.running);
        self.kv_max = self.kv_max.max(self.kv);
        Ok(())
    }

    fn stepped(&mut self, _at: Instant, took: Span, step: &Step) -> Result<(), Infallible> {
        self.steps += 1;
        self.in_steps += step.request_count() as u64;
        self.busy += took;
        Ok(())
    }

    fn ended(&mut self, record: Record) -> Result<(), Infallible> {
        let class = self.class_of[record.request.id.0 as usize];
        self.all.note(record.is_met());
        self.of_classes[class].note(record.is_met());
        self.last = self.last.max(record.ended);
        if record.started.is_some() {
            self.running -= 1;
            self.kv = self.kv.saturating_sub(record.grant.memory);
        }
        let why = match &record.outcome {
            Outcome::Rejected(why) => why.code(),
            other @ (Outcome::Met(_)
            | Outcome::Late(_)
            | Outcome::Expired
            | Outcome::Cancelled
            | Outcome::Failed(_)
            | Outcome::ShutDown) => other.name(),
        };
        if !record.is_met() {
            *self.missed.entry(why).or_default() += 1;
        }
        Ok(())
    }
}
