//! The program `hedgerow`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hedgerow::main()
}
