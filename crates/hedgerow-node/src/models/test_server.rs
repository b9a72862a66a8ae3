//! A small HTTP server for tests, with range requests and deliberate interruptions.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

/// The response for one path.
#[derive(Clone, Default)]
pub(super) struct Route {
    /// The status; 0 means 200.
    pub(super) status: u16,
    /// The content type.
    pub(super) kind: &'static str,
    /// The complete content.
    pub(super) body: Vec<u8>,
    /// Redirects the client to this address.
    pub(super) location: Option<String>,
    /// Whether ranges are ignored, as some servers do.
    pub(super) has_no_ranges: bool,
    /// For each of the next requests: the number of bytes of the body after which the connection is closed.
    pub(super) break_off_after: Vec<usize>,
}

/// A received request, and the number of bytes sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// The path with its query.
    pub(super) path: String,
    /// The `range` header.
    pub(super) range: Option<String>,
    /// The `authorization` header.
    pub(super) authorization: Option<String>,
    /// Bytes of the body that were sent.
    pub(super) bytes: usize,
}

#[derive(Default)]
struct State {
    routes: BTreeMap<String, Route>,
    asked: Vec<Asked>,
}

/// A running server; its thread ends with the test's process.
pub(super) struct TestServer {
    address: String,
    state: Arc<Mutex<State>>,
}

impl TestServer {
    /// Starts a server on a free port of this machine, without any path yet.
    pub(super) fn start() -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        TestServer { address, state }
    }

    /// The server's address, without a trailing slash.
    pub(super) fn url(&self) -> &str {
        &self.address
    }

    /// Sets the response for a path.
    pub(super) fn route(&self, path: &str, route: Route) {
        self.state.lock().unwrap().routes.insert(path.to_owned(), route);
    }

    /// Returns all requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Returns the number of bytes sent for a path, over all requests.
    pub(super) fn bytes_sent(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path == path).map(|asked| asked.bytes).sum()
    }
}

/// Makes an empty folder for one test.
pub(super) fn fresh_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hedgerow-test-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Makes bytes that compress badly and do not repeat, so that a misplaced part is detected.
pub(super) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut next).take(count).collect()
}

/// Serves one request on a connection, which is then closed.
fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |wanted: &str| {
        headers.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let (range, authorization) = (header("range"), header("authorization"));

    let (route, break_off_after) = {
        let mut state = state.lock().unwrap();
        match state.routes.get_mut(&path) {
            Some(route) => {
                let after = (!route.break_off_after.is_empty()).then(|| route.break_off_after.remove(0));
                (route.clone(), after)
            }
            None => (Route { status: 404, ..Route::default() }, None),
        }
    };
    let from = match &range {
        Some(range) if !route.has_no_ranges && route.status == 0 => {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().ok()
        }
        Some(_) | None => None,
    };
    let total = route.body.len();
    let (head, body) = match from {
        Some(from) if from >= total => (format!("416 Range\r\ncontent-range: bytes */{total}"), &[][..]),
        Some(from) => {
            let head = format!("206 Partial\r\ncontent-range: bytes {from}-{}/{total}", total - 1);
            (head, &route.body[from..])
        }
        None if route.status == 0 => ("200 OK".to_owned(), &route.body[..]),
        None => (format!("{} Status", route.status), &route.body[..]),
    };
    let location = route.location.map(|to| format!("location: {to}\r\n")).unwrap_or_default();
    let sent = &body[..break_off_after.unwrap_or(body.len()).min(body.len())];
    state.lock().unwrap().asked.push(Asked { path, range, authorization, bytes: sent.len() });
    let head = format!(
        "HTTP/1.1 {head}\r\ncontent-type: {}\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n",
        route.kind,
        body.len()
    );
    let mut out = stream;
    // The client may have disconnected, which is not an error.
    let _ = out.write_all(head.as_bytes()).and_then(|()| out.write_all(sent)).and_then(|()| out.flush());
    let _ = stream.shutdown(Shutdown::Write);
}
