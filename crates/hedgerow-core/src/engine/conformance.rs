//! The conformance suite that every engine must pass.
//!
//! Each claim starts and ends without open requests. The suite needs an engine of at least 3 sequences and a context
//! of at least 64 tokens.

use super::{
    EndReason, Engine, EngineError, GenerationTask, PrefillChunk, Sampling, Step, StepReport, TokenId,
};
use crate::model::request::RequestId;
use crate::model::units::Tokens;

/// Makes a prompt of the given number of tokens from the engine's vocabulary.
pub type MakePrompt<'a> = dyn Fn(u32) -> Vec<TokenId> + 'a;

/// Runs every claim.
///
/// # Panics
///
/// At the first claim that does not hold.
pub fn check(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    assert!(
        engine.limits().parallel >= 3 && engine.limits().context >= Tokens(64),
        "too small for the suite"
    );
    for claim in CLAIMS {
        assert_eq!(engine.kv_used(), Tokens::ZERO, "the engine must be idle before a claim");
        claim(engine, prompt);
        assert_eq!(engine.kv_used(), Tokens::ZERO, "a claim left cells in use");
    }
}

const CLAIMS: &[fn(&mut dyn Engine, &MakePrompt<'_>)] = &[
    produces_exactly_as_many_tokens_as_asked_for,
    produces_the_first_token_with_the_last_chunk_of_the_prompt,
    runs_requests_of_different_lengths_in_one_step,
    gives_the_same_tokens_for_the_same_steps,
    frees_cells_at_once_when_a_request_is_closed,
    refuses_what_it_cannot_hold,
    refuses_a_step_that_does_not_fit_and_changes_nothing,
    names_the_request_that_could_not_be_opened_and_runs_the_others,
    does_nothing_for_an_empty_step,
    reports_how_much_of_a_prompt_was_cached,
    survives_two_hundred_cancellations,
];

fn work(prompt: Vec<TokenId>, max_output: u32) -> GenerationTask {
    GenerationTask {
        prompt_tokens: prompt,
        max_output: Tokens(max_output),
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        ignore_eos: true,
        cache_prompt: false,
    }
}

fn prefill(request: u64, tokens: u32) -> Step {
    Step {
        prefill: vec![PrefillChunk { request: RequestId(request), tokens: Tokens(tokens) }],
        ..Step::default()
    }
}

fn decode(requests: &[u64]) -> Step {
    Step { decode: requests.iter().copied().map(RequestId).collect(), ..Step::default() }
}

/// Runs a step and returns its report with the tokens it produced.
fn run(engine: &mut dyn Engine, step: &Step) -> (StepReport, Vec<(RequestId, TokenId, Option<EndReason>)>) {
    let mut tokens = Vec::new();
    let report = engine
        .step(step, &mut |emission: super::Emission<'_>| {
            tokens.push((emission.request, emission.token, emission.end));
        })
        .expect("the step is fine");
    assert_eq!(report.kv_used, engine.kv_used());
    (report, tokens)
}

fn produces_exactly_as_many_tokens_as_asked_for(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    let id = 1;
    engine.open(RequestId(id), work(prompt(5), 4)).unwrap();
    assert_eq!(engine.kv_used(), Tokens::ZERO, "opening takes no cells");
    let (_, first) = run(engine, &prefill(id, 5));
    assert_eq!(first.len(), 1);
    assert_eq!(engine.kv_used(), Tokens(5));
    for produced in 2..=4 {
        let (report, tokens) = run(engine, &decode(&[id]));
        let end = (produced == 4).then_some(EndReason::Length);
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens[0].2, end, "the sink gets the end with token {produced}");
        assert_eq!(report.progress[0].end, end, "the report has it too");
    }
    let gone = engine.step(&decode(&[id]), &mut |_: super::Emission<'_>| {});
    assert_eq!(gone, Err(EngineError::NotOpen { request: RequestId(id) }), "a finished request is closed");
}

fn produces_the_first_token_with_the_last_chunk_of_the_prompt(
    engine: &mut dyn Engine,
    prompt: &MakePrompt<'_>,
) {
    engine.open(RequestId(1), work(prompt(9), 2)).unwrap();
    for (chunk, produced) in [(4, false), (4, false), (1, true)] {
        let (report, tokens) = run(engine, &prefill(1, chunk));
        assert_eq!(report.progress[0].prefilled, Tokens(chunk));
        assert_eq!(report.progress[0].produced, produced);
        assert_eq!(tokens.len(), usize::from(produced));
    }
    engine.close(RequestId(1));
}

fn runs_requests_of_different_lengths_in_one_step(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    engine.open(RequestId(1), work(prompt(3), 3)).unwrap();
    engine.open(RequestId(2), work(prompt(8), 2)).unwrap();
    engine.open(RequestId(3), work(prompt(6), 1)).unwrap();
    run(engine, &prefill(1, 3));
    let mixed = Step {
        prefill: vec![
            PrefillChunk { request: RequestId(2), tokens: Tokens(5) },
            PrefillChunk { request: RequestId(3), tokens: Tokens(6) },
        ],
        decode: vec![RequestId(1)],
        ..Step::default()
    };
    let (report, mut tokens) = run(engine, &mixed);
    let order: Vec<_> = report.progress.iter().map(|progress| progress.request.0).collect();
    assert_eq!(order, [2, 3, 1], "prefill first, in the step's order");
    tokens.sort_by_key(|token| token.0);
    let producers: Vec<_> = tokens.iter().map(|token| (token.0.0, token.2)).collect();
    assert_eq!(producers, [(1, None), (3, Some(EndReason::Length))]);
    assert_eq!(engine.kv_used(), Tokens(4 + 5), "3 has ended; 1 holds 3 + 1, 2 holds 5");
    engine.close(RequestId(1));
    engine.close(RequestId(2));
}

fn gives_the_same_tokens_for_the_same_steps(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    let mut runs = [Vec::new(), Vec::new()];
    for tokens in &mut runs {
        engine.open(RequestId(1), work(prompt(7), 6)).unwrap();
        engine.open(RequestId(2), work(prompt(4), 6)).unwrap();
        for step in [prefill(1, 7), prefill(2, 4)] {
            tokens.extend(run(engine, &step).1);
        }
        for _ in 0..5 {
            tokens.extend(run(engine, &decode(&[1, 2])).1);
        }
    }
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0].len(), 12);
}

fn frees_cells_at_once_when_a_request_is_closed(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    engine.open(RequestId(1), work(prompt(8), 8)).unwrap();
    engine.open(RequestId(2), work(prompt(8), 8)).unwrap();
    run(engine, &prefill(1, 8));
    run(engine, &prefill(2, 3));
    assert_eq!(engine.kv_used(), Tokens(11));
    engine.close(RequestId(2));
    assert_eq!(engine.kv_used(), Tokens(8), "closed in prefill");
    run(engine, &decode(&[1]));
    engine.close(RequestId(1));
    assert_eq!(engine.kv_used(), Tokens::ZERO, "closed in decode");
    engine.close(RequestId(1));
    engine.close(RequestId(77));
}

fn refuses_what_it_cannot_hold(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    let limits = engine.limits();
    assert_eq!(engine.open(RequestId(1), work(Vec::new(), 1)), Err(EngineError::Empty));
    assert_eq!(engine.open(RequestId(1), work(prompt(1), 0)), Err(EngineError::Empty));
    let needed = limits.context + Tokens(1);
    assert_eq!(
        engine.open(RequestId(1), work(prompt(4), needed.0 - 4)),
        Err(EngineError::TooLong { needed, context: limits.context })
    );
    engine.open(RequestId(0), work(prompt(2), 2)).unwrap();
    assert_eq!(
        engine.open(RequestId(0), work(prompt(2), 2)),
        Err(EngineError::AlreadyOpen { request: RequestId(0) })
    );
    for id in 1..u64::from(limits.parallel) {
        engine.open(RequestId(id), work(prompt(2), 2)).unwrap();
    }
    let one_more = RequestId(u64::from(limits.parallel));
    let refusal = EngineError::NoSequenceFree { parallel: limits.parallel };
    assert_eq!(engine.open(one_more, work(prompt(2), 2)), Err(refusal));
    for id in 0..u64::from(limits.parallel) {
        engine.close(RequestId(id));
    }
}

fn refuses_a_step_that_does_not_fit_and_changes_nothing(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    engine.open(RequestId(1), work(prompt(4), 4)).unwrap();
    engine.open(RequestId(2), work(prompt(4), 4)).unwrap();
    run(engine, &prefill(1, 4));
    let not_ready = |what: &'static str| EngineError::NotReady { request: RequestId(2), what: what.into() };
    let with = |step: Step, extra: u64| Step { decode: vec![RequestId(1), RequestId(extra)], ..step };
    let refused = [
        (with(Step::default(), 2), not_ready("decode")),
        (with(Step::default(), 9), EngineError::NotOpen { request: RequestId(9) }),
        (prefill(2, 5), not_ready("prefill")),
        (prefill(2, 0), not_ready("prefill")),
    ];
    for (step, error) in refused {
        let mut tokens = 0;
        let answer = engine.step(&step, &mut |_: super::Emission<'_>| tokens += 1);
        assert_eq!(answer, Err(error));
        assert_eq!((tokens, engine.kv_used()), (0, Tokens(4)), "nothing has happened");
    }
    assert_eq!(run(engine, &decode(&[1])).1.len(), 1, "and the good part still runs");
    engine.close(RequestId(1));
    engine.close(RequestId(2));
}

fn names_the_request_that_could_not_be_opened_and_runs_the_others(
    engine: &mut dyn Engine,
    prompt: &MakePrompt<'_>,
) {
    let too_long = engine.limits().context.0;
    engine.open(RequestId(1), work(prompt(4), 4)).unwrap();
    assert!(engine.open(RequestId(2), work(prompt(4), too_long)).is_err());
    let chunk = |request| PrefillChunk { request: RequestId(request), tokens: Tokens(4) };
    let both = Step { prefill: vec![chunk(1), chunk(2)], ..Step::default() };
    let refused = engine.step(&both, &mut |_: super::Emission<'_>| {}).unwrap_err();
    assert_eq!(refused.request(), Some(RequestId(2)), "{refused}");
    assert_eq!(run(engine, &prefill(1, 4)).1.len(), 1);
    engine.close(RequestId(1));
    // A request may be closed whether or not it could be opened.
    engine.close(RequestId(2));
}

fn does_nothing_for_an_empty_step(engine: &mut dyn Engine, _: &MakePrompt<'_>) {
    let (report, tokens) = run(engine, &Step::default());
    assert!(report.progress.is_empty() && tokens.is_empty());
}

fn reports_how_much_of_a_prompt_was_cached(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    let (length, half) = (48, 24);
    let sharing = || GenerationTask { cache_prompt: true, ..work(prompt(length), 2) };
    engine.open(RequestId(1), sharing()).unwrap();
    let (report, first) = run(engine, &prefill(1, length));
    assert_eq!(report.progress[0].cached, Some(Tokens::ZERO), "the cache is empty");
    let (report, _) = run(engine, &decode(&[1]));
    assert_eq!(report.progress[0].cached, None, "its prompt has begun long ago");
    // The same prompt again, with and without prefix caching.
    engine.open(RequestId(2), sharing()).unwrap();
    engine.open(RequestId(3), work(prompt(length), 2)).unwrap();
    assert_eq!(engine.kv_used(), Tokens::ZERO, "opening takes no cells, cached or not");
    let (report, _) = run(engine, &prefill(3, half));
    assert_eq!(report.progress[0].cached, Some(Tokens::ZERO));
    engine.close(RequestId(3));
    let (report, tokens) = run(engine, &prefill(2, half));
    let progress = report.progress[0];
    let cached = progress.cached.expect("this chunk is its prompt's first");
    assert!(cached < Tokens(length), "the last token runs: {progress:?}");
    assert_eq!(progress.prefilled, Tokens(half).min(Tokens(length) - cached), "no more than is left");
    assert_eq!(engine.kv_used(), cached + progress.prefilled);
    let left = Tokens(length) - cached - progress.prefilled;
    let second = if left > Tokens::ZERO { run(engine, &prefill(2, left.0)).1 } else { tokens };
    assert_eq!((second.len(), second[0].1), (1, first[0].1), "prefix caching changes no answer");
    engine.close(RequestId(2));
}

fn survives_two_hundred_cancellations(engine: &mut dyn Engine, prompt: &MakePrompt<'_>) {
    for id in 0..200 {
        engine.open(RequestId(id), work(prompt(6), 6)).unwrap();
        match id % 3 {
            0 => {}
            1 => drop(run(engine, &prefill(id, 2))),
            _ => {
                run(engine, &prefill(id, 6));
                run(engine, &decode(&[id]));
            }
        }
        engine.close(RequestId(id));
    }
}
