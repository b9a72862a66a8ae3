//! llama.cpp's quantizer: converts a model file to another precision.
//!
//! - takes: a GGUF file, the target precision, and optionally an importance matrix
//! - gives: the new file, and the tensors that could not be stored in that precision
//! - never: compares the two files' answers, or modifies the source
//!
//! One of the files that may contain `unsafe`, because the safe binding does not offer `llama_model_quantize`;
//! everything it exports is safe.
#![expect(unsafe_code, reason = "the binding has no safe way to llama_model_quantize")]

use std::cell::RefCell;
use std::ffi::CString;
use std::path::Path;
use std::rc::Rc;

use hedgerow_core::units::Bytes;
use llama_cpp_sys_2::{
    llama_ftype, llama_model_imatrix_data, llama_model_quantize, llama_model_quantize_default_params,
};

use crate::info::precision_name;
use crate::model::{NO_C_STRING, check_file};
use crate::{LlamaError, backend, log};

/// Options of quantization.
#[derive(Clone, Copy, Debug)]
pub struct QuantizeOptions<'a> {
    /// The precision: a name of [`quantizable`].
    pub precision: &'static str,
    /// The importance matrix: for each tensor, by name, a weight for each column of each of its matrices. Empty for
    /// none.
    pub importance: &'a [(String, Vec<f32>)],
    /// Number of threads; 0 for one per core.
    pub threads: u32,
}

/// A tensor that is stored in another type than its precision requires, because its row size is not a multiple of
/// that type's block size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Its name.
    pub tensor: String,
    /// Number of values per row.
    pub columns: u64,
    /// The required type, in upper case: `Q3_K`.
    pub wanted: String,
    /// The type that is used instead.
    pub got: String,
}

/// The result of a quantization, computed in advance.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizePlan {
    /// Size of the weights in the new file.
    pub weights: Bytes,
    /// Whether llama.cpp requires an importance matrix.
    pub needs_importance: bool,
    /// The tensors that cannot be stored in the required type.
    pub fallbacks: Vec<Fallback>,
}

/// The names of all precisions that a model can be quantized to, in the order of llama.cpp's numbers.
pub fn quantizable() -> impl Iterator<Item = &'static str> {
    // NVFP4 files exist, but llama.cpp cannot create them.
    (0..=FILE_TYPE_MAX).filter_map(precision_name).filter(|&name| name != "NVFP4")
}

/// The largest `llama_ftype` that [`precision_name`] knows.
const FILE_TYPE_MAX: u64 = 41;

/// Computes the result of a quantization; reads only the file's table of tensors.
///
/// # Errors
///
/// When the file cannot be read or is not a model, or its rows fit no fallback type.
pub fn plan_quantization(source: &Path, options: &QuantizeOptions<'_>) -> Result<QuantizePlan, LlamaError> {
    let dry_run = Rc::new(RefCell::new(DryRun::default()));
    let shared = Rc::clone(&dry_run);
    call(source, Path::new("not-written"), options, true, move |text| shared.borrow_mut().parse(text))?;
    let dry_run = dry_run.take();
    Ok(QuantizePlan {
        weights: Bytes((dry_run.mebibytes * f64::from(1 << 20)) as u64),
        needs_importance: dry_run.needs_importance,
        fallbacks: dry_run.fallbacks,
    })
}

/// Quantizes `source` into the new file `target`; calls `on_tensor` with the name of each tensor before it begins.
///
/// Values that are already quantized are dequantized and quantized again; the earlier loss remains.
///
/// # Errors
///
/// When the file cannot be read or is not a model, when the target cannot be written, or when llama.cpp refuses.
/// `target` is then not a usable model.
pub fn quantize(
    source: &Path,
    target: &Path,
    options: &QuantizeOptions<'_>,
    mut on_tensor: impl FnMut(&str) + 'static,
) -> Result<(), LlamaError> {
    call(source, target, options, false, move |text| {
        if let Some(name) = tensor_begun(text) {
            on_tensor(name);
        }
    })
}

fn call(
    source: &Path,
    target: &Path,
    options: &QuantizeOptions<'_>,
    is_dry: bool,
    listener: impl FnMut(&str) + 'static,
) -> Result<(), LlamaError> {
    check_file(source)?;
    backend::get()?;
    let path = |path: &Path| {
        let text = path.to_str().and_then(|text| CString::new(text).ok());
        text.ok_or_else(|| LlamaError::Unreadable { path: path.to_owned(), reason: NO_C_STRING.to_owned() })
    };
    let (from, to) = (path(source)?, path(target)?);
    let refused = |reason: String| LlamaError::Quantize { path: source.to_owned(), reason };
    let importance = Importance::new(options.importance).map_err(|name| {
        refused(format!("the name {name:?} of the importance matrix cannot be passed to llama.cpp"))
    })?;
    let file_type = (0..=FILE_TYPE_MAX).find(|&number| precision_name(number) == Some(options.precision));
    let file_type =
        file_type.ok_or_else(|| refused(format!("no precision is called {}", options.precision)))?;
    // SAFETY: it takes no arguments and returns plain data.
    let mut parameters = unsafe { llama_model_quantize_default_params() };
    parameters.nthread = i32::try_from(options.threads).unwrap_or(i32::MAX);
    parameters.ftype = file_type as llama_ftype;
    parameters.allow_requantize = true;
    parameters.dry_run = is_dry;
    if !options.importance.is_empty() {
        parameters.imatrix = importance.entries.as_ptr();
    }
    log::with_listener(listener, || {
        log::with_reason(|| {
            // SAFETY: both strings end with a zero byte; `parameters` is complete, and what it points to
            // (`importance`, whose list ends with an entry without a name) lives until after the call.
            // llama.cpp catches its exceptions and returns 1 instead.
            let failed = unsafe { llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const parameters) };
            if failed == 0 { Ok(()) } else { Err(()) }
        })
    })
    .map_err(|reason| refused(reason.trim_start_matches("failed to quantize: ").trim().to_owned()))
}

/// An importance matrix in llama.cpp's form: borrowed numbers and owned names.
struct Importance<'a> {
    entries: Vec<llama_model_imatrix_data>,
    /// The names to which the entries point.
    _names: Vec<CString>,
    _numbers: std::marker::PhantomData<&'a [f32]>,
}

impl<'a> Importance<'a> {
    /// Converts an importance matrix; returns the name if one contains a zero byte.
    fn new(from: &'a [(String, Vec<f32>)]) -> Result<Self, &'a str> {
        let name = |(name, _): &'a (String, Vec<f32>)| CString::new(name.as_str()).map_err(|_| name.as_str());
        let names: Vec<CString> = from.iter().map(name).collect::<Result<_, _>>()?;
        let mut entries: Vec<_> = from
            .iter()
            .zip(&names)
            .map(|((_, numbers), name)| llama_model_imatrix_data {
                name: name.as_ptr(),
                data: numbers.as_ptr(),
                size: numbers.len(),
            })
            .collect();
        entries.push(llama_model_imatrix_data { name: std::ptr::null(), data: std::ptr::null(), size: 0 });
        Ok(Self { entries, _names: names, _numbers: std::marker::PhantomData })
    }
}

/// The results of a dry run, parsed from pieces of llama.cpp's log.
#[derive(Debug, Default)]
struct DryRun {
    mebibytes: f64,
    needs_importance: bool,
    fallbacks: Vec<Fallback>,
}

impl DryRun {
    fn parse(&mut self, text: &str) {
        if let Some(fallback) = fallback_begun(text) {
            self.fallbacks.push(fallback);
        } else if let Some((_, got)) = text.split_once("-> falling back to") {
            if let Some(last) = self.fallbacks.last_mut() {
                last.got = got.trim().to_ascii_uppercase();
            }
        } else if let Some((_, size)) = text.split_once("quant size") {
            let number = size.trim_start_matches([' ', '=']).split(' ').next();
            self.mebibytes = number.and_then(|number| number.parse().ok()).unwrap_or(0.0);
        } else if text.contains("will require an imatrix") {
            self.needs_importance = true;
        }
    }
}

/// Parses `warning: blk.0.attn_q.weight - ncols 576 not divisible by 256 (required for type q3_K) `.
fn fallback_begun(text: &str) -> Option<Fallback> {
    let (tensor, rest) = text.strip_prefix("warning: ")?.split_once("- ncols ")?;
    let (columns, rest) = rest.split_once("not divisible by")?;
    let (_, wanted) = rest.split_once("required for type")?;
    Some(Fallback {
        tensor: tensor.trim().to_owned(),
        columns: columns.trim().parse().ok()?,
        wanted: wanted.trim().trim_end_matches(')').to_ascii_uppercase(),
        got: String::new(),
    })
}

/// Parses the tensor's name in `[   3/ 272] blk.0.attn_k.weight - [  576,   192,     1,     1], type =   q4_1, `.
fn tensor_begun(text: &str) -> Option<&str> {
    let (count, rest) = text.strip_prefix('[')?.split_once("] ")?;
    count.split_once('/')?;
    Some(rest.split_once(" - [")?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_lines_of_a_tensor_are_parsed() {
        let line =
            "[   3/ 272] blk.0.attn_k.weight               - [  576,   192,     1,     1], type =   q4_1, ";
        assert_eq!(tensor_begun(line), Some("blk.0.attn_k.weight"));
        assert_eq!(tensor_begun("converting to q8_0 .. "), None);
        let mut dry_run = DryRun::default();
        dry_run.parse(
            "warning: blk.0.attn_q.weight - ncols    576 not divisible by 256 (required for type    q3_K) ",
        );
        dry_run.parse("-> falling back to    q4_0\n");
        dry_run.parse("llama_model_quantize_impl: quant size  =    86.59 MiB (5.40 BPW)\n");
        let (wanted, got) = ("Q3_K".to_owned(), "Q4_0".to_owned());
        let tensor = "blk.0.attn_q.weight".to_owned();
        assert_eq!(dry_run.fallbacks, [Fallback { tensor, columns: 576, wanted, got }]);
        assert_eq!((dry_run.mebibytes, dry_run.needs_importance), (86.59, false));
    }

    #[test]
    fn every_name_is_one_precision() {
        let names: Vec<_> = quantizable().collect();
        assert!(
            ["F16", "Q8_0", "Q4_0", "Q4_K_M", "Q2_K"].iter().all(|name| names.contains(name)),
            "{names:?}"
        );
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert_eq!(precision_name(FILE_TYPE_MAX + 1), None, "newer file types must be offered too");
    }
}
