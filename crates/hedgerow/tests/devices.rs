//! Tests of accelerators through the program: the list of devices, refusals, and a server on one if there is one.

mod support;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::Server;

fn hedgerow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(arguments).output().expect("the program starts")
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
    let said = refused(&["serve", "--offline", "--port", "0", "--device", "Vulkan77"]);
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
    for layers in ["all", "7"] {
        let said = refused(&["serve", "--offline", "--port", "0", "--gpu-layers", layers]);
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
        // Small: a software driver measures a profile token by token, for minutes.
        let sizes = ["--parallel", "1", "--ctx-size", "128", "--prefill-chunk", "16", "--threads", "1"];
        let Some(server) = Server::start(&[&sizes[..], flags].concat()) else { return };
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
