//! The section `[limits]`: what a client can take of this machine.

use hedgerow_core::time::Span;

use super::checked::Check;
use super::raw::RawLimits;

/// What a client can take of this machine; `config/default.toml` says why each default is what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub connections_per_peer: usize,
    /// Time for the head of a request, and between two requests of a connection.
    pub header_timeout: Span,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Maximum time for a request body to arrive.
    pub body_timeout: Span,
    /// Least rate of a body, in bytes per second; 0: none.
    pub body_bytes_per_s: f64,
    /// Bytes of all bodies and prompts that are not yet in the queue.
    pub waiting_bytes: usize,
    /// The longest that a client may take none of its answer.
    pub write_timeout: Span,
    /// Stop texts of a request.
    pub stop_texts: usize,
    /// Bytes of a stop text.
    pub stop_text_bytes: usize,
}

impl Check<'_> {
    pub(super) fn limits(&self, raw: &RawLimits) -> anyhow::Result<LimitsConfig> {
        let whole = |key, value, least, most| {
            Ok::<_, anyhow::Error>(self.whole("limits", key, value, least, most)? as usize)
        };
        let number = |key, value, least, most| self.number("limits", key, value, least, most);
        let time =
            |key, value| Ok::<_, anyhow::Error>(Span::from_seconds(number(key, value, 0.01, 86_400.0)?));
        let mib = |key, value, least| {
            Ok::<_, anyhow::Error>((number(key, value, least, 1024.0)? * 1_048_576.0) as usize)
        };
        Ok(LimitsConfig {
            connections: whole("connections", raw.connections, 8, 1_000_000)?,
            connections_per_peer: whole("connections_per_peer", raw.connections_per_peer, 1, 1_000_000)?,
            header_timeout: time("header_timeout_s", raw.header_timeout_s)?,
            header_bytes: whole("header_kib", raw.header_kib, 8, 1024)? * 1024,
            body_bytes: mib("body_mib", raw.body_mib, 0.001)?,
            body_timeout: time("body_timeout_s", raw.body_timeout_s)?,
            body_bytes_per_s: number("body_kib_per_s", raw.body_kib_per_s, 0.0, 1e6)? * 1024.0,
            waiting_bytes: mib("waiting_mib", raw.waiting_mib, 0.01)?,
            write_timeout: time("write_timeout_s", raw.write_timeout_s)?,
            stop_texts: whole("stop_texts", raw.stop_texts, 0, 1024)?,
            stop_text_bytes: whole("stop_text_bytes", raw.stop_text_bytes, 1, 65_536)?,
        })
    }
}
