//! The query of a list: its page and filters.

use axum::http::Uri;

use crate::api::ApiError;

/// A request's query. Its values are ids, names and numbers, in which no letter needs an escape.
pub(super) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    pub(super) fn of(uri: &'a Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.collect())
    }

    /// The value of a name; an empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let mut values = self.0.iter().filter(|pair| pair.0 == name).map(|pair| pair.1);
        values.next().filter(|value| !value.is_empty())
    }

    /// The maximum number of objects on the page.
    ///
    /// # Errors
    ///
    /// When it is not a number from 1 to `most`.
    pub(super) fn limit(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| ApiError::bad_value("limit", text, &format!("it must be from 1 to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_limit_in_its_range() {
        let limit = |uri: &'static str| Query::of(&Uri::from_static(uri)).limit(20, 100).ok();
        assert_eq!(limit("/v1/batches"), Some(20));
        assert_eq!(limit("/v1/batches?after=&limit=5"), Some(5));
        assert_eq!(limit("/v1/batches?limit=0"), None);
        assert_eq!(limit("/v1/batches?limit=101"), None);
        assert_eq!(limit("/v1/batches?limit=x"), None);
        let uri = Uri::from_static("/v1/batches?after=batch_1&limit=5&empty=");
        let query = Query::of(&uri);
        assert_eq!((query.get("after"), query.get("empty"), query.get("x")), (Some("batch_1"), None, None));
    }
}
