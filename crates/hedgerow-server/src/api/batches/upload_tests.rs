//! Tests of uploads: what is refused, and that it leaves nothing.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use hedgerow_node::clock::Clock;
use hedgerow_node::config;
use hedgerow_node::metrics::Metrics;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::UPLOADS_MAX;
use crate::api::{App, OriginRules, router, start_batches};
use crate::link::Connection;

/// A server without a model, with a store of 200 KiB and files of at most 100.
struct Setup {
    router: Router,
    folder: PathBuf,
}

impl Setup {
    fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    /// As [`Setup::new`], with more configuration.
    fn with(name: &str, more: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hedgerow-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.toml");
        let limits = "max_file_mib = 0.1\nmax_stored_mib = 0.2";
        std::fs::write(&file, format!("[batch]\nfolder = {:?}\n{limits}\n{more}", folder.join("batches")))
            .unwrap();
        std::fs::write(folder.join("keys.toml"), "").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("KEYS", folder.join("keys.toml").to_str().unwrap())).unwrap();
        let config = config::of_file(Some(&file)).unwrap();
        let app = App::new(config, Clock::start(), Arc::new(Metrics::new())).unwrap();
        let origins = OriginRules::new(([127, 0, 0, 1], 1).into(), &[], &[]);
        let router = router(app.clone(), origins);
        start_batches(&app, router.clone()).unwrap();
        Self { router, folder }
    }

    async fn send(&self, request: Request) -> (u16, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn upload(&self, body: impl Into<Body>) -> (u16, Value) {
        self.send(post(body, "multipart/form-data; boundary=x")).await
    }

    async fn files(&self) -> usize {
        let request = Request::get("/v1/files")
            .header("host", "localhost")
            .extension(ConnectInfo(Connection::in_process()));
        let (_, list) = self.send(request.body(Body::empty()).unwrap()).await;
        list["data"].as_array().unwrap().len()
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn post(body: impl Into<Body>, content_type: &str) -> Request {
    let request = Request::post("/v1/files").header("host", "localhost").header("content-type", content_type);
    request.extension(ConnectInfo(Connection::in_process())).body(body.into()).unwrap()
}

fn field(name: &str, value: &str) -> String {
    let filename = if name == "file" { "; filename=\"a.jsonl\"" } else { "" };
    format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"{filename}\r\n\r\n{value}\r\n")
}

fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| field(name, value)).collect::<String>() + "--x--\r\n"
}

#[tokio::test]
async fn a_form_must_have_one_file_and_the_purpose_batch() {
    let setup = Setup::new("form");
    for (fields, param) in [
        (&[("file", "x")][..], "purpose"),
        (&[("purpose", "batch")], "file"),
        (&[("purpose", "assistants"), ("file", "x")], "purpose"),
        (&[("purpose", "batch"), ("file", "x"), ("file", "y")], "file"),
    ] {
        let (status, said) = setup.upload(form(fields)).await;
        assert_eq!((status, &said["error"]["param"]), (400, &Value::from(param)), "{said}");
    }
    let (status, said) = setup.send(post("{}", "application/json")).await;
    assert_eq!((status, &said["error"]["code"]), (400, &Value::from("invalid_form")), "{said}");
    assert_eq!(setup.files().await, 0);
    let (status, said) =
        setup.upload(form(&[("file", "x"), ("anything", "else"), ("purpose", "batch")])).await;
    assert_eq!((status, &said["filename"], &said["bytes"]), (200, &"a.jsonl".into(), &1.into()), "{said}");
    assert_eq!(setup.files().await, 1);
}

#[tokio::test]
async fn an_upload_that_is_too_large_or_breaks_off_leaves_nothing() {
    let setup = Setup::new("broken");
    let content = "x".repeat(100 << 10);
    let whole = form(&[("purpose", "batch"), ("file", &content)]);
    // As often as the store would be full if anything stayed.
    for _ in 0..5 {
        let large = form(&[("purpose", "batch"), ("file", &content.repeat(2))]);
        let (status, said) = setup.upload(large).await;
        assert_eq!((status, &said["error"]["code"]), (413, &Value::from("file_too_large")), "{said}");
        let half = Bytes::from(whole[..whole.len() / 2].to_owned());
        let broken = stream::iter([Ok(half), Err(std::io::Error::other("the client is gone"))]);
        let (status, said) = setup.upload(Body::from_stream(broken)).await;
        assert_eq!((status, &said["error"]["code"]), (400, &Value::from("invalid_form")), "{said}");
    }
    assert_eq!(setup.files().await, 0);
    for expected in [200, 200, 507] {
        let (status, said) = setup.upload(whole.clone()).await;
        assert_eq!(status, expected, "{said}");
    }
}

#[tokio::test]
async fn more_uploads_than_the_limit_are_refused_until_one_ends() {
    let setup = Setup::new("many");
    let begun = Bytes::from(field("purpose", "batch"));
    let stalled =
        || Body::from_stream(stream::iter([Ok::<_, std::io::Error>(begun.clone())]).chain(stream::pending()));
    let mut uploads: Vec<_> = (0..UPLOADS_MAX).map(|_| Box::pin(setup.upload(stalled()))).collect();
    for upload in &mut uploads {
        assert!(upload.now_or_never().is_none(), "it waits for the file");
    }
    let whole = form(&[("purpose", "batch"), ("file", "x")]);
    let (status, said) = setup.upload(whole.clone()).await;
    assert_eq!((status, &said["error"]["code"]), (429, &Value::from("too_many_uploads")), "{said}");
    uploads.pop();
    assert_eq!(setup.upload(whole).await.0, 200);
}

#[tokio::test]
async fn an_upload_that_stalls_is_given_up() {
    let setup = Setup::with("stalled", "[limits]\nbody_timeout_s = 0.01\n");
    let begun = Bytes::from(field("purpose", "batch"));
    let stalled = stream::iter([Ok::<_, std::io::Error>(begun)]).chain(stream::pending());
    let (status, said) = setup.upload(Body::from_stream(stalled)).await;
    assert_eq!((status, &said["error"]["code"]), (408, &Value::from("body_timeout")), "{said}");
}

#[tokio::test]
async fn where_there_are_keys_only_operators_use_files_and_batches() {
    let setup = Setup::with("keys", "[access]\nkeys_file = \"KEYS\"\n");
    let get = |connection: Connection, path: &str| {
        let request = Request::get(path).header("host", "localhost").extension(ConnectInfo(connection));
        setup.send(request.body(Body::empty()).unwrap())
    };
    for path in
        ["/v1/files", "/v1/files/file-1", "/v1/files/file-1/content", "/v1/batches", "/v1/batches/batch_1"]
    {
        let (status, said) = get(Connection::new(([192, 0, 2, 1], 9).into()), path).await;
        assert_eq!((status, &said["error"]["code"]), (403, &Value::from("operators_only")), "{path}: {said}");
    }
    assert_eq!(get(Connection::new(([127, 0, 0, 1], 9).into()), "/v1/files").await.0, 200);
}
