//! Why a caller is refused.

use hedgerow_core::time::Span;

/// Why a caller is refused, before its request is looked at or for what it asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AccessRefusal {
    /// There are keys, and the request has none of them.
    NoKey {
        /// What is wrong.
        said: &'static str,
    },
    /// The key may not have what the request asks for.
    NotAllowed {
        /// The field to change.
        param: &'static str,
        /// The limit.
        said: String,
    },
    /// A limit of the key is used up.
    LimitUsed {
        /// The limit's name in the keys file.
        limit: &'static str,
        /// The limit.
        said: String,
        /// When there is room again.
        retry_after: Span,
    },
}
