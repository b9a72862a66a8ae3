//! Formats a profile as tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_core::engine::cost::Surface;
use hedgerow_core::time::Span;
use hedgerow_node::profile::{Accelerators, Profile};
use hedgerow_node::terminal::fitting;
use indicatif::HumanBytes;

/// The context lengths that prefill is shown for, up to a request's context.
const CONTEXTS: [u32; 4] = [0, 256, 1024, 4096];

/// Returns the context lengths per request at which decodes were measured: the total divided by the batch size.
pub(super) fn depths(decode: &Surface) -> BTreeSet<u32> {
    let blocks = decode.lines().iter().flat_map(|line| {
        // Each step adds a token to every request, so depths differ slightly from line to line.
        line.times_ns.iter().map(|point| (point.0 / line.count) / 64 * 64)
    });
    let mut depths: BTreeSet<u32> = blocks.filter(|&depth| depth > 0).collect();
    if depths.is_empty() {
        depths.insert(1);
    }
    depths
}

/// Formats the whole profile.
pub(super) fn table(profile: &Profile) -> String {
    let (subject, cost) = (&profile.subject, &profile.cost);
    let (model, engine) = (&subject.model, &subject.engine);
    let mut text = format!(
        "{} ({}, {} MB) on {}, {} cores\n{} requests at once, {} tokens each; {} threads, passes of {} tokens\n",
        model.name,
        model.precision,
        model.file_bytes / 1_000_000,
        subject.machine.cpu,
        subject.machine.cores,
        engine.parallel,
        engine.context,
        engine.threads,
        engine.micro_batch,
    );
    if let Some(accelerators) = &engine.accelerators {
        text += &format!("{}\n", devices(accelerators));
    }
    let contexts: Vec<u32> = CONTEXTS.into_iter().filter(|&context| context < engine.context).collect();
    let rate = |chunk: u32, context: u32| {
        format!("{:.0}", f64::from(chunk) / cost.prefill.at(chunk, context.into()).as_seconds())
    };
    text += "\nprefill, tok/s, by tokens of the chunk and before it\n";
    text += &grid(&counts(&cost.prefill), &contexts, &rate);
    let millis = |count: u32, depth: u32| {
        let held = u64::from(count) * u64::from(depth);
        format!("{:.1}", cost.decode.at(count, held).as_millis())
    };
    let depths: Vec<u32> = depths(&cost.decode).into_iter().collect();
    text += "\ndecode, ms a step, by requests and the tokens that each of them holds\n";
    text += &grid(&counts(&cost.decode), &depths, &millis);
    let mixed = Span(cost.mixed_ns).as_millis();
    writeln!(text, "\na step with both takes {mixed:.1} ms more than the sum").expect("text can be written");
    let bytes = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| HumanBytes(bytes).to_string());
    let memory = profile.memory;
    writeln!(
        text,
        "loaded in {} ms; resident memory {} before, {} loaded, {} measured",
        profile.load_ms,
        bytes(memory.before_load),
        bytes(memory.loaded),
        bytes(memory.measured)
    )
    .expect("text can be written");
    text
}

/// Formats the accelerators in use.
fn devices(accelerators: &Accelerators) -> String {
    let names =
        accelerators.devices.iter().map(|device| format!("{} ({})", device.description, device.backend));
    format!("{} layers on {}", accelerators.gpu_layers, names.collect::<Vec<_>>().join(", "))
}

/// Returns the counts at which a surface was measured.
pub(super) fn counts(surface: &Surface) -> Vec<u32> {
    surface.lines().iter().map(|line| line.count).collect()
}

fn grid(rows: &[u32], columns: &[u32], cell: &dyn Fn(u32, u32) -> String) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let header = columns.iter().map(u32::to_string);
    table.set_header(std::iter::once(String::new()).chain(header));
    for &row in rows {
        let cells = columns.iter().map(|&column| cell(row, column));
        table.add_row(std::iter::once(row.to_string()).chain(cells));
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    fitting(&table)
}
