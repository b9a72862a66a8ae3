//! State of an engine's open requests, with the checks that all engines share.

use std::collections::BTreeMap;

use super::{EndReason, EngineError, EngineLimits, GenerationTask, Progress, Step};
use crate::model::request::RequestId;
use crate::model::units::Tokens;

/// An engine's open requests and their progress; `T` is the engine's own data for each.
///
/// An engine calls [`Sequences::check`] before it runs a step, then [`Sequences::advance`] for each request of it, so
/// that all engines accept and refuse the same steps.
#[derive(Clone, Debug)]
pub struct Sequences<T> {
    limits: EngineLimits,
    open: BTreeMap<RequestId, Sequence<T>>,
}

/// One open request.
#[derive(Clone, Debug)]
pub struct Sequence<T> {
    /// Its task.
    pub work: GenerationTask,
    /// Prompt tokens that were in the cache before its first chunk.
    pub cached: Tokens,
    /// Prompt tokens prefilled, or in the cache already.
    pub prefilled: Tokens,
    /// Tokens produced.
    pub produced: Tokens,
    /// The engine's own data.
    pub own: T,
}

impl<T> Sequence<T> {
    /// Prompt tokens left to prefill.
    pub fn prompt_left(&self) -> Tokens {
        Tokens(self.work.prompt_tokens.len() as u32) - self.prefilled
    }

    /// Whether none of its prompt has been prefilled yet.
    pub fn is_new(&self) -> bool {
        self.prefilled == self.cached
    }

    /// KV cells that it holds: its prompt so far, and each produced token but the last, which has not been fed back
    /// yet.
    pub fn kv(&self) -> Tokens {
        self.prefilled + self.produced.saturating_sub(Tokens(1))
    }
}

impl<T> Sequences<T> {
    /// A table without open requests.
    pub fn new(limits: EngineLimits) -> Self {
        Self { limits, open: BTreeMap::new() }
    }

    /// The engine's capacity.
    pub fn limits(&self) -> EngineLimits {
        self.limits
    }

    /// Opens a request; `own` is called only after the request has been checked.
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
        let needed = Tokens(work.prompt_tokens.len() as u32) + work.max_output;
        if work.prompt_tokens.is_empty() || work.max_output == Tokens::ZERO {
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
    /// If part of the prompt was prefilled already, or no token of it would be left to run.
    pub fn skip(&mut self, request: RequestId, cached: Tokens) -> Result<(), EngineError> {
        let sequence = self.get_mut(request)?;
        let prompt = Tokens(sequence.work.prompt_tokens.len() as u32);
        assert!(sequence.is_new(), "{request} has begun: {} worked through", sequence.prefilled);
        assert!(cached < prompt, "{request}: the cache would hold {cached} of {prompt}");
        (sequence.cached, sequence.prefilled) = (cached, cached);
        Ok(())
    }

    /// Checks that every request of the step is open and ready for it, and that its cells fit.
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

    /// Advances a request of a checked step by `prefilled` prompt tokens (0 for a decode) and, if its prompt is
    /// complete then, by one produced token; `end_of` returns why that token ends the answer, if it does. A request
    /// that ends is closed.
    pub fn advance(
        &mut self,
        request: RequestId,
        prefilled: Tokens,
        end_of: impl FnOnce(&mut Sequence<T>) -> Option<EndReason>,
    ) -> Progress {
        let sequence = self.open.get_mut(&request).expect("the step was checked");
        let cached = sequence.is_new().then_some(sequence.cached);
        sequence.prefilled = sequence.prefilled + prefilled;
        let produced = sequence.prompt_left() == Tokens::ZERO;
        let mut end = None;
        if produced {
            sequence.produced = sequence.produced + Tokens(1);
            let is_last = sequence.produced == sequence.work.max_output;
            end = end_of(sequence).or(is_last.then_some(EndReason::Length));
        }
        if end.is_some() {
            self.open.remove(&request);
        }
        Progress { request, prefilled, cached, produced, end }
    }

    /// Closes a request and returns the engine's own data for it, if it was open.
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

    /// An open request, mutable.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotOpen`].
    pub fn get_mut(&mut self, request: RequestId) -> Result<&mut Sequence<T>, EngineError> {
        self.open.get_mut(&request).ok_or(EngineError::NotOpen { request })
    }

    /// KV cells in use over all open requests.
    pub fn kv_used(&self) -> Tokens {
        self.open.values().map(Sequence::kv).sum()
    }
}
