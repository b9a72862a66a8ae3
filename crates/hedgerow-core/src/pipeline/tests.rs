//! A pipeline and a scripted engine, driven by timed events.

mod epochs;
mod estimates;
mod precisions;

use expect_test::{Expect, expect};
use hedgerow_solver::Policy;

use super::scripted::{LOAD, STEP, ScriptedDriver, node, settings};
use super::{Event, Order, Pipeline};
use crate::allocator::{Channel, Modem, Radio};
use crate::engine::{CostModel, EndReason, Engine as _, ScriptedEngine};
use crate::model::cost::{Line, Surface};
use crate::model::node::Node;
use crate::model::request::{Link, Request, RequestId};
use crate::model::settings::{Padding, Protocol, Settings};
use crate::model::time::{Instant, Span};
use crate::model::units::{Bits, Bytes, Hertz, Quality, Tokens, Watts};
use crate::output::Outcome;
use crate::quantization::{Precision, Residency};

fn epochs(policy: Policy) -> Settings {
    let length = Span::from_millis(100);
    Settings { protocol: Protocol::Epoch { length, compute_slot: length }, ..settings(policy) }
}

/// A request of 10 prompt tokens; it arrives at `at_ms`.
fn request(id: u64, at_ms: u64, max_output: u32, deadline_ms: Option<u64>) -> Request {
    let arrived = Instant::START + Span::from_millis(at_ms);
    Request {
        deadline: deadline_ms.map(|ms| arrived + Span::from_millis(ms)),
        ..Request::new(RequestId(id), arrived, Tokens(10), Tokens(max_output))
    }
}

fn check(settings: Settings, requests: impl IntoIterator<Item = Request>, expected: &Expect) {
    check_on(node(), settings, requests, expected);
}

fn check_on(node: Node, settings: Settings, requests: impl IntoIterator<Item = Request>, expected: &Expect) {
    let mut driver = ScriptedDriver::new(node, settings);
    requests.into_iter().for_each(|request| driver.arrive(request));
    expected.assert_eq(&driver.run());
}

#[test]
fn a_request_runs_through_the_whole_pipeline() {
    check(
        settings(Policy::Dftsp),
        [request(1, 0, 3, Some(100))],
        &expect![[r#"
        30 ms: r1 met, 3 tokens
    "#]],
    );
}

#[test]
fn requests_join_a_running_batch_at_the_next_step() {
    check(
        settings(Policy::Dftsp),
        [request(1, 0, 4, None), request(2, 5, 2, None)],
        &expect![[r#"
        30 ms: r2 met, 2 tokens
        40 ms: r1 met, 4 tokens
    "#]],
    );
}

#[test]
fn a_deadline_that_an_idle_node_would_miss_is_refused_as_infeasible() {
    check(
        settings(Policy::Dftsp),
        [request(1, 0, 5, Some(49))],
        &expect![[r#"
        0 µs: r1 rejected: deadline of 49 ms is shorter than the fastest possible run, 50 ms
    "#]],
    );
}

#[test]
fn a_deadline_that_cannot_be_met_now_is_refused_at_once() {
    // Four run for about 200 ms, so a fifth has no place before that.
    let busy = (1..=4).map(|id| request(id, 0, 20, Some(1_000)));
    check(
        settings(Policy::Dftsp),
        busy.chain([request(5, 15, 2, Some(100))]),
        &expect![[r#"
            15 ms: r5 rejected: the deadline cannot be met now: it would be done in 245 ms, but has 100 ms
            200 ms: r1 met, 20 tokens
            210 ms: r2 met, 20 tokens
            210 ms: r3 met, 20 tokens
            210 ms: r4 met, 20 tokens
        "#]],
    );
}

#[test]
fn a_more_urgent_request_overtakes_those_that_have_not_started() {
    let busy = (1..=4).map(|id| request(id, 0, 20, Some(1_000)));
    check(
        settings(Policy::Dftsp),
        busy.chain([request(5, 5, 2, Some(100))]),
        &expect![[r#"
        30 ms: r5 met, 2 tokens
        200 ms: r1 met, 20 tokens
        210 ms: r2 met, 20 tokens
        210 ms: r3 met, 20 tokens
        230 ms: r4 met, 20 tokens
    "#]],
    );
}

#[test]
fn best_effort_requests_leave_a_place_to_requests_with_a_deadline() {
    let best_effort = (1..=5).map(|id| request(id, 0, 80, None));
    check(
        settings(Policy::Dftsp),
        best_effort.chain([request(6, 105, 5, Some(100))]),
        &expect![[r#"
            160 ms: r6 met, 5 tokens
            800 ms: r1 met, 80 tokens
            810 ms: r2 met, 80 tokens
            810 ms: r3 met, 80 tokens
            1.61 s: r4 met, 80 tokens
            1.61 s: r5 met, 80 tokens
        "#]],
    );
    // And memory: of 200 tokens, two of these would take 180.
    let small = Node { memory: Bytes(1_000 + 4 * 200), ..node() };
    let best_effort = (1..=2).map(|id| request(id, 0, 80, None));
    check_on(
        small,
        settings(Policy::Dftsp),
        best_effort.chain([request(3, 105, 5, Some(100))]),
        &expect![[r#"
            160 ms: r3 met, 5 tokens
            800 ms: r1 met, 80 tokens
            1.60 s: r2 met, 80 tokens
        "#]],
    );
}

#[test]
fn first_come_first_served_is_late_where_a_planner_rejects() {
    let busy = (1..=4).map(|id| request(id, 0, 20, Some(1_000)));
    check(
        settings(Policy::Fifo),
        busy.chain([request(5, 5, 2, Some(100))]),
        &expect![[r#"
        200 ms: r1 met, 20 tokens
        210 ms: r2 met, 20 tokens
        210 ms: r3 met, 20 tokens
        210 ms: r4 met, 20 tokens
        220 ms: r5 late, 2 tokens
    "#]],
    );
}

#[test]
fn a_quality_no_precision_has_and_a_prompt_that_is_too_long_are_refused() {
    let fine = Request { min_quality: Quality::new(0.9).unwrap(), ..request(1, 0, 1, None) };
    let too_good = Request { min_quality: Quality::new(0.95).unwrap(), ..request(2, 0, 1, None) };
    let too_long = request(3, 0, 91, None);
    check(
        settings(Policy::Dftsp),
        [fine, too_good, too_long],
        &expect![[r#"
        0 µs: r2 rejected: no loaded precision reaches a quality of 0.95; the best is 0.9
        0 µs: r3 rejected: prompt and output of 101 tokens do not fit the context of 100 tokens
        10 ms: r1 met, 1 tokens
    "#]],
    );
}

#[test]
fn a_full_queue_rejects() {
    let small = Settings { queue_capacity: 1, ..epochs(Policy::Dftsp) };
    check(
        small,
        [request(1, 10, 1, None), request(2, 20, 1, None)],
        &expect![[r#"
        20 ms: r2 rejected: the queue of 1 requests is full
        110 ms: r1 met, 1 tokens
    "#]],
    );
}

#[test]
fn without_batching_each_has_an_accelerator_to_itself() {
    // Two accelerators, each half as fast as the node: a step takes 20 ms, whether or not the other is busy.
    let none = settings(Policy::None { accelerators: 2 });
    check(
        none.clone(),
        [request(1, 0, 4, None)],
        &expect![[r#"
        70 ms: r1 met, 4 tokens
    "#]],
    );
    check(
        none,
        (1..=3).map(|id| request(id, 0, 4, None)),
        &expect![[r#"
        70 ms: r1 met, 4 tokens
        80 ms: r2 met, 4 tokens
        140 ms: r3 met, 4 tokens
    "#]],
    );
}

#[test]
fn a_static_batch_ends_before_the_next_begins() {
    let all = (1..=3).map(|id| request(id, 0, 2, None));
    check(
        settings(Policy::Static { size: 2 }),
        all,
        &expect![[r#"
        20 ms: r1 met, 2 tokens
        40 ms: r2 met, 2 tokens
        40 ms: r3 met, 2 tokens
    "#]],
    );
}

#[test]
fn a_cancelled_request_frees_its_place_in_queue_and_in_generation() {
    let mut driver = ScriptedDriver::new(node(), settings(Policy::Fifo));
    (1..=5).for_each(|id| driver.arrive(request(id, 0, 20, None)));
    driver.at(15, Event::Cancelled(RequestId(5)));
    for id in 1..=4 {
        driver.at(15 + id, Event::Cancelled(RequestId(id)));
    }
    driver.at(20, Event::Cancelled(RequestId(77)));
    expect![[r#"
        15 ms: r5 cancelled, 0 tokens
        16 ms: r1 cancelled, 1 tokens
        17 ms: r2 cancelled, 0 tokens
        18 ms: r3 cancelled, 0 tokens
        19 ms: r4 cancelled, 0 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn a_failed_step_fails_only_those_in_it() {
    let mut driver = ScriptedDriver::new(node(), settings(Policy::Dftsp));
    driver.engine.fail_steps(1);
    driver.arrive(request(1, 0, 2, None));
    driver.arrive(request(2, 5, 2, None));
    expect![[r#"
        10 ms: r1 failed, 0 tokens
        30 ms: r2 met, 2 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn a_request_that_cannot_be_opened_fails_alone() {
    let mut driver = ScriptedDriver::new(node(), settings(Policy::Dftsp));
    driver.engine.fail_to_open(RequestId(2));
    (1..=3).for_each(|id| driver.arrive(request(id, 0, 3, Some(1_000))));
    expect![[r#"
        10 ms: r2 failed, 0 tokens
        40 ms: r1 met, 3 tokens
        50 ms: r3 met, 3 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn a_request_whose_scores_are_no_numbers_fails_alone() {
    let mut driver = ScriptedDriver::new(node(), settings(Policy::Dftsp));
    driver.engine.spoil_scores(RequestId(2));
    (1..=3).for_each(|id| driver.arrive(request(id, 0, 3, Some(1_000))));
    expect![[r#"
        20 ms: r2 failed, 0 tokens
        40 ms: r1 met, 3 tokens
        50 ms: r3 met, 3 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn a_deadline_that_passes_in_generation_cuts_the_answer_off() {
    // The node predicts steps of 10 ms, but they take 25 ms.
    let mut driver = ScriptedDriver::new(node(), settings(Policy::Dftsp));
    driver.engine = ScriptedEngine::new(driver.engine.limits(), Span::from_millis(25));
    driver.arrive(request(1, 0, 5, Some(60)));
    expect![[r#"
        75 ms: r1 expired, 3 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn a_shutdown_finishes_what_can_end_in_time_and_rejects_the_rest() {
    let mut driver = ScriptedDriver::new(node(), settings(Policy::Dftsp));
    (1..=4).for_each(|id| driver.arrive(request(id, 0, if id == 1 { 3 } else { 50 }, None)));
    driver.arrive(request(5, 0, 1, None));
    driver.arrive(request(6, 0, 60, None));
    driver.at(15, Event::Drain { by: Instant::START + Span::from_millis(200) });
    driver.arrive(request(7, 20, 1, None));
    expect![[r#"
        15 ms: r4 rejected: the deadline cannot be met now: it would be done in 535 ms, but has 185 ms
        15 ms: r6 rejected: the deadline cannot be met now: it would be done in 655 ms, but has 185 ms
        20 ms: r7 rejected: the node is shutting down
        30 ms: r5 met, 1 tokens
        30 ms: r1 met, 3 tokens
        200 ms: r2 shut_down, 18 tokens
        200 ms: r3 shut_down, 18 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn prompts_travel_before_and_answers_after_the_computing() {
    let channel = Channel {
        bandwidth: Hertz::new(1e6),
        transmit_power: Watts::new(1.0),
        noise_density_w_per_hz: 1e-9,
        modem: Modem::IDEAL,
    };
    let radio = Radio {
        uplink: channel.clone(),
        downlink: channel,
        uplink_slot: Span::from_millis(25),
        downlink_slot: Span::from_millis(40),
    };
    let node = Node { radio: Some(radio), ..node() };
    // 2 Mbit/s on the whole band: 30 kbit need 60 % of the uplink, so two do not fit at once.
    let over_the_air = |id| Request {
        link: Some(Link::Radio {
            gain: 3e-3,
            downlink_gain: None,
            uplink: Bits::new(30_000.0),
            downlink: Bits::new(8_000.0),
        }),
        ..request(id, 0, 1, Some(500))
    };
    let dead = Request {
        link: Some(Link::Radio {
            gain: 0.0,
            downlink_gain: None,
            uplink: Bits::new(1.0),
            downlink: Bits::new(1.0),
        }),
        ..over_the_air(3)
    };
    check_on(
        node,
        settings(Policy::Dftsp),
        [over_the_air(1), over_the_air(2), dead],
        &expect![[r#"
        0 µs: r3 rejected: its payload does not fit the uplink slot even with the whole band
        75 ms: r1 met, 1 tokens
        150 ms: r2 met, 1 tokens
    "#]],
    );
}

/// Runs one request of 10 prompt tokens, at most 4 in a step, of which the cache is expected to hold `expected` and
/// holds `held`. Returns the number of steps, the cached tokens of its record, and the calibration factor afterwards.
fn run_remembered(expected: u32, held: u32) -> (u32, u32, f64) {
    let mut node = Node { prefill_chunk: Tokens(4), ..node() };
    // A token takes a step's time, so that the factor shows it when a chunk is counted as longer than it was.
    let CostModel::Measured(cost) = &mut node.cost else { panic!("not a measured cost model") };
    let line = |count: u32| Line { count, times_ns: vec![(0, STEP.0 * u64::from(count))] };
    cost.prefill = Surface::new(vec![line(1), line(10)]).unwrap();
    let request = Request { cached: Tokens(expected), ..request(1, 0, 1, None) };
    let mut driver = ScriptedDriver::new(node, settings(Policy::Dftsp));
    driver.engine.remember(request.id, Tokens(held));
    driver.arrive(request);
    let mut steps = 0;
    while let Some(((now, _), event)) = driver.event_queue.pop_first() {
        for order in driver.pipeline.on_event(now, event) {
            steps += u32::from(matches!(order, Order::Run(_)));
            if let Order::End(record) = &order {
                assert_eq!(record.outcome, Outcome::Met(EndReason::Length));
                return (steps, record.cached.0, driver.pipeline.calibration().factor());
            }
            driver.carry_out(now, order);
        }
    }
    panic!("it never ended");
}

#[test]
fn a_prompt_begins_where_the_cache_ends_whatever_was_expected() {
    let runs = [(6, 6), (6, 0), (6, 3), (0, 9), (0, 0)].map(|(expected, held)| {
        let (steps, cached, _) = run_remembered(expected, held);
        (steps, cached)
    });
    assert_eq!(runs, [(1, 6), (3, 0), (2, 3), (1, 9), (3, 0)]);
}

#[test]
fn a_chunk_cut_short_by_the_cache_does_not_make_the_engine_look_fast() {
    assert_eq!(run_remembered(0, 9).2, 1.0);
}

#[test]
fn a_request_cut_off_before_its_first_step_has_had_nothing_from_the_cache() {
    let mut pipeline = Pipeline::new(node(), settings(Policy::Dftsp));
    let at = Instant::START;
    let remembered = Request { cached: Tokens(9), ..request(1, 0, 4, None) };
    pipeline.on_event(at, Event::Arrived(remembered));
    let orders = pipeline.on_event(at, Event::Cancelled(RequestId(1)));
    let cached = orders.iter().find_map(|order| match order {
        Order::End(record) => Some(record.cached),
        Order::Start(_)
        | Order::Stop(_)
        | Order::Run(_)
        | Order::Load(_)
        | Order::Unload(_)
        | Order::Planned(_)
        | Order::WakeAt(_) => None,
    });
    assert_eq!(cached, Some(Tokens::ZERO));
}
