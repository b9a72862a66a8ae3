//! Tests of prefix caching across ended and running requests, on a real model.

mod common;

use common::{Answer, decode, greedy, model, options, prefill, run};
use hedgerow_core::engine::{Engine, GenerationTask, TokenId};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaModel};

const SYSTEM: &str = "You are a patient gardener who knows every hedge in the county and answers in plain \
     words. You never give more than one piece of advice at a time, and you say where it comes from.";

fn prompt(model: &LlamaModel, question: &str) -> Vec<TokenId> {
    let text = format!(
        "<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    );
    model.tokenize(&text, true, false)
}

fn shared(one: &[TokenId], other: &[TokenId]) -> u32 {
    one.iter().zip(other).take_while(|(one, other)| one == other).count() as u32
}

fn engine(model: &LlamaModel, retained: u32) -> LlamaEngine<'_> {
    let options = EngineOptions { retained, ..options(3) };
    LlamaEngine::new(model, &options).expect("a small engine fits")
}

fn sharing(prompt: Vec<TokenId>, max_output: u32) -> GenerationTask {
    GenerationTask { cache_prompt: true, ignore_eos: true, ..greedy(prompt, max_output) }
}

/// Runs a request to its end; returns its tokens and the number of cached prompt tokens.
fn ask(engine: &mut LlamaEngine<'_>, id: u64, work: GenerationTask) -> (Vec<TokenId>, u32) {
    let length = work.prompt_tokens.len() as u32;
    engine.open(RequestId(id), work).unwrap();
    let mut answer = Answer::default();
    let report = run(engine, &prefill(id, 1), |emission| answer.take(emission));
    let cached = report.progress[0].cached.expect("its first chunk").0;
    if cached + 1 < length {
        run(engine, &prefill(id, (length - cached - 1) as usize), |emission| answer.take(emission));
    }
    while answer.end.is_none() {
        run(engine, &decode(&[id]), |emission| answer.take(emission));
    }
    assert_eq!((engine.kv_used(), engine.kv_held()), (Tokens::ZERO, Tokens::ZERO));
    (answer.tokens, cached)
}

#[test]
fn the_same_prompt_again_runs_only_its_last_token_and_gives_the_same_answer() {
    let Some((model, _turn)) = model() else { return };
    for (kv_unified, flash_attention) in [(false, false), (true, true)] {
        let options = EngineOptions { retained: 1, kv_unified, flash_attention, ..options(3) };
        let mut engine = LlamaEngine::new(model, &options).unwrap();
        let prompt = prompt(model, "When do I cut hawthorn?");
        let apart = GenerationTask { cache_prompt: false, ..sharing(prompt.clone(), 16) };
        let (alone, cached) = ask(&mut engine, 0, apart);
        assert_eq!(cached, 0);
        assert_eq!(
            ask(&mut engine, 1, sharing(prompt.clone(), 16)),
            (alone.clone(), 0),
            "nothing is cached yet"
        );
        let last = prompt.len() as u32 - 1;
        for id in [2, 3] {
            assert_eq!(ask(&mut engine, id, sharing(prompt.clone(), 16)), (alone.clone(), last));
        }
        let apart = GenerationTask { cache_prompt: false, ..sharing(prompt, 16) };
        assert_eq!(ask(&mut engine, 4, apart), (alone, 0), "without prefix caching nothing is reused");
    }
}

#[test]
fn a_shared_system_prompt_is_computed_once() {
    let Some((model, _turn)) = model() else { return };
    let questions = ["What grows in deep shade?", "Who nests in blackthorn?", "What grows in chalk?"];
    let prompts = questions.map(|question| prompt(model, question));
    let alone = prompts.clone().map(|prompt| ask(&mut engine(model, 0), 0, sharing(prompt, 16)).0);
    let mut engine = engine(model, 4);
    let answers: Vec<_> =
        (0..).zip(prompts.clone()).map(|(id, prompt)| ask(&mut engine, id, sharing(prompt, 16))).collect();
    let system = shared(&prompts[0], &prompts[1]);
    assert!(system > 40, "the prompts share {system} tokens");
    let first = shared(&prompts[0], &prompts[2]);
    assert!(first > system, "two questions have the same beginning, so the best match is not the latest");
    assert_eq!(answers.iter().map(|(_, cached)| *cached).collect::<Vec<_>>(), [0, system, first]);
    assert_eq!(answers.into_iter().map(|(tokens, _)| tokens).collect::<Vec<_>>(), alone);
}

#[test]
fn a_conversation_continues_from_its_cached_history() {
    let Some((model, _turn)) = model() else { return };
    let first = prompt(model, "What is a hedge laid with?");
    let mut engine = engine(model, 1);
    let (answer, _) = ask(&mut engine, 0, sharing(first.clone(), 12));
    let more = model.tokenize("<|im_end|>\n<|im_start|>user\nAnd when?<|im_end|>\n", true, false);
    // The last token of an answer is not in the cache.
    let known = (first.len() + answer.len() - 1) as u32;
    let history = [first, answer, more].concat();
    let alone = ask(&mut self::engine(model, 0), 0, sharing(history.clone(), 8)).0;
    assert_eq!(ask(&mut engine, 1, sharing(history.clone(), 8)), (alone, known));
    // The longer history replaced the shorter one, since only one can be retained.
    let longer = [history.clone(), model.tokenize(" It depends.", false, false)].concat();
    assert_eq!(ask(&mut engine, 2, sharing(longer, 1)).1, history.len() as u32);
}

#[test]
fn the_prompt_of_a_running_request_is_shared() {
    let Some((model, _turn)) = model() else { return };
    let [one, other] =
        ["Where do hedgehogs sleep?", "Is ivy good for a hedge?"].map(|question| prompt(model, question));
    let alone = ask(&mut engine(model, 0), 0, sharing(other.clone(), 16)).0;
    let mut engine = engine(model, 1);
    engine.open(RequestId(0), sharing(one.clone(), 64)).unwrap();
    engine.open(RequestId(1), sharing(other.clone(), 16)).unwrap();
    run(&mut engine, &prefill(0, one.len()), |_| {});
    run(&mut engine, &decode(&[0]), |_| {});
    let mut answer = Answer::default();
    let report = run(&mut engine, &prefill(1, other.len()), |emission| answer.take(emission));
    let system = shared(&one, &other);
    assert_eq!(report.progress[0].cached, Some(Tokens(system)), "although it was opened earlier");
    assert_eq!(report.progress[0].prefilled, Tokens(other.len() as u32 - system));
    // The first request ends, so the second moves into its place.
    engine.close(RequestId(0));
    while answer.end.is_none() {
        run(&mut engine, &decode(&[1]), |emission| answer.take(emission));
    }
    assert_eq!(answer.tokens, alone);
}

#[test]
fn the_computed_part_of_a_cancelled_prompt_is_retained() {
    let Some((model, _turn)) = model() else { return };
    let prompt = prompt(model, "How tall should it be?");
    let mut engine = engine(model, 1);
    engine.open(RequestId(0), sharing(prompt.clone(), 4)).unwrap();
    run(&mut engine, &prefill(0, 37), |_| {});
    engine.close(RequestId(0));
    assert_eq!(engine.kv_held(), Tokens::ZERO);
    assert_eq!(ask(&mut engine, 1, sharing(prompt, 4)).1, 37);
}

#[test]
fn the_least_recently_used_is_dropped_first() {
    let Some((model, _turn)) = model() else { return };
    let text = |subject: &str| {
        let text =
            format!("{subject} is what this long sentence is about, and it goes on and on. ").repeat(4);
        model.tokenize(&text, false, false)
    };
    let [a, b, c] = ["Hazel", "Maple", "A rose"].map(text);
    let mut engine = engine(model, 2);
    let mut cached_of = |id: u64, prompt: &[TokenId]| ask(&mut engine, id, sharing(prompt.to_vec(), 1)).1;
    let all = |prompt: &[TokenId]| prompt.len() as u32 - 1;
    assert_eq!([cached_of(0, &a), cached_of(1, &b)], [0, 0]);
    assert_eq!(cached_of(2, &a), all(&a), "used again");
    assert_eq!(cached_of(3, &c), 0, "replaces the second");
    assert_eq!([cached_of(4, &a), cached_of(5, &b)], [all(&a), 0]);
}

#[test]
fn a_claim_predicts_the_cached_prefix_of_a_prompt() {
    let Some((model, _turn)) = model() else { return };
    let [one, other] = ["Where do wrens nest?", "What eats sloes?"].map(|question| prompt(model, question));
    let mut engine = engine(model, 1);
    let prefixes = engine.prefixes();
    let claim = |id, prompt: &[TokenId]| prefixes.lock().unwrap().claim(RequestId(id), prompt).0;
    assert_eq!(claim(1, &other), 0);
    ask(&mut engine, 0, sharing(one.clone(), 1));
    let claimed = claim(1, &other);
    assert_eq!(claimed, shared(&one, &other));
    // A claimed prefix is retained while other requests end.
    let unrelated = model.tokenize(&"Seven grey geese graze. ".repeat(20), false, false);
    ask(&mut engine, 2, sharing(unrelated.clone(), 1));
    assert_eq!(ask(&mut engine, 1, sharing(other, 1)).1, claimed);
    ask(&mut engine, 3, sharing(unrelated.clone(), 1));
    assert_eq!(claim(4, &unrelated), unrelated.len() as u32 - 1, "a begun request releases its claim");
}
