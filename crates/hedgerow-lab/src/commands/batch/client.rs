//! The HTTP client of a server's files and batches.

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Cursor, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hedgerow_loadgen::server_root;
use hedgerow_workload::hint::hinted;
use serde_json::Value;
use ureq::http::{HeaderValue, Request, Response};
use ureq::middleware::MiddlewareNext;
use ureq::{Agent, Body, SendBody};

/// The time to reach the server; a transfer may take as long as it goes on.
const CONNECT: Duration = Duration::from_secs(10);

/// Objects of the API are small.
const OBJECT_BYTES: u64 = 16 << 20;

/// A server's files and batches.
pub(super) struct Client {
    agent: Agent,
    root: String,
}

/// Says of an error that it may pass by itself: the server does not answer, or not yet.
#[derive(Debug)]
struct Passing(String);

impl std::fmt::Display for Passing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an error may pass by itself: the server is being restarted.
pub(super) fn is_passing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Passing>().is_some()
}

/// The path that the first line of an input is sent to.
pub(super) fn endpoint_of(path: &Path) -> anyhow::Result<String> {
    let file = open(path)?;
    let mut line = String::new();
    BufReader::new(file).read_line(&mut line).with_context(|| format!("reading {}", path.display()))?;
    let read: Option<Value> = serde_json::from_str(line.trim_start_matches('\u{feff}')).ok();
    let url = read.as_ref().and_then(|line| line["url"].as_str());
    url.map(str::to_owned).ok_or_else(|| {
        hinted(
            format!("the first line of {} is no JSON object with a `url`", path.display()),
            "each line is one object with custom_id, method, url and body; see docs/guides/batches.md",
        )
    })
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).map_err(|error| {
        hinted(format!("cannot read {}: {error}", path.display()), "name a file of requests, one per line")
    })
}

impl Client {
    /// A client of a server, with the key of the environment.
    pub(super) fn of(url: &str) -> Self {
        let key = std::env::var("HEDGEROW_API_KEY").ok().map(|key| format!("Bearer {key}"));
        let authorize = move |mut request: Request<SendBody>, next: MiddlewareNext| {
            if let Some(key) = key.as_deref().and_then(|key| HeaderValue::from_str(key).ok()) {
                request.headers_mut().insert("authorization", key);
            }
            next.handle(request)
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .middleware(authorize)
            .build();
        Self { agent: agent.into(), root: server_root(url) }
    }

    /// Gets an object.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.object(self.agent.get(format!("{}{path}", self.root)).call())
    }

    /// Posts an object, and gets one.
    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.root)).content_type("application/json");
        self.object(request.send(body.to_string()))
    }

    /// Uploads a file, which is not read into memory.
    pub(super) fn upload(&self, path: &Path) -> anyhow::Result<Value> {
        let file = open(path)?;
        let length = file.metadata().with_context(|| format!("reading {}", path.display()))?.len();
        let boundary = boundary();
        let name =
            path.file_name().unwrap_or_default().to_string_lossy().replace(['"', '\\', '\r', '\n'], "_");
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{boundary}\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: application/jsonl\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let bytes = head.len() as u64 + length + tail.len() as u64;
        let mut form = Cursor::new(head).chain(file.take(length)).chain(Cursor::new(tail));
        let request = self
            .agent
            .post(format!("{}/v1/files", self.root))
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .header("content-length", bytes.to_string());
        self.object(request.send(SendBody::from_reader(&mut form)))
    }

    /// Writes a file's content; returns the number of its bytes.
    pub(super) fn download(&self, file: &str, mut to: impl Write) -> anyhow::Result<u64> {
        let answer = self.agent.get(format!("{}/v1/files/{file}/content", self.root)).call();
        let mut response = self.reached(answer)?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response));
        }
        std::io::copy(&mut response.body_mut().as_reader(), &mut to).context("fetching the file")
    }

    /// Writes a file's content to a path, where it is once all of it has come.
    pub(super) fn download_to(&self, file: &str, path: &Path) -> anyhow::Result<u64> {
        let mut name = path.file_name().context("--output names no file")?.to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let written = || format!("writing {}", part.display());
        let mut to = File::create(&part).with_context(written)?;
        let bytes = self.download(file, &mut to)?;
        to.sync_all().with_context(written)?;
        std::fs::rename(&part, path).with_context(|| format!("writing {}", path.display()))?;
        Ok(bytes)
    }

    fn reached(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<Response<Body>> {
        answer.map_err(|error| {
            let hint = "start `hedgerow serve`, or name a server by --url or HEDGEROW_URL";
            hinted(error, hint).context(Passing(format!("no server answers at {}", self.root)))
        })
    }

    fn object(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<Value> {
        let mut response = self.reached(answer)?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response));
        }
        self.read(&mut response)
    }

    fn read(&self, response: &mut Response<Body>) -> anyhow::Result<Value> {
        let text = response.body_mut().with_config().limit(OBJECT_BYTES).read_to_string();
        let text = text.with_context(|| Passing(format!("the answer of {} broke off", self.root)))?;
        serde_json::from_str(&text).map_err(|_| {
            hinted(
                format!("{} does not answer as hedgerow does", self.root),
                "name a hedgerow server by --url, as `hedgerow serve` prints it",
            )
        })
    }

    /// The error that a server answers.
    fn refusal(&self, response: &mut Response<Body>) -> anyhow::Error {
        let status = response.status();
        let error = match self.read(response) {
            Ok(body) => body["error"].clone(),
            Err(error) => return error,
        };
        let message = error["message"].as_str().unwrap_or("the server refused");
        let hint = error["hint"].as_str().unwrap_or("see the server's log");
        if status.as_u16() == 503 {
            return hinted(message, hint).context(Passing("the server is not ready".into()));
        }
        hinted(message, hint)
    }
}

/// A text that is in no file: it separates the parts of the form.
fn boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("hedgerow-{:016x}{:016x}", random(), random())
}
