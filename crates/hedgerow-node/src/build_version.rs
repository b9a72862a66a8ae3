//! The version of this build.

/// The version with the build variant: a debug build differs in speed like a different machine.
pub fn version() -> String {
    let build = if cfg!(debug_assertions) { ", debug" } else { "" };
    let variants = if cfg!(feature = "portable") { ", portable" } else { "" };
    format!("hedgerow {}{build}{variants}", env!("CARGO_PKG_VERSION"))
}
