//! Quantization of model files.
//!
//! - takes: a local model, the precisions to make, and optionally an importance matrix
//! - gives: for each precision a file with its checksum, and beside it a record of its origin
//! - never: leaves a partial file, overwrites one without `--force`, or calls a file better than its source
//!
//! Read [`Job::plan`] and [`Planned::run`]. llama.cpp does the arithmetic (`hedgerow_llama::quantize`).

mod error;
mod imatrix;
mod origin;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hedgerow_llama::{QuantizeOptions, QuantizePlan};

pub use error::QuantizeError;
pub use imatrix::Importance;
pub use origin::{Ancestor, Made, Origin};

use crate::models::{self, FetchedModel, GgufSummary, GgufTensor, ModelError, Progress, Report};

/// A quantization job: the source, the output folder and the options.
#[derive(Debug)]
pub struct Job {
    source: FetchedModel,
    summary: GgufSummary,
    tensors: Vec<GgufTensor>,
    folder: PathBuf,
    importance: Option<Importance>,
    threads: u32,
    may_replace: bool,
}

/// One precision of a [`Job`], after every check that is possible before it is written.
#[derive(Debug)]
pub struct Planned<'j> {
    job: &'j Job,
    precision: &'static str,
    plan: QuantizePlan,
    target: PathBuf,
}

/// Finds a precision by its name, ignoring case.
///
/// # Errors
///
/// [`QuantizeError::UnknownPrecision`] with all names.
pub fn precision(name: &str) -> Result<&'static str, QuantizeError> {
    let found = hedgerow_llama::quantizable().find(|known| known.eq_ignore_ascii_case(name));
    found.ok_or_else(|| QuantizeError::UnknownPrecision { given: name.to_owned() })
}

impl Job {
    /// Reads the source's header and, if there is one, the importance matrix.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, or the matrix is of another model.
    pub fn new(
        source: FetchedModel,
        folder: PathBuf,
        imatrix: Option<&Path>,
        threads: u32,
        may_replace: bool,
    ) -> Result<Self, QuantizeError> {
        let summary = models::validate_gguf(&source.path)?;
        let tensors = models::read_tensors(&source.path)?;
        let importance = imatrix.map(|path| Importance::read(path, &tensors)).transpose()?;
        Ok(Self { source, summary, tensors, folder, importance, threads, may_replace })
    }

    /// Plans every precision, so that nothing is written if one of them is impossible.
    ///
    /// # Errors
    ///
    /// When a file exists already, the disk has too little space for all of them, llama.cpp refuses, or a precision
    /// needs an importance matrix and there is none.
    pub fn plan(&self, precisions: &[&'static str]) -> Result<Vec<Planned<'_>>, QuantizeError> {
        let planned: Vec<_> = precisions.iter().map(|name| self.plan_one(name)).collect::<Result<_, _>>()?;
        models::create_folder(&self.folder)?;
        let needed = planned.iter().map(|planned| self.file_bytes(&planned.plan)).sum();
        check_room(&self.folder, needed, free_bytes(&self.folder))?;
        Ok(planned)
    }

    fn plan_one(&self, precision: &'static str) -> Result<Planned<'_>, QuantizeError> {
        let target = self.folder.join(file_name(&self.source.path, precision));
        if target.exists() && (!self.may_replace || same_file(&target, &self.source.path)) {
            return Err(QuantizeError::Exists {
                is_source: same_file(&target, &self.source.path),
                path: target,
            });
        }
        let plan = hedgerow_llama::plan_quantization(&self.source.path, &self.options(precision))?;
        if plan.needs_importance && self.importance.is_none() {
            return Err(QuantizeError::NeedsImportance { precision });
        }
        Ok(Planned { job: self, precision, plan, target })
    }

    fn options(&self, precision: &'static str) -> QuantizeOptions<'_> {
        let importance = self.importance.as_ref().map_or(&[][..], |importance| &importance.entries);
        QuantizeOptions { precision, importance, threads: self.threads }
    }

    /// Estimates the size of a new file: its weights, llama.cpp's rounding of their sum, the padding between them,
    /// and a header as large as the source's.
    fn file_bytes(&self, plan: &QuantizePlan) -> u64 {
        const ROUNDING: u64 = 1 << 20;
        let weights: u64 = self.tensors.iter().map(|tensor| tensor.bytes).sum();
        let header = self.summary.file_bytes.saturating_sub(weights);
        plan.weights.0 + header + 64 * self.summary.tensor_count + ROUNDING
    }

    /// Returns the quantized file that limits the quality of every file made from this source, if there is one.
    fn ancestor(&self, sha256: &str) -> Option<Ancestor> {
        let inherited = Origin::beside(&self.source.path).and_then(|origin| origin.no_better_than);
        inherited.or_else(|| {
            let is_exact = |kind: &str| matches!(kind, "F32" | "F16" | "BF16");
            let is_lossy = self.tensors.iter().any(|tensor| !is_exact(&tensor.kind));
            is_lossy.then(|| Ancestor {
                name: stem(&self.source.path),
                precision: self.precision().to_owned(),
                sha256: sha256.to_owned(),
            })
        })
    }

    fn precision(&self) -> &str {
        self.summary.quantization.as_deref().unwrap_or("unknown")
    }
}

impl Planned<'_> {
    /// Makes the file, checks it, and moves it to its place together with its checksum and its origin.
    ///
    /// # Errors
    ///
    /// When the disk or llama.cpp fails; then the partial file is removed.
    pub fn run(&self, report: Report<'_>) -> Result<Made, QuantizeError> {
        let _lock = models::lock(&models::with_suffix(&self.target, ".lock"))?;
        let partial = models::with_suffix(&self.target, ".partial");
        let made = self.write(&partial, report);
        if made.is_err() {
            models::remove(&partial)?;
        }
        made
    }

    fn write(&self, partial: &Path, report: Report<'_>) -> Result<Made, QuantizeError> {
        let job = self.job;
        let source_sha256 = match &job.source.sha256 {
            Some(known) => known.clone(),
            None => models::sha256_of(&job.source.path, report)?,
        };
        self.quantize(partial, report)?;
        let tensors = models::read_tensors(partial).map_err(|error| QuantizeError::Incomplete {
            path: self.target.clone(),
            reason: error.to_string(),
        })?;
        let sha256 = models::sha256_of(partial, report)?;
        let origin = Origin {
            format: origin::FORMAT.to_owned(),
            precision: self.precision.to_owned(),
            bytes: std::fs::metadata(partial).map_err(ModelError::io("reading", partial))?.len(),
            sha256: sha256.clone(),
            no_better_than: job.ancestor(&source_sha256),
            source: Ancestor {
                name: stem(&job.source.path),
                precision: job.precision().to_owned(),
                sha256: source_sha256,
            },
            importance: job.importance.as_ref().map(|importance| importance.path.display().to_string()),
            fallbacks: origin::fallbacks(&self.plan.fallbacks, &tensors),
            llama_cpp: hedgerow_llama::BINDING.to_owned(),
        };
        models::put(partial, &self.target)?;
        models::remember(&self.target, &sha256)?;
        origin.save(&self.target)?;
        Ok(Made::new(self.target.clone(), origin, &tensors))
    }

    fn quantize(&self, partial: &Path, report: Report<'_>) -> Result<(), QuantizeError> {
        let job = self.job;
        let sizes: BTreeMap<&str, u64> =
            job.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.bytes)).collect();
        let total: u64 = sizes.values().sum();
        let title = self.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A channel, because llama.cpp reports each tensor through a callback that cannot borrow from this function.
        let (sender, begun) = std::sync::mpsc::channel::<String>();
        let options = job.options(self.precision);
        std::thread::scope(|scope| {
            let (from, to) = (&job.source.path, partial);
            let work = scope.spawn(move || {
                hedgerow_llama::quantize(from, to, &options, move |name| {
                    // The receiver may be gone; only the progress is lost then.
                    let _ = sender.send(name.to_owned());
                })
            });
            let (done, current) = (Cell::new(0), Cell::new(0));
            for name in begun {
                done.set(done.get() + current.replace(sizes.get(name.as_str()).copied().unwrap_or(0)));
                report(Progress {
                    activity: "quantizing",
                    file: &title,
                    done: done.get(),
                    total: Some(total),
                });
            }
            work.join().expect("the quantizer does not panic")
        })?;
        Ok(())
    }
}

/// `Tiny-1B.Q4_1.gguf` at Q8_0 is `Tiny-1B.Q8_0.gguf`.
fn file_name(source: &Path, precision: &str) -> String {
    let stem = stem(source);
    let is_precision = |end: &str| {
        end.eq_ignore_ascii_case("fp16")
            || hedgerow_llama::quantizable().any(|name| name.eq_ignore_ascii_case(end))
    };
    let without = stem.rsplit_once(['.', '-']).filter(|(_, end)| is_precision(end)).map(|(start, _)| start);
    format!("{}.{precision}.gguf", without.unwrap_or(&stem))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    real(one).is_some_and(|one| real(other) == Some(one))
}

/// Checks the free disk space. `free` is `None` where the system does not report it; then writing may still fail.
fn check_room(folder: &Path, needed: u64, free: Option<u64>) -> Result<(), QuantizeError> {
    match free {
        Some(free) if free < needed => {
            Err(QuantizeError::DiskFull { folder: folder.to_owned(), needed, free })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn free_bytes(folder: &Path) -> Option<u64> {
    let about = nix::sys::statvfs::statvfs(folder).ok()?;
    about.blocks_available().checked_mul(about.fragment_size())
}

#[cfg(not(target_os = "linux"))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_precision_replaces_the_old_one_in_the_name() {
        let name = |source: &str| file_name(Path::new(source), "Q8_0");
        assert_eq!(name("/m/Tiny-1B.Q4_1.gguf"), "Tiny-1B.Q8_0.gguf");
        assert_eq!(name("tiny-1b-q4_k_m.gguf"), "tiny-1b.Q8_0.gguf");
        assert_eq!(name("tiny-fp16.gguf"), "tiny.Q8_0.gguf");
        assert_eq!(name("Tiny-1B.gguf"), "Tiny-1B.Q8_0.gguf");
    }

    #[test]
    fn a_precision_is_found_ignoring_case_and_the_error_for_an_unknown_one_lists_all() {
        assert_eq!(precision("q4_k_m").unwrap(), "Q4_K_M");
        let error = precision("q4").unwrap_err();
        assert_eq!(error.code(), "unknown_precision");
        assert!(error.hint().contains("Q8_0, ") && error.hint().contains("Q4_K_M"), "{}", error.hint());
    }

    #[test]
    fn a_disk_with_too_little_space_is_detected_beforehand() {
        let folder = Path::new("/models");
        assert!(check_room(folder, 10, Some(10)).is_ok() && check_room(folder, 10, None).is_ok());
        let error = check_room(folder, 3 << 20, Some(1 << 20)).unwrap_err();
        assert_eq!(error.to_string(), "/models has 1.00 MiB free, and 3.00 MiB are needed");
        assert!(free_bytes(&std::env::temp_dir()).is_none_or(|bytes| bytes > 0));
    }
}
