//! The engine options for a configuration on this host.

use std::sync::OnceLock;

use hedgerow_core::units::Tokens;
use hedgerow_llama::EngineOptions;

use crate::config::Config;
use crate::host::{Cpus, Root, Threads, pin_this_thread};

/// The number of engine threads and the reason. The host is inspected once, so that every call agrees.
pub(crate) fn engine_threads(config: &Config) -> Threads {
    static CPUS: OnceLock<Cpus> = OnceLock::new();
    CPUS.get_or_init(|| Cpus::read(&Root::system())).threads(config.engine.threads)
}

/// Pins this thread, and the engine threads that it will start, to the CPUs that the engine should use, and logs the
/// number of threads. Must be called before an engine is created.
pub fn settle_engine_thread(config: &Config) {
    let Threads { count, reason, pin_to } = engine_threads(config);
    tracing::info!("engine threads: {count}, {reason}");
    if pin_to.is_some_and(|cpus| !pin_this_thread(&cpus)) {
        tracing::warn!("the engine's threads cannot be kept on the fast CPUs; slower ones may hold steps up");
    }
}

/// The engine options for a configuration.
pub fn engine_options(config: &Config) -> EngineOptions {
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
