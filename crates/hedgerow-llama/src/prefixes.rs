//! The cells of ended requests, kept so that a prompt that begins like one of them need not be computed
//! from its first token.
//!
//! They are kept outside llama.cpp's cache: there a sequence takes a place of the size of the whole
//! context and is only copied as a whole, and a place between two running requests costs every step
//! another pass over the weights. Outside, a kept token takes a token's memory, and its copy its time.
//!
//! The kept cells are in the machine's memory, also where the cache is on a device: each copy then goes over the
//! bus. Copies on the device itself (llama.cpp's `ON_DEVICE`) are not used, because there is only one for each
//! place, and a place is given to the next request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::engine::TokenId;
use hedgerow_core::engine::prefix::{HeldId, PrefixIndex, PrefixMatch};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::session::{LlamaStateSeqFlags, SeqState};

use crate::engine::Place;

/// What an engine holds, by tokens: it writes, and whoever hands requests to the core claims and releases.
/// Locked for a look or a note, never while a step runs or cells are copied.
pub type SharedPrefixes = Arc<Mutex<PrefixIndex>>;

/// The index and the kept cells.
pub(crate) struct Prefixes {
    index: SharedPrefixes,
    cells: BTreeMap<HeldId, SeqState>,
}

impl Prefixes {
    pub(crate) fn new(retained_max: u32) -> Self {
        Self { index: Arc::new(Mutex::new(PrefixIndex::new(retained_max))), cells: BTreeMap::new() }
    }

    pub(crate) fn shared(&self) -> SharedPrefixes {
        Arc::clone(&self.index)
    }

    fn index(&self) -> MutexGuard<'_, PrefixIndex> {
        // Whoever panicked while holding it left a whole index: its functions do not panic half-way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request that shares its prefix, if anybody may.
    pub(crate) fn open(&self, prompt: &[TokenId]) -> Option<HeldId> {
        let mut index = self.index();
        index.is_enabled().then(|| index.open(prompt.to_vec()))
    }

    /// Notes that an open request begins with tokens that were held already.
    pub(crate) fn skip(&self, held: HeldId, cached: Tokens) {
        self.index().skip(held, cached);
    }

    /// Notes what a step has computed of an open request.
    pub(crate) fn advance(&self, held: HeldId, computed: Tokens, produced: Option<TokenId>) {
        self.index().advance(held, computed, produced);
    }

    /// The longest prefix held of a prompt that begins now.
    pub(crate) fn take(&self, request: RequestId, prompt: &[TokenId]) -> Option<PrefixMatch> {
        self.index().take(request, prompt)
    }

    /// Copies the prefix that was found into a place, and nothing beyond it; whether that succeeded. The
    /// place is empty if it did not. `open_at` says where an open request has its cells.
    pub(crate) fn restore(
        &self,
        context: &mut LlamaContext<'_>,
        found: PrefixMatch,
        open_at: Option<Place>,
        to: Place,
    ) -> bool {
        let of_open;
        let cells = match (self.cells.get(&found.held), open_at) {
            (Some(cells), _) => Some(cells),
            (None, Some(place)) => {
                of_open = copy_out(context, place);
                of_open.as_ref()
            }
            (None, None) => None,
        };
        let is_copied = cells.is_some_and(|cells| context.state_seq_set(cells, to.0 as i32).is_ok());
        let is_there = is_copied && keep_only(context, to, found.tokens);
        if !is_there {
            let is_empty = context.clear_kv_cache_seq(Some(to.0), None, None);
            assert_eq!(is_empty, Ok(true), "a whole sequence can always be dropped");
        }
        is_there
    }

    /// Notes that an open request has ended and keeps its cells, if they are worth it and can be read.
    pub(crate) fn end(&mut self, context: &LlamaContext<'_>, held: HeldId, at: Place, is_readable: bool) {
        let ending = self.index().end(held);
        for dropped in ending.dropped {
            self.cells.remove(&dropped);
        }
        if ending.is_retained {
            match is_readable.then(|| copy_out(context, at)).flatten() {
                Some(cells) => drop(self.cells.insert(held, cells)),
                None => self.index().forget(held),
            }
        }
    }
}

fn copy_out(context: &LlamaContext<'_>, place: Place) -> Option<SeqState> {
    // After a step that failed, a device may still be writing what is read here.
    context.synchronize();
    context.state_seq_get(place.0 as i32, LlamaStateSeqFlags::empty()).ok()
}

/// Drops what a place holds beyond its first `kept` tokens; whether it now holds exactly those.
///
/// A model with a sliding window keeps only the window's cells of some layers: such a sequence can be
/// continued from its end, but not cut.
fn keep_only(context: &mut LlamaContext<'_>, place: Place, kept: Tokens) -> bool {
    let held = |context: &LlamaContext<'_>| context.kv_cache_seq_pos_max(place.0 as i32) + 1;
    let kept_count = kept.0 as i32;
    held(context) == kept_count
        || (context.kv_cache_seq_pos_min(place.0 as i32) == 0
            && context.clear_kv_cache_seq(Some(place.0), Some(kept.0), None) == Ok(true)
            && held(context) == kept_count)
}
