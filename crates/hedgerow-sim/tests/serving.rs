//! A small node in overload, in virtual time: continuous batching with the step times of two CPU cores.

use hedgerow_core::engine::CostModel;
use hedgerow_core::engine::cost::{Line, MeasuredCost, Surface};
use hedgerow_core::output::{Outcome, Record, Summary};
use hedgerow_core::request::{Request, RequestId};
use hedgerow_core::settings::{Padding, Protocol};
use hedgerow_core::time::{Instant, Span};
use hedgerow_core::units::Tokens;
use hedgerow_sim::{Arrival, Scenario, Simulation};
use hedgerow_solver::Policy;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A class of requests: its fraction, ranges of prompt and output lengths, deadline.
type Class = (f64, [u32; 2], [u32; 2], Option<Span>);

const VOICE: Class = (0.4, [40, 64], [12, 24], Some(Span::from_millis(2_000)));
const CHAT: Class = (0.4, [76, 196], [32, 96], Some(Span::from_millis(8_000)));
const REPORT: Class = (0.2, [216, 516], [150, 400], Some(Span::from_millis(30_000)));

/// Two cores with a model of 135 million parameters and 16 parallel requests; its capacity is about 1.6 requests per
/// second of the mix of voice, chat and report.
fn scenario(policy: Policy) -> Scenario {
    let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/paper.toml");
    let mut scenario = Scenario::load(paper.as_ref()).unwrap();
    scenario.cell = None;
    let node = &mut scenario.node;
    node.cost = CostModel::Measured(MeasuredCost {
        prefill: surface(&[(16, 42.0), (64, 160.0), (256, 640.0)], |tokens| 0.1e-3 * f64::from(tokens)),
        decode: surface(&[(1, 6.0), (2, 12.4), (4, 18.5), (8, 31.3), (16, 51.3)], |_| 1.5e-3),
        mixed_ns: 0,
    });
    node.precisions.truncate(1);
    (node.radio, node.max_parallel) = (None, 16);
    (node.context, node.prefill_chunk) = (Tokens(2048), Tokens(128));
    let settings = &mut scenario.settings;
    (settings.policy, settings.protocol, settings.padding) = (policy, Protocol::Continuous, Padding::None);
    (settings.margin, settings.queue_capacity) = (0.1, 512);
    scenario
}

/// Builds a surface from times in ms at an empty cache and the additional time per token in the cache.
fn surface(times: &[(u32, f64)], ms_per_token: fn(u32) -> f64) -> Surface {
    let ns = |ms: f64| (ms * 1e6) as u64;
    let line = |&(count, ms): &(u32, f64)| Line {
        count,
        times_ns: vec![(0, ns(ms)), (1_000, ns(ms + 1e3 * ms_per_token(count)))],
    };
    Surface::new(times.iter().map(line).collect()).unwrap()
}

/// Poisson arrivals for a minute.
fn arrivals(classes: &[Class], rate_per_s: f64, seed: u64) -> Vec<Arrival> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut arrivals = Vec::new();
    let mut at_s = 0.0;
    loop {
        at_s += -(1.0 - random.random::<f64>()).ln() / rate_per_s;
        if at_s > 60.0 {
            return arrivals;
        }
        let mut point: f64 = random.random();
        let class = classes.iter().find(|class| {
            point -= class.0;
            point < 0.0
        });
        let &(_, prompt, output, deadline) = class.unwrap_or(&classes[0]);
        let mut tokens = |[least, most]: [u32; 2]| Tokens(random.random_range(least..=most));
        let arrived = Instant::START + Span::from_seconds(at_s);
        let id = RequestId(arrivals.len() as u64);
        let request = Request {
            deadline: deadline.map(|deadline| arrived + deadline),
            ..Request::new(id, arrived, tokens(prompt), tokens(output))
        };
        let answer = request.max_output;
        arrivals.push(Arrival::of(request, answer));
    }
}

fn play(scenario: &Scenario, arrivals: Vec<Arrival>) -> Vec<Record> {
    Simulation::replay(&scenario.node, &scenario.settings, arrivals.into_iter()).run(|_| {}).records
}

#[test]
fn above_capacity_nearly_all_short_requests_are_served_but_few_with_fifo() {
    let load = |seed| arrivals(&[VOICE, CHAT, REPORT], 2.4, seed);
    let records = |policy| (0..4).flat_map(|seed| play(&scenario(policy), load(seed))).collect::<Vec<_>>();
    let (planned, fifo) = (records(Policy::Exact), records(Policy::Fifo));
    let (summary, with_fifo) = (Summary::of(&planned), Summary::of(&fifo));
    assert!(summary.attainment() > 0.75, "{}", summary.attainment());
    assert!(summary.met > 5 * with_fifo.met, "{} against {}", summary.met, with_fifo.met);
    assert!(summary.admitted_attainment() > 0.99, "{}", summary.admitted_attainment());
    let voice = planned.iter().filter(|record| record.request.max_output.0 <= 24);
    assert!(Summary::of(voice).attainment() > 0.97);
    let waited = planned.iter().filter(|record| {
        matches!(record.outcome, Outcome::Rejected(_)) && record.ended > record.request.arrived
    });
    assert!(waited.count() * 100 <= planned.len(), "rejections come at the arrival");
}

#[test]
fn below_capacity_reserving_rejects_hardly_any_request() {
    let load = |seed| arrivals(&[VOICE, CHAT, REPORT], 1.0, seed);
    let records: Vec<_> = (0..4).flat_map(|seed| play(&scenario(Policy::Exact), load(seed))).collect();
    let summary = Summary::of(&records);
    assert!(summary.attainment() > 0.98, "{}", summary.attainment());
}

#[test]
fn best_effort_requests_are_served_with_their_reserved_share() {
    let best_effort = (0.1, [76, 196], [32, 96], None);
    let load =
        arrivals(&[(0.7, VOICE.1, VOICE.2, VOICE.3), (0.2, CHAT.1, CHAT.2, CHAT.3), best_effort], 8.0, 1);
    let answered = |share| {
        let mut scenario = scenario(Policy::Exact);
        scenario.settings.best_effort_share = share;
        let records = play(&scenario, load.clone());
        let met = records.iter().filter(|record| record.is_met());
        let in_time = met.filter(|record| record.ended < Instant::START + Span::from_millis(60_000));
        in_time.filter(|record| record.request.is_best_effort()).count()
    };
    // Their work is a little more than 0.4 of the node's capacity.
    let (reserved, leftover) = (answered(0.5), answered(0.0));
    let offered = load.iter().filter(|arrival| arrival.request.is_best_effort()).count();
    assert!(
        reserved + 3 >= offered && reserved > leftover,
        "{reserved} of {offered} with a share, {leftover} without"
    );
}

#[test]
fn short_answers_admit_more_requests_and_few_admitted_ones_are_late() {
    let load: Vec<Vec<Arrival>> = (0..4)
        .map(|seed| {
            let mut load =
                arrivals(&[(1.0, [40, 64], [200, 256], Some(Span::from_millis(4_000)))], 4.0, seed);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            load.iter_mut().for_each(|arrival| arrival.answer = Tokens(random.random_range(8..=40)));
            load
        })
        .collect();
    let summary = |confidence| {
        let mut scenario = scenario(Policy::Exact);
        scenario.settings.confidence = confidence;
        let records: Vec<_> = load.iter().flat_map(|load| play(&scenario, load.clone())).collect();
        Summary::of(&records)
    };
    let (learned, limits) = (summary(0.95), summary(1.0));
    assert!(learned.met as f64 > 1.2 * limits.met as f64, "{} against {}", learned.met, limits.met);
    assert!(learned.admitted_attainment() > 0.97, "{}", learned.admitted_attainment());
}

#[test]
fn ttft_and_tpot_targets_are_met_or_rejected() {
    let mut load = arrivals(&[(1.0, CHAT.1, CHAT.2, None)], 2.0, 3);
    for arrival in &mut load {
        let request = &mut arrival.request;
        (request.ttft, request.tpot) = (Some(Span::from_millis(1_500)), Some(Span::from_millis(80)));
    }
    let records = play(&scenario(Policy::Exact), load.clone());
    let summary = Summary::of(&records);
    assert!(summary.admitted_attainment() > 0.97, "{}", summary.admitted_attainment());
    let met = records.iter().filter(|record| record.is_met());
    let on_target =
        met.filter(|record| record.ttft() <= record.request.ttft && record.tpot() <= record.request.tpot);
    assert_eq!(on_target.count() as u64, summary.met);
    let with_fifo = Summary::of(&play(&scenario(Policy::Fifo), load));
    assert!(summary.met > with_fifo.met, "{} against {}", summary.met, with_fifo.met);
}
