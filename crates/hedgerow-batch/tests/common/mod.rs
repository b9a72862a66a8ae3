//! Folders, inputs and results for tests of the store.
#![allow(dead_code, reason = "each test file is a program of its own and uses some of this")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hedgerow_batch::{Answer, BatchObject, ENDPOINTS, Limits, NewBatch, Status, Store};
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) const LIMITS: Limits =
    Limits { file_bytes: 1 << 20, line_bytes: 4096, lines: 1000, stored_bytes: 4 << 20, unfinished: 3 };

/// An empty folder, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.path(), LIMITS).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An input of so many lines, named `line-1` and so on.
pub(crate) fn input(lines: i64) -> String {
    let line = |number| {
        format!(
            "{{\"custom_id\":\"line-{number}\",\"method\":\"POST\",\"url\":\"{}\",\"body\":{{\"n\":{number}}}}}\n",
            ENDPOINTS[0]
        )
    };
    (1..=lines).map(line).collect()
}

pub(crate) fn upload(store: &mut Store, bytes: &[u8]) -> String {
    let upload = store.begin_upload(1).unwrap();
    for part in bytes.chunks(1000) {
        store.append(upload, part).unwrap();
    }
    store.finish_upload(upload, "input.jsonl").unwrap().id
}

pub(crate) fn new_batch(input_file_id: &str) -> NewBatch {
    NewBatch {
        endpoint: ENDPOINTS[0],
        input_file_id: input_file_id.to_owned(),
        window: "1h".parse().unwrap(),
        metadata: None,
    }
}

/// Creates a batch of so many lines, and checks them; returns its id and key.
pub(crate) fn in_progress(store: &mut Store, lines: i64) -> (String, i64) {
    let file = upload(store, input(lines).as_bytes());
    let id = store.create_batch(&new_batch(&file), 100).unwrap().id;
    let key = store.open_batches().unwrap().into_iter().find(|batch| batch.id == id).unwrap().key;
    assert_eq!(store.validate(key, 101).unwrap(), Status::InProgress);
    (id, key)
}

/// The answer that tests give to a line: its number, and an error to each seventh.
pub(crate) fn answer(number: i64) -> Answer {
    let status_code = if number % 7 == 0 { 400 } else { 200 };
    let body = RawValue::from_string(format!("{{\"n\":{number}}}")).unwrap();
    Answer { status_code, request_id: Some(format!("req-{number}")), body }
}

/// Begins lines of a batch beside those that run; returns their numbers.
pub(crate) fn begin(store: &mut Store, key: i64, running: &BTreeSet<i64>, count: usize) -> Vec<i64> {
    let begun = store.begin(key, running, count, running.is_empty()).unwrap();
    for begun in &begun {
        let line = begun.line.as_ref().unwrap();
        let number = begun.number;
        assert_eq!(
            (&*line.custom_id, line.body.get()),
            (&*format!("line-{number}"), &*format!("{{\"n\":{number}}}"))
        );
    }
    begun.into_iter().map(|begun| begun.number).collect()
}

pub(crate) fn next(store: &mut Store, key: i64) -> Option<i64> {
    begin(store, key, &BTreeSet::new(), 1).first().copied()
}

pub(crate) fn content(store: &Store, file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = 0;
    while let Some(part) = store.part(file, from).unwrap() {
        bytes.extend(part.bytes);
        from = part.next;
    }
    bytes
}

/// The lines of a result file; none where there is no file.
pub(crate) fn results(store: &Store, file: Option<&String>) -> Vec<Value> {
    let Some(file) = file else { return Vec::new() };
    let bytes = content(store, file);
    assert_eq!(store.file(file).unwrap().bytes, bytes.len() as i64);
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that each line of an ended batch is exactly once in its results, with its own answer.
pub(crate) fn assert_each_line_once(store: &Store, batch: &BatchObject, lines: i64) {
    assert!(batch.status.has_ended(), "{batch:?}");
    let output = results(store, batch.output_file_id.as_ref());
    let errors = results(store, batch.error_file_id.as_ref());
    let mut seen = BTreeSet::new();
    for (line, is_output) in
        output.iter().map(|line| (line, true)).chain(errors.iter().map(|line| (line, false)))
    {
        let custom_id = line["custom_id"].as_str().unwrap();
        let number: i64 = custom_id.strip_prefix("line-").unwrap().parse().unwrap();
        assert!(seen.insert(number), "{custom_id} is there twice");
        assert!(line["id"].as_str().unwrap().starts_with("batch_req_"), "{line}");
        if line["error"].is_null() {
            assert_eq!(line["response"]["body"]["n"], number);
            assert_eq!(line["response"]["status_code"] == 200, is_output, "{line}");
        } else {
            assert!(!is_output && line["response"].is_null(), "{line}");
        }
    }
    assert_eq!(seen, (1..=lines).collect());
}
