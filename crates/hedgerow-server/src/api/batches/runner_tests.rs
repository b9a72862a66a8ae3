//! Tests of the runner, with a real store and a router that answers as each test wants.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, body::Body};
use hedgerow_batch::{BatchObject, ENDPOINTS, Limits, NewBatch, Store};
use hedgerow_node::clock::Clock;
use hedgerow_node::config;
use hedgerow_node::metrics::Metrics;
use serde_json::{Value, json};

use super::endpoints::now;
use super::pace::Pace;
use super::runner::Runner;
use super::store_thread::StoreThread;
use crate::api::App;

/// A line that was sent: its number, and its deadline in ms.
type Sent = (i64, Option<u64>);

/// What a router answers to a line that it has got so often before; `None`: nothing, ever.
type Answers = fn(Sent, usize) -> Option<u16>;

/// A runner of one batch.
struct Setup {
    runner: Runner,
    store: StoreThread,
    id: String,
    sent: Arc<Mutex<Vec<Sent>>>,
    folder: PathBuf,
}

impl Setup {
    async fn new(name: &str, lines: i64, window: &str, answers: Answers) -> Self {
        Self::interrupted(name, lines, window, answers, 0).await
    }

    /// As [`Setup::new`], after so many processes have ended while the first line of all ran.
    async fn interrupted(name: &str, lines: i64, window: &str, answers: Answers, times: u32) -> Self {
        let folder = std::env::temp_dir().join(format!("hedgerow-runner-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let limits = Limits {
            file_bytes: 1 << 20,
            line_bytes: 4096,
            lines: 10_000,
            stored_bytes: 1 << 30,
            unfinished: 9,
        };
        let mut store = Store::open(&folder, limits).unwrap();
        let upload = store.begin_upload(now()).unwrap();
        for number in 1..=lines {
            let line = json!({
                "custom_id": number.to_string(), "method": "POST", "url": ENDPOINTS[1], "body": { "n": number },
            });
            store.append(upload, format!("{line}\n").as_bytes()).unwrap();
        }
        let input_file_id = store.finish_upload(upload, "lines.jsonl").unwrap().id;
        let window = window.parse().unwrap();
        let new = NewBatch { endpoint: ENDPOINTS[1], input_file_id, window, metadata: None };
        let id = store.create_batch(&new, now()).unwrap().id;
        for _ in 0..times {
            let key = store.open_batches().unwrap()[0].key;
            store.validate(key, now()).unwrap();
            assert_eq!(store.begin(key, &BTreeSet::new(), 1, true).unwrap().len(), 1);
            drop(store);
            store = Store::open(&folder, limits).unwrap();
        }
        let store = StoreThread::start(store).unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let app = App::new(config::of_file(None).unwrap(), Clock::start(), Arc::new(Metrics::new())).unwrap();
        let mut runner = Runner::new(app, router(Arc::clone(&sent), answers), store.clone());
        runner.pace = Pace::new(8);
        // The first look checks the lines, the second begins them.
        runner.look().await.unwrap();
        Self { runner, store, id, sent, folder }
    }

    async fn batch(&self) -> BatchObject {
        let id = self.id.clone();
        self.store.call(move |store| store.batch(&id)).await.unwrap()
    }

    /// Runs lines until the batch has ended.
    async fn run_to_the_end(&mut self) -> BatchObject {
        loop {
            self.runner.look().await.unwrap();
            let batch = self.batch().await;
            if batch.status.has_ended() {
                return batch;
            }
            if let Some(ended) = self.runner.tasks.join_next_with_id().await {
                self.runner.note(ended);
            }
            let pause = self.runner.pace.pause(Instant::now()).unwrap_or_default();
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes the pace expect a second for each line.
    fn expect_a_second_for_each_line(&mut self) {
        self.runner.pace.begun(0, Instant::now() - Duration::from_secs(1));
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn router(sent: Arc<Mutex<Vec<Sent>>>, answers: Answers) -> Router {
    let handler = move |headers: HeaderMap, Json(body): Json<Value>| async move {
        let deadline = headers.get("x-slo-e2e-ms").map(|ms| ms.to_str().unwrap().parse().unwrap());
        let line = (body["n"].as_i64().unwrap(), deadline);
        let before = {
            let mut sent = sent.lock().unwrap();
            sent.push(line);
            sent.iter().filter(|one| one.0 == line.0).count() - 1
        };
        match answers(line, before) {
            Some(status) => (StatusCode::from_u16(status).unwrap(), Body::from("{}")).into_response(),
            None => std::future::pending::<Response>().await,
        }
    };
    Router::new().route(ENDPOINTS[1], post(handler))
}

#[tokio::test]
async fn a_line_that_is_refused_waits_and_is_run_again() {
    let refuse_once: Answers = |_, before| Some(if before == 0 { 429 } else { 200 });
    let mut setup = Setup::new("refused", 6, "1h", refuse_once).await;
    let counts = setup.run_to_the_end().await.request_counts;
    assert_eq!((counts.total, counts.completed, counts.failed), (6, 6, 0));
    let sent = setup.sent();
    assert_eq!(sent.len(), 12);
    assert!(sent.iter().all(|line| line.1.is_none()), "best effort has no deadline: {sent:?}");
}

#[tokio::test]
async fn only_the_third_failure_of_the_server_is_the_result() {
    let fail: Answers =
        |line, before| Some(if line.0 == 2 || (line.0 == 3 && before < 2) { 500 } else { 200 });
    let mut setup = Setup::new("failure", 3, "1h", fail).await;
    let counts = setup.run_to_the_end().await.request_counts;
    assert_eq!((counts.completed, counts.failed), (2, 1));
    let times = |number| setup.sent().iter().filter(|line| line.0 == number).count();
    assert_eq!([1, 2, 3].map(times), [1, 3, 3]);
}

#[tokio::test]
async fn a_line_during_which_five_processes_ended_is_not_run_again() {
    for (times, sent) in [(4, 1), (5, 0)] {
        let mut setup = Setup::interrupted("interrupted", 1, "1h", |_, _| Some(200), times).await;
        let counts = setup.run_to_the_end().await.request_counts;
        assert_eq!(
            (setup.sent().len(), counts.completed, counts.failed),
            (sent, sent as i64, 1 - sent as i64)
        );
    }
}

#[tokio::test]
async fn the_lines_of_a_late_batch_have_the_end_of_its_window_as_deadline() {
    let mut setup = Setup::new("late", 1000, "100s", |_, _| Some(200)).await;
    setup.expect_a_second_for_each_line();
    setup.runner.look().await.unwrap();
    assert!(!setup.runner.running.is_empty());
    while let Some(ended) = setup.runner.tasks.join_next_with_id().await {
        setup.runner.note(ended);
    }
    let sent = setup.sent();
    assert!(sent.iter().all(|line| line.1.is_some_and(|ms| ms <= 100_000)), "{sent:?}");
}

#[tokio::test]
async fn a_line_that_cannot_be_admitted_by_its_window_is_best_effort_again() {
    let admit_nothing: Answers = |line, _| Some(if line.1.is_some() { 429 } else { 200 });
    let mut setup = Setup::new("not-admitted", 3, "100s", admit_nothing).await;
    setup.runner.pace.begun(0, Instant::now() - Duration::from_secs(60));
    let counts = setup.run_to_the_end().await.request_counts;
    assert_eq!((counts.completed, counts.failed), (3, 0));
    let sent = setup.sent();
    assert!(sent.iter().any(|line| line.1.is_some()) && sent.iter().any(|line| line.1.is_none()), "{sent:?}");
}

#[tokio::test]
async fn a_starved_line_of_a_late_batch_begins_again_with_a_deadline() {
    let starve: Answers = |line, _| line.1.map(|_| 200);
    let mut setup = Setup::new("starved", 100, "300s", starve).await;
    setup.runner.look().await.unwrap();
    let began: Vec<_> = setup.runner.running.keys().copied().collect();
    assert!(!began.is_empty());
    setup.expect_a_second_for_each_line();
    setup.runner.look().await.unwrap();
    // It is not late yet: 100 lines take 100 s.
    assert_eq!(setup.runner.running.keys().copied().collect::<Vec<_>>(), began);
    drop(setup);

    let mut setup = Setup::new("starved", 100, "20s", starve).await;
    setup.runner.look().await.unwrap();
    setup.expect_a_second_for_each_line();
    for line in setup.runner.running.values_mut() {
        line.begun -= Duration::from_secs(21);
    }
    setup.runner.look().await.unwrap();
    while let Some(ended) = setup.runner.tasks.join_next_with_id().await {
        setup.runner.note(ended);
    }
    let sent = setup.sent();
    for (_, number) in began {
        assert!(sent.iter().any(|line| line.0 == number && line.1.is_some()), "line {number}: {sent:?}");
    }
}

#[tokio::test]
async fn a_batch_that_is_cancelled_or_expires_ends_although_its_lines_run() {
    for (name, window, status) in [("cancelled", "1h", "cancelled"), ("expired", "1s", "expired")] {
        let mut setup = Setup::new(name, 9, window, |_, _| None).await;
        setup.runner.look().await.unwrap();
        let runs = !setup.runner.running.is_empty();
        assert!(runs || status == "expired", "lines run");
        if status == "cancelled" {
            let id = setup.id.clone();
            setup.store.call(move |store| store.cancel(&id, now())).await.unwrap();
        } else {
            tokio::time::sleep(Duration::from_millis(2100)).await;
        }
        setup.runner.look().await.unwrap();
        assert!(setup.runner.running.is_empty(), "its lines are dropped");
        let batch = setup.batch().await;
        assert_eq!(batch.status.name(), status);
        assert!(batch.error_file_id.is_some() && batch.output_file_id.is_none(), "{batch:?}");
    }
}
