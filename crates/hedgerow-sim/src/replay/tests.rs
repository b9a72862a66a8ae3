//! Tests of recordings: writing, reading, exact replay and damaged files.

use hedgerow_core::Event;
use hedgerow_core::engine::cost::{Line as CostLine, MeasuredCost, Surface};
use hedgerow_core::engine::{CostModel, EndReason, EngineError, Progress, StepReport};
use hedgerow_core::output::{Outcome, Record, Rejection};
use hedgerow_core::request::{Length, Link, Request, RequestId};
use hedgerow_core::scheduler::AdmissionFailure;
use hedgerow_core::scheduler::calibration::Factors;
use hedgerow_core::settings::Padding;
use hedgerow_core::settings::Settings;
use hedgerow_core::time::Instant;
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bits, Bytes, Quality, Tokens};
use hedgerow_solver::{Limit, Policy};
use hedgerow_workload::{Header, Line, Recording, What};

use super::*;
use crate::scenario::Range;
use crate::{EngineSlowdown, Overrides, Run, Scenario, Simulation};

const PAPER: &str = include_str!("../../../../scenarios/paper.toml");
const CONTINUOUS: &str = include_str!("../../../../scenarios/continuous.toml");

/// A scenario with rejections, early ends and cancellations.
fn scenario(text: &str, policy: &str, requests: u64) -> Scenario {
    let overrides =
        Overrides { policy: Some(policy.into()), requests: Some(requests), ..Overrides::default() };
    let mut scenario = Scenario::parse(text).unwrap().with(&overrides).unwrap();
    scenario.users.answer_part = Range { least: 0.1, most: 1.0 };
    scenario.users.patience_s = Some(Range { least: 0.1, most: 3.0 });
    scenario
}

/// Plays a scenario and records it as the server does.
fn record(scenario: &Scenario) -> (Run, Header, Vec<Line>) {
    let (run, lines) = Simulation::new(scenario).run_recorded();
    let header = Header {
        version: "0.0.0".into(),
        started_unix_ms: 1_700_000_000_123,
        model: scenario.name.clone(),
        node: scenario.node.clone(),
        settings: scenario.settings.clone(),
    };
    (run, header, lines)
}

fn text_of(header: &Header, lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    header.write(&mut text).unwrap();
    lines.iter().for_each(|line| line.write(&mut text).unwrap());
    text
}

fn recording_of(scenario: &Scenario) -> (Run, Recording) {
    let (run, header, lines) = record(scenario);
    (run, Recording::read(text_of(&header, &lines).as_slice()).unwrap())
}

fn request() -> Request {
    Request {
        deadline: Some(Instant(u64::MAX - 1)),
        length: Length::Hinted(Tokens(3)),
        ttft: Some(Span(5)),
        tpot: Some(Span(6)),
        min_quality: Quality::new(0.1 + 0.2).unwrap(),
        value: 2,
        link: Some(Link::Radio {
            gain: 1.234_567_890_123_456_7e-13,
            downlink_gain: Some(0.1),
            uplink: Bits::new(0.1),
            downlink: Bits::new(1e300),
        }),
        ..Request::new(RequestId(7), Instant(3), Tokens(12), Tokens(4))
    }
}

#[test]
fn every_kind_of_line_is_read_as_it_was_written() {
    let progress = |end| Progress {
        request: RequestId(7),
        prefilled: Tokens(3),
        cached: Some(Tokens(2)),
        produced: true,
        end,
    };
    let report = StepReport {
        progress: vec![progress(None), progress(Some(EndReason::Stop)), progress(Some(EndReason::Length))],
        elapsed: Span(12_345_678_901),
        kv_used: Tokens(99),
    };
    let not_ready = EngineError::NotReady { request: RequestId(7), what: "decode".into() };
    let backend = EngineError::Backend { what: "running the step".into(), code: -3 };
    let events = [
        Event::Arrived(request()),
        Event::Cancelled(RequestId(7)),
        Event::OpenFailed { request: RequestId(7), error: not_ready },
        Event::StepDone(report),
        Event::StepFailed(EngineError::Empty),
        Event::Woke,
        Event::Drain { by: Instant(5) },
    ];
    let outcomes = [
        Outcome::Met(EndReason::Stop),
        Outcome::Late(EndReason::Length),
        Outcome::Expired,
        Outcome::Rejected(Rejection::BandExceeded { limit: Limit::Uplink }),
        Outcome::Rejected(Rejection::DeadlineUnreachable {
            why: AdmissionFailure::TooLate { done_in: Span(5), left: Span(4) },
            retry_after: Span(9),
        }),
        Outcome::Rejected(Rejection::QualityInfeasible { floor: Quality::FULL, best: Quality::NONE }),
        Outcome::Rejected(Rejection::MemoryExceeded { needed: Bytes(u64::MAX), available: Bytes(1) }),
        Outcome::Rejected(Rejection::ShuttingDown),
        Outcome::Cancelled,
        Outcome::Failed(backend),
        Outcome::ShutDown,
    ];
    let ends = outcomes.map(|outcome| {
        let record = Record { produced: Tokens(4), ..Record::unserved(request(), outcome, Instant(8)) };
        What::End(Box::new(record))
    });
    for what in events.map(What::Event).into_iter().chain(ends) {
        let line = Line { at: Instant(u64::MAX), what };
        let mut text = Vec::new();
        line.write(&mut text).unwrap();
        assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let read: Line = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, line, "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn a_header_is_read_as_it_was_written_with_any_cost_model_and_policy() {
    let surface = |count, times_ns: &[(u32, u64)]| {
        Surface::new(vec![CostLine { count, times_ns: times_ns.to_vec() }]).unwrap()
    };
    let measured = CostModel::Measured(MeasuredCost {
        prefill: surface(16, &[(0, 7), (64, 9)]),
        decode: surface(1, &[(0, 5)]),
        mixed_ns: 3,
    });
    for (text, policy) in [(PAPER, "static:3"), (CONTINUOUS, "none:20"), (CONTINUOUS, "dftsp")] {
        let (_, mut header, _) = record(&scenario(text, policy, 0));
        header.settings.padding = Padding::Fixed(Tokens(5));
        for cost in [header.node.cost.clone(), measured.clone()] {
            header.node.cost = cost;
            let read = Recording::read(text_of(&header, &[]).as_slice()).unwrap();
            assert_eq!((read.header, read.line_count), (header.clone(), 1));
        }
    }
}

#[test]
fn invalid_values_are_not_read() {
    assert!(serde_json::from_str::<Quality>("1.5").is_err());
    assert!(serde_json::from_str::<Bits>("-1.0").is_err());
    for lines in ["[]", r#"[{"count":0,"times_ns":[[0,5]]}]"#, r#"[{"count":1,"times_ns":[]}]"#] {
        assert!(serde_json::from_str::<Surface>(lines).is_err(), "{lines}");
    }
}

#[test]
fn the_recorded_events_give_the_recorded_records_under_every_policy_and_protocol() {
    for text in [PAPER, CONTINUOUS] {
        for policy in ["brute-force", "dftsp", "exact", "greedy", "edf", "fifo", "static", "none"] {
            let (run, recording) = recording_of(&scenario(text, policy, 60));
            assert_eq!(recording.damage, None);
            assert!(recording.records().eq(&run.records), "{policy}: what was written is what is read");
            let identical = exactly(&recording).unwrap();
            assert_eq!(identical, Identical { events: run.events as usize, records: 60 }, "{policy}");
        }
    }
}

#[test]
fn a_different_decision_is_reported_at_the_first_event_that_shows_it() {
    let (_, mut recording) = recording_of(&scenario(CONTINUOUS, "greedy", 60));
    recording.header.settings.policy = Policy::Fifo;
    let difference = exactly(&recording).unwrap_err();
    assert!(matches!(difference.what, Differs::Step { .. } | Differs::End { .. }));

    let (_, mut recording) = recording_of(&scenario(CONTINUOUS, "greedy", 60));
    let last = recording.events.iter_mut().rev().find(|event| !event.ended.is_empty()).unwrap();
    last.ended[0].ended.0 += 1;
    let (line, wrong) = (last.line, last.ended[0].clone());
    let difference = exactly(&recording).unwrap_err();
    assert_eq!(difference.line, line);
    let Differs::End { recorded: Some(recorded), replayed: Some(replayed) } = difference.what else {
        panic!("both ended it: {difference:?}");
    };
    assert_eq!((*recorded).clone(), wrong);
    assert_eq!(replayed.ended.0 + 1, wrong.ended.0);
}

#[test]
fn replaying_the_arrivals_as_profiled_repeats_the_simulation() {
    for text in [PAPER, CONTINUOUS] {
        let mut scenario = scenario(text, "dftsp", 80);
        // The answer length of a request that was cancelled unserved is not recorded.
        scenario.users.patience_s = None;
        let (run, recording) = recording_of(&scenario);
        let replayed = simulate(&recording, &scenario.settings, &as_profiled());
        let strip = |records: &[Record]| -> Vec<_> {
            let times = |record: &Record| (record.request.id, record.outcome.clone(), record.ended);
            records.iter().map(times).collect()
        };
        assert_eq!(strip(&replayed.records), strip(&run.records));
        let comparison = Comparison::of(&recording, &scenario.settings, &as_profiled());
        assert_eq!(comparison.recorded, comparison.simulated);
        assert_eq!((comparison.same_outcome, comparison.e2e_error_p50_s), (80, Some(0.0)));
    }
}

#[test]
fn cancellations_recur_at_the_same_times() {
    let (run, recording) = recording_of(&scenario(CONTINUOUS, "fifo", 80));
    let gone = |records: &[Record]| -> std::collections::BTreeSet<_> {
        let is_gone = |record: &&Record| record.outcome == Outcome::Cancelled;
        records.iter().filter(is_gone).map(|record| (record.request.id, record.ended)).collect()
    };
    let recorded = gone(&run.records);
    assert!(recorded.len() > 5, "the test must cover cancellations");
    let replayed = gone(&simulate(&recording, &recording.header.settings, &as_profiled()).records);
    // Others may take longer than recorded, because the answer length of a rejected request is unknown.
    assert!(recorded.is_subset(&replayed), "{recorded:?}\n{replayed:?}");
}

fn as_profiled() -> EngineSlowdown {
    EngineSlowdown::steady(Factors::ONE)
}

#[test]
fn the_fit_is_the_slowdown_of_prompts_and_of_decodes() {
    let scenario = scenario(CONTINUOUS, "dftsp", 60);
    for slowdown in [Factors::ONE, Factors::both(1.7), Factors { prompts: 1.1, decodes: 1.6 }] {
        let arrivals = scenario.arrivals();
        let simulation = Simulation::replay(&scenario.node, &scenario.settings, arrivals)
            .slowed_by(EngineSlowdown::steady(slowdown));
        let (run, lines) = simulation.run_recorded();
        let (_, header, _) = record(&scenario);
        let recording = Recording::read(text_of(&header, &lines).as_slice()).unwrap();
        let times = step_times(&recording);
        assert_eq!(times.steps, run.steps);
        let Factors { prompts, decodes } = times.fit.factors();
        let is_near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(
            is_near(prompts, slowdown.prompts) && is_near(decodes, slowdown.decodes),
            "{prompts} {decodes}"
        );
        assert!((slowdown.prompts - 1e-6..slowdown.decodes + 1e-6).contains(&times.fit.slowdown()));
    }
}

#[test]
fn a_replay_has_the_residual_slowdown_of_each_second() {
    let scenario = scenario(CONTINUOUS, "fifo", 80);
    let (_, header, _) = record(&scenario);
    let recording_at = |slowdown: EngineSlowdown| {
        let arrivals = scenario.arrivals();
        let simulation = Simulation::replay(&scenario.node, &scenario.settings, arrivals).slowed_by(slowdown);
        Recording::read(text_of(&header, &simulation.run_recorded().1).as_slice()).unwrap()
    };
    let residuals = (0..1_000).map(|second| (second, if second % 3 == 0 { 2.0 } else { 0.8 })).collect();
    let found = slowdown(&recording_at(EngineSlowdown { factors: Factors::both(1.3), residuals }));
    let found_again = slowdown(&recording_at(found.clone()));
    for EngineSlowdown { factors, residuals } in [found, found_again] {
        let (least, most) = residuals
            .values()
            .fold((9.0, 0.0), |(least, most): (f64, f64), &factor| (least.min(factor), most.max(factor)));
        assert!(most > 1.6 * least, "{least} to {most} times {factors}");
    }
}

#[test]
fn a_replay_skips_the_cached_prefix_of_a_prompt() {
    let scenario = scenario(CONTINUOUS, "fifo", 60);
    let claims = |mut arrival: crate::Arrival| {
        arrival.request.cached = Tokens(arrival.request.prompt_len.0 / 2);
        arrival
    };
    let arrivals = scenario.arrivals().map(claims);
    let (run, lines) = Simulation::replay(&scenario.node, &scenario.settings, arrivals).run_recorded();
    let answered: Vec<&Record> = run.records.iter().filter(|record| record.first_token.is_some()).collect();
    assert!(answered.iter().all(|record| record.cached.0 == record.request.prompt_len.0 / 2), "{answered:?}");
    let prompts = |what: &What| match what {
        What::Event(Event::StepDone(report)) => report.progress.iter().map(|one| one.prefilled.0).sum(),
        What::Event(_) | What::End(_) => 0,
    };
    let computed: u32 = lines.iter().map(|line| prompts(&line.what)).sum();
    let asked: u32 = run.records.iter().map(|record| record.request.prompt_len.0).sum();
    assert!(answered.len() > 20 && computed <= asked / 2 + 60, "{computed} of {asked}");
}

#[test]
fn a_shutdown_is_replayed_too() {
    let mut scenario = scenario(CONTINUOUS, "dftsp", 60);
    scenario.users.patience_s = None;
    let mut simulation = Simulation::new(&scenario);
    let (at, by) = (Instant(2_000_000_000), Instant(2_400_000_000));
    simulation.expect(at, Event::Drain { by });
    let (run, lines) = simulation.run_recorded();
    let (_, header, _) = record(&scenario);
    let recording = Recording::read(text_of(&header, &lines).as_slice()).unwrap();
    exactly(&recording).unwrap();
    let refused = |records: &[Record]| {
        let is_refused = |record: &&Record| record.outcome == Outcome::Rejected(Rejection::ShuttingDown);
        records.iter().filter(is_refused).count()
    };
    let count = refused(&run.records);
    assert!(count > 10, "the test must cover a shutdown");
    assert_eq!(refused(&simulate(&recording, &scenario.settings, &as_profiled()).records), count);
}

#[test]
fn the_complete_lines_of_a_truncated_file_are_read() {
    let (_, header, lines) = record(&scenario(CONTINUOUS, "dftsp", 20));
    let text = text_of(&header, &lines);
    let beginning = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for length in (beginning..text.len()).step_by(997).chain([beginning, text.len() - 1]) {
        let part = &text[..length];
        let whole = part.iter().filter(|&&byte| byte == b'\n').count();
        let recording = Recording::read(part).unwrap();
        assert_eq!(recording.line_count, whole);
        let damage = (part.last() != Some(&b'\n')).then_some(whole + 1);
        assert_eq!(recording.damage.as_ref().map(|damage| damage.line), damage);
        let ended = recording.records().count();
        assert_eq!(exactly(&recording).unwrap().records, ended);
        let comparison = Comparison::of(&recording, &header.settings, &as_profiled());
        assert_eq!(comparison.recorded.offered, ended as u64);
        assert_eq!(comparison.simulated.offered, ended as u64);
        assert_eq!(unfinished(&recording).len() + ended, arrivals(&recording).len());
    }
}

#[test]
fn lines_after_an_invalid_line_are_ignored() {
    let (_, header, lines) = record(&scenario(CONTINUOUS, "dftsp", 20));
    let arrival = lines[0].clone();
    let late = Line { at: Instant(u64::MAX), what: What::Event(Event::Woke) };
    let early = Line { at: Instant::START, ..late.clone() };
    let end = lines.iter().find(|line| matches!(line.what, What::End(_))).unwrap().clone();
    let after = |line: &Line| text_of(&header, &[arrival.clone(), late.clone(), line.clone()]);
    let mut garbled = after(&late);
    garbled.extend(b"{\"at\":\n");
    let mistakes = [
        (after(&early), 4, "time goes back"),
        (after(&Line { at: late.at, ..arrival.clone() }), 4, "r0 arrives twice"),
        (text_of(&header, &[Line { at: late.at, ..end }]), 2, "has not arrived"),
        (garbled, 5, "EOF while parsing"),
    ];
    for (text, line, mistake) in mistakes {
        let recording = Recording::read(text.as_slice()).unwrap();
        let damage = recording.damage.unwrap();
        assert_eq!(damage.line, line);
        assert!(damage.mistake.contains(mistake), "{}", damage.mistake);
        assert_eq!(recording.line_count, line - 1);
    }
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let (_, header, _) = record(&scenario(CONTINUOUS, "dftsp", 0));
    let text = String::from_utf8(text_of(&header, &[])).unwrap();
    let message = |text: &str| Recording::read(text.as_bytes()).unwrap_err().to_string();
    let other = "it is not a recording of the format hedgerow-record/1: ";
    assert_eq!(message("name = \"paper\"\n"), format!("{other}its first line names no format"));
    assert_eq!(message(&text.replace("record/1", "record/2")), format!("{other}it says `hedgerow-record/2`"));
    assert!(message("").contains("cut off") && message(&text[..text.len() / 2]).contains("cut off"));
    let no_policy = text.replace("\"dftsp\"", "\"best\"");
    assert!(message(&no_policy).contains("unknown policy `best`"), "{}", message(&no_policy));
    let parallel = header.node.max_parallel;
    let no_place = text.replace(&format!("\"max_parallel\":{parallel}"), "\"max_parallel\":0");
    assert!(message(&no_place).contains("runs no request at once"));
}

#[test]
fn a_table_shows_the_recorded_figures_once_and_each_policy_with_its_difference() {
    let (_, recording) = recording_of(&scenario(CONTINUOUS, "dftsp", 40));
    let comparisons: Vec<_> = [Policy::Dftsp, Policy::Fifo]
        .map(|policy| {
            let settings = Settings { policy, ..recording.header.settings.clone() };
            Comparison::of(&recording, &settings, &as_profiled())
        })
        .into();
    let text = comparison_table(&comparisons);
    let first = text.lines().next().unwrap();
    let titles = ["recorded", "dftsp", "difference", "fifo", "difference"];
    assert_eq!(first.split_whitespace().collect::<Vec<_>>(), titles);
    let offered = text.lines().nth(1).unwrap();
    assert_eq!(offered.split_whitespace().collect::<Vec<_>>(), ["offered", "40", "40", "+0", "40", "+0"]);
}
