//! Compares the simulator with queueing theory: one server, first come first served, one step per request.
//!
//! A request has a prompt at 10 µs per token and an answer of one token, which comes with the prompt's last chunk, so
//! the number of prompt tokens sets the service time.

use std::convert::Infallible;

use hedgerow_core::engine::cost::{MeasuredCost, Surface};
use hedgerow_core::engine::{CostModel, Step};
use hedgerow_core::output::Record;
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::settings::{Padding, Protocol};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::{Bytes, Tokens};
use hedgerow_sim::{Arrival, Scenario, Simulation, Sink};
use hedgerow_solver::Policy;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

const TOKEN: Span = Span::from_micros(10);
/// The mean service time in tokens.
const MEAN_TOKENS: f64 = 1_000.0;
const MEAN_S: f64 = 0.01;

/// The distribution of service times.
#[derive(Clone, Copy)]
enum Service {
    Exponential,
    Constant,
}

fn scenario() -> Scenario {
    let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/paper.toml");
    let mut scenario = Scenario::load(paper.as_ref()).unwrap();
    scenario.cell = None;
    let node = &mut scenario.node;
    let per_token = || Surface::level(&[(1, TOKEN)]);
    node.cost = CostModel::Measured(MeasuredCost { prefill: per_token(), decode: per_token(), mixed_ns: 0 });
    (node.radio, node.max_parallel, node.memory) = (None, 1, Bytes(1 << 50));
    (node.context, node.prefill_chunk) = (Tokens(100_000), Tokens(100_000));
    let settings = &mut scenario.settings;
    (settings.policy, settings.protocol, settings.padding) =
        (Policy::Fifo, Protocol::Continuous, Padding::None);
    (settings.margin, settings.queue_capacity) = (0.0, 1_000_000);
    scenario
}

/// Poisson arrivals with the utilization `load`.
fn arrivals(service: Service, load: f64, count: u64, seed: u64) -> impl Iterator<Item = Arrival> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut at = Instant::START;
    (0..count).map(move |id| {
        let (gap, length): (f64, f64) = (Exp1.sample(&mut random), Exp1.sample(&mut random));
        at = at + Span::from_seconds(gap * MEAN_S / load);
        let tokens = match service {
            Service::Exponential => (MEAN_TOKENS * length).round().max(1.0),
            Service::Constant => MEAN_TOKENS,
        };
        let request = Request::new(RequestId(id), at, Tokens(tokens as u32), Tokens(1));
        Arrival { notified: at, ..Arrival::of(request, Tokens(1)) }
    })
}

/// Sums up the waiting times of requests.
#[derive(Default)]
struct Waits {
    sum_s: f64,
    count: u64,
}

impl Sink for Waits {
    type Error = Infallible;

    fn planned(&mut self, _plan: &PlanReport) -> Result<(), Infallible> {
        Ok(())
    }

    fn stepped(&mut self, _at: Instant, _took: Span, step: &Step) -> Result<(), Infallible> {
        assert_eq!(step.request_count(), 1, "there is one server");
        Ok(())
    }

    fn ended(&mut self, record: Record) -> Result<(), Infallible> {
        self.sum_s += record.queue_time().expect("all requests are served").as_seconds();
        self.count += 1;
        Ok(())
    }
}

fn mean_wait_s(service: Service, load: f64) -> f64 {
    let (scenario, mut waits) = (scenario(), Waits::default());
    let arrivals = arrivals(service, load, 400_000, 1);
    let Ok(()) =
        Simulation::replay(&scenario.node, &scenario.settings, arrivals).run_into(&mut waits, |_| {});
    waits.sum_s / waits.count as f64
}

#[test]
fn the_mean_wait_is_that_of_queueing_theory_within_2_percent() {
    // M/M/1: ρ/(1 − ρ) service times. M/D/1, by Pollaczek and Khinchine: half of that.
    for (service, load, services) in [
        (Service::Exponential, 0.3, 0.3 / 0.7),
        (Service::Exponential, 0.5, 1.0),
        (Service::Constant, 0.5, 0.5),
        (Service::Constant, 0.7, 0.7 / 0.6),
    ] {
        let (measured_s, expected_s) = (mean_wait_s(service, load), services * MEAN_S);
        assert!(
            (measured_s / expected_s - 1.0).abs() < 0.02,
            "{measured_s} s instead of {expected_s} s at {load}"
        );
    }
}

#[test]
fn each_wait_follows_lindleys_recursion_to_the_nanosecond() {
    let scenario = scenario();
    let arrivals: Vec<Arrival> = arrivals(Service::Exponential, 0.9, 20_000, 2).collect();
    let run = Simulation::replay(&scenario.node, &scenario.settings, arrivals.iter().cloned()).run(|_| {});
    let mut free = Instant::START;
    assert_eq!(run.records.len(), arrivals.len());
    for (arrival, record) in arrivals.iter().zip(&run.records) {
        // Lindley's recursion W' = max(0, W + S − A) in absolute times: a request starts at its arrival or when the
        // one before it ends, whichever is later.
        let start = free.max(arrival.request.arrived);
        free = start + TOKEN * arrival.request.prompt_len.0;
        assert_eq!((record.started, record.ended), (Some(start), free), "{record:#?}");
    }
}
