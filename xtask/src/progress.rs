//! Runs a long cargo build and shows its progress.
//!
//! Cargo counts llama.cpp, the longest part, as one crate; its files are counted here.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::broken_links;
use crate::shell::{self, Failure, Shell};

/// Interval of printed lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(20);
/// Interval of updates of the line on a terminal.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// Cargo's progress in crates.
#[derive(Clone, Debug, Default, PartialEq)]
struct Crates {
    done: usize,
    all: usize,
    /// The crates being compiled.
    now: String,
}

/// State shared by the reader of cargo's output and the printer.
#[derive(Default)]
struct Shared {
    crates: Crates,
    is_over: bool,
}

/// Runs a cargo build in the release profile and passes its warnings and errors on.
pub(crate) fn build(shell: &Shell, arguments: &[&str]) -> Result<(), Failure> {
    let is_terminal = std::io::stderr().is_terminal();
    if let Some(folder) = target_folder() {
        broken_links::remove(&folder);
    }
    let mut cargo = shell.cargo();
    cargo.args(arguments).stderr(Stdio::piped());
    // Only cargo's progress bar contains the number of crates.
    cargo.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "160");
    if is_terminal && env::var_os("NO_COLOR").is_none() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = cargo.spawn().map_err(|error| shell::could_not_start(&cargo, &error))?;
    let shared = Arc::new(Mutex::new(Shared::default()));
    let printer = thread::spawn({
        let shared = Arc::clone(&shared);
        let folder = target_folder();
        move || print_until_over(&shared, folder.as_deref(), is_terminal)
    });
    if let Some(output) = child.stderr.take() {
        pass_on(output, &shared, is_terminal);
    }
    let status = child.wait();
    lock(&shared).is_over = true;
    // A failure of the printer must not fail the build.
    let _ = printer.join();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(build_failed(&cargo, &status.to_string())),
        Err(error) => Err(build_failed(&cargo, &error.to_string())),
    }
}

fn build_failed(cargo: &Command, ended: &str) -> Failure {
    Failure::new(format!("`{}` ended with {ended}", shell::line_of(cargo)), "its output is above")
}

/// Whether the release profile's folder has a build with the lab, which a build without it would replace.
pub(crate) fn has_lab() -> bool {
    let files = target_folder().and_then(|folder| fs::read_dir(folder.join("deps")).ok());
    let is_lab = |name: &OsStr| name.as_encoded_bytes().starts_with(b"libhedgerow_lab-");
    files.is_some_and(|files| files.flatten().any(|file| is_lab(&file.file_name())))
}

/// The folder of the release profile, where this program itself lies.
pub(crate) fn target_folder() -> Option<PathBuf> {
    env::current_exe().ok()?.parent().map(Path::to_owned)
}

/// Reads cargo's output: parses progress bars, drops lines about single crates and passes all else on.
fn pass_on(mut output: impl Read, shared: &Mutex<Shared>, is_terminal: bool) {
    let mut rest = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = output.read(&mut buffer) {
        if count == 0 {
            break;
        }
        rest.extend_from_slice(&buffer[..count]);
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let is_bar = rest[end] == b'\r';
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let plain = without_escapes(&line);
            if let Some(crates) = crates_of_bar(&plain) {
                lock(shared).crates = crates;
            } else if !(is_bar || plain.trim().is_empty() || is_about_one_crate(&plain)) {
                let clear = if is_terminal { "\r\x1b[K" } else { "" };
                eprintln!("{clear}{}", line.trim_start_matches('\r'));
            }
        }
    }
}

/// Parses `Building [====>   ] 12/306: syn, ring`.
fn crates_of_bar(line: &str) -> Option<Crates> {
    let (_, rest) = line.trim_start().strip_prefix("Building [")?.split_once(']')?;
    let (counts, now) = rest.split_once(':').unwrap_or((rest, ""));
    let (done, all) = counts.trim().split_once('/')?;
    Some(Crates { done: done.parse().ok()?, all: all.parse().ok()?, now: now.trim().to_owned() })
}

fn is_about_one_crate(line: &str) -> bool {
    ["Compiling ", "Downloaded ", "Downloading ", "Fresh ", "Checking "]
        .iter()
        .any(|verb| line.trim_start().starts_with(verb))
}

/// The text without terminal escape sequences.
fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            // `ESC [ numbers letter`
            letters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            plain.push(letter);
        }
    }
    plain
}

fn print_until_over(shared: &Mutex<Shared>, folder: Option<&Path>, is_terminal: bool) {
    let started = Instant::now();
    let mut printed = started;
    loop {
        thread::sleep(RENEW_EVERY);
        let (crates, is_over) = {
            let shared = lock(shared);
            (shared.crates.clone(), shared.is_over)
        };
        if is_over {
            if is_terminal {
                eprint!("\r\x1b[K");
            }
            return;
        }
        let is_time = is_terminal || printed.elapsed() >= LINE_EVERY;
        if crates.all == 0 || !is_time {
            continue;
        }
        printed = Instant::now();
        let line = progress_line(&crates, folder.and_then(llama_files), started.elapsed());
        if is_terminal {
            eprint!("\r\x1b[K{}", line.chars().take(100).collect::<String>());
            // If this fails, the line appears with the next one.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}

fn progress_line(crates: &Crates, llama: Option<(usize, usize)>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let llama = match llama {
        Some((done, all)) if done < all => format!(", llama.cpp {done} of {all} files"),
        Some(_) | None => String::new(),
    };
    format!(
        "build: {} of {} crates{llama}, {}:{:02} min; now {}",
        crates.done,
        crates.all,
        seconds / 60,
        seconds % 60,
        crates.now
    )
}

/// Numbers of compiled and of all files of llama.cpp; `None` before they are known.
fn llama_files(folder: &Path) -> Option<(usize, usize)> {
    let builds = fs::read_dir(folder.join("build")).ok()?.flatten().map(|entry| entry.path());
    let of_llama = builds.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llama-cpp-sys-2-"))
    });
    let begun = |path: PathBuf| {
        let build = path.join("out/build");
        let since = fs::metadata(build.join("compile_commands.json")).ok()?.modified().ok()?;
        Some((since, build))
    };
    let (_, build) = of_llama.filter_map(begun).max()?;
    let record = fs::read_to_string(build.join("compile_commands.json")).ok()?;
    Some((objects(&build), record.matches("\"command\":").count()))
}

/// Number of object files below a folder.
fn objects(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |path: &Path| match path.is_dir() {
        true => objects(path),
        false => usize::from(path.extension().is_some_and(|ending| ending == "o")),
    };
    entries.flatten().map(|entry| count(&entry.path())).sum()
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_on(text: &str) -> Crates {
        let shared = Mutex::new(Shared::default());
        pass_on(text.as_bytes(), &shared, false);

        lock(&shared).crates.clone()
    }

    #[test]
    fn crates_are_counted_from_cargo_s_progress_bar() {
        let bar = "\x1b[1m\x1b[36m    Building\x1b[0m [====>     ] 12/306: syn, ring(build)   \r";
        let expected = Crates { done: 12, all: 306, now: "syn, ring(build)".to_owned() };
        assert_eq!(passed_on(bar), expected);
        assert_eq!(passed_on(&format!("   Compiling syn v2.0.1\n{bar}warning: odd\n")), expected);
    }

    #[test]
    fn llama_cpp_is_named_while_it_is_compiled() {
        let crates = Crates { done: 12, all: 306, now: "syn".to_owned() };
        let line = |llama| progress_line(&crates, llama, Duration::from_secs(65));
        assert_eq!(
            line(Some((3, 75))),
            "build: 12 of 306 crates, llama.cpp 3 of 75 files, 1:05 min; now syn"
        );
        assert_eq!(line(Some((75, 75))), "build: 12 of 306 crates, 1:05 min; now syn");
        assert_eq!(line(None), line(Some((75, 75))));
    }

    #[test]
    fn only_whole_escapes_are_taken_out() {
        assert_eq!(without_escapes("\x1b[1m\x1b[38;5;2mok\x1b[0m [a]"), "ok [a]");
    }
}
