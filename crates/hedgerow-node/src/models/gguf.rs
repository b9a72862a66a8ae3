//! Reads and validates the header of a GGUF file: the model's properties, and whether the file is complete.
//!
//! - takes: a file from any source, possibly malicious
//! - gives: a [`GgufSummary`], or the first error found
//! - never: panics, or allocates more memory than the file's own length justifies
//!
//! The layout, all numbers little-endian: magic, version, two counts, the keys with their values, one entry for each
//! tensor, and after padding the tensors' data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::ModelError;
use super::gguf_types::tensor_type;

/// Properties of a model from its file's header.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct GgufSummary {
    /// Version of the layout.
    pub version: u32,
    /// Architecture, such as `llama`, which selects the code that runs it.
    pub architecture: Option<String>,
    /// Name given by its author.
    pub name: Option<String>,
    /// Context length that it was trained for.
    pub context_tokens: Option<u64>,
    /// Type of most tensors, such as `Q4_1`.
    pub quantization: Option<String>,
    /// Values in the KV cache per token, keys and values of all layers.
    pub cache_numbers: Option<u64>,
    /// Number of layers.
    pub layers: Option<u64>,
    /// Width of the hidden state: values per token between two layers.
    pub hidden: Option<u64>,
    /// Experts used per token; `None` where the model has none.
    pub experts_used: Option<u64>,
    /// Number of tensors.
    pub tensor_count: u64,
    /// Number of tensors of each type.
    pub tensor_types: BTreeMap<String, u64>,
    /// Template that formats a conversation as a prompt.
    pub chat_template: Option<String>,
    /// Size of the file.
    pub file_bytes: u64,
}

const MAGIC: &[u8; 4] = b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const KEY_BYTES_MAX: u64 = 1 << 16;
/// Longest text value that is stored: templates of tens of kilobytes exist, and nothing else stored is much longer.
const KEPT_TEXT_BYTES_MAX: u64 = 4 << 20;
const KEYS_MAX: u64 = 1 << 16;
const TENSORS_MAX: u64 = 1 << 20;
const DIMENSIONS_MAX: u32 = 4;
const NESTED_ARRAYS_MAX: u32 = 4;

/// One entry of a file's table of tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// Storage type of its values, such as `Q4_1`.
    pub kind: String,
    /// Its dimensions, the row length first; fewer than four where the rest are 1.
    pub lengths: Vec<u64>,
    /// Size in bytes.
    pub bytes: u64,
    /// Offset of its data in the file.
    pub at: u64,
}

/// Reads a model file's table of tensors, with the same checks as [`validate_gguf`].
///
/// # Errors
///
/// As [`validate_gguf`].
pub(crate) fn read_tensors(path: &Path) -> Result<Vec<GgufTensor>, ModelError> {
    let (source, bytes) = open(path)?;
    read(source, bytes, path).map(|(_, tensors)| tensors)
}

/// Reads a model file's header, and compares the file's size with the size that its tensors need.
///
/// # Errors
///
/// [`ModelError::NotGguf`], [`ModelError::UnsupportedVersion`], [`ModelError::Truncated`],
/// [`ModelError::UnknownTensorType`], or [`ModelError::BadHeader`] with the place in the file.
pub fn validate_gguf(path: &Path) -> Result<GgufSummary, ModelError> {
    let (source, bytes) = open(path)?;
    read(source, bytes, path).map(|(summary, _)| summary)
}

fn open(path: &Path) -> Result<(impl BufRead, u64), ModelError> {
    let failed = || ModelError::io("reading", path);
    let file = File::open(path).map_err(failed())?;
    let bytes = file.metadata().map_err(failed())?.len();
    Ok((BufReader::with_capacity(1 << 16, file), bytes))
}

fn read(
    source: impl BufRead,
    file_bytes: u64,
    path: &Path,
) -> Result<(GgufSummary, Vec<GgufTensor>), ModelError> {
    let mut reader = Reader { source, at: 0, file_bytes, path };
    let version = reader.magic_and_version()?;
    let tensor_count = reader.count(TENSORS_MAX, "tensors")?;
    let key_count = reader.count(KEYS_MAX, "keys")?;
    let mut kept = Kept::default();
    for _ in 0..key_count {
        reader.key_and_value(&mut kept)?;
    }
    let tensors = reader.tensors(tensor_count)?;
    let data = reader.check_extent(&tensors, kept.alignment)?;
    let mut list = tensors.list;
    list.iter_mut().for_each(|tensor| tensor.at += data);
    let summary = GgufSummary {
        version,
        context_tokens: kept.number("context_length"),
        cache_numbers: kept.cache_numbers(),
        layers: kept.number("block_count"),
        hidden: kept.number("embedding_length"),
        experts_used: kept.number("expert_used_count").filter(|&count| count > 0),
        architecture: kept.texts.remove("general.architecture"),
        name: kept.texts.remove("general.name"),
        quantization: kept.quantization(),
        tensor_count,
        tensor_types: tensors.counts,
        chat_template: kept.texts.remove("tokenizer.chat_template"),
        file_bytes,
    };
    Ok((summary, list))
}

/// Values from the header that the summary is built from.
struct Kept {
    texts: BTreeMap<String, String>,
    /// All keys that end in one of [`Kept::NUMBERS`]; the architecture determines which one applies.
    numbers: BTreeMap<String, u64>,
    file_type: Option<u64>,
    alignment: u64,
}

impl Default for Kept {
    fn default() -> Kept {
        // 32 is the layout's default.
        Kept { texts: BTreeMap::new(), numbers: BTreeMap::new(), file_type: None, alignment: 32 }
    }
}

impl Kept {
    const TEXTS: [&str; 3] = ["general.architecture", "general.name", "tokenizer.chat_template"];

    const NUMBERS: [&str; 8] = [
        ".context_length",
        ".block_count",
        ".embedding_length",
        ".attention.head_count",
        ".attention.head_count_kv",
        ".attention.key_length",
        ".attention.value_length",
        ".expert_used_count",
    ];

    /// Returns a number of the file's own architecture.
    fn number(&self, name: &str) -> Option<u64> {
        let architecture = self.texts.get("general.architecture")?;
        self.numbers.get(&format!("{architecture}.{name}")).copied()
    }

    /// Returns `layers · heads · (key + value)`; `None` where the file has no single numbers for it, because layers
    /// differ.
    fn cache_numbers(&self) -> Option<u64> {
        let heads = self.number("attention.head_count")?;
        let usual = self.number("embedding_length")?.checked_div(heads)?;
        let length = |name: &str| self.number(name).unwrap_or(usual);
        let each = length("attention.key_length").checked_add(length("attention.value_length"))?;
        let kv_heads = self.number("attention.head_count_kv")?;
        self.number("block_count")?.checked_mul(kv_heads)?.checked_mul(each)
    }

    fn quantization(&self) -> Option<String> {
        let id = self.file_type?;
        Some(hedgerow_llama::precision_name(id).map_or_else(|| format!("file type {id}"), str::to_owned))
    }
}

/// Contents of the table of tensors.
struct Tensors {
    counts: BTreeMap<String, u64>,
    /// End of the last tensor, relative to the start of the data.
    end: u64,
    /// The tensors; `at` is relative to the start of the data.
    list: Vec<GgufTensor>,
}

/// A reader that tracks its position and the number of bytes left.
struct Reader<'a, R> {
    source: R,
    at: u64,
    file_bytes: u64,
    path: &'a Path,
}

impl<R: BufRead> Reader<'_, R> {
    fn magic_and_version(&mut self) -> Result<u32, ModelError> {
        let mut start = Vec::new();
        let taken = self.source.by_ref().take(4).read_to_end(&mut start);
        taken.map_err(ModelError::io("reading", self.path))?;
        if start != MAGIC {
            let start = start.escape_ascii().to_string();
            return Err(ModelError::NotGguf { path: self.path.to_owned(), start });
        }
        self.at = 4;
        let version = self.u32()?;
        if VERSIONS.contains(&version) {
            return Ok(version);
        }
        Err(ModelError::UnsupportedVersion { path: self.path.to_owned(), version })
    }

    fn count(&mut self, max: u64, what: &str) -> Result<u64, ModelError> {
        let count = self.u64()?;
        if count <= max { Ok(count) } else { Err(self.bad(format!("{count} {what}, more than {max}"))) }
    }

    fn key_and_value(&mut self, kept: &mut Kept) -> Result<(), ModelError> {
        let key = self.text(KEY_BYTES_MAX)?;
        let kind = self.u32()?;
        if kind == STRING && Kept::TEXTS.contains(&key.as_str()) {
            let text = self.text(KEPT_TEXT_BYTES_MAX)?;
            kept.texts.insert(key, text);
            return Ok(());
        }
        let Some(number) = self.value(kind, NESTED_ARRAYS_MAX)? else { return Ok(()) };
        if key == "general.alignment" {
            // llama.cpp rejects other values as well.
            if !(number.is_power_of_two() && (8..=1 << 16).contains(&number)) {
                return Err(self.bad(format!("an alignment of {number}")));
            }
            kept.alignment = number;
        } else if key == "general.file_type" {
            kept.file_type = Some(number);
        } else if Kept::NUMBERS.iter().any(|name| key.ends_with(name)) {
            kept.numbers.insert(key, number);
        }
        Ok(())
    }

    /// Skips a value; returns it if it is a non-negative integer.
    fn value(&mut self, kind: u32, nested_max: u32) -> Result<Option<u64>, ModelError> {
        match kind {
            U8 => Ok(Some(u64::from(self.bytes::<1>()?[0]))),
            U16 => Ok(Some(u64::from(u16::from_le_bytes(self.bytes()?)))),
            U32 => Ok(Some(u64::from(self.u32()?))),
            I32 => Ok(u64::try_from(i32::from_le_bytes(self.bytes()?)).ok()),
            U64 => Ok(Some(self.u64()?)),
            I64 => Ok(u64::try_from(i64::from_le_bytes(self.bytes()?)).ok()),
            STRING => {
                let length = self.u64()?;
                self.skip(length)?;
                Ok(None)
            }
            ARRAY => {
                self.array(nested_max)?;
                Ok(None)
            }
            other => match scalar_bytes(other) {
                Some(size) => self.skip(size).map(|()| None),
                None => Err(self.unknown_value_type(other)),
            },
        }
    }

    fn array(&mut self, nested_max: u32) -> Result<(), ModelError> {
        let kind = self.u32()?;
        let count = self.u64()?;
        if let Some(size) = scalar_bytes(kind) {
            return self.skip(size.saturating_mul(count));
        }
        // An empty array has a type as well.
        if ![STRING, ARRAY].contains(&kind) {
            return Err(self.unknown_value_type(kind));
        }
        // Each element takes some bytes, so the end of the file ends the loop however large the count is.
        for _ in 0..count {
            match kind {
                ARRAY if nested_max == 0 => return Err(self.bad("arrays nested too deeply".to_owned())),
                ARRAY => self.array(nested_max - 1)?,
                other => drop(self.value(other, 0)?),
            }
        }
        Ok(())
    }

    fn tensors(&mut self, count: u64) -> Result<Tensors, ModelError> {
        let mut tensors = Tensors { counts: BTreeMap::new(), end: 0, list: Vec::new() };
        for _ in 0..count {
            let name = self.text(KEY_BYTES_MAX)?;
            let (kind, lengths, numbers) = self.shape()?;
            let offset = self.u64()?;
            let known = tensor_type(kind).ok_or_else(|| ModelError::UnknownTensorType {
                path: self.path.to_owned(),
                tensor: name.clone(),
                kind,
            })?;
            let row = lengths.first().copied().unwrap_or(1);
            if !row.is_multiple_of(known.block_count) {
                return Err(self.bad(format!(
                    "the tensor `{name}` has rows of {row} numbers, not a multiple of the {} in a block of {}",
                    known.block_count, known.name
                )));
            }
            let size = (numbers / known.block_count).checked_mul(known.block_bytes);
            let end = size.and_then(|size| size.checked_add(offset));
            let (Some(bytes), Some(end)) = (size, end) else {
                return Err(self.bad("a tensor without a possible size".to_owned()));
            };
            *tensors.counts.entry(known.name.to_owned()).or_default() += 1;
            tensors.end = tensors.end.max(end);
            tensors.list.push(GgufTensor { name, kind: known.name.to_owned(), lengths, bytes, at: offset });
        }
        Ok(tensors)
    }

    /// Reads a tensor's type, its dimensions, and its number of values.
    fn shape(&mut self) -> Result<(u32, Vec<u64>, u64), ModelError> {
        let dimensions = self.u32()?;
        if dimensions > DIMENSIONS_MAX {
            return Err(self.bad(format!("a tensor of {dimensions} dimensions")));
        }
        let mut numbers: u64 = 1;
        let mut lengths = Vec::new();
        for _ in 0..dimensions {
            let length = self.u64()?;
            lengths.push(length);
            let product = numbers.checked_mul(length);
            numbers = product.ok_or_else(|| self.bad("a tensor without a possible size".to_owned()))?;
        }
        Ok((self.u32()?, lengths, numbers))
    }

    /// Returns the start of the tensors' data, if the data is complete.
    fn check_extent(&self, tensors: &Tensors, alignment: u64) -> Result<u64, ModelError> {
        let data = self.at.next_multiple_of(alignment);
        // A model without tensors is only a vocabulary, and needs no padding after its header.
        if tensors.counts.is_empty() {
            return Ok(data);
        }
        let end = data.checked_add(tensors.end);
        let end = end.ok_or_else(|| self.bad("a tensor without a possible place".to_owned()))?;
        if end <= self.file_bytes { Ok(data) } else { Err(self.truncated(end)) }
    }

    fn u32(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bytes<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], ModelError> {
        self.expect(COUNT as u64)?;
        let mut bytes = [0; COUNT];
        self.source.read_exact(&mut bytes).map_err(ModelError::io("reading", self.path))?;
        self.at += COUNT as u64;
        Ok(bytes)
    }

    fn text(&mut self, bytes_max: u64) -> Result<String, ModelError> {
        let length = self.u64()?;
        if length > bytes_max {
            return Err(self.bad(format!("a text of {length} bytes where {bytes_max} are the most")));
        }
        self.expect(length)?;
        let mut bytes = Vec::new();
        let taken = self.source.by_ref().take(length).read_to_end(&mut bytes);
        taken.map_err(ModelError::io("reading", self.path))?;
        self.at += length;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip(&mut self, count: u64) -> Result<(), ModelError> {
        self.expect(count)?;
        let mut left = count;
        while left > 0 {
            let here = self.source.fill_buf().map_err(ModelError::io("reading", self.path))?.len();
            if here == 0 {
                return Err(self.truncated(self.at + left));
            }
            let step = here.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.source.consume(step);
            self.at += step as u64;
            left -= step as u64;
        }
        Ok(())
    }

    /// Returns an error for a length that exceeds the file, before it is used.
    fn expect(&self, count: u64) -> Result<(), ModelError> {
        match self.at.checked_add(count) {
            Some(end) if end <= self.file_bytes => Ok(()),
            Some(end) => Err(self.truncated(end)),
            None => Err(self.bad(format!("a length of {count} bytes"))),
        }
    }

    fn truncated(&self, expected_bytes: u64) -> ModelError {
        ModelError::Truncated { path: self.path.to_owned(), expected_bytes, actual_bytes: self.file_bytes }
    }

    fn unknown_value_type(&self, kind: u32) -> ModelError {
        self.bad(format!("a value of the unknown type {kind}"))
    }

    fn bad(&self, detail: String) -> ModelError {
        ModelError::BadHeader { path: self.path.to_owned(), at: self.at, detail }
    }
}

const U8: u32 = 0;
const U16: u32 = 2;
const U32: u32 = 4;
const I32: u32 = 5;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const U64: u32 = 10;
const I64: u32 = 11;

/// Returns the size of fixed-size values: integers, floats and booleans.
fn scalar_bytes(kind: u32) -> Option<u64> {
    match kind {
        U8 | 1 | 7 => Some(1),
        U16 | 3 => Some(2),
        U32 | I32 | 6 => Some(4),
        U64 | I64 | 12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
