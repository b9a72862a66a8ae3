//! `hedgerow list`: lists every model and precision on this node.

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_node::catalogue::{self, Catalogue, Entry, Figure, Kind, Throughput};
use hedgerow_node::console::Console;
use hedgerow_node::terminal::fitting;
use hedgerow_workload::hint::hinted;

/// The arguments of `hedgerow list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Print the whole catalogue, one JSON object
    #[arg(long)]
    json: bool,
}

/// The decode batch sizes that are shown.
const BATCHES: [u32; 3] = [1, 8, 16];
/// The chunk size, in tokens, whose prefill is shown if it was measured.
const CHUNK: u32 = 128;

/// Brings the catalogue up to date and prints it.
pub fn run(args: &ListArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let catalogue = catalogue::refresh(&[])?;
    let text = if args.json { serde_json::to_string_pretty(&catalogue)? + "\n" } else { table(&catalogue) };
    console.print(text)?;
    for unusable in &catalogue.unusable {
        console.note(format!("warning: {}", unusable.why));
    }
    if catalogue.models.is_empty() {
        return Err(hinted("there is no model on this node", "`hedgerow pull` gets the small default one"));
    }
    for hint in hints(&catalogue) {
        console.note(format!("hint: {hint}"));
    }
    Ok(())
}

fn table(catalogue: &Catalogue) -> String {
    if catalogue.models.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "model",
        "precision",
        "file MB",
        "α",
        "β prefill",
        "β decode at 1, 8, 16",
        "load ms",
        "f ppl",
        "f top",
    ]);
    for model in &catalogue.models {
        for entry in &model.precisions {
            table.add_row(row(&model.name, entry));
        }
    }
    table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    fitting(&table)
        + "\nα, β: memory and time against 16 bits or the model's reference\nf: quality, by perplexity and by same first \
           choice\n~ assumed, * published of a model like it, else measured here\n`hedgerow show MODEL` says how\n"
}

fn row(model: &str, entry: &Entry) -> [String; 9] {
    let beta = |throughput: &Throughput| figure(throughput.beta.as_ref(), 2);
    let decode = BATCHES.map(|count| at(&entry.decode, count).map_or("-".to_owned(), beta));
    let prefill = at(&entry.prefill, CHUNK).or(entry.prefill.last()).map_or("-".to_owned(), beta);
    [
        model.to_owned(),
        entry.facts.precision.clone(),
        format!("{:.0}", entry.facts.bytes as f64 / 1e6),
        figure(Some(&entry.alpha), 2),
        prefill,
        decode.join("  "),
        entry.load_ms.as_ref().map_or("-".to_owned(), |load| load.value.to_string()),
        figure(entry.quality_by_perplexity.as_ref(), 4),
        figure(entry.quality_by_agreement.as_ref(), 3),
    ]
}

fn at(throughputs: &[Throughput], count: u32) -> Option<&Throughput> {
    throughputs.iter().find(|throughput| throughput.count == count)
}

/// Formats a number with its source mark before it.
fn figure(figure: Option<&Figure>, digits: usize) -> String {
    let Some(figure) = figure else { return "-".to_owned() };
    format!("{}{:.digits$}", mark(figure.source.kind), figure.value)
}

/// The mark before a number that was not measured here.
pub(super) fn mark(kind: Kind) -> &'static str {
    match kind {
        Kind::Assumed => "~",
        Kind::Published => "*",
        Kind::Measured => "",
    }
}

/// Suggests commands that measure what is unknown, one of each kind.
fn hints(catalogue: &Catalogue) -> Vec<String> {
    let without = |is_missing: fn(&Entry) -> bool| catalogue.entries().find(|entry| is_missing(entry));
    let unmeasured = without(|entry| entry.setup.is_none())
        .map(|entry| format!("`hedgerow profile {}` measures memory and speed", entry.facts.file.display()));
    let apart = without(|entry| entry.setup.is_some() && entry.decode.iter().any(|one| one.beta.is_none()));
    let apart = apart.map(|entry| {
        let file = entry.facts.file.display();
        format!("`hedgerow profile {file}` with the flags of the other precisions makes its times comparable")
    });
    let unevaluated = catalogue.models.iter().find_map(|model| {
        let unknown = model.precisions.iter().find(|entry| entry.quality_by_perplexity.is_none())?;
        let known = model.precisions.iter().find(|entry| entry.quality_by_perplexity.is_some())?;
        let (file, reference) = (unknown.facts.file.display(), known.facts.file.display());
        Some(format!("`hedgerow evaluate {file} --reference {reference}` measures what it loses"))
    });
    [unmeasured, apart, unevaluated].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedgerow_node::catalogue::Source;

    #[test]
    fn a_number_shows_the_mark_of_its_source() {
        let number = |kind| Figure {
            value: 0.5,
            low: None,
            high: None,
            source: Source { kind, what: String::new(), when_unix_s: None },
        };
        let shown =
            [Kind::Assumed, Kind::Published, Kind::Measured].map(|kind| figure(Some(&number(kind)), 2));
        assert_eq!(shown, ["~0.50", "*0.50", "0.50"]);
        assert_eq!(figure(None, 2), "-");
    }
}
