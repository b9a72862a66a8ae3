//! Which build this is.

/// This build: one without optimizations is another machine, as far as speed goes.
pub(crate) fn version() -> String {
    let build = if cfg!(debug_assertions) { ", debug" } else { "" };
    let variants = if cfg!(feature = "portable") { ", portable" } else { "" };
    format!("hedgerow {}{build}{variants}", env!("CARGO_PKG_VERSION"))
}
