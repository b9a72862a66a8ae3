//! The engine that a configuration asks for, on this host.

use std::sync::OnceLock;

use hedgerow_core::units::Tokens;
use hedgerow_llama::EngineOptions;

use crate::config::Config;
use crate::host::{Cpus, Root, Threads, pin_this_thread};

/// How many threads the engine has, and why. The host is looked at once, so that all who ask get the same answer.
pub(crate) fn engine_threads(config: &Config) -> Threads {
    static CPUS: OnceLock<Cpus> = OnceLock::new();
    CPUS.get_or_init(|| Cpus::read(&Root::system())).threads(config.engine.threads)
}

/// Puts this thread, and the engine threads that it will start, on the CPUs that the engine should use, and says how many
/// threads there will be. To be called before an engine is made.
pub(crate) fn settle_engine_thread(config: &Config) {
    let Threads { count, reason, pin_to } = engine_threads(config);
    tracing::info!("engine threads: {count}, {reason}");
    if pin_to.is_some_and(|cpus| !pin_this_thread(&cpus)) {
        tracing::warn!("the engine's threads cannot be kept on the fast CPUs; slower ones may hold steps up");
    }
}

/// The engine that a configuration asks for.
pub(crate) fn engine_options(config: &Config) -> EngineOptions {
    let threads = engine_threads(config).count;
    EngineOptions {
        parallel: config.engine.parallel,
        context: config.engine.context,
        retained: config.engine.retained,
        threads,
        threads_batch: threads,
        micro_batch: Tokens(config.engine.micro_batch),
        kv_unified: false,
        flash_attention: true,
        kv_type: config.engine.kv_type,
    }
}
