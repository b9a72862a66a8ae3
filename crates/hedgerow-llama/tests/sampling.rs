//! Tests of sampling.

mod common;

use common::{Answer, answer, engine, greedy, model};
use hedgerow_core::engine::{GenerationTask, Sampling};
use hedgerow_llama::{LlamaEngine, LlamaModel};

const CHAT: Sampling =
    Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, seed: 7, ..Sampling::GREEDY };

fn write(engine: &mut LlamaEngine<'_>, model: &LlamaModel, prompt: &str, sampling: Sampling) -> Answer {
    let prompt = model.tokenize(prompt, false, true);
    answer(engine, GenerationTask { sampling, ignore_eos: true, ..greedy(prompt, 24) })
}

#[test]
fn the_seed_decides_the_text() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    let mut with_seed = |seed| {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::GREEDY };
        write(&mut engine, model, "My favourite animal is", sampling)
    };
    assert_eq!(with_seed(1), with_seed(1));
    assert_ne!(with_seed(1), with_seed(2));
    assert_eq!(with_seed(u32::MAX), with_seed(u32::MAX), "no seed value means a random seed");
}

#[test]
fn settings_that_leave_only_the_most_probable_token_are_greedy() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    let prompt = "The hedgehog crossed the road because";
    let expected = write(&mut engine, model, prompt, Sampling::GREEDY);
    let ways = [
        Sampling { temperature: 0.0, ..CHAT },
        Sampling { temperature: -1.0, ..CHAT },
        Sampling { temperature: 1e-30, ..CHAT },
        Sampling { top_k: 1, ..CHAT },
        // These use llama.cpp's samplers.
        Sampling { top_k: 0, top_p: 1e-6, ..CHAT },
        Sampling { top_k: 0, top_p: 1.0, min_p: 1.0, ..CHAT },
    ];
    for sampling in ways {
        assert_eq!(write(&mut engine, model, prompt, sampling), expected, "{sampling:?}");
    }
}

#[test]
fn a_penalty_breaks_a_loop_and_counts_the_prompt() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    let prompt = "The list is: 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,";
    let looping = write(&mut engine, model, prompt, Sampling::GREEDY);
    assert_eq!(looping.text(), " 1,".repeat(8));
    let penalties = [
        Sampling { repeat_penalty: 2.0, ..Sampling::GREEDY },
        Sampling { frequency_penalty: 2.0, ..Sampling::GREEDY },
        Sampling { presence_penalty: 15.0, ..Sampling::GREEDY },
    ];
    for sampling in penalties {
        let broken = write(&mut engine, model, prompt, sampling);
        assert_ne!(broken.tokens[0], looping.tokens[0], "{sampling:?}: {:?}", broken.text());
        let blind = Sampling { penalty_window: 0, ..sampling };
        assert_eq!(write(&mut engine, model, prompt, blind), looping, "no window, no penalty");
    }
}

#[test]
fn invalid_settings_do_no_harm() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    let (nan, huge) = (f32::NAN, f32::INFINITY);
    let odd = [
        Sampling { temperature: nan, top_p: nan, min_p: nan, ..CHAT },
        Sampling { temperature: huge, top_p: 0.0, min_p: 2.0, ..CHAT },
        Sampling { repeat_penalty: nan, frequency_penalty: huge, presence_penalty: -huge, ..CHAT },
        Sampling { repeat_penalty: 0.0, penalty_window: u32::MAX, ..CHAT },
        Sampling { repeat_penalty: 1.1, penalty_window: u32::MAX, top_k: u32::MAX, ..CHAT },
        Sampling { temperature: 1e30, top_p: -1.0, min_p: -1.0, ..CHAT },
    ];
    for sampling in odd {
        assert_eq!(write(&mut engine, model, "Once", sampling).tokens.len(), 24, "{sampling:?}");
    }
}
