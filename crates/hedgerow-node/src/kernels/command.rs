//! The command line of the child process that a program starts to check its kernels.

use std::path::PathBuf;

use clap::Parser;
use hedgerow_core::node::KvType;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, Kernels, LoadOptions};

use super::trial;

/// The first argument of the child process.
pub(super) const NAME: &str = "kernel-check";

/// The arguments after [`NAME`].
#[derive(Debug, Parser)]
struct TrialArgs {
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[arg(long, value_parser = kernels)]
    kernels: Kernels,
    #[arg(long)]
    cpu_variant: Option<String>,
    #[arg(long)]
    threads: u32,
    #[arg(long)]
    ubatch_size: u32,
    #[arg(long, value_parser = kv_type)]
    kv_type: KvType,
    #[arg(long, action = clap::ArgAction::Set)]
    flash_attention: bool,
    #[arg(long, default_value_t = 0)]
    gpu_layers: u32,
    /// The devices of these layers.
    #[arg(long, value_delimiter = ',')]
    device: Vec<String>,
}

/// Runs one trial and writes its results to standard output, one line of JSON for each stage, if this process was
/// started for that; `None` for any other process.
///
/// The kernels are checked in child processes, because wrong ones may end a process by a signal. The child is this
/// same program: every program that loads models calls this before anything else.
pub fn run_trial_if_asked() -> Option<anyhow::Result<()>> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    words.next().filter(|name| name == NAME)?;
    Some(run(&TrialArgs::parse_from(std::iter::once(program).chain(words))))
}

fn run(args: &TrialArgs) -> anyhow::Result<()> {
    let load = LoadOptions { gpu_layers: args.gpu_layers, kernels: args.kernels, ..LoadOptions::default() };
    let engine = EngineOptions {
        parallel: 1,
        context: Tokens(256),
        retained: 0,
        threads: args.threads,
        threads_batch: args.threads,
        micro_batch: Tokens(args.ubatch_size),
        kv_unified: false,
        flash_attention: args.flash_attention,
        kv_type: args.kv_type,
    };
    trial::run(&args.model, &load, &engine, args.cpu_variant.as_deref(), &args.device)
}

fn kernels(name: &str) -> Result<Kernels, String> {
    let known = [Kernels::Fast, Kernels::Plain];
    known.into_iter().find(|kernels| kernels.name() == name).ok_or_else(|| "must be fast or plain".to_owned())
}

fn kv_type(name: &str) -> Result<KvType, String> {
    KvType::ALL
        .into_iter()
        .find(|known| known.name() == name)
        .ok_or_else(|| "must be f16, q8_0 or q4_0".to_owned())
}
