//! Errors as clients see them: OpenAI's error object with a hint, and headers that keep official clients from
//! retrying requests that cannot succeed.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hedgerow_core::output::{Rejection, Target};
use hedgerow_core::time::Span;
use hedgerow_core::units::Bytes;
use hedgerow_solver::Limit;
use serde_json::{Value, json};

use crate::access::AccessRefusal;

/// An error response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Box<str>,
    /// The request field to change.
    param: Option<Box<str>>,
    hint: Box<str>,
    retry_after: Option<Span>,
    /// llm-d's name for why a request was dropped.
    dropped: Option<&'static str>,
}

/// The code of an error response, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorCode(pub(super) &'static str);

impl ApiError {
    fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Box<str>>,
        hint: impl Into<Box<str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            hint: hint.into(),
            retry_after: None,
            dropped: None,
        }
    }

    /// 400: the request is invalid.
    pub(crate) fn bad(code: &'static str, message: impl Into<Box<str>>, hint: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, hint)
    }

    /// 400: a field has an invalid value.
    pub(crate) fn bad_value(param: &str, value: impl std::fmt::Display, limit: &str) -> Self {
        Self::bad("invalid_value", format!("`{param}` is {value}, but {limit}"), format!("change `{param}`"))
            .at(param)
    }

    /// The same error, naming the field to change.
    pub(crate) fn at(self, param: impl Into<Box<str>>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// 413: the body is too large.
    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        let message = format!("the request body is larger than the limit of {limit_bytes} bytes");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            message,
            "send less, or raise `limits.body_mib`",
        )
    }

    /// 429: too much memory is taken by bodies that wait.
    pub(crate) fn bodies_waiting(limit_bytes: usize) -> Self {
        let message = format!(
            "the bodies of waiting requests take too much of their {} for one of this size",
            Bytes(limit_bytes as u64)
        );
        let error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "bodies_waiting",
            message,
            "try again soon, send less, or raise `limits.waiting_mib`",
        );
        Self { retry_after: Some(Span::from_millis(1000)), dropped: Some("rejected-saturated"), ..error }
    }

    /// 403: the request's host is no name of this machine.
    pub(crate) fn host_not_allowed(host: &str) -> Self {
        let shown: String = host.chars().take(100).collect();
        Self::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            format!("the request is for the host `{shown}`, but this server listens on loopback only"),
            "ask for localhost or 127.0.0.1, or list the name in `server.allowed_hosts`",
        )
    }

    /// 403: a web page that may not use the API.
    pub(crate) fn origin_not_allowed(origin: &str) -> Self {
        let shown: String = origin.chars().take(100).collect();
        Self::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            format!("the web page of the origin `{shown}` may not use this server"),
            "list the origin in `server.allowed_origins`",
        )
    }

    /// 429: as many watch the events as may.
    pub(crate) fn too_many_watchers(limit: usize) -> Self {
        let message = format!("{limit} clients watch the events, as many as may");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_watchers", message, "end another one")
    }

    /// 403: an endpoint for operators.
    pub(crate) fn operators_only() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "operators_only",
            "this endpoint is for operators: clients on the server's machine, and keys of administrators",
            "ask on the machine itself, or send a key that was made with `hedgerow keys add --admin`",
        )
    }

    /// 403: the caller may not have what it asks for.
    pub(crate) fn not_allowed(param: &str, message: impl Into<Box<str>>) -> Self {
        let hint = "change the request, or the key's limits in the keys file";
        Self::new(StatusCode::FORBIDDEN, "not_allowed", message, hint).at(param)
    }

    /// 503: the node cannot serve any more; the process is about to end.
    pub(crate) fn node_failed(reason: &str) -> Self {
        let error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "node_failed",
            format!("the node cannot go on: {reason}"),
            "see the server's log; try again once it has been restarted",
        );
        Self { retry_after: Some(Span::from_millis(5000)), dropped: Some("rejected-no-endpoints"), ..error }
    }

    /// 408: the body did not arrive in time. Retrying the same request does not help.
    pub(crate) fn body_timeout(message: impl Into<Box<str>>, hint: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message, hint)
    }

    /// 422: the link's full capacity is too low to transfer it in time.
    pub(crate) fn band_exceeded(
        limit: Limit,
        message: impl Into<Box<str>>,
        hint: impl Into<Box<str>>,
    ) -> Self {
        let code = Rejection::BandExceeded { limit }.code();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message, hint)
    }

    /// 404: no such model.
    pub(crate) fn no_such_model(asked: &str, served: &[String]) -> Self {
        let message = format!("the model `{asked}` is not served here");
        let hint = format!("ask for one of: {}", served.join(", "));
        Self::new(StatusCode::NOT_FOUND, "model_not_found", message, hint).at("model")
    }

    /// 404: no such path.
    pub(crate) fn no_such_path(path: &str) -> Self {
        let hint = "see /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics";
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"), hint)
    }

    /// 405.
    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        let hint = "completions take POST, everything else GET";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{path} does not take {method}"),
            hint,
        )
    }

    /// 503: the model is still loading.
    pub(crate) fn loading() -> Self {
        let error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "loading",
            "the model is being loaded",
            "try again soon",
        );
        Self { retry_after: Some(Span::from_millis(1000)), dropped: Some("rejected-no-endpoints"), ..error }
    }

    /// 503: the node is shutting down.
    pub(crate) fn shutting_down() -> Self {
        Self::from(&Rejection::ShuttingDown)
    }

    /// 429: the queue is full; returned before any work is done for the request.
    pub(crate) fn queue_full(capacity: usize, retry_after: Span) -> Self {
        Self::from(&Rejection::QueueFull { capacity, retry_after })
    }

    /// 404: the request is neither live nor among the recently ended ones.
    pub(crate) fn no_such_request(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "request_not_found",
            format!("no request `{id}` is here, and it is not among the latest 1000 that ended"),
            "see `x-request-id` of the answer, or `request` in the server's log",
        )
    }

    /// 500: an internal error.
    pub(crate) fn internal(message: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "engine_error", message, "see the server's log")
    }

    /// An error of an endpoint with codes of its own, which a client does not retry by itself.
    pub(crate) fn other(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Box<str>>,
        hint: impl Into<Box<str>>,
    ) -> Self {
        Self::new(status, code, message, hint)
    }

    /// OpenAI's error object.
    pub(crate) fn body(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::UNAUTHORIZED => "authentication_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        json!({ "error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code, "hint": self.hint,
        }})
    }
}

impl From<AccessRefusal> for ApiError {
    fn from(refusal: AccessRefusal) -> Self {
        match refusal {
            AccessRefusal::NoKey { said } => {
                let hint = "send one as `Authorization: Bearer KEY`; `hedgerow keys add` makes keys";
                Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", said, hint)
            }
            AccessRefusal::NotAllowed { param, said } => Self::not_allowed(param, said),
            AccessRefusal::LimitUsed { limit, said, retry_after } => {
                let hint = format!("wait, or raise the key's `{limit}` in the keys file");
                let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", said, hint);
                Self { retry_after: Some(retry_after), ..error }
            }
        }
    }
}

impl From<&Rejection> for ApiError {
    fn from(rejection: &Rejection) -> Self {
        let (status, param, dropped) = match rejection {
            Rejection::ContextExceeded { .. } => (StatusCode::BAD_REQUEST, Some("max_tokens"), None),
            Rejection::MemoryExceeded { .. }
            | Rejection::ComputeExceeded { .. }
            | Rejection::BandExceeded { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None, None),
            Rejection::QualityInfeasible { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, Some("hedgerow.min_quality"), None)
            }
            Rejection::PrecisionUnavailable => (StatusCode::SERVICE_UNAVAILABLE, Some("model"), None),
            Rejection::DeadlineInfeasible { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, Some("hedgerow.deadline_ms"), None)
            }
            Rejection::TargetInfeasible { target, .. } => {
                let param = match target {
                    Target::Ttft => "hedgerow.ttft_ms",
                    Target::Tpot => "hedgerow.tpot_ms",
                };
                (StatusCode::UNPROCESSABLE_ENTITY, Some(param), None)
            }
            Rejection::DeadlineUnreachable { .. } | Rejection::QueueFull { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, None, Some("rejected-saturated"))
            }
            Rejection::ShuttingDown => {
                (StatusCode::SERVICE_UNAVAILABLE, None, Some("rejected-shutting-down"))
            }
        };
        let error = Self::new(status, rejection.code(), rejection.to_string(), rejection.hint());
        // By then another node, or this one restarted, can serve the request.
        let restart = matches!(rejection, Rejection::ShuttingDown).then_some(Span::from_millis(5000));
        let retry_after = rejection.retry_after().or(restart);
        Self { param: param.map(Into::into), retry_after, dropped, ..error }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: String| {
            let value = HeaderValue::from_str(&value).expect("numbers and our own words are header text");
            headers.insert(HeaderName::from_static(name), value);
        };
        if let Some(after) = self.retry_after {
            // `retry-after` is standard and in whole seconds; some clients also support `retry-after-ms`.
            set("retry-after", after.as_seconds().ceil().max(1.0).to_string());
            set("retry-after-ms", after.as_millis().ceil().max(1.0).to_string());
        } else {
            set("x-should-retry", "false".into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            set("www-authenticate", "Bearer".into());
        }
        if let Some(reason) = self.dropped {
            set("x-llm-d-request-dropped-reason", reason.into());
        }
        (self.status, headers, Extension(ErrorCode(self.code)), Json(self.body())).into_response()
    }
}
