//! Opens the store of batches and starts what runs them.

use std::path::PathBuf;

use anyhow::Context as _;
use axum::Router;
use hedgerow_batch::{Limits, Store, StoreError};
use hedgerow_node::config::{BatchFolder, Config};
use hedgerow_workload::hint::hinted;

use super::runner::Runner;
use super::store_thread::StoreThread;
use crate::api::App;

/// Opens the store and starts the runner, which sends lines to the router once the model is loaded. Where the folder cannot be used, the
/// server serves without batches.
///
/// # Errors
///
/// When the database is damaged or of a newer version: to serve without it would hide that its batches do not go on.
pub(crate) fn start(app: &App, router: Router) -> anyhow::Result<()> {
    let opened = match open(&app.0.config)? {
        Ok((store, folder)) => {
            let unfinished = store.open_batches().context("reading the unfinished batches")?.len();
            let store = StoreThread::start(store).context("starting the thread of the batch store")?;
            tracing::info!(unfinished, folder = %folder.display(), "batches are stored");
            let runner = Runner::new(app.clone(), router, store.clone());
            tokio::spawn(runner.run());
            Ok(store)
        }
        Err(reason) => Err(reason),
    };
    assert!(app.0.batches.store.set(opened).is_ok(), "batches are started once");
    Ok(())
}

/// Opens the store in its folder, or says why there is none.
fn open(config: &Config) -> anyhow::Result<Result<(Store, PathBuf), String>> {
    let batch = &config.batch;
    let folder = match &batch.folder {
        BatchFolder::None => return Ok(Err("they are switched off by `batch.folder`".into())),
        BatchFolder::Folder(folder) => folder.clone(),
        BatchFolder::Usual => match usual_folder(&|name| std::env::var(name).ok()) {
            Some(folder) => folder,
            None => {
                let reason = "none of STATE_DIRECTORY, XDG_STATE_HOME and HOME names a folder for them";
                tracing::warn!("serving without batches: {reason}");
                return Ok(Err(reason.into()));
            }
        },
    };
    let limits = Limits {
        file_bytes: batch.file_bytes,
        line_bytes: config.limits.body_bytes as u64,
        lines: batch.lines,
        stored_bytes: batch.stored_bytes,
        unfinished: batch.unfinished,
    };
    match Store::open(&folder, limits) {
        Ok(store) => Ok(Ok((store, folder))),
        Err(error @ (StoreError::Unwritable { .. } | StoreError::InUse { .. })) => {
            tracing::warn!("serving without batches: {error}");
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(hinted(
            format!("the batches cannot be opened: {error}"),
            format!(
                "move {} away to begin without its batches, or choose another --batch-folder; --batch-folder none \
                 serves without batches",
                folder.display()
            ),
        )),
    }
}

/// The service's folder for state, of which the service manager may name several, or else the user's.
fn usual_folder(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let of_service = || Some(PathBuf::from(folder("STATE_DIRECTORY")?.split(':').next()?));
    let of_user = || {
        let states = folder("XDG_STATE_HOME").map(PathBuf::from);
        let states = states.or_else(|| Some(PathBuf::from(folder("HOME")?).join(".local/state")))?;
        Some(states.join("hedgerow"))
    };
    of_service().or_else(of_user).map(|state| state.join("batches"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_folder_is_the_service_managers_or_the_users() {
        let of = |set: &[(&str, &str)]| {
            usual_folder(&|name| set.iter().find(|(known, _)| *known == name).map(|pair| pair.1.to_owned()))
        };
        let (home, xdg, state) = (("HOME", "/h"), ("XDG_STATE_HOME", "/x"), ("STATE_DIRECTORY", "/s:/t"));
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&[home, ("XDG_STATE_HOME", "")]).as_deref(),
            Some(Path::new("/h/.local/state/hedgerow/batches"))
        );
        assert_eq!(of(&[home, xdg]).as_deref(), Some(Path::new("/x/hedgerow/batches")));
        assert_eq!(of(&[home, xdg, state]).as_deref(), Some(Path::new("/s/batches")));
    }
}
