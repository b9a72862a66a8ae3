//! Gives each request of a completion endpoint its log line, and its response `x-request-id`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use hedgerow_node::request_log::RequestLog;

use super::App;
use super::error::ErrorCode;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The endpoints whose requests have a line.
const ENDPOINTS: [&str; 3] = ["/v1/chat/completions", "/chat/completions", "/v1/completions"];

/// Begins the line before anything can refuse the request, and notes the response's status.
pub(super) async fn begin(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let endpoint = ENDPOINTS.into_iter().find(|endpoint| *endpoint == request.uri().path());
    if endpoint.is_none() || request.method() != Method::POST {
        return next.run(request).await;
    }
    let log = RequestLog::new(app.0.clock, &app.0.metrics);
    let own = request.headers().get(X_REQUEST_ID).cloned();
    log.note(|facts| {
        facts.endpoint = endpoint;
        if let Some(name) = own.as_ref().and_then(|name| name.to_str().ok()) {
            facts.note_client_id(name);
        }
    });
    request.extensions_mut().insert(Arc::clone(&log));
    let mut response = next.run(request).await;
    let error = response.extensions().get::<ErrorCode>().map(|code| code.0);
    error.into_iter().for_each(|code| app.0.metrics.error_response(code));
    log.note(|facts| {
        facts.status = Some(response.status().as_u16());
        facts.error = error;
    });
    let name = own.or_else(|| HeaderValue::from_str(&log.name()?).ok());
    response.headers_mut().extend(name.map(|name| (X_REQUEST_ID, name)));
    response
}
