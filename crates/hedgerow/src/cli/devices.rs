//! `hedgerow serve --list-devices`.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_llama::{ACCELERATORS, Device, devices};
use hedgerow_node::console::Console;
use hedgerow_workload::hint::hinted;
use serde_json::{Value, json};

/// Prints the devices that this build can compute on.
pub(super) fn run(as_json: bool, console: &mut Console<'_>) -> anyhow::Result<()> {
    let devices = devices().map_err(|error| hinted(&error, error.hint()))?;
    let text = match as_json {
        true => serde_json::to_string_pretty(&json_of(&devices))? + "\n",
        false => table(&devices),
    };
    console.print(text)?;
    if !devices.iter().any(Device::holds_layers) {
        let why = match ACCELERATORS {
            [] => "this program was built for the CPU alone".to_owned(),
            features => format!("this program was built for {}, and found no device", features.join(", ")),
        };
        console.note(format!("hint: {why}; docs/guides/accelerators.md says more"));
    }
    Ok(())
}

fn table(devices: &[Device]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["name", "type", "memory MiB", "free MiB", "description"]);
    for device in devices {
        let mib = |bytes: u64| if bytes == 0 { "?".to_owned() } else { (bytes >> 20).to_string() };
        table.add_row([
            device.name.clone(),
            device.kind.name().to_owned(),
            mib(device.memory_total.0),
            mib(device.memory_free.0),
            device.description.clone(),
        ]);
    }
    for column in [2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn json_of(devices: &[Device]) -> Value {
    let device = |device: &Device| {
        json!({
            "name": device.name,
            "type": device.kind.name(),
            "backend": device.backend,
            "description": device.description,
            "driver": device.driver,
            "shares_host_memory": device.shares_host_memory(),
            "memory_total_bytes": device.memory_total.0,
            "memory_free_bytes": device.memory_free.0,
        })
    };
    json!({ "features": ACCELERATORS, "devices": devices.iter().map(device).collect::<Vec<_>>() })
}
