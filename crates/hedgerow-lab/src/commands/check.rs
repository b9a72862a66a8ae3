//! `hedgerow check`: verifies an answer to an instance from the definition (`model.md §2`), whatever solver gave it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hedgerow_node::console::Console;
use hedgerow_node::errors;
use hedgerow_solver::check::{CheckError, check};
use hedgerow_solver::{Instance, Item, Limit};
use hedgerow_workload::hint::hinted;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::solve::{is_stdin, read, shown};
use crate::instance_file::{InstanceFile, Object, place_and_mistake};

const HINT: &str = "an answer is what `hedgerow solve --json` prints; docs/design/model.md §2 describes it";

/// What `hedgerow check` takes.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// A file of the format hedgerow-instance/1; `-` is standard input
    #[arg(value_name = "INSTANCE")]
    instance: PathBuf,

    /// One or several answers to it, as `hedgerow solve --json` prints them; `-` is standard input
    #[arg(value_name = "ANSWER")]
    answers: PathBuf,

    /// Print one JSON object a line for each answer
    #[arg(long)]
    json: bool,
}

/// An answer as its file has it; any solver may have written it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    name: Option<String>,
    solver: String,
    status: Status,
    #[serde(deserialize_with = "whole")]
    value: u128,
    #[serde(deserialize_with = "whole")]
    bound: u128,
    chosen: Vec<String>,
    #[serde(rename = "nodes", deserialize_with = "whole")]
    _nodes: u128,
    #[serde(rename = "seconds", deserialize_with = "seconds")]
    _seconds: Duration,
    #[serde(rename = "binding")]
    _binding: Binding,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Optimal,
    Feasible,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Binding {
    Uplink,
    Downlink,
    Memory,
    Compute,
    Deadline,
    None,
}

/// Reads a sum, which may exceed the instance's number type, exactly as an integer.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    u128::deserialize(deserializer).map_err(|_| D::Error::custom("this is not a non-negative integer"))
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| D::Error::custom(format!("{seconds} is not a number of seconds, 0 or more")))
}

/// An error in an answer: the field, its value and the correct value.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("name: the answer is to `{answer}`, the instance is `{instance}`")]
    Name { answer: String, instance: String },
    #[error("chosen[{place}]: the instance has no request `{id}`")]
    NoSuchRequest { place: usize, id: String },
    #[error("chosen[{place}]: request `{id}` is also chosen[{first}]")]
    Twice { place: usize, first: usize, id: String },
    #[error("chosen: {mistake}")]
    OverLimit { mistake: CheckError, hint: String },
    #[error("value: {claimed} is not {value}, the value of the chosen requests")]
    Value { claimed: u128, value: u128 },
    #[error("bound: {bound} is below {value}, the value of the chosen requests")]
    Bound { bound: u128, value: u128 },
    #[error("status: `optimal` with a value of {value} and a bound of {bound} is not proven")]
    Unproven { value: u128, bound: u128 },
    #[error("bound: {bound} is below {value}, the value of the batch of answer {better} ({solver})")]
    Contradicted { bound: u128, value: u128, better: usize, solver: String },
}

impl Wrong {
    fn hint(&self) -> String {
        match self {
            Self::Name { .. } => "give the instance that was solved; a name may also be left out".to_owned(),
            Self::NoSuchRequest { .. } => {
                "each chosen id is one of the instance's `requests[].id`".to_owned()
            }
            Self::Twice { .. } => "a request is served once or not at all; name it once".to_owned(),
            Self::OverLimit { hint, .. } => hint.clone(),
            Self::Value { .. } => {
                "the value is the sum of the chosen requests' values, each 1 where none is given".to_owned()
            }
            Self::Bound { .. } => "no batch has a higher value than the bound, this one included".to_owned(),
            Self::Unproven { .. } => "an answer whose bound is above its value is `feasible`".to_owned(),
            Self::Contradicted { .. } => {
                "that batch keeps every limit, so this answer's solver gave a bound that is not one"
                    .to_owned()
            }
        }
    }
}

/// One answer's verdict, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    solver: &'a str,
    ok: bool,
    status: Status,
    value: u128,
    bound: u128,
    chosen: usize,
    requests: usize,
    /// What the chosen requests use of each limit; empty for a wrong answer.
    uses: Vec<Use>,
    /// The error, if the answer is wrong.
    wrong: Option<String>,
}

/// How much of a limit is used.
#[derive(Debug, Serialize)]
struct Use {
    limit: &'static str,
    used: u128,
    allowed: u64,
}

/// Checks each answer alone, then all of them against each other.
///
/// # Errors
///
/// When a file cannot be read or is not of its format. A wrong answer ends the program here, with its own
/// exit code.
pub fn run(args: &CheckArgs, console: &mut Console<'_>) -> anyhow::Result<bool> {
    if is_stdin(&args.instance) && is_stdin(&args.answers) {
        return Err(hinted(
            "standard input cannot be both the instance and the answer",
            "give one of them as a file",
        ));
    }
    let in_instance = || shown(&args.instance);
    let file = InstanceFile::parse(&read(&args.instance)?).with_context(in_instance)?;
    let claims = parse(&read(&args.answers)?).with_context(|| shown(&args.answers))?;
    let verdicts = judge(&file, &claims);
    let wrong_count = verdicts.iter().filter(|verdict| verdict.is_err()).count();
    for (index, (claim, verdict)) in claims.iter().zip(verdicts).enumerate() {
        report(&file.instance, claim, verdict.as_ref().map(Vec::as_slice), args.json, console)?;
        if let Err(wrong) = verdict {
            let place = shown(&args.answers) + &of_many(index, claims.len());
            console.note(errors::describe(&hinted(format!("{place}: {wrong}"), wrong.hint())));
        }
    }
    Ok(wrong_count == 0)
}

/// Reads one answer or several, one after the other.
fn parse(json: &[u8]) -> anyhow::Result<Vec<Claim>> {
    let mut input = serde_json::Deserializer::from_slice(json);
    let mut claims = Vec::new();
    // The end is tested last, so that an empty file gives the same error as a truncated one.
    while claims.is_empty() || input.end().is_err() {
        let place = if claims.is_empty() { String::new() } else { format!("answer {}: ", claims.len() + 1) };
        let Object(claim): Object<Claim> = serde_path_to_error::deserialize(&mut input).map_err(|error| {
            let mistake = place_and_mistake(&error.path().to_string(), error.inner());
            hinted(format!("{place}{mistake}"), HINT)
        })?;
        claims.push(claim);
    }
    Ok(claims)
}

/// Returns for each answer the indices of its requests, or its error.
fn judge(file: &InstanceFile, claims: &[Claim]) -> Vec<Result<Vec<usize>, Wrong>> {
    let mut verdicts: Vec<_> = claims.iter().map(|claim| judge_alone(file, claim)).collect();
    let sound = (0..claims.len()).filter(|&index| verdicts[index].is_ok());
    // The best valid batch contradicts every lower bound. This also catches two answers that both claim to be
    // optimal and differ in value.
    if let Some(best) = sound.max_by_key(|&index| claims[index].value) {
        let Claim { value, solver, .. } = &claims[best];
        for (claim, verdict) in claims.iter().zip(&mut verdicts) {
            if verdict.is_ok() && claim.bound < *value {
                let (bound, value, better, solver) = (claim.bound, *value, best + 1, solver.clone());
                *verdict = Err(Wrong::Contradicted { bound, value, better, solver });
            }
        }
    }
    verdicts
}

/// Checks one answer against the definition.
fn judge_alone(file: &InstanceFile, claim: &Claim) -> Result<Vec<usize>, Wrong> {
    if let (Some(answer), Some(instance)) = (&claim.name, &file.name)
        && answer != instance
    {
        return Err(Wrong::Name { answer: answer.clone(), instance: instance.clone() });
    }
    let chosen = indices(file, &claim.chosen)?;
    let value = check(&file.instance, &chosen)
        .map_err(|mistake| Wrong::OverLimit { hint: limit_hint(file, &chosen, &mistake), mistake })?;
    let bound = claim.bound;
    if claim.value != value {
        return Err(Wrong::Value { claimed: claim.value, value });
    }
    if bound < value {
        return Err(Wrong::Bound { bound, value });
    }
    if claim.status == Status::Optimal && bound != value {
        return Err(Wrong::Unproven { value, bound });
    }
    Ok(chosen)
}

/// Returns the indices of the requests that the ids name.
fn indices(file: &InstanceFile, chosen: &[String]) -> Result<Vec<usize>, Wrong> {
    let known: BTreeMap<&String, usize> = file.ids.iter().zip(0..).collect();
    let mut seen = BTreeMap::new();
    let index_of = |(place, id): (usize, &String)| {
        let index = *known.get(id).ok_or_else(|| Wrong::NoSuchRequest { place, id: id.clone() })?;
        match seen.insert(index, place) {
            None => Ok(index),
            Some(first) => Err(Wrong::Twice { place, first, id: id.clone() }),
        }
    };
    chosen.iter().enumerate().map(index_of).collect()
}

/// The hint for a violated limit: what it requires.
fn limit_hint(file: &InstanceFile, chosen: &[usize], mistake: &CheckError) -> String {
    let within = |need: &str| {
        format!("the chosen requests' `{need}` must add up to at most the instance's `capacity.{need}`")
    };
    match mistake {
        CheckError::OverLimit { limit: Limit::Uplink, .. } => within("uplink"),
        CheckError::OverLimit { limit: Limit::Downlink, .. } => within("downlink"),
        CheckError::OverLimit { limit: Limit::Memory, .. } => within("memory"),
        CheckError::OverLimit { limit: Limit::Compute, .. } => within("compute_us"),
        CheckError::OverLimit { limit: Limit::Deadline, used, .. } => {
            let items = &file.instance.items;
            let late = chosen.iter().find(|&&index| u128::from(items[index].slack_us) < *used);
            let id = late.map_or("", |&index| &file.ids[index]);
            format!(
                "all finish together, so the chosen requests' `compute_us` must add up to at most each one's `slack_us`, also that of `{id}`"
            )
        }
        CheckError::NoSuchItem { .. } | CheckError::Twice { .. } => HINT.to_owned(),
    }
}

/// Sums what the chosen requests use of each limit.
fn uses(instance: &Instance, chosen: &[usize]) -> Vec<Use> {
    let items = || chosen.iter().map(|&index| &instance.items[index]);
    let used = |limit: Limit, need: fn(&Item) -> u64, allowed| Use {
        limit: limit.name(),
        used: items().map(|item| u128::from(need(item))).sum(),
        allowed,
    };
    let capacity = &instance.capacity;
    let mut uses = vec![
        used(Limit::Uplink, |item| item.uplink, capacity.uplink),
        used(Limit::Downlink, |item| item.downlink, capacity.downlink),
        used(Limit::Memory, |item| item.memory, capacity.memory),
        used(Limit::Compute, |item| item.compute_us, capacity.compute_us),
    ];
    let tightest_us = items().map(|item| item.slack_us).min();
    uses.extend(tightest_us.map(|slack_us| used(Limit::Deadline, |item| item.compute_us, slack_us)));
    uses
}

fn report(
    instance: &Instance,
    claim: &Claim,
    verdict: Result<&[usize], &Wrong>,
    json: bool,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let verdict = Verdict {
        solver: &claim.solver,
        ok: verdict.is_ok(),
        status: claim.status,
        value: claim.value,
        bound: claim.bound,
        chosen: claim.chosen.len(),
        requests: instance.items.len(),
        uses: verdict.map_or_else(|_| Vec::new(), |chosen| uses(instance, chosen)),
        wrong: verdict.err().map(Wrong::to_string),
    };
    let text = if json { serde_json::to_string(&verdict)? + "\n" } else { as_line(&verdict) };
    console.print(text)
}

/// The line for a correct answer; empty for a wrong one, which is reported on standard error.
fn as_line(verdict: &Verdict<'_>) -> String {
    let Verdict { solver, ok, status, value, bound, chosen, requests, uses, .. } = verdict;
    if !ok {
        return String::new();
    }
    let status = match status {
        Status::Optimal => "optimal",
        Status::Feasible => "feasible",
    };
    // Rounded down, so that 100 % means exactly full.
    let percent = |one: &Use| one.used.saturating_mul(100).checked_div(u128::from(one.allowed)).unwrap_or(0);
    let parts: Vec<String> = uses.iter().map(|one| format!("{} {} %", one.limit, percent(one))).collect();
    let parts = parts.join(", ");
    format!(
        "ok: {solver}, {status}, value {value}, bound {bound}, {chosen} of {requests} requests, uses {parts}\n"
    )
}

fn of_many(index: usize, count: usize) -> String {
    if count == 1 { String::new() } else { format!(": answer {}", index + 1) }
}
