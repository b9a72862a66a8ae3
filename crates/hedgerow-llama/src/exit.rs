//! Ends the process while llama.cpp may still be computing.
//!
//! One of the files that may contain `unsafe`, because std offers no exit without exit handlers.
#![expect(unsafe_code, reason = "std has no exit without handlers")]

use std::io::Write as _;

unsafe extern "C" {
    safe fn _exit(code: i32) -> !;
}

/// Ends the process without running the exit handlers of C and C++. They would free llama.cpp's global state, which
/// threads that still load or measure a model use.
pub fn exit_without_handlers(code: u8) -> ! {
    // What cannot be written is lost, as at any exit.
    let _ = std::io::stdout().flush();
    _exit(i32::from(code))
}
