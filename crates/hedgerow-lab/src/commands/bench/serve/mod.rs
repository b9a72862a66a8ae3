//! `hedgerow bench serve`: measures how many requests a server answers by their deadlines.
//!
//! A workload is drawn from a seed and offered to a server over HTTP; a second server is given the same one.
//! All times are measured by the client's clock, so that they mean the same for every server.

mod args;
mod cells;
mod files;
mod lines;
mod plot;
mod vllm;

use hedgerow_loadgen::BUILT_IN_CLASSES;
use hedgerow_node::console::Console;
use hedgerow_node::node;

use self::files::Results;
use self::lines::{Group, Line};

pub(super) use self::args::ServeArgs;

/// Offers every workload, and reports.
///
/// # Errors
///
/// When a flag or file is wrong, a server cannot be reached or measured, or a file cannot be written.
pub(super) fn run(args: &ServeArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    if args.print_classes {
        return console.print_line(BUILT_IN_CLASSES.trim_end());
    }
    let pattern = args.pattern()?;
    files::make_folders(args)?;
    // One thread with a high priority: remote clients would not compete for this machine's cores.
    node::run_before_the_engine();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (servers, measured) = runtime.block_on(async {
        let servers = cells::find_servers(args, console.notes).await?;
        let measured = cells::measure(&servers, &args.cells(), &pattern, args.pause, console.notes).await?;
        anyhow::Ok((servers, measured))
    })?;
    let groups = Group::all(&servers, &pattern.classes, &measured);
    let lines: Vec<Line> = groups.iter().map(|group| Line::of(&servers, group)).collect();
    let results =
        Results { servers: &servers, pattern: &pattern, measured: &measured, groups: &groups, lines: &lines };
    files::write_all(args, &results, console)?;
    let mut text = lines::table(&lines);
    for ratio in lines::ratios(&servers, &groups) {
        text += &format!("\n{ratio}");
    }
    console.print_line(text)
}
