//! The result of a plan, as a table and as JSON.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use hedgerow_core::node::Node;
use hedgerow_core::units::Bytes;
use hedgerow_loadgen::{Arrivals, Class};
use hedgerow_node::catalogue::Kind;
use hedgerow_node::host::Machine;
use hedgerow_node::terminal::fitting;
use hedgerow_sim::mean_95;
use serde::Serialize;
use serde_json::{Value, json};

use crate::commands::list::mark;
use crate::plan::{self, Answer, Estimate, Goal, Held, Here, LeftOut, Play, Point, Usage};

/// The most sets listed of those that were not simulated.
const LEFT_OUT_SHOWN_MAX: usize = 6;

/// The node that is planned for.
#[derive(Debug)]
pub(super) enum Place {
    /// This machine.
    Here { here: Box<Here>, model: String, machine: Machine, memory: Bytes },
    /// A device of the table.
    Estimate { estimate: Box<Estimate>, accelerators: u32, efficiency: f64 },
}

/// The complete result of a plan.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) place: Place,
    pub(super) known: Vec<Held>,
    pub(super) answers: Vec<Answer>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) play: Play,
    pub(super) goal: Goal,
    /// Requests per user and minute.
    pub(super) per_user: f64,
}

impl Report {
    /// The name of the answer's set.
    pub(super) fn name(&self, answer: &Answer) -> String {
        plan::names(&self.known, &answer.candidate.set)
    }

    /// Returns the index of the set to hold: of those whose rates differ by no more than the resolution, the first,
    /// which has the fewest precisions.
    pub(super) fn best(&self) -> Option<usize> {
        let most = self.answers.iter().map(Answer::rate_per_s).fold(0.0, f64::max);
        let enough = most / (1.0 + self.goal.resolution);
        self.answers.iter().position(|answer| answer.best.is_some() && answer.rate_per_s() >= enough)
    }

    /// The title of the plot.
    pub(super) fn title(&self) -> String {
        match &self.place {
            Place::Here { model, machine, .. } => format!("{model} on {}", machine.cpu),
            Place::Estimate { estimate, accelerators, .. } => {
                format!("{} on {accelerators} x {}, estimated", estimate.model(), estimate.device().name)
            }
        }
    }

    fn users(&self, rate_per_s: f64) -> u64 {
        (60.0 * rate_per_s / self.per_user).floor() as u64
    }

    /// The mark before numbers that were not measured here.
    fn mark(&self) -> &'static str {
        mark(match self.place {
            Place::Here { .. } => Kind::Measured,
            Place::Estimate { .. } => Kind::Assumed,
        })
    }

    /// Formats the table, with what was planned above it and remarks below.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header([
            "",
            "hold",
            "requests/s",
            "95 % interval",
            "users",
            "binds first",
            "busy",
            "at once",
            "weights GB",
            "KV GB held / there",
        ]);
        let best = self.best();
        for (index, answer) in self.answers.iter().enumerate() {
            table.add_row(self.row(answer, best == Some(index)));
        }
        for column in [2, 3, 4, 6, 7, 8, 9] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.about() + "\n" + &fitting(&table) + "\n" + &self.remarks()
    }

    fn row(&self, answer: &Answer, is_best: bool) -> [String; 10] {
        let mark = self.mark();
        let gigabytes = |bytes: Bytes| format!("{:.2}", bytes.0 as f64 / 1e9);
        let node = &answer.candidate.node;
        let sign = if is_best { ">" } else { "" }.to_owned();
        let binds = answer.binds_first().map_or("deadlines alone", plan::Resource::name).to_owned();
        let weights = gigabytes(node.weights_memory());
        let Some(best) = &answer.best else {
            let none = || "-".to_owned();
            let rate = format!("below {mark}{:.3}", self.least_played(answer));
            let kv = format!("- / {}", gigabytes(node.kv_memory()));
            return [sign, self.name(answer), rate, none(), none(), binds, none(), none(), weights, kv];
        };
        let usage = &best.usage;
        [
            sign,
            self.name(answer),
            format!("{mark}{:.3}", best.rate_per_s),
            answer.interval.map_or("-".to_owned(), |(low, high)| format!("{low:.3}-{high:.3}")),
            format!("{mark}{}", self.users(best.rate_per_s)),
            binds,
            format!("{:.0} %", 100.0 * usage.busy),
            format!("{} of {}", usage.running_max, node.max_parallel),
            weights,
            format!("{} / {}", gigabytes(Bytes(usage.kv_bytes_max)), gigabytes(node.kv_memory())),
        ]
    }

    fn least_played(&self, answer: &Answer) -> f64 {
        answer.curve.points().first().map_or(0.0, |point| point.rate_per_s)
    }

    /// Describes the node, the mix of requests and the runs.
    fn about(&self) -> String {
        let place = match &self.place {
            Place::Here { model, machine, .. } => {
                format!("{model} on this machine ({}, {} cores), as measured", machine.cpu, machine.cores)
            }
            Place::Estimate { estimate, accelerators, efficiency } => format!(
                "{} on {accelerators} x {}, estimated at {:.0} % of its published speeds",
                estimate.model(),
                estimate.device().name,
                100.0 * efficiency
            ),
        };
        let classes = self.play.mix.classes();
        let part = |class: &Class| format!("{} {:.0} %", class.name, 100.0 * class.part);
        let parts = classes.iter().map(part).collect::<Vec<_>>().join(", ");
        let mix = match &self.play.mix.pattern.arrivals {
            Arrivals::Gamma { shape: 1.0 } => parts,
            Arrivals::Gamma { shape } => format!("{parts}; gaps from a gamma distribution of shape {shape}"),
            Arrivals::Trace { fit, .. } => format!(
                "as in the trace, questions of {} and answers of {} times its length",
                fit.scale_prompt, fit.scale_output
            ),
        };
        let seeds: Vec<String> = self.play.seeds.iter().map(u64::to_string).collect();
        let lasts = self
            .play
            .mix
            .duration
            .map_or("some 500 requests".to_owned(), |duration| format!("{} s", duration.as_secs_f64()));
        format!(
            "{place}; steps take {} as long\n{:.1} % of all requests in time; {mix}; requests of a user in a \
             minute: {}; runs of {lasts}, seeds {}\n",
            self.play.slowdown,
            100.0 * self.goal.attainment,
            self.per_user,
            seeds.join(", "),
        )
    }

    fn remarks(&self) -> String {
        let mut text = String::new();
        let mut add = |line: String| writeln!(text, "{line}").expect("text can be written");
        match self.best() {
            None => {
                add("no rate reaches that: lower --attainment, or give the mix later deadlines".to_owned())
            }
            Some(index) => {
                let answer = &self.answers[index];
                add(format!(
                    "> hold {}: the greatest rate, to {:.0} %; in time then: {}",
                    self.name(answer),
                    100.0 * self.goal.resolution,
                    self.of_classes(answer)
                ));
                add(format!(
                    "  a quarter more requests, and twice as much of one thing, change attainment by points: {}",
                    reliefs(answer)
                ));
                if let Place::Here { here, .. } = &self.place {
                    add(format!("  {}", here.command(&answer.candidate.set)));
                }
            }
        }
        for LeftOut { set, why } in self.left_out.iter().take(LEFT_OUT_SHOWN_MAX) {
            add(format!("left out: {}: {why}", plan::names(&self.known, set)));
        }
        match &self.place {
            Place::Here { here, .. } => {
                for file in &here.unmeasured {
                    let file = file.display();
                    add(format!("left out: {file} was not measured; `hedgerow profile {file}` does that"));
                }
            }
            Place::Estimate { estimate, .. } => add(format!(
                "~ estimate by the roofline; figures of the device checked against their source: {}",
                estimate.device().checked
            )),
        }
        text
    }

    /// Formats the attainment of each class at the greatest rate.
    fn of_classes(&self, answer: &Answer) -> String {
        let parts = answer.best.iter().flat_map(|best| &best.usage.of_classes);
        let classes = self.play.mix.classes().iter().zip(parts);
        let shown = classes.map(|(class, part)| format!("{} {:.0} %", class.name, 100.0 * part.attainment()));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Returns the result as one JSON object.
    ///
    /// # Errors
    ///
    /// Never: everything is plain data.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let (classes, arrivals) = (self.play.mix.classes().iter(), &self.play.mix.pattern.arrivals);
        // In a trace the lengths determine a request's class.
        let drawn = |part: f64| matches!(arrivals, Arrivals::Gamma { .. }).then_some(part);
        let classes: Vec<Value> =
            classes.map(|class| json!({ "name": class.name, "part": drawn(class.part) })).collect();
        let arrivals = match arrivals {
            Arrivals::Gamma { shape } => json!({ "gamma": { "shape": shape } }),
            Arrivals::Trace { start, fit, .. } => json!({ "trace": {
                "start_s": start.map(|start| start.as_secs_f64()),
                "scale_prompt": fit.scale_prompt,
                "scale_output": fit.scale_output,
                "max_prompt": fit.max_prompt,
                "max_output": fit.max_output,
            } }),
        };
        let best = self.best();
        let sets: Vec<Value> = self
            .answers
            .iter()
            .enumerate()
            .map(|(index, answer)| self.set(answer, best == Some(index)))
            .collect();
        let left_out: Vec<Value> = self
            .left_out
            .iter()
            .map(|LeftOut { set, why }| json!({ "precisions": self.precisions(set), "why": why }))
            .collect();
        let (model, place) = self.place();
        let object = json!({
            "model": model,
            "place": place,
            "attainment": self.goal.attainment,
            "resolution": self.goal.resolution,
            "arrivals": arrivals,
            "classes": classes,
            "duration_s": self.play.mix.duration.map(|duration| duration.as_secs_f64()),
            "seeds": self.play.seeds,
            "pace": self.play.slowdown,
            "requests_per_user_min": self.per_user,
            "sets": sets,
            "left_out": left_out,
        });
        Ok(serde_json::to_string_pretty(&object)? + "\n")
    }

    fn place(&self) -> (&str, Value) {
        match &self.place {
            Place::Here { model, machine, memory, .. } => {
                (model, json!({ "machine": machine, "memory_bytes": memory, "is_estimate": false }))
            }
            Place::Estimate { estimate, accelerators, efficiency } => (
                estimate.model(),
                json!({
                    "device": estimate.device().name,
                    "device_checked": estimate.device().checked,
                    "accelerators": accelerators,
                    "efficiency": efficiency,
                    "memory_bytes": estimate.memory(),
                    "is_estimate": true,
                }),
            ),
        }
    }

    fn precisions(&self, set: &[usize]) -> Vec<&str> {
        set.iter().map(|&index| self.known[index].name.as_str()).collect()
    }

    fn set(&self, answer: &Answer, is_best: bool) -> Value {
        let Answer { candidate, curve, best, interval, reliefs } = answer;
        let node: &Node = &candidate.node;
        let held: Vec<Value> = candidate
            .set
            .iter()
            .map(|&index| &self.known[index])
            .map(|held| json!({ "name": held.name, "weights_bytes": held.weights, "quality": held.quality }))
            .collect();
        json!({
            "precisions": held,
            "is_best": is_best,
            "rate_per_s": best.as_ref().map(|best| best.rate_per_s),
            "interval_95": interval,
            "users": best.as_ref().map(|best| self.users(best.rate_per_s)),
            "binds_first": answer.binds_first(),
            "reliefs": reliefs,
            "weights_bytes": node.weights_memory(),
            "kv_bytes": node.kv_memory(),
            "max_parallel": node.max_parallel,
            "usage": best.as_ref().map(|best| &best.usage),
            "curve": curve.points().iter().map(Drawn::of).collect::<Vec<_>>(),
        })
    }
}

/// Formats the gain of doubling each resource.
fn reliefs(answer: &Answer) -> String {
    let gain = |relief: &plan::Relief| format!("{} {:+.1}", relief.resource.name(), 100.0 * relief.gain);
    answer.reliefs.iter().map(gain).collect::<Vec<_>>().join(", ")
}

/// A point of a curve.
#[derive(Serialize)]
struct Drawn<'a> {
    rate_per_s: f64,
    attainment: f64,
    /// Half the width of its 95 % confidence interval.
    half_95: Option<f64>,
    of_seeds: &'a [f64],
    offered: u64,
    usage: &'a Usage,
}

impl<'a> Drawn<'a> {
    fn of(point: &'a Point) -> Self {
        let half_95 = mean_95(&point.attained).1;
        let Point { rate_per_s, ref attained, ref usage } = *point;
        let offered = usage.all.offered;
        Self { rate_per_s, attainment: point.mean(), half_95, of_seeds: attained, offered, usage }
    }
}
