//! Tests of the engine's rules on a real model.

mod common;

use std::collections::BTreeMap;

use common::{Answer, chunk, decode, engine, greedy, model, options, prefill, run};
use hedgerow_core::engine::{EndReason, Engine, EngineError, GenerationTask, Step, TokenId, conformance};
use hedgerow_core::node::KvType;
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaModel};

fn text_of(model: &LlamaModel, length: u32) -> Vec<TokenId> {
    let text = "The hedge grew along the lane, and in it lived a wren, a vole and a hedgehog. ".repeat(20);
    model.tokenize(&text, false, false)[..length as usize].to_vec()
}

#[test]
fn passes_the_conformance_suite() {
    let Some((model, _turn)) = model() else { return };
    for (kv_unified, flash_attention, retained) in [(false, false, 0), (false, false, 3), (true, true, 1)] {
        let context = Tokens(64);
        let options = EngineOptions { kv_unified, flash_attention, retained, context, ..options(4) };
        let mut engine = LlamaEngine::new(model, &options).unwrap();
        conformance::check(&mut engine, &|length| text_of(model, length));
    }
}

#[test]
fn passes_the_conformance_suite_with_a_quantized_cache() {
    let Some((model, _turn)) = model() else { return };
    for kv_type in [KvType::Q8_0, KvType::Q4_0] {
        let options =
            EngineOptions { kv_type, flash_attention: true, retained: 1, context: Tokens(64), ..options(4) };
        let mut engine = LlamaEngine::new(model, &options).unwrap();
        conformance::check(&mut engine, &|length| text_of(model, length));
    }
}

#[test]
fn runs_sixteen_ragged_requests_to_their_ends() {
    let Some((model, _turn)) = model() else { return };
    for kv_unified in [true, false] {
        let mut engine = LlamaEngine::new(model, &EngineOptions { kv_unified, ..options(16) }).unwrap();
        let prompt = |id: u64| 1 + 3 * id as u32;
        let output = |id: u64| 1 + (id as u32 * 5) % 9;
        let mut answers: BTreeMap<u64, Answer> = BTreeMap::new();
        for id in 0..16 {
            let mut work = greedy(text_of(model, prompt(id)), output(id));
            work.ignore_eos = true;
            engine.open(RequestId(id), work).unwrap();
            answers.insert(id, Answer::default());
        }
        let all =
            Step { prefill: (0..16).map(|id| chunk(id, prompt(id) as usize)).collect(), ..Step::default() };
        let mut take = |engine: &mut LlamaEngine<'_>, step: &Step| {
            run(engine, step, |emission| answers.get_mut(&emission.request.0).unwrap().take(emission));
            answers.iter().filter(|(_, answer)| answer.end.is_none()).map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let mut open = take(&mut engine, &all);
        while !open.is_empty() {
            // Reversed, so that the order of a step differs from the order of the cache.
            open.reverse();
            open = take(&mut engine, &decode(&open));
        }
        for (id, answer) in &answers {
            assert_eq!((answer.tokens.len() as u32, answer.end), (output(*id), Some(EndReason::Length)));
        }
        assert_eq!(engine.kv_held(), Tokens::ZERO);
    }
}

#[test]
fn answers_do_not_depend_on_the_other_requests_of_a_step() {
    let Some((model, _turn)) = model() else { return };
    for kv_unified in [true, false] {
        let mut engine = LlamaEngine::new(model, &EngineOptions { kv_unified, ..options(4) }).unwrap();
        let questions = ["The capital of France is", "The capital of Italy is", "Germany's capital city is"];
        let mut answers: BTreeMap<u64, Answer> = BTreeMap::new();
        let mut mixed = Step::default();
        for (id, question) in (0..).zip(questions) {
            let prompt = model.tokenize(question, false, true);
            mixed.prefill.push(chunk(id, prompt.len()));
            engine.open(RequestId(id), greedy(prompt, 4)).unwrap();
            answers.insert(id, Answer::default());
        }
        engine.open(RequestId(9), greedy(text_of(model, 90), 4)).unwrap();
        mixed.prefill.insert(1, chunk(9, 30));
        for _ in 0..3 {
            let next = Step { prefill: vec![chunk(9, 20)], ..decode(&[2, 0, 1]) };
            let step = std::mem::replace(&mut mixed, next);
            run(&mut engine, &step, |emission| {
                if let Some(answer) = answers.get_mut(&emission.request.0) {
                    answer.take(emission);
                }
            });
        }
        let texts: Vec<_> = answers.values().map(Answer::text).collect();
        let expected = [" Paris", " Rome", " Berlin"];
        assert!(texts.iter().zip(expected).all(|(text, word)| text.starts_with(word)), "{texts:?}");
    }
}

#[test]
fn cancelling_a_request_does_not_affect_the_others() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 4);
    let mut produced = [0; 4];
    for id in 0..4 {
        let mut work = greedy(text_of(model, 20), 8);
        work.ignore_eos = true;
        engine.open(RequestId(id), work).unwrap();
    }
    let mut count = |engine: &mut LlamaEngine<'_>, step: &Step| {
        run(engine, step, |emission| produced[emission.request.0 as usize] += 1);
    };
    let first =
        Step { prefill: vec![chunk(0, 20), chunk(1, 20), chunk(2, 20), chunk(3, 7)], ..Step::default() };
    count(&mut engine, &first);
    engine.close(RequestId(3));
    assert_eq!((engine.kv_used(), engine.kv_held()), (Tokens(60), Tokens(60)), "cancelled in its prompt");
    count(&mut engine, &decode(&[0, 1, 2]));
    engine.close(RequestId(1));
    assert_eq!((engine.kv_used(), engine.kv_held()), (Tokens(42), Tokens(42)), "cancelled while decoding");
    for _ in 0..6 {
        count(&mut engine, &decode(&[2, 0]));
    }
    assert_eq!(produced, [8, 2, 8, 0]);
    assert_eq!((engine.kv_used(), engine.kv_held()), (Tokens::ZERO, Tokens::ZERO));
    engine.open(RequestId(5), greedy(text_of(model, 9), 1)).unwrap();
    run(&mut engine, &prefill(5, 9), |emission| assert_eq!(emission.end, Some(EndReason::Length)));
}

#[test]
fn moving_a_request_into_a_gap_does_not_change_its_answer() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = LlamaEngine::new(model, &EngineOptions { kv_unified: false, ..options(3) }).unwrap();
    // The second request's tokens, after the first request ran `cancelled` tokens in the same step and was closed.
    let mut write = |cancelled: usize| {
        let mut written = Answer::default();
        for id in 0..3 {
            engine
                .open(RequestId(id), GenerationTask { ignore_eos: true, ..greedy(text_of(model, 30), 12) })
                .unwrap();
        }
        let two = Step { prefill: vec![chunk(1, 30), chunk(0, cancelled)], ..Step::default() };
        let one = prefill(1, 30);
        run(&mut engine, if cancelled > 0 { &two } else { &one }, |emission| written.take(emission));
        engine.close(RequestId(0));
        while written.end.is_none() {
            run(&mut engine, &decode(&[1]), |emission| written.take(emission));
        }
        engine.close(RequestId(2));
        assert_eq!((engine.kv_used(), engine.kv_held()), (Tokens::ZERO, Tokens::ZERO));
        written.tokens
    };
    assert_eq!(write(0), write(0));
    assert_eq!(write(0), write(17));
}

#[test]
fn refuses_a_prompt_with_a_token_that_the_model_does_not_know() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    for unknown in [-1, i32::MAX, model.info().shape.vocabulary as i32] {
        let refused = engine.open(RequestId(0), greedy(vec![TokenId(unknown)], 1));
        assert!(matches!(refused, Err(EngineError::Backend { code, .. }) if code == unknown), "{refused:?}");
    }
    assert_eq!(engine.open(RequestId(0), greedy(text_of(model, 1), 1)), Ok(()), "its place is still free");
}

#[test]
fn a_step_may_be_as_large_as_the_whole_cache() {
    let Some((model, _turn)) = model() else { return };
    let options = EngineOptions { context: Tokens(100), micro_batch: Tokens(32), ..options(3) };
    let mut engine = LlamaEngine::new(model, &options).unwrap();
    let mut step = Step::default();
    for id in 0..3 {
        engine.open(RequestId(id), greedy(text_of(model, 99), 1)).unwrap();
        step.prefill.push(chunk(id, 99));
    }
    let mut ended = 0;
    run(&mut engine, &step, |emission| ended += usize::from(emission.end == Some(EndReason::Length)));
    assert_eq!((ended, engine.kv_held()), (3, Tokens::ZERO));
}
