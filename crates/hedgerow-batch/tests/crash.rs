//! A process that works through a batch is killed again and again; in the end each line is exactly once in the results.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use hedgerow_batch::{Listing, Status, Store};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

const LINES: i64 = 200;
const KILLS: usize = 50;

/// The child finds the folder of its store here.
const FOLDER: &str = "HEDGEROW_BATCH_CRASH_FOLDER";

/// Reports a committed change to the parent.
fn committed() {
    println!("committed");
}

/// Not a test of its own: what the child process runs. It goes on from wherever the store is.
#[test]
fn a_child_works_through_the_batch() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut store = Store::open(Path::new(&folder), LIMITS).unwrap();
    committed();
    let listing = Listing { purpose: Some("batch".into()), ..Listing::default() };
    if store.batches(None, 1).unwrap().data.is_empty() {
        let uploaded = store.files(&listing, 1).unwrap().data.first().map(|file| file.id.clone());
        let file = uploaded.unwrap_or_else(|| upload(&mut store, input(LINES).as_bytes()));
        committed();
        store.create_batch(&new_batch(&file), 100).unwrap();
        committed();
    }
    let Some(batch) = store.open_batches().unwrap().into_iter().next() else { return };
    store.validate(batch.key, 101).unwrap();
    committed();
    // Lines are run several at a time, and end in another order than they begin.
    let mut running = BTreeSet::new();
    loop {
        let begun = begin(&mut store, batch.key, &running, 4);
        running.extend(begun);
        let Some(number) = running.pop_last() else { return };
        store.finish(batch.key, number, &answer(number), 200).unwrap();
        committed();
    }
}

/// When a child is killed.
#[derive(Debug)]
enum Moment {
    /// After so many committed changes.
    Committed(usize),
    /// So long after its start.
    After(Duration),
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_works_through_the_batch", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a moment and kills the child by SIGKILL; returns whether it was killed before it had ended.
fn kill_at(mut child: Child, moment: &Moment) -> bool {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    match moment {
        Moment::Committed(count) => {
            let of_child = lines.by_ref().map_while(Result::ok).filter(|line| line.ends_with("committed"));
            let _ = of_child.take(*count).count();
        }
        Moment::After(delay) => std::thread::sleep(*delay),
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() || status.code().is_none(), "the child failed by itself: {status}");
    !status.success()
}

fn check(folder: &Path) {
    let store = Store::open(folder, LIMITS).unwrap();
    let batches = store.batches(None, 10).unwrap().data;
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].status, Status::Completed);
    assert_eq!(batches[0].request_counts.total, LINES);
    assert_each_line_once(&store, &batches[0], LINES);
}

#[test]
fn each_line_is_exactly_once_in_the_results_however_often_the_process_is_killed() {
    let mut random = SmallRng::seed_from_u64(20_260_801);
    let (mut kills, mut rounds) = (0, 0);
    while kills < KILLS {
        rounds += 1;
        let folder = Folder::new(&format!("crash-{rounds}"));
        loop {
            let moment = if random.random_bool(0.5) {
                Moment::Committed(random.random_range(0..12))
            } else {
                Moment::After(Duration::from_micros(random.random_range(0..60_000)))
            };
            if kills < KILLS && kill_at(start(folder.path()), &moment) {
                kills += 1;
                continue;
            }
            assert!(start(folder.path()).wait_with_output().unwrap().status.success());
            break;
        }
        check(folder.path());
    }
    eprintln!("{kills} kills in {rounds} batches");
}

/// The log as it may be after a power cut: the last transaction is torn, or garbage follows it.
#[test]
fn a_torn_end_of_the_log_costs_no_more_than_the_last_transaction() {
    let mut random = SmallRng::seed_from_u64(7);
    for round in 0..20 {
        let folder = Folder::new(&format!("torn-{round}"));
        let mut store = folder.open();
        let (id, key) = in_progress(&mut store, 20);
        for number in 1..=10 {
            store.finish(key, number, &answer(number), 200).unwrap();
        }
        // The files as they are while the store is open: closing it would empty the log.
        let copy = Folder::new(&format!("torn-{round}-copy"));
        for file in ["batches.sqlite", "batches.sqlite-wal"] {
            std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
        }
        drop(store);
        let log = copy.path().join("batches.sqlite-wal");
        let mut bytes = std::fs::read(&log).unwrap();
        assert!(bytes.len() < 4_000_000, "nothing was moved from the log to the database yet");
        let is_cut = random.random_bool(0.5);
        if is_cut {
            bytes.truncate(bytes.len() - random.random_range(1..4000));
        } else {
            bytes.extend((0..random.random_range(1..9000)).map(|_| random.random::<u8>()));
        }
        std::fs::write(&log, bytes).unwrap();
        let mut store = copy.open();
        let done = store.batch(&id).unwrap().request_counts;
        let expected = if is_cut { 9 } else { 10 };
        assert_eq!(done.completed + done.failed, expected);
        while let Some(number) = next(&mut store, key) {
            store.finish(key, number, &answer(number), 300).unwrap();
        }
        assert_each_line_once(&store, &store.batch(&id).unwrap(), 20);
    }
}
