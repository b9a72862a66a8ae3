//! Stage 1 of 6: the request queue.
//!
//! - takes: requests as they arrive
//! - gives: the waiting requests, in order of arrival; each has exactly one place
//! - never: decides which requests are served

use crate::model::request::{Request, RequestId};
use crate::model::time::{Instant, Span};

/// A bounded queue of requests that wait to start.
#[derive(Clone, Debug)]
pub struct Queue {
    capacity: usize,
    waiting: Vec<Waiting>,
}

/// One waiting request.
#[derive(Clone, Debug)]
struct Waiting {
    request: Request,
    /// After this time not even an idle node could serve it in time; `None` without a deadline.
    latest_start: Option<Instant>,
    /// Whether a plan has admitted it.
    is_admitted: bool,
}

/// The queue has no place left.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the queue of {capacity} requests is full")]
pub struct QueueFull {
    /// The number of places.
    pub capacity: usize,
}

impl Queue {
    /// An empty queue of `capacity` places.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, waiting: Vec::new() }
    }

    /// Adds a request, which is infeasible after `latest_start`, if there is one.
    ///
    /// # Errors
    ///
    /// When no place is left.
    ///
    /// # Panics
    ///
    /// If the request has a place already.
    pub fn enter(&mut self, request: Request, latest_start: Option<Instant>) -> Result<(), QueueFull> {
        assert!(!self.contains(request.id), "{} has a place in the queue already", request.id);
        if self.waiting.len() >= self.capacity {
            return Err(QueueFull { capacity: self.capacity });
        }
        // Ids grow with arrival, but a request whose body is read slowly may enter after a later one: sort by id.
        let place = self.waiting.partition_point(|other| other.request.id < request.id);
        self.waiting.insert(place, Waiting { request, latest_start, is_admitted: false });
        Ok(())
    }

    /// Removes a request, at any position.
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

    /// The waiting requests, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.waiting.iter().map(|waiting| &waiting.request)
    }

    /// The waiting requests as a list, in order of arrival.
    pub fn snapshot(&self) -> Vec<&Request> {
        self.iter().collect()
    }

    /// Notes that a plan has admitted a request.
    pub fn note_admitted(&mut self, id: RequestId) {
        if let Some(place) = self.place(id) {
            self.waiting[place].is_admitted = true;
        }
    }

    /// The requests that a plan has admitted, in order of id.
    pub fn admitted(&self) -> Vec<RequestId> {
        let admitted = self.waiting.iter().filter(|waiting| waiting.is_admitted);
        admitted.map(|waiting| waiting.request.id).collect()
    }

    /// The requests that not even an idle node could serve in time any more.
    pub fn infeasible(&self, now: Instant) -> Vec<RequestId> {
        let infeasible =
            self.waiting.iter().filter(|waiting| waiting.latest_start.is_some_and(|latest| latest < now));
        infeasible.map(|waiting| waiting.request.id).collect()
    }

    /// The time at which the next request becomes infeasible; `None` if none ever does.
    pub fn next_infeasible(&self) -> Option<Instant> {
        let latest_start = self.waiting.iter().filter_map(|waiting| waiting.latest_start).min()?;
        Some(latest_start + Span(1))
    }

    /// Moves every deadline to `by` at the latest.
    pub fn tighten_deadlines(&mut self, by: Instant) {
        for Waiting { request, .. } in &mut self.waiting {
            request.deadline = Some(request.deadline.map_or(by, |deadline| deadline.min(by)));
        }
    }

    /// Empties the queue.
    pub fn drain(&mut self) -> impl Iterator<Item = Request> + use<> {
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.request)
    }

    /// The number of waiting requests.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::units::Tokens;

    fn request(id: u64) -> Request {
        Request::new(RequestId(id), Instant(id), Tokens(1), Tokens(1))
    }

    #[test]
    fn refuses_one_more_than_it_holds_and_has_room_again_when_one_leaves() {
        let mut queue = Queue::new(2);
        queue.enter(request(1), None).unwrap();
        queue.enter(request(2), None).unwrap();
        assert_eq!(queue.enter(request(3), None), Err(QueueFull { capacity: 2 }));
        assert_eq!(queue.leave(RequestId(1)).map(|request| request.id), Some(RequestId(1)));
        assert_eq!(queue.leave(RequestId(1)), None);
        queue.enter(request(3), None).unwrap();
        assert_eq!(queue.snapshot().iter().map(|request| request.id.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    #[should_panic(expected = "r1 has a place in the queue already")]
    fn gives_a_request_one_place_only() {
        let mut queue = Queue::new(2);
        queue.enter(request(1), None).unwrap();
        let _ = queue.enter(request(1), None);
    }
}
