//! Tests of whole sweeps.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::*;
use crate::mean_95;

const PAPER: &str = include_str!("../../../../scenarios/paper.toml");
const TWO: NonZero<usize> = NonZero::new(2).unwrap();

const SMALL: &str = r#"
scenario = "paper.toml"
seeds = 3
policies = ["dftsp", "static:4"]

[set]
requests = 60

[grid]
"users.rate_per_s" = [5, 20.5]
model.name = ["BLOOM-3B"]
"#;

fn sweep(text: &str) -> Result<Sweep, SweepError> {
    Sweep::parse(text, Path::new(""), |_| Ok(PAPER.to_owned()))
}

fn rows(sweep: &Sweep, jobs: NonZero<usize>) -> Vec<Row> {
    sweep.play(&BTreeMap::new(), jobs, |_, _| Ok::<_, SweepError>(())).unwrap()
}

/// The path of a test's own folder, which does not exist yet.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hedgerow-sweep-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

/// Plays the remaining cells and writes all files; stops as if killed after `most` cells.
fn play_into(folder: &Path, sweep: &Sweep, most: usize) -> Result<(), SweepError> {
    let mut journal = Journal::open(folder, sweep)?;
    let done = journal.done().clone();
    let mut left = most;
    let rows = sweep.play(&done, TWO, |cell, row| {
        left = left.checked_sub(1).ok_or(SweepError::Form { message: "killed".into() })?;
        journal.add(cell, row)
    })?;
    journal.finish()?;
    Table::of_cells(sweep, &rows).write(folder, "cells")?;
    Table::over_seeds(sweep, &rows).write(folder, "summary")
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(entry).collect()
}

#[test]
fn a_grid_is_every_point_by_every_policy_and_seed() {
    let sweep = sweep(SMALL).unwrap();
    assert_eq!(sweep.keys(), ["model.name", "users.rate_per_s"]);
    let of = |cell: &Cell| {
        (cell.scenario.users.rate_per_s, cell.scenario.settings.policy.to_string(), cell.scenario.seed)
    };
    let cells: Vec<_> = sweep.cells().iter().map(of).collect();
    assert_eq!(cells.len(), 12);
    assert_eq!(cells[0], (5.0, "dftsp".into(), 1));
    assert_eq!(cells[2], (5.0, "dftsp".into(), 3));
    assert_eq!(cells[3], (5.0, "static:4".into(), 1));
    assert_eq!(cells[11], (20.5, "static:4".into(), 3));
    assert!(sweep.cells().iter().all(|cell| cell.scenario.expected_requests() == 60));
}

#[test]
fn a_case_sets_several_keys_also_within_a_named_element() {
    let text = r#"
        scenario = "paper.toml"
        [[case]]
        name = "tight"
        set = { "users.deadline_s" = [0.5, 1.0], "precision.W8A16.quality" = 0.5 }
        [[case]]
        name = "loose"
        set.users.deadline_s = [4.0, 8.0]
    "#;
    // The precision would have both a quality and a perplexity.
    let error = sweep(text).unwrap_err();
    assert!(error.to_string().contains("where case = tight: `precision.W8A16.quality`"), "{error}");
    let sweep = sweep(&text.replace("quality\" = 0.5", "alpha\" = 0.25")).unwrap();
    let weights: Vec<u64> =
        sweep.cells().iter().map(|cell| cell.scenario.node.precisions[0].weights.0).collect();
    assert_eq!(weights[1], 2 * weights[0]);
    assert_eq!(sweep.cells()[1].scenario.users.deadline_s.unwrap().most, 8.0);
}

#[test]
fn a_conflicting_key_can_be_removed() {
    let text =
        "scenario = 'p'\nunset = ['requests', 'users.patience_s', 'no.such']\n[set]\nduration_s = 30.0";
    let extent = sweep(text).unwrap().cells()[0].scenario.extent;
    assert_eq!(extent, crate::Extent::Duration(hedgerow_core::time::Span::from_seconds(30.0)));
    let error = sweep("scenario = 'p'\n[set]\nduration_s = 30.0").unwrap_err();
    assert!(error.to_string().starts_with("`requests` and `duration_s` are both given"), "{error}");
}

#[test]
fn errors_name_their_place() {
    let check_error = |text: &str, expected: &str| {
        let error = sweep(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.hint().is_empty());
    };
    check_error("seeds = 2", "`scenario` is missing");
    check_error("scenario = 'p'\npolicy = 'edf'", "unknown field `policy`");
    check_error("scenario = 'p'\nseeds = 0", "`seeds` is none");
    check_error("scenario = 'p'\n[grid]\n'users.rate_per_s' = 5", "`grid.users.rate_per_s` is no list");
    check_error("scenario = 'p'\n[grid]\n'users.rate' = [5]", "where users.rate = 5: unknown key `rate`");
    check_error("scenario = 'p'\n[set]\n'seed.rate' = 5", "`seed` is no table");
    check_error("scenario = 'p'\n[set]\n'precision.W2.alpha' = 5", "`W2` is no table");
    check_error("scenario = 'p'\npolicies = ['best']", "unknown policy `best`");
}

#[test]
fn one_thread_and_two_give_the_same_rows() {
    let sweep = sweep(SMALL).unwrap();
    let one = rows(&sweep, NonZero::<usize>::MIN);
    assert_eq!(one, rows(&sweep, TWO));
}

#[test]
fn a_resumed_sweep_ends_with_the_files_of_an_uninterrupted_one() {
    let sweep = sweep(SMALL).unwrap();
    let (whole, killed) = (folder("whole"), folder("killed"));
    play_into(&whole, &sweep, usize::MAX).unwrap();
    play_into(&killed, &sweep, 5).unwrap_err();
    assert_eq!(files(&killed).keys().collect::<Vec<_>>(), ["sweep.jsonl"]);
    // Killed in the middle of a line.
    let journal = killed.join("sweep.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 40]).unwrap();
    assert_eq!(Journal::open(&killed, &sweep).unwrap().done().len(), 4);
    play_into(&killed, &sweep, 8).unwrap();
    let (whole_files, killed_files) = (files(&whole), files(&killed));
    assert_eq!(whole_files.len(), 5);
    assert!(whole_files == killed_files, "the files differ");
    // No cell is left to play.
    play_into(&killed, &sweep, 0).unwrap();
    assert!(whole_files == files(&killed), "the files differ after another run");
    for folder in [whole, killed] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_journal_of_another_sweep_is_refused() {
    let folder = folder("other");
    let journal = Journal::open(&folder, &sweep(SMALL).unwrap()).unwrap();
    let busy = Journal::open(&folder, &sweep(SMALL).unwrap()).unwrap_err();
    assert!(matches!(busy, SweepError::Busy { .. }), "{busy}");
    drop(journal);
    let other = sweep(&SMALL.replace("20.5", "20.6")).unwrap();
    let error = Journal::open(&folder, &other).unwrap_err();
    assert!(matches!(error, SweepError::OtherSweep { .. }), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_summary_has_the_mean_over_the_seeds_and_its_interval() {
    let sweep = sweep(SMALL).unwrap();
    let rows = rows(&sweep, TWO);
    let (cells, summary) = (Table::of_cells(&sweep, &rows), Table::over_seeds(&sweep, &rows));
    assert_eq!((cells.rows.len(), summary.rows.len()), (12, 4));
    assert_eq!(summary.names[..4], ["model.name", "users.rate_per_s", "policy", "seeds"]);
    let number =
        |table: &Table, row: usize, name: &str| table.rows[row][table.column(name).unwrap()].number();
    let met: Vec<f64> = (0..3).map(|row| number(&cells, row, "met").unwrap()).collect();
    assert_eq!(number(&summary, 0, "met"), Some(met.iter().sum::<f64>() / 3.0));
    assert_eq!(number(&summary, 0, "met.ci95"), mean_95(&met).1);
    assert_eq!(number(&summary, 0, "seeds"), Some(3.0));
    // A limit that was never binding in a run counts as 0.
    let binding = cells.names.iter().find(|name| name.starts_with("binding.")).unwrap();
    assert!((0..12).all(|row| number(&cells, row, binding).is_some()));
}

#[test]
fn parquet_holds_what_csv_holds() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    let sweep = sweep(SMALL).unwrap();
    let table = Table::of_cells(&sweep, &rows(&sweep, TWO));
    let folder = folder("parquet");
    std::fs::create_dir_all(&folder).unwrap();
    table.write(&folder, "cells").unwrap();
    let reader =
        SerializedFileReader::new(std::fs::File::open(folder.join("cells.parquet")).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), table.rows.len());
    for (row, expected) in rows.iter().zip(&table.rows) {
        let read: Vec<(&String, String)> =
            row.get_column_iter().map(|(name, field)| (name, field.to_string())).collect();
        assert_eq!(read.len(), expected.len());
        for ((name, read), (known, expected)) in read.iter().zip(table.names.iter().zip(expected)) {
            assert_eq!(*name, known);
            match expected {
                Field::Missing => assert_eq!(read, "null"),
                Field::Text(text) => assert_eq!(*read, format!("{text:?}")),
                Field::Count(_) | Field::Number(_) => {
                    assert_eq!(read.parse::<f64>().ok(), expected.number(), "{name}");
                }
            }
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
