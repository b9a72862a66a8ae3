//! `cargo xtask build`: builds the server, optionally with accelerators.

use std::env;

use crate::bootstrap::Bootstrap;
use crate::detect::Host;
use crate::install::{self, Apt};
use crate::shell::{Failure, Shell};
use crate::toolkit::{Accelerator, Machine, complaint};
use crate::{progress, steps};

/// Checks the toolkits of the features, installs missing Debian packages, and builds.
pub(crate) fn run(shell: Shell, apt: Apt, arguments: &[String]) -> Result<(), Failure> {
    let features = features(arguments)?;
    for accelerator in Accelerator::ALL {
        if features.iter().any(|feature| feature == accelerator.feature()) {
            prepare(&shell, apt, accelerator)?;
        }
    }
    let ready = Bootstrap::new(&shell, apt).prepare()?;
    let shell = shell.with_environment(ready.variables);
    let features = features.join(",");
    let with_features = ["--features", &features];
    let with_features = if features.is_empty() { &[][..] } else { &with_features[..] };
    progress::build(&shell, &[steps::BUILD_SERVER, with_features].concat())
}

/// The names after each `--features`, separated by commas or spaces.
fn features(arguments: &[String]) -> Result<Vec<String>, Failure> {
    let mut features = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let list = match (word.as_str(), word.strip_prefix("--features=")) {
            (_, Some(list)) => list,
            ("--features", None) => words.next().map(String::as_str).ok_or_else(|| {
                Failure::new("`--features` names none", "add one: cuda, metal, rocm, vulkan, portable, milp")
            })?,
            (other, None) => {
                let what = format!("`build` has no option `{other}`");
                return Err(Failure::new(what, "run `cargo xtask help`"));
            }
        };
        features.extend(list.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    Ok(features)
}

/// Ensures that an accelerator's toolkit is installed.
fn prepare(shell: &Shell, apt: Apt, accelerator: Accelerator) -> Result<(), Failure> {
    let missing = || accelerator.missing(&Machine::this(env::consts::OS));
    let mut packages: Vec<&str> = missing().iter().filter_map(|missing| missing.package).collect();
    packages.dedup();
    if !packages.is_empty()
        && install::apt_is_possible(shell, &Host::this_machine(), apt)
        && let Err(failure) = install::packages(shell, &packages)
    {
        println!("build: that failed\n{failure}");
    }
    match complaint(accelerator, &missing()) {
        None => Ok(()),
        Some(complaint) => Err(Failure::new(complaint, accelerator.hint())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn features_are_lists_in_either_form() {
        assert_eq!(
            features(&words("--features vulkan,milp --features=cuda")).unwrap(),
            ["vulkan", "milp", "cuda"]
        );
        assert_eq!(features(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn invalid_arguments_are_refused() {
        assert!(features(&words("--features")).unwrap_err().to_string().contains("names none"));
        assert!(features(&words("vulkan")).unwrap_err().to_string().contains("no option `vulkan`"));
    }
}
