//! Builds the error for insufficient memory, with settings that would fit.

use std::fmt::Write as _;

use hedgerow_core::node::KvType;
use hedgerow_workload::hint::hinted;

use super::estimate::CELLS_STEP;
use super::{Dimensions, Parts, Setup, mb};
use crate::host::MemoryRoom;
use crate::models::bits_per_number;

/// Precisions to propose, the most exact first.
const PRECISIONS: [&str; 5] = ["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"];

/// Returns the error: each part, the limit, and settings that fit.
pub(super) fn refuse(models: &[Dimensions], setup: &Setup, room: &MemoryRoom) -> anyhow::Error {
    let parts = Parts::of(models, setup);
    let names: Vec<&str> = models.iter().map(|model| model.precision.as_str()).collect();
    let mut message = format!(
        "{} at --parallel {} and --ctx-size {} needs up to {} of memory, but {} are left ({})",
        names.join(" and "),
        setup.parallel,
        setup.parallel * setup.context,
        mb(parts.total()),
        mb(room.bytes),
        room.limit
    );
    for (name, bytes) in parts.named() {
        write!(message, "\n  {:>9}  {name}", mb(bytes)).expect("a text can be written to");
    }
    hinted(message, ways_out(models, setup, room.bytes))
}

fn ways_out(models: &[Dimensions], setup: &Setup, left: u64) -> String {
    let fits = |setup: &Setup| Parts::of(models, setup).total() <= left;
    let mut ways = Vec::new();
    if setup.retained > 0 && fits(&Setup { retained: 0, ..*setup }) {
        ways.push("--retained 0".to_owned());
    }
    let (context, parallel) = (largest_context(setup, &fits), largest_parallel(setup, &fits));
    if let Some(context) = context {
        ways.push(format!("--ctx-size {}", context * setup.parallel));
    }
    if let Some(parallel) = parallel {
        ways.push(format!("--parallel {parallel} --ctx-size {}", parallel * setup.context));
    }
    if (context, parallel) == (None, None) {
        let short = Setup { context: CELLS_STEP.min(setup.context), retained: 0, ..*setup };
        let parallel = last_that_fits(setup.parallel + 1, &|parallel| fits(&Setup { parallel, ..short }));
        ways.extend(parallel.map(|parallel| {
            format!("--parallel {parallel} --ctx-size {} --retained 0", parallel * short.context)
        }));
    }
    let smaller = |kv_type: &&KvType| kv_type.bytes(1 << 20).0 < setup.kv_type.bytes(1 << 20).0;
    let kv_type = KvType::ALL.iter().filter(smaller).find(|&&kv_type| fits(&Setup { kv_type, ..*setup }));
    ways.extend(kv_type.map(|kv_type| format!("--kv-type {}", kv_type.name())));
    if let [model] = models {
        ways.extend(smaller_file(model, setup, left));
    } else if Parts::of(&models[..1], setup).total() <= left {
        ways.push("no other precisions beside the first (--also)".to_owned());
    }
    if ways.is_empty() {
        let least = Setup { parallel: 1, context: CELLS_STEP, retained: 0, ..*setup };
        let needed = mb(Parts::of(models, &least).total());
        return format!(
            "use a smaller model, or give the process more memory: one request of {CELLS_STEP} tokens at a time needs {needed}"
        );
    }
    format!("any one of these fits: {}", ways.join("; "))
}

/// Returns the largest context per request for this number of requests.
fn largest_context(setup: &Setup, fits: &dyn Fn(&Setup) -> bool) -> Option<u64> {
    let steps = setup.context.div_ceil(CELLS_STEP);
    let at = |step: u64| Setup { context: step * CELLS_STEP, ..*setup };
    last_that_fits(steps, &|step| fits(&at(step))).map(|step| step * CELLS_STEP)
}

/// Returns the largest number of requests for this context per request.
fn largest_parallel(setup: &Setup, fits: &dyn Fn(&Setup) -> bool) -> Option<u64> {
    last_that_fits(setup.parallel, &|parallel| fits(&Setup { parallel, ..*setup }))
}

/// Bisection: returns the largest number in `1..end` that fits, provided that every number below a fitting one fits
/// too.
fn last_that_fits(end: u64, fits: &dyn Fn(u64) -> bool) -> Option<u64> {
    let (mut fitting, mut too_large) = (0, end);
    while too_large - fitting > 1 {
        let middle = fitting + (too_large - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            too_large = middle;
        }
    }
    (fitting > 0).then_some(fitting)
}

/// Returns the most exact precision of the model that fits with these settings.
fn smaller_file(model: &Dimensions, setup: &Setup, left: u64) -> Option<String> {
    let of = |precision: &&'static str| {
        let bytes = (model.parameters as f64 * bits_per_number(precision)? / 8.0) as u64;
        let file = Dimensions { weights: bytes, ..model.clone() };
        (bytes < model.weights && Parts::of(&[file], setup).total() <= left).then_some((*precision, bytes))
    };
    let (precision, bytes) = PRECISIONS.iter().find_map(of)?;
    Some(format!("the model as {precision} (about {})", mb(bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::estimate::tests::{small, usual};
    use super::*;
    use crate::host::MemoryLimit;

    fn refused(models: &[Dimensions], setup: &Setup, bytes: u64) -> (String, String) {
        let room = MemoryRoom { bytes, limit: MemoryLimit::Machine, soft: None };
        (refuse(models, setup, &room).to_string(), ways_out(models, setup, bytes))
    }

    /// Parses the settings in `--ctx-size N` and `--parallel N --ctx-size M` of a hint.
    fn proposed(hint: &str, setup: &Setup) -> Vec<Setup> {
        let ways = hint.strip_prefix("any one of these fits: ").unwrap_or_default().split("; ");
        let number = |way: &str, flag: &str| -> Option<u64> {
            let mut words = way.split(' ').skip_while(|word| *word != flag);
            words.nth(1)?.parse().ok()
        };
        let setup_of = |way: &str| {
            let parallel = number(way, "--parallel").unwrap_or(setup.parallel);
            Some(Setup { parallel, context: number(way, "--ctx-size")? / parallel, ..*setup })
        };
        ways.filter_map(setup_of).collect()
    }

    #[test]
    fn a_refusal_names_each_part_and_what_is_left() {
        let (message, hint) = refused(&[small()], &usual(), 500_000_000);
        for part in [
            "Q4_1 at --parallel 16 and --ctx-size 32768 needs up to",
            "500 MB are left",
            "97 MB  weights",
            "755 MB  KV cache",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(hint.contains("--kv-type q4_0"), "{hint}");
    }

    #[test]
    fn what_is_proposed_fits_and_nothing_larger_would() {
        for bytes in [300_000_000, 500_000_000, 900_000_000] {
            let (_, hint) = refused(&[small()], &usual(), bytes);
            let proposed = proposed(&hint, &usual());
            assert!(!proposed.is_empty(), "{hint}");
            for setup in proposed {
                assert!(Parts::of(&[small()], &setup).total() <= bytes, "{hint}");
                let more = if setup.parallel == 16 {
                    Setup { context: setup.context + CELLS_STEP, ..setup }
                } else {
                    Setup { parallel: setup.parallel + 1, ..setup }
                };
                assert!(Parts::of(&[small()], &more).total() > bytes, "{hint}");
            }
        }
    }

    #[test]
    fn fewer_and_shorter_requests_are_proposed_together_where_neither_alone_helps() {
        let (_, hint) = refused(&[small()], &usual(), 200_000_000);
        let way = hint.strip_prefix("any one of these fits: ").unwrap_or_else(|| panic!("{hint}"));
        let numbers: Vec<u64> = way.split([' ', ';']).filter_map(|word| word.parse().ok()).collect();
        let fits = |parallel| {
            let setup = Setup { parallel, context: numbers[1] / numbers[0], retained: 0, ..usual() };
            Parts::of(&[small()], &setup).total() <= 200_000_000
        };
        assert!(fits(numbers[0]) && !fits(numbers[0] + 1), "{hint}");
    }

    #[test]
    fn where_no_setting_helps_the_least_that_is_needed_is_said() {
        let (_, hint) = refused(&[small()], &usual(), 90_000_000);
        assert!(
            hint.starts_with("use a smaller model") && hint.contains("one request of 256 tokens"),
            "{hint}"
        );
    }

    #[test]
    fn a_smaller_precision_is_proposed_where_one_fits() {
        let f16 = Dimensions { precision: "F16".into(), weights: 269_030_016, ..small() };
        let setup = Setup { parallel: 2, context: 256, retained: 0, ..usual() };
        let (_, hint) = refused(&[f16], &setup, 300_000_000);
        assert!(hint.contains("the model as Q8_0 (about 143 MB)"), "{hint}");
    }

    #[test]
    fn several_precisions_may_be_too_many() {
        let setup = Setup { retained: 0, ..usual() };
        let one = Parts::of(&[small()], &setup).total();
        let (message, hint) = refused(&[small(), small()], &setup, one + 1_000_000);
        assert!(message.starts_with("Q4_1 and Q4_1 at"), "{message}");
        assert!(hint.contains("--also"), "{hint}");
    }
}
