//! Each pruning rule changes the number of nodes and nothing else; and nodes are counted by one rule.

use expect_test::expect;

use super::instances::*;
use super::*;

/// All rules but one, by the name of that rule.
const ONE_OFF: [(&str, Rules); 5] = [
    ("limit", Rules { limit: false, ..Rules::ALL }),
    ("too_many", Rules { too_many: false, ..Rules::ALL }),
    ("too_few_left", Rules { too_few_left: false, ..Rules::ALL }),
    ("too_dear", Rules { too_dear: false, ..Rules::ALL }),
    ("above_bound", Rules { above_bound: false, ..Rules::ALL }),
];

fn assert_rules_change_only_the_count(instance: &Instance) {
    let all = dftsp_with(instance, Rules::ALL);
    for (name, rules) in ONE_OFF.into_iter().chain([("every rule", Rules::NONE)]) {
        let without = dftsp_with(instance, rules);
        assert_eq!(without.chosen, all.chosen, "{name}\n{instance:#?}");
        assert!(without.nodes >= all.nodes, "{name}: {} < {}\n{instance:#?}", without.nodes, all.nodes);
    }
}

#[test]
fn no_rule_changes_the_answer_on_the_papers_structure() {
    every_small_paper_instance(3, assert_rules_change_only_the_count);
    some_paper_instances(200, 9, assert_rules_change_only_the_count);
}

#[test]
fn no_rule_changes_the_answer_on_any_instance() {
    some_arbitrary_instances(1_000, 7, assert_rules_change_only_the_count);
}

/// The nodes that each rule saves in addition to all others, over the instances of `each`.
fn nodes_saved(each: impl FnOnce(&mut dyn FnMut(&Instance))) -> String {
    let mut saved = [0; ONE_OFF.len()];
    each(&mut |instance| {
        let all = dftsp_with(instance, Rules::ALL).nodes;
        for (saved, (_, rules)) in saved.iter_mut().zip(ONE_OFF) {
            *saved += dftsp_with(instance, rules).nodes - all;
        }
    });
    let rows: Vec<String> = ONE_OFF.iter().zip(saved).map(|((name, _), n)| format!("{name} {n}")).collect();
    rows.join(", ")
}

/// Where all requests finish together, a branch that breaks a limit is also cut by `too_dear`, so `limit` saves no
/// nodes in addition to it; where each has its own deadline, `limit` covers the deadlines, which `too_dear` does not.
#[test]
fn every_rule_saves_nodes_somewhere() {
    let paper = nodes_saved(|look| some_paper_instances(200, 9, look));
    expect!["limit 0, too_many 298, too_few_left 552, too_dear 755, above_bound 1018"].assert_eq(&paper);
    let by_deadline = nodes_saved(|look| {
        some_arbitrary_instances(200, 9, |instance| {
            if matches!(instance.timing, Timing::ByDeadline { .. }) {
                look(instance);
            }
        });
    });
    expect!["limit 38, too_many 48, too_few_left 217, too_dear 114, above_bound 393"].assert_eq(&by_deadline);
}

#[test]
fn every_rule_counts_its_cuts() {
    let mut sum = Cuts::default();
    some_paper_instances(200, 9, |instance| {
        let cuts = dftsp_with(instance, Rules::ALL).cuts;
        sum.limit += cuts.limit;
        sum.too_many += cuts.too_many;
        sum.too_few_left += cuts.too_few_left;
        sum.too_dear += cuts.too_dear;
        sum.above_bound += cuts.above_bound;
    });
    expect!["Cuts { limit: 201, too_many: 298, too_few_left: 349, too_dear: 215, above_bound: 221 }"]
        .assert_eq(&format!("{sum:?}"));
}

#[test]
fn brute_force_visits_every_node_of_the_binary_tree() {
    for requests in 0..6 {
        let instance = table([9; 4], &vec![[1, 1, 1, 1, 9, 1]; requests]);
        let answer = solve(&instance, Policy::BruteForce, &mut Budget::unlimited()).unwrap();
        assert_eq!(answer.nodes, (1 << (requests + 1)) - 1);
    }
}

/// Three different requests, each a class of its own, of which no two fit together.
///
/// Without rules, the sizes 3 and 2 each visit the whole tree of brute force, 15 nodes. Size 1 ends at the first
/// batch of one request, the eighth node: (), 1, 11, 111, 110, 10, 101, 100.
#[test]
fn without_rules_dftsp_visits_the_tree_of_brute_force_once_for_each_size() {
    let instance = table([3, 9, 9, 9], &[[2, 1, 1, 1, 9, 1], [2, 1, 1, 2, 9, 1], [2, 1, 1, 3, 9, 1]]);
    let brute = solve(&instance, Policy::BruteForce, &mut Budget::unlimited()).unwrap();
    assert_eq!(brute.nodes, 15);
    assert_eq!(dftsp_with(&instance, Rules { above_bound: false, ..Rules::NONE }).nodes, 15 + 15 + 8);
}
