use hedgerow_core::engine::{PrefillChunk, Sampling};

use super::*;
use crate::common;

#[test]
fn scores_that_are_no_numbers_are_noticed() {
    assert!(are_numbers(&[0.5; 49_152]) && are_numbers(&[f32::NEG_INFINITY; 3]) && are_numbers(&[]));
    assert!(!are_numbers(&[f32::NAN; 49_152]) && !are_numbers(&[f32::NAN]));
}

#[test]
fn an_engine_may_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<LlamaEngine<'static>>();
}

fn sharing(prompt: &[TokenId]) -> GenerationTask {
    GenerationTask { cache_prompt: true, ..common::greedy(prompt.to_vec(), 8) }
}

#[test]
fn a_place_with_a_pending_copy_after_a_failed_step_is_not_retained() {
    let Some((model, _turn)) = common::model() else { return };
    let options = EngineOptions { retained: 2, ..common::options(2) };
    let mut engine = LlamaEngine::new(model, &options).unwrap();
    let prompt = model.tokenize(&"The hedge grew along the lane. ".repeat(8), false, false);
    let mut ignore = |_: Emission<'_>| {};
    for (id, work) in [(0, common::greedy(prompt[..9].to_vec(), 8)), (1, sharing(&prompt[..45]))] {
        let tokens = work.prompt_tokens.len();
        engine.open(RequestId(id), work).unwrap();
        engine.step(&common::prefill(id, tokens), &mut ignore).unwrap();
    }
    // The second request moves into the first one's place, but its latest token is missing in the cache.
    engine.close(RequestId(0));
    engine.context.clear_kv_cache_seq(Some(1), Some(44), None).unwrap();
    let failed = engine.step(&common::decode(&[1]), &mut ignore);
    assert!(matches!(failed, Err(EngineError::Backend { .. })), "{failed:?}");
    engine.close(RequestId(1));
    engine.open(RequestId(2), sharing(&prompt[..40])).unwrap();
    let report = engine.step(&common::prefill(2, 40), &mut ignore).unwrap();
    assert_eq!(report.progress[0].cached, Some(Tokens::ZERO), "the cells were never copied");
    engine.open(RequestId(3), sharing(&prompt[..50])).unwrap();
    let report = engine.step(&common::prefill(3, 1), &mut ignore).unwrap();
    assert_eq!(report.progress[0].cached, Some(Tokens(40)), "a successful step completes the copy");
}

#[test]
fn a_step_that_fails_inside_llama_cpp_changes_nothing() {
    let Some((model, _turn)) = common::model() else { return };
    let options = EngineOptions { kv_unified: true, ..common::options(2) };
    let mut engine = LlamaEngine::new(model, &options).unwrap();
    let prompt = model.tokenize("One hedgehog and one wren live in one hedge.", false, false);
    let mut step = Step::default();
    for (id, length) in [(0, 10), (1, 5)] {
        let work = GenerationTask {
            prompt_tokens: prompt[..length].to_vec(),
            max_output: Tokens(8),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            ignore_eos: true,
            cache_prompt: false,
        };
        engine.open(RequestId(id), work).unwrap();
        step.prefill.push(PrefillChunk { request: RequestId(id), tokens: Tokens(length as u32) });
    }
    let mut ignore = |_: Emission<'_>| {};
    engine.step(&step, &mut ignore).unwrap();
    // The second request's place also gets the first one's tokens, so the position of its next token is wrong.
    engine.context.kv_cache_seq_cp(0, 1, None, None).unwrap();
    let both = Step { decode: vec![RequestId(0), RequestId(1)], ..Step::default() };
    let mut produced = 0;
    let failed = engine.step(&both, &mut |_: Emission<'_>| produced += 1);
    assert_eq!(failed, Err(EngineError::Backend { what: "checking the step's tokens".into(), code: -1 }));
    assert_eq!((produced, engine.kv_used(), engine.kv_held()), (0, Tokens(15), Tokens(15)));
    let report = engine.step(&both, &mut ignore).unwrap();
    assert_eq!((report.progress.len(), engine.kv_held()), (2, Tokens(17)), "the same step runs now");
}
