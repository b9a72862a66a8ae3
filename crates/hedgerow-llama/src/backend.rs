//! llama.cpp itself, started once for the whole process.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hedgerow_core::units::Bytes;
use llama_cpp_2::LlamaBackendDeviceType;
use llama_cpp_2::llama_backend::LlamaBackend;

use crate::{LlamaError, log};

/// llama.cpp, and what it logged of its devices while it started.
pub(crate) struct Started {
    backend: LlamaBackend,
    /// One line for each Vulkan device: the only place where its driver is named.
    pub(crate) vulkan_lines: Vec<String>,
}

/// The running llama.cpp; starts it on the first call.
pub(crate) fn get() -> Result<&'static LlamaBackend, LlamaError> {
    started().map(|started| &started.backend)
}

/// The same with what it said.
pub(crate) fn started() -> Result<&'static Started, LlamaError> {
    static STARTED: OnceLock<Option<Started>> = OnceLock::new();
    STARTED.get_or_init(start).as_ref().ok_or(LlamaError::Backend)
}

/// All the memory of the machine, taken or not, as its CPU sees it.
pub(crate) fn memory() -> Bytes {
    let devices = llama_cpp_2::list_llama_ggml_backend_devices();
    let of_cpu = devices.iter().filter(|device| device.device_type == LlamaBackendDeviceType::Cpu);
    Bytes(of_cpu.map(|device| device.memory_total as u64).max().unwrap_or(0))
}

fn start() -> Option<Started> {
    log::install();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let listening = Arc::clone(&heard);
    let listener = move |text: &str| {
        if text.starts_with("ggml_vulkan: ") {
            listening.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        }
    };
    let backend = log::with_listener(listener, || {
        #[cfg(feature = "portable")]
        crate::variants::load();
        LlamaBackend::init().ok()
    })?;
    let has_device = !llama_cpp_2::list_llama_ggml_backend_devices().is_empty();
    let vulkan_lines = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    has_device.then_some(Started { backend, vulkan_lines })
}
