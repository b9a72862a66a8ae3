//! One model file, loaded: its weights, its vocabulary, and what it says about itself.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hedgerow_core::engine::TokenId;
use hedgerow_core::units::Bytes;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

use crate::{Kernels, LlamaError, ModelInfo, backend, kernels, log};

/// A loaded model. Engines borrow it, any number at once, from any thread.
#[derive(Debug)]
pub struct LlamaModel {
    pub(crate) inner: llama_cpp_2::model::LlamaModel,
    info: ModelInfo,
    options: LoadOptions,
    forbidden: Forbidden,
}

/// How to load a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Layers to keep on a graphics processor, if this build can use one; 0 keeps all on the CPU.
    pub gpu_layers: u32,
    /// Map the file instead of copying it: starts sooner, and shares memory between processes.
    pub use_mmap: bool,
    /// What computes; [`Kernels::Plain`] keeps every layer on the CPU, whatever `gpu_layers` says.
    pub kernels: Kernels,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { gpu_layers: 0, use_mmap: true, kernels: Kernels::Fast }
    }
}

/// Tokens that no answer may hold, in ascending order.
#[derive(Debug)]
struct Forbidden {
    /// Those the model file itself rules out.
    always: Vec<LlamaToken>,
    /// The same and every end-of-generation token.
    with_ends: Vec<LlamaToken>,
}

impl LlamaModel {
    /// Loads the model in the GGUF file at `path` and tells `on_progress` how much is done, from 0 to 1.
    ///
    /// A file that llama.cpp cannot use is an error and never the end of the process, as far as
    /// llama.cpp checks what it reads: a file made to deceive it is not safe to load.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no GGUF file, is cut short, or holds a model that cannot be used.
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        mut on_progress: impl FnMut(f32) + 'static,
    ) -> Result<Self, LlamaError> {
        let size = check_file(path)?;
        let backend = backend::get()?;
        let inner = log::with_reason(|| match options.kernels {
            Kernels::Fast => {
                let parameters = LlamaModelParams::default()
                    .with_n_gpu_layers(options.gpu_layers)
                    .with_use_mmap(options.use_mmap)
                    .with_progress_callback(move |done| {
                        on_progress(done);
                        true
                    });
                llama_cpp_2::model::LlamaModel::load_from_file(backend, path, &parameters).map_err(drop)
            }
            Kernels::Plain => kernels::load_plain(backend, &c_path(path)?, options.use_mmap, on_progress),
        })
        .map_err(|reason| load_error(path, reason))?;
        let info = ModelInfo::read(&inner, size)?;
        let forbidden = Forbidden::of(&inner);
        Ok(Self { inner, info, options: *options, forbidden })
    }

    /// How it was loaded.
    pub fn load_options(&self) -> LoadOptions {
        self.options
    }

    /// What the file says about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The tokens of a text. `special` reads the text of a special token (`<|im_start|>`) as that token
    /// and not as letters, so it is for templates and never for what a caller wrote; `add_bos` puts the
    /// beginning-of-text token first if the model wants one.
    pub fn tokenize(&self, text: &str, special: bool, add_bos: bool) -> Vec<TokenId> {
        let tokens = self.inner.vocab().tokenize(text.as_bytes(), add_bos, special);
        tokens.into_iter().map(|token| TokenId(token.0)).collect()
    }

    /// Appends the bytes of a token's text: perhaps only a part of a character, and nothing for a token
    /// that is not text or not in the vocabulary.
    pub fn token_bytes(&self, token: TokenId, bytes: &mut Vec<u8>) {
        if self.knows(token) {
            self.inner.vocab().token_to_piece_into(LlamaToken(token.0), bytes, false, None);
        }
    }

    /// Whether the token ends an answer.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.knows(token) && self.inner.vocab().is_eog(LlamaToken(token.0))
    }

    /// Whether the vocabulary has this token: llama.cpp must not be asked about any other.
    pub fn knows(&self, token: TokenId) -> bool {
        (0..self.inner.n_vocab()).contains(&token.0)
    }

    pub(crate) fn forbidden(&self, ignore_eos: bool) -> &[LlamaToken] {
        if ignore_eos { &self.forbidden.with_ends } else { &self.forbidden.always }
    }
}

impl Forbidden {
    fn of(model: &llama_cpp_2::model::LlamaModel) -> Self {
        let vocabulary = model.vocab();
        let mut always = vocabulary.suppress_tokens().to_vec();
        always.sort_unstable();
        let mut with_ends = always.clone();
        with_ends.extend(vocabulary.tokens().filter(|&token| vocabulary.is_eog(token)));
        with_ends.sort_unstable();
        with_ends.dedup();
        Self { always, with_ends }
    }
}

/// The path as llama.cpp takes it; [`check_file`] has refused those that cannot be passed.
fn c_path(path: &Path) -> Result<CString, ()> {
    CString::new(path.to_str().ok_or(())?).map_err(drop)
}

/// The size of the file, if it begins like a GGUF file.
pub(crate) fn check_file(path: &Path) -> Result<Bytes, LlamaError> {
    let unreadable = |kind| LlamaError::Unreadable { path: path.to_owned(), kind };
    if path.to_str().is_none_or(|text| text.contains('\0')) {
        // The binding hands llama.cpp a C string in UTF-8.
        return Err(unreadable(io::ErrorKind::InvalidFilename));
    }
    let mut file = File::open(path).map_err(|error| unreadable(error.kind()))?;
    let about = file.metadata().map_err(|error| unreadable(error.kind()))?;
    if about.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory));
    }
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(Bytes(about.len())),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(unreadable(error.kind())),
        Ok(()) | Err(_) => Err(LlamaError::NotGguf { path: path.to_owned() }),
    }
}

/// Sorts llama.cpp's reason into one of ours.
fn load_error(path: &Path, reason: String) -> LlamaError {
    let path = path.to_owned();
    match reason.split_once("unknown model architecture: '") {
        Some((_, architecture)) => LlamaError::UnknownArchitecture {
            path,
            architecture: architecture.trim_end_matches('\'').to_owned(),
        },
        None => LlamaError::Damaged { path, reason },
    }
}
