//! Formats the measurements as tables.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_node::quality::{Estimate, Quality};
use hedgerow_node::terminal::fitting;

/// Formats a table for each combination of reference, text and windows, in the order of the results.
pub(super) fn table(results: &[Quality]) -> String {
    let mut text = String::new();
    let mut left: Vec<&Quality> = results.iter().collect();
    while let Some(first) = left.first().copied() {
        let (group, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|quality| is_alike(quality, first));
        left = others;
        if !text.is_empty() {
            text.push('\n');
        }
        text += &one(first, &group);
    }
    text
}

fn is_alike(one: &Quality, other: &Quality) -> bool {
    let (one, other) = (&one.subject, &other.subject);
    (&one.reference, &one.text, one.ctx, one.chunks)
        == (&other.reference, &other.text, other.ctx, other.chunks)
}

fn one(first: &Quality, group: &[&Quality]) -> String {
    let subject = &first.subject;
    let bos = if subject.bos { ", each after the token that begins a text" } else { "" };
    let text = format!(
        "{} against its {} ({} MB) on {}\n{} windows of {} tokens{bos}; {} tokens counted; ± is half the 95 % interval\n\n",
        subject.model.name,
        subject.reference.precision,
        megabytes(subject.reference.file_bytes),
        subject.text.name,
        subject.chunks,
        subject.ctx,
        first.counted,
    );
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["", "MB", "PPL", "ΔPPL", "PPL ref/PPL", "KL, nats", "same top, %"]);
    let reference = first.measured.ppl_reference;
    table.add_row([
        format!("{}, reference", subject.reference.precision),
        megabytes(subject.reference.file_bytes),
        shown(reference, 1.0, 3),
    ]);
    for quality in group {
        let model = &quality.subject.model;
        table.add_row([
            model.precision.clone(),
            megabytes(model.file_bytes),
            shown(quality.measured.ppl, 1.0, 3),
            shown(quality.measured.ppl_delta, 1.0, 3),
            shown(quality.measured.ppl_ratio, 1.0, 4),
            shown(quality.measured.kl_mean, 1.0, 5),
            shown(quality.measured.same_top, 100.0, 2),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    text + &fitting(&table)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// Formats an estimate as `12.34 ± 0.56`, with the wider side of an asymmetric interval.
fn shown(estimate: Estimate, scale: f64, digits: usize) -> String {
    let Estimate { value, low, high } = estimate;
    let half_width = scale * (high - value).max(value - low);
    format!("{:.digits$} ± {half_width:.digits$}", scale * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_shown_with_the_wider_side_of_its_interval() {
        assert_eq!(shown(Estimate { value: 12.346, low: 11.0, high: 13.0 }, 1.0, 2), "12.35 ± 1.35");
        assert_eq!(shown(Estimate { value: 0.5, low: 0.4, high: 0.6 }, 100.0, 1), "50.0 ± 10.0");
    }
}
