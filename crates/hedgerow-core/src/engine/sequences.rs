//! The rules every engine keeps about its open requests, in one place.

use std::collections::BTreeMap;

use super::{EndReason, EngineError, EngineLimits, GenerationTask, Progress, Step};
use crate::request::RequestId;
use crate::units::Tokens;

/// The requests an engine has open, how far each one is, and `T`: whatever else the engine keeps for it.
///
/// An engine calls [`Sequences::check`] before it runs a step, then [`Sequences::advance`] for each
/// request of it; both together make every engine accept and refuse the same steps.
#[derive(Clone, Debug)]
pub struct Sequences<T> {
    limits: EngineLimits,
    open: BTreeMap<RequestId, Sequence<T>>,
}

/// One open request.
#[derive(Clone, Debug)]
pub struct Sequence<T> {
    /// What to do.
    pub work: GenerationTask,
    /// Prompt tokens that were in the cache before the first was worked through.
    pub cached: Tokens,
    /// Prompt tokens worked through, or in the cache already.
    pub prefilled: Tokens,
    /// Tokens produced.
    pub produced: Tokens,
    /// The engine's own.
    pub own: T,
}

impl<T> Sequence<T> {
    /// Prompt tokens still to do.
    pub fn prompt_left(&self) -> Tokens {
        Tokens(self.work.prompt.len() as u32) - self.prefilled
    }

    /// Whether none of its prompt has been worked through yet.
    pub fn is_new(&self) -> bool {
        self.prefilled == self.cached
    }

    /// Cells it holds: its prompt so far, and each produced token but the last, which has not been
    /// fed back yet.
    pub fn kv(&self) -> Tokens {
        self.prefilled + self.produced.saturating_sub(Tokens(1))
    }
}

impl<T> Sequences<T> {
    /// None open yet.
    pub fn new(limits: EngineLimits) -> Self {
        Self { limits, open: BTreeMap::new() }
    }

    /// What the engine can hold.
    pub fn limits(&self) -> EngineLimits {
        self.limits
    }

    /// Opens a request; `own` is made only once it is known to be acceptable.
    ///
    /// # Errors
    ///
    /// As [`super::Engine::open`].
    pub fn open(
        &mut self,
        request: RequestId,
        work: GenerationTask,
        own: impl FnOnce(&GenerationTask) -> Result<T, EngineError>,
    ) -> Result<(), EngineError> {
        let needed = Tokens(work.prompt.len() as u32) + work.max_output;
        if work.prompt.is_empty() || work.max_output == Tokens::ZERO {
            return Err(EngineError::Empty);
        }
        if needed > self.limits.context {
            return Err(EngineError::TooLong { needed, context: self.limits.context });
        }
        if self.open.contains_key(&request) {
            return Err(EngineError::AlreadyOpen { request });
        }
        if self.open.len() >= self.limits.parallel as usize {
            return Err(EngineError::NoSequenceFree { parallel: self.limits.parallel });
        }
        let own = own(&work)?;
        let (cached, prefilled, produced) = (Tokens::ZERO, Tokens::ZERO, Tokens::ZERO);
        self.open.insert(request, Sequence { work, cached, prefilled, produced, own });
        Ok(())
    }

    /// Notes that the cache holds the first `cached` tokens of a new request's prompt.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotOpen`].
    ///
    /// # Panics
    ///
    /// If the prompt has begun already, or no token of it would be left to run.
    pub fn skip(&mut self, request: RequestId, cached: Tokens) -> Result<(), EngineError> {
        let sequence = self.get_mut(request)?;
        let prompt = Tokens(sequence.work.prompt.len() as u32);
        assert!(sequence.is_new(), "{request} has begun: {} worked through", sequence.prefilled);
        assert!(cached < prompt, "{request}: the cache would hold {cached} of {prompt}");
        (sequence.cached, sequence.prefilled) = (cached, cached);
        Ok(())
    }

    /// Says whether every request of the step is open and ready for it, and whether its cells fit.
    ///
    /// # Errors
    ///
    /// As [`super::Engine::step`].
    pub fn check(&self, step: &Step) -> Result<(), EngineError> {
        let mut seen = std::collections::BTreeSet::new();
        for chunk in &step.prefill {
            let left = self.get(chunk.request)?.prompt_left();
            if chunk.tokens == Tokens::ZERO || chunk.tokens > left || !seen.insert(chunk.request) {
                return Err(EngineError::NotReady { request: chunk.request, what: "prefill".into() });
            }
        }
        for &request in &step.decode {
            if self.get(request)?.produced == Tokens::ZERO || !seen.insert(request) {
                return Err(EngineError::NotReady { request, what: "decode".into() });
            }
        }
        let grows: Tokens = step.prefill.iter().map(|chunk| chunk.tokens).sum();
        if self.kv_used() + grows + Tokens(step.decode.len() as u32) > self.limits.kv {
            return Err(EngineError::KvFull { kv: self.limits.kv });
        }
        Ok(())
    }

    /// Notes that a request of a checked step ran: `prefilled` prompt tokens (none for a decode), and,
    /// if that completed its prompt or it was decoding, one token, which `stopped` says was its last.
    /// A request that ends is forgotten.
    pub fn advance(
        &mut self,
        request: RequestId,
        prefilled: Tokens,
        stopped: impl FnOnce(&mut Sequence<T>) -> bool,
    ) -> Progress {
        let sequence = self.open.get_mut(&request).expect("the step was checked");
        let cached = sequence.is_new().then_some(sequence.cached);
        sequence.prefilled = sequence.prefilled + prefilled;
        let produced = sequence.prompt_left() == Tokens::ZERO;
        let mut end = None;
        if produced {
            sequence.produced = sequence.produced + Tokens(1);
            let is_last = sequence.produced == sequence.work.max_output;
            end =
                if stopped(sequence) { Some(EndReason::Stop) } else { is_last.then_some(EndReason::Length) };
        }
        if end.is_some() {
            self.open.remove(&request);
        }
        Progress { request, prefilled, cached, produced, end }
    }

    /// Forgets a request; what the engine kept for it, if it was open.
    pub fn close(&mut self, request: RequestId) -> Option<T> {
        self.open.remove(&request).map(|sequence| sequence.own)
    }

    /// An open request.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotOpen`].
    pub fn get(&self, request: RequestId) -> Result<&Sequence<T>, EngineError> {
        self.open.get(&request).ok_or(EngineError::NotOpen { request })
    }

    /// An open request, to change what the engine keeps for it.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotOpen`].
    pub fn get_mut(&mut self, request: RequestId) -> Result<&mut Sequence<T>, EngineError> {
        self.open.get_mut(&request).ok_or(EngineError::NotOpen { request })
    }

    /// Cells in use over all open requests.
    pub fn kv_used(&self) -> Tokens {
        self.open.values().map(Sequence::kv).sum()
    }
}
