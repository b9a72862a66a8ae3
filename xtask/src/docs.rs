//! The documentation as a site, by mdBook.

use std::path::PathBuf;

use crate::shell::{Failure, Shell};

const VERSION: &str = "0.5.4";

/// Builds the site into `target/docs`; installs mdBook below `.bootstrap` if it is not there.
pub(crate) fn run(shell: &Shell) -> Result<(), Failure> {
    let folder = shell.root().join(".bootstrap").join(format!("mdbook-{VERSION}"));
    let program = folder.join("bin").join("mdbook");
    if !program.exists() {
        install(shell, &folder)?;
    }
    shell.run(shell.program(&program).arg("build"))?;
    let start: PathBuf = shell.root().join("target/docs/index.html");
    println!("docs: open {}", start.display());
    Ok(())
}

fn install(shell: &Shell, folder: &std::path::Path) -> Result<(), Failure> {
    println!("docs: installing mdBook {VERSION} into {} (some minutes, once)", folder.display());
    let mut cargo = shell.cargo();
    cargo.args(["install", "mdbook", "--locked", "--version", VERSION]);
    // Without its server and its watcher.
    cargo.args(["--no-default-features", "--features", "search", "--root"]).arg(folder);
    shell.run(&mut cargo)
}
