//! Tests of a node with several precisions.

use super::*;
use crate::quantization::PrecisionIndex;

/// A node with F16 beside the usual Q4_0: as fast, with better quality.
fn two(residency: [Residency; 2]) -> Node {
    let mut node = node();
    let coarse = node.precisions[0].clone();
    let fine = Precision { name: "F16".into(), quality: Quality::FULL, ..coarse.clone() };
    node.precisions = vec![coarse, fine];
    for (precision, residency) in node.precisions.iter_mut().zip(residency) {
        precision.residency = residency;
    }
    node.memory = Bytes(2_000 + 8 * 100 * 4);
    node
}

/// A node with room for the weights of one precision at a time.
fn one_at_a_time() -> Node {
    let on_demand = |at_start| Residency::OnDemand { load: LOAD, at_start };
    Node { weights_limit: Some(Bytes(1_000)), ..two([on_demand(true), on_demand(false)]) }
}

fn fine(request: Request) -> Request {
    Request { min_quality: Quality::FULL, ..request }
}

fn driver(node: Node) -> ScriptedDriver {
    ScriptedDriver::new(node, settings(Policy::Exact))
}

#[test]
fn requests_of_different_precisions_run_side_by_side() {
    let mut driver = driver(two([Residency::Always; 2]));
    let mut coarse = request(1, 0, 5, Some(100));
    coarse.precision = Some(PrecisionIndex(0));
    driver.arrive(coarse);
    driver.arrive(fine(request(2, 0, 5, Some(101))));
    expect![[r#"
        50 ms: r1 met, 5 tokens
        100 ms: r2 met, 5 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn runs_at_a_better_precision_than_asked_where_sharing_steps_saves_time() {
    let mut driver = driver(two([Residency::Always; 2]));
    driver.arrive(fine(request(1, 0, 10, Some(120))));
    // At Q4_0 it would need steps of its own, and both requests would take 190 ms in all.
    driver.arrive(request(2, 5, 9, Some(120)));
    let mut only_q4_0 = request(3, 5, 9, Some(120));
    only_q4_0.precision = Some(PrecisionIndex(0));
    driver.arrive(only_q4_0);
    expect![[r#"
        5 ms: r3 rejected: the deadline cannot be met now: it would be done in 195 ms, but has 120 ms
        100 ms: r1 met, 10 tokens
        100 ms: r2 met, 9 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn loads_what_is_needed_in_the_place_of_what_is_not() {
    let mut driver = driver(one_at_a_time());
    driver.arrive(request(1, 0, 2, Some(100)));
    driver.arrive(fine(request(2, 50, 2, Some(100))));
    // F16 is in memory now, and good enough.
    driver.arrive(request(3, 150, 2, Some(100)));
    expect![[r#"
        20 ms: r1 met, 2 tokens
        50 ms: unloads Q4_0
        50 ms: loads F16
        100 ms: r2 met, 2 tokens
        170 ms: r3 met, 2 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn a_running_request_keeps_its_precision_in_memory() {
    let mut driver = driver(one_at_a_time());
    driver.arrive(request(1, 0, 9, Some(100)));
    driver.arrive(fine(request(2, 10, 2, Some(300))));
    // Without a deadline it may wait until Q4_0 is idle.
    driver.arrive(fine(request(3, 20, 2, None)));
    expect![[r#"
        10 ms: r2 rejected: the deadline cannot be met now: the precision that it needs is not in memory, and cannot be loaded in time or beside those in use
        90 ms: r1 met, 9 tokens
        90 ms: unloads Q4_0
        90 ms: loads F16
        140 ms: r3 met, 2 tokens
    "#]].assert_eq(&driver.run());
}

#[test]
fn a_load_that_would_come_too_late_is_not_begun() {
    let mut driver = driver(one_at_a_time());
    // Alone on an idle node it would take 30 ms to load and 20 ms to run.
    driver.arrive(fine(request(1, 0, 2, Some(49))));
    driver.arrive(fine(request(2, 100, 2, Some(50))));
    expect![[r#"
        0 µs: r1 rejected: deadline of 49 ms is shorter than the fastest possible run, 50 ms
        100 ms: unloads Q4_0
        100 ms: loads F16
        150 ms: r2 met, 2 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn a_load_makes_no_admitted_request_late() {
    let mut node = one_at_a_time();
    node.weights_limit = None;
    let mut driver = driver(node);
    // It is done at 90 ms, exactly at its deadline.
    driver.arrive(request(1, 0, 9, Some(90)));
    driver.arrive(fine(request(2, 15, 2, Some(400))));
    driver.arrive(fine(request(3, 25, 2, Some(60))));
    expect![[r#"
        25 ms: r3 rejected: the deadline cannot be met now: the precision that it needs is not in memory, and cannot be loaded in time or beside those in use
        90 ms: r1 met, 9 tokens
        90 ms: loads F16
        140 ms: r2 met, 2 tokens
    "#]].assert_eq(&driver.run());
}

#[test]
fn a_precision_that_cannot_be_loaded_is_not_tried_again_and_requests_that_need_it_are_rejected() {
    let mut driver = driver(one_at_a_time());
    driver.loads_succeed = false;
    driver.arrive(fine(request(1, 0, 2, None)));
    driver.arrive(fine(request(2, 5, 2, Some(500))));
    driver.arrive(fine(request(3, 100, 2, None)));
    driver.arrive(request(4, 200, 2, Some(100)));
    expect![[r#"
        0 µs: unloads Q4_0
        0 µs: loads F16
        30 ms: r1 rejected: no loaded precision reaches a quality of 1; the best is 0.9
        30 ms: r2 rejected: no loaded precision reaches a quality of 1; the best is 0.9
        100 ms: r3 rejected: no loaded precision reaches a quality of 1; the best is 0.9
        200 ms: loads Q4_0
        230 ms: r4 rejected: no precision that it may run at could be loaded
    "#]]
    .assert_eq(&driver.run());
}
