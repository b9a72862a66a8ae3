//! Prefix caching: an index of the token sequences in an engine's KV cache, searched by prefix.
//!
//! It is bookkeeping only: an engine that retains the cells of ended requests owns one and does the copying; the
//! driver looks a prompt up before it reports the arrival, to learn how many of its tokens need no prefill.

use super::TokenId;
use crate::model::request::RequestId;
use crate::model::units::Tokens;

/// The shortest match that is used and the shortest sequence that is retained: below that, a lookup costs about what
/// it saves. A chat template puts more tokens than this before every first question.
pub const MIN_PREFIX: Tokens = Tokens(8);

/// The id of one held sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldId(u64);

/// A held sequence that shares a prefix with a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    /// The held sequence.
    pub held: HeldId,
    /// Length of the shared prefix; always less than the prompt's, whose last token must run to give logits.
    pub tokens: Tokens,
}

/// Which cells to retain and to drop when a request ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Whether to retain its own cells, under its id.
    pub is_retained: bool,
    /// The retained sequences whose cells are to be dropped.
    pub dropped: Vec<HeldId>,
}

/// The token sequences of open requests and of retained ended ones, least recently used first.
///
/// A request that is planned with a cached prefix claims it; a claimed sequence is not dropped before the claiming
/// request has begun or left.
#[derive(Clone, Debug)]
pub struct PrefixIndex {
    retained_max: usize,
    held: Vec<Held>,
    next_id: u64,
}

#[derive(Clone, Debug)]
struct Held {
    id: HeldId,
    tokens: Vec<TokenId>,
    /// How many of them are in the cache; those of an open request may still be incomplete.
    computed: usize,
    is_open: bool,
    claims: Vec<RequestId>,
}

impl Held {
    /// Length of the prefix that it shares with a prompt.
    fn shares(&self, prompt: &[TokenId]) -> usize {
        let most = self.computed.min(prompt.len().saturating_sub(1));
        self.tokens[..most].iter().zip(prompt).take_while(|(held, asked)| held == asked).count()
    }
}

impl PrefixIndex {
    /// An empty index that retains at most `retained_max` ended requests. With 0 it never finds anything.
    pub fn new(retained_max: u32) -> Self {
        Self { retained_max: retained_max as usize, held: Vec::new(), next_id: 0 }
    }

    /// Whether it retains anything, so that it may find a prefix.
    pub fn is_enabled(&self) -> bool {
        self.retained_max > 0
    }

    /// The held sequence that shares the longest prefix with a prompt. Ties go to a retained one, then to the
    /// shortest, which is copied fastest.
    pub fn find(&self, prompt: &[TokenId]) -> Option<PrefixMatch> {
        let matches = self.held.iter().map(|held| (held.shares(prompt), held));
        let (shared, best) =
            matches.max_by_key(|(shared, held)| (*shared, !held.is_open, usize::MAX - held.computed))?;
        let tokens = Tokens(shared as u32);
        (self.is_enabled() && tokens >= MIN_PREFIX).then_some(PrefixMatch { held: best.id, tokens })
    }

    /// Finds a prompt's longest cached prefix, claims it until [`PrefixIndex::take`] or [`PrefixIndex::release`], and
    /// returns its length.
    pub fn claim(&mut self, request: RequestId, prompt: &[TokenId]) -> Tokens {
        let Some(found) = self.find(prompt) else { return Tokens::ZERO };
        self.touch(found.held);
        if let Some(held) = self.held.last_mut() {
            held.claims.push(request);
        }
        found.tokens
    }

    /// Finds the longest cached prefix of a prompt that begins to run now, and ends its claim.
    pub fn take(&mut self, request: RequestId, prompt: &[TokenId]) -> Option<PrefixMatch> {
        self.release(request);
        let found = self.find(prompt)?;
        self.touch(found.held);
        Some(found)
    }

    /// Releases a request's claim, if it has one.
    pub fn release(&mut self, request: RequestId) {
        for held in &mut self.held {
            held.claims.retain(|&claimant| claimant != request);
        }
    }

    /// Adds a request that was opened; none of its prompt is computed yet.
    pub fn open(&mut self, prompt: Vec<TokenId>) -> HeldId {
        let id = HeldId(self.next_id);
        self.next_id += 1;
        self.held.push(Held { id, tokens: prompt, computed: 0, is_open: true, claims: Vec::new() });
        id
    }

    /// Notes that the first `cached` tokens of an open request were cached already.
    pub fn skip(&mut self, id: HeldId, cached: Tokens) {
        if let Some(held) = self.held.iter_mut().find(|held| held.id == id) {
            held.computed = cached.0 as usize;
        }
    }

    /// Notes that `computed` more of an open request's tokens are in the cache, and the token that they produced.
    pub fn advance(&mut self, id: HeldId, computed: Tokens, produced: Option<TokenId>) {
        if let Some(held) = self.held.iter_mut().find(|held| held.id == id) {
            held.computed += computed.0 as usize;
            held.tokens.extend(produced);
        }
    }

    /// Ends an open request and decides what is retained: its sequence, unless it is a prefix of a retained one. It
    /// replaces the retained sequences that are prefixes of it and, where there is no room, the least recently used
    /// one.
    pub fn end(&mut self, id: HeldId) -> Ending {
        let mut ending = Ending::default();
        let Some(mut ended) = self.remove(id) else { return ending };
        ended.tokens.truncate(ended.computed);
        ended.is_open = false;
        if Tokens(ended.computed as u32) < MIN_PREFIX || !self.is_enabled() {
            return ending;
        }
        let covers = |held: &Held| !held.is_open && held.tokens.starts_with(&ended.tokens);
        if let Some(other) = self.held.iter().position(covers) {
            let mut other = self.held.remove(other);
            other.claims.append(&mut ended.claims);
            self.held.push(other);
            return ending;
        }
        let is_continued = |held: &Held| !held.is_open && ended.tokens.starts_with(&held.tokens);
        while let Some(index) = self.held.iter().position(is_continued) {
            let mut shorter = self.held.remove(index);
            ended.claims.append(&mut shorter.claims);
            ending.dropped.push(shorter.id);
        }
        while self.held.iter().filter(|held| !held.is_open).count() >= self.retained_max {
            // Where all are claimed, a request with a claim on the ended one will find less than it was planned with.
            let is_free = |held: &Held| !held.is_open && held.claims.is_empty();
            let Some(oldest) = self.held.iter().position(is_free) else { return ending };
            ending.dropped.push(self.held.remove(oldest).id);
        }
        self.held.push(ended);
        ending.is_retained = true;
        ending
    }

    /// Removes a sequence whose cells are not in the cache after all.
    pub fn forget(&mut self, id: HeldId) {
        self.remove(id);
    }

    fn remove(&mut self, id: HeldId) -> Option<Held> {
        let index = self.held.iter().position(|held| held.id == id)?;
        Some(self.held.remove(index))
    }

    fn touch(&mut self, id: HeldId) {
        if let Some(held) = self.remove(id) {
            self.held.push(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text whose first `shared` tokens are common to all texts and the rest its own.
    fn text(own: i32, shared: u32, length: u32) -> Vec<TokenId> {
        (0..length).map(|at| TokenId(if at < shared { at as i32 } else { 1000 * own + at as i32 })).collect()
    }

    /// Opens a request, computes all of its prompt and ends it; returns its id and what is retained and dropped.
    fn serve(index: &mut PrefixIndex, prompt: Vec<TokenId>) -> (HeldId, Ending) {
        let computed = Tokens(prompt.len() as u32);
        let id = index.open(prompt);
        index.advance(id, computed, Some(TokenId(-1)));
        (id, index.end(id))
    }

    fn found(index: &PrefixIndex, prompt: &[TokenId]) -> Option<(HeldId, u32)> {
        index.find(prompt).map(|found| (found.held, found.tokens.0))
    }

    #[test]
    fn finds_the_sequence_that_shares_most() {
        let mut index = PrefixIndex::new(4);
        let (_, first) = serve(&mut index, text(1, 40, 60));
        let (second, _) = serve(&mut index, text(2, 50, 60));
        assert!(first.is_retained);
        assert_eq!(found(&index, &text(3, 45, 80)), Some((second, 45)));
        assert_eq!(found(&index, &text(3, 7, 80)), None, "too short for a copy");
    }

    #[test]
    fn leaves_the_last_token_of_a_prompt_to_run() {
        let mut index = PrefixIndex::new(1);
        let (id, _) = serve(&mut index, text(1, 40, 40));
        assert_eq!(found(&index, &text(1, 40, 40)), Some((id, 39)));
        assert_eq!(found(&index, &text(1, 40, 41)), Some((id, 40)));
        assert_eq!(found(&index, &[]), None);
    }

    #[test]
    fn finds_of_an_open_request_what_has_been_computed() {
        let mut index = PrefixIndex::new(1);
        let id = index.open(text(1, 100, 100));
        assert_eq!(found(&index, &text(2, 90, 100)), None);
        index.advance(id, Tokens(64), None);
        assert_eq!(found(&index, &text(2, 90, 100)), Some((id, 64)));
        assert!(index.end(id).is_retained, "cancelled in its prompt, the computed part is retained");
        assert_eq!(found(&index, &text(2, 90, 100)), Some((id, 64)));
    }

    #[test]
    fn retains_the_answer_but_for_its_last_token_which_was_never_fed_back() {
        let mut index = PrefixIndex::new(1);
        let id = index.open(text(1, 40, 40));
        index.advance(id, Tokens(40), Some(TokenId(40)));
        index.advance(id, Tokens(1), Some(TokenId(41)));
        index.end(id);
        assert_eq!(found(&index, &text(1, 60, 60)), Some((id, 41)));
    }

    #[test]
    fn a_longer_conversation_replaces_the_shorter_one_it_continues() {
        let mut index = PrefixIndex::new(4);
        let (first, _) = serve(&mut index, text(1, 40, 40));
        let (second, ending) = serve(&mut index, text(1, 70, 70));
        assert_eq!(ending, Ending { is_retained: true, dropped: vec![first] });
        let (_, ending) = serve(&mut index, text(1, 50, 50));
        assert_eq!(ending, Ending::default(), "all of it is held already");
        assert_eq!(found(&index, &text(1, 90, 90)), Some((second, 70)));
    }

    #[test]
    fn drops_the_least_recently_used() {
        let mut index = PrefixIndex::new(2);
        let [first, second] = [1, 2].map(|own| serve(&mut index, text(own, 0, 40)).0);
        assert_eq!(index.take(RequestId(7), &text(1, 0, 50)).map(|found| found.held), Some(first));
        let (_, ending) = serve(&mut index, text(3, 0, 40));
        assert_eq!(ending, Ending { is_retained: true, dropped: vec![second] });
    }

    #[test]
    fn retains_what_is_claimed_until_the_claiming_request_has_begun_or_left() {
        let mut index = PrefixIndex::new(1);
        let (first, _) = serve(&mut index, text(1, 0, 40));
        assert_eq!(index.claim(RequestId(7), &text(1, 0, 50)), Tokens(40));
        assert_eq!(serve(&mut index, text(2, 0, 40)).1, Ending::default());
        let (longer, ending) = serve(&mut index, text(1, 0, 45));
        assert_eq!(ending.dropped, [first], "a continuation contains it");
        assert_eq!(serve(&mut index, text(2, 0, 40)).1, Ending::default(), "and inherits the claim");
        assert_eq!(index.take(RequestId(7), &text(1, 0, 50)).map(|found| found.held), Some(longer));
        let (last, ending) = serve(&mut index, text(2, 0, 40));
        assert_eq!(ending, Ending { is_retained: true, dropped: vec![longer] });
        index.claim(RequestId(8), &text(2, 0, 41));
        index.release(RequestId(8));
        assert_eq!(serve(&mut index, text(3, 0, 40)).1.dropped, [last]);
    }

    #[test]
    fn a_claim_on_an_open_request_outlives_it() {
        let mut index = PrefixIndex::new(1);
        let id = index.open(text(1, 0, 40));
        index.advance(id, Tokens(40), None);
        assert_eq!(index.claim(RequestId(7), &text(1, 0, 50)), Tokens(40));
        assert!(index.end(id).is_retained);
        assert_eq!(serve(&mut index, text(2, 0, 40)).1, Ending::default());
    }

    #[test]
    fn holds_nothing_when_nothing_is_to_be_retained() {
        let mut index = PrefixIndex::new(0);
        let id = index.open(text(1, 0, 40));
        index.advance(id, Tokens(40), None);
        assert_eq!(index.claim(RequestId(7), &text(1, 0, 50)), Tokens::ZERO);
        assert_eq!(index.end(id), Ending::default());
    }
}
