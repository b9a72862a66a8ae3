//! Checks quickly whether a machine's speed still agrees with its profile.

use hedgerow_core::engine::cost::MeasuredCost;
use hedgerow_core::engine::{Emission, Engine, EngineError, GenerationTask, PrefillChunk, Step};
use hedgerow_core::request::RequestId;
use hedgerow_core::time::Span;
use hedgerow_core::units::Tokens;

use super::Probe;

/// Time limit for the chunk, and for the decode steps, by the profile's predictions.
const CHUNK_MAX: Span = Span::from_millis(200);
const DECODES_MAX: Span = Span::from_millis(100);
/// Maximum number of decode steps.
const STEPS_MAX: u64 = 8;
/// A ratio of measured to predicted time from this factor on causes a warning.
const WORTH_A_WARNING: f64 = 1.5;
/// A profile whose times are too long by this factor is wrong.
const WRONG: f64 = 3.0;

/// Result of comparing a machine's current speed with its profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The speed agrees with the profile.
    Fits,
    /// Steps take this many times as long. The machine may only be busy, so the profile stays: a measurement now
    /// would record the load of other work permanently.
    Slower(f64),
    /// Steps are faster by this factor, by more than chance. A machine cannot become faster than it is, so the
    /// profile was measured while it was busy.
    Faster(f64),
    /// Faster by so large a factor that the profile has to be measured again.
    Wrong(f64),
}

/// Runs one chunk and a few decode steps of one request, with an engine that has no open requests, and closes the
/// request. By the profile this takes less than half a second, warm-up included, unless a single token takes longer.
///
/// # Errors
///
/// When the engine fails.
pub(super) fn check(
    engine: &mut dyn Engine,
    probe: &Probe,
    cost: &MeasuredCost,
) -> Result<Verdict, EngineError> {
    let context = engine.limits().context.0;
    if context < 4 {
        // The context has no room for a warm-up token, one to measure, and two output tokens.
        return Ok(Verdict::Fits);
    }
    let sizes = cost.prefill.lines().iter().map(|line| line.count).rev();
    let fits = |size: &u32| *size + 4 <= context && cost.prefill.at(*size, 1) <= CHUNK_MAX;
    let chunk = sizes.into_iter().find(fits).unwrap_or(1);
    let decode = cost.decode.at(1, u64::from(chunk) + 1);
    let steps = (DECODES_MAX.0 / decode.0.max(1)).clamp(1, STEPS_MAX) as u32;
    let steps = steps.min(context.saturating_sub(chunk + 2)).max(1);
    let id = RequestId(0);
    let work = GenerationTask {
        prompt_tokens: probe.text.iter().copied().cycle().take(chunk as usize + 1).collect(),
        max_output: Tokens(steps + 1),
        sampling: probe.sampling,
        stop: Vec::new(),
        ignore_eos: true,
        cache_prompt: false,
    };
    engine.open(id, work)?;
    let prefill = |tokens| Step {
        prefill: vec![PrefillChunk { request: id, tokens: Tokens(tokens) }],
        ..Step::default()
    };
    let mut run = |step: &Step| Ok(engine.step(step, &mut |_: Emission<'_>| {})?.elapsed);
    // The first step reads the weights from the disk.
    run(&prefill(1))?;
    let chunk_ratio = ratio(run(&prefill(chunk))?, cost.prefill.at(chunk, 1));
    let mut times = Vec::new();
    for _ in 0..steps {
        times.push(run(&Step { decode: vec![id], ..Step::default() })?);
    }
    engine.close(id);
    times.sort_unstable();
    Ok(verdict(chunk_ratio, ratio(times[times.len() / 2], decode)))
}

fn ratio(taken: Span, predicted: Span) -> f64 {
    taken.as_seconds() / predicted.as_seconds().max(1e-9)
}

/// Combines the two ratios of measured to predicted time: wrong if either is far too fast, else slower if either is
/// slow.
fn verdict(chunk: f64, decode: f64) -> Verdict {
    let (slowest, fastest) = (chunk.max(decode), 1.0 / chunk.min(decode));
    match () {
        () if fastest > WRONG => Verdict::Wrong(fastest),
        () if slowest > WORTH_A_WARNING => Verdict::Slower(slowest),
        () if fastest > WORTH_A_WARNING => Verdict::Faster(fastest),
        () => Verdict::Fits,
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::engine::cost::Surface;
    use hedgerow_core::engine::{EngineLimits, Sampling, ScriptedEngine, TokenId};

    use super::*;

    fn verdict_on(step: Span, context: u32) -> Verdict {
        let limits = EngineLimits { parallel: 2, context: Tokens(context), kv: Tokens(2 * context) };
        let mut engine = ScriptedEngine::new(limits, step);
        let level = Surface::level(&[(1, Span::from_millis(10)), (64, Span::from_millis(10))]);
        let cost = MeasuredCost { prefill: level.clone(), decode: level, mixed_ns: 0 };
        let probe = Probe { text: vec![TokenId(0)], sampling: Sampling::GREEDY, prefill_chunk: Tokens(128) };
        let verdict = check(&mut engine, &probe, &cost).unwrap();
        assert_eq!(engine.kv_used(), Tokens::ZERO, "it leaves nothing open");
        verdict
    }

    #[test]
    fn a_machine_as_fast_as_its_profile_fits() {
        for context in [3, 8, 2048] {
            assert_eq!(verdict_on(Span::from_millis(10), context), Verdict::Fits, "context {context}");
        }
        assert_eq!(verdict_on(Span::from_millis(14), 2048), Verdict::Fits);
        assert_eq!(verdict_on(Span::from_millis(7), 2048), Verdict::Fits);
    }

    #[test]
    fn slower_is_told_and_much_faster_is_wrong() {
        assert_eq!(verdict_on(Span::from_millis(20), 2048), Verdict::Slower(2.0));
        assert_eq!(verdict_on(Span::from_millis(100), 2048), Verdict::Slower(10.0));
        assert_eq!(verdict_on(Span::from_millis(5), 2048), Verdict::Faster(2.0));
        assert_eq!(verdict_on(Span::from_millis(2), 2048), Verdict::Wrong(5.0));
    }

    #[test]
    fn one_slow_part_is_enough_to_be_slower() {
        assert_eq!(verdict(1.0, 1.6), Verdict::Slower(1.6));
        assert_eq!(verdict(1.6, 1.0), Verdict::Slower(1.6));
        assert_eq!(verdict(0.5, 1.6), Verdict::Slower(1.6));
        assert_eq!(verdict(1.0, 0.2), Verdict::Wrong(5.0));
    }
}
