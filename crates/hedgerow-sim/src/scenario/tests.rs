//! Tests of scenario files: accepted input and error messages.

use expect_test::{Expect, expect};
use hedgerow_core::node::Node;
use hedgerow_core::settings::{Padding, Protocol};
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bytes, Tokens};
use hedgerow_solver::Policy;

use super::{Overrides, Scenario, ScenarioError};

pub(super) const PAPER: &str = include_str!("../../../../scenarios/paper.toml");
pub(super) const CONTINUOUS: &str = include_str!("../../../../scenarios/continuous.toml");
const CITY: &str = include_str!("../../../../scenarios/city.toml");

/// All shipped scenarios.
pub(super) const ALL: [&str; 3] = [PAPER, CONTINUOUS, CITY];

/// Replaces one passage of the paper's scenario.
fn edited(passage: &str, by: &str) -> String {
    assert_eq!(PAPER.matches(passage).count(), 1, "`{passage}` must occur once in paper.toml");
    PAPER.replace(passage, by)
}

fn shown(error: &ScenarioError) -> String {
    format!("error: {error}\nhint: {}\n", error.hint())
}

fn check_refused(passage: &str, by: &str, expected: Expect) {
    let error = Scenario::parse(&edited(passage, by)).expect_err("this scenario must be refused");
    expected.assert_eq(&shown(&error));
}

#[test]
fn the_papers_scenario_has_the_values_of_the_model() {
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
fn a_file_without_a_radio_has_wired_users() {
    let radio = PAPER.find("[radio]").unwrap()..PAPER.find("[users]").unwrap();
    let mut text = PAPER.to_owned();
    text.replace_range(radio, "");
    let scenario = Scenario::parse(&text).unwrap();
    assert_eq!((scenario.node.radio, scenario.cell), (None, None));
}

#[test]
fn an_unknown_key_gets_the_most_similar_one() {
    check_refused(
        "rate_per_s = 10.0",
        "rate_per_sec = 10.0",
        expect![[r#"
            error: unknown key `rate_per_sec` on line 151
            hint: did you mean `rate_per_s`?
        "#]],
    );
}

#[test]
fn a_key_without_a_similar_one_gets_the_list() {
    check_refused(
        "fading = \"rayleigh\"",
        "zzz = 1",
        expect![[r#"
            error: unknown key `zzz` on line 108
            hint: choose one of uplink_bandwidth_mhz, downlink_bandwidth_mhz, user_power_dbm, node_power_dbm, noise_dbm_per_hz, uplink_slot_ms, downlink_slot_ms, bits_per_token, min_distance_m, cell_radius_m, fading, fading_step_ms, rician_k_db, rician_k_sigma_db, path_loss, carrier_ghz, node_height_m, user_height_m, line_of_sight, shadowing_db, shadowing_distance_m, walkers, speed_km_h, coding, snr_gap_db, payload_part, uplink_power_over, node_noise_figure_db, user_noise_figure_db
        "#]],
    );
}

#[test]
fn an_unknown_kind_gets_the_most_similar_one() {
    check_refused(
        "kind = \"epoch\"",
        "kind = \"epochs\"",
        expect![[r#"
            error: unknown value `epochs` on line 223
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
            error: `node.memory_gb` is missing: a node without a `device` must give its memory
            hint: add `node.memory_gb`
        "#]],
    );
}

#[test]
fn a_text_where_a_number_belongs_is_refused() {
    check_refused(
        "rate_per_s = 10.0",
        "rate_per_s = \"ten\"",
        expect![[r#"
            error: `users.rate_per_s`, line 151: invalid type: string "ten", expected f64
            hint: `hedgerow scenario new` writes a file with every key, its unit and its meaning
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
            error: `node.max_parallel`, line 30: invalid value: integer `-1`, expected u32
            hint: `hedgerow scenario new` writes a file with every key, its unit and its meaning
        "#]],
    );
}

#[test]
fn nan_and_infinity_are_refused() {
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
        error: `radio.user_power_dbm` is inf, but must be a number from -400 to 400
        hint: set `radio.user_power_dbm` to a number from -400 to 400
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
fn an_unknown_model_gets_the_most_similar_one() {
    check_refused(
        "name = \"BLOOM-3B\"",
        "name = \"BLOOM-7B\"",
        expect![[r#"
            error: unknown model `BLOOM-7B` in `model.name`
            hint: did you mean `BLOOM-3B`?
        "#]],
    );
}

#[test]
fn an_unknown_precision_gets_the_list() {
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
        error: the resident weights of 3001548800 bytes (by each precision's `alpha`) do not fit the memory of 3000000000 bytes (`node.memory_gb`)
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
            error: `protocol.epoch_ms` is 500, but must be more than `radio.uplink_slot_ms` and `radio.downlink_slot_ms` together, and no less than they and `protocol.compute_slot_ms`
            hint: set `protocol.epoch_ms` to more than `radio.uplink_slot_ms` and `radio.downlink_slot_ms` together, and no less than they and `protocol.compute_slot_ms`
        "#]],
    );
}

#[test]
fn padding_past_the_context_is_refused() {
    check_refused(
        "context_tokens = 2048",
        "context_tokens = 1000",
        expect![[r#"
        error: prompts padded to 512 tokens (the longest of `prompt_tokens`, or `planning.padding_tokens`) and outputs of 512 tokens (the longest of `output_tokens`) do not fit `node.context_tokens` = 1000 tokens
        hint: set `node.context_tokens` to 1024 or more, or `planning.padding` to "none"
    "#]],
    );
}

#[test]
fn two_extents_or_none_are_refused() {
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
fn the_roofline_needs_the_memory_bandwidth() {
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
fn an_unknown_policy_gets_the_list() {
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
fn overrides_change_only_what_they_name() {
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

#[test]
fn a_device_gives_the_speed_and_memory_of_each_accelerator() {
    let scenario = Scenario::parse(CITY).unwrap();
    assert_eq!(scenario.node.memory, Bytes(64_000_000_000));
    let four = CITY.replace("accelerators = 1 ", "accelerators = 4 ");
    assert_eq!(Scenario::parse(&four).unwrap().node.memory, Bytes(256_000_000_000));
    let own = CITY.replace("# memory_gb = 64.0", "memory_gb = 32.0");
    assert_eq!(Scenario::parse(&own).unwrap().node.memory, Bytes(32_000_000_000), "own value has priority");
    check_refused(
        "memory_gb = 32.0",
        "device = \"Jetson Orin\"",
        expect![[r#"
            error: unknown device `Jetson Orin` in `node.device`
            hint: did you mean `Jetson Orin Nano 8GB`?
        "#]],
    );
    // The table has no arithmetic speed for this device.
    check_refused(
        "accelerator_tflops = 1.33",
        "device = \"Jetson AGX Thor 128GB\"",
        expect![[r#"
            error: `node.accelerator_tflops` is missing: the cost model needs the speed of the arithmetic, and no `device` gives it
            hint: add `node.accelerator_tflops`
        "#]],
    );
}

#[test]
fn a_key_without_effect_is_refused() {
    let refused = |text: &str| Scenario::parse(&format!("{PAPER}\n{text}")).unwrap_err();
    expect![[r#"
        error: `arrivals.cv` has no effect: only the process `gamma` uses it
        hint: remove `arrivals.cv`
    "#]]
    .assert_eq(&shown(&refused("[arrivals]\nprocess = \"poisson\"\ncv = 2.0")));
    expect![[r#"
        error: `knowledge.hint_sigma` has no effect: only `knowledge.output_length` = "hint" uses it
        hint: remove `knowledge.hint_sigma`
    "#]]
    .assert_eq(&shown(&refused("[knowledge]\nhint_sigma = 0.5")));
    check_refused(
        "fading = \"rayleigh\"",
        "fading = \"rayleigh\"\nrician_k_db = 3.0",
        expect![[r#"
        error: `radio.rician_k_db` has no effect: only the fadings `rician` and `jakes` have a direct path
        hint: remove `radio.rician_k_db`
    "#]],
    );
}

#[test]
fn keys_that_a_choice_needs_are_required() {
    let refused = |text: &str| shown(&Scenario::parse(&format!("{PAPER}\n{text}")).unwrap_err());
    expect![[r#"
        error: `arrivals.cv` is missing: the process in `arrivals.process` needs it
        hint: add `arrivals.cv`
    "#]]
    .assert_eq(&refused("[arrivals]\nprocess = \"gamma\""));
    expect![[r#"
        error: `arrivals.trace` is missing: the process `trace` plays a file
        hint: add `arrivals.trace`
    "#]]
    .assert_eq(&refused("[arrivals]\nprocess = \"trace\""));
    expect![[r#"
        error: cannot use the trace no-such.csv: No such file or directory (os error 2) (in `arrivals.trace`)
        hint: give a CSV with TIMESTAMP,ContextTokens,GeneratedTokens (Azure) or arrival_timestamp,prompt_size,token_size (Splitwise), or JSON lines with timestamp, input_length and output_length (Mooncake)
    "#]].assert_eq(&refused("[arrivals]\nprocess = \"trace\"\ntrace = \"no-such.csv\""));
    expect![[r#"
        error: `class.a.weight` is 0, but must be a number above 0
        hint: set `class.a.weight` to a number above 0
    "#]]
    .assert_eq(&refused("[[class]]\nname = \"a\"\nweight = 0.0"));
    check_refused(
        "fading = \"rayleigh\"",
        "fading = \"jakes\"",
        expect![[r#"
        error: `radio.carrier_ghz` is missing: how fast a channel changes depends on the carrier
        hint: add `radio.carrier_ghz`
    "#]],
    );
    check_refused(
        "fading = \"rayleigh\"",
        "fading = \"none\"\npath_loss = \"umi\"",
        expect![[r#"
        error: `radio.carrier_ghz` is missing: the path losses of 3GPP depend on the carrier
        hint: add `radio.carrier_ghz`
    "#]],
    );
    check_refused(
        "prompt_tokens = [128, 256, 512]",
        "prompt_tokens = { median = 300 }",
        expect![[r#"
            error: `users.prompt_tokens`, line 153: expected a list of lengths, `{ least = 24, most = 48 }` or `{ median = 300, sigma = 0.8, most = 4096 }`
            hint: `hedgerow scenario new` writes a file with every key, its unit and its meaning
        "#]],
    );
    check_refused(
        "model = \"flops\"",
        "model = \"measured\"",
        expect![[r#"
        error: `cost.profile` is missing: the cost model `measured` reads what `hedgerow profile` saved
        hint: add `cost.profile`
    "#]],
    );
}

#[test]
fn a_profile_gives_the_step_times_and_is_found_from_the_scenarios_folder() {
    let folder = std::env::temp_dir().join(format!("hedgerow-scenario-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let line = r#"[{"count": 1, "times_ns": [[0, 7000000]]}]"#;
    let profile = |format: &str| {
        let cost = format!(r#"{{"prefill": {line}, "decode": {line}, "mixed_ns": 5}}"#);
        format!(r#"{{"format": "{format}", "machine": {{}}, "cost": {cost}}}"#)
    };
    std::fs::write(folder.join("mine.json"), profile("hedgerow-profile/1")).unwrap();
    std::fs::write(folder.join("old.json"), profile("hedgerow-profile/0")).unwrap();
    let text = |name: &str| {
        edited("model = \"flops\"", &format!("model = \"measured\"\nprofile = \"{name}\""))
            .replace("accelerator_tflops", "# accelerator_tflops")
    };
    std::fs::write(folder.join("mine.toml"), text("mine.json")).unwrap();
    let scenario = Scenario::load(&folder.join("mine.toml")).unwrap();
    let hedgerow_core::engine::CostModel::Measured(cost) = &scenario.node.cost else { panic!("measured") };
    assert_eq!(cost.decode.at(1, 0), Span::from_millis(7));
    let why = |name| Scenario::parse_in(&text(name), &folder).unwrap_err().to_string();
    assert!(why("old.json").ends_with("its format is `hedgerow-profile/0`, not `hedgerow-profile/1`"));
    assert!(
        why("none.json").ends_with("cannot be used: No such file or directory (os error 2)"),
        "{}",
        why("none.json")
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_trace_cannot_be_thinned_to_a_higher_rate() {
    let folder = std::env::temp_dir().join(format!("hedgerow-traced-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let rows: String = (0..100).map(|second| format!("{second}.0,100,{}\n", 50 + second)).collect();
    std::fs::write(folder.join("t.csv"), format!("arrival_timestamp,prompt_size,token_size\n{rows}"))
        .unwrap();
    let with = |rate_by: &str| {
        let text =
            format!("{PAPER}\n[arrivals]\nprocess = \"trace\"\ntrace = \"t.csv\"\nrate_by = \"{rate_by}\"");
        Scenario::parse_in(&text, &folder)
    };
    expect![[r#"
        error: the trace has 1.00 requests a second, fewer than `users.rate_per_s` = 10
        hint: lower `users.rate_per_s`, or set `arrivals.rate_by` to "stretching"
    "#]]
    .assert_eq(&shown(&with("thinning").unwrap_err()));
    let stretched = with("stretching").unwrap();
    let arrivals: Vec<_> = stretched.arrivals().collect();
    assert_eq!((arrivals.len(), arrivals[99].answer), (100, Tokens(149)));
    assert_eq!(arrivals[99].request.arrived.as_seconds(), 9.9);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_scenario_is_shown_with_its_defaults_and_derived_values() {
    let sections = Scenario::parse(CITY).unwrap().sections();
    let shown = |name: &str, key: &str| {
        let section = sections.iter().find(|section| section.name == name).unwrap();
        section.values.iter().find(|(known, _)| *known == key).unwrap().1.to_string()
    };
    assert_eq!(shown("node", "memory_gb"), "64.0");
    assert_eq!(shown("cost", "node_tflops"), "10.65");
    assert_eq!(shown("radio", "snr_gap_db"), "7.43");
    assert_eq!(shown("radio", "shadowing_db"), "[4.0,7.82]");
    assert_eq!(shown("radio", "uplink_noise_dbm_per_hz"), "-169.0");
    assert_eq!(shown("radio.at_the_edge", "line_of_sight_probability"), "0.093518");
    assert_eq!(shown("class.voice", "rate_per_s"), "0.4");
    assert_eq!(shown("class.picture", "prompt_tokens"), shown("users", "prompt_tokens"));
}
