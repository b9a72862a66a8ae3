//! Runs a line of a batch: a request to the server's own router, so that it is read, checked and answered as any other.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use hedgerow_batch::{Answer, Line};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;
use tower::ServiceExt as _;

use crate::api::ApiError;
use crate::link::Connection;

/// Largest answer that is stored.
const ANSWER_BYTES: usize = 64 << 20;

/// The longest deadline that a request may have, in ms.
const DEADLINE_MS_MAX: u128 = 86_400_000;

/// What came of running a line.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its result.
    Answer(Answer),
    /// The node has other load; the line waits again.
    Busy {
        /// After which time the node expects to have room.
        retry_after: Option<Duration>,
    },
    /// Not even an idle node could meet its deadline: the runner's, or its own, and then this is the result.
    Infeasible(Answer),
    /// It was cut off by its deadline: the runner's, or its own, and then this is the result.
    Late(Answer),
    /// It was cut off by a shutdown.
    ShutDown,
    /// The server failed; this is the result if it fails again and again.
    Failed(Answer),
}

/// The part of an answer's body that is looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireAnswer {
    choices: Vec<WireChoice>,
    error: Option<WireError>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireChoice {
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireError {
    code: Option<String>,
}

/// Sends a line to the router, with a deadline if there is one, else as best effort.
pub(super) async fn run(router: Router, line: Line, deadline: Option<Duration>) -> Outcome {
    let body = Body::from(line.body.get().to_owned());
    let mut request = Request::post(line.endpoint)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, line.body.get().len())
        .extension(ConnectInfo(Connection::in_process()));
    if let Some(deadline) = deadline {
        let ms = deadline.as_millis().clamp(1, DEADLINE_MS_MAX);
        request = request.header("x-slo-e2e-ms", ms.to_string());
    }
    let request = request.body(body).expect("the path and the headers are ours");
    let Ok(response) = router.oneshot(request).await;
    outcome(response, deadline.is_some()).await
}

async fn outcome(response: Response, has_deadline: bool) -> Outcome {
    let (head, body) = response.into_parts();
    let request_id = text(&head.headers, "x-request-id").map(str::to_owned);
    let bytes = match Limited::new(body, ANSWER_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Outcome::Failed(failed(&format!("the answer broke off: {error}"))),
    };
    let body = String::from_utf8(bytes.into()).ok().and_then(|body| RawValue::from_string(body).ok());
    let Some(body) = body else { return Outcome::Failed(failed("the answer is no JSON")) };
    let read: WireAnswer = serde_json::from_str(body.get()).unwrap_or_default();
    let finish = read.choices.first().and_then(|choice| choice.finish_reason.as_deref());
    let code = read.error.and_then(|error| error.code);
    let answer = Answer { status_code: head.status.as_u16(), request_id, body };
    match head.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Busy { retry_after: retry_after(&head.headers) }
        }
        StatusCode::UNPROCESSABLE_ENTITY
            if has_deadline && code.as_deref() == Some("deadline_infeasible") =>
        {
            Outcome::Infeasible(answer)
        }
        status if status.is_server_error() => Outcome::Failed(answer),
        _ if finish == Some("shutdown") => Outcome::ShutDown,
        _ if has_deadline && finish == Some("deadline") => Outcome::Late(answer),
        _ => Outcome::Answer(answer),
    }
}

/// An answer of the server itself about its failure.
pub(super) fn failed(message: &str) -> Answer {
    let body = ApiError::internal(message).body().to_string();
    let body = RawValue::from_string(body).expect("an error is JSON");
    Answer { status_code: StatusCode::INTERNAL_SERVER_ERROR.as_u16(), request_id: None, body }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let ms: u64 = text(headers, "retry-after-ms")?.parse().ok()?;
    Some(Duration::from_millis(ms))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::response::IntoResponse as _;
    use axum::routing::post;
    use serde_json::{Value, json};

    use super::*;

    /// Runs a line against a handler that answers what the body says.
    fn run_line(body: Value, deadline: Option<Duration>) -> Outcome {
        let handler = |headers: HeaderMap, Json(body): Json<Value>| async move {
            let status = StatusCode::from_u16(body["status"].as_u64().unwrap() as u16).unwrap();
            let sent = headers.get("x-slo-e2e-ms").map(|ms| ms.to_str().unwrap().to_owned());
            let headers = [("x-request-id", "req-7".to_owned()), ("retry-after-ms", "1500".to_owned())];
            let finish = body["finish"].clone();
            let answer = json!({
                "choices": [{ "finish_reason": finish }], "error": { "code": body["code"] }, "deadline": sent,
            });
            (status, headers, Json(answer)).into_response()
        };
        let router = Router::new().route("/v1/completions", post(handler));
        let body = RawValue::from_string(body.to_string()).unwrap();
        let line = Line { custom_id: "a".into(), endpoint: "/v1/completions".into(), body };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(router, line, deadline))
    }

    const A_MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn an_answer_is_the_result_and_other_client_errors_too() {
        for (body, status) in [
            (json!({ "status": 200, "finish": "stop" }), 200),
            (json!({ "status": 200, "finish": "deadline" }), 200),
            (json!({ "status": 400 }), 400),
            (json!({ "status": 404 }), 404),
            (json!({ "status": 422, "code": "deadline_infeasible" }), 422),
        ] {
            let Outcome::Answer(answer) = run_line(body.clone(), None) else { panic!("{body}") };
            assert_eq!((answer.status_code, answer.request_id.as_deref()), (status, Some("req-7")));
            assert!(answer.body.get().contains(r#""deadline":null"#), "{}", answer.body);
        }
    }

    #[test]
    fn a_line_that_was_refused_or_cut_off_has_no_result() {
        let refused = run_line(json!({ "status": 429 }), None);
        assert!(matches!(refused, Outcome::Busy { retry_after: Some(after) } if after.as_millis() == 1500));
        assert!(matches!(run_line(json!({ "status": 503 }), None), Outcome::Busy { .. }));
        assert!(matches!(run_line(json!({ "status": 500 }), None), Outcome::Failed(_)));
        let shut_down = run_line(json!({ "status": 200, "finish": "shutdown" }), None);
        assert!(matches!(shut_down, Outcome::ShutDown));
    }

    #[test]
    fn a_deadline_of_the_runner_may_be_no_fault_of_the_line() {
        let Outcome::Answer(answer) = run_line(json!({ "status": 200 }), A_MINUTE) else { panic!() };
        assert!(answer.body.get().contains(r#""deadline":"60000""#), "{}", answer.body);
        let infeasible = json!({ "status": 422, "code": "deadline_infeasible" });
        assert!(matches!(run_line(infeasible, A_MINUTE), Outcome::Infeasible(_)));
        let cut = json!({ "status": 200, "finish": "deadline" });
        assert!(matches!(run_line(cut, A_MINUTE), Outcome::Late(_)));
        let far = run_line(json!({ "status": 200 }), Some(Duration::from_secs(1_000_000)));
        let Outcome::Answer(answer) = far else { panic!() };
        assert!(answer.body.get().contains(r#""deadline":"86400000""#), "{}", answer.body);
    }
}
