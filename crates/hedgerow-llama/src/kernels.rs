//! The choice of llama.cpp's kernels: the fast ones, or the plain ones that every CPU of the build can run.
//!
//! - takes: a model file and a choice
//! - gives: a model with the weight layout of its kernels, and the instruction sets that were compiled in
//! - never: decides; `hedgerow` checks the fast kernels in a child process and chooses
//!
//! One of the files that may contain `unsafe`, because the safe binding does not set `use_extra_bufts`, list
//! instruction sets or load a single CPU variant; everything it exports is safe.
#![expect(unsafe_code, reason = "the binding has no safe way to the choice of kernels")]

use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel as BindingModel;
use llama_cpp_sys_2::{
    LLAMA_LOAD_MODE_MMAP, LLAMA_LOAD_MODE_NONE, llama_model, llama_model_default_params,
    llama_model_load_from_file, llama_print_system_info,
};

use crate::{LlamaError, backend};

/// The kernels for products with a model's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernels {
    /// The fastest of the build: AMX tiles and repacked weights, or a GPU.
    #[default]
    Fast,
    /// Weights in the layout of the file, on the CPU alone: without AMX, repacked layouts or a GPU.
    Plain,
}

impl Kernels {
    /// A stable name for files, metrics and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Plain => "plain",
        }
    }
}

/// Loads a model for [`Kernels::Plain`]. llama.cpp selects AMX and repacked kernels by the buffer type of a weight,
/// so a model loaded without the extra buffer types never runs them.
pub(crate) fn load_plain<F: FnMut(f32)>(
    _started: &LlamaBackend,
    path: &CStr,
    use_mmap: bool,
    mut on_progress: F,
) -> Result<BindingModel, ()> {
    extern "C" fn report<F: FnMut(f32)>(done: f32, listener: *mut c_void) -> bool {
        // SAFETY: it is the pointer to `on_progress` below, which outlives the call that reports to it, and
        // llama.cpp reports from the thread that called it.
        let listener = unsafe { &mut *listener.cast::<F>() };
        listener(done);
        true
    }

    // An empty, null-terminated list: no GPU, not even for large batches with weights on the CPU.
    let mut no_devices = [std::ptr::null_mut()];
    // SAFETY: it takes no arguments and returns plain data.
    let mut parameters = unsafe { llama_model_default_params() };
    parameters.devices = no_devices.as_mut_ptr();
    parameters.n_gpu_layers = 0;
    parameters.load_mode = if use_mmap { LLAMA_LOAD_MODE_MMAP } else { LLAMA_LOAD_MODE_NONE };
    parameters.use_extra_bufts = false;
    parameters.progress_callback = Some(report::<F>);
    parameters.progress_callback_user_data = (&raw mut on_progress).cast();
    // SAFETY: llama.cpp is running (`_started`); the path ends with a zero byte; what `parameters` points to
    // lives until after the call, and llama.cpp reads it only during the call. It catches its exceptions and
    // answers with a null pointer instead.
    let model = unsafe { llama_model_load_from_file(path.as_ptr(), parameters) };
    NonNull::new(model).map(adopt).ok_or(())
}

/// Wraps a new llama.cpp model in the binding's owning type, which frees it when dropped.
fn adopt(model: NonNull<llama_model>) -> BindingModel {
    const { assert!(size_of::<BindingModel>() == size_of::<NonNull<llama_model>>()) };
    const { assert!(align_of::<BindingModel>() == align_of::<NonNull<llama_model>>()) };
    // SAFETY: in the binding of exactly this version (Cargo.toml pins it) `LlamaModel` is `repr(transparent)`
    // over `Ptr<llama_model>`, and that over `NonNull<llama_model>`; its own `load_from_file` puts the pointer
    // into it and does nothing else. The model is new and has no other owner.
    unsafe { std::mem::transmute::<NonNull<llama_model>, BindingModel>(model) }
}

/// The instruction sets and other features of llama.cpp's CPU kernels, as llama.cpp names them: `AVX512_VNNI`,
/// `AMX_INT8`, `REPACK`, … Initializes llama.cpp, which executes instructions of these sets.
///
/// # Errors
///
/// When llama.cpp cannot be initialized.
pub fn started_instruction_sets() -> Result<Vec<String>, LlamaError> {
    backend::get()?;
    let text = {
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        // SAFETY: llama.cpp is running. The text is static, ends with a zero byte, and changes only in another
        // call of the same function, which the lock keeps out until the text is copied.
        unsafe { CStr::from_ptr(llama_print_system_info()) }.to_string_lossy().into_owned()
    };
    Ok(features_in(&text))
}

/// Parses `CPU : SSE3 = 1 | AVX = 1 | REPACK = 1 | ` to three names.
fn features_in(system_info: &str) -> Vec<String> {
    let pairs = system_info.split('|').filter_map(|part| part.rsplit_once('='));
    let is_on = |value: &str| value.trim() != "0";
    pairs
        .filter(|(_, value)| is_on(value))
        .filter_map(|(name, _)| Some(name.rsplit(':').next()?.trim().to_owned()))
        .filter(|name| !name.is_empty())
        .collect()
}

/// The instruction sets of this build's CPU kernels, without initializing llama.cpp: each query is a function that
/// returns a constant. Empty in a `portable` build, whose kernels are in libraries chosen at start.
pub fn compiled_instruction_sets() -> Vec<&'static str> {
    #[cfg(feature = "portable")]
    return Vec::new();
    #[cfg(not(feature = "portable"))]
    {
        use llama_cpp_sys_2 as sys;
        type Query = unsafe extern "C" fn() -> std::ffi::c_int;
        let queries: [(&'static str, Query); 21] = [
            ("SSE3", sys::ggml_cpu_has_sse3),
            ("SSSE3", sys::ggml_cpu_has_ssse3),
            ("AVX", sys::ggml_cpu_has_avx),
            ("AVX_VNNI", sys::ggml_cpu_has_avx_vnni),
            ("AVX2", sys::ggml_cpu_has_avx2),
            ("F16C", sys::ggml_cpu_has_f16c),
            ("FMA", sys::ggml_cpu_has_fma),
            ("BMI2", sys::ggml_cpu_has_bmi2),
            ("AVX512", sys::ggml_cpu_has_avx512),
            ("AVX512_VBMI", sys::ggml_cpu_has_avx512_vbmi),
            ("AVX512_VNNI", sys::ggml_cpu_has_avx512_vnni),
            ("AVX512_BF16", sys::ggml_cpu_has_avx512_bf16),
            ("AMX_INT8", sys::ggml_cpu_has_amx_int8),
            ("NEON", sys::ggml_cpu_has_neon),
            ("ARM_FMA", sys::ggml_cpu_has_arm_fma),
            ("FP16_VA", sys::ggml_cpu_has_fp16_va),
            ("MATMUL_INT8", sys::ggml_cpu_has_matmul_int8),
            ("SVE", sys::ggml_cpu_has_sve),
            ("DOTPROD", sys::ggml_cpu_has_dotprod),
            ("SME", sys::ggml_cpu_has_sme),
            ("RISCV_V", sys::ggml_cpu_has_riscv_v),
        ];
        // SAFETY: each of them takes no arguments and returns a compile-time constant.
        let is_compiled_in = |query: Query| unsafe { query() } != 0;
        queries.into_iter().filter(|&(_, query)| is_compiled_in(query)).map(|(name, _)| name).collect()
    }
}

/// Loads a library of ggml's kernels; false if it is not one, or needs instructions that this CPU lacks.
#[cfg_attr(
    not(feature = "portable"),
    expect(dead_code, reason = "a native build has one variant, linked in")
)]
pub(crate) fn load_variant(library: &Path) -> bool {
    let Some(path) = library.to_str().and_then(|path| CString::new(path).ok()) else { return false };
    // SAFETY: the path ends with a zero byte and is only read during the call.
    !unsafe { llama_cpp_sys_2::ggml_backend_load(path.as_ptr()) }.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_are_on_are_read_by_name() {
        let text = "CPU : SSE3 = 1 | AVX512_VNNI = 1 | SVE_CNT = 16 | AMX_INT8 = 0 | REPACK = 1 | ";
        assert_eq!(features_in(text), ["SSE3", "AVX512_VNNI", "SVE_CNT", "REPACK"]);
        assert!(features_in("").is_empty());
    }

    #[cfg(not(feature = "portable"))]
    #[test]
    fn compiled_instruction_sets_are_those_that_llama_cpp_reports() {
        let started = started_instruction_sets().unwrap();
        let compiled = compiled_instruction_sets();
        assert!(compiled.iter().all(|&name| started.iter().any(|other| other == name)), "{started:?}");
        // Other names that llama.cpp reports: libraries, layouts and widths.
        let others = ["OPENMP", "REPACK", "LLAMAFILE", "KLEIDIAI", "SVE_CNT", "RVV_VLEN", "ACCELERATE"];
        let rest = started.iter().filter(|name| !compiled.contains(&name.as_str()));
        assert_eq!(rest.filter(|name| !others.contains(&name.as_str())).count(), 0, "{started:?}");
    }
}
