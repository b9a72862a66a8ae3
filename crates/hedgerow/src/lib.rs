//! hedgerow: an LLM inference server for edge nodes that keeps its promises.
//!
//! A library, so that its code generation overlaps with that of the crates below it; the program is [`main`].

mod api;
mod build_version;
mod catalogue;
mod cli;
mod clock;
mod config;
mod demo;
mod doctor;
mod engine_setup;
mod errors;
mod figures;
mod files;
mod footprint;
mod host;
mod instance_file;
mod kernels;
mod link;
mod loading;
mod logging;
mod metrics;
mod models;
mod placement;
mod plan;
mod plotting;
mod profile;
mod quality;
mod quantize;
mod sample;
mod serve;
mod server;
mod service_manager;
mod terminal;

/// Runs the command that the process's arguments name, and returns the process's exit code.
pub fn main() -> u8 {
    match cli::run() {
        Ok(status) => status as u8,
        // The reader of the output has closed it, as `head` does.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            errors::print(&error);
            2
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    of_io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
