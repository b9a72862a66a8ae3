//! What a scenario file may say, and what it is told when it may not.

use expect_test::{Expect, expect};
use hedgerow_core::node::Node;
use hedgerow_core::scheduler::Policy;
use hedgerow_core::settings::{Padding, Protocol};
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bytes, Tokens};

use super::{Overrides, Scenario, ScenarioError};

const PAPER: &str = include_str!("../../../../scenarios/paper.toml");
const CONTINUOUS: &str = include_str!("../../../../scenarios/continuous.toml");

/// Replaces one passage of the paper's scenario.
fn edited(passage: &str, by: &str) -> String {
    assert_eq!(PAPER.matches(passage).count(), 1, "`{passage}` must stand once in paper.toml");
    PAPER.replace(passage, by)
}

fn told(error: &ScenarioError) -> String {
    format!("error: {error}\nhint: {}\n", error.hint())
}

fn check_refused(passage: &str, by: &str, expected: Expect) {
    let error = Scenario::parse(&edited(passage, by)).expect_err("this scenario must be refused");
    expected.assert_eq(&told(&error));
}

#[test]
fn the_papers_scenario_says_what_the_model_assumes() {
    let scenario = Scenario::parse(PAPER).unwrap();
    let Node { memory, precisions, radio, .. } = &scenario.node;
    assert_eq!(*memory, Bytes(32_000_000_000));
    let [precision] = precisions.as_slice() else { panic!("one precision is resident: {precisions:?}") };
    assert_eq!(precision.name, "W8A16");
    assert_eq!(precision.weights, Bytes(3_001_548_800));
    assert!((precision.quality.get() - 0.999_575).abs() < 1e-6);
    let radio = radio.as_ref().unwrap();
    assert_eq!(radio.uplink.bandwidth.get(), 20e6);
    assert!((radio.uplink.transmit_power.get() - 0.1).abs() < 1e-12, "20 dBm");
    assert!((radio.downlink.transmit_power.get() - 19.952_623).abs() < 1e-6, "43 dBm");
    assert!((radio.uplink.noise_density_w_per_hz / 3.981_072e-21 - 1.0).abs() < 1e-6, "−174 dBm/Hz");
    let expected = Protocol::Epoch { length: Span::from_millis(2000), compute_slot: Span::from_millis(1500) };
    assert_eq!(scenario.settings.protocol, expected);
    assert_eq!(scenario.settings.padding, Padding::BatchMax);
}

#[test]
fn both_scenarios_have_the_same_users() {
    let (paper, continuous) = (Scenario::parse(PAPER).unwrap(), Scenario::parse(CONTINUOUS).unwrap());
    assert_eq!((paper.users, paper.cell, paper.seed), (continuous.users, continuous.cell, continuous.seed));
    assert_eq!(continuous.settings.protocol, Protocol::Continuous);
}

#[test]
fn a_file_without_a_radio_has_wired_callers() {
    let radio = PAPER.find("[radio]").unwrap()..PAPER.find("[users]").unwrap();
    let mut text = PAPER.to_owned();
    text.replace_range(radio, "");
    let scenario = Scenario::parse(&text).unwrap();
    assert_eq!((scenario.node.radio, scenario.cell), (None, None));
}

#[test]
fn an_unknown_key_is_told_the_nearest_one() {
    check_refused(
        "rate_per_s = 10.0",
        "rate_per_sec = 10.0",
        expect![[r#"
            error: unknown key `rate_per_sec` on line 104
            hint: did you mean `rate_per_s`?
        "#]],
    );
}

#[test]
fn a_key_that_is_like_no_other_is_told_all() {
    check_refused(
        "fading = \"rayleigh\"",
        "zzz = 1",
        expect![[r#"
        error: unknown key `zzz` on line 100
        hint: choose one of uplink_bandwidth_mhz, downlink_bandwidth_mhz, user_power_dbm, node_power_dbm, noise_dbm_per_hz, uplink_slot_ms, downlink_slot_ms, bits_per_token, min_distance_m, cell_radius_m, fading
    "#]],
    );
}

#[test]
fn an_unknown_kind_is_told_the_nearest_one() {
    check_refused(
        "kind = \"epoch\"",
        "kind = \"epochs\"",
        expect![[r#"
            error: unknown value `epochs` on line 119
            hint: did you mean `epoch`? there are epoch, continuous
        "#]],
    );
}

#[test]
fn a_missing_key_is_named() {
    check_refused(
        "memory_gb = 32.0",
        "",
        expect![[r#"
            error: `node`, line 13: missing field `memory_gb`
            hint: `scenarios/paper.toml` has every key, with its unit and meaning
        "#]],
    );
}

#[test]
fn a_text_where_a_number_belongs_is_refused() {
    check_refused(
        "rate_per_s = 10.0",
        "rate_per_s = \"ten\"",
        expect![[r#"
            error: `users.rate_per_s`, line 104: invalid type: string "ten", expected f64
            hint: `scenarios/paper.toml` has every key, with its unit and meaning
        "#]],
    );
}

#[test]
fn a_negative_number_is_refused() {
    check_refused(
        "rate_per_s = 10.0",
        "rate_per_s = -10",
        expect![[r#"
        error: `users.rate_per_s` is -10, but must be a number above 0
        hint: set `users.rate_per_s` to a number above 0
    "#]],
    );
    check_refused(
        "max_parallel = 256",
        "max_parallel = -1",
        expect![[r#"
            error: `node.max_parallel`, line 26: invalid value: integer `-1`, expected u32
            hint: `scenarios/paper.toml` has every key, with its unit and meaning
        "#]],
    );
}

#[test]
fn what_is_not_a_number_is_refused() {
    check_refused(
        "memory_gb = 32.0",
        "memory_gb = nan",
        expect![[r#"
        error: `node.memory_gb` is NaN, but must be a number above 0
        hint: set `node.memory_gb` to a number above 0
    "#]],
    );
    check_refused(
        "user_power_dbm = 20.0",
        "user_power_dbm = inf",
        expect![[r#"
        error: `radio.user_power_dbm` is inf, but must be a finite number
        hint: set `radio.user_power_dbm` to a finite number
    "#]],
    );
}

#[test]
fn a_range_that_runs_backwards_is_refused() {
    check_refused(
        "deadline_s = [0.5, 2.0]",
        "deadline_s = [2.0, 0.5]",
        expect![[r#"
        error: `users.deadline_s` is [2, 0.5], but must be two numbers of at least 0, the smaller one first
        hint: set `users.deadline_s` to two numbers of at least 0, the smaller one first
    "#]],
    );
    check_refused(
        "min_quality = [0.0, 1.0]",
        "min_quality = [0.0, 1.5]",
        expect![[r#"
        error: `users.min_quality` is [0, 1.5], but must be two numbers from 0 to 1, the smaller one first
        hint: set `users.min_quality` to two numbers from 0 to 1, the smaller one first
    "#]],
    );
}

#[test]
fn an_unknown_model_is_told_the_nearest_one() {
    check_refused(
        "name = \"BLOOM-3B\"",
        "name = \"BLOOM-7B\"",
        expect![[r#"
            error: unknown model `BLOOM-7B` in `model.name`
            hint: did you mean `BLOOM-3B`? there are BLOOM-3B, BLOOM-7.1B, OPT-13B
        "#]],
    );
}

#[test]
fn an_unknown_precision_is_told_all() {
    check_refused(
        "resident = [\"W8A16\"]",
        "resident = [\"F32\"]",
        expect![[r#"
        error: unknown precision `F32` in `node.resident`
        hint: choose one of W16, W8A16, W4A16-GPTQ, W4A16-RTN
    "#]],
    );
}

#[test]
fn weights_that_do_not_fit_the_memory_are_refused() {
    check_refused(
        "memory_gb = 32.0",
        "memory_gb = 3.0",
        expect![[r#"
        error: the resident weights of 3001548800 bytes do not fit the memory of 3000000000 bytes
        hint: raise `node.memory_gb`, or name fewer or smaller precisions in `node.resident`
    "#]],
    );
}

#[test]
fn an_epoch_too_short_for_its_slots_is_refused() {
    check_refused(
        "epoch_ms = 2000.0",
        "epoch_ms = 500.0",
        expect![[r#"
            error: `protocol.epoch_ms` is 500, but must be more than both radio slots, and no less than they and `compute_slot_ms`
            hint: set `protocol.epoch_ms` to more than both radio slots, and no less than they and `compute_slot_ms`
        "#]],
    );
}

#[test]
fn padding_past_the_context_is_refused() {
    check_refused(
        "context_tokens = 2048",
        "context_tokens = 1000",
        expect![[r#"
        error: prompts padded to 512 tokens and outputs of 512 tokens do not fit `node.context_tokens` = 1000 tokens
        hint: set `node.context_tokens` to 1024 or more, or `planning.padding` to "none"
    "#]],
    );
}

#[test]
fn both_ways_to_end_at_once_are_refused() {
    check_refused(
        "requests = 1000",
        "requests = 1000\nduration_s = 60.0",
        expect![[r#"
        error: `requests` and `duration_s` are both given
        hint: remove `requests` or `duration_s`
    "#]],
    );
    check_refused(
        "requests = 1000",
        "",
        expect![[r#"
        error: `requests` is missing: a scenario ends after `requests` or `duration_s`
        hint: add `requests`
    "#]],
    );
}

#[test]
fn the_roofline_asks_for_the_memorys_speed() {
    check_refused(
        "model = \"flops\"",
        "model = \"roofline\"",
        expect![[r#"
        error: `node.accelerator_bandwidth_gb_per_s` is missing: the cost model `roofline` needs the memory's speed
        hint: add `node.accelerator_bandwidth_gb_per_s`
    "#]],
    );
}

#[test]
fn an_unknown_policy_is_told_all() {
    check_refused(
        "policy = \"dftsp\"",
        "policy = \"best\"",
        expect![[r#"
        error: unknown policy `best`; choose one of brute-force, dftsp, exact, greedy, edf, fifo, static[:size], none[:accelerators] (in `planning.policy` or `--policy`)
        hint: `static:8` sets a batch size, `none:20` a number of accelerators
    "#]],
    );
}

#[test]
fn overrides_change_what_they_name_and_nothing_else() {
    let scenario = Scenario::parse(PAPER).unwrap();
    assert_eq!(scenario.clone().with(&Overrides::default()).unwrap(), scenario);
    let with_policy = |policy: &str| {
        let overrides = Overrides { policy: Some(policy.into()), ..Overrides::default() };
        scenario.clone().with(&overrides).map(|scenario| scenario.settings.policy)
    };
    assert_eq!(with_policy("none"), Ok(Policy::None { accelerators: 20 }), "the node's own number");
    assert_eq!(with_policy("none:4"), Ok(Policy::None { accelerators: 4 }));
    assert_eq!(with_policy("static:16"), Ok(Policy::Static { size: 16 }));
    let negative = Overrides { rate_per_s: Some(-1.0), ..Overrides::default() };
    assert!(matches!(scenario.with(&negative), Err(ScenarioError::Value { .. })));
}

#[test]
fn fixed_padding_has_a_length() {
    let fixed = edited("padding = \"batch_max\"", "padding = \"fixed\"\npadding_tokens = 512");
    assert_eq!(Scenario::parse(&fixed).unwrap().settings.padding, Padding::Fixed(Tokens(512)));
    check_refused(
        "padding = \"batch_max\"",
        "padding = \"fixed\"",
        expect![[r#"
        error: `planning.padding_tokens` is missing: the padding `fixed` needs a length
        hint: add `planning.padding_tokens`
    "#]],
    );
}
