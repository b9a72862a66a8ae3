//! Tests of the store by its public calls.

mod common;

use std::collections::BTreeSet;

use common::*;
use hedgerow_batch::{Listing, Metadata, Status, Store, StoreError};
use proptest::prelude::*;

#[test]
fn a_file_is_there_once_its_upload_has_ended_and_not_before() {
    let folder = Folder::new("upload");
    let mut store = folder.open();
    let bytes: Vec<u8> = (0..700_000_u32).map(|index| index as u8).collect();
    let upload = store.begin_upload(5).unwrap();
    store.append(upload, &bytes).unwrap();
    assert_eq!(store.files(&Listing::default(), 10).unwrap().data, []);
    let file = store.finish_upload(upload, "a.jsonl").unwrap();
    assert_eq!((file.bytes, file.created_at, file.purpose.as_str()), (700_000, 5, "batch"));
    let interrupted = store.begin_upload(6).unwrap();
    store.append(interrupted, &bytes).unwrap();
    drop(store);
    let store = folder.open();
    assert_eq!(store.files(&Listing::default(), 10).unwrap().data, std::slice::from_ref(&file));
    assert!(content(&store, &file.id) == bytes);
}

#[test]
fn a_deleted_file_is_gone_and_its_room_is_free() {
    let folder = Folder::new("delete");
    let mut store = folder.open();
    for _ in 0..10 {
        let file = upload(&mut store, &[b'x'; 1 << 20]);
        store.delete_file(&file).unwrap();
        assert!(matches!(store.file(&file), Err(StoreError::NoFile(id)) if id == file));
        assert!(matches!(store.delete_file(&file), Err(StoreError::NoFile(_))));
    }
    drop(store);
    let bytes = std::fs::metadata(folder.path().join("batches.sqlite")).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

#[test]
fn files_and_batches_are_listed_by_pages() {
    let folder = Folder::new("pages");
    let mut store = folder.open();
    let file = upload(&mut store, input(1).as_bytes());
    let ids: Vec<String> =
        (0..3).map(|_| store.create_batch(&new_batch(&file), 1).unwrap().id).rev().collect::<Vec<_>>();
    let page = store.batches(None, 2).unwrap();
    let newest = page.data[0].id.clone();
    assert!(page.has_more && page.data.len() == 2);
    let last = store.batches(Some(&page.data[1].id), 2).unwrap();
    assert!(!last.has_more && last.data.len() == 1);
    assert!(ids.contains(&newest) && newest != last.data[0].id);
    let other = upload(&mut store, b"x");
    let listing = |after: Option<&str>, oldest_first| Listing {
        purpose: Some("batch".into()),
        after: after.map(str::to_owned),
        oldest_first,
    };
    let newest = store.files(&listing(None, false), 1).unwrap();
    assert!(newest.has_more && newest.data[0].id == other);
    assert_eq!(store.files(&listing(Some(&file), true), 5).unwrap().data[0].id, other);
    assert_eq!(store.files(&listing(Some(&file), false), 5).unwrap().data, []);
    let none = Listing { purpose: Some("batch_output".into()), ..Listing::default() };
    assert_eq!(store.files(&none, 5).unwrap().data, []);
}

#[test]
fn what_exceeds_a_limit_is_refused_with_the_limit() {
    let folder = Folder::new("limits");
    let mut store = folder.open();
    let large = store.begin_upload(1).unwrap();
    store.append(large, &vec![0; 1 << 20]).unwrap();
    assert!(matches!(store.append(large, &[0]), Err(StoreError::FileTooLarge { limit: 0x10_0000 })));
    store.drop_upload(large).unwrap();
    let files: Vec<String> = (0..4).map(|_| upload(&mut store, &[b'x'; 1 << 20])).collect();
    let one_more = store.begin_upload(1).unwrap();
    assert!(matches!(store.append(one_more, &[0]), Err(StoreError::Full { limit: 0x40_0000, .. })));
    store.delete_file(&files[0]).unwrap();
    store.append(one_more, &[0]).unwrap();
    let file = store.finish_upload(one_more, "x").unwrap().id;
    for _ in 0..3 {
        store.create_batch(&new_batch(&file), 1).unwrap();
    }
    let refused = store.create_batch(&new_batch(&file), 1);
    assert!(matches!(refused, Err(StoreError::TooManyBatches { limit: 3 })), "{refused:?}");
    let metadata: Metadata = [("name".to_owned(), "x".repeat(513))].into();
    let new = hedgerow_batch::NewBatch { metadata: Some(metadata), ..new_batch(&file) };
    assert!(matches!(store.create_batch(&new, 1), Err(StoreError::Metadata(_))));
}

#[test]
fn a_batch_runs_to_its_end_and_each_line_has_its_answer() {
    let folder = Folder::new("run");
    let mut store = folder.open();
    let file = upload(&mut store, input(20).as_bytes());
    let metadata: Metadata = [("run".to_owned(), "nightly".to_owned())].into();
    let new = hedgerow_batch::NewBatch { metadata: Some(metadata.clone()), ..new_batch(&file) };
    let batch = store.create_batch(&new, 100).unwrap();
    assert_eq!(
        (batch.status, batch.expires_at, &batch.metadata),
        (Status::Validating, 3700, &Some(metadata))
    );
    let key = store.open_batches().unwrap()[0].key;
    assert_eq!(store.validate(key, 101).unwrap(), Status::InProgress);
    assert!(
        matches!(store.delete_file(&file), Err(StoreError::FileInUse { batch: id, .. }) if id == batch.id)
    );
    let running = BTreeSet::from([1, 3]);
    assert_eq!(begin(&mut store, key, &running, 3), [2, 4, 5]);
    for number in (1..=20).rev() {
        let status = store.finish(key, number, &answer(number), 200 + number).unwrap();
        assert_eq!(status, if number == 1 { Status::Completed } else { Status::InProgress });
        // A second answer to the same line is dropped.
        store.finish(key, number, &answer(number), 999).unwrap();
        let others = (1..number).collect();
        assert!(begin(&mut store, key, &others, 9).is_empty());
    }
    let batch = store.batch(&batch.id).unwrap();
    assert_eq!(
        (batch.status, batch.in_progress_at, batch.completed_at),
        (Status::Completed, Some(101), Some(201))
    );
    let counts = batch.request_counts;
    assert_eq!((counts.total, counts.completed, counts.failed), (20, 18, 2));
    assert_each_line_once(&store, &batch, 20);
    assert_eq!(store.open_batches().unwrap(), []);
    let output = batch.output_file_id.clone().unwrap();
    store.delete_file(&file).unwrap();
    store.delete_file(&output).unwrap();
    assert!(matches!(store.part(&output, 0), Err(StoreError::NoFile(_))));
    assert_eq!(results(&store, batch.error_file_id.as_ref()).len(), 2);
}

#[test]
fn wrong_lines_are_reported_by_their_numbers_and_nothing_is_run() {
    let folder = Folder::new("wrong");
    let mut store = folder.open();
    let long = format!("{{\"custom_id\":\"{}\"}}", "x".repeat(5000));
    let text = format!("{}\n\nno json\n{}{long}", input(2).trim_end(), input(1));
    let file = upload(&mut store, text.as_bytes());
    let id = store.create_batch(&new_batch(&file), 1).unwrap().id;
    let key = store.open_batches().unwrap()[0].key;
    assert_eq!(store.validate(key, 2).unwrap(), Status::Failed);
    let batch = store.batch(&id).unwrap();
    let errors = batch.errors.unwrap().data;
    let found: Vec<_> = errors.iter().map(|error| (error.line, error.code.as_str())).collect();
    let expected =
        [(Some(4), "invalid_json_line"), (Some(5), "duplicate_custom_id"), (Some(6), "line_too_long")];
    assert_eq!(found, expected);
    assert!(errors[1].message.contains("line 1"), "{}", errors[1].message);
    assert_eq!((batch.status, batch.failed_at, batch.request_counts.total), (Status::Failed, Some(2), 0));
    assert_eq!(next(&mut store, key), None);
}

#[test]
fn an_input_without_lines_or_with_too_many_fails() {
    let folder = Folder::new("number-of-lines");
    let mut store = folder.open();
    for (text, code) in [("\n \n".to_owned(), "empty_file"), (input(1001), "too_many_lines")] {
        let file = upload(&mut store, text.as_bytes());
        let id = store.create_batch(&new_batch(&file), 1).unwrap().id;
        let key = store.open_batches().unwrap()[0].key;
        assert_eq!(store.validate(key, 2).unwrap(), Status::Failed);
        let errors = store.batch(&id).unwrap().errors.unwrap().data;
        assert_eq!((errors[0].code.as_str(), errors[0].line, errors.len()), (code, None, 1));
    }
}

#[test]
fn an_expired_or_cancelled_batch_keeps_what_is_there_and_names_the_rest() {
    let folder = Folder::new("early");
    let mut store = folder.open();
    for (code, status) in [("batch_expired", Status::Expired), ("batch_cancelled", Status::Cancelled)] {
        let (id, key) = in_progress(&mut store, 5);
        store.finish(key, 2, &answer(2), 200).unwrap();
        if status == Status::Cancelled {
            assert_eq!(store.cancel(&id, 300).unwrap().status, Status::Cancelling);
            assert_eq!(store.cancel(&id, 301).unwrap().cancelling_at, Some(300));
            assert_eq!(next(&mut store, key), None, "no line begins any more");
            // One that was running may still end.
            assert_eq!(store.finish(key, 3, &answer(3), 302).unwrap(), Status::Cancelling);
            store.end_cancelled(key, 303).unwrap();
        } else {
            store.finish(key, 3, &answer(3), 302).unwrap();
            store.end_expired(key, 303).unwrap();
        }
        store.finish(key, 4, &answer(4), 304).unwrap();
        let batch = store.batch(&id).unwrap();
        assert_eq!((batch.status, batch.expired_at.or(batch.cancelled_at)), (status, Some(303)));
        assert_each_line_once(&store, &batch, 5);
        let errors = results(&store, batch.error_file_id.as_ref());
        assert!(errors.len() == 3 && errors.iter().all(|line| line["error"]["code"] == code), "{errors:?}");
        assert_eq!((batch.request_counts.completed, batch.request_counts.failed), (2, 0));
        assert!(matches!(store.cancel(&id, 305), Err(StoreError::Ended { .. })));
    }
}

#[test]
fn a_batch_can_be_cancelled_before_its_lines_are_checked() {
    let folder = Folder::new("cancel-early");
    let mut store = folder.open();
    let file = upload(&mut store, input(3).as_bytes());
    let id = store.create_batch(&new_batch(&file), 1).unwrap().id;
    let key = store.open_batches().unwrap()[0].key;
    store.cancel(&id, 2).unwrap();
    assert_eq!(store.validate(key, 3).unwrap(), Status::Cancelling);
    store.end_cancelled(key, 4).unwrap();
    let batch = store.batch(&id).unwrap();
    assert_eq!((batch.status, batch.output_file_id, batch.error_file_id), (Status::Cancelled, None, None));
}

#[test]
fn a_line_during_which_processes_end_runs_last_and_alone() {
    let folder = Folder::new("suspect");
    let mut store = folder.open();
    let (id, key) = in_progress(&mut store, 4);
    let none = BTreeSet::new();
    assert_eq!(begin(&mut store, key, &none, 2), [1, 2]);
    // The process ends: both may be the reason.
    drop(store);
    let mut store = folder.open();
    assert_eq!(begin(&mut store, key, &none, 3), [3, 4, 1]);
    store.finish(key, 3, &answer(3), 200).unwrap();
    store.give_back().unwrap();
    drop(store);
    let mut store = folder.open();
    assert_eq!(begin(&mut store, key, &none, 9), [4, 1, 2], "it was no fault of a line that was given back");
    store.finish(key, 4, &answer(4), 200).unwrap();
    drop(store);
    let mut store = folder.open();
    let begun = store.begin(key, &none, 9, false).unwrap();
    assert!(begun.is_empty(), "others run");
    let begun = store.begin(key, &none, 9, true).unwrap();
    assert_eq!(begun.iter().map(|line| (line.number, line.is_suspect())).collect::<Vec<_>>(), [(1, true)]);
    store.finish(key, 1, &answer(1), 200).unwrap();
    assert_eq!(begin(&mut store, key, &none, 9), [2]);
    drop(store);
    let mut store = folder.open();
    assert_eq!(store.begin(key, &none, 9, true).unwrap()[0].interruptions, 3);
    store.finish(key, 2, &answer(2), 200).unwrap();
    assert_each_line_once(&store, &store.batch(&id).unwrap(), 4);
}

#[test]
fn the_batch_that_expires_first_is_the_first() {
    let folder = Folder::new("order");
    let mut store = folder.open();
    let file = upload(&mut store, input(1).as_bytes());
    let ids = ["2h", "30m", "1h"].map(|window| {
        let new = hedgerow_batch::NewBatch { window: window.parse().unwrap(), ..new_batch(&file) };
        store.create_batch(&new, 1).unwrap().id
    });
    let open: Vec<String> = store.open_batches().unwrap().into_iter().map(|batch| batch.id).collect();
    assert_eq!(open, [&*ids[1], &*ids[2], &*ids[0]]);
}

#[test]
fn a_result_file_is_no_input() {
    let folder = Folder::new("purpose");
    let mut store = folder.open();
    let (id, key) = in_progress(&mut store, 1);
    store.finish(key, 1, &answer(1), 200).unwrap();
    let output = store.batch(&id).unwrap().output_file_id.unwrap();
    assert!(matches!(store.create_batch(&new_batch(&output), 1), Err(StoreError::WrongPurpose { .. })));
    assert!(matches!(store.create_batch(&new_batch("file-0"), 1), Err(StoreError::NoFile(_))));
}

#[test]
fn one_store_at_a_time_has_the_database() {
    let folder = Folder::new("locked");
    let store = folder.open();
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(StoreError::InUse { .. })));
    drop(store);
    folder.open();
}

#[test]
fn a_database_that_is_not_ours_is_left_as_it_is() {
    let folder = Folder::new("not-ours");
    let path = folder.path().join("batches.sqlite");
    std::fs::write(&path, "no database, but long enough to be read as one".repeat(100)).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(StoreError::Damaged { .. })));
    assert!(std::fs::read(&path).unwrap() == before);
    std::fs::remove_file(&path).unwrap();
    drop(folder.open());
    // The version is the four bytes at 60 of SQLite's header.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[63] = 9;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(Store::open(folder.path(), LIMITS), Err(StoreError::Newer { found: 9, known: 1, .. })));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new("unwritable");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = Store::open(&file.join("batches"), LIMITS);
    assert!(matches!(refused, Err(StoreError::Unwritable { .. })), "{refused:?}");
}

/// What may happen to a store.
#[derive(Clone, Debug)]
enum Happening {
    Finish(usize, i64),
    Create(i64),
    Validate(usize),
    Cancel(usize),
    EndCancelled(usize),
    EndExpired(usize),
    Reopen,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0_usize..3, 1_i64..8).prop_map(|(batch, number)| Happening::Finish(batch, number)),
        2 => (1_i64..8).prop_map(Happening::Create),
        3 => (0_usize..3).prop_map(Happening::Validate),
        1 => (0_usize..3).prop_map(Happening::Cancel),
        1 => (0_usize..3).prop_map(Happening::EndCancelled),
        1 => (0_usize..3).prop_map(Happening::EndExpired),
        1 => Just(Happening::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens in whatever order, each line of a batch that has ended is exactly once in its results, and the
    /// counts of each batch are those of its lines.
    #[test]
    fn each_line_is_exactly_once_in_the_results_whatever_happens(
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let folder = Folder::new("property");
        let mut store = folder.open();
        let mut batches: Vec<(String, i64, i64)> = Vec::new();
        for (at, happening) in happenings.into_iter().enumerate() {
            let now = 1000 + at as i64;
            let key = |batch: usize| batches.get(batch).map(|batch| batch.1);
            match happening {
                Happening::Create(lines) if batches.len() < 3 => {
                    let file = upload(&mut store, input(lines).as_bytes());
                    let id = store.create_batch(&new_batch(&file), now).unwrap().id;
                    let open = store.open_batches().unwrap();
                    let key = open.iter().find(|open| open.id == id).unwrap().key;
                    batches.push((id, key, lines));
                }
                Happening::Create(_) => {}
                Happening::Reopen => {
                    drop(store);
                    store = folder.open();
                }
                Happening::Finish(batch, number) => {
                    if let Some(key) = key(batch) {
                        store.finish(key, number, &answer(number), now).unwrap();
                    }
                }
                Happening::Validate(batch) => drop(key(batch).map(|key| store.validate(key, now).unwrap())),
                Happening::Cancel(batch) => {
                    if let Some((id, ..)) = batches.get(batch) {
                        let had_ended = store.batch(id).unwrap().status.has_ended();
                        prop_assert_eq!(store.cancel(id, now).is_err(), had_ended);
                    }
                }
                Happening::EndCancelled(batch) => drop(key(batch).map(|key| store.end_cancelled(key, now).unwrap())),
                Happening::EndExpired(batch) => drop(key(batch).map(|key| store.end_expired(key, now).unwrap())),
            }
            for (id, key, lines) in &batches {
                let batch = store.batch(id).unwrap();
                let counts = batch.request_counts;
                let was_checked = counts.total > 0;
                prop_assert!(!was_checked || counts.total == *lines);
                let waiting = counts.total - counts.completed - counts.failed;
                let begun = begin(&mut store, *key, &BTreeSet::new(), 100).len() as i64;
                if batch.status == Status::InProgress {
                    // Lines that may make the process end begin one by one.
                    prop_assert!(begun == waiting || (begun > 0 && waiting > 0));
                } else {
                    prop_assert_eq!(begun, 0);
                }
                if batch.status.has_ended() && was_checked {
                    assert_each_line_once(&store, &batch, *lines);
                    let output = results(&store, batch.output_file_id.as_ref());
                    prop_assert_eq!(output.len() as i64, counts.completed);
                }
            }
        }
    }
}
