//! Loading a model file: its weights, its vocabulary and its metadata.

use std::borrow::Cow;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hedgerow_core::engine::TokenId;
use hedgerow_core::units::Bytes;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

use crate::devices::{Device, DeviceKind, default_devices, devices};
use crate::tokenize::SpecialTokens;
use crate::{Kernels, LlamaError, ModelInfo, backend, kernels, log};

/// A loaded model. Any number of engines on any threads can borrow it.
#[derive(Debug)]
pub struct LlamaModel {
    pub(crate) inner: llama_cpp_2::model::LlamaModel,
    info: ModelInfo,
    options: LoadOptions,
    forbidden: Forbidden,
    special: SpecialTokens,
    /// The devices of the offloaded layers; empty if all layers are on the CPU.
    devices: Vec<Device>,
    gpu_layers: u32,
}

/// Options of loading a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Number of layers to offload to accelerators, as llama.cpp counts them: the output first, then the model's
    /// layers from the last to the first. 0 computes everything on the CPU; more than the model has offloads all.
    pub gpu_layers: u32,
    /// Whether to map the file instead of copying it, which starts sooner and shares memory between processes.
    pub use_mmap: bool,
    /// The kernels; [`Kernels::Plain`] keeps every layer on the CPU, regardless of `gpu_layers`.
    pub kernels: Kernels,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { gpu_layers: 0, use_mmap: true, kernels: Kernels::Fast }
    }
}

/// Tokens that no answer may contain, in ascending order.
#[derive(Debug)]
struct Forbidden {
    /// Those that the model file excludes.
    always: Vec<LlamaToken>,
    /// Those and all end-of-generation tokens.
    with_ends: Vec<LlamaToken>,
}

impl LlamaModel {
    /// Loads a model like [`LlamaModel::load_on`], with llama.cpp's default devices for the offloaded layers.
    ///
    /// # Errors
    ///
    /// As for [`LlamaModel::load_on`].
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        on_progress: impl FnMut(f32) + 'static,
    ) -> Result<Self, LlamaError> {
        let devices = if options.gpu_layers > 0 { default_devices(&devices()?) } else { Vec::new() };
        Self::load_on(path, options, &devices, on_progress)
    }

    /// Loads the model in the GGUF file at `path` and reports its progress to `on_progress`, from 0 to 1. The layers
    /// that `options` offloads go to `devices`, split by their free memory; without devices all stay on the CPU.
    ///
    /// An unusable file is an error and does not crash the process, as far as llama.cpp checks its input: a malicious
    /// file is not safe to load.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not a GGUF file, is truncated, or holds an unusable model; when the offloaded
    /// layers do not fit the devices.
    pub fn load_on(
        path: &Path,
        options: &LoadOptions,
        devices: &[Device],
        mut on_progress: impl FnMut(f32) + 'static,
    ) -> Result<Self, LlamaError> {
        let size = check_file(path)?;
        // Without offloaded layers llama.cpp would still use a given device for large products.
        let is_offloaded = options.gpu_layers > 0 && options.kernels == Kernels::Fast;
        let devices = if is_offloaded { devices } else { &[] };
        let gpu_layers = if devices.is_empty() { 0 } else { options.gpu_layers };
        let indices: Vec<usize> = devices.iter().map(|device| device.index).collect();
        // Weights for an integrated GPU are copied anyway, and a mapped file would take the same memory once more.
        let is_copied = devices.iter().any(|device| device.kind == DeviceKind::IntegratedGpu);
        let backend = backend::get()?;
        let inner = match options.kernels {
            Kernels::Fast => {
                let parameters = LlamaModelParams::default()
                    .with_devices(&indices)
                    .map_err(|_| LlamaError::Devices { count: indices.len() })?
                    .with_n_gpu_layers(gpu_layers)
                    .with_use_mmap(options.use_mmap && !is_copied)
                    .with_progress_callback(move |done| {
                        on_progress(done);
                        true
                    });
                let load = || llama_cpp_2::model::LlamaModel::load_from_file(backend, path, &parameters);
                log::with_reason(load)
            }
            Kernels::Plain => log::with_reason(|| {
                kernels::load_plain(backend, &c_path(path)?, options.use_mmap, on_progress)
            }),
        };
        let inner = inner.map_err(|reason| load_error(path, devices, reason))?;
        let info = ModelInfo::read(&inner, size)?;
        let forbidden = Forbidden::of(&inner);
        let special = SpecialTokens::of(&inner.vocab());
        // The output counts as a layer.
        let gpu_layers = gpu_layers.min(info.shape.layers + 1);
        Ok(Self {
            inner,
            info,
            options: *options,
            forbidden,
            special,
            devices: devices.to_owned(),
            gpu_layers,
        })
    }

    /// The devices of the offloaded layers; empty if all layers are on the CPU.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Number of offloaded layers, with the output counted as one: see [`LoadOptions::gpu_layers`].
    pub fn gpu_layers(&self) -> u32 {
        self.gpu_layers
    }

    /// The options it was loaded with.
    pub fn load_options(&self) -> LoadOptions {
        self.options
    }

    /// The metadata of the file.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Tokenizes a text, in time linear in its length. With `special`, the text of a control token (`<|im_start|>`)
    /// becomes that token instead of letters, so it is for templates and never for text from callers. With `add_bos`, the
    /// beginning-of-text token comes first if the model uses one.
    pub fn tokenize(&self, text: &str, special: bool, add_bos: bool) -> Vec<TokenId> {
        self.tokenized(text, special, None, add_bos)
    }

    /// Tokenizes a chat template's output, like [`LlamaModel::tokenize`] with `special`. Texts from callers in it were
    /// escaped by [`LlamaModel::escape`] with the same barrier, which is removed.
    pub fn tokenize_rendered(&self, text: &str, barrier: char, add_bos: bool) -> Vec<TokenId> {
        self.tokenized(text, true, Some(barrier), add_bos)
    }

    /// Puts a barrier, a character that no text has, into each text of a control token, so that a caller's text cannot
    /// hold control tokens.
    pub fn escape<'a>(&self, text: &'a str, barrier: char) -> Cow<'a, str> {
        self.special.escape(text, barrier)
    }

    fn tokenized(&self, text: &str, special: bool, barrier: Option<char>, add_bos: bool) -> Vec<TokenId> {
        let vocabulary = self.inner.vocab();
        let bos = (add_bos && vocabulary.should_add_bos()).then(|| vocabulary.bos());
        let tokens = self.special.tokenize(&vocabulary, text, special, barrier);
        bos.into_iter().chain(tokens).map(|token| TokenId(token.0)).collect()
    }

    /// The bytes of the longest text of a token: no text has fewer tokens than its bytes divided by this.
    pub fn longest_token_bytes(&self) -> usize {
        self.special.longest_bytes()
    }

    /// Appends the bytes of a token's text: possibly only a part of a character, and nothing for a token without text
    /// or outside the vocabulary.
    pub fn token_bytes(&self, token: TokenId, bytes: &mut Vec<u8>) {
        if self.knows(token) {
            self.inner.vocab().token_to_piece_into(LlamaToken(token.0), bytes, false, None);
        }
    }

    /// Whether the token ends an answer.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.knows(token) && self.inner.vocab().is_eog(LlamaToken(token.0))
    }

    /// Whether the vocabulary has this token; llama.cpp must not be called with any other.
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

/// Why a path cannot be passed to llama.cpp.
pub(crate) const NO_C_STRING: &str = "its name is not UTF-8, or has a zero in it";
/// The path as a C string; [`check_file`] has refused paths that cannot be converted.
fn c_path(path: &Path) -> Result<CString, ()> {
    CString::new(path.to_str().ok_or(())?).map_err(drop)
}

/// Checks that the file begins like a GGUF file, and returns its size.
pub(crate) fn check_file(path: &Path) -> Result<Bytes, LlamaError> {
    let unreadable = |reason: String| LlamaError::Unreadable { path: path.to_owned(), reason };
    if path.to_str().is_none_or(|text| text.contains('\0')) {
        // The binding passes a C string in UTF-8.
        return Err(unreadable(NO_C_STRING.to_owned()));
    }
    let mut file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let about = file.metadata().map_err(|error| unreadable(error.to_string()))?;
    if about.is_dir() {
        return Err(unreadable("it is a folder".to_owned()));
    }
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(Bytes(about.len())),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(unreadable(error.to_string())),
        Ok(()) | Err(_) => Err(LlamaError::NotGguf { path: path.to_owned() }),
    }
}

/// Maps llama.cpp's error message to an error.
fn load_error(path: &Path, devices: &[Device], reason: String) -> LlamaError {
    let path = path.to_owned();
    let is_memory = ["allocat", "out of memory"].iter().any(|word| reason.to_lowercase().contains(word));
    if is_memory && !devices.is_empty() {
        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        return LlamaError::DeviceMemory { path, devices: names.join(", "), reason };
    }
    match reason.split_once("unknown model architecture: '") {
        Some((_, architecture)) => LlamaError::UnknownArchitecture {
            path,
            architecture: architecture.trim_end_matches('\'').to_owned(),
        },
        None => LlamaError::Damaged { path, reason },
    }
}
