//! Property tests: what must hold in every random scenario.
//!
//! In test builds the simulation checks its invariants after each event, so a run that completes is a test by
//! itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hedgerow_core::output::Summary;
use hedgerow_core::settings::Protocol;
use hedgerow_core::units::Tokens;
use hedgerow_solver::Policy;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use crate::scenario::Range;
use crate::{Extent, Output, Outputs, Report, Run, Scenario, Simulation, write_files};

const TEXTS: [&str; 2] =
    [include_str!("../../../scenarios/paper.toml"), include_str!("../../../scenarios/continuous.toml")];
const POLICIES: [Policy; 7] = [
    Policy::Dftsp,
    Policy::Exact,
    Policy::Greedy,
    Policy::Edf,
    Policy::Fifo,
    Policy::Static { size: 4 },
    Policy::None { accelerators: 20 },
];

fn range(least: f64, most: f64) -> impl Strategy<Value = Range> {
    (least..most, 0.0..most - least)
        .prop_map(move |(from, width)| Range { least: from, most: (from + width).min(most) })
}

prop_compose! {
    fn scenarios()(
        text in prop::sample::select(&TEXTS[..]),
        policy in prop::sample::select(&POLICIES[..]),
        seed: u64,
        requests in 0_u64..60,
        rate_per_s in 0.5..80.0_f64,
        deadline_s in option::of(range(0.5, 12.0)),
        patience_s in option::of(range(0.0, 4.0)),
        answer_part in range(0.0, 1.0),
        max_parallel in 1_u32..40,
        chunk in 16_u32..1024,
        (margin, share, confidence) in (0.0..0.3_f64, prop::sample::select(&[0.0, 0.3][..]), 0.5..=1.0_f64),
        queue_capacity in 1_usize..200,
    ) -> Scenario {
        let mut scenario = Scenario::parse(text).unwrap();
        (scenario.seed, scenario.extent) = (seed, Extent::Requests(requests));
        // A best-effort request that fits no epoch, because of a margin or padding that admission did not consider,
        // would wait for ever.
        let is_epoch = scenario.settings.protocol != Protocol::Continuous;
        let users = &mut scenario.users;
        (users.rate_per_s, users.answer_part) = (rate_per_s, answer_part);
        users.deadline_s = deadline_s.or(is_epoch.then_some(Range { least: 0.5, most: 12.0 }));
        users.patience_s = patience_s;
        (scenario.node.max_parallel, scenario.node.prefill_chunk) = (max_parallel, Tokens(chunk));
        let settings = &mut scenario.settings;
        (settings.policy, settings.queue_capacity, settings.node_limit) = (policy, queue_capacity, 1_000);
        (settings.margin, settings.best_effort_share, settings.confidence) = (margin, share, confidence);
        scenario
    }
}

fn play(scenario: &Scenario) -> Run {
    Simulation::new(scenario).run(|_| {})
}

fn requests(scenario: &Scenario) -> u64 {
    scenario.expected_requests()
}

/// The path of a test's own folder.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hedgerow-sim-{}-{name}", std::process::id()))
}

/// Reads the files of a folder and removes it.
fn taken(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    std::fs::remove_dir_all(folder).unwrap();
    files
}

/// Plays a scenario with streamed output; returns the report and the files with their names, the trace among them.
fn streamed(scenario: &Scenario, name: &str) -> (Report, Vec<(String, String)>) {
    let folder = folder(name);
    let outputs = Outputs { folder: Some(folder.clone()), trace: Some(folder.join("trace.json")) };
    let mut output = Output::new(scenario, &outputs).unwrap();
    Simulation::new(scenario).run_into(&mut output, |_| {}).unwrap();
    let (report, _, paths) = output.finish(scenario).unwrap();
    let files = taken(&folder);
    assert_eq!(files.len(), paths.len(), "no half-written file remains");
    (report, files)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_request_ends_once_and_nothing_is_lost(scenario in scenarios()) {
        let run = play(&scenario);
        let ids: BTreeSet<_> = run.records.iter().map(|record| record.request.id).collect();
        prop_assert_eq!(ids.len() as u64, requests(&scenario));
        prop_assert_eq!(run.records.len(), ids.len());
        let summary = Summary::of(&run.records);
        let Summary { offered, met, late, turned_away, other, .. } = summary;
        prop_assert_eq!(met + late + turned_away + other, offered);
        prop_assert!(run.plans.is_sorted_by_key(|plan| plan.at));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn runs_on_several_threads_equal_a_run_on_one(scenario in scenarios()) {
        let alone = play(&scenario);
        let together = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| play(&scenario))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        prop_assert!(together.iter().all(|run| *run == alone));
    }

    #[test]
    fn streamed_output_has_the_same_bytes(scenario in scenarios()) {
        let run = play(&scenario);
        let report = Report::of(&scenario, &run);
        let whole = folder("whole");
        write_files(&whole, &scenario, &run, &report).unwrap();
        let (streamed_report, mut files) = streamed(&scenario, "streamed");
        files.retain(|(name, _)| name != "trace.json");
        prop_assert_eq!(streamed_report, report);
        prop_assert_eq!(files, taken(&whole));
    }

    #[test]
    fn bars_of_a_trace_lie_beside_or_within_each_other(scenario in scenarios()) {
        let (_, files) = streamed(&scenario, "trace");
        let (_, text) = files.iter().find(|(name, _)| name == "trace.json").unwrap();
        let trace: Value = serde_json::from_str(text).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let number = |event: &Value, key: &str| event[key].as_f64().unwrap();
        let named = |event: &&Value| event["pid"] == 1 && event["name"].as_str().unwrap().starts_with('r');
        let requests_drawn = events.iter().filter(|event| event["ph"] != "M").filter(named).count();
        prop_assert_eq!(requests_drawn as u64, requests(&scenario));
        // Whole nanoseconds, so that comparisons are exact.
        let ns = |us: f64| (us * 1e3).round() as u64;
        let mut bars: Vec<_> = events
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| {
                let (from, length) = (ns(number(event, "ts")), ns(number(event, "dur")));
                ((event["pid"].as_u64(), event["tid"].as_u64()), from, std::cmp::Reverse(from + length))
            })
            .collect();
        bars.sort();
        let mut open: Vec<u64> = Vec::new();
        let mut lane = None;
        for (of, from, std::cmp::Reverse(until)) in bars {
            if lane != Some(of) {
                (lane, open) = (Some(of), Vec::new());
            }
            open.retain(|&end| end > from);
            prop_assert!(open.iter().all(|&end| until <= end), "a bar of lane {:?} at {} sticks out", of, from);
            open.push(until);
        }
    }
}
