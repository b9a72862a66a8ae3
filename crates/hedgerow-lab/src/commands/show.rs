//! `hedgerow show`: shows everything known about a model, and the source of each number.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use clap::Args;
use hedgerow_node::catalogue::{self, Catalogue, Entry, Figure, Model, Source, Throughput};
use hedgerow_node::console::Console;
use hedgerow_node::files::write_whole;
use hedgerow_workload::hint::hinted;
use indicatif::HumanBytes;
use kuva::plot::{LegendEntry, LegendShape, LinePlot, ScatterPlot};
use kuva::render::figure::Figure as Picture;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use crate::plotting::{STYLES, svg, titled};

/// The arguments of `hedgerow show`.
#[derive(Args, Debug)]
#[command(after_help = "Example: hedgerow show smollm2-135m-instruct:Q4_1")]
pub struct ShowArgs {
    /// A model as `hedgerow list` names it, `MODEL:PRECISION`, or a .gguf file
    #[arg(value_name = "MODEL[:PRECISION]")]
    model: String,
    /// Print a JSON object: the model with the requested precisions
    #[arg(long)]
    json: bool,
    /// Draw β of decode over the batch size, a line for each precision
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Prints the model.
pub fn run(args: &ShowArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let path = Path::new(&args.model);
    let catalogue = catalogue::refresh(if path.is_file() { std::slice::from_ref(&path) } else { &[] })?;
    let model = find(&catalogue, &args.model)?;
    if let Some(file) = &args.plot {
        write_whole(file, &plot(&model)?).map_err(|error| {
            hinted(format!("cannot write {}: {error}", file.display()), "choose another file by `--plot`")
        })?;
        console.note(format!("wrote {}", file.display()));
    }
    let text = if args.json { serde_json::to_string_pretty(&model)? + "\n" } else { describe(&model) };
    console.print(text)
}

/// Finds the named model, with the precisions that the name selects.
pub(super) fn find(catalogue: &Catalogue, named: &str) -> anyhow::Result<Model> {
    if let Some(entry) = catalogue.entry(Path::new(named)) {
        let model = catalogue.models.iter().find(|model| model.precisions.contains(entry));
        let model = model.expect("each entry is of a model");
        return Ok(Model { precisions: vec![entry.clone()], ..model.clone() });
    }
    if let Some(model) = catalogue.find(named) {
        return Ok(model.clone());
    }
    let names: Vec<&str> = catalogue.models.iter().map(|model| model.name.as_str()).collect();
    let (name, precision) = named.rsplit_once(':').unwrap_or((named, ""));
    let Some(model) = catalogue.find(name) else {
        let way_out = match names.as_slice() {
            [] => "`hedgerow pull` gets the small default one".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        return Err(hinted(format!("there is no model `{named}` on this node"), way_out));
    };
    let Some(entry) = model.precision(precision) else {
        let there: Vec<&str> = model.precisions.iter().map(|entry| entry.facts.precision.as_str()).collect();
        return Err(hinted(
            format!("{name} is not here in the precision `{precision}`"),
            format!("there are {}; `hedgerow quantize` makes others", there.join(", ")),
        ));
    };
    Ok(Model { precisions: vec![entry.clone()], ..model.clone() })
}

fn describe(model: &Model) -> String {
    let against = model.reference.as_deref().map_or(String::new(), |name| format!(", β against {name}"));
    let mut text = format!("{}{against}\n", model.name);
    for entry in &model.precisions {
        text += "\n";
        for (name, value, source) in lines(entry) {
            // A value wider than its column is still separated from what follows.
            let line = format!("  {name:<21} {value:<21} {source}");
            writeln!(text, "{}", line.trim_end()).expect("text can be written");
        }
    }
    text
}

/// A name, a value, and the value's source.
type Line = (String, String, String);

fn lines(entry: &Entry) -> Vec<Line> {
    let facts = &entry.facts;
    let plain = |name: &str, value: String| (name.to_owned(), value, String::new());
    let tensors: Vec<String> =
        facts.tensor_types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let mut lines = vec![
        plain("precision", facts.precision.clone()),
        plain("file", facts.file.display().to_string()),
        plain("size", HumanBytes(facts.bytes).to_string()),
        plain("sha256", facts.sha256.clone().unwrap_or_else(|| "not compared".to_owned())),
        plain("tensors", format!("{}; {:.2} bits a weight", tensors.join(", "), facts.bits_per_weight())),
    ];
    if let Some(ancestor) = &facts.no_better_than {
        lines.push(plain("no better than", format!("{ancestor}, which it was made from")));
    }
    if let Some(setup) = &entry.setup {
        let value = format!(
            "{} requests of {} tokens, {} cache, {} threads, {}",
            setup.parallel,
            setup.context,
            setup.kv_type.name(),
            setup.threads,
            setup.version
        );
        lines.push(plain("measured with", value));
    }
    let memory = &entry.resident_bytes;
    let known = |name: &str, value: String, source: &Source| (name.to_owned(), value, label(source));
    lines.push(known("memory", HumanBytes(memory.value).to_string(), &memory.source));
    lines.push(known("α", format!("{:.3}", entry.alpha.value), &entry.alpha.source));
    if let Some(load) = &entry.load_ms {
        lines.push(known("load", format!("{} ms", load.value), &load.source));
    }
    lines.extend(throughputs("prefill of", &entry.prefill));
    lines.extend(throughputs("decode at", &entry.decode));
    let quality = |name: &str, figure: &Option<Figure>| {
        figure.as_ref().map(|figure| known(name, with_interval(figure), &figure.source))
    };
    lines.extend(quality("quality, perplexity", &entry.quality_by_perplexity));
    lines.extend(quality("quality, same choice", &entry.quality_by_agreement));
    for kv in &entry.kv_types {
        lines.push(plain(
            &format!("cache in {}", kv.kv_type.name()),
            format!("{} bytes a token", kv.bytes_per_token),
        ));
    }
    lines
}

/// Lists speed and time factor of each size, with the source where it differs from that of the size before.
fn throughputs(name: &str, throughputs: &[Throughput]) -> Vec<Line> {
    let mut before = String::new();
    let line = |size: &Throughput| {
        let beta = size.beta.as_ref().map_or(String::new(), |beta| format!("β {:.2}", beta.value));
        let speed =
            size.tokens_per_s.as_ref().map_or(String::new(), |speed| format!("{:.0} tok/s", speed.value));
        let source =
            size.beta.as_ref().or(size.tokens_per_s.as_ref()).map_or(String::new(), |own| label(&own.source));
        let source = if source == before {
            String::new()
        } else {
            before.clone_from(&source);
            source
        };
        (format!("{name} {}", size.count), format!("{beta:<7} {speed}"), source)
    };
    throughputs.iter().map(line).collect()
}

fn with_interval(figure: &Figure) -> String {
    match (figure.low, figure.high) {
        (Some(low), Some(high)) => format!("{:.4} ({low:.4}-{high:.4})", figure.value),
        _ => format!("{:.4}", figure.value),
    }
}

/// Formats a source.
fn label(source: &Source) -> String {
    let Source { kind, what, when_unix_s } = source;
    let kind = match kind {
        catalogue::Kind::Assumed => "assumed",
        catalogue::Kind::Published => "published",
        catalogue::Kind::Measured => "measured",
    };
    let when = when_unix_s.and_then(|at| DateTime::from_timestamp(i64::try_from(at).ok()?, 0));
    let when = when.map_or(String::new(), |at| at.format(" %Y-%m-%d %H:%M UTC").to_string());
    format!("{kind}{when}: {what}")
}

const PANEL: (f64, f64) = (560.0, 360.0);

/// Draws β over the requests of a decode step, as SVG.
fn plot(model: &Model) -> anyhow::Result<String> {
    let (mut plots, mut legend) = (Vec::new(), Vec::new());
    for (entry, style) in model.precisions.iter().zip(STYLES.iter().cycle()) {
        let point = |size: &Throughput| Some((f64::from(size.count), size.beta.as_ref()?.value));
        let points: Vec<(f64, f64)> = entry.decode.iter().filter_map(point).collect();
        if entry.setup.is_none() || points.is_empty() {
            continue;
        }
        let line = LinePlot::new().with_data(points.clone()).with_color(style.color).with_stroke_width(1.6);
        plots.push(Plot::Line(line.with_line_style(style.line.clone())));
        let marks = ScatterPlot::new().with_data(points).with_color(style.color).with_size(3.5);
        plots.push(Plot::Scatter(marks.with_marker(style.marker)));
        legend.push(LegendEntry {
            label: entry.facts.precision.clone(),
            color: style.color.to_owned(),
            shape: LegendShape::Marker(style.marker),
            dasharray: style.line.dasharray(),
        });
    }
    if plots.is_empty() {
        let message = format!("no precision of {} was measured in the same setup as another", model.name);
        return Err(hinted(message, "`hedgerow profile FILE` measures one; `hedgerow list` names the files"));
    }
    let against = model.reference.as_deref().unwrap_or("its reference");
    let title = format!("Time of a decode step of {} against {against}", model.name);
    let layout = titled(Layout::auto_from_plots(&plots), title, PANEL.0)
        .with_x_label("requests that answer at once")
        .with_y_label("β")
        .with_x_axis_min(0.0)
        .with_y_axis_min(0.0);
    let figure = Picture::new(1, 1)
        .with_plots(vec![plots])
        .with_layouts(vec![layout])
        .with_cell_size(PANEL.0, PANEL.1)
        .with_shared_legend_entries(legend)
        .with_shared_legend_bottom();
    Ok(svg(&figure.render()))
}
