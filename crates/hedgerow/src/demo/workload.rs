//! The demo's workload: three request classes, at a multiple of the machine's capacity.

use std::time::Duration;

use hedgerow_core::engine::EngineLimits;
use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_loadgen::{Arrivals, Class, Pattern, Request, Seeds};

use super::Plan;

/// The classes of a voice assistant, an interactive chat, and a report.
pub(crate) fn classes() -> Vec<Class> {
    [("urgent", 0.4, 24, 16, 2), ("middling", 0.4, 60, 48, 8), ("patient", 0.2, 160, 128, 30)]
        .map(|(name, part, prompt_tokens, output_tokens, deadline_s)| Class {
            name: name.to_owned(),
            part,
            prompt_tokens: prompt_tokens..=prompt_tokens,
            output_tokens: output_tokens..=output_tokens,
            deadline: Some(Duration::from_secs(deadline_s)),
            min_quality: None,
            value: 1.0,
        })
        .to_vec()
}

/// All requests of the demo, and their rate.
#[derive(Clone, Debug)]
pub(crate) struct DemoWorkload {
    /// The machine's capacity in requests per second, by its measured step times.
    pub(crate) capacity_per_s: f64,
    /// The offered rate, in requests per second.
    pub(crate) rate_per_s: f64,
    pub(crate) requests: Vec<Request>,
}

/// The tokens of a prompt besides its words: the chat template's own.
const TOKENS_AROUND: u32 = 36;

impl DemoWorkload {
    /// Draws Poisson arrivals at `plan.overload` times the machine's capacity.
    ///
    /// # Errors
    ///
    /// Never: only drawing from a trace can fail.
    pub(crate) fn draw(cost: &MeasuredCost, limits: EngineLimits, plan: &Plan) -> anyhow::Result<Self> {
        let classes = classes();
        let work_s: f64 = classes.iter().map(|class| class.part * work_s(class, cost, limits.parallel)).sum();
        let capacity_per_s = 1.0 / work_s;
        let rate_per_s = capacity_per_s * plan.overload;
        let arrivals = Arrivals::Gamma { shape: 1.0 };
        let pattern = Pattern { arrivals, classes, shared_prefix: 0, has_deadlines: true };
        // Each policy has a server of its own, whose caches are empty.
        let seeds = Seeds { load: plan.seed, words: plan.seed };
        let requests = pattern.open_loop(rate_per_s, plan.duration, seeds)?;
        Ok(Self { capacity_per_s, rate_per_s, requests })
    }
}

/// Returns a request's share of the machine's time when the batch is full, in seconds.
fn work_s(class: &Class, cost: &MeasuredCost, parallel: u32) -> f64 {
    let prompt = class.prompt_tokens.end() + TOKENS_AROUND;
    let output = *class.output_tokens.end();
    // On average half of the output has been generated.
    let held = u64::from(parallel) * u64::from(prompt + output / 2);
    let step = cost.decode.at(parallel, held).as_seconds() / f64::from(parallel);
    cost.prefill.at(prompt, 0).as_seconds() + f64::from(output) * step
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::cost::Surface;
    use hedgerow_core::time::Span;
    use hedgerow_core::units::Tokens;
    use hedgerow_solver::Policy;

    use super::*;

    fn draw(seed: u64) -> DemoWorkload {
        let cost = MeasuredCost {
            prefill: Surface::level(&[(100, Span::from_millis(100))]),
            decode: Surface::level(&[(16, Span::from_millis(16))]),
            mixed_ns: 0,
        };
        let limits = EngineLimits { parallel: 16, context: Tokens(2048), kv: Tokens(32768) };
        let plan =
            Plan { duration: Duration::from_secs(100), overload: 1.5, seed, policies: vec![Policy::Fifo] };
        DemoWorkload::draw(&cost, limits, &plan).unwrap()
    }

    #[test]
    fn the_same_seed_draws_the_same_workload_at_the_requested_rate() {
        let load = draw(1);
        assert_eq!(load.requests, draw(1).requests);
        assert_ne!(load.requests, draw(2).requests);
        // Work a request: 0.4·(60 + 16) + 0.4·(96 + 48) + 0.2·(196 + 128) = 152.8 ms.
        assert!((load.capacity_per_s - 1.0 / 0.1528).abs() < 1e-9);
        let expected = 100.0 * load.rate_per_s;
        assert!((load.requests.len() as f64 - expected).abs() < 4.0 * expected.sqrt());
    }

    #[test]
    fn the_parts_of_the_classes_add_up() {
        assert!((classes().iter().map(|class| class.part).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
