//! The thread that runs the engine and does nothing else.
//!
//! It sends tokens directly to each request's update channel; only step reports with counts go to the driver.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};

use hedgerow_core::engine::{Emission, GenerationTask, Step, TokenSink};
use hedgerow_core::quantization::PrecisionIndex;
use hedgerow_core::request::RequestId;
use tokio::sync::mpsc::UnboundedSender;

use super::driver::{Command, Update};
use super::engines::Engines;
use crate::metrics::KvGauge;

/// A command from the driver to the engine; the engine executes them in order.
#[derive(Debug)]
pub(super) enum EngineCommand {
    /// Open a request at a precision and send its tokens to `updates`.
    Open {
        request: RequestId,
        precision: PrecisionIndex,
        work: GenerationTask,
        updates: UnboundedSender<Update>,
    },
    /// Close a request.
    Close(RequestId),
    /// Run a step and report it.
    Step(Step),
    /// Load a precision and report it.
    Load(PrecisionIndex),
    /// Unload a precision.
    Unload(PrecisionIndex),
}

/// Executes commands until the driver's channel closes; updates `kv_tokens` with the KV cache use after each one.
pub(super) fn run(
    engines: &mut Engines,
    commands: &Receiver<EngineCommand>,
    driver: &Sender<Command>,
    kv_tokens: &KvGauge,
) {
    let mut readers = Readers::default();
    while let Ok(command) = commands.recv() {
        let report = match command {
            EngineCommand::Open { request, precision, work, updates } => {
                match engines.open(request, precision, work) {
                    Ok(()) => {
                        readers.0.insert(request, updates);
                        None
                    }
                    Err(error) => Some(Command::OpenFailed { request, error }),
                }
            }
            EngineCommand::Close(request) => {
                engines.close(request);
                readers.0.remove(&request);
                None
            }
            EngineCommand::Step(step) => Some(Command::StepEnded(engines.step(&step, &mut readers))),
            EngineCommand::Load(precision) => {
                let loaded = engines.load(precision);
                if let Err(error) = &loaded {
                    tracing::error!("a precision cannot be loaded: {error:#}");
                }
                Some(Command::Loaded { precision, is_there: loaded.is_ok() })
            }
            EngineCommand::Unload(precision) => {
                engines.unload(precision);
                None
            }
        };
        kv_tokens.set(engines.kv_used().0);
        if report.is_some_and(|report| driver.send(report).is_err()) {
            return;
        }
    }
}

/// The update channel of each open request.
#[derive(Default)]
struct Readers(BTreeMap<RequestId, UnboundedSender<Update>>);

impl TokenSink for Readers {
    fn token(&mut self, emission: Emission<'_>) {
        if let Some(updates) = self.0.get(&emission.request) {
            // If the receiver was dropped, the request is cancelled; the driver will close it.
            let _ = updates.send(Update::Token(emission.text.to_owned()));
        }
        if emission.end.is_some() {
            self.0.remove(&emission.request);
        }
    }
}
