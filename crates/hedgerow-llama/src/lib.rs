//! The inference engine of a real node: llama.cpp in-process.
//!
//! - takes: a GGUF file, and the core's [`Step`](hedgerow_core::engine::Step)s
//! - gives: tokens and text, through the core's [`Engine`](hedgerow_core::engine::Engine) trait
//! - never: schedules requests, opens a socket, or keeps work between two steps
//!
//! Read [`LlamaModel::load`], then [`LlamaEngine`]'s `step`: one call of llama.cpp for a ragged batch of prompt
//! chunks and decoding requests. [`quantize`] and [`WindowReader`] are for offline tools, not for serving. Only
//! `exit.rs`, `kernels.rs`, `log.rs` and `quantize.rs` contain `unsafe`.

// The program decides what is printed, and when it ends.
#![cfg_attr(not(test), deny(clippy::exit, clippy::print_stderr, clippy::print_stdout))]

mod backend;
mod devices;
mod engine;
mod error;
mod exit;
mod info;
mod kernels;
mod log;
mod model;
mod prefixes;
mod probe;
mod quantize;
mod sampling;
mod tokenize;
mod variants;
mod windows;

pub use devices::{ACCELERATORS, Device, DeviceKind, default_devices, devices};
pub use engine::{EngineOptions, LlamaEngine, PARALLEL_MAX};
pub use error::LlamaError;
pub use exit::exit_without_handlers;
pub use info::{ModelInfo, precision_name};
pub use kernels::{Kernels, compiled_instruction_sets, started_instruction_sets};
pub use model::{LlamaModel, LoadOptions};
pub use prefixes::SharedPrefixes;
pub use probe::{PROBE_PASSES, probe};
pub use quantize::{Fallback, QuantizeOptions, QuantizePlan, plan_quantization, quantizable, quantize};
pub use variants::{cpu_variant, cpu_variant_files, cpu_variants, use_cpu_variant};
pub use windows::{PIECE_MAX, WindowReader};

/// The binding and its version, which determines the version of llama.cpp.
pub const BINDING: &str = "llama-cpp-2 0.1.160";

/// The compiler that compiled llama.cpp, with its version.
pub const COMPILER: &str = env!("HEDGEROW_LLAMA_COMPILER");

#[test]
fn the_binding_is_the_one_in_cargo_toml() {
    let (name, version) = BINDING.split_once(' ').unwrap();
    let line = format!("{name} = {{ version = \"={version}\"");
    assert!(include_str!("../../../Cargo.toml").contains(&line), "{line}");
}

// Unit and integration tests share helpers that refer to this crate by its name.
#[cfg(test)]
extern crate self as hedgerow_llama;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
