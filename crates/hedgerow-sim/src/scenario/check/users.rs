//! Checks of the users: classes, lengths, arrivals, and what the node knows.

use std::path::Path;
use std::sync::Arc;

use hedgerow_core::units::Tokens;
use hedgerow_workload::{Lengths, Process, RateBy, Replay};
use hedgerow_workload::{Trace, TraceFit};

use super::super::raw::{
    RawArrivals, RawClass, RawKnowledge, RawLengths, RawOutputLength, RawProcess, RawUsers,
};
use super::super::{Class, Knowledge, OutputKnowledge, Range, Scenario, ScenarioError, Users};
use super::Checked;
use super::values::{millis, missing, unused, value};
use crate::channel::ChannelKnowledge;

pub(super) fn users(raw: &RawUsers) -> Checked<Users> {
    Ok(Users {
        rate_per_s: raw.rate_per_s,
        prompts: lengths("users.prompt_tokens", &raw.prompt_tokens)?,
        outputs: lengths("users.output_tokens", &raw.output_tokens)?,
        length_correlation: raw.length_correlation,
        answer_part: range(raw.answer_part),
        deadline_s: raw.deadline_s.map(range),
        min_quality: range(raw.min_quality),
        value: raw.value.unwrap_or(1),
        payload_bytes: raw.payload_bytes.map(range),
        answer_bytes: raw.answer_bytes.map(range),
        patience_s: raw.patience_s.map(range),
    })
}

/// The classes, each with its part of the rate; keys missing in a class are taken from `[users]`.
pub(super) fn classes(raw: &[RawClass], users: &Users) -> Checked<Vec<Class>> {
    let mut classes: Vec<Class> = Vec::new();
    let all: f64 = raw.iter().map(|class| class.weight).sum();
    for raw in raw {
        if classes.iter().any(|class| class.name == raw.name) {
            return Err(value("class.name", &raw.name, "another name than that of every other class"));
        }
        let part = raw.weight / all;
        classes.push(Class { name: raw.name.clone(), part, users: class(raw, users, part)? });
    }
    Ok(classes)
}

fn class(raw: &RawClass, users: &Users, part: f64) -> Checked<Users> {
    let lengths_or = |key: &str, own: Option<&RawLengths>, of_users: &Lengths| {
        own.map_or(Ok(of_users.clone()), |own| lengths(&format!("class.{}.{key}", raw.name), own))
    };
    Ok(Users {
        rate_per_s: users.rate_per_s * part,
        prompts: lengths_or("prompt_tokens", raw.prompt_tokens.as_ref(), &users.prompts)?,
        outputs: lengths_or("output_tokens", raw.output_tokens.as_ref(), &users.outputs)?,
        length_correlation: raw.length_correlation.or(users.length_correlation),
        answer_part: raw.answer_part.map_or(users.answer_part, range),
        deadline_s: raw.deadline_s.map(range).or(users.deadline_s),
        min_quality: raw.min_quality.map_or(users.min_quality, range),
        value: raw.value.unwrap_or(users.value),
        payload_bytes: raw.payload_bytes.map(range).or(users.payload_bytes),
        answer_bytes: raw.answer_bytes.map(range).or(users.answer_bytes),
        patience_s: raw.patience_s.map(range).or(users.patience_s),
    })
}

fn range([least, most]: [f64; 2]) -> Range {
    Range { least, most }
}

fn lengths(key: &str, raw: &RawLengths) -> Checked<Lengths> {
    match raw {
        RawLengths::OneOf(lengths) if lengths.is_empty() || lengths.contains(&0) => {
            Err(value(key, format!("{lengths:?}"), "a list of one or more numbers of at least 1"))
        }
        RawLengths::OneOf(lengths) => Ok(Lengths::OneOf(lengths.iter().copied().map(Tokens).collect())),
        RawLengths::Uniform { least, most } => {
            if most < least {
                return Err(value(format!("{key}.most"), most, "no less than `least`"));
            }
            Ok(Lengths::Uniform { least: Tokens(*least), most: Tokens(*most) })
        }
        RawLengths::LogNormal { median, sigma, most } => {
            Ok(Lengths::LogNormal { median: *median, sigma: *sigma, most: Tokens(*most) })
        }
    }
}

pub(super) fn process(raw: Option<&RawArrivals>, folder: &Path) -> Checked<Process> {
    let Some(raw) = raw else { return Ok(Process::Poisson) };
    check_no_unused_keys(raw)?;
    let number = |key: &'static str, number: Option<f64>| {
        number.ok_or_else(|| missing(key, "the process in `arrivals.process` needs it"))
    };
    match raw.process {
        RawProcess::Poisson => Ok(Process::Poisson),
        RawProcess::Gamma => Ok(Process::Gamma { cv: number("arrivals.cv", raw.cv)? }),
        RawProcess::OnOff => Ok(Process::OnOff {
            on_s: number("arrivals.on_s", raw.on_s)?,
            off_s: number("arrivals.off_s", raw.off_s)?,
        }),
        RawProcess::Diurnal => Ok(Process::Diurnal {
            period_s: raw.period_s.unwrap_or(86_400.0),
            amplitude: number("arrivals.amplitude", raw.amplitude)?,
            peak_s: raw.peak_s.unwrap_or(0.0),
        }),
        RawProcess::Trace => replay(raw, folder).map(Process::Trace),
    }
}

fn replay(raw: &RawArrivals, folder: &Path) -> Checked<Replay> {
    let because = "the process `trace` plays a file";
    let named = raw.trace.as_ref().ok_or_else(|| missing("arrivals.trace", because))?;
    let trace = Trace::built_in(named).map_or_else(|| Trace::load(&folder.join(named)), Ok);
    let trace = trace.map_err(|source| ScenarioError::Trace { source })?;
    let start_s = raw.start_s.unwrap_or(0.0);
    if start_s > trace.length_s() {
        return Err(value("arrivals.start_s", start_s, "no later than the trace's end"));
    }
    Ok(Replay {
        trace: Arc::new(trace),
        start_s,
        rate_by: raw.rate_by.unwrap_or(RateBy::Thinning),
        fit: TraceFit {
            scale_prompt: raw.scale_prompt.unwrap_or(1.0),
            scale_output: raw.scale_output.unwrap_or(1.0),
            max_prompt: raw.max_prompt_tokens.unwrap_or(u32::MAX),
            max_output: raw.max_output_tokens.unwrap_or(u32::MAX),
        },
    })
}

/// Rejects keys of other processes, which would have no effect.
fn check_no_unused_keys(raw: &RawArrivals) -> Checked<()> {
    let of = |process: RawProcess, because: &'static str, keys: &[(&'static str, bool)]| {
        let given = keys.iter().find(|(_, is_given)| *is_given && raw.process != process);
        given.map_or(Ok(()), |(key, _)| Err(unused(*key, because)))
    };
    of(RawProcess::Gamma, "only the process `gamma` uses it", &[("arrivals.cv", raw.cv.is_some())])?;
    let on_off = [("arrivals.on_s", raw.on_s.is_some()), ("arrivals.off_s", raw.off_s.is_some())];
    of(RawProcess::OnOff, "only the process `on_off` uses it", &on_off)?;
    let diurnal = [
        ("arrivals.period_s", raw.period_s.is_some()),
        ("arrivals.amplitude", raw.amplitude.is_some()),
        ("arrivals.peak_s", raw.peak_s.is_some()),
    ];
    of(RawProcess::Diurnal, "only the process `diurnal` uses it", &diurnal)?;
    let trace = [
        ("arrivals.trace", raw.trace.is_some()),
        ("arrivals.start_s", raw.start_s.is_some()),
        ("arrivals.rate_by", raw.rate_by.is_some()),
        ("arrivals.scale_prompt", raw.scale_prompt.is_some()),
        ("arrivals.scale_output", raw.scale_output.is_some()),
        ("arrivals.max_prompt_tokens", raw.max_prompt_tokens.is_some()),
        ("arrivals.max_output_tokens", raw.max_output_tokens.is_some()),
    ];
    of(RawProcess::Trace, "only the process `trace` uses it", &trace)
}

/// Checks that a thinned trace has at least the configured rate.
pub(in crate::scenario) fn check_trace_rate(scenario: &Scenario) -> Checked<()> {
    let Process::Trace(Replay { trace, rate_by: RateBy::Thinning, .. }) = &scenario.process else {
        return Ok(());
    };
    let asked = scenario.users.rate_per_s;
    if asked > trace.rate_per_s() {
        return Err(ScenarioError::TraceTooSlow { asked_per_s: asked, trace_per_s: trace.rate_per_s() });
    }
    Ok(())
}

pub(super) fn knowledge(raw: Option<&RawKnowledge>) -> Checked<Knowledge> {
    let Some(raw) = raw else { return Ok(Knowledge::default()) };
    let is_hint = raw.output_length == Some(RawOutputLength::Hint);
    for (key, is_given) in [
        ("knowledge.hint_factor", raw.hint_factor.is_some()),
        ("knowledge.hint_sigma", raw.hint_sigma.is_some()),
    ] {
        if is_given && !is_hint {
            return Err(unused(key, "only `knowledge.output_length` = \"hint\" uses it"));
        }
    }
    Ok(Knowledge {
        output: match raw.output_length {
            None | Some(RawOutputLength::Limit) => OutputKnowledge::Limit,
            Some(RawOutputLength::Oracle) => OutputKnowledge::Oracle,
            Some(RawOutputLength::Hint) => OutputKnowledge::Hint {
                factor: raw.hint_factor.unwrap_or(1.0),
                sigma: raw.hint_sigma.unwrap_or(0.0),
            },
        },
        engine_factor: raw.engine_factor.unwrap_or(1.0),
        channel: ChannelKnowledge {
            error_db: raw.channel_error_db.unwrap_or(0.0),
            delay: millis(raw.channel_delay_ms.unwrap_or(0.0)),
        },
    })
}
