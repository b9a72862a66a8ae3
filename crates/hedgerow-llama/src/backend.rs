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
    load_variants();
    let backend = LlamaBackend::init().ok()?;
    let has_device = !llama_cpp_2::list_llama_ggml_backend_devices().is_empty();
    has_device.then_some(backend)
}

/// Loads the variant of ggml's arithmetic that suits this processor best: from beside the executable,
/// where a release puts them, or else from where the build left them.
#[cfg(feature = "portable")]
fn load_variants() {
    use llama_cpp_2::llama_backend::{load_backends, load_backends_from_path};

    let is_variant = |name: &str| name.contains("ggml-cpu");
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(std::path::Path::to_owned));
    let has_variants = |folder: &std::path::Path| {
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.to_str().is_some_and(is_variant))
    };
    match beside.filter(|folder| folder.to_str().is_some() && has_variants(folder)) {
        Some(folder) => load_backends_from_path(&folder),
        None => load_backends(),
    }
}
