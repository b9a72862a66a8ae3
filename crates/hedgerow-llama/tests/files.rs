//! Tests that invalid model files and engines that do not fit are errors and do not crash the process.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{model, model_path, options};
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, LlamaEngine, LlamaError, LlamaModel, LoadOptions};

/// A file in the tests' own folder that is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn load(path: &Path) -> Result<LlamaModel, LlamaError> {
    LlamaModel::load(path, &LoadOptions::default(), |_| {})
}

fn code_of(path: &Path) -> &'static str {
    let error = load(path).expect_err("this is no model");
    println!("{error}\nhint: {}", error.hint());
    error.code()
}

#[test]
fn a_file_that_is_not_a_model_has_a_specific_error() {
    let file = Scratch::new("no-model.gguf");
    assert_eq!(code_of(&file.0), "model_unreadable", "missing");
    assert_eq!(code_of(Path::new(env!("CARGO_TARGET_TMPDIR"))), "model_unreadable", "a folder");
    assert_eq!(code_of(Path::new("a\0b.gguf")), "model_unreadable");
    let contents: [(&[u8], &str); 5] = [
        (b"", "model_not_gguf"),
        (b"GG", "model_not_gguf"),
        (b"dear hedgehog, this is a letter\n", "model_not_gguf"),
        (b"GGUF", "model_damaged"),
        (b"GGUF\x03\0\0\0and then something else entirely, for a while", "model_damaged"),
    ];
    for (bytes, code) in contents {
        fs::write(&file.0, bytes).unwrap();
        assert_eq!(code_of(&file.0), code, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_model_file_cut_short_anywhere_is_damaged() {
    let Some((whole, _turn)) = model() else { return };
    let file = Scratch::new("cut-short.gguf");
    fs::copy(model_path().unwrap(), &file.0).unwrap();
    let size = whole.info().file.0;
    for length in [size - 1, size - 100_000, size / 2, 3_000_000, 100_000, 1000, 24, 5] {
        OpenOptions::new().write(true).open(&file.0).unwrap().set_len(length).unwrap();
        assert_eq!(code_of(&file.0), "model_damaged", "{length} of {size} bytes");
    }
}

#[test]
fn an_unknown_architecture_is_named() {
    let Some((_, _turn)) = model() else { return };
    let file = Scratch::new("unknown.gguf");
    let mut bytes = fs::read(model_path().unwrap()).unwrap();
    let key = b"general.architecture";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    // The key is followed by the value's type in 4 bytes, its length in 8, and its text.
    bytes[at + key.len() + 12] = b'x';
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&file.0)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    let error = load(&file.0).unwrap_err();
    assert!(
        matches!(&error, LlamaError::UnknownArchitecture { architecture, .. } if architecture == "xlama"),
        "{error}"
    );
}

#[test]
fn an_engine_that_cannot_be_created_has_a_specific_error() {
    let Some((model, _turn)) = model() else { return };
    let code = |options: EngineOptions| {
        LlamaEngine::new(model, &options).err().map(|error| {
            println!("{error}\nhint: {}", error.hint());
            error.code()
        })
    };
    assert_eq!(code(options(1)), None);
    assert_eq!(code(options(0)), Some("parallel_out_of_range"));
    assert_eq!(code(options(257)), Some("parallel_out_of_range"));
    assert_eq!(code(EngineOptions { context: Tokens(0), ..options(1) }), Some("option_zero"));
    assert_eq!(code(EngineOptions { micro_batch: Tokens(0), ..options(1) }), Some("option_zero"));
    assert_eq!(code(EngineOptions { threads: 0, ..options(1) }), Some("option_zero"));
    for context in [100_000_000, u32::MAX] {
        let options = EngineOptions { context: Tokens(context), ..options(16) };
        assert_eq!(code(options), Some("kv_memory_exceeded"));
    }
}

#[test]
fn a_model_has_metadata_and_reports_its_loading_progress() {
    let Some((model, _turn)) = model() else { return };
    let info = model.info();
    assert_eq!(info.file.0, fs::metadata(model_path().unwrap()).unwrap().len());
    assert!(info.weights < info.file && info.parameters > 0, "{info:?}");
    assert!(
        info.shape.vocabulary > 0 && info.shape.layers > 0 && info.train_context > Tokens::ZERO,
        "{info:?}"
    );
    let (sender, progress) = std::sync::mpsc::channel();
    let options = LoadOptions::default();
    LlamaModel::load(&model_path().unwrap(), &options, move |done| sender.send(done).unwrap()).unwrap();
    let progress: Vec<f32> = progress.iter().collect();
    assert!(progress.is_sorted() && progress.last() == Some(&1.0), "{progress:?}");
}
