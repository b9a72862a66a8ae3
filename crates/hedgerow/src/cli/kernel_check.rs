//! `hedgerow kernel-check`: the child process that the program starts to check kernels; not for users.

use std::path::PathBuf;

use clap::Args;
use hedgerow_core::node::KvType;
use hedgerow_core::units::Tokens;
use hedgerow_llama::{EngineOptions, Kernels, LoadOptions};
use hedgerow_node::kernels::trial;

/// The arguments of `hedgerow kernel-check`.
#[derive(Args, Debug)]
pub(crate) struct KernelCheckArgs {
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
}

/// Runs one trial and writes its results to standard output, one line of JSON for each stage.
pub(crate) fn run(args: &KernelCheckArgs) -> anyhow::Result<()> {
    let load = LoadOptions { kernels: args.kernels, ..LoadOptions::default() };
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
    trial::run(&args.model, &load, &engine, args.cpu_variant.as_deref())
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
