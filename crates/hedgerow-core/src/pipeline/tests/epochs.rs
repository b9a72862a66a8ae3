//! The `epoch` protocol: batches that start together, at the start of an epoch.

use super::*;

#[test]
fn an_epoch_serves_the_requests_that_arrived_before_it_together() {
    check(
        epochs(Policy::Dftsp),
        [request(1, 10, 3, None), request(2, 20, 1, None), request(3, 105, 1, None)],
        &expect![[r#"
        130 ms: r2 met, 1 tokens
        130 ms: r1 met, 3 tokens
        210 ms: r3 met, 1 tokens
    "#]],
    );
}

#[test]
fn a_request_that_can_never_fit_an_epoch_or_is_never_planned_is_rejected() {
    // 12 steps of 10 ms do not fit a slot of 100 ms; 6 do, but not on one of four accelerators.
    let requests = [request(1, 10, 12, None), request(2, 20, 6, Some(500))];
    check(
        epochs(Policy::Dftsp),
        requests.clone(),
        &expect![[r#"
            10 ms: r1 rejected: computing it takes 120 ms, more than the compute slot of 100 ms
            160 ms: r2 met, 6 tokens
        "#]],
    );
    check(
        epochs(Policy::None { accelerators: 4 }),
        requests,
        &expect![[r#"
            10 ms: r1 rejected: computing it takes 480 ms, more than the compute slot of 100 ms
            20 ms: r2 rejected: computing it takes 240 ms, more than the compute slot of 100 ms
        "#]],
    );
    // In continuous batching it is not planned: it is rejected once it has become infeasible.
    check(
        settings(Policy::None { accelerators: 4 }),
        [request(1, 0, 6, Some(100))],
        &expect![[r#"
            40 ms: r1 rejected: the deadline cannot be met now: its time ran out while it waited for a place
        "#]],
    );
}

#[test]
fn a_request_that_fits_no_epoch_with_margin_and_padding_is_rejected() {
    // 7 steps of 10 ms fit a slot of 100 ms, but not with a margin of a half; 6 do.
    let requests = [request(1, 10, 7, None), request(2, 20, 6, None)];
    check(
        Settings { margin: 0.5, ..epochs(Policy::Dftsp) },
        requests.clone(),
        &expect![[r#"
            10 ms: r1 rejected: computing it takes 105 ms, more than the compute slot of 100 ms
            160 ms: r2 met, 6 tokens
        "#]],
    );
    // Padded to 90 tokens, a prompt takes five steps where it would take one, and room for 97 tokens.
    let padded = Settings { padding: Padding::Fixed(Tokens(90)), ..epochs(Policy::Dftsp) };
    let node = Node { prefill_chunk: Tokens(20), ..node() };
    check_on(
        node.clone(),
        padded.clone(),
        requests.clone(),
        &expect![[r#"
        10 ms: r1 rejected: computing it takes 110 ms, more than the compute slot of 100 ms
        200 ms: r2 met, 6 tokens
    "#]],
    );
    let node = Node { memory: Bytes(1_000 + 4 * 96), ..node };
    check_on(
        node,
        padded,
        requests,
        &expect![[r#"
        10 ms: r1 rejected: its KV cache of 388 bytes is more than the node's 384 bytes
        200 ms: r2 met, 6 tokens
    "#]],
    );
}

#[test]
fn an_epochs_answers_leave_also_when_the_last_of_its_batch_is_cut_off() {
    let mut driver = ScriptedDriver::new(node(), epochs(Policy::Dftsp));
    driver.engine = ScriptedEngine::new(driver.engine.limits(), Span::from_millis(25));
    driver.arrive(request(1, 10, 1, None));
    driver.arrive(request(2, 20, 5, Some(145)));
    expect![[r#"
        175 ms: r2 expired, 3 tokens
        175 ms: r1 met, 1 tokens
    "#]]
    .assert_eq(&driver.run());
}

#[test]
fn an_epoch_reserves_no_capacity_for_expected_arrivals() {
    let mut driver = ScriptedDriver::new(node(), epochs(Policy::Dftsp));
    (0..350).for_each(|id| driver.arrive(request(id, 50, 8, Some(150))));
    driver.arrive(request(1_000, 410, 10, Some(250)));
    let log = driver.run();
    assert!(log.ends_with("600 ms: r1000 met, 10 tokens\n"), "{log}");
}
