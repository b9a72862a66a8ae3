//! Tests hand-written headers, intact and damaged in many ways.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// Bytes of a small model, in the order of the layout.
#[derive(Default)]
struct Written(Vec<u8>);

impl Written {
    fn u32(mut self, value: u32) -> Written {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Written {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Written {
        let mut written = self.u64(text.len() as u64);
        written.0.extend(text.bytes());
        written
    }

    fn pad(mut self, alignment: usize) -> Written {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        self
    }

    fn tensor(self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Written {
        let start = self.text(name).u32(shape.len() as u32);
        shape.iter().fold(start, |written, length| written.u64(*length)).u32(kind).u64(offset)
    }
}

/// A model with two tensors: 64 numbers of Q4_1 (40 bytes, padded to 64) and 8 of F32 (32 bytes).
fn tiny() -> Vec<u8> {
    let mut start = Written::default();
    start.0.extend(MAGIC);
    let header = start
        .u32(3)
        .u64(2)
        .u64(6)
        .text("general.architecture")
        .u32(STRING)
        .text("llama")
        .text("general.name")
        .u32(STRING)
        .text("Tiny")
        .text("llama.context_length")
        .u32(U32)
        .u32(2048)
        .text("general.file_type")
        .u32(U32)
        .u32(3)
        .text("tokenizer.chat_template")
        .u32(STRING)
        .text("{{ messages }}")
        .text("tokenizer.ggml.tokens")
        .u32(ARRAY)
        .u32(STRING)
        .u64(2)
        .text("a")
        .text("b")
        .tensor("blk.0.weight", &[32, 2], 3, 0)
        .tensor("norm.weight", &[8], 0, 64)
        .pad(32);
    let mut bytes = header.0;
    bytes.resize(bytes.len() + 64 + 32, 7);
    bytes
}

fn check(bytes: &[u8]) -> Result<GgufSummary, ModelError> {
    whole(bytes).map(|(summary, _)| summary)
}

fn whole(bytes: &[u8]) -> Result<(GgufSummary, Vec<GgufTensor>), ModelError> {
    read(Cursor::new(bytes), bytes.len() as u64, Path::new("tiny.gguf"))
}

/// Returns the tiny model with one 8-byte number of its header replaced.
fn with_u64_at(at: usize, value: u64) -> Vec<u8> {
    let mut bytes = tiny();
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn reads_what_the_model_is() {
    let summary = check(&tiny()).unwrap();
    assert_eq!(summary.version, 3);
    assert_eq!(summary.architecture.as_deref(), Some("llama"));
    assert_eq!(summary.name.as_deref(), Some("Tiny"));
    assert_eq!(summary.context_tokens, Some(2048));
    assert_eq!(summary.quantization.as_deref(), Some("Q4_1"));
    assert_eq!(summary.tensor_count, 2);
    assert_eq!(summary.tensor_types, BTreeMap::from([("F32".to_owned(), 1), ("Q4_1".to_owned(), 1)]));
    assert_eq!(summary.chat_template.as_deref(), Some("{{ messages }}"));
}

#[test]
fn reads_where_each_tensor_lies() {
    let bytes = tiny();
    let (_, tensors) = whole(&bytes).unwrap();
    let [first, second] = tensors.as_slice() else { panic!("{tensors:?}") };
    assert_eq!((first.name.as_str(), first.kind.as_str(), first.bytes), ("blk.0.weight", "Q4_1", 40));
    assert_eq!(first.lengths, [32, 2]);
    assert_eq!((second.name.as_str(), second.kind.as_str(), second.bytes), ("norm.weight", "F32", 32));
    let data = bytes.len() as u64 - 64 - 32;
    assert_eq!((first.at, second.at), (data, data + 64));
}

#[test]
fn one_missing_byte_is_noticed_and_counted() {
    let whole = tiny();
    let error = check(&whole[..whole.len() - 1]).unwrap_err();
    let expected = format!("tiny.gguf is cut off: {} bytes expected, {} there", whole.len(), whole.len() - 1);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn every_shorter_file_is_an_error() {
    let whole = tiny();
    for length in 0..whole.len() {
        let error = check(&whole[..length]).unwrap_err();
        let expected = if length < 4 { "not_gguf" } else { "truncated_model" };
        assert_eq!(error.code(), expected, "{length} bytes: {error}");
    }
}

#[test]
fn another_kind_of_file_is_named_by_its_start() {
    let error = check(b"PK\x03\x04 and so on").unwrap_err();
    assert_eq!(error.to_string(), r#"tiny.gguf is not a GGUF file: it starts with "PK\\x03\\x04""#);
}

#[test]
fn versions_that_cannot_be_read_are_named() {
    for version in [0_u32, 1, 4, 3_u32.swap_bytes()] {
        let mut bytes = tiny();
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        assert_eq!(check(&bytes).unwrap_err().code(), "unsupported_gguf_version", "{version}");
    }
}

#[test]
fn enormous_counts_and_lengths_are_refused_at_once() {
    for value in [u64::MAX, 1 << 62, 1 << 40] {
        for (at, what) in [(8, "tensors"), (16, "keys"), (24, "a key's length")] {
            let error = check(&with_u64_at(at, value)).unwrap_err();
            assert!(
                ["bad_gguf_header", "truncated_model"].contains(&error.code()),
                "{what} {value}: {error}"
            );
        }
    }
}

#[test]
fn arrays_in_arrays_end_somewhere() {
    let mut start = Written::default();
    start.0.extend(MAGIC);
    let mut written = start.u32(3).u64(0).u64(1).text("deep").u32(ARRAY);
    for _ in 0..1000 {
        written = written.u32(ARRAY).u64(1);
    }
    assert_eq!(check(&written.0).unwrap_err().code(), "bad_gguf_header");
}

/// Returns a model with one tensor of 8 numbers.
fn with_tensor_type(kind: u32) -> Vec<u8> {
    let mut start = Written::default();
    start.0.extend(MAGIC);
    let mut bytes = start.u32(3).u64(1).u64(0).tensor("x", &[8], kind, 0).pad(32).0;
    bytes.extend([0; 64]);
    bytes
}

#[test]
fn a_tensor_type_that_llama_cpp_does_not_know_is_refused() {
    assert!(check(&with_tensor_type(0)).is_ok());
    // Removed, newer than this program, or never assigned.
    for kind in [4, 5, 31, 36, 43, 255, u32::MAX] {
        let error = check(&with_tensor_type(kind)).unwrap_err();
        assert_eq!(error.code(), "unknown_tensor_type", "{kind}: {error}");
        assert!(error.to_string().contains(&format!("`x` has the type {kind}")), "{error}");
    }
}

#[test]
fn a_row_that_does_not_fill_its_blocks_is_refused() {
    let error = check(&with_tensor_type(2)).unwrap_err();
    assert!(error.to_string().contains("rows of 8 numbers"), "{error}");
}

#[test]
fn a_value_type_that_does_not_exist_is_refused_also_in_an_empty_array() {
    let with_key = || {
        let mut start = Written::default();
        start.0.extend(MAGIC);
        start.u32(3).u64(0).u64(1).text("key")
    };
    for kind in [13, 255] {
        for bytes in [with_key().u32(kind).u64(0).0, with_key().u32(ARRAY).u32(kind).u64(0).0] {
            let error = check(&bytes).unwrap_err();
            assert!(error.to_string().contains(&format!("unknown type {kind}")), "{error}");
        }
    }
    assert!(check(&with_key().u32(ARRAY).u32(STRING).u64(0).0).is_ok());
}

#[test]
fn the_shipped_model_is_what_its_name_says() {
    let Some(path) = std::env::var_os("HEDGEROW_TEST_MODEL") else {
        println!("skipped: HEDGEROW_TEST_MODEL names no file");
        return;
    };
    let summary = validate_gguf(Path::new(&path)).unwrap();
    assert_eq!(summary.architecture.as_deref(), Some("llama"));
    assert_eq!(summary.quantization.as_deref(), Some("Q4_1"));
    assert!(summary.chat_template.is_some());
}

proptest! {
    #[test]
    fn no_damage_makes_the_reader_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = tiny();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = check(&bytes);
    }

    #[test]
    fn no_number_in_any_place_makes_the_reader_panic(at in 0_usize..400, value in any::<u64>()) {
        let at = at.min(tiny().len() - 8);
        let _ = check(&with_u64_at(at, value));
    }

    #[test]
    fn no_bytes_after_the_start_make_the_reader_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = tiny()[..8].to_vec();
        bytes.extend(tail);
        let _ = check(&bytes);
    }
}
