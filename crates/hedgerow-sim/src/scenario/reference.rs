//! The tables of the page `docs/reference/scenarios.md`, made from `data/`. A test keeps them equal;
//! `UPDATE_EXPECT=1 cargo test --release -p hedgerow-sim --lib reference` writes them anew.

use expect_test::expect_file;

use super::keys::Key;
use crate::models::{Device, Model};

/// The page with each table after a line `<!-- table: NAME -->` made anew.
fn page(text: &str) -> String {
    let mut page = String::new();
    let mut is_in_table = false;
    for line in text.lines() {
        if is_in_table && (line.is_empty() || line.starts_with('|')) {
            continue;
        }
        if is_in_table {
            page.push('\n');
        }
        page.push_str(&format!("{line}\n"));
        let name = line.strip_prefix("<!-- table: ").and_then(|rest| rest.strip_suffix(" -->"));
        is_in_table = name.is_some();
        if let Some(name) = name {
            page.push_str(&format!("\n{}", table(name)));
        }
    }
    page
}

fn table(name: &str) -> String {
    match name {
        "devices" => rows("device | TFLOPS | memory GB | GB/s | checked", Device::names().map(device)),
        "models" => rows(
            "model | billion weights | layers | hidden | KV bytes a token (16 bits) | trained context",
            Model::names().map(model),
        ),
        "shown" => {
            let shown = Key::all().iter().filter(|key| key.default == "shown");
            rows(
                "value | what",
                shown.map(|Key { section, name, what, .. }| format!("`{section}.{name}` | {what}")),
            )
        }
        section => {
            let section = if section == "top level" { "" } else { section };
            let keys = Key::all().iter().filter(|key| key.section == section && key.default != "shown");
            let row = |Key { name, default, values, what, .. }: &Key| {
                format!("`{name}` | {default} | {values} | {what}")
            };
            rows("key | default | values | what", keys.map(row))
        }
    }
}

fn device(name: &str) -> String {
    let device = Device::named(name).expect("it is one of them");
    let tflops = device.tflops.map_or("not known".to_owned(), |tflops| tflops.to_string());
    let Device { memory_gb, bandwidth_gb_per_s, checked, .. } = device;
    format!("{name} | {tflops} | {memory_gb} | {bandwidth_gb_per_s} | {checked}")
}

fn model(name: &str) -> String {
    let model = Model::named(name).expect("it is one of them");
    let (shape, billions) = (model.shape(), model.weights_16_bit().0 as f64 / 2e9);
    let (layers, hidden, kv_bytes) = (shape.layers, shape.hidden, shape.kv_per_token().0);
    format!("{name} | {billions:.2} | {layers} | {hidden} | {kv_bytes} | {}", model.context)
}

fn rows(head: &str, rows: impl Iterator<Item = String>) -> String {
    let rule = "---|".repeat(head.split('|').count());
    format!("| {head} |\n|{rule}\n") + &rows.map(|row| format!("| {row} |\n")).collect::<String>()
}

#[test]
fn the_page_of_scenarios_is_as_the_tables_have_it() {
    let file = expect_file!["../../../../docs/reference/scenarios.md"];
    file.assert_eq(&page(&file.data()));
}
