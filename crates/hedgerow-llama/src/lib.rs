//! The engine of a real node: llama.cpp in this process.
//!
//! - takes: a GGUF file, and the core's [`Step`](hedgerow_core::engine::Step)s
//! - gives: tokens and text, through the core's [`Engine`](hedgerow_core::engine::Engine) trait
//! - never: decides who runs, opens a socket, or keeps work between two steps
//!
//! Read [`LlamaModel::load`], then [`LlamaEngine`]'s `step`: one call of llama.cpp for a ragged batch
//! of prompt chunks and decoding requests. Only `log.rs` says `unsafe`.

mod backend;
mod engine;
mod error;
mod info;
mod log;
mod model;
mod prefixes;
mod sampling;

pub use engine::{EngineOptions, LlamaEngine, PARALLEL_MAX};
pub use error::LlamaError;
pub use info::{ModelInfo, precision_name};
pub use model::{LlamaModel, LoadOptions};
pub use prefixes::SharedPrefixes;

// The tests inside and beside this crate share their helpers, which know it by its name.
#[cfg(test)]
extern crate self as hedgerow_llama;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
