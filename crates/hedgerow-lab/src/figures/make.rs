//! Simulates the sweeps of figures and writes the output files.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hedgerow_sim::sweep::{Sweep, SweepError, Table};
use hedgerow_workload::hint::hinted;

use super::curves::{Panel, panels};
use super::{Embedded, Figure, Part, claims, draw, report};
use crate::sweeps::{cells_bar, with_hint};

/// The scenarios that the sweeps vary, by the names that they use for them.
const SCENARIOS: [(&str, &str); 3] = [
    ("../paper.toml", include_str!("../../../../scenarios/paper.toml")),
    ("../city.toml", include_str!("../../../../scenarios/city.toml")),
    ("../continuous.toml", include_str!("../../../../scenarios/continuous.toml")),
];

/// The figures to make, and how.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    /// Their letters; all figures if empty.
    pub(crate) only: &'a [char],
    /// Seconds of virtual time, and one seed only, for a quick look.
    pub(crate) quick_s: Option<f64>,
    pub(crate) jobs: NonZero<usize>,
}

/// A figure with its panels filled.
pub(super) struct Filled<'a> {
    pub(super) figure: &'a Figure,
    pub(super) panels: Vec<(&'a Part, Panel)>,
    pub(super) svg: String,
}

/// The output of [`make`].
pub(crate) struct Made {
    /// The files.
    pub(crate) written: Vec<PathBuf>,
    /// Whether the paper's order of policies holds: a table and its summary; `None` if no figure is about it.
    pub(crate) holds: Option<(comfy_table::Table, String)>,
}

/// Makes figures in a folder, and returns the files written and which claims hold.
///
/// # Errors
///
/// When a letter is unknown or a file cannot be written.
pub(crate) fn make(all: &[Figure], chosen: &Chosen<'_>, out: &Path) -> anyhow::Result<Made> {
    let figures = chosen_of(all, chosen.only)?;
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let tables = play(&figures, chosen)?;
    let mut written = Vec::new();
    let mut write = |name: String, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        written.push(path);
        anyhow::Ok(())
    };
    let mut filled = Vec::new();
    for figure in figures {
        let of_part = |part: &'static Part| {
            panels(part, &tables[part.sweep.name]).into_iter().map(move |panel| (part, panel))
        };
        let panels: Vec<(&Part, Panel)> = figure.parts.iter().flat_map(of_part).collect();
        let drawn = draw::draw(figure.name, &panels)?;
        write(format!("{}.svg", figure.name), drawn.svg.as_bytes())?;
        write(format!("{}.png", figure.name), &drawn.png)?;
        write(format!("{}.csv", figure.name), csv_of(&panels)?.as_bytes())?;
        filled.push(Filled { figure, panels, svg: drawn.svg });
    }
    let claims = claims::claims(&filled);
    if !claims.is_empty() {
        write("claims.csv".into(), claims::csv_of(&claims)?.as_bytes())?;
    }
    write("report.html".into(), report::html(&filled, &claims).as_bytes())?;
    let holds = (!claims.is_empty()).then(|| (claims::table(&claims), claims::verdict(&claims)));
    Ok(Made { written, holds })
}

fn chosen_of<'a>(all: &'a [Figure], only: &[char]) -> anyhow::Result<Vec<&'a Figure>> {
    let letter = |figure: &Figure| figure.name.chars().next();
    if let Some(unknown) =
        only.iter().find(|wanted| all.iter().all(|figure| letter(figure) != Some(**wanted)))
    {
        let known: Vec<&str> = all.iter().map(|figure| figure.name).collect();
        return Err(hinted(
            format!("there is no figure `{unknown}` here"),
            format!("choose by the first letter of {}", known.join(", ")),
        ));
    }
    let is_wanted = |figure: &&Figure| only.is_empty() || letter(figure).is_some_and(|it| only.contains(&it));
    Ok(all.iter().filter(is_wanted).collect())
}

/// Simulates each sweep once, and returns the tables of cells by the sweeps' names.
fn play(figures: &[&Figure], chosen: &Chosen<'_>) -> anyhow::Result<BTreeMap<&'static str, Table>> {
    let mut sweeps = BTreeMap::new();
    for part in figures.iter().flat_map(|figure| figure.parts) {
        if !sweeps.contains_key(part.sweep.name) {
            sweeps.insert(part.sweep.name, read(part.sweep, chosen.quick_s)?);
        }
    }
    let bar = cells_bar(sweeps.values().map(|sweep| sweep.cells().len() as u64).sum());
    let mut tables = BTreeMap::new();
    for (name, sweep) in sweeps {
        bar.set_message(format!("{name} "));
        let rows = sweep
            .play(&BTreeMap::new(), chosen.jobs, |_, _| {
                bar.inc(1);
                Ok::<_, SweepError>(())
            })
            .map_err(with_hint)?;
        tables.insert(name, Table::of_cells(&sweep, &rows));
    }
    bar.finish_and_clear();
    Ok(tables)
}

/// Reads an embedded sweep, and shortens it for a quick look.
fn read(embedded: &Embedded, quick_s: Option<f64>) -> anyhow::Result<Sweep> {
    let mut text = embedded.text.to_owned();
    if let Some(quick_s) = quick_s {
        let mut table: toml::Table = toml::from_str(&text)?;
        table.insert("seeds".into(), toml::Value::Integer(1));
        let set = table.entry("set").or_insert_with(|| toml::Table::new().into());
        set.as_table_mut().context("`set` is a table")?.insert("duration_s".into(), quick_s.into());
        text = toml::to_string(&table)?;
    }
    let scenario = |path: &Path| {
        let found = SCENARIOS.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| SweepError::Unreadable {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    };
    Sweep::parse(&text, Path::new(""), scenario)
        .map_err(with_hint)
        .with_context(|| format!("in {}", embedded.name))
}

/// Formats every drawn point as CSV.
fn csv_of(panels: &[(&Part, Panel)]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["panel", "line", "x_name", "x", "y_name", "y", "y_ci95"])?;
    for (part, panel) in panels {
        for curve in &panel.curves {
            for point in &curve.points {
                let (x, y) = (point.x.to_string(), point.y.to_string());
                let half = point.half.map(|half| half.to_string()).unwrap_or_default();
                writer.write_record([&panel.title, &curve.name, part.x.label, &x, part.label, &y, &half])?;
            }
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
