//! Makes sure that what compiling llama.cpp takes is here, and fetches it where it is not.
//!
//! Says one line for each thing it does, and nothing where nothing is to be done.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::detect::{Host, Need};
use crate::install::{self, Apt, Wheels};
use crate::python::Python;
use crate::shell::{Failure, Shell};

/// One run of the bootstrap.
pub(crate) struct Bootstrap<'a> {
    shell: &'a Shell,
    apt: Apt,
    host: Host,
    python: Option<Python>,
    wheels: Option<Wheels>,
}

/// Everything is here, for programs that get these variables.
pub(crate) struct Ready {
    /// Empty on a machine whose own packages suffice, so that plain `cargo build` and ours agree.
    pub(crate) variables: Vec<(String, OsString)>,
    /// The interpreter that was found.
    pub(crate) python: Python,
    script: Option<PathBuf>,
}

impl Ready {
    /// Names the script to read before calling cargo without xtask, if there is one.
    pub(crate) fn print_what_plain_cargo_needs(&self) {
        if let Some(script) = &self.script {
            println!("bootstrap: before calling cargo without xtask: . {}", script.display());
        }
    }
}

impl<'a> Bootstrap<'a> {
    /// Looks at this machine.
    pub(crate) fn new(shell: &'a Shell, apt: Apt) -> Bootstrap<'a> {
        Bootstrap {
            shell,
            apt,
            host: Host::this_machine(),
            python: Python::find(shell),
            wheels: Wheels::fetched_before(shell),
        }
    }

    /// Fetches what is missing, and says what the programs we start must be told about it.
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

    /// The needs that neither the machine nor the wheels of an earlier run meet.
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

    /// Tries Debian's packages, then the wheels. What still lacks afterwards is the caller's to report.
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

    /// What our programs must be told to find the tools.
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

    /// Lends gcc's headers to a libclang that came without its own.
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

/// Writes the variables down for people who call cargo themselves; removes an outdated script.
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
        // Of PATH only what we put in front: the rest belongs to whoever reads the script.
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
    fn the_script_puts_our_folder_before_the_reader_s_path() {
        let text = script(&[("PATH".to_owned(), "/tools/bin:/usr/bin".into())]);
        assert!(text.ends_with("export PATH='/tools/bin':\"$PATH\"\n"), "{text}");
    }

    #[test]
    fn needs_are_named_for_people_and_for_apt() {
        let needs = [Need::Make, Need::Libclang];
        assert_eq!(names(&needs), "make, libclang");
        assert_eq!(install::apt_line(&needs), "apt-get install make libclang-dev");
    }
}
