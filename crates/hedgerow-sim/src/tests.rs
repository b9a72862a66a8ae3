//! Tests of whole simulations: what must hold for every seed, policy and protocol.
//!
//! In test builds the simulation checks its invariants after each event, so a run that completes is a test by
//! itself.

use hedgerow_core::engine::cost::ChunkLoad;
use hedgerow_core::engine::{Engine as _, conformance};
use hedgerow_core::engine::{GenerationTask, PrefillChunk, Sampling, Step, StepLoad, TokenId};
use hedgerow_core::output::{Outcome, Rejection};
use hedgerow_core::quantization::PrecisionIndex;
use hedgerow_core::request::{Length, Link, Request, RequestId};
use hedgerow_core::scheduler::time_alone;
use hedgerow_core::settings::{Padding, Protocol};
use hedgerow_core::time::Span;
use hedgerow_core::units::{Quality, Tokens};
use hedgerow_solver::Limit;
use proptest::prelude::*;

use crate::scenario::Range;
use crate::{
    Arrival, Extent, Fading, Overrides, Report, Run, Scenario, SimulatedEngine, Simulation, table,
    write_files,
};

const PAPER: &str = include_str!("../../../scenarios/paper.toml");
const CONTINUOUS: &str = include_str!("../../../scenarios/continuous.toml");
const POLICIES: [&str; 7] = ["brute-force", "dftsp", "greedy", "edf", "fifo", "static", "none"];

fn scenario(text: &str, policy: &str, seed: u64, requests: u64) -> Scenario {
    let overrides = Overrides {
        policy: Some(policy.into()),
        seed: Some(seed),
        requests: Some(requests),
        ..Overrides::default()
    };
    Scenario::parse(text).unwrap().with(&overrides).unwrap()
}

fn play(scenario: &Scenario) -> Run {
    Simulation::new(scenario).run(|_| {})
}

#[test]
fn the_simulated_engine_passes_the_conformance_suite() {
    for text in [PAPER, CONTINUOUS] {
        let mut node = Scenario::parse(text).unwrap().node;
        node.max_parallel = 4;
        conformance::check(&mut SimulatedEngine::new(&node), &|length| vec![TokenId(0); length as usize]);
    }
}

#[test]
fn every_policy_keeps_every_invariant_under_both_protocols_for_20_seeds() {
    for text in [PAPER, CONTINUOUS] {
        for policy in POLICIES {
            for seed in 0..20 {
                let run = play(&scenario(text, policy, seed, 40));
                assert_eq!(run.records.len(), 40, "{policy}, seed {seed}");
            }
        }
    }
}

#[test]
fn early_ends_and_cancellations_break_no_invariant() {
    for text in [PAPER, CONTINUOUS] {
        for policy in POLICIES {
            let mut scenario = scenario(text, policy, 3, 100);
            scenario.users.answer_part = Range { least: 0.0, most: 1.0 };
            scenario.users.patience_s = Some(Range { least: 0.1, most: 3.0 });
            let run = play(&scenario);
            let cancelled = run.records.iter().filter(|record| record.outcome == Outcome::Cancelled).count();
            assert!(cancelled > 0, "{policy}: the test must cover cancellations");
        }
    }
}

#[test]
fn several_precisions_a_margin_and_paddings_break_no_invariant() {
    for text in [PAPER, CONTINUOUS] {
        let text = text
            .replace("resident = [\"W8A16\"]", "resident = [\"W4A16-GPTQ\", \"W16\", \"W8A16\"]")
            .replace("margin = 0.0", "margin = 0.2")
            .replace("memory_gb = 32.0", "memory_gb = 12.0");
        for policy in POLICIES {
            for padding in [Padding::None, Padding::BatchMax, Padding::Fixed(Tokens(512))] {
                let mut scenario = scenario(&text, policy, 5, 60);
                scenario.settings.padding = padding;
                assert_eq!(play(&scenario).records.len(), 60);
            }
        }
    }
}

#[test]
fn wired_best_effort_requests_are_all_served() {
    for text in [PAPER, CONTINUOUS] {
        for policy in POLICIES {
            // A single accelerator is too slow for some requests to fit any epoch.
            if (text, policy) == (PAPER, "none") {
                continue;
            }
            let mut scenario = scenario(text, policy, 1, 30);
            (scenario.cell, scenario.node.radio) = (None, None);
            scenario.users.deadline_s = None;
            scenario.users.min_quality = Range { least: 0.0, most: 0.0 };
            let met = play(&scenario).records.iter().filter(|record| record.is_met()).count();
            assert_eq!(met, 30, "{policy}");
        }
    }
}

#[test]
fn best_effort_requests_are_served_or_rejected_with_any_margin() {
    let wired = |policy: &str| {
        let mut scenario = scenario(PAPER, policy, 1, 30);
        (scenario.cell, scenario.node.radio) = (None, None);
        scenario.users.deadline_s = None;
        scenario
    };
    for policy in POLICIES {
        let (mut careful, mut padded, mut slow) = (wired(policy), wired(policy), wired(policy));
        careful.settings.margin = 0.5;
        padded.settings.padding = Padding::Fixed(Tokens(1500));
        slow.knowledge.engine_factor = 3.0;
        for scenario in [careful, padded, slow] {
            let run = play(&scenario);
            let served = run.records.iter().filter(|record| record.is_met()).count();
            let rejected = run.records.iter().filter(|record| matches!(record.outcome, Outcome::Rejected(_)));
            assert_eq!(served + rejected.count(), 30, "{policy}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for text in [PAPER, CONTINUOUS] {
        let scenario = scenario(text, "dftsp", 11, 100);
        let (first, second) = (play(&scenario), play(&scenario));
        assert_eq!(first, second);
        let bytes = [files_of(&scenario, &first, "first"), files_of(&scenario, &second, "second")];
        assert_eq!(bytes[0], bytes[1]);
        assert!(bytes[0].iter().all(|file| !file.is_empty()));
    }
}

/// Writes a run's files and reads them back.
fn files_of(scenario: &Scenario, run: &Run, name: &str) -> Vec<String> {
    let folder =
        std::env::temp_dir().join(format!("hedgerow-sim-{}-{}-{name}", std::process::id(), scenario.name));
    let paths = write_files(&folder, scenario, run, &Report::of(scenario, run)).unwrap();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let entries = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(entries, paths.len(), "no half-written file remains");
    std::fs::remove_dir_all(&folder).unwrap();
    texts
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let scenario = scenario(PAPER, "edf", 1, 5);
    let run = play(&scenario);
    let file = std::env::temp_dir().join(format!("hedgerow-sim-{}-file", std::process::id()));
    std::fs::write(&file, "in the way").unwrap();
    let error = write_files(&file, &scenario, &run, &Report::of(&scenario, &run)).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert!(error.to_string().contains("hedgerow-sim"), "{error}");
}

#[test]
fn another_policy_sees_the_same_arrivals() {
    let requests = |policy| {
        let mut records = play(&scenario(CONTINUOUS, policy, 4, 80)).records;
        records.sort_by_key(|record| record.request.id);
        records.into_iter().map(|record| record.request).collect::<Vec<_>>()
    };
    let first = requests("dftsp");
    for policy in ["greedy", "edf", "fifo", "static", "none"] {
        assert_eq!(requests(policy), first, "{policy}");
    }
}

#[test]
fn another_rate_changes_arrival_times_but_not_requests() {
    let asked = |rate_per_s| {
        let overrides = Overrides { rate_per_s: Some(rate_per_s), ..Overrides::default() };
        let scenario = Scenario::parse(PAPER).unwrap().with(&overrides).unwrap();
        let strip = |arrival: Arrival| Request {
            arrived: hedgerow_core::time::Instant::START,
            deadline: None,
            ..arrival.request
        };
        scenario.arrivals().map(strip).collect::<Vec<_>>()
    };
    assert_eq!(asked(1.0), asked(50.0));
}

#[test]
fn arrivals_have_the_rate_and_the_distributions_of_the_scenario() {
    let scenario = scenario(PAPER, "edf", 2, 20_000);
    let arrivals: Vec<Arrival> = scenario.arrivals().collect();
    let span_s = arrivals.last().unwrap().request.arrived.as_seconds();
    assert!((20_000.0 / span_s / 10.0 - 1.0).abs() < 0.03, "{span_s} s for 20,000 arrivals at 10/s");
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.request.arrived));
    for Arrival { request, notified, answer, cancels_at, .. } in &arrivals {
        assert_eq!(*notified, request.arrived);
        assert!(scenario.users.prompts.contains(&request.prompt_len));
        assert_eq!((*answer, *cancels_at), (request.max_output, None));
        let latency_s = request.deadline.unwrap().since(request.arrived).as_seconds();
        assert!((0.5..=2.000_000_001).contains(&latency_s), "{latency_s}");
    }
    let mean_quality =
        arrivals.iter().map(|arrival| arrival.request.min_quality.get()).sum::<f64>() / 20_000.0;
    assert!((mean_quality - 0.5).abs() < 0.01, "{mean_quality}");
}

#[test]
fn a_duration_ends_the_arrivals_and_not_the_service() {
    let mut scenario = scenario(CONTINUOUS, "greedy", 2, 0);
    scenario.extent = Extent::Duration(Span::from_seconds(5.0));
    let run = play(&scenario);
    assert!((25..80).contains(&run.records.len()), "{} in 5 s at 10/s", run.records.len());
    assert!(run.records.iter().all(|record| record.request.arrived.as_seconds() <= 5.0));
    assert!(run.records.iter().any(|record| record.ended.as_seconds() > 5.0));
}

#[test]
fn a_run_without_requests_has_a_report() {
    let scenario = scenario(PAPER, "dftsp", 1, 0);
    let report = Report::of(&scenario, &play(&scenario));
    assert_eq!((report.offered, report.attainment, report.met_per_epoch), (0, 0.0, None));
}

#[test]
fn a_dead_channel_is_refused() {
    let mut scenario = scenario(PAPER, "dftsp", 1, 10);
    let cell = scenario.cell.as_mut().unwrap();
    (cell.min_distance_m, cell.radius_m, cell.fading) = (1e6, 1e6, Fading::None);
    scenario.users.min_quality = Range { least: 0.0, most: 0.0 };
    let refusal = Outcome::Rejected(Rejection::BandExceeded { limit: Limit::Uplink });
    assert!(play(&scenario).records.iter().all(|record| record.outcome == refusal));
}

#[test]
fn a_floor_above_the_resident_precision_is_refused() {
    let scenario = scenario(PAPER, "greedy", 1, 300);
    let best = scenario.node.precisions[0].quality;
    let text = PAPER.replace("resident = [\"W8A16\"]", "resident = [\"W4A16-RTN\"]");
    let coarse =
        Scenario::parse(&text).unwrap().with(&Overrides { requests: Some(300), ..Overrides::default() });
    let coarse = coarse.unwrap();
    let coarse_best = coarse.node.precisions[0].quality;
    for (scenario, best) in [(scenario, best), (coarse, coarse_best)] {
        let refused = |quality: Quality| quality > best;
        for record in play(&scenario).records {
            let is_refused = matches!(record.outcome, Outcome::Rejected(Rejection::QualityInfeasible { .. }));
            assert_eq!(is_refused, refused(record.request.min_quality), "{record:#?}");
        }
    }
}

#[test]
fn deadline_aware_policies_serve_all_admitted_requests_in_time() {
    for policy in ["brute-force", "dftsp", "greedy", "edf"] {
        for seed in 0..5 {
            let scenario = scenario(PAPER, policy, seed, 100);
            let report = Report::of(&scenario, &play(&scenario));
            assert_eq!(report.met, report.admitted, "{policy}, seed {seed}");
        }
    }
}

#[test]
fn dftsp_serves_no_fewer_than_greedy_in_any_epoch_and_as_many_as_brute_force() {
    // Few requests per epoch, so that brute force can enumerate all batches.
    let overrides = |policy: &str, seed| Overrides {
        policy: Some(policy.into()),
        seed: Some(seed),
        requests: Some(100),
        rate_per_s: Some(5.0),
    };
    for seed in 0..5 {
        let plans = |policy| {
            let scenario = Scenario::parse(PAPER).unwrap().with(&overrides(policy, seed)).unwrap();
            play(&scenario).plans
        };
        let (dftsp, greedy, brute) = (plans("dftsp"), plans("greedy"), plans("brute-force"));
        // In epochs the waiting requests hardly depend on earlier plans: a request that was left out is too late for
        // the next epoch, or competes again under both policies. Plans with equal queue lengths are compared.
        let mut compared = 0;
        for plan in &dftsp {
            let same = |other: &&hedgerow_core::scheduler::PlanReport| {
                other.at == plan.at && other.waiting == plan.waiting
            };
            if let Some(brute) = brute.iter().find(same) {
                assert_eq!(plan.value, brute.value, "seed {seed} at {:?}", plan.at);
                compared += 1;
            }
            if let Some(greedy) = greedy.iter().find(same) {
                assert!(plan.value >= greedy.value, "seed {seed} at {:?}", plan.at);
            }
        }
        assert!(compared > 5, "seed {seed}: only {compared} epochs could be compared");
    }
}

/// Plays best-effort requests with these prompts and 128 output tokens each, all arriving at time 0.
fn plays_of_prompts(scenario: &Scenario, prompts: &[u32]) -> Run {
    let arrival = |(id, &prompt): (u64, &u32)| {
        let request =
            Request::new(RequestId(id), hedgerow_core::time::Instant::START, Tokens(prompt), Tokens(128));
        Arrival::of(request, Tokens(128))
    };
    let arrivals = (0..).zip(prompts).map(arrival).collect::<Vec<_>>().into_iter();
    Simulation::replay(&scenario.node, &scenario.settings, arrivals).run(|_| {})
}

#[test]
fn a_waiting_long_prompt_does_not_pad_the_served_ones() {
    let mut scenario = scenario(PAPER, "exact", 1, 0);
    scenario.node.radio = None;
    let short = Request::new(RequestId(0), hedgerow_core::time::Instant::START, Tokens(128), Tokens(128));
    let alone = time_alone(&short, &scenario.node, PrecisionIndex(0));
    let length = Span::from_seconds(10.0);
    // Time for three short requests, but not for two padded to 300.
    scenario.settings.protocol = Protocol::Epoch { length, compute_slot: alone.scaled(3.1) };
    let run = plays_of_prompts(&scenario, &[300, 128, 128, 128]);
    let first = &run.plans[0];
    assert_eq!((first.waiting, first.accepted, first.value, first.bound), (4, 3, 3, 3));
    assert_eq!(run.records.iter().filter(|record| record.is_met()).count(), 4, "the long one comes later");
}

/// The paper's scenario with a roofline node, which reads its weights once per batch.
fn shared_decodes() -> String {
    PAPER
        .replace("model = \"flops\"", "model = \"roofline\"")
        .replace("# accelerator_bandwidth_gb_per_s = 59.7", "accelerator_bandwidth_gb_per_s = 597.0")
}

#[test]
fn an_epochs_batch_fits_its_slot_with_shared_decode_steps() {
    for policy in ["dftsp", "exact", "greedy", "edf"] {
        for seed in 0..3 {
            let mut scenario = scenario(&shared_decodes(), policy, seed, 200);
            scenario.users.deadline_s = Some(Range { least: 4.0, most: 8.0 });
            let report = Report::of(&scenario, &play(&scenario));
            assert!(report.admitted > 20, "the test must see some: {}", report.admitted);
            assert_eq!(report.met, report.admitted, "{policy}, seed {seed}");
        }
    }
}

#[test]
fn without_batching_no_requests_share_a_decode() {
    let mut scenario = scenario(&shared_decodes(), "none", 1, 400);
    scenario.users.deadline_s = Some(Range { least: 2.0, most: 8.0 });
    let run = play(&scenario);
    let served: Vec<_> = run.records.iter().filter(|record| record.started.is_some()).collect();
    assert!(served.len() > 20, "the test must see some: {}", served.len());
    for record in served {
        let node = &scenario.node;
        let on_the_air = node.uplink_slot() + node.downlink_slot();
        let alone = time_alone(&record.request, node, PrecisionIndex(0)).saturating_sub(on_the_air) * 20;
        let left = record.request.slack(record.started.unwrap()).unwrap();
        assert!(alone + on_the_air <= left, "{}: {alone} of {left}", record.request.id);
        assert!(record.is_met());
    }
}

#[test]
fn without_batching_each_request_runs_on_its_own_accelerator_under_continuous() {
    let mut scenario = scenario(CONTINUOUS, "none", 1, 400);
    scenario.users.deadline_s = Some(Range { least: 10.0, most: 60.0 });
    let node = &scenario.node;
    let on_the_air = node.uplink_slot() + node.downlink_slot();
    let run = play(&scenario);
    let served: Vec<_> = run.records.iter().filter(|record| record.started.is_some()).collect();
    assert!(served.len() > 20, "the test must see some: {}", served.len());
    for record in served {
        assert!(record.is_met(), "{:?}", record.outcome);
        let alone = time_alone(&record.request, node, PrecisionIndex(0)).saturating_sub(on_the_air);
        let took = record.last_token.unwrap().since(record.started.unwrap() + node.uplink_slot());
        let accelerators = took.as_seconds() / alone.as_seconds();
        assert!((19.0..20.5).contains(&accelerators), "{}: {accelerators}", record.request.id);
    }
}

#[test]
fn given_arrivals_are_replayed_unchanged() {
    let scenario = scenario(CONTINUOUS, "greedy", 6, 50);
    let recorded: Vec<Arrival> = scenario.arrivals().collect();
    let replayed = Simulation::replay(&scenario.node, &scenario.settings, recorded.into_iter()).run(|_| {});
    assert_eq!(replayed, play(&scenario));
}

#[test]
fn a_table_has_one_column_for_each_policy() {
    let reports: Vec<Report> = ["dftsp", "static:4"]
        .map(|policy| {
            let scenario = scenario(PAPER, policy, 1, 50);
            Report::of(&scenario, &play(&scenario))
        })
        .into();
    let text = table(&reports);
    let first = text.lines().next().unwrap();
    assert_eq!(first.split_whitespace().collect::<Vec<_>>(), ["policy", "dftsp", "static:4"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_step_takes_what_the_cost_model_says(
        prompts in prop::collection::vec(1_u32..400, 1..6),
        part in 1_u32..100,
        is_roofline: bool,
    ) {
        let node = Scenario::parse(if is_roofline { CONTINUOUS } else { PAPER }).unwrap().node;
        let mut engine = SimulatedEngine::new(&node);
        let mut sink = |_: hedgerow_core::engine::Emission<'_>| {};
        let expected = |load: &StepLoad| node.cost.step(&node.model, &node.precisions[0], load);
        let (mut decode, mut decode_kv) = (Vec::new(), 0);
        for (id, &prompt) in prompts.iter().enumerate() {
            let request = RequestId(id as u64);
            let work = GenerationTask {
                prompt_tokens: vec![TokenId(0); prompt as usize],
                max_output: Tokens(9),
                sampling: Sampling::GREEDY,
                stop: Vec::new(),
                ignore_eos: false,
                cache_prompt: false,
            };
            engine.open(request, work).unwrap();
            let first = part.min(prompt);
            // Requests with a finished prompt decode in the same step as the chunk.
            for (start, tokens) in [(0, first), (first, prompt - first)] {
                if tokens == 0 {
                    continue;
                }
                let chunk = ChunkLoad { tokens: Tokens(tokens), start: Tokens(start), prompt: Tokens(prompt) };
                let prefill = vec![PrefillChunk { request, tokens: Tokens(tokens) }];
                let is_decoding = start == 0;
                let step = Step {
                    prefill,
                    decode: if is_decoding { decode.clone() } else { Vec::new() },
                    ..Step::default()
                };
                let load = StepLoad {
                    prefill: vec![chunk],
                    decode_count: step.decode.len() as u32,
                    decode_kv: if is_decoding { decode_kv } else { 0 },
                    ..StepLoad::default()
                };
                let report = engine.step(&step, &mut sink).unwrap();
                prop_assert_eq!(report.elapsed, expected(&load));
                decode_kv += step.decode.len() as u64;
            }
            decode.push(request);
            decode_kv += u64::from(prompt);
        }
    }
}

#[test]
fn a_new_admission_delays_no_admitted_request() {
    let mut scenario = scenario(CONTINUOUS, "greedy", 0, 0);
    (scenario.cell, scenario.node.radio) = (None, None);
    let arrival = |id, at_ms, prompt, output, latency_ms| {
        let arrived = hedgerow_core::time::Instant::START + Span::from_millis(at_ms);
        let request = Request {
            deadline: Some(arrived + Span::from_millis(latency_ms)),
            ..Request::new(RequestId(id), arrived, Tokens(prompt), Tokens(output))
        };
        Arrival::of(request, Tokens(output))
    };
    // The second prompt is long enough to delay the first answer's decodes past their deadline.
    let arrivals = vec![arrival(0, 0, 128, 256, 750), arrival(1, 100, 512, 128, 480)];
    let run = Simulation::replay(&scenario.node, &scenario.settings, arrivals.into_iter()).run(|_| {});
    let outcomes: Vec<_> =
        run.records.iter().map(|record| (record.request.id.0, record.outcome.name())).collect();
    assert_eq!(outcomes, [(1, "rejected"), (0, "met")]);
}

fn with_knowledge(text: &str, knowledge: &str) -> Run {
    let text = format!("{text}\n[knowledge]\n{knowledge}\n").replace("[1.0, 1.0]", "[0.1, 1.0]");
    let overrides = Overrides { requests: Some(400), ..Overrides::default() };
    play(&Scenario::parse(&text).unwrap().with(&overrides).unwrap())
}

fn met(run: &Run) -> usize {
    run.records.iter().filter(|record| record.is_met()).count()
}

#[test]
fn exact_lengths_serve_more_than_limits() {
    for text in [PAPER, CONTINUOUS] {
        let limits = with_knowledge(text, "output_length = \"limit\"");
        let oracle = with_knowledge(text, "output_length = \"oracle\"");
        assert!(met(&oracle) > met(&limits), "{} against {}", met(&oracle), met(&limits));
        // The answers have the same lengths.
        let whole = |run: &Run| {
            let whole = run.records.iter().filter(|record| record.is_met());
            whole
                .map(|record| (record.request.id, record.produced))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let (limits, oracle) = (whole(&limits), whole(&oracle));
        assert!(limits.iter().all(|(id, produced)| oracle.get(id).is_none_or(|known| known == produced)));
    }
}

#[test]
fn hints_have_the_configured_factor_and_error() {
    let text = CONTINUOUS.replace("[1.0, 1.0]", "[0.1, 0.3]");
    let knowledge = "[knowledge]\noutput_length = \"hint\"\nhint_factor = 1.5\nhint_sigma = 0.2\n";
    let scenario = Scenario::parse(&format!("{text}\n{knowledge}")).unwrap();
    let error = |arrival: Arrival| {
        let Length::Hinted(hint) = arrival.request.length else { panic!("no hint: {arrival:?}") };
        (f64::from(hint.0) / f64::from(arrival.answer.0)).ln()
    };
    let errors: Vec<f64> = scenario.arrivals().map(error).collect();
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let sigma = (errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / count).sqrt();
    assert!((mean - 1.5_f64.ln()).abs() < 0.03 && (sigma - 0.2).abs() < 0.02, "{mean} ± {sigma}");
}

#[test]
fn an_engine_slower_than_its_cost_model_makes_admitted_requests_late() {
    let exact = with_knowledge(CONTINUOUS, "engine_factor = 1.0");
    let slow = with_knowledge(CONTINUOUS, "engine_factor = 1.5");
    assert!(met(&slow) < met(&exact), "{} against {}", met(&slow), met(&exact));
}

#[test]
fn classes_have_their_weights_and_their_own_values() {
    let classes = "[[class]]\nname = \"short\"\nweight = 3\nprompt_tokens = { least = 10, most = 20 }\nvalue = 5\n\
                   [[class]]\nname = \"long\"\nweight = 1\ndeadline_s = [9.0, 9.0]\npayload_bytes = [1e6, 1e6]\n";
    let overrides = Overrides { requests: Some(8_000), ..Overrides::default() };
    let scenario = Scenario::parse(&format!("{PAPER}\n{classes}")).unwrap().with(&overrides).unwrap();
    let arrivals: Vec<Arrival> = scenario.arrivals().collect();
    let (short, long): (Vec<_>, Vec<_>) = arrivals.iter().partition(|arrival| arrival.class == 0);
    assert!((5_840..6_160).contains(&short.len()), "{} of 8,000", short.len());
    for Arrival { request, .. } in short {
        assert!((10..=20).contains(&request.prompt_len.0) && request.value == 5);
        assert!(
            request.slack(request.arrived).unwrap().as_seconds() <= 2.000_000_001,
            "the default of [users]"
        );
    }
    for Arrival { request, .. } in long {
        assert!(scenario.users.prompts.contains(&request.prompt_len) && request.value == 1);
        assert_eq!(request.slack(request.arrived), Some(Span::from_millis(9_000)));
        let Some(Link::Radio { uplink, .. }) = request.link else { panic!() };
        assert_eq!(uplink.get(), f64::from(request.prompt_len.0) * 32.0 + 8e6);
    }
}

#[test]
fn a_city_keeps_every_invariant_under_every_policy() {
    let city = include_str!("../../../scenarios/city.toml");
    for policy in POLICIES {
        for seed in 0..3 {
            let run = play(&scenario(city, policy, seed, 60));
            assert_eq!(run.records.len(), 60, "{policy}, seed {seed}");
        }
    }
}
