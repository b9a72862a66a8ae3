//! Initialization of llama.cpp, once per process.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hedgerow_core::units::Bytes;
use llama_cpp_2::LlamaBackendDeviceType;
use llama_cpp_2::llama_backend::LlamaBackend;

use crate::{LlamaError, log};

/// The initialized llama.cpp, and what it logged about its devices.
pub(crate) struct Started {
    backend: LlamaBackend,
    /// One line per Vulkan device: the only place that names its driver.
    pub(crate) vulkan_lines: Vec<String>,
}

/// The initialized backend; the first call initializes it.
pub(crate) fn get() -> Result<&'static LlamaBackend, LlamaError> {
    started().map(|started| &started.backend)
}

/// The initialized backend with its log lines.
pub(crate) fn started() -> Result<&'static Started, LlamaError> {
    static STARTED: OnceLock<Option<Started>> = OnceLock::new();
    STARTED.get_or_init(start).as_ref().ok_or(LlamaError::Backend)
}

/// The total memory of the machine.
pub(crate) fn memory() -> Bytes {
    let devices = llama_cpp_2::list_llama_ggml_backend_devices();
    let of_cpu = devices.iter().filter(|device| device.device_type == LlamaBackendDeviceType::Cpu);
    Bytes(of_cpu.map(|device| device.memory_total as u64).max().unwrap_or(0))
}

fn start() -> Option<Started> {
    log::install();
    let logged: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&logged);
    let listener = move |text: &str| {
        if text.starts_with("ggml_vulkan: ") {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        }
    };
    let backend = log::with_listener(listener, || {
        #[cfg(feature = "portable")]
        crate::variants::load();
        LlamaBackend::init().ok()
    })?;
    let has_device = !llama_cpp_2::list_llama_ggml_backend_devices().is_empty();
    let vulkan_lines = std::mem::take(&mut *logged.lock().unwrap_or_else(PoisonError::into_inner));
    has_device.then_some(Started { backend, vulkan_lines })
}
