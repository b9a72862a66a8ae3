//! The errors of quantization.

use std::path::PathBuf;

use hedgerow_llama::LlamaError;
use indicatif::HumanBytes;

use crate::models::ModelError;

/// Why there is no quantized file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it means")]
pub enum QuantizeError {
    #[error(transparent)]
    Model(#[from] ModelError),

    #[error(transparent)]
    Llama(#[from] LlamaError),

    #[error("there is no precision `{given}`")]
    UnknownPrecision { given: String },

    #[error("{} is {}", path.display(), if *is_source { "the source itself" } else { "there already" })]
    Exists { path: PathBuf, is_source: bool },

    #[error("{} has {} free, and {} are needed", folder.display(), HumanBytes(*free), HumanBytes(*needed))]
    DiskFull { folder: PathBuf, needed: u64, free: u64 },

    #[error("{precision} cannot be made without an importance matrix")]
    NeedsImportance { precision: &'static str },

    #[error("{} is not an importance matrix: {reason}", path.display())]
    NoImportance { path: PathBuf, reason: String },

    #[error("the importance matrix {} is of another model: {reason}", path.display())]
    OtherModel { path: PathBuf, reason: String },

    #[error("{} was not written whole: {reason}", path.display())]
    Incomplete { path: PathBuf, reason: String },
}

impl QuantizeError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Model(error) => error.hint(),
            Self::Llama(error) => error.hint().to_owned(),
            Self::UnknownPrecision { .. } => {
                let names: Vec<_> = hedgerow_llama::quantizable().collect();
                format!("choose from {}", names.join(", "))
            }
            Self::Exists { is_source: true, .. } => "choose another folder by --out".to_owned(),
            Self::Exists { .. } => {
                "--force makes it again; --out puts the new one into another folder".to_owned()
            }
            Self::DiskFull { .. } => {
                "free some space, or choose a folder on another disk by --out".to_owned()
            }
            Self::NeedsImportance { .. } => {
                "give one by --imatrix (llama.cpp's llama-imatrix makes it), or choose a precision of more bits"
                    .to_owned()
            }
            Self::NoImportance { .. } => {
                "give the GGUF file that llama.cpp's llama-imatrix writes; it also converts the older .dat files"
                    .to_owned()
            }
            Self::OtherModel { .. } => "make one from this model by llama.cpp's llama-imatrix".to_owned(),
            Self::Incomplete { .. } => "check the disk's free space and run the command again".to_owned(),
        }
    }

    /// Returns a stable name of the error, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(error) => error.code(),
            Self::Llama(error) => error.code(),
            Self::UnknownPrecision { .. } => "unknown_precision",
            Self::Exists { .. } => "file_exists",
            Self::DiskFull { .. } => "disk_full",
            Self::NeedsImportance { .. } => "importance_matrix_needed",
            Self::NoImportance { .. } => "not_an_importance_matrix",
            Self::OtherModel { .. } => "importance_matrix_of_another_model",
            Self::Incomplete { .. } => "file_incomplete",
        }
    }
}
