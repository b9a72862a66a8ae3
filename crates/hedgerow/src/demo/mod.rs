//! The demo: one workload, offered over HTTP to a real server once under each policy, by default under first come,
//! first served and under the deadline-aware policy.

pub(crate) mod table;
mod workload;

use std::time::Duration;

use anyhow::bail;
use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_loadgen::{Client, Offer, Patience, failures};
use hedgerow_node::config::{BatchFolder, Config};
use hedgerow_node::console::Notes;
use hedgerow_node::loading::LoadedModel;
use hedgerow_node::node::{Speed, Variant};
use hedgerow_node::profile::Profiler;
use hedgerow_server::Server;
use hedgerow_solver::Policy;
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use table::Run;
pub(crate) use workload::{DemoWorkload, classes};

/// The parameters of the demo.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How long requests arrive, under each policy.
    pub(crate) duration: Duration,
    /// Offered load divided by the machine's capacity.
    pub(crate) overload: f64,
    /// Seed of the arrivals.
    pub(crate) seed: u64,
    /// The policies to compare, one run each.
    pub(crate) policies: Vec<Policy>,
}

/// Runs the demo on a loaded model and returns one run for each policy.
///
/// # Errors
///
/// When a server cannot start or be reached.
pub(crate) async fn run(
    loaded: &LoadedModel,
    config: &Config,
    plan: &Plan,
    notes: Notes<'_>,
) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut measured: Option<(MeasuredCost, DemoWorkload)> = None;
    for &policy in &plan.policies {
        // Measured once, so that all policies plan with the same numbers.
        let speed = match &measured {
            None => Speed::Profile(Box::new(Profiler::new(loaded, config)?)),
            Some((cost, _)) => Speed::Known(Box::new(cost.clone())),
        };
        let server = start(loaded, config, policy, speed).await?;
        if measured.is_none() {
            let node = server.app().node().expect("the server is ready");
            let load = DemoWorkload::draw(node.cost(), node.limits(), plan)?;
            notes(&format!(
                "measured: this machine carries about {:.1} of these requests a second; offering {:.1} a second for {} s",
                load.capacity_per_s,
                load.rate_per_s,
                plan.duration.as_secs()
            ));
            measured = Some((node.cost().clone(), load));
        }
        if let Some((_, load)) = &measured {
            runs.push(offer(&server, load, plan, policy).await?);
        }
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
    config.batch.folder = BatchFolder::None;
    let server = Server::listen(config.clone()).await?;
    let name = loaded.name.clone();
    let variants = vec![Variant::of(loaded.clone(), speed, config.model.quality)];
    tokio::task::spawn_blocking(move || server.serve(variants, &name, None).map(|()| server)).await?
}

/// How long to wait for answers: longer than any of the demo's clients needs.
const DRAIN: Duration = Duration::from_secs(3600);

/// Offers the workload; its clients wait for their answers, however late.
async fn offer(server: &Server, load: &DemoWorkload, plan: &Plan, policy: Policy) -> anyhow::Result<Run> {
    let bar = progress_bar(load.requests.len() as u64, policy);
    let offer = Offer { patience: Patience::Wait, duration: plan.duration, drain: DRAIN };
    let client = Client::of(server.address());
    let run = offer.open_loop(&client, &load.requests, |_| bar.inc(1)).await?;
    bar.finish_and_clear();
    if let Some((why, count)) = failures(&run.records).first() {
        bail!("asking the server: {why} ({count} times)");
    }
    Ok(Run { policy, records: run.records })
}

fn progress_bar(length: u64, policy: Policy) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix:>8} [{bar:40}] {pos}/{len} answered or turned away, {elapsed}")
            .expect("the template is ours");
    ProgressBar::new(length).with_style(style).with_prefix(policy.to_string())
}
