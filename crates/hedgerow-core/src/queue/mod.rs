//! Stage 1 of 6: the request queue.
//!
//! - takes: requests as they arrive
//! - gives: who waits, first come first; each request has exactly one place
//! - never: decides who is served

use crate::request::{Request, RequestId};
use crate::time::Instant;

/// Requests that wait to be chosen, bounded.
#[derive(Clone, Debug)]
pub struct Queue {
    capacity: usize,
    waiting: Vec<Waiting>,
}

/// One place.
#[derive(Clone, Debug)]
struct Waiting {
    request: Request,
    /// After this moment not even an idle node could serve it in time.
    latest_start: Instant,
    /// Whether a plan has accepted it.
    is_promised: bool,
}

/// No place is left.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the queue of {capacity} requests is full")]
pub struct QueueFull {
    /// How many places there are.
    pub capacity: usize,
}

impl Queue {
    /// An empty queue of so many places.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, waiting: Vec::new() }
    }

    /// Gives a request a place; after `latest_start` it is hopeless.
    ///
    /// # Errors
    ///
    /// When none is left.
    ///
    /// # Panics
    ///
    /// If the request has a place already.
    pub fn enter(&mut self, request: Request, latest_start: Instant) -> Result<(), QueueFull> {
        assert!(!self.contains(request.id), "{} has a place in the queue already", request.id);
        if self.waiting.len() >= self.capacity {
            return Err(QueueFull { capacity: self.capacity });
        }
        // Ids grow with arrival, yet a slow reader may come in after a faster one: its place is its own.
        let place = self.waiting.partition_point(|other| other.request.id < request.id);
        self.waiting.insert(place, Waiting { request, latest_start, is_promised: false });
        Ok(())
    }

    /// Takes a request out, wherever it stands.
    pub fn leave(&mut self, id: RequestId) -> Option<Request> {
        let place = self.place(id)?;
        Some(self.waiting.remove(place).request)
    }

    /// Whether a request waits here.
    pub fn contains(&self, id: RequestId) -> bool {
        self.place(id).is_some()
    }

    /// A request that waits here.
    pub fn get(&self, id: RequestId) -> Option<&Request> {
        self.place(id).map(|place| &self.waiting[place].request)
    }

    fn place(&self, id: RequestId) -> Option<usize> {
        self.waiting.binary_search_by_key(&id, |waiting| waiting.request.id).ok()
    }

    /// Who waits, first come first.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.waiting.iter().map(|waiting| &waiting.request)
    }

    /// The same as a list.
    pub fn snapshot(&self) -> Vec<&Request> {
        self.iter().collect()
    }

    /// Notes that a plan has accepted a request.
    pub fn promise(&mut self, id: RequestId) {
        if let Some(place) = self.place(id) {
            self.waiting[place].is_promised = true;
        }
    }

    /// Whom a plan has accepted, in order of id.
    pub fn promised(&self) -> Vec<RequestId> {
        let promised = self.waiting.iter().filter(|waiting| waiting.is_promised);
        promised.map(|waiting| waiting.request.id).collect()
    }

    /// Those whom not even an idle node could serve in time any more.
    pub fn hopeless(&self, now: Instant) -> Vec<RequestId> {
        let hopeless = self.waiting.iter().filter(|waiting| waiting.latest_start < now);
        hopeless.map(|waiting| waiting.request.id).collect()
    }

    /// The moment from which the next of them will be hopeless; `None` if nobody ever will.
    pub fn next_hopeless(&self) -> Option<Instant> {
        let latest_start = self.waiting.iter().map(|waiting| waiting.latest_start).min()?;
        latest_start.0.checked_add(1).map(Instant)
    }

    /// Makes every deadline `by` at the latest.
    pub fn tighten_deadlines(&mut self, by: Instant) {
        for Waiting { request, .. } in &mut self.waiting {
            request.deadline = Some(request.deadline.map_or(by, |deadline| deadline.min(by)));
        }
    }

    /// Empties the queue.
    pub fn drain(&mut self) -> impl Iterator<Item = Request> + use<> {
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.request)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tokens;

    const LATE: Instant = Instant(u64::MAX);

    fn request(id: u64) -> Request {
        Request::new(RequestId(id), Instant(id), Tokens(1), Tokens(1))
    }

    #[test]
    fn refuses_one_more_than_it_holds_and_has_room_again_when_one_leaves() {
        let mut queue = Queue::new(2);
        queue.enter(request(1), LATE).unwrap();
        queue.enter(request(2), LATE).unwrap();
        assert_eq!(queue.enter(request(3), LATE), Err(QueueFull { capacity: 2 }));
        assert_eq!(queue.leave(RequestId(1)).map(|request| request.id), Some(RequestId(1)));
        assert_eq!(queue.leave(RequestId(1)), None);
        queue.enter(request(3), LATE).unwrap();
        assert_eq!(queue.snapshot().iter().map(|request| request.id.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    #[should_panic(expected = "r1 has a place in the queue already")]
    fn gives_a_request_one_place_only() {
        let mut queue = Queue::new(2);
        queue.enter(request(1), LATE).unwrap();
        let _ = queue.enter(request(1), LATE);
    }
}
