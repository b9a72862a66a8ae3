//! The values that the commands' lists take.

use hedgerow_loadgen::Patience;
use hedgerow_node::quantize;
use hedgerow_solver::Policy;

use super::instances::choice;
use super::solver::Solver;

/// Whether a word could be one or several values, separated by commas, of the flag with this name.
///
/// # Panics
///
/// When no command here has such a flag; a test of the command line goes through all of them.
pub fn can_be_of(list: &str, word: &str) -> bool {
    let all = |can_be: fn(&str) -> bool| word.split(',').all(can_be);
    match list {
        "rate" | "seeds" | "concurrency" | "requests" => all(|one| one.parse::<f64>().is_ok()),
        "policy" | "policies" => all(|one| one.parse::<Policy>().is_ok()),
        "solver" => all(|one| one.parse::<Solver>().is_ok()),
        "to" | "precisions" => all(|one| quantize::precision(one).is_ok()),
        "family" => all(|one| choice(one).is_ok()),
        "clients" => all(|one| one.parse::<Patience>().is_ok()),
        "only" => all(|one| one.chars().count() == 1),
        other => unreachable!("a test covers every list flag, but not --{other}"),
    }
}
