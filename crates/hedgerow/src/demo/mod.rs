//! The demo: one load, offered twice over real HTTP to a real server, once under first come, first served
//! and once under the deadline-aware policy.

mod client;
mod load;
pub(crate) mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_core::scheduler::Policy;
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Config;
use crate::profile::Profiler;
use crate::serve::Speed;
use crate::server::{LoadedModel, Server};

pub(crate) use load::{Arrival, Class, Load};
pub(crate) use table::{Heard, Row, Run};

/// What the demo is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How long requests arrive.
    pub(crate) duration: Duration,
    /// Offered load over what the machine can carry.
    pub(crate) overload: f64,
    /// Seed of the arrivals.
    pub(crate) seed: u64,
    /// The policies to compare, one run each.
    pub(crate) policies: Vec<Policy>,
}

/// Runs the demo on a loaded model and gives one run for each policy.
///
/// # Errors
///
/// When a server cannot start or be reached.
pub(crate) async fn run(loaded: &LoadedModel, config: &Config, plan: &Plan) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut measured: Option<(MeasuredCost, Load)> = None;
    for &policy in &plan.policies {
        // Looked at once, so that both policies plan with the same numbers.
        let speed = match &measured {
            None => Speed::Profile(Box::new(Profiler::new(loaded, config)?)),
            Some((cost, _)) => Speed::Known(Box::new(cost.clone())),
        };
        let server = start(loaded, config, policy, speed).await?;
        let (_, load) = measured.get_or_insert_with(|| {
            let node = server.app().node().expect("the server is ready");
            let load = Load::draw(node.cost(), node.limits(), plan);
            eprintln!(
                "measured: this machine carries about {:.1} of these requests a second; offering {:.1} a second for {} s",
                load.capacity_per_s,
                load.rate_per_s,
                plan.duration.as_secs()
            );
            (node.cost().clone(), load)
        });
        runs.push(offer(&server, load, policy).await?);
        server.shut_down().await?;
    }
    Ok(runs)
}

async fn start(
    loaded: &LoadedModel,
    config: &Config,
    policy: Policy,
    speed: Speed,
) -> anyhow::Result<Server> {
    let mut config = config.clone();
    config.settings.policy = policy;
    config.server.port = 0;
    let server = Server::listen(config).await?;
    let (model, name) = (Arc::clone(&loaded.model), loaded.name.clone());
    tokio::task::spawn_blocking(move || server.serve(&model, &name, speed, None).map(|()| server)).await?
}

/// Sends every request at its own time, whatever became of those before it (open loop).
async fn offer(server: &Server, load: &Load, policy: Policy) -> anyhow::Result<Run> {
    let bar = progress_bar(load.arrivals.len() as u64, policy);
    let client = client::Client::new(server.address());
    let start = tokio::time::Instant::now();
    let mut underway = tokio::task::JoinSet::new();
    for (index, arrival) in load.arrivals.iter().enumerate() {
        tokio::time::sleep_until(start + arrival.at).await;
        let (client, arrival, bar) = (client.clone(), arrival.clone(), bar.clone());
        underway.spawn(async move {
            let heard = client.ask(index, &arrival).await;
            bar.inc(1);
            (index, heard)
        });
    }
    let mut rows = Vec::new();
    while let Some(finished) = underway.join_next().await {
        let (index, heard) = finished.context("waiting for an answer")?;
        rows.push((
            index,
            Row { arrival: load.arrivals[index].clone(), heard: heard.context("asking the server")? },
        ));
    }
    bar.finish_and_clear();
    rows.sort_by_key(|row| row.0);
    Ok(Run { policy, rows: rows.into_iter().map(|row| row.1).collect() })
}

fn progress_bar(length: u64, policy: Policy) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix:>8} [{bar:40}] {pos}/{len} answered or turned away, {elapsed}")
            .expect("the template is ours");
    ProgressBar::new(length).with_style(style).with_prefix(policy.to_string())
}
