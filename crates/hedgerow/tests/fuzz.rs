//! Mutated inputs: whatever bytes come, they are read or refused with an error, without a crash and in bounded memory.
//!
//! Each target gets some thousand inputs. `HEDGEROW_FUZZ_SECONDS=3600 cargo test --release -p hedgerow --test fuzz` gives
//! each an hour, from another seed each time. An input that fails is written to a file that the panic names.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use hedgerow_node::chat_template::{ChatTemplate, Message};
use hedgerow_node::models;
use hedgerow_sim::Scenario;
use hedgerow_workload::{Recording, Trace};
use support::Server;

/// Numbers, names and marks that readers treat specially.
const WORDS: [&str; 40] = [
    "0",
    "-1",
    "1e308",
    "1e-320",
    "NaN",
    "inf",
    "9223372036854775808",
    "4294967296",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "[[",
    "]]",
    "\"",
    "\\u0000",
    "\\ud800",
    "\u{E000}",
    "\u{10FFFF}",
    "\r\n",
    "\n\n",
    "\0",
    ",",
    ":",
    "=",
    "#",
    "{{",
    "}}",
    "{%",
    "%}",
    "messages",
    "content",
    "<|im_end|>",
    "max_tokens",
    "hedgerow",
    "stop",
    "key",
    "../",
    "%s%n",
];
/// Integers at the edges of their types.
const EDGES: [u64; 8] =
    [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff];

/// A small generator of random numbers (splitmix64), so that a seed is all that a failure needs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`; 0 for 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Changes a random input of the corpus in one to eight ways.
fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(32)).min(input.len());
        match random.below(9) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => drop(input.splice(at..at, WORDS[random.below(WORDS.len())].bytes())),
            3 => drop(input.splice(at..end, WORDS[random.below(WORDS.len())].bytes())),
            4 => drop(input.drain(at..end)),
            5 => {
                let piece = input[at..end].to_vec();
                let copies = 1 << random.below(12);
                drop(input.splice(at..at, piece.repeat(copies)));
            }
            6 => input.truncate(at),
            7 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                let width = 1 << random.below(4);
                for (place, byte) in input[at..].iter_mut().zip(&edge[..width]) {
                    *place = *byte;
                }
            }
        }
        input.truncate(256 * 1024);
    }
    input
}

/// The most memory that a process has had, in MB.
fn peak_mb(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000)
}

/// Gives a target mutated inputs: so many, or for as long as `HEDGEROW_FUZZ_SECONDS` says.
fn fuzz(name: &str, corpus: &[Vec<u8>], count: u64, mut target: impl FnMut(&[u8])) {
    let seconds =
        std::env::var("HEDGEROW_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().expect("seconds"));
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seed = until.map_or(1, |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    let mut random = Random(seed);
    let (before, mut done, mut longest) = (peak_mb("self"), 0, Duration::ZERO);
    while until.map_or(done < count, |until| Instant::now() < until) {
        let input = mutate(&mut random, corpus);
        let began = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let path = std::env::temp_dir().join(format!("hedgerow-fuzz-{name}-{seed}-{done}"));
            std::fs::write(&path, &input).unwrap();
            panic!("{name}: the input in {} fails", path.display());
        }
        longest = longest.max(began.elapsed());
        done += 1;
    }
    let more = peak_mb("self").saturating_sub(before);
    eprintln!("{name}: {done} inputs, the longest took {longest:?}, {more} MB more at the peak");
    assert!(more < 400, "{name}: {more} MB for inputs of at most 256 kB");
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn repository(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn file(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"))
}

#[test]
fn files_of_any_bytes_are_read_or_refused() {
    let keys = "[[key]]\nname = \"a\"\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n\
                concurrency = 3\nmodels = [\"small\"]\nvalue_max = 5\n";
    let path = file("keys.toml");
    fuzz("keys", &texts(&[keys]), 5_000, |input| {
        std::fs::write(&path, input).unwrap();
        let _ = hedgerow_server::read_keys(&path);
    });

    let mut gguf = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
    for (key, value) in [("general.architecture", "llama"), ("tokenizer.chat_template", "{{ messages }}")] {
        for text in [key, value] {
            gguf.extend((text.len() as u64).to_le_bytes());
            gguf.extend(text.as_bytes());
            if text == key {
                gguf.extend(8_u32.to_le_bytes());
            }
        }
    }
    gguf.extend(11_u64.to_le_bytes());
    gguf.extend(b"token_embd.");
    gguf.extend([2_u32.to_le_bytes(), 64_u32.to_le_bytes(), [0; 4], 64_u32.to_le_bytes(), [0; 4]].concat());
    gguf.extend([[0_u8; 4], [0; 4], [0; 4]].concat());
    let real = support::model().and_then(|path| {
        let mut head = vec![0; 200_000];
        std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).ok().map(|()| head)
    });
    let corpus: Vec<Vec<u8>> = real.into_iter().chain([gguf]).collect();
    let path = file("model.gguf");
    fuzz("gguf", &corpus, 3_000, |input| {
        std::fs::write(&path, input).unwrap();
        let _ = models::check_file(&path);
    });

    let scenarios =
        ["scenarios/paper.toml", "scenarios/city.toml", "scenarios/continuous.toml"].map(repository);
    fuzz("scenarios", &scenarios, 3_000, |input| {
        let _ = Scenario::parse(&String::from_utf8_lossy(input));
    });

    let traces = texts(&[
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n2023-11-16 18:15:47.1,12,3\n",
        "arrived_s,prompt_tokens,output_tokens\n0.5,10,20\n1.5,30,4\n",
    ]);
    fuzz("traces", &traces, 5_000, |input| drop(Trace::parse(&String::from_utf8_lossy(input))));

    let recording = texts(&[
        "{\"version\":\"0\",\"started_unix_ms\":0,\"model\":\"small\"}\n{\"at\":1,\"event\":\"Woke\"}\n",
    ]);
    fuzz("recordings", &recording, 5_000, |input| drop(Recording::read(input)));

    let templates = texts(&[
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + message.content | trim }}{% endfor %}",
        "{% set ns = namespace(a=1) %}{% if messages[0].role == 'system' %}{{ messages[0]['content'].split('x')[-1] }}{% endif %}",
        "{%- macro m(x, d=2) -%}{{ x * d }}{%- endmacro -%}{{ m('ab') }}{{ range(10) | list | join(',') }}",
    ]);
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let messages = [message("system", "Be kind."), message("user", "Hi x there"), message("assistant", "")];
    fuzz("templates", &templates, 2_000, |input| {
        if let Ok(template) = ChatTemplate::new(&String::from_utf8_lossy(input), "<s>", "</s>") {
            let _ = template.render(&messages);
        }
    });

    let instances = ["paper-12", "values", "all-tight"]
        .map(|name| repository(&format!("examples/instances/{name}.json")));
    let path = file("instance.json");
    fuzz("instances", &instances, 150, |input| {
        std::fs::write(&path, input).unwrap();
        let mut solve = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        let solved = solve.args(["solve", "--node-limit", "1000"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&solved.stderr);
        assert!(matches!(solved.status.code(), Some(0 | 2)), "{}: {said}", solved.status);
    });
}

#[test]
fn requests_of_any_bytes_are_answered_or_refused() {
    let Some(server) = Server::start(&[]) else { return };
    let before = peak_mb(&server.id().to_string());
    let request = |path: &str, body: &str| {
        let length = body.len();
        let head = "host: localhost\r\ncontent-type: application/json\r\nx-slo-e2e-ms: 900\r\nx-slo-min-quality: 0.5";
        format!("POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let chat = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}],"max_tokens":1,"stop":["x"],
        "temperature":0.5,"stream":true,"stream_options":{"include_usage":true},"hedgerow":{"deadline_ms":900,"value":1}}"#;
    let corpus = texts(&[
        &request("/v1/chat/completions", chat),
        &request("/v1/completions", r#"{"prompt":[1,2,3],"max_tokens":1,"nvext":{"agent_hints":{"osl":3}}}"#),
        &request(
            "/v1/batches",
            r#"{"input_file_id":"file-1","endpoint":"/v1/completions","completion_window":"1h"}"#,
        ),
        "GET /debug/requests/req-1 HTTP/1.1\r\nhost: localhost\r\nx-request-id: a\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text\r\n\r\n",
    ]);
    fuzz("requests", &corpus, 1_500, |input| {
        let mut stream = TcpStream::connect(server.address()).expect("it accepts connections");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The server may refuse and close before it has everything.
        let _ = stream.write_all(input);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
        let is_fault = answer.starts_with(b"HTTP/1.1 500");
        assert!(!is_fault, "{}", String::from_utf8_lossy(&answer));
    });
    assert_eq!(server.get("/health").status, 200);
    let more = peak_mb(&server.id().to_string()) - before;
    assert!(more < 200, "{more} MB more");
    assert!(server.terminate());
}
