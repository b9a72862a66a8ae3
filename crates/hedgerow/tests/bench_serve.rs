//! Tests of `hedgerow bench serve` as a program, against a scripted server and against hedgerow itself.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use support::Server;

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hedgerow-serve-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).expect("a file can be written");
        self.file(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("it was written")
    }

    fn runs(&self, name: &str) -> Vec<Value> {
        serde_json::from_str(&self.read(name)).expect("it is a JSON array")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that failed early may not have created it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(["bench", "serve"]).args(arguments).output().expect("the program was built for this test")
}

fn printed(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("hedgerow writes UTF-8")
}

fn refused(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("hedgerow writes UTF-8")
}

/// A request as the server received it.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: Value,
}

impl Seen {
    fn prompt(&self) -> &str {
        self.body["messages"][0]["content"].as_str().expect("there is a question")
    }

    fn max_tokens(&self) -> u64 {
        self.body["max_tokens"].as_u64().expect("there is a limit")
    }
}

/// A scripted server.
struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    fn start(answer: impl Fn(&Seen, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, all) = (Arc::new(answer), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                std::thread::spawn(move || {
                    let (seen, mut stream) = read(stream);
                    if seen.head.is_empty() {
                        return; // A client only tested the connection.
                    }
                    if seen.head.starts_with("GET /v1/models ") {
                        return say(&mut stream, 200, "{\"data\": [{\"id\": \"fake\"}]}");
                    }
                    all.lock().unwrap().push(seen.clone());
                    answer(&seen, &mut stream);
                });
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns every request except the probe for two tokens, which comes first.
    fn load(&self) -> Vec<Seen> {
        self.seen.lock().unwrap()[1..].to_vec()
    }
}

fn read(stream: TcpStream) -> (Seen, TcpStream) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        let lower = line.to_ascii_lowercase();
        if let Some(number) = lower.strip_prefix("content-length: ") {
            length = number.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
        head += &lower;
        if head.starts_with("get") {
            head = head.replacen("get", "GET", 1);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (Seen { head, body }, reader.into_inner())
}

// Errors in writing are ignored: the client may have hung up.

fn say(stream: &mut TcpStream, status: u16, body: &str) {
    let _ = write!(stream, "HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}

fn begin(stream: &mut TcpStream) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
}

fn event(stream: &mut TcpStream, event: &Value) {
    let _ = write!(stream, "data: {event}\n\n");
}

fn word(stream: &mut TcpStream) {
    event(stream, &json!({ "choices": [{ "delta": { "content": "word " }, "finish_reason": null }] }));
}

fn end(stream: &mut TcpStream, reason: &str, tokens: u64) {
    event(stream, &json!({ "choices": [{ "delta": {}, "finish_reason": reason }] }));
    let usage = json!({ "prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens });
    event(stream, &json!({ "choices": [], "usage": usage }));
    let _ = write!(stream, "data: [DONE]\n\n");
}

/// Answers correctly.
fn well(seen: &Seen, stream: &mut TcpStream) {
    begin(stream);
    (0..seen.max_tokens()).for_each(|_| word(stream));
    end(stream, "length", seen.max_tokens());
}

/// Returns a class for each output length, all with a deadline of 1.5 s.
fn classes(names: &[(&str, u64)]) -> String {
    let class = |(name, tokens): &(&str, u64)| {
        format!(
            "[[class]]\nname = \"{name}\"\npart = 1\nprompt_tokens = [9, 9]\n\
             output_tokens = [{tokens}, {tokens}]\ndeadline_ms = 1500\n"
        )
    };
    names.iter().map(class).collect()
}

#[test]
fn each_outcome_is_counted_as_the_client_received_it() {
    let folder = Folder::new("outcomes");
    let hung_up_count = Arc::new(AtomicUsize::new(0));
    let hung_up = Arc::clone(&hung_up_count);
    let server = Fake::start(move |seen, stream| match seen.max_tokens() {
        4 => {
            begin(stream);
            word(stream);
            // A client that hangs up is noticed before the two seconds are over.
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            if stream.read(&mut [0]).is_ok() {
                hung_up.fetch_add(1, Ordering::SeqCst);
            }
            end(stream, "length", 4);
        }
        5 => say(stream, 429, "{\"error\": {\"message\": \"busy\"}}"),
        6 => {
            begin(stream);
            word(stream);
            end(stream, "deadline", 1);
        }
        7 => say(stream, 400, "{\"error\": {\"message\": \"too long\"}}"),
        _ => well(seen, stream),
    });
    let names = [("well", 3), ("slow", 4), ("busy", 5), ("cut", 6), ("wrong", 7)];
    let classes = folder.write("classes.toml", &classes(&names));
    let out = folder.file("out");
    let url = server.url();
    let table = printed(&[
        "--url",
        &url,
        "--classes",
        &classes,
        "--rate",
        "40",
        "--duration",
        "1s",
        "--clients",
        "wait,hang-up",
        "--pause",
        "0s",
        "--out",
        &out,
    ]);
    assert!(table.contains("refusal p99 ms") && table.contains("hang-up"), "{table}");
    let runs = folder.runs("out/runs.json");
    assert_eq!(runs.len(), 2);
    let mut offered = 0;
    for (run, slow) in runs.iter().zip(["late", "hung_up"]) {
        let ours = &run["hedgerow"];
        let of_class = |name: &str| {
            let classes = ours["classes"].as_array().unwrap();
            classes.iter().find(|class| class["class"] == name).unwrap().clone()
        };
        for (name, outcome) in
            [("well", "met"), ("slow", slow), ("busy", "refused"), ("cut", "cut"), ("wrong", "failed")]
        {
            let class = of_class(name);
            assert!(class["offered"].as_u64().unwrap() > 0, "{name} was never drawn");
            assert_eq!(class["outcomes"][outcome], class["offered"], "{name}: {class}");
        }
        let outcomes = ours["outcomes"].as_object().unwrap().values();
        assert_eq!(outcomes.map(|count| count.as_u64().unwrap()).sum::<u64>(), run["num_prompts"]);
        assert_eq!(
            ours["attainment"],
            of_class("well")["offered"].as_f64().unwrap() / run["num_prompts"].as_f64().unwrap()
        );
        assert_eq!(ours["failures"][0]["why"], "HTTP 400: too long");
        assert_eq!((&run["model_id"], &run["request_rate"]), (&"fake".into(), &40.0.into()));
        offered += run["num_prompts"].as_u64().unwrap() as usize;
    }
    // The server notices the last of them a moment later.
    let hung_up = runs[1]["hedgerow"]["outcomes"]["hung_up"].as_u64().unwrap();
    let started = std::time::Instant::now();
    while (hung_up_count.load(Ordering::SeqCst) as u64) < hung_up && started.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(hung_up_count.load(Ordering::SeqCst) as u64, hung_up);
    assert_eq!(folder.read("out/requests.csv").lines().count(), 1 + offered);
    // For each kind of client, five classes and all of them combined.
    assert_eq!(folder.read("out/summary.csv").lines().count(), 1 + 2 * 6);
    assert!(folder.read("out/plot.svg").contains("attainment (% of offered)"));
    for seen in server.load() {
        assert!(seen.head.contains("x-slo-e2e-ms: 1500"), "{}", seen.head);
        let Value::Object(body) = &seen.body else { panic!("{:?}", seen.body) };
        assert_eq!(
            (&body["ignore_eos"], &body["temperature"], &body["stream"]),
            (&true.into(), &0.into(), &true.into())
        );
        assert_eq!(body["stream_options"]["include_usage"], true);
        assert_eq!(seen.prompt().split(' ').count(), 9);
    }
}

#[test]
fn two_servers_get_the_same_workload_in_turns() {
    let folder = Folder::new("turns");
    let servers = [Fake::start(well), Fake::start(well)];
    let [one, other] = [servers[0].url(), format!("{}/v1/", servers[1].url())];
    let json = folder.file("runs.json");
    let table = printed(&[
        "--url",
        &one,
        "--name",
        "A",
        "--compare",
        &other,
        "--compare-name",
        "B",
        "--rate",
        "30",
        "--seeds",
        "5,6",
        "--duration",
        "400ms",
        "--pause",
        "10ms",
        "--arrivals",
        "gamma:0.5",
        "--json",
        &json,
    ]);
    assert!(table.contains("30 req/s, wait: goodput ratio A/B = 1.00"), "{table}");
    let runs = folder.runs("runs.json");
    let order: Vec<&str> = runs.iter().map(|run| run["label"].as_str().unwrap()).collect();
    assert_eq!(order, ["A", "B", "B", "A"]);
    assert_eq!(runs[0]["burstiness"], 0.5);
    let asked = servers.map(|server| {
        let load = server.load();
        let mut asked: Vec<_> =
            load.iter().map(|seen| (seen.prompt().to_owned(), seen.max_tokens())).collect();
        asked.sort();
        asked
    });
    assert_eq!(asked[0], asked[1]);
    let total: u64 = runs[..2].iter().map(|run| run["num_prompts"].as_u64().unwrap()).sum();
    assert!(total > 0);
    let mut prompts: Vec<&String> = asked[0].iter().map(|(prompt, _)| prompt).collect();
    let count = prompts.len();
    prompts.dedup();
    assert_eq!(prompts.len(), count, "no question is asked twice");
}

#[test]
fn a_closed_loop_keeps_the_number_of_concurrent_requests() {
    let folder = Folder::new("callers");
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let at_most = Arc::clone(&most);
    let server = Fake::start(move |seen, stream| {
        at_most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        begin(stream);
        word(stream);
        // Its client sends the next request as soon as this one is over.
        now.fetch_sub(1, Ordering::SeqCst);
        end(stream, "length", seen.max_tokens());
    });
    let (url, json) = (server.url(), folder.file("runs.json"));
    printed(&["--url", &url, "--concurrency", "3", "--duration", "600ms", "--no-deadlines", "--json", &json]);
    let run = &folder.runs("runs.json")[0];
    assert_eq!((&run["max_concurrency"], &run["request_rate"]), (&3.into(), &"inf".into()));
    assert!(run["completed"].as_u64().unwrap() > 3, "{run}");
    assert_eq!(run["hedgerow"]["attainment"], 1.0);
    assert!(run["hedgerow"]["output_tokens_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(server.load().iter().all(|seen| !seen.head.contains("x-slo-e2e-ms")));
}

#[test]
fn a_server_that_cannot_be_measured_is_refused_with_the_reason() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = refused(&["--url", &format!("http://{free}")]);
    assert!(said.contains("cannot reach the server") && said.contains("hint: start it first"), "{said}");
    let said = refused(&["--url", "https://localhost"]);
    assert!(said.contains("`https://localhost` does not begin with http://"), "{said}");
    let nowhere = Fake::start(|_, stream| say(stream, 404, "{\"error\": {\"message\": \"nothing here\"}}"));
    let said = refused(&["--url", &nowhere.url()]);
    assert!(said.contains("/v1/chat/completions with HTTP 404: nothing here"), "{said}");
    assert!(said.contains("hint: check what stands before /v1"), "{said}");
}

#[test]
fn contradicting_flags_are_refused_before_anything_is_sent() {
    let folder = Folder::new("wrong");
    let classes = folder.write("classes.toml", "[[class]]\nnaem = \"a\"\n");
    let said = refused(&["--classes", &classes]);
    assert!(said.contains("line 2") && said.contains("hint: did you mean `name`?"), "{said}");
    let said = refused(&["--max-output", "5"]);
    assert!(said.contains("--max-output is about a trace"), "{said}");
    let said = refused(&["--rate", "0"]);
    assert!(said.contains("must be a number from 0.000001 to 10000"), "{said}");
    let said = refused(&["--arrivals", "trace:/nowhere.csv"]);
    assert!(said.contains("cannot use the trace /nowhere.csv: No such file"), "{said}");
    let said = refused(&["--out", "/dev/null/folder"]);
    assert!(said.contains("cannot write /dev/null/folder"), "{said}");
}

#[test]
fn the_printed_class_file_is_valid() {
    let folder = Folder::new("print");
    let classes = folder.write("classes.toml", &printed(&["--print-classes"]));
    // The file is accepted, and only the missing server is an error.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = refused(&["--classes", &classes, "--url", &format!("http://{free}")]);
    assert!(said.contains("cannot reach the server"), "{said}");
}

#[test]
fn every_request_to_hedgerow_has_one_outcome_and_nothing_is_left_running() {
    let flags = ["--parallel", "4", "--ctx-size", "8192", "--threads", "1"];
    let Some(server) = Server::start(&flags) else { return };
    let folder = Folder::new("real");
    let trace = format!("trace:{}", folder.write("trace.jsonl", &trace()));
    let classes = folder.write("classes.toml", &classes(&[("short", 15), ("long", 60)]));
    let url = format!("http://{}", server.address());
    let measure = |arguments: &[&str]| {
        let (before, out) = (ended(&server), folder.file("out"));
        printed(&[&["--url", &url, "--classes", &classes, "--out", &out], arguments].concat());
        server.wait_until("nothing runs", |server| server.metric("hedgerow_num_requests_running") == 0.0);
        let run = folder.runs("out/runs.json").remove(0);
        let offered = run["num_prompts"].as_u64().unwrap();
        // The whole workload, and the probe for two tokens.
        assert_eq!(ended(&server) - before, offered as f64 + 1.0);
        assert_eq!(rows(&folder.0.join("out/requests.csv")).len() as u64, offered);
        assert_eq!(run["model_id"], "small");
        run
    };

    let arrivals = ["--arrivals", &trace, "--scale-output", "0.1", "--max-prompt", "30"];
    let open = [&["--rate", "8", "--duration", "2s", "--clients", "hang-up"], &arrivals[..]].concat();
    let run = measure(&open);
    let counts = run["hedgerow"]["outcomes"].as_object().unwrap();
    let sum: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((sum, &counts["failed"]), (16, &0.into()), "{run}");
    assert_eq!(run["burstiness"], Value::Null);

    let run = measure(&["--concurrency", "2", "--duration", "1s", "--no-deadlines"]);
    assert_eq!(run["hedgerow"]["attainment"], 1.0, "{run}");
    for row in rows(&folder.0.join("out/requests.csv")) {
        let number = |key: &str| row[key].parse::<f64>().unwrap_or_else(|_| panic!("{key} of {row:?}"));
        assert_eq!(number("output_tokens"), number("output_asked"), "{row:?}");
        // One token for each word, and the chat template's own.
        let asked = number("prompt_asked");
        assert!((asked..asked + 60.0).contains(&number("prompt_tokens")), "{row:?}");
        assert!(number("ttft_ms") <= number("after_ms"), "{row:?}");
    }
}

/// A trace of 8 requests per second for a minute.
fn trace() -> String {
    let line = |index: u32| {
        let output = [150, 300, 600][index as usize % 3];
        format!(
            "{{\"timestamp\": {}, \"input_length\": 40, \"output_length\": {output}, \"hash_ids\": []}}\n",
            index * 125
        )
    };
    (0..480).map(line).collect()
}

/// Returns how many requests have ended at a server.
fn ended(server: &Server) -> f64 {
    let metrics = server.get("/metrics").body;
    let counts = metrics.lines().filter(|line| line.starts_with("hedgerow_requests_total{"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Reads a CSV file's rows, by column name.
fn rows(path: &Path) -> Vec<std::collections::HashMap<String, String>> {
    let text = std::fs::read_to_string(path).expect("it was written");
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
    let header: Vec<String> = lines.next().expect("a header").collect();
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}
