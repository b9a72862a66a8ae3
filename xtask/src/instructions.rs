//! Counts the instructions of the exact solver with valgrind and compares them with a table.
//!
//! Counts do not depend on other load of the machine, so they reveal slowdowns that time measurements cannot. They
//! depend on the compiler and the target, so the table names both; on others the counts are shown, but not judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::shell::{Failure, Shell};

const FAMILIES: [&str; 10] = [
    "paper",
    "anti-correlated",
    "tight",
    "near-ties",
    "deadlines",
    "weighted",
    "correlated",
    "one-limit",
    "parity",
    "adversarial",
];

/// Numbers of requests per instance, each with the number of instances.
const SIZES: [(u64, u64); 2] = [(100, 5), (1000, 2)];

const TABLE: &str = "crates/hedgerow-sim/examples/solve_family.csv";
const HEADER: &str = "family,requests,instances,instructions";

/// Largest accepted increase over the table, in percent.
const MORE_PERCENT_MAX: u64 = 5;

/// A row of the table: family, number of requests and number of instances.
type Cell = (&'static str, u64, u64);

/// Checks that valgrind is installed.
pub(crate) fn can_count(shell: &Shell) -> Result<(), Failure> {
    shell.run_quietly(shell.program("valgrind").arg("--version")).map(drop).map_err(|_| {
        Failure::new("valgrind is not here, so no instructions are counted", "apt-get install valgrind")
    })
}

/// Counts the instructions, and compares them with the table or updates it.
pub(crate) fn run(shell: &Shell, is_update: bool) -> Result<(), Failure> {
    can_count(shell)?;
    let program = build(shell)?;
    let counts = count_all(shell, &program)?;
    let path = shell.root().join(TABLE);
    let machine = machine(shell)?;
    if is_update {
        fs::write(&path, Table { machine, counts: owned(&counts) }.text())
            .map_err(|error| Failure::new(format!("writing {TABLE}: {error}"), "fix its owner"))?;
        println!("wrote {TABLE}");
        return Ok(());
    }
    let text = fs::read_to_string(&path).map_err(|error| {
        Failure::new(format!("reading {TABLE}: {error}"), "make it: cargo xtask instructions --update")
    })?;
    compare(&Table::read(&text)?, &machine, &counts)
}

/// Builds the counted program with the settings of the tests, so that nothing is compiled twice.
fn build(shell: &Shell) -> Result<PathBuf, Failure> {
    let mut cargo = shell.cargo();
    cargo.args(["build", "--release", "--locked", "--workspace", "--example", "solve_family"]);
    shell.run(&mut cargo)?;
    Ok(PathBuf::from(shell.built("examples/solve_family")?.get_program()))
}

/// The compiler's version and target.
fn machine(shell: &Shell) -> Result<String, Failure> {
    let output = shell.run_quietly(shell.program("rustc").arg("-vV"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown");
    Ok(format!("rustc {}, {}", field("release: "), field("host: ")))
}

/// Counts all cells, with one worker per core.
fn count_all(shell: &Shell, program: &PathBuf) -> Result<Vec<(Cell, u64)>, Failure> {
    let cells: Vec<Cell> = FAMILIES
        .iter()
        .flat_map(|family| SIZES.iter().map(move |&(requests, instances)| (*family, requests, instances)))
        .collect();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let count_share = |worker: usize| -> Result<Vec<(usize, u64)>, Failure> {
        let share = (0..cells.len()).filter(|index| index % workers == worker);
        share.map(|index| Ok((index, count(shell, program, cells[index])?))).collect()
    };
    let counted: Result<Vec<Vec<(usize, u64)>>, Failure> = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|worker| scope.spawn(move || count_share(worker))).collect();
        handles.into_iter().map(|handle| handle.join().expect("counting does not panic")).collect()
    });
    let mut counted: Vec<(usize, u64)> = counted?.into_iter().flatten().collect();
    counted.sort_unstable();
    Ok(counted.into_iter().map(|(index, instructions)| (cells[index], instructions)).collect())
}

/// The instructions of solving alone: those of drawing and solving minus those of drawing.
fn count(shell: &Shell, program: &PathBuf, (family, requests, instances): Cell) -> Result<u64, Failure> {
    let of = |solver: &str| {
        let mut valgrind = shell.program("valgrind");
        valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
        valgrind.arg(program).args([family, &requests.to_string(), &instances.to_string(), solver]);
        instructions_of(shell, &mut valgrind)
    };
    Ok(of("exact")?.saturating_sub(of("draw-only")?))
}

fn instructions_of(shell: &Shell, valgrind: &mut Command) -> Result<u64, Failure> {
    let output = shell.run_quietly(valgrind)?;
    let text = String::from_utf8_lossy(&output.stderr);
    counted(&text).ok_or_else(|| {
        Failure::new(format!("valgrind did not say what it counted:\n{text}"), "try another version of it")
    })
}

/// Parses the number in `==123== I   refs:      4,567`.
fn counted(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("refs:"))?;
    let (_, number) = line.split_once("refs:")?;
    number.trim().replace(',', "").parse().ok()
}

/// Prints every count next to the table's, and fails if one grew too much.
fn compare(table: &Table, machine: &str, counts: &[(Cell, u64)]) -> Result<(), Failure> {
    let is_judged = table.machine == machine;
    let mut grown = Vec::new();
    println!("{:<16}{:>9}{:>16}{:>16}{:>9}", "family", "requests", "instructions", "table", "change");
    for &((family, requests, instances), now) in counts {
        let before = table.counts.get(&(family.to_owned(), requests, instances)).copied();
        let change = before.map_or_else(
            || "new".to_owned(),
            |before| format!("{:+.1} %", 100.0 * (now as f64 / before.max(1) as f64 - 1.0)),
        );
        let shown = before.map_or_else(|| "-".to_owned(), |before| before.to_string());
        println!("{family:<16}{requests:>9}{now:>16}{shown:>16}{change:>9}");
        if before.is_none_or(|before| now > before + before * MORE_PERCENT_MAX / 100) {
            grown.push(format!("{family} with {requests} requests ({change})"));
        }
    }
    if !is_judged {
        println!("not judged: the table was counted with {}, this is {machine}", table.machine);
        return Ok(());
    }
    if grown.is_empty() {
        println!("none of {} counts is more than {MORE_PERCENT_MAX} % above the table", counts.len());
        return Ok(());
    }
    Err(Failure::new(
        format!("more than {MORE_PERCENT_MAX} % above the table: {}", grown.join(", ")),
        "make the solver cheaper again, or say why in the commit and run `cargo xtask instructions --update`",
    ))
}

/// The stored table.
#[derive(Debug, PartialEq)]
struct Table {
    machine: String,
    counts: BTreeMap<(String, u64, u64), u64>,
}

fn owned(counts: &[(Cell, u64)]) -> BTreeMap<(String, u64, u64), u64> {
    counts
        .iter()
        .map(|&((family, requests, instances), n)| ((family.to_owned(), requests, instances), n))
        .collect()
}

impl Table {
    fn text(&self) -> String {
        let mut text =
            format!("# {}; written by `cargo xtask instructions --update`\n{HEADER}\n", self.machine);
        for ((family, requests, instances), instructions) in &self.counts {
            text += &format!("{family},{requests},{instances},{instructions}\n");
        }
        text
    }

    fn read(text: &str) -> Result<Table, Failure> {
        let wrong = |line: &str| {
            Failure::new(
                format!("{TABLE}: `{line}` is not what was expected"),
                "make it anew: cargo xtask instructions --update",
            )
        };
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let machine =
            first.strip_prefix("# ").and_then(|line| line.split_once(';')).ok_or_else(|| wrong(first))?;
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(wrong(header));
        }
        let row = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            let [family, requests, instances, instructions] = fields[..] else { return None };
            let key = (family.to_owned(), requests.parse().ok()?, instances.parse().ok()?);
            Some((key, instructions.parse().ok()?))
        };
        let counts = lines.map(|line| row(line).ok_or_else(|| wrong(line))).collect::<Result<_, _>>()?;
        Ok(Table { machine: machine.0.to_owned(), counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(instructions: u64) -> Table {
        let counts = [(("tight".to_owned(), 100, 5), instructions)].into();
        Table { machine: "rustc 1, here".to_owned(), counts }
    }

    fn compared(now: u64, machine: &str) -> Result<(), String> {
        compare(&table(1000), machine, &[(("tight", 100, 5), now)]).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(Table::read(&table(7).text()), Ok(table(7)));
        assert!(
            Table::read(&(table(7).text() + "tight,100\n")).unwrap_err().to_string().contains("`tight,100`")
        );
    }

    #[test]
    fn a_count_may_grow_by_a_twentieth() {
        assert_eq!(compared(1050, "rustc 1, here"), Ok(()));
        let error = compared(1051, "rustc 1, here").unwrap_err();
        assert!(error.contains("above the table: tight with 100 requests (+5.1 %)"), "{error}");
    }

    #[test]
    fn counts_of_another_compiler_are_not_judged() {
        assert_eq!(compared(5000, "rustc 2, here"), Ok(()));
    }

    #[test]
    fn the_count_is_parsed_from_valgrinds_output() {
        assert_eq!(counted("==1== Cachegrind\n==1== I   refs:      12,345,678\n"), Some(12_345_678));
        assert_eq!(counted("==1== I refs: 9\n"), Some(9));
        assert_eq!(counted("no such line"), None);
    }
}
