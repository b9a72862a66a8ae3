//! Tests of accelerators through the program: the list of devices, refusals, and a server on one if there is one.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::Server;

/// Small: a software driver measures a profile token by token, for minutes.
const SETUP: [&str; 8] = ["--parallel", "1", "--ctx-size", "128", "--prefill-chunk", "16", "--threads", "1"];

fn hedgerow(arguments: &[&str]) -> Output {
    hedgerow_in(Path::new(support::CACHE), arguments)
}

fn hedgerow_in(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(arguments).env("HEDGEROW_CACHE", cache).output().expect("the program starts")
}

fn listed() -> Value {
    let output = hedgerow(&["serve", "--list-devices", "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// Returns the names of the devices that can hold layers.
fn accelerators() -> Vec<String> {
    let listed = listed();
    let devices = listed["devices"].as_array().unwrap().iter();
    let holds_layers = |device: &&Value| ["gpu", "igpu"].iter().any(|kind| device["type"] == *kind);
    devices.filter(holds_layers).map(|device| device["name"].as_str().unwrap().to_owned()).collect()
}

fn refused(arguments: &[&str]) -> String {
    let output = hedgerow(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.contains("error: ") && said.contains("hint: "), "{arguments:?}: {said}");
    said
}

#[test]
fn the_list_of_devices_has_the_cpu_and_its_memory() {
    let listed = listed();
    let cpu = listed["devices"].as_array().unwrap().iter().find(|device| device["type"] == "cpu").unwrap();
    assert!(cpu["memory_total_bytes"].as_u64().unwrap() > 1 << 20, "{cpu}");
    let table = hedgerow(&["serve", "--list-devices"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.lines().any(|line| line.trim_start().starts_with("CPU ") && line.contains(" cpu ")),
        "{table}"
    );
}

#[test]
fn a_device_that_is_not_here_is_refused_with_those_that_are() {
    // A build for an accelerator checks the kernels of the model first.
    let Some(model) = support::model() else { return };
    let said = refused(&["serve", model.to_str().unwrap(), "--port", "0", "--device", "Vulkan77"]);
    assert!(said.contains("`Vulkan77`, which is no accelerator here; the devices are "), "{said}");
    assert!(said.contains("CPU ("), "{said}");
}

#[test]
fn layers_that_contradict_the_device_or_are_no_number_are_refused_with_their_place() {
    let said = refused(&["config", "--gpu-layers", "many"]);
    assert!(said.contains("`engine.gpu_layers` is `many` (from --gpu-layers), but must be"), "{said}");
    let said = refused(&["config", "-ngl", "3", "--device", "none"]);
    assert!(said.contains("must be auto or 0 where `engine.device` is `none`"), "{said}");
    assert!(hedgerow(&["config", "-ngl", "0", "--device", "none"]).status.success());
}

#[test]
fn layers_for_an_accelerator_that_is_not_there_are_refused() {
    if !accelerators().is_empty() {
        println!("skipped: there is one");
        return;
    }
    let Some(model) = support::model() else { return };
    for layers in ["all", "7"] {
        let said = refused(&["serve", model.to_str().unwrap(), "--port", "0", "--gpu-layers", layers]);
        let expected = match listed()["features"].as_array().unwrap().is_empty() {
            true => "this program was built for the CPU alone",
            false => "none is here that this program can use",
        };
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_server_on_an_accelerator_answers_as_one_on_the_cpu() {
    let Some(device) = accelerators().into_iter().next() else {
        println!("skipped: no accelerator is here; features of this build: {}", listed()["features"]);
        return;
    };
    for flags in [&["--device", "none"][..], &["--device", device.as_str(), "--gpu-layers", "all"]] {
        let Some(server) = Server::start(&[&SETUP[..], flags].concat()) else { return };
        // The second time from the prefix cache.
        for _ in 0..2 {
            let body = json!({ "prompt": "The capital of France is", "temperature": 0, "max_tokens": 4 });
            let answer = server.send("POST", "/v1/completions", &[], &body.to_string());
            assert_eq!(answer.status, 200, "{flags:?}: {answer:?}");
            let text = answer.json()["choices"][0]["text"].as_str().unwrap().to_owned();
            assert!(text.starts_with(" Paris"), "{flags:?}: {text}");
        }
    }
}

/// Changes the saved verdict on the layers on devices to that of a device that computes wrong numbers.
fn let_the_device_be_wrong(cache: &Path) {
    let files = fs::read_dir(cache.join("kernels")).unwrap().map(|file| file.unwrap().path());
    let read = |path: &Path| -> Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let path = files.into_iter().find(|path| read(path)["offload"].is_object()).expect("it was checked");
    let mut verdict = read(&path);
    verdict["usable"] = json!({ "kernels": "plain" });
    let failure = json!({ "kind": "wrong_numbers", "what": "the device is wrong", "is_lasting": true });
    verdict["trials"][1]["failure"] = failure;
    fs::write(path, verdict.to_string()).unwrap();
}

#[test]
fn layers_stay_on_the_cpu_where_a_device_computes_wrong_numbers_and_are_refused_where_they_are_required() {
    let (Some(device), Some(model)) = (accelerators().into_iter().next(), support::model()) else {
        println!("skipped: no accelerator is here; features of this build: {}", listed()["features"]);
        return;
    };
    let cache = std::env::temp_dir().join(format!("hedgerow-devices-{}", std::process::id()));
    let _ = fs::remove_dir_all(&cache);
    let kernels = |layers: &str| {
        let flags = ["--json", "--port", "0", "--device", &device, "--gpu-layers", layers];
        let output =
            hedgerow_in(&cache, &[&["doctor", model.to_str().unwrap()], &SETUP[..], &flags].concat());
        let found: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        let checks = found["checks"].as_array().unwrap().iter();
        checks.clone().find(|check| check["check"] == "kernels").expect("kernels are checked").clone()
    };
    let right = kernels("all");
    let expected = format!("layers on {device} (checked)");
    assert!(right["found"].as_str().unwrap().contains(&expected), "{right}");
    if kernels("auto")["found"] != right["found"] {
        println!("skipped: not all layers fit the device");
        return;
    }
    let_the_device_be_wrong(&cache);
    let refused = kernels("all");
    assert_eq!(refused["state"], "error");
    assert!(refused["way_out"].as_str().unwrap().contains("--gpu-layers to 0"), "{refused}");
    let on_the_cpu = kernels("auto");
    assert_eq!(on_the_cpu["state"], "warning");
    let server = Server::start_in(&cache, &[&SETUP[..], &["--device", &device]].concat()).unwrap();
    let health = server.get("/health").json();
    let expected = json!([{
        "precision": "Q4_1", "in_use": "fast", "reason": "wrong_numbers", "detail": "the device is wrong"
    }]);
    assert_eq!(health["kernels"], expected);
    let metric = "hedgerow_kernels_info{precision=\"Q4_1\",kernels=\"fast\",reason=\"wrong_numbers\"}";
    assert_eq!(server.metric(metric), 1.0);
    assert!(server.terminate());
    fs::remove_dir_all(cache).unwrap();
}
