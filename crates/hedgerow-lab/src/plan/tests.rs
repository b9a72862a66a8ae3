//! Plans for devices of the table, which need no model and no measurement.

use std::time::Duration;

use hedgerow_core::node::KvType;
use hedgerow_core::settings::{Padding, Protocol, Settings};
use hedgerow_core::units::{Bytes, Tokens};
use hedgerow_loadgen::{Arrivals, Class, Patience, Pattern};
use hedgerow_solver::Policy;

use super::search::Curve;
use super::*;

/// Two classes: two thirds of the requests have no quality floor, one third has a high one.
const MIX: &str = r#"
[[class]]
name = "any"
part = 2
prompt_tokens = [20, 60]
output_tokens = [10, 30]
deadline_ms = 1500

[[class]]
name = "good"
part = 1
prompt_tokens = [20, 60]
output_tokens = [10, 30]
deadline_ms = 1500
min_quality = 0.999
"#;

fn mix(classes: &str) -> Mix {
    Mix {
        pattern: Pattern {
            arrivals: Arrivals::Gamma { shape: 1.0 },
            classes: Class::parse(classes, "mix.toml").unwrap(),
            shared_prefix: 0,
            has_deadlines: true,
        },
        duration: Some(Duration::from_secs(20)),
        patience: Patience::Wait,
        prompt_tokens: PromptTokens::BARE,
        bytes_per_token: 250.0,
    }
}

fn without_floors() -> String {
    MIX.replace("min_quality = 0.999", "")
}

const ASKED: Asked<'static> = Asked {
    model: "llama-3-8b",
    device: "rtx 4090",
    accelerators: 1,
    efficiency: 0.5,
    memory: None,
    precisions: &[],
    parallel: 8,
    prefill_chunk: Tokens(256),
    kv_block: Tokens(16),
    kv_type: KvType::F16,
};

fn sets(asked: &Asked<'_>, mix: &Mix, at_once: usize) -> anyhow::Result<(Vec<Held>, Sets)> {
    let estimate = Estimate::new(asked, mix)?;
    let sets = candidates(estimate.held(), at_once, mix, estimate.memory(), |set| Ok(estimate.node(set)))?;
    Ok((estimate.held().to_vec(), sets))
}

fn play(mix: Mix) -> Play {
    let settings = Settings {
        protocol: Protocol::Continuous,
        policy: Policy::Exact,
        queue_capacity: 512,
        node_limit: 2000,
        margin: 0.1,
        confidence: 0.95,
        best_effort_share: 0.0,
        padding: Padding::None,
    };
    Play { mix, settings, slowdown: Factors::ONE, seeds: vec![1, 2] }
}

const GOAL: Goal = Goal { attainment: 0.9, resolution: 0.05 };

fn answer_of(asked: &Asked<'_>, mix: &Mix) -> Answer {
    let (_, mut sets) = sets(asked, mix, 1).unwrap();
    answer(sets.candidates.remove(0), &play(mix.clone()), GOAL, &[], &|| {}).unwrap()
}

fn text(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

#[test]
fn the_greatest_rate_reaches_the_goal_and_one_a_little_higher_does_not() {
    let mix = mix(&without_floors());
    let answer = answer_of(&Asked { precisions: &["q8_0".into()], ..ASKED }, &mix);
    let best = answer.best.as_ref().unwrap();
    let (play, node) = (play(mix), &answer.candidate.node);
    assert!(best.mean() >= 0.9, "{best:?}");
    let is_above = |point: &&Point| point.rate_per_s > best.rate_per_s;
    let above = answer.curve.points().iter().find(is_above).unwrap();
    assert!(above.rate_per_s <= 1.05 * best.rate_per_s && above.mean() < 0.9, "{above:?}");
    // The same seeds draw the same workload, so the point is reproduced.
    assert_eq!(play.at(node, best.rate_per_s).unwrap(), *best);
    assert!(best.usage.of_classes.iter().all(|class| class.offered > 0), "{:?}", best.usage);
    let classes: u64 = best.usage.of_classes.iter().map(|class| class.met).sum();
    assert_eq!(classes, best.usage.all.met);
}

#[test]
fn an_engine_slowdown_lowers_the_greatest_rate() {
    let mix = mix(&without_floors());
    let (_, sets) = sets(&Asked { precisions: &["q8_0".into()], ..ASKED }, &mix, 1).unwrap();
    let rate = |slowdown| {
        let play = Play { slowdown, ..play(mix.clone()) };
        answer(sets.candidates[0].clone(), &play, GOAL, &[], &|| {}).unwrap().rate_per_s()
    };
    let (as_published, slower) = (rate(Factors::ONE), rate(Factors::both(1.5)));
    assert!(slower < as_published / 1.2, "{slower} and {as_published}");
}

#[test]
fn a_set_needs_a_precision_for_every_floor() {
    let names_of = |at_once| {
        let (known, sets) = sets(&ASKED, &mix(MIX), at_once).unwrap();
        sets.candidates.iter().map(|candidate| names(&known, &candidate.set)).collect::<Vec<_>>()
    };
    // Published for this model: qualities of 0.9996 for Q8_0, 0.9965 for Q6_K and 0.930 for Q4_0.
    assert_eq!(names_of(1), ["F16", "Q8_0"]);
    // F16 and Q8_0 take 24.6 GB in total, and there are 24.
    assert_eq!(names_of(2), ["F16", "Q8_0", "F16 + Q6_K", "F16 + Q4_0", "Q8_0 + Q6_K", "Q8_0 + Q4_0"]);
}

#[test]
fn a_floor_that_no_precision_meets_is_named_with_the_best_there_is() {
    let asked = Asked { precisions: &["q6_k".into(), "q4_0".into()], ..ASKED };
    let error = text(&sets(&asked, &mix(MIX), 2).unwrap_err());
    assert_eq!(error, "class `good` asks for a quality of 0.999, but the best held is 0.9965");
}

#[test]
fn a_set_that_does_not_fit_is_reported_with_the_limit() {
    let large = Asked { model: "llama-2-70b", precisions: &["f16".into()], ..ASKED };
    let error = |asked: &Asked<'_>| text(&sets(asked, &mix(MIX), 1).unwrap_err());
    assert_eq!(error(&large), "F16 does not fit: its weights take 137.95 GB, and there are 24.00 GB");
    // Six hold it; with just a little more than the weights there is no room for a request.
    assert!(sets(&Asked { accelerators: 6, ..large.clone() }, &mix(MIX), 1).is_ok());
    let bare = error(&Asked { memory: Some(Bytes(137_960_000_000)), ..large });
    assert!(bare.contains("KV caches, and the longest request of the mix needs 0.03 GB"), "{bare}");
}

#[test]
fn larger_blocks_waste_more_of_a_small_cache_and_memory_binds_first() {
    // Room for two requests of 90 tokens at 131 kB each, or four in small blocks.
    let weights = 8_532_000_000;
    let small = Asked {
        precisions: &["q8_0".into()],
        memory: Some(Bytes(weights + 300 * 131_072)),
        parallel: 64,
        ..ASKED
    };
    let mix = mix(&without_floors());
    let fine = answer_of(&Asked { kv_block: Tokens(1), ..small.clone() }, &mix);
    let coarse = answer_of(&Asked { kv_block: Tokens(128), ..small }, &mix);
    assert!(coarse.rate_per_s() < 0.8 * fine.rate_per_s(), "{} {}", coarse.rate_per_s(), fine.rate_per_s());
    assert_eq!(coarse.binds_first(), Some(Resource::KvMemory), "{:?}", coarse.reliefs);
}

#[test]
fn a_single_slot_binds_where_memory_could_serve_more_at_once() {
    let mix = mix(&without_floors());
    let one = answer_of(&Asked { precisions: &["f16".into()], parallel: 1, ..ASKED }, &mix);
    assert_eq!(one.binds_first(), Some(Resource::Slots), "{:?}", one.reliefs);
    assert_eq!(one.best.unwrap().usage.running_max, 1);
}

#[test]
fn a_mix_that_no_rate_serves_has_no_answer_but_a_curve() {
    let hopeless = without_floors().replace("1500", "2");
    let answer = answer_of(&Asked { precisions: &["f16".into()], ..ASKED }, &mix(&hopeless));
    assert!(answer.best.is_none() && answer.interval.is_none());
    assert!(answer.curve.points().iter().all(|point| point.mean() < 0.9), "{:?}", answer.curve);
    let usage = &answer.curve.points()[0].usage;
    assert_eq!(usage.missed.get("deadline_infeasible"), Some(&usage.all.offered), "{usage:?}");
}

#[test]
fn a_curve_keeps_each_rate_once() {
    let mut curve = Curve::default();
    let answer = answer_of(&Asked { precisions: &["q8_0".into()], ..ASKED }, &mix(&without_floors()));
    answer.curve.points().iter().chain(answer.curve.points()).for_each(|point| curve.add(point.clone()));
    assert_eq!(curve.points(), answer.curve.points());
}
