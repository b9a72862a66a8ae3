//! The subject of a comparison, and the checks that make it meaningful.

use std::path::{Path, PathBuf};

use hedgerow_core::units::Tokens;
use hedgerow_llama::{LlamaError, LlamaModel};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::models::hex;
use crate::profile::ModelFile;

/// Everything that a comparison's figures depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The file whose quality loss is measured.
    pub model: ModelFile,
    /// The file that it is compared with.
    pub reference: ModelFile,
    /// The text that both models read.
    pub text: TextFile,
    /// Tokens of a window.
    pub ctx: u32,
    /// The number of windows read.
    pub chunks: u32,
    /// Whether each window began with the beginning-of-sequence token.
    pub bos: bool,
    /// The program and its version.
    pub engine: String,
    /// The version of the binding that contains llama.cpp.
    pub llama_cpp: String,
}

/// The text that was read, by its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFile {
    /// Its file's name.
    pub name: String,
    /// The checksum of the text.
    pub sha256: String,
    /// The number of tokens of the whole text.
    pub tokens: u32,
}

/// A text to read.
#[derive(Debug)]
pub struct Text {
    name: String,
    sha256: String,
    content: String,
}

/// Why two models cannot be compared on a text.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it means")]
pub enum QualityError {
    #[error(transparent)]
    Llama(#[from] LlamaError),

    #[error("cannot read the text {}: {reason}", path.display())]
    NoText { path: PathBuf, reason: String },

    #[error("the text has {found}, and two windows of {window} need {needed}")]
    TooShort { found: Tokens, needed: Tokens, window: Tokens },

    #[error("a window of {given} is not from {least} to {most}, which the model was trained for")]
    Window { given: Tokens, least: Tokens, most: Tokens },

    #[error("{} is not of the same model as the reference: {what} {own}, not {reference}", path.display())]
    OtherModel { path: PathBuf, what: &'static str, own: String, reference: String },

    #[error("all of the models take {needed_mb} MB, and {available_mb} MB of memory are free")]
    Memory { needed_mb: u64, available_mb: u64 },
}

impl QualityError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Llama(error) => error.hint().to_owned(),
            Self::NoText { .. } => "give a plain text file in UTF-8 by --text".to_owned(),
            Self::TooShort { found, .. } if found.0 / 2 < Subject::WINDOW_MIN.0 => {
                "give a longer text by --text".to_owned()
            }
            Self::TooShort { found, .. } => {
                format!("give a longer text by --text, or a --ctx of {} or less", found.0 / 2)
            }
            Self::Window { least, most, .. } => format!("choose a --ctx from {} to {}", least.0, most.0),
            Self::OtherModel { .. } => {
                "compare precisions of one model: `hedgerow quantize` makes them from one file".to_owned()
            }
            Self::Memory { .. } => {
                "compare fewer precisions in one run: what was measured is saved, and a later run shows it too"
                    .to_owned()
            }
        }
    }

    /// Returns a stable name of the error, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Llama(error) => error.code(),
            Self::NoText { .. } => "text_unreadable",
            Self::TooShort { .. } => "text_too_short",
            Self::Window { .. } => "window_out_of_range",
            Self::OtherModel { .. } => "reference_of_another_model",
            Self::Memory { .. } => "memory_exceeded",
        }
    }
}

impl Text {
    /// Reads a text; a line break at its very end is dropped, as in llama.cpp's own tool.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, QualityError> {
        let failed = |reason: String| QualityError::NoText { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let content = hedgerow_workload::without_byte_order_mark(&bytes).to_owned();
        let mut content =
            String::from_utf8(content).map_err(|error| failed(error.utf8_error().to_string()))?;
        if content.ends_with('\n') {
            content.pop();
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, sha256, content })
    }

    /// Returns the text itself.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// Describes its file; `tokens` is the number of tokens of the whole text.
    pub fn file(&self, tokens: u32) -> TextFile {
        TextFile { name: self.name.clone(), sha256: self.sha256.clone(), tokens }
    }
}

impl Subject {
    /// The shortest window; a shorter one gives too little context.
    pub const WINDOW_MIN: Tokens = Tokens(16);

    /// Returns its file's name: the model's, its precision, and a digest of everything but versions, so that a new
    /// measurement replaces that of an older program.
    pub(super) fn file_name(&self) -> String {
        let safe = |letter: char| {
            if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' }
        };
        let name: String = self.model.name.chars().take(60).map(safe).collect();
        let key =
            (&self.model.fingerprint, &self.reference.fingerprint, &self.text.sha256, self.ctx, self.chunks);
        let digest = hex(&Sha256::digest(serde_json::to_string(&key).expect("a key is plain data")));
        format!("{name}-{}-{}.json", self.model.precision, &digest[..16])
    }
}

/// Checks that a model has the architecture, dimensions and vocabulary of the reference. Files do not show whether
/// two models were trained alike, so more cannot be checked.
///
/// # Errors
///
/// The first property in which they differ.
pub fn kinship(path: &Path, model: &LlamaModel, reference: &LlamaModel) -> Result<(), QualityError> {
    let (own, other) = (model.info(), reference.info());
    let different = |what: &'static str, own: String, reference: String| {
        Err(QualityError::OtherModel { path: path.to_owned(), what, own, reference })
    };
    if own.architecture != other.architecture {
        return different("its architecture is", own.architecture.clone(), other.architecture.clone());
    }
    let sizes: [(&'static str, u32, u32); 4] = [
        ("its layers are", own.shape.layers, other.shape.layers),
        ("its width is", own.shape.hidden, other.shape.hidden),
        ("its feed-forward width is", own.shape.feed_forward, other.shape.feed_forward),
        ("the tokens of its vocabulary are", own.shape.vocabulary, other.shape.vocabulary),
    ];
    for (what, own, reference) in sizes {
        if own != reference {
            return different(what, own.to_string(), reference.to_string());
        }
    }
    let (own, other) = (vocabulary(model), vocabulary(reference));
    if own != other {
        return different("the digest of its vocabulary is", own, other);
    }
    Ok(())
}

/// Returns a digest of the texts of all tokens.
fn vocabulary(model: &LlamaModel) -> String {
    let mut hasher = Sha256::new();
    let mut bytes = Vec::new();
    for token in 0..model.info().shape.vocabulary {
        bytes.clear();
        model.token_bytes(hedgerow_core::engine::TokenId(token as i32), &mut bytes);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    hex(&hasher.finalize())[..16].to_owned()
}
