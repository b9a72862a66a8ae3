//! Errors of loading models and creating engines.

use std::path::PathBuf;

use hedgerow_core::units::Bytes;

/// Why a model cannot be loaded or an engine cannot be created.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LlamaError {
    /// llama.cpp cannot be initialized.
    #[error("llama.cpp did not start, or found no processor that it can use")]
    Backend,
    /// This build does not have the CPU variant, or another one is already loaded.
    #[error("the CPU variant `{name}` is not one that can be loaded now; there are: {}", if known.is_empty() { "none" } else { known })]
    CpuVariant {
        /// The requested variant.
        name: String,
        /// The available variants, separated by commas.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read the model file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error message.
        reason: String,
    },
    /// The file is not a GGUF file.
    #[error("{} is not a GGUF file", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
    },
    /// The file begins like a GGUF file, but is truncated or inconsistent.
    #[error("{} is cut short or damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// llama.cpp's error message.
        reason: String,
    },
    /// The model's architecture is unknown to this llama.cpp.
    #[error("{} holds a model of the unknown architecture `{architecture}`", path.display())]
    UnknownArchitecture {
        /// The file.
        path: PathBuf,
        /// The architecture named in the file.
        architecture: String,
    },
    /// The model is not an autoregressive decoder with a KV cache.
    #[error("a model of the architecture `{architecture}` is not one that hedgerow can schedule")]
    NotADecoder {
        /// The architecture named in the file.
        architecture: String,
    },
    /// A dimension that the cost model needs is missing.
    #[error("the model file does not say `{key}`")]
    NoMetadata {
        /// The GGUF key.
        key: String,
    },
    /// The number of parallel requests is out of llama.cpp's range.
    #[error("{parallel} requests at once are not possible, only 1 to {most}")]
    Parallel {
        /// The requested number.
        parallel: u32,
        /// The largest possible number.
        most: u32,
    },
    /// An option that must be at least 1 is 0.
    #[error("`{field}` is 0")]
    Zero {
        /// The option.
        field: &'static str,
    },
    /// The KV cache, or the other memory of llama.cpp, does not fit.
    #[error("no room for a KV cache of {needed}: {reason}")]
    Memory {
        /// The size of the cache alone.
        needed: Bytes,
        /// llama.cpp's error message.
        reason: String,
    },
    /// The offloaded layers do not fit the devices' memory.
    #[error("the layers of {} that are to be on {devices} do not fit its memory: {reason}", path.display())]
    DeviceMemory {
        /// The model file.
        path: PathBuf,
        /// The devices, by name.
        devices: String,
        /// llama.cpp's error message.
        reason: String,
    },
    /// Too many devices for llama.cpp, or an unknown one.
    #[error("llama.cpp does not take these {count} devices")]
    Devices {
        /// The number of given devices.
        count: usize,
    },
    /// The quantizer refused or failed.
    #[error("{} was not quantized: {reason}", path.display())]
    Quantize {
        /// The source.
        path: PathBuf,
        /// llama.cpp's error message.
        reason: String,
    },
    /// The model could not evaluate a text.
    #[error("llama.cpp could not read the text: {reason}")]
    Read {
        /// llama.cpp's error message.
        reason: String,
    },
}

impl LlamaError {
    /// How to fix the error.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Backend => {
                "load models through hedgerow only; in a portable build keep the ggml-cpu libraries beside the program"
            }
            Self::CpuVariant { .. } => {
                "leave --cpu-variant out, or name one that there is; only builds with the feature `portable` have any"
            }
            Self::Unreadable { .. } => "check the path and that you may read the file",
            Self::NotGguf { .. } => "give a model in the GGUF format",
            Self::Damaged { .. } => "fetch the file again and compare its size and checksum with the source",
            Self::UnknownArchitecture { .. } => "use another model, or a hedgerow with a newer llama.cpp",
            Self::NotADecoder { .. } => "use a text generation model with attention in every layer",
            Self::NoMetadata { .. } => "convert the model again with a current converter",
            Self::Parallel { .. } => "lower `max_parallel`",
            Self::Zero { .. } => "set it to 1 or more",
            Self::Quantize { .. } => "choose another precision, or check the file with `hedgerow pull`",
            Self::Read { .. } => "lower --ctx, or free some memory",
            Self::Memory { .. } => "lower `context`, `max_parallel` or `gpu_layers`, or free some memory",
            Self::DeviceMemory { .. } => "lower --gpu-layers, or free memory on the device",
            Self::Devices { .. } => "name fewer devices in --device",
        }
    }

    /// A stable name for programs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Backend => "backend_failed",
            Self::CpuVariant { .. } => "cpu_variant_unknown",
            Self::Unreadable { .. } => "model_unreadable",
            Self::NotGguf { .. } => "model_not_gguf",
            Self::Damaged { .. } => "model_damaged",
            Self::UnknownArchitecture { .. } => "model_architecture_unknown",
            Self::NotADecoder { .. } => "model_not_a_decoder",
            Self::NoMetadata { .. } => "model_metadata_missing",
            Self::Parallel { .. } => "parallel_out_of_range",
            Self::Zero { .. } => "option_zero",
            Self::Quantize { .. } => "quantize_failed",
            Self::Read { .. } => "text_not_read",
            Self::Memory { .. } => "kv_memory_exceeded",
            Self::DeviceMemory { .. } => "device_memory_exceeded",
            Self::Devices { .. } => "devices_not_taken",
        }
    }
}
