//! llama.cpp itself, started once for the whole process.

use std::sync::OnceLock;

use hedgerow_core::units::Bytes;
use llama_cpp_2::llama_backend::LlamaBackend;

use crate::{LlamaError, log};

/// The running llama.cpp; starts it on the first call.
pub(crate) fn get() -> Result<&'static LlamaBackend, LlamaError> {
    static BACKEND: OnceLock<Option<LlamaBackend>> = OnceLock::new();
    BACKEND.get_or_init(start).as_ref().ok_or(LlamaError::Backend)
}

/// All the memory of the processors that llama.cpp can use, taken or not.
pub(crate) fn memory() -> Bytes {
    let devices = llama_cpp_2::list_llama_ggml_backend_devices();
    Bytes(devices.iter().map(|device| device.memory_total as u64).sum())
}

fn start() -> Option<LlamaBackend> {
    log::install();
    #[cfg(feature = "portable")]
    crate::variants::load();
    let backend = LlamaBackend::init().ok()?;
    let has_device = !llama_cpp_2::list_llama_ggml_backend_devices().is_empty();
    has_device.then_some(backend)
}
