//! Errors of fetching or reading a model file.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model is unavailable, with the relevant values and, in [`ModelError::hint`], a remedy.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it means")]
pub enum ModelError {
    #[error("`{given}` is neither a file, a built-in model, nor a repository like `org/name:QUANT`")]
    UnknownName { given: String },

    #[error("`{file}` is to be taken from a repository, but `{model}` is none")]
    FileWithoutRepository { file: String, model: String },

    #[error("there is no file {}", path.display())]
    FileNotFound { path: PathBuf },

    #[error("no folder for models: none of HEDGEROW_CACHE, XDG_CACHE_HOME and HOME is set")]
    NoCacheFolder,

    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error("{model} is not in {} and the network is not to be used", looked_in.display())]
    Offline { model: String, looked_in: PathBuf },

    #[error("no package index is known: {} reports none: {detail}", python.display())]
    IndexUnknown { python: PathBuf, detail: String },

    #[error("{index} has no wheel of {package} {version}")]
    NotOnIndex { package: &'static str, version: &'static str, index: String },

    #[error("pip could not download {package} either: {detail}")]
    PipFailed { package: &'static str, detail: String, first: Box<ModelError> },

    #[error("{} is not an archive with {member}: {detail}", path.display())]
    BadArchive { path: PathBuf, member: &'static str, detail: String },

    #[error("{url} answered {status}")]
    HttpStatus { url: String, status: u16 },

    #[error("{url} could not be reached: {detail}")]
    Unreachable { url: String, detail: String },

    #[error("{url} broke off after {done} bytes: {detail}")]
    Interrupted { url: String, done: u64, detail: String },

    #[error("{url} sent something unexpected: {detail}")]
    BadReply { url: String, detail: String },

    #[error("{} has the checksum {actual}, not {expected}", path.display())]
    WrongChecksum { path: PathBuf, expected: String, actual: String },

    #[error("{endpoint} has no repository {repo}, or does not show it to you")]
    RepositoryNotFound { repo: String, endpoint: String },

    #[error("{repo} holds no GGUF file")]
    NoGgufInRepository { repo: String },

    #[error("{repo} has no GGUF file for `{wanted}`; it has {}", available.join(", "))]
    NoSuchFile { repo: String, wanted: String, available: Vec<String> },

    #[error("{repo} has several GGUF files: {}", available.join(", "))]
    AmbiguousFile { repo: String, available: Vec<String> },

    #[error("{file} is one part of a split model")]
    SplitModel { file: String },

    #[error("{} is not a GGUF file: it starts with {start:?}", path.display())]
    NotGguf { path: PathBuf, start: String },

    #[error("{} is GGUF version {version}; versions 2 and 3 can be read", path.display())]
    UnsupportedVersion { path: PathBuf, version: u32 },

    #[error("{} is cut off: {expected_bytes} bytes expected, {actual_bytes} there", path.display())]
    Truncated { path: PathBuf, expected_bytes: u64, actual_bytes: u64 },

    #[error("{}: the tensor `{tensor}` has the type {kind}, which the llama.cpp in this program does not know", path.display())]
    UnknownTensorType { path: PathBuf, tensor: String, kind: u32 },

    #[error("{} has a damaged header at byte {at}: {detail}", path.display())]
    BadHeader { path: PathBuf, at: u64, detail: String },
}

impl ModelError {
    /// Wraps an error of the operating system.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ModelError {
        move |source| ModelError::Io { action, path: path.to_owned(), source }
    }

    /// Whether a retry may succeed.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            ModelError::HttpStatus { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
            ModelError::Unreachable { .. } | ModelError::Interrupted { .. } => true,
            ModelError::UnknownName { .. }
            | ModelError::FileWithoutRepository { .. }
            | ModelError::FileNotFound { .. }
            | ModelError::NoCacheFolder
            | ModelError::Io { .. }
            | ModelError::Offline { .. }
            | ModelError::IndexUnknown { .. }
            | ModelError::NotOnIndex { .. }
            | ModelError::PipFailed { .. }
            | ModelError::BadArchive { .. }
            | ModelError::BadReply { .. }
            | ModelError::WrongChecksum { .. }
            | ModelError::RepositoryNotFound { .. }
            | ModelError::NoGgufInRepository { .. }
            | ModelError::NoSuchFile { .. }
            | ModelError::AmbiguousFile { .. }
            | ModelError::SplitModel { .. }
            | ModelError::NotGguf { .. }
            | ModelError::UnsupportedVersion { .. }
            | ModelError::Truncated { .. }
            | ModelError::UnknownTensorType { .. }
            | ModelError::BadHeader { .. } => false,
        }
    }

    /// A stable name, for scripts and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            ModelError::UnknownName { .. } => "unknown_model_name",
            ModelError::FileWithoutRepository { .. } => "file_without_repository",
            ModelError::FileNotFound { .. } => "model_file_not_found",
            ModelError::NoCacheFolder => "no_cache_folder",
            ModelError::Io { .. } => "model_io",
            ModelError::Offline { .. } => "model_not_cached",
            ModelError::IndexUnknown { .. } => "package_index_unknown",
            ModelError::NotOnIndex { .. } => "package_not_on_index",
            ModelError::PipFailed { .. } => "pip_failed",
            ModelError::BadArchive { .. } => "bad_archive",
            ModelError::HttpStatus { .. } => "http_status",
            ModelError::Unreachable { .. } => "unreachable",
            ModelError::Interrupted { .. } => "download_interrupted",
            ModelError::BadReply { .. } => "bad_reply",
            ModelError::WrongChecksum { .. } => "wrong_checksum",
            ModelError::RepositoryNotFound { .. } => "repository_not_found",
            ModelError::NoGgufInRepository { .. } => "no_gguf_in_repository",
            ModelError::NoSuchFile { .. } => "no_such_file_in_repository",
            ModelError::AmbiguousFile { .. } => "ambiguous_file",
            ModelError::SplitModel { .. } => "split_model",
            ModelError::NotGguf { .. } => "not_gguf",
            ModelError::UnsupportedVersion { .. } => "unsupported_gguf_version",
            ModelError::Truncated { .. } => "truncated_model",
            ModelError::UnknownTensorType { .. } => "unknown_tensor_type",
            ModelError::BadHeader { .. } => "bad_gguf_header",
        }
    }

    /// What the user can do about the error.
    pub fn hint(&self) -> String {
        match self {
            ModelError::UnknownName { .. } => {
                "name `smollm2-135m-instruct`, a .gguf file, or a repository like `org/name:Q4_K_M`"
                    .to_owned()
            }
            ModelError::FileWithoutRepository { .. } => {
                "name the repository as the model, like `org/name`, or leave --hf-file out".to_owned()
            }
            ModelError::FileNotFound { .. } => {
                "check the path; a model on the hub is named `org/name`".to_owned()
            }
            ModelError::NoCacheFolder => "set HEDGEROW_CACHE to a folder with room for models".to_owned(),
            ModelError::Io { .. } => "check the folder's owner and free space".to_owned(),
            ModelError::Offline { .. } => {
                "run `hedgerow pull` once with a network, without --offline".to_owned()
            }
            ModelError::IndexUnknown { .. } => {
                "install python3 with pip (on Debian: apt-get install python3-pip), or pass a .gguf file"
                    .to_owned()
            }
            ModelError::NotOnIndex { .. } => "check `pip config list`: another index may hold it".to_owned(),
            ModelError::PipFailed { first, .. } => {
                format!("mend pip's setup; the direct way failed too: {first}")
            }
            ModelError::BadArchive { .. } => "run the command again, which fetches it anew".to_owned(),
            ModelError::HttpStatus { status: 401 | 403, .. } => {
                "set HF_TOKEN, and accept the model's conditions on its page if it has any".to_owned()
            }
            ModelError::HttpStatus { .. } => "check the address; if it is right, try again later".to_owned(),
            ModelError::Unreachable { .. } => {
                "check the network, HTTPS_PROXY, and SSL_CERT_FILE or ca-certificates".to_owned()
            }
            ModelError::Interrupted { .. } => {
                "run the command again: it goes on where this one stopped".to_owned()
            }
            ModelError::BadReply { .. } => {
                "check the address and what stands between, like a proxy".to_owned()
            }
            ModelError::WrongChecksum { .. } => "run `hedgerow pull --force` to fetch it anew".to_owned(),
            ModelError::RepositoryNotFound { .. } => {
                "check the spelling; for a private or gated repository set HF_TOKEN".to_owned()
            }
            ModelError::NoGgufInRepository { .. } => {
                "look for a repository whose name ends in -GGUF".to_owned()
            }
            ModelError::NoSuchFile { .. } | ModelError::AmbiguousFile { .. } => {
                "add the quantization after a colon, like `org/name:Q4_K_M`, or name the file with --hf-file"
                    .to_owned()
            }
            ModelError::SplitModel { .. } => {
                "choose a file that is whole, or join the parts with llama-gguf-split --merge".to_owned()
            }
            ModelError::NotGguf { .. } => {
                "pass a .gguf file; other formats must be converted first".to_owned()
            }
            ModelError::UnsupportedVersion { .. } => {
                "convert the model again with a current llama.cpp".to_owned()
            }
            ModelError::UnknownTensorType { .. } => {
                "if the file is newer than this program, use a newer hedgerow; if it is old, convert the model again; \
                 else fetch it again"
                    .to_owned()
            }
            ModelError::Truncated { .. } | ModelError::BadHeader { .. } => {
                "fetch the file again; `hedgerow pull --verify` compares checksums".to_owned()
            }
        }
    }
}
