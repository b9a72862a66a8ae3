//! The names that clients give their requests, for `/debug/requests`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use hedgerow_core::request::RequestId;

/// How many names are remembered: as many as ended requests, and those that are running.
const REMEMBERED: usize = 2_000;
/// The longest name that is remembered, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The latest requests that came with an `x-request-id`.
#[derive(Debug, Default)]
pub(super) struct RequestNames(Mutex<VecDeque<(Box<str>, RequestId)>>);

impl RequestNames {
    /// Remembers the name of a request, if its headers give it one.
    pub(super) fn note(&self, headers: &HeaderMap, id: RequestId) {
        let name = headers.get("x-request-id").and_then(|name| name.to_str().ok());
        let Some(name) = name.filter(|name| name.len() <= NAME_BYTES_MAX) else { return };
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() == REMEMBERED {
            names.pop_front();
        }
        names.push_back((name.into(), id));
    }

    /// The latest request with this name.
    pub(super) fn find(&self, name: &str) -> Option<RequestId> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().rev().find(|(known, _)| **known == *name).map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_request_with_a_name_is_found() {
        let names = RequestNames::default();
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", "mine".parse().unwrap());
        names.note(&headers, RequestId(1));
        names.note(&headers, RequestId(2));
        names.note(&HeaderMap::new(), RequestId(3));
        assert_eq!((names.find("mine"), names.find("other")), (Some(RequestId(2)), None));
    }
}
