//! Tests fetching models from a hub that runs in the test.

use std::fs;

use sha2::{Digest, Sha256};

use super::*;
use crate::models::test_server::{Route as Answer, TestServer, fresh_folder, noise};

const REPO: &str = "org/tiny-GGUF";
const LISTING: &str = "/api/models/org/tiny-GGUF/revision/main?blobs=true";
const Q4: &str = "/org/tiny-GGUF/resolve/c0ffee/tiny-Q4_K_M.gguf";

fn sha256(bytes: &[u8]) -> String {
    store::hex(&Sha256::digest(bytes))
}

/// Starts a hub with one repository of these files, all with the same content.
fn hub_with(files: &[&str], content: &[u8], sha256: &str) -> TestServer {
    let server = TestServer::start();
    let listed: Vec<String> = files
        .iter()
        .map(|file| {
            let size = content.len();
            format!(r#"{{"rfilename": "{file}", "size": {size}, "lfs": {{"sha256": "{sha256}", "size": {size}}}}}"#)
        })
        .collect();
    let listing = format!(r#"{{"id": "{REPO}", "sha": "c0ffee", "siblings": [{}]}}"#, listed.join(", "));
    server
        .route(LISTING, Answer { kind: "application/json", body: listing.into_bytes(), ..Answer::default() });
    for file in files {
        // The real hub stores the bytes elsewhere and redirects clients there.
        let location = Some(format!("{}/blobs/{file}?signature=x", server.url()));
        let route = Answer { status: 302, location, ..Answer::default() };
        server.route(&format!("/{REPO}/resolve/c0ffee/{file}"), route);
        let route = Answer { body: content.to_vec(), ..Answer::default() };
        server.route(&format!("/blobs/{file}?signature=x"), route);
    }
    server
}

fn choose(files: &[&str], quant: Option<&str>, file: Option<&str>) -> Result<String, ModelError> {
    let siblings = files.iter().map(|file| ListedFile { rfilename: (*file).to_owned(), lfs: None }).collect();
    let listing = Listing { sha: "c0ffee".to_owned(), siblings };
    let wish = Wish { repo: REPO, quant, file };
    wish.choose(&listing).map(|file| file.rfilename.clone())
}

#[test]
fn a_quantization_chooses_its_file_in_any_case() {
    let files = ["README.md", "tiny-Q4_K_M.gguf", "tiny-IQ4_K_M.gguf", "tiny-Q8_0.gguf", "mmproj-Q8_0.gguf"];
    assert_eq!(choose(&files, Some("q4_k_m"), None).unwrap(), "tiny-Q4_K_M.gguf");
    assert_eq!(choose(&files, Some("Q8_0"), None).unwrap(), "tiny-Q8_0.gguf");
    assert_eq!(choose(&["F16/tiny.gguf", "tiny-f32.gguf"], Some("f16"), None).unwrap(), "F16/tiny.gguf");
}

#[test]
fn a_named_file_decides_alone() {
    let files = ["a/tiny-Q8_0.gguf", "b/tiny-Q8_0.gguf"];
    assert_eq!(choose(&files, Some("Q8_0"), Some("b/tiny-Q8_0.gguf")).unwrap(), "b/tiny-Q8_0.gguf");
}

#[test]
fn an_absent_or_ambiguous_quantization_is_answered_with_the_files() {
    let files = ["tiny-Q4_0.gguf", "tiny-Q8_0.gguf"];
    let absent = choose(&files, Some("Q5_1"), None).unwrap_err();
    assert_eq!(
        absent.to_string(),
        "org/tiny-GGUF has no GGUF file for `Q5_1`; it has tiny-Q4_0.gguf, tiny-Q8_0.gguf"
    );
    let ambiguous = choose(&files, None, None).unwrap_err();
    assert_eq!(ambiguous.to_string(), "org/tiny-GGUF has several GGUF files: tiny-Q4_0.gguf, tiny-Q8_0.gguf");
    assert_eq!(choose(&["README.md"], None, None).unwrap_err().code(), "no_gguf_in_repository");
}

#[test]
fn a_split_model_is_refused_by_name() {
    let files = ["tiny-Q4_0-00001-of-00002.gguf", "tiny-Q4_0-00002-of-00002.gguf"];
    assert_eq!(choose(&files, Some("Q4_0"), None).unwrap_err().code(), "split_model");
    assert_eq!(choose(&files, None, None).unwrap_err().code(), "split_model");
}

#[test]
fn the_second_fetch_uses_no_network_even_offline() {
    let content = noise(100_000);
    let server = hub_with(&["tiny-Q4_K_M.gguf"], &content, &sha256(&content));
    let mut options = FetchOptions::for_test(&fresh_folder("hub-twice"), server.url());
    let first = fetch(REPO, Some("q4_k_m"), None, &options, &|_| ()).unwrap();
    assert_eq!(fs::read(&first.path).unwrap(), content);
    assert_eq!(
        (first.name.as_str(), first.bytes, first.from_cache),
        ("org/tiny-GGUF:q4_k_m", 100_000, false)
    );
    assert_eq!(first.sha256, Some(sha256(&content)));
    let asked = server.asked().len();

    options.offline = true;
    let second = fetch(REPO, Some("q4_k_m"), None, &options, &|_| ()).unwrap();
    assert_eq!((second.path, second.from_cache), (first.path, true));
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn a_damaged_file_is_found_by_verification_and_mended_by_force() {
    let content = noise(1000);
    let server = hub_with(&["tiny-Q4_K_M.gguf"], &content, &sha256(&content));
    let mut options = FetchOptions::for_test(&fresh_folder("hub-damaged"), server.url());
    let path = fetch(REPO, None, None, &options, &|_| ()).unwrap().path;
    fs::write(&path, b"damaged").unwrap();
    options.verify = true;
    assert_eq!(fetch(REPO, None, None, &options, &|_| ()).unwrap_err().code(), "wrong_checksum");
    options.force = true;
    let mended = fetch(REPO, None, None, &options, &|_| ()).unwrap();
    assert_eq!(fs::read(mended.path).unwrap(), content);
}

#[test]
fn the_cache_has_the_layout_that_other_tools_read() {
    let content = noise(10);
    let server = hub_with(&["Q4_0/tiny.gguf"], &content, &sha256(&content));
    let options = FetchOptions::for_test(&fresh_folder("hub-layout"), server.url());
    fetch(REPO, None, None, &options, &|_| ()).unwrap();
    let folder = options.hub_cache.join("models--org--tiny-GGUF");
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), "c0ffee");
    let link = fs::read_link(folder.join("snapshots/c0ffee/Q4_0/tiny.gguf")).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("../../../blobs/{}", sha256(&content)));
    assert_eq!(fs::read(folder.join("snapshots/c0ffee/Q4_0/tiny.gguf")).unwrap(), content);
}

#[test]
fn a_later_fetch_goes_on_where_an_interrupted_one_stopped() {
    let content = noise(200_000);
    let server = hub_with(&["tiny-Q4_K_M.gguf"], &content, &sha256(&content));
    let blob = "/blobs/tiny-Q4_K_M.gguf?signature=x";
    server.route(blob, Answer { body: content.clone(), break_off_after: vec![70_000], ..Answer::default() });
    let options = FetchOptions::for_test(&fresh_folder("hub-resume"), server.url());
    let error = fetch(REPO, None, None, &options, &|_| ()).unwrap_err();
    assert_eq!(error.code(), "download_interrupted");

    let model = fetch(REPO, None, None, &options, &|_| ()).unwrap();
    assert_eq!(fs::read(model.path).unwrap(), content);
    assert_eq!(server.bytes_sent(blob), content.len());
    assert_eq!(server.asked().last().unwrap().range.as_deref(), Some("bytes=70000-"));
}

#[test]
fn a_wrong_checksum_leaves_no_bytes_behind() {
    let server = hub_with(&["tiny-Q4_K_M.gguf"], &noise(1000), &sha256(b"another"));
    let options = FetchOptions::for_test(&fresh_folder("hub-wrong"), server.url());
    let error = fetch(REPO, None, None, &options, &|_| ()).unwrap_err();
    assert_eq!(error.code(), "wrong_checksum");
    let blobs = options.hub_cache.join("models--org--tiny-GGUF/blobs");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
}

#[test]
fn a_missing_repository_and_a_missing_file_are_told_apart() {
    let content = noise(10);
    let server = hub_with(&["tiny-Q4_K_M.gguf"], &content, &sha256(&content));
    let options = FetchOptions::for_test(&fresh_folder("hub-missing"), server.url());
    let missing = fetch("org/other", None, None, &options, &|_| ()).unwrap_err();
    assert_eq!(missing.code(), "repository_not_found");
    server.route(Q4, Answer { status: 404, ..Answer::default() });
    let gone = fetch(REPO, None, None, &options, &|_| ()).unwrap_err();
    assert_eq!(gone.code(), "http_status");
    assert!(gone.to_string().ends_with("tiny-Q4_K_M.gguf answered 404"), "{gone}");
}

#[test]
fn the_token_goes_to_the_hub_and_only_there() {
    let content = noise(10);
    let server = hub_with(&["tiny-Q4_K_M.gguf"], &content, &sha256(&content));
    // A different name of this machine counts as a different host.
    let elsewhere = server.url().replace("127.0.0.1", "localhost");
    let location = Some(format!("{elsewhere}/blobs/tiny-Q4_K_M.gguf?signature=x"));
    server.route(Q4, Answer { status: 302, location, ..Answer::default() });
    let mut options = FetchOptions::for_test(&fresh_folder("hub-token"), server.url());
    options.hub_token = Some("secret".to_owned());
    fetch(REPO, None, None, &options, &|_| ()).unwrap();
    let sent: Vec<bool> = server.asked().iter().map(|asked| asked.authorization.is_some()).collect();
    assert_eq!(sent, [true, true, false]);
}

#[test]
fn a_listing_that_would_write_outside_the_cache_is_refused() {
    let server = hub_with(&["../../evil.gguf"], b"x", &sha256(b"x"));
    let options = FetchOptions::for_test(&fresh_folder("hub-evil"), server.url());
    let error = fetch(REPO, None, None, &options, &|_| ()).unwrap_err();
    assert_eq!(error.code(), "bad_reply");
}

#[test]
fn offline_means_no_request_at_all() {
    let server = hub_with(&["tiny-Q4_K_M.gguf"], b"x", &sha256(b"x"));
    let mut options = FetchOptions::for_test(&fresh_folder("hub-offline"), server.url());
    options.hub_offline = true;
    let error = fetch(REPO, None, None, &options, &|_| ()).unwrap_err();
    assert_eq!(error.code(), "model_not_cached");
    assert!(server.asked().is_empty());
}
