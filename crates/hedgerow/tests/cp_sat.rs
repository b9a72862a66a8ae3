//! Compares the exact solver with a peer, OR-tools' CP-SAT, over every instance generator.
//!
//! `hedgerow bench solvers` itself ends with an error if a batch violates a limit, or if one solver's batch has a
//! value above another's bound.

use std::ffi::OsStr;
use std::process::Command;

use serde_json::Value;

/// The number of instances that CP-SAT proved, and their total.
#[derive(Debug, Default)]
struct Tally {
    proven: u64,
    instances: u64,
}

impl Tally {
    /// Runs both on some generators and adds up; `exact` must prove whatever CP-SAT proves.
    fn add(&mut self, python: &OsStr, families: &str, requests: &str, seeds: &str) {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(["bench", "solvers", "--solver", "exact", "--repeat", "1", "--json", "--patience", "1000"])
            .args(["--family", families, "--requests", requests, "--seeds", seeds, "--time-limit", "0.5"])
            .arg("--cp-sat")
            .arg(python)
            .output()
            .expect("the program was built for this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("it is one JSON object");
        let rows = report["rows"].as_array().expect("a report has rows");
        let count = |row: &Value, name: &str| row[name].as_u64().expect("it is a count");
        for peer in rows.iter().filter(|row| row["solver"] == "cp-sat") {
            let is_it = |row: &&Value| {
                row["solver"] == "exact"
                    && row["family"] == peer["family"]
                    && row["requests"] == peer["requests"]
            };
            let exact = rows.iter().find(is_it).expect("both ran");
            assert_eq!(exact["instances"], peer["instances"]);
            assert!(count(exact, "proven") >= count(peer, "proven"), "{exact}\n{peer}");
            self.proven += count(peer, "proven");
            self.instances += count(peer, "instances");
        }
    }
}

#[test]
fn the_exact_solver_and_cp_sat_never_contradict_each_other() {
    let Some(python) = std::env::var_os("HEDGEROW_TEST_PYTHON") else {
        eprintln!("skipped: HEDGEROW_TEST_PYTHON is not set; `cargo xtask test` sets it");
        return;
    };
    let mut tally = Tally::default();
    let easy = "paper,anti-correlated,tight,near-ties,deadlines,weighted,one-limit";
    tally.add(&python, easy, "5,20,50,100", "10");
    tally.add(&python, "correlated,parity,adversarial", "5,10,15,20", "10");
    tally.add(&python, "parity,adversarial", "30", "5");
    eprintln!("{tally:?}");
    assert!(tally.proven >= 300, "{tally:?}");
}
