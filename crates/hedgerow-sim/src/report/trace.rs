//! A timeline of a run in the Trace Event Format, for Perfetto (ui.perfetto.dev) and `chrome://tracing`.
//!
//! One process has a lane for each concurrent request; another has the engine's steps and the plans.

use std::fmt;
use std::io::{self, Write};

use hedgerow_core::engine::Step;
use hedgerow_core::node::Node;
use hedgerow_core::output::{Outcome, Record};
use hedgerow_core::scheduler::PlanReport;
use hedgerow_core::time::{Instant, Span};
use hedgerow_solver::Limit;
use serde::Serialize;
use serde_json::{Value, json};

use super::files::reason;
use super::is_proven;

/// The requests' process; its lanes are numbered from 1, since lane 0 has the requests that end at their arrival.
const REQUESTS: u32 = 1;
/// The node's process and its two lanes.
const NODE: u32 = 2;
const STEPS: usize = 0;
const PLANS: usize = 1;

/// Writes events as they become known, not sorted by time: viewers sort them.
pub(super) struct Trace<W> {
    to: W,
    /// When each request lane becomes free.
    lanes: Vec<Instant>,
    uplink_slot: Span,
    precisions: Vec<String>,
}

/// One event: a bar (`X`), a mark (`i`) or a name (`M`).
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'static str,
    pid: u32,
    tid: usize,
    /// Microseconds; the nanoseconds are its three decimals.
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Value::is_null")]
    args: Value,
}

impl<W> fmt::Debug for Trace<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

impl<W: Write> Trace<W> {
    /// Starts a trace.
    pub(super) fn new(mut to: W, node: &Node) -> io::Result<Self> {
        let precisions = node.precisions.iter().map(|precision| precision.name.clone()).collect();
        to.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
        let mut trace = Self { to, lanes: Vec::new(), uplink_slot: node.uplink_slot(), precisions };
        trace.name("process_name", (REQUESTS, 0), "requests")?;
        trace.name("thread_name", (REQUESTS, 0), "refused at once")?;
        trace.name("process_name", (NODE, 0), "node")?;
        trace.name("thread_name", (NODE, STEPS), "steps")?;
        trace.name("thread_name", (NODE, PLANS), "plans")?;
        Ok(trace)
    }

    /// Writes a bar for a request's lifetime and bars for its phases within it.
    pub(super) fn request(&mut self, record: &Record) -> io::Result<()> {
        let Record { request, outcome, started, first_token, last_token, ended, .. } = record;
        let name = format!("{} {}", request.id, outcome.name());
        let args = json!({
            "prompt_tokens": request.prompt_len.0,
            "max_output_tokens": request.max_output.0,
            "output_tokens": record.produced.0,
            "deadline_ms": request.deadline.map(|at| at.since(request.arrived).as_millis()),
            "reason": reason(outcome),
            "precision": record.precision.map(|index| &self.precisions[index.0]),
            "uplink_share": record.grant.uplink.fraction(),
            "downlink_share": record.grant.downlink.fraction(),
        });
        if *ended == request.arrived {
            return self.mark(&name, (REQUESTS, 0), *ended, args);
        }
        let lane = (REQUESTS, self.lane(request.arrived, *ended)?);
        self.bar(&name, lane, (request.arrived, *ended), args)?;
        let is_whole = matches!(outcome, Outcome::Met(_) | Outcome::Late(_));
        let ready = started.map(|at| (at + self.uplink_slot).min(*ended));
        let phases = [
            ("waiting", Some(request.arrived), *started),
            ("uplink", *started, ready),
            ("prefill", ready, *first_token),
            ("decode", *first_token, *last_token),
            ("downlink", last_token.filter(|_| is_whole), None),
        ];
        for (phase, from, until) in phases {
            // A phase without an end of its own ends with the request.
            let Some(from) = from else { continue };
            let until = until.unwrap_or(*ended);
            if until > from {
                self.bar(phase, lane, (from, until), Value::Null)?;
            }
        }
        Ok(())
    }

    /// Writes a bar for a step.
    pub(super) fn step(&mut self, at: Instant, took: Span, step: &Step) -> io::Result<()> {
        let prompt: u32 = step.prefill.iter().map(|chunk| chunk.tokens.0).sum();
        let name = match (prompt, step.decode.len()) {
            (0, _) => "decode",
            (_, 0) => "prefill",
            _ => "prefill and decode",
        };
        let args = json!({
            "prompts": step.prefill.len(), "prompt_tokens": prompt, "decodes": step.decode.len(),
            "precision": self.precisions[step.precision.0],
        });
        self.bar(name, (NODE, STEPS), (at, at + took), args)
    }

    /// Writes a mark for a plan.
    pub(super) fn plan(&mut self, plan: &PlanReport) -> io::Result<()> {
        let args = json!({
            "waiting": plan.waiting, "accepted": plan.accepted, "nodes": plan.nodes,
            "proven": is_proven(plan), "binding": plan.binding.map_or("none", Limit::name),
        });
        self.mark("plan", (NODE, PLANS), plan.at, args)
    }

    /// Ends the trace.
    pub(super) fn finish(mut self) -> io::Result<W> {
        // Every event is followed by a comma, and JSON allows none after the last.
        self.put(&Event {
            name: "process_sort_index",
            ph: "M",
            pid: NODE,
            tid: 0,
            ts: 0.0,
            dur: None,
            s: None,
            args: json!({ "sort_index": NODE }),
        })?;
        self.to.write_all(b"\n]}\n")?;
        Ok(self.to)
    }

    /// Assigns a lane that is free from a request's arrival to its end. Requests are added in the order of their
    /// ends, so the lane that became free last before the arrival wastes least (best fit).
    fn lane(&mut self, arrived: Instant, ended: Instant) -> io::Result<usize> {
        let free = self.lanes.iter().enumerate().filter(|(_, until)| **until <= arrived);
        let index = match free.max_by_key(|(_, until)| **until) {
            Some((index, _)) => index,
            None => {
                self.lanes.push(arrived);
                let index = self.lanes.len();
                self.name("thread_name", (REQUESTS, index), &format!("lane {index}"))?;
                index - 1
            }
        };
        self.lanes[index] = ended;
        Ok(index + 1)
    }

    fn bar(
        &mut self,
        name: &str,
        (pid, tid): (u32, usize),
        (from, until): (Instant, Instant),
        args: Value,
    ) -> io::Result<()> {
        let dur = Some(micros(until.since(from).0));
        self.put(&Event { name, ph: "X", pid, tid, ts: micros(from.0), dur, s: None, args })?;
        self.to.write_all(b",\n")
    }

    fn mark(&mut self, name: &str, (pid, tid): (u32, usize), at: Instant, args: Value) -> io::Result<()> {
        self.put(&Event { name, ph: "i", pid, tid, ts: micros(at.0), dur: None, s: Some("t"), args })?;
        self.to.write_all(b",\n")
    }

    fn name(&mut self, what: &str, (pid, tid): (u32, usize), name: &str) -> io::Result<()> {
        let args = json!({ "name": name });
        self.put(&Event { name: what, ph: "M", pid, tid, ts: 0.0, dur: None, s: None, args })?;
        self.to.write_all(b",\n")
    }

    fn put(&mut self, event: &Event<'_>) -> io::Result<()> {
        Ok(serde_json::to_writer(&mut self.to, event)?)
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}
