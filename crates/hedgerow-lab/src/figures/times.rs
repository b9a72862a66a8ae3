//! The solvers' times on this machine, separate from the figures because they are not reproducible.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use hedgerow_sim::generators::{self, Family};
use hedgerow_solver::{Budget, Policy, solve};

use super::curves::{Curve, Panel, Point};
use super::{Axis, Embedded, End, Lines, Measure, Part, draw};

/// The sizes of instances, in requests; brute force over more would take minutes.
const SIZES: [usize; 6] = [4, 8, 12, 16, 18, 20];
const INSTANCES: u64 = 5;

const PART: Part = Part {
    sweep: &Embedded { name: "", text: "" },
    x: Axis { column: "requests", end: End::Upper, label: "requests", is_log: false },
    panel: None,
    lines: Lines::By("policy"),
    y: Measure::Column("ms"),
    label: "ms for an instance, mean",
    is_log_y: true,
    is_claimed: false,
};

/// Times brute force, `dftsp` and `exact` on instances of the generator `paper`, and writes `d-search-time` as SVG,
/// PNG and CSV.
///
/// # Errors
///
/// When a file cannot be written.
pub(crate) fn times(out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let curve = |policy: Policy| {
        let point = |&requests: &usize| {
            let mut spent_ms = 0.0;
            for seed in 0..INSTANCES {
                let instance = generators::draw(Family::Paper, requests, seed);
                let begun = Instant::now();
                solve(&instance, policy, &mut Budget::nodes(u64::MAX)).ok()?;
                spent_ms += begun.elapsed().as_secs_f64() * 1e3;
            }
            Some(Point { x: requests as f64, y: spent_ms / INSTANCES as f64, half: None })
        };
        Curve { name: policy.to_string(), points: SIZES.iter().filter_map(point).collect() }
    };
    let curves: Vec<Curve> = [Policy::BruteForce, Policy::Dftsp, Policy::Exact].map(curve).into();
    let mut csv = String::from("solver,requests,ms_mean\n");
    for curve in &curves {
        for point in &curve.points {
            csv.push_str(&format!("{},{},{}\n", curve.name, point.x, point.y));
        }
    }
    let drawn = draw::draw("d-search-time", &[(&PART, Panel { title: PART.label.to_owned(), curves })])?;
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let files = [("svg", drawn.svg.into_bytes()), ("png", drawn.png), ("csv", csv.into_bytes())];
    files
        .into_iter()
        .map(|(ending, bytes)| {
            let path = out.join("d-search-time").with_extension(ending);
            std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        })
        .collect()
}
