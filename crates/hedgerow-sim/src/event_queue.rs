//! The event queue: pending events in one total order.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap};

use hedgerow_core::Event;
use hedgerow_core::time::Instant;

/// Pending events, ordered by time and, at the same nanosecond, by insertion.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    heap: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    /// Times of pending wake-ups: the pipeline orders the same wake-up repeatedly.
    wakes: BTreeSet<Instant>,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    event: Event,
}

impl EventQueue {
    /// Adds an event.
    pub(crate) fn add(&mut self, at: Instant, event: Event) {
        if event == Event::Woke && !self.wakes.insert(at) {
            return;
        }
        self.heap.push(Reverse(Entry { at, number: self.entries, event }));
        self.entries += 1;
    }

    /// Removes and returns the next event.
    pub(crate) fn next(&mut self) -> Option<(Instant, Event)> {
        let Reverse(Entry { at, event, .. }) = self.heap.pop()?;
        if event == Event::Woke {
            self.wakes.remove(&at);
        }
        Some((at, event))
    }

    /// Whether only wake-ups are pending.
    pub(crate) fn has_only_wakes(&self) -> bool {
        self.heap.len() == self.wakes.len()
    }
}

impl Entry {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.number)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use hedgerow_core::request::RequestId;

    #[test]
    fn simultaneous_events_keep_their_order_of_insertion() {
        let mut events = EventQueue::default();
        for (at, id) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            events.add(Instant(at), Event::Cancelled(RequestId(id)));
        }
        let order: Vec<_> = std::iter::from_fn(|| events.next()).collect();
        let expected = [(3, 1), (3, 3), (5, 0), (5, 2)];
        assert_eq!(order, expected.map(|(at, id)| (Instant(at), Event::Cancelled(RequestId(id)))));
    }

    #[test]
    fn a_time_has_at_most_one_wake_up() {
        let mut events = EventQueue::default();
        events.add(Instant(1), Event::Woke);
        events.add(Instant(1), Event::Woke);
        assert!(events.has_only_wakes());
        assert_eq!(events.next(), Some((Instant(1), Event::Woke)));
        assert_eq!(events.next(), None);
        events.add(Instant(1), Event::Woke);
        assert_eq!(
            events.next(),
            Some((Instant(1), Event::Woke)),
            "once it has occurred, it can be added again"
        );
    }
}
