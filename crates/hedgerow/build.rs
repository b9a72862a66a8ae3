//! Looks for the toolkits of the accelerators that this build is to have.
//!
//! It stands here and not in `hedgerow-llama`, because Cargo runs a build script after those of the package's direct
//! dependencies that link something: there it would always come after llama.cpp's. Here Cargo runs the two in any
//! order; `cargo xtask build` looks before either.

use std::env;

#[path = "../../xtask/src/toolkit.rs"]
#[allow(dead_code, reason = "what xtask installs by it")]
mod toolkit;

use toolkit::{Accelerator, Machine, complaint};

/// Set to build although something seems to be missing.
const SKIP: &str = "HEDGEROW_SKIP_TOOLKIT_CHECK";

fn main() {
    // A look that failed is taken again with the next build anyway.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../xtask/src/toolkit.rs");
    if env::var_os(SKIP).is_some_and(|value| !value.is_empty() && value != "0") {
        return;
    }
    let machine = Machine::this(&env::var("CARGO_CFG_TARGET_OS").unwrap_or_default());
    for accelerator in Accelerator::ALL {
        if env::var_os(format!("CARGO_FEATURE_{}", accelerator.feature().to_uppercase())).is_none() {
            continue;
        }
        if let Some(complaint) = complaint(accelerator, &accelerator.missing(&machine)) {
            let hint = accelerator.hint();
            println!("cargo::error={complaint} (hint: {hint}; {SKIP}=1 builds all the same)");
        }
    }
}
