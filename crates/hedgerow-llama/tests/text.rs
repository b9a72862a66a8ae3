//! Tests of detokenization: whole characters, without stop texts and special tokens.

mod common;

use common::{answer, chat, engine, greedy, model};
use hedgerow_core::engine::{EndReason, TokenId};
use hedgerow_core::output::TextStream;
use hedgerow_llama::LlamaModel;

/// A question with an answer of one sentence.
const QUESTION: &str = "What is the capital of France?";

fn bytes_of(model: &LlamaModel, token: TokenId) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.token_bytes(token, &mut bytes);
    bytes
}

#[test]
fn characters_that_span_tokens_come_out_whole() {
    let Some((model, _turn)) = model() else { return };
    let text = "🦔 hedgehog, 刺猬, ハリネズミ, ежик, 👩‍🔬!";
    let tokens = model.tokenize(text, false, false);
    let is_split = tokens.iter().any(|&token| std::str::from_utf8(&bytes_of(model, token)).is_err());
    assert!(is_split, "a test of nothing: no character spans two tokens");
    let mut stream = TextStream::new(Vec::new());
    let mut shown: String = tokens.iter().map(|&token| stream.push(&bytes_of(model, token))).collect();
    shown.push_str(&stream.finish());
    assert_eq!(shown, text);
}

#[test]
fn the_model_writes_characters_that_span_tokens() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    // Short patterns, which even a small model continues.
    for (pattern, tokens) in [("😊", 12), ("东京 北京 ", 20)] {
        let prompt = model.tokenize(pattern.repeat(18).trim_end(), false, false);
        let answer = answer(&mut engine, greedy(prompt, tokens));
        let is_split =
            answer.tokens.iter().any(|&token| std::str::from_utf8(&bytes_of(model, token)).is_err());
        assert!(is_split && answer.pieces.iter().any(String::is_empty), "{answer:?}");
        let text = answer.text();
        assert!(pattern.repeat(18).contains(text.trim().trim_end_matches('\u{fffd}')), "{text:?}");
        assert!(text.contains(pattern.trim_end()), "{text:?}");
    }
}

#[test]
fn a_stop_text_that_spans_tokens_ends_the_answer_before_it() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    let prompt = model.tokenize("Once upon a time, in a small village", false, true);
    let whole = answer(&mut engine, greedy(prompt.clone(), 40));
    let ends_and_begins = |pair: &[String]| pair.iter().all(|piece| piece.len() >= 3 && piece.is_ascii());
    let joint = (8..30).find(|&at| ends_and_begins(&whole.pieces[at..at + 2])).unwrap();
    let [left, right] = &whole.pieces[joint..joint + 2] else { unreachable!() };
    let stop = format!("{}{}", &left[left.len() - 2..], &right[..2]);
    let mut work = greedy(prompt, 40);
    work.stop = vec!["never written".to_owned(), stop.clone()];
    let stopped = answer(&mut engine, work);
    let expected = whole.text().find(&stop).map(|at| whole.text()[..at].to_owned());
    assert_eq!(Some(stopped.text()), expected, "stopped by {stop:?}");
    assert_eq!(stopped.end, Some(EndReason::StopText));
    assert!(stopped.tokens.len() <= joint + 2);
}

#[test]
fn an_answer_ends_with_the_end_token_and_does_not_show_it() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    let answer = answer(&mut engine, greedy(chat(model, QUESTION), 100));
    assert_eq!(answer.end, Some(EndReason::Stop), "{answer:?}");
    assert!(model.is_end(*answer.tokens.last().unwrap()));
    assert!(!answer.text().is_empty() && !answer.text().contains("<|"), "{answer:?}");
}

#[test]
fn an_answer_that_ignores_ends_continues_without_end_tokens() {
    let Some((model, _turn)) = model() else { return };
    let mut engine = engine(model, 1);
    for temperature in [0.0, 1.0] {
        let mut work = greedy(chat(model, QUESTION), 80);
        work.ignore_eos = true;
        work.sampling.temperature = temperature;
        let answer = answer(&mut engine, work);
        assert_eq!((answer.tokens.len(), answer.end), (80, Some(EndReason::Length)));
        assert!(!answer.tokens.iter().any(|&token| model.is_end(token)));
    }
}

#[test]
fn special_tokens_are_parsed_only_on_request() {
    let Some((model, _turn)) = model() else { return };
    let eos = model.info().eos.clone().unwrap();
    let [token] = model.tokenize(&eos, true, false)[..] else { panic!("{eos} is not one token") };
    assert!(model.is_end(token) && bytes_of(model, token).is_empty());
    assert!(model.tokenize(&eos, false, false).len() > 1, "text from a caller stays text");
    assert!(bytes_of(model, TokenId(-1)).is_empty() && !model.is_end(TokenId(i32::MAX)));
}
