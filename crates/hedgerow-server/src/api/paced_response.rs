//! The share of the managed downlink that an answer needs, and the errors when it does not fit.

use hedgerow_core::allocator::{Payload, Wire};
use hedgerow_core::output::{Outcome, Record, Rejection};
use hedgerow_core::request::Link;
use hedgerow_core::time::Span;
use hedgerow_core::units::{Bits, Bytes, Tokens};
use hedgerow_node::token_size::Form;
use hedgerow_solver::Limit;

use super::registry::ServedModel;
use super::{ApiError, App};

/// The downlink needs of one answer that awaits admission.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacedResponse {
    wire: Wire,
    payload: Payload,
    /// Maximum output length.
    output: Tokens,
    /// Time from arrival to deadline.
    time: Option<Span>,
    /// The longest answer that the full downlink can carry in that time.
    output_max: Tokens,
}

impl PacedResponse {
    /// Estimates the payload; `None` where the downlink is not managed.
    pub(super) fn new(
        app: &App,
        served: &ServedModel,
        form: Form,
        (prompt, output): (Tokens, Tokens),
        time: Option<Span>,
        tpot: Option<Span>,
    ) -> Option<Self> {
        let wire = served.node.wire()?;
        let sizes = &app.0.token_sizes;
        let payload = sizes.payload(form, output, served.node.least_decoding(prompt, output), tpot);
        let room = wire.downlink.get() * time.unwrap_or(Span::MAX).as_seconds();
        Some(Self { wire, payload, output, time, output_max: sizes.tokens_in(form, Bits::new(room)) })
    }

    /// The downlink rate that the answer needs.
    pub(super) fn link(&self) -> Link {
        Link::Wire { downlink: self.wire.rate(&self.payload, self.time) }
    }

    /// Time from arrival by which the last token must be produced, so that the answer is sent by the deadline.
    pub(super) fn time_for_tokens(&self) -> Option<Span> {
        self.time.map(|time| self.wire.time_for_tokens(&self.payload, time))
    }

    /// The error of a refusal that depends on the downlink, in terms of the caller's deadline; `None` for any other.
    pub(super) fn refusal(&self, record: &Record) -> Option<ApiError> {
        let Outcome::Rejected(rejection) = &record.outcome else { return None };
        match (rejection, self.time) {
            (Rejection::DeadlineInfeasible { fastest, .. }, Some(deadline)) => {
                let fastest = self.wire.time_for_answer(&self.payload, *fastest);
                Some(ApiError::from(&Rejection::DeadlineInfeasible { deadline, fastest }))
            }
            (Rejection::BandExceeded { limit: Limit::Downlink }, _)
                if self.payload.tpot_rate > self.wire.downlink =>
            {
                Some(self.tpot_exceeds_downlink())
            }
            (Rejection::BandExceeded { limit: Limit::Downlink }, Some(time)) => Some(self.too_large(time)),
            _ => None,
        }
    }

    fn tpot_exceeds_downlink(&self) -> ApiError {
        let Self { wire: Wire { downlink, .. }, payload: Payload { tpot_rate, .. }, .. } = self;
        let times = tpot_rate.get() / downlink.get();
        let message = format!("its TPOT target needs {tpot_rate:.0}, but the downlink carries {downlink}");
        let hint = format!("ask for a TPOT target {times:.1} times as long, or for the answer in one piece");
        ApiError::band_exceeded(Limit::Downlink, message, hint)
    }

    fn too_large(&self, time: Span) -> ApiError {
        let needs = Bytes((self.payload.whole.get() / 8.0) as u64);
        let carries = Bytes((self.wire.downlink.get() * time.as_seconds() / 8.0) as u64);
        let (output, downlink) = (self.output, self.wire.downlink);
        let message = format!(
            "an answer of up to {output} is about {needs}, but the downlink of {downlink} carries {carries} \
             in the {time} to its deadline",
        );
        let longer = Span::from(self.payload.whole / self.wire.downlink);
        let shorter = (self.output_max > Tokens::ZERO)
            .then(|| format!(", or lower `max_tokens` to {} or less", self.output_max.0));
        let hint = format!("ask for a deadline later than {longer}{}", shorter.unwrap_or_default());
        ApiError::band_exceeded(Limit::Downlink, message, hint)
    }
}
