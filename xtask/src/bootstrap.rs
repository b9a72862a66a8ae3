//! Finds the tools for compiling llama.cpp, and fetches those that are missing.
//!
//! Prints one line per action, and nothing if nothing is missing.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::detect::{Host, Need};
use crate::install::{self, Apt, Wheels};
use crate::python::Python;
use crate::shell::{Failure, Shell};

/// A run of the bootstrap.
pub(crate) struct Bootstrap<'a> {
    shell: &'a Shell,
    apt: Apt,
    host: Host,
    python: Option<Python>,
    wheels: Option<Wheels>,
}

/// The result: all tools are available to programs with these environment variables.
pub(crate) struct Ready {
    /// Empty on a machine whose own packages suffice, so that plain `cargo build` gives the same build.
    pub(crate) variables: Vec<(String, OsString)>,
    /// The Python interpreter.
    pub(crate) python: Python,
    script: Option<PathBuf>,
}

impl Ready {
    /// Prints the name of the script to source before calling cargo without xtask, if there is one.
    pub(crate) fn print_what_plain_cargo_needs(&self) {
        if let Some(script) = &self.script {
            println!("bootstrap: before calling cargo without xtask: . {}", script.display());
        }
    }
}

impl<'a> Bootstrap<'a> {
    /// Inspects this machine.
    pub(crate) fn new(shell: &'a Shell, apt: Apt) -> Bootstrap<'a> {
        Bootstrap {
            shell,
            apt,
            host: Host::this_machine(),
            python: Python::find(shell),
            wheels: Wheels::fetched_before(shell),
        }
    }

    /// Fetches what is missing, and returns the environment variables for the programs to start.
    pub(crate) fn prepare(mut self) -> Result<Ready, Failure> {
        let missing = self.missing();
        if !missing.is_empty() {
            println!("bootstrap: missing: {}", names(&missing));
            self.install(&missing);
        }
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(Failure::new(
                format!("cannot build without {}", names(&missing)),
                format!("as root: {}", install::apt_line(&missing)),
            ));
        }
        let variables = self.variables()?;
        let script = write_script(self.shell, &variables)?;
        let python = self.python.expect("a missing Python has been reported above");
        Ok(Ready { variables, python, script })
    }

    /// The tools that neither the machine nor the wheels of an earlier run have.
    fn missing(&self) -> Vec<Need> {
        Need::ALL.into_iter().filter(|need| !self.machine_has(*need) && !self.wheels_have(*need)).collect()
    }

    fn machine_has(&self, need: Need) -> bool {
        match need {
            Need::CxxCompiler => self.host.has_cxx_compiler(),
            Need::Make => self.host.program("make").is_some() || self.host.program("ninja").is_some(),
            Need::Cmake => self.host.program("cmake").is_some(),
            Need::Libclang => self.host.libclang_folder().is_some(),
            Need::Python => self.python.as_ref().is_some_and(|python| python.has_pip),
        }
    }

    fn wheels_have(&self, need: Need) -> bool {
        self.wheels.is_some() && Wheels::hold(need)
    }

    /// Tries Debian's packages, then the wheels. The caller reports what is still missing.
    fn install(&mut self, missing: &[Need]) {
        if install::apt_is_possible(self.shell, &self.host, self.apt) {
            if let Err(failure) = install::with_apt(self.shell, missing) {
                println!("bootstrap: that failed\n{failure}");
            }
            self.python = Python::find(self.shell);
        }
        let lacks_a_tool = self.missing().into_iter().any(Wheels::hold);
        if let (true, Some(python)) = (lacks_a_tool, &self.python) {
            match Wheels::fetch(self.shell, python) {
                Ok(wheels) => self.wheels = Some(wheels),
                Err(failure) => println!("bootstrap: that failed\n{failure}"),
            }
        }
    }

    /// The environment variables by which programs find the tools.
    fn variables(&self) -> Result<Vec<(String, OsString)>, Failure> {
        let mut variables = Vec::new();
        if let (false, Some(wheels)) = (self.machine_has(Need::Cmake), &self.wheels) {
            let mut folders = vec![wheels.cmake_folder()];
            folders.extend(self.host.path.iter().cloned());
            let path = env::join_paths(folders).map_err(|error| {
                Failure::new(format!("no usable PATH: {error}"), "move the checkout elsewhere")
            })?;
            variables.push(("PATH".to_owned(), path));
        }
        if self.host.program("make").is_none() {
            variables.push(("CMAKE_GENERATOR".to_owned(), "Ninja".into()));
        }
        let libclang = match (self.host.libclang_folder(), &self.wheels) {
            (Some(folder), _) => folder,
            (None, Some(wheels)) => {
                let folder = wheels.libclang_folder();
                variables.push(("LIBCLANG_PATH".to_owned(), folder.clone().into_os_string()));
                folder
            }
            (None, None) => unreachable!("a missing libclang has been reported before"),
        };
        if !self.host.has_clang_headers(&libclang) {
            variables.push(self.header_arguments()?);
        }
        Ok(variables)
    }

    /// The variable that points a libclang without headers of its own to gcc's headers.
    fn header_arguments(&self) -> Result<(String, OsString), Failure> {
        const NAME: &str = "BINDGEN_EXTRA_CLANG_ARGS";
        let folder = install::gcc_headers(self.shell).ok_or_else(|| {
            Failure::new(
                "libclang has no headers of its own (stddef.h), and gcc lends none",
                "install gcc or clang",
            )
        })?;
        let mut words = OsString::from("-I");
        words.push(folder);
        if let Some(others) = env::var_os(NAME).filter(|others| !others.is_empty()) {
            words.push(" ");
            words.push(others);
        }
        Ok((NAME.to_owned(), words))
    }
}

/// Writes a script with the variables for users who call cargo directly; removes an outdated script.
fn write_script(shell: &Shell, variables: &[(String, OsString)]) -> Result<Option<PathBuf>, Failure> {
    let path = shell.cache().join("env.sh");
    let outcome = if variables.is_empty() {
        if path.exists() { fs::remove_file(&path) } else { Ok(()) }
    } else {
        fs::create_dir_all(shell.cache()).and_then(|()| fs::write(&path, script(variables)))
    };
    outcome.map_err(|error| {
        Failure::new(format!("{}: {error}", path.display()), "fix the owner of .bootstrap")
    })?;
    let shown = path.strip_prefix(shell.root()).unwrap_or(Path::new("env.sh")).to_owned();
    Ok((!variables.is_empty()).then_some(shown))
}

fn script(variables: &[(String, OsString)]) -> String {
    let mut text = String::from("# Written by `cargo xtask bootstrap`. Read it with: . .bootstrap/env.sh\n");
    for (name, value) in variables {
        // Of PATH only the folder added in front: the rest is set by the shell that sources the script.
        let (value, rest) = match (name.as_str(), env::split_paths(value).next()) {
            ("PATH", Some(first)) => (first.into_os_string(), ":\"$PATH\""),
            _ => (value.clone(), ""),
        };
        let value = value.to_string_lossy().replace('\'', r"'\''");
        text.push_str(&format!("export {name}='{value}'{rest}\n"));
    }
    text
}

fn names(needs: &[Need]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_survives_quotes_in_a_path() {
        let text = script(&[("LIBCLANG_PATH".to_owned(), "/it's/here".into())]);
        assert!(text.ends_with("export LIBCLANG_PATH='/it'\\''s/here'\n"), "{text}");
    }

    #[test]
    fn the_script_prepends_a_folder_to_path() {
        let text = script(&[("PATH".to_owned(), "/tools/bin:/usr/bin".into())]);
        assert!(text.ends_with("export PATH='/tools/bin':\"$PATH\"\n"), "{text}");
    }

    #[test]
    fn needs_have_names_for_messages_and_for_apt() {
        let needs = [Need::Make, Need::Libclang];
        assert_eq!(names(&needs), "make, libclang");
        assert_eq!(install::apt_line(&needs), "apt-get install make libclang-dev");
    }
}
