//! Prefix caching: cells of ended requests are retained, so that a prompt with the same beginning need not be
//! computed from its first token.
//!
//! They are retained outside llama.cpp's cache: there a sequence takes a place of the size of the whole context and
//! can only be copied as a whole, and a place between two running requests costs every step another pass over the
//! weights. Outside, the memory and the time to copy are proportional to the retained tokens.
//!
//! The retained cells are in the machine's memory, even if the cache is on a device: each copy then goes over the
//! bus. Copies on the device itself (llama.cpp's `ON_DEVICE`) are not used, because there is only one per place, and
//! a place is reused by the next request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::engine::TokenId;
use hedgerow_core::engine::prefix::{HeldId, PrefixIndex, PrefixMatch};
use hedgerow_core::request::RequestId;
use hedgerow_core::units::Tokens;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::session::{LlamaStateSeqFlags, SeqState};

use crate::engine::Place;

/// The index of an engine's prefixes. The engine updates it; the driver claims and releases prefixes. It is locked
/// briefly, never while a step runs or cells are copied.
pub type SharedPrefixes = Arc<Mutex<PrefixIndex>>;

/// The index and the retained cells.
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
        // A poisoned index is still consistent, because its functions do not panic half-way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an open request to the index, if prefix caching is enabled.
    pub(crate) fn open(&self, prompt: &[TokenId]) -> Option<HeldId> {
        let mut index = self.index();
        index.is_enabled().then(|| index.open(prompt.to_vec()))
    }

    /// Records that an open request begins with cached tokens.
    pub(crate) fn skip(&self, held: HeldId, cached: Tokens) {
        self.index().skip(held, cached);
    }

    /// Records what a step has computed of an open request.
    pub(crate) fn advance(&self, held: HeldId, computed: Tokens, produced: Option<TokenId>) {
        self.index().advance(held, computed, produced);
    }

    /// Finds the longest cached prefix of a prompt that begins now.
    pub(crate) fn take(&self, request: RequestId, prompt: &[TokenId]) -> Option<PrefixMatch> {
        self.index().take(request, prompt)
    }

    /// Copies exactly the found prefix into a place and returns whether that succeeded; the place is empty if not.
    /// `open_at` is the place of the prefix if it belongs to an open request.
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
        let is_there = is_copied && truncate(context, to, found.tokens);
        if !is_there {
            let is_empty = context.clear_kv_cache_seq(Some(to.0), None, None);
            assert_eq!(is_empty, Ok(true), "a whole sequence can always be dropped");
        }
        is_there
    }

    /// Ends an open request and retains its cells, if the index selects them and they can be read.
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
    // After a failed step, a device may still be writing the cells that are read here.
    context.synchronize();
    context.state_seq_get(place.0 as i32, LlamaStateSeqFlags::empty()).ok()
}

/// Truncates a place to its first `length` tokens and returns whether it now holds exactly those.
///
/// A model with a sliding window has only the window's cells of some layers: such a sequence can be continued from
/// its end, but not truncated.
fn truncate(context: &mut LlamaContext<'_>, place: Place, length: Tokens) -> bool {
    let held = |context: &LlamaContext<'_>| context.kv_cache_seq_pos_max(place.0 as i32) + 1;
    let count = length.0 as i32;
    held(context) == count
        || (context.kv_cache_seq_pos_min(place.0 as i32) == 0
            && context.clear_kv_cache_seq(Some(place.0), Some(length.0), None) == Ok(true)
            && held(context) == count)
}
