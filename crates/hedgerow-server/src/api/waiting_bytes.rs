//! The memory of bodies and prompts that are not yet in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that all waiting bodies may take together.
///
/// A body may take at most as much as is free after it has taken it (a dynamic threshold, as switches share their packet
/// buffers). So large bodies are refused first, and however many there are, small ones find room.
#[derive(Clone, Debug)]
pub(super) struct WaitingBytes {
    free: Arc<AtomicUsize>,
}

/// The bytes of one body, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    of: WaitingBytes,
    bytes: usize,
}

impl WaitingBytes {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// The share of a body of which nothing has arrived yet.
    pub(super) fn begin(&self) -> Held {
        Held { of: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes more bytes; returns whether there was room for them.
    #[must_use = "a body without room must be dropped"]
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.of.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            free.checked_sub(bytes).filter(|&left| self.bytes + bytes <= left)
        });
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let waiting = WaitingBytes::new(1000);
        let mut large: Vec<Held> = (0..20).map(|_| waiting.begin()).collect();
        for _ in 0..1000 {
            large.iter_mut().for_each(|held| {
                let _ = held.grow(1);
            });
        }
        assert!(waiting.begin().grow(16), "room for a small one");
        drop(large);
        assert_eq!(waiting.free.load(Ordering::Relaxed), 1000, "all is given back");
    }

    #[test]
    fn a_body_takes_at_most_half_of_what_was_free() {
        let waiting = WaitingBytes::new(1000);
        let mut held = waiting.begin();
        assert!(held.grow(500) && !held.grow(1));
        assert!(!waiting.begin().grow(501));
    }
}
