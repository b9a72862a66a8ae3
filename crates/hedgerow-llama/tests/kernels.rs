//! Tests that plain kernels give the same model, the same errors and nearly the same scores as fast ones.

mod common;

use std::path::Path;
use std::sync::mpsc::channel;

use common::{model, model_path, options};
use hedgerow_core::engine::TokenId;
use hedgerow_llama::{Kernels, LlamaModel, LoadOptions, PROBE_PASSES, probe};

const TEXT: &str =
    "A hedge is a row of shrubs that birds nest in and cattle keep out of; in spring it flowers.";

fn plain() -> LoadOptions {
    LoadOptions { kernels: Kernels::Plain, ..LoadOptions::default() }
}

#[test]
fn plain_and_fast_kernels_agree_at_every_position() {
    let Some((fast, _turn)) = model() else { return };
    let slow = LlamaModel::load(&model_path().unwrap(), &plain(), |_| {}).unwrap();
    assert_eq!(slow.info(), fast.info());
    assert_eq!((slow.load_options().kernels, fast.load_options().kernels), (Kernels::Plain, Kernels::Fast));
    let text = fast.tokenize(TEXT, false, false);
    let scores = |model: &LlamaModel| probe(model, &options(4), &text).unwrap();
    let (fast, slow) = (scores(fast), scores(&slow));
    assert_eq!((fast.len(), slow.len()), (2 + PROBE_PASSES[1], 2 + PROBE_PASSES[1]));
    let first = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    for (fast, slow) in fast.iter().zip(&slow) {
        assert!(fast.iter().chain(slow).all(|score| score.is_finite()));
        assert_eq!(first(fast), first(slow), "the first choice");
    }
    assert!(slow.windows(2).all(|rows| rows[0] != rows[1]), "each position has its own scores");
}

#[test]
fn a_plain_model_can_be_loaded_repeatedly_and_reports_progress() {
    let Some((_, _turn)) = model() else { return };
    for use_mmap in [true, false, true] {
        let (sender, progress) = channel();
        let options = LoadOptions { use_mmap, ..plain() };
        drop(
            LlamaModel::load(&model_path().unwrap(), &options, move |done| sender.send(done).unwrap())
                .unwrap(),
        );
        let progress: Vec<f32> = progress.iter().collect();
        assert!(progress.is_sorted() && progress.last() == Some(&1.0), "{progress:?}");
    }
}

#[test]
fn an_invalid_file_has_the_same_error_with_plain_kernels() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-model-for-plain-kernels.gguf");
    std::fs::write(&path, b"GGUF\x03\0\0\0and then something else entirely, for a while").unwrap();
    let reason = |options: &LoadOptions| LlamaModel::load(&path, options, |_| {}).unwrap_err();
    let error = reason(&plain());
    assert_eq!(error, reason(&LoadOptions::default()));
    assert_eq!(error.code(), "model_damaged");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn an_empty_text_is_an_error() {
    let Some((model, _turn)) = model() else { return };
    assert_eq!(probe(model, &options(1), &[]).unwrap_err().code(), "text_not_read");
    assert!(probe(model, &options(1), &[TokenId(1)]).is_ok(), "a short text is repeated");
}
