//! A real server: the program itself on a free port, with the real small model.
#![allow(dead_code, reason = "each test file is a program of its own and uses some of this")]

mod cgroup;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[allow(unused_imports, reason = "as above")]
pub(crate) use cgroup::{Group, Limit};

/// Returns the small model's path, or `None` with the reason printed.
pub(crate) fn model() -> Option<PathBuf> {
    let named = std::env::var_os("HEDGEROW_TEST_MODEL").map(PathBuf::from);
    let cache = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/hedgerow/models"));
    let cached = || {
        // The shipped file, not one that was quantized from it.
        Some(cache?.join("SmolLM2-135M-Instruct.Q4_1.gguf")).filter(|path| path.exists())
    };
    let model = named.or_else(cached);
    if model.is_none() {
        eprintln!("skipped: the small model is not here; `hedgerow pull` gets it");
    }
    model
}

/// A running `hedgerow serve`; stopped when dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    _turn: MutexGuard<'static, ()>,
}

/// Serializes the servers: two engines on the same cores wait for each other at every barrier.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no server of this test file runs, and keeps others from starting while the guard lives.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cache folder of test servers, shared so that each setup is profiled once and not by each test.
pub(crate) const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

impl Server {
    /// Starts a server of the small model with these flags and waits until it serves; `None`, with the reason
    /// printed, when the model is not here.
    pub(crate) fn start(flags: &[&str]) -> Option<Self> {
        Self::start_with(flags, &[])
    }

    /// Like [`Server::start`], with its own cache folder.
    pub(crate) fn start_in(cache: &Path, flags: &[&str]) -> Option<Self> {
        let cache = cache.to_str().expect("the folder's name is text");
        Self::start_with(flags, &[("HEDGEROW_CACHE", cache)])
    }

    /// Like [`Server::start`], with more environment variables.
    pub(crate) fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_hedgerow")), flags, variables)
    }

    /// Like [`Server::start_with`], by a command that runs the program with the arguments appended to it.
    pub(crate) fn start_by(mut command: Command, flags: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        let model = model()?;
        let turn = alone();
        let mut child = command
            .arg("serve")
            .arg(model)
            .args(["--port", "0", "--alias", "small", "--log-level", "warn"])
            .args(flags)
            .env("HEDGEROW_CACHE", CACHE)
            // Batches of one test are not to go on in another.
            .env("HEDGEROW_BATCH_FOLDER", "none")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let address = lines
            .find_map(|line| {
                let line = line.expect("its output is text");
                line.strip_prefix("hedgerow serves http://")?.strip_suffix("/v1")?.parse().ok()
            })
            .expect("the server says where it listens");
        // The rest of its output is passed on, so that its pipe never fills.
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("server: {line}");
                let mut log = kept.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Some(Self { child, address, log, _turn: turn })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        Answer::read(self.open(method, path, headers, body))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn chat(&self, headers: &[(&str, &str)], body: &serde_json::Value) -> Answer {
        self.send("POST", "/v1/chat/completions", headers, &body.to_string())
    }

    /// Sends a request and returns the connection, before anything is read.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout can be set");
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n{body}", body.len());
        // A server that refuses the body may close while it is being sent; its answer is what counts.
        let _ = stream.write_all(text.as_bytes());
        stream
    }

    /// Returns the value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}")).parse().expect("a metric is a number")
    }

    /// Polls until a condition holds; panics after a minute.
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..600 {
            if condition(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("never happened: {what}\n{}", self.get("/metrics").body);
    }

    /// Sends SIGTERM, waits, and returns whether the server ended with success.
    pub(crate) fn terminate(mut self) -> bool {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("kill is there");
        self.child.wait().expect("it ends").success()
    }

    /// Waits for the end, and returns whether it was a success.
    pub(crate) fn wait(mut self) -> bool {
        self.child.wait().expect("it ends").success()
    }

    /// What it has logged since it serves.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(stream: TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("there is an answer");
        let status = line.split(' ').nth(1).expect("a status line").parse().expect("a status");
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("headers end");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut body = Vec::new();
        let is_chunked =
            headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        if is_chunked {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size).expect("a chunk begins");
                let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).expect("a chunk is whole");
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        } else {
            reader.read_to_end(&mut body).expect("the body ends");
        }
        Self { status, headers, body: String::from_utf8(body).expect("bodies are text") }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Returns the `code` of OpenAI's error object.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no error code: {}", self.body))
            .to_owned()
    }

    /// Returns the data of each server-sent event.
    pub(crate) fn events(&self) -> Vec<String> {
        self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}
