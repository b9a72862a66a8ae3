//! Compares the speed of the portable and the native build, run alternately on this machine in three precisions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::package::{files, portable};
use crate::progress;
use crate::shell::{Failure, Shell};

const PRECISIONS: &str = "f16,q8_0,q4_0";
/// Runs of each build and precision, in turns; each run is short, so that a disturbance meets both builds.
const ROUNDS: usize = 15;

/// Tokens per second by the name of the measurement.
type Speeds = BTreeMap<String, f64>;

/// Builds both, runs them alternately and prints their medians and the median of the ratios of paired runs.
pub(crate) fn run(shell: &Shell) -> Result<(), Failure> {
    let native = build(shell, "native", &[])?;
    let portable = build(shell, "portable", &["--features", "hedgerow-llama/portable"])?;
    let models = models(shell)?;
    println!("{:<28}{:>10}{:>12}{:>12}{:>9}{:>18}", "", "", "native", "portable", "ratio", "lowest-highest");
    for model in models {
        let mut pairs: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for round in 0..ROUNDS {
            let (of_native, of_portable) = if round % 2 == 0 {
                let first = speeds(shell, &native, &model)?;
                (first, speeds(shell, &portable, &model)?)
            } else {
                let first = speeds(shell, &portable, &model)?;
                (speeds(shell, &native, &model)?, first)
            };
            for (name, speed) in of_native {
                let other = of_portable.get(&name).copied().unwrap_or(f64::NAN);
                pairs.entry(name).or_default().push((speed, other));
            }
        }
        for (name, pairs) in pairs {
            let of = |part: fn(&(f64, f64)) -> f64| sorted(pairs.iter().map(part).collect());
            let (native, portable, ratios) =
                (of(|pair| pair.0), of(|pair| pair.1), of(|pair| pair.1 / pair.0));
            let file = model.file_stem().unwrap_or_default().to_string_lossy();
            println!(
                "{file:<28}{name:>12}{:>10.0}{:>12.0}{:>9.3}{:>12.3}-{:.3}",
                median(&native),
                median(&portable),
                median(&ratios),
                ratios[0],
                ratios[ratios.len() - 1],
            );
        }
    }
    Ok(())
}

/// Builds the measuring example with some features and copies it to its own folder, because the next build would
/// replace it.
fn build(shell: &Shell, name: &str, features: &[&str]) -> Result<PathBuf, Failure> {
    let example = ["build", "--release", "--locked", "--workspace", "--example", "step_times"];
    progress::build(shell, &[&example, features].concat())?;
    let built = PathBuf::from(shell.built("examples/step_times")?.get_program());
    let folder = shell.root().join("target/compare").join(name);
    files::copy(&built, &folder.join("step_times"))?;
    if !features.is_empty() {
        let builds = PathBuf::from(shell.hedgerow()?.get_program()).with_file_name("build");
        for library in portable::libraries(shell, &built, &builds)? {
            files::copy(&library, &folder.join(files::name_of(&library)))?;
        }
    }
    Ok(folder.join("step_times"))
}

/// The small model in each precision; creates missing files.
fn models(shell: &Shell) -> Result<Vec<PathBuf>, Failure> {
    let folder = shell.root().join("target/precisions");
    if !folder.exists() {
        let arguments = ["quantize", "smollm2-135m-instruct", "--to", PRECISIONS, "--out"];
        shell.run(shell.hedgerow()?.args(arguments).arg(&folder))?;
    }
    let unreadable = |error| Failure::new(format!("{}: {error}", folder.display()), "remove that folder");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).map_err(unreadable)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "gguf"));
    files.sort();
    Ok(files)
}

fn speeds(shell: &Shell, program: &Path, model: &Path) -> Result<Speeds, Failure> {
    let mut run = shell.program(program);
    // Where the portable build's libraries lie; the native one needs none.
    run.arg(model).arg("1").env("LD_LIBRARY_PATH", program.with_file_name(""));
    let output = shell.run_quietly(&mut run)?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(speed_of_line).collect())
}

/// Parses `decode-16 700.3`.
fn speed_of_line(line: &str) -> Option<(String, f64)> {
    let (name, speed) = line.split_once(' ')?;
    Some((name.to_owned(), speed.parse().ok()?))
}

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read_as_the_example_prints_them() {
        assert_eq!(speed_of_line("decode-16 700.3"), Some(("decode-16".to_owned(), 700.3)));
        assert_eq!(speed_of_line("loading"), None);
    }
}
