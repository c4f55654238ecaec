//! Who may open a data directory, and the log's epochs.

use std::path::Path;

use ultramarine_types::storage::{Blobs, LogCondition, LogEpoch, StoreRequest, Tag};
use ultramarine_types::{ChainIdentity, Height};

use super::support::*;
use crate::OpenError;
use crate::journal::{LOG_FILES_COUNT, log_path};
use crate::log::LogHeader;

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Store::open(folder.path());
    let refused = Store::try_open(folder.path(), &options())
        .err()
        .expect("the lock is held");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    let view = std::sync::Arc::clone(&first.view);
    drop(first);
    assert!(
        Store::try_open(folder.path(), &options()).is_err(),
        "a reader still maps its files"
    );
    drop(view);
    Store::open(folder.path());
}

#[test]
fn another_chains_directory_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Store::open(folder.path()));
    let other = crate::StoreOptions {
        chain: ChainIdentity([1; 32]),
        ..options()
    };
    let refused = Store::try_open(folder.path(), &other)
        .err()
        .expect("it is another chain's");
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("use another directory"));
}

#[test]
fn a_damaged_index_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Store::open(folder.path()));
    std::fs::write(folder.path().join("index.redb"), b"this is no database").expect("written");
    let refused = Store::try_open(folder.path(), &options()).err().expect("it is damaged");
    assert!(!refused.to_string().is_empty(), "{refused}");
}

#[test]
fn the_log_comes_back_in_order_after_any_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let begun = store.begin(1);
    store.log(&[b"one", b"two"]);
    store.log(&[b"three"]);
    store.lsn += 1;
    let lost = StoreRequest::LogAppend {
        lsn: ultramarine_types::Lsn(store.lsn),
        record: bytes::Bytes::from_static(b"unsynced"),
    };
    store.ask([lost]);
    drop(store);
    let mut generation = begun.generation;
    for _ in 0..3 {
        let mut store = Store::open(folder.path());
        let log = store.recovered.log.clone().expect("the log is there");
        assert_eq!(log.condition, LogCondition::Whole);
        assert_eq!(log.records[..3], [&b"one"[..], b"two", b"three"]);
        assert_eq!(log.epoch.height, Height(1));
        assert!(log.epoch.generation > generation, "it goes on in a fresh file");
        generation = log.epoch.generation;
        assert_eq!(store.begin(1), log.epoch, "beginning the same epoch again keeps it");
        store.log(&[b"more"]);
    }
    let store = Store::open(folder.path());
    assert_eq!(store.recovered.log.expect("the log").records.len(), 6);
}

#[test]
fn a_record_that_nobody_asked_to_sync_is_not_written_into_a_later_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.begin(1);
    store.lsn += 1;
    let record = StoreRequest::LogAppend {
        lsn: ultramarine_types::Lsn(store.lsn),
        record: bytes::Bytes::from_static(b"of the first height"),
    };
    store.ask([record]);
    let value = value(1, 1, 1);
    store.put(&value, Tag::Streamed);
    store.commit(&value);
    store.begin(2);
    store.log(&[b"of the second height"]);
    let log = reopened(store, folder.path()).recovered.log.expect("the log");
    assert_eq!(log.epoch.height, Height(2));
    assert_eq!(log.records, [&b"of the second height"[..]]);
}

#[test]
fn each_height_has_its_own_epoch_and_none_is_lost_to_a_crash_after_the_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let mut generation = 0;
    for height in 1..=5 {
        let epoch = store.begin(height);
        assert!(epoch.generation > generation);
        generation = epoch.generation;
        store.log(&[format!("vote at {height}").as_bytes()]);
        store.grow(height..=height, 1);
    }
    drop(store);
    let store = Store::open(folder.path());
    let log = store.recovered.log.expect("the mark came with the commit");
    assert_eq!((log.epoch.height, log.condition), (Height(6), LogCondition::Whole));
    assert!(log.records.is_empty());
}

#[test]
fn a_lost_log_is_missing_and_stays_so_until_the_next_height() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.begin(1);
    store.log(&[b"a signed vote"]);
    drop(store);
    for number in 0..LOG_FILES_COUNT {
        std::fs::write(log_path(folder.path(), number), vec![0; 4096]).expect("written");
    }
    for _ in 0..2 {
        let mut store = Store::open(folder.path());
        let log = store.recovered.log.clone().expect("the mark is there");
        assert_eq!((log.epoch.height, log.condition), (Height(1), LogCondition::Missing));
        assert!(log.records.is_empty());
        assert_eq!(store.begin(1), log.epoch, "no fresh epoch at that height");
        store.log(&[b"not kept: nothing may be signed here"]);
    }
    let mut store = Store::open(folder.path());
    store.grow(1..=1, 1);
    store.begin(2);
    store.log(&[b"signing again"]);
    drop(store);
    let log = Store::open(folder.path()).recovered.log.expect("the log");
    assert_eq!(
        (log.epoch.height, log.condition, log.records.len()),
        (Height(2), LogCondition::Whole, 1)
    );
}

/// Each frame is followed by an empty one, written once the frame was synced.
#[test]
fn damage_to_any_frame_that_was_synced_is_corruption_and_no_torn_tail() {
    for (page, expected, records) in [
        (1, LogCondition::Corrupt, 0),
        (2, LogCondition::Corrupt, 0),
        (3, LogCondition::Corrupt, 0),
        (5, LogCondition::Corrupt, 0),
        // The empty frame behind the last: nothing is said in it.
        (6, LogCondition::Whole, 3),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        store.begin(1);
        for record in [b"first", b"other", b"third"] {
            store.log(&[record]);
        }
        drop(store);
        for number in 0..LOG_FILES_COUNT {
            let path = log_path(folder.path(), number);
            let mut file = std::fs::read(&path).expect("a log file");
            file[4096 * page + 20] ^= 1;
            std::fs::write(&path, file).expect("written");
        }
        let log = Store::open(folder.path()).recovered.log.expect("the mark is there");
        assert_eq!((log.condition, log.records.len()), (expected, records), "page {page}");
    }
}

#[test]
fn a_frame_that_no_sync_ended_is_a_torn_tail() {
    // The second frame is cut short in its header, its record or wholly, and nothing came behind it.
    for torn in [20..21, 60..61, 0..4096] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        store.begin(1);
        store.log(&[b"first"]);
        store.log(&[&[7; 100]]);
        drop(store);
        for number in 0..LOG_FILES_COUNT {
            let path = log_path(folder.path(), number);
            let mut file = std::fs::read(&path).expect("a log file");
            file[4096 * 3 + torn.start..4096 * 3 + torn.end].fill(0);
            file[4096 * 4..4096 * 5].fill(0);
            std::fs::write(&path, file).expect("written");
        }
        let log = Store::open(folder.path()).recovered.log.expect("the mark is there");
        assert_eq!((log.condition, log.records.len()), (LogCondition::Whole, 1), "{torn:?}");
    }
}

#[test]
fn log_positions_out_of_order_stop_the_store() {
    let append = |lsn| StoreRequest::LogAppend {
        lsn: ultramarine_types::Lsn(lsn),
        record: bytes::Bytes::new(),
    };
    let sync = StoreRequest::LogSync {
        lsn: ultramarine_types::Lsn(3),
    };
    let backwards = StoreRequest::BeginEpoch { height: Height(0) };
    for (is_begun, misuse) in [(false, append(1)), (true, append(2)), (true, sync), (true, backwards)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        if is_begun {
            store.begin(1);
            store.ask([append(2)]);
        }
        assert!(store.try_ask([misuse.clone()]).is_err(), "{misuse:?}");
        drop(store);
        Store::open(folder.path()).put(&value(1, 1, 1), Tag::Streamed);
    }
}

#[test]
#[should_panic(expected = "nothing is asked of a store that failed")]
fn a_store_that_failed_is_asked_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    assert!(
        store.try_ask([commit(&value(1, 1, 1), Blobs::Held)]).is_err(),
        "it is not stored"
    );
    store.put(&value(1, 1, 1), Tag::Streamed);
}

#[test]
fn heights_committed_without_their_epochs_leave_a_whole_log_at_every_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.begin(1);
    for height in 1..=5 {
        store.grow(height..=height, 0);
        let copied = tempfile::tempdir().expect("a folder");
        copy(folder.path(), copied.path());
        let log = Store::open(copied.path()).recovered.log.expect("the mark");
        assert_eq!(
            (log.epoch.height, log.condition),
            (Height(height + 1), LogCondition::Whole)
        );
    }
    store.begin(6);
    store.log(&[b"vote"]);
    drop(store);
    assert_eq!(
        Store::open(folder.path()).recovered.log.expect("the log").records.len(),
        1
    );
}

/// The number of an epoch's file.
fn number_of(folder: &Path, epoch: LogEpoch) -> usize {
    let is_it = |number: &usize| {
        let file = std::fs::read(log_path(folder, *number)).expect("a log file");
        LogHeader::decode(&file).is_some_and(|header| header.epoch == epoch)
    };
    (0..LOG_FILES_COUNT).find(is_it).expect("an epoch has a file")
}

/// A file made ready for an epoch whose mark never came.
fn unmarked_log(epoch: LogEpoch) -> Vec<u8> {
    let header = LogHeader {
        epoch,
        salt: 0x5a17,
        chain: CHAIN,
    };
    let mut file = header.encode();
    file.resize(256 * 1024, 0);
    file
}

#[test]
fn two_logs_of_one_epoch_are_doubted() {
    for older in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        let epoch = store.begin(1);
        store.log(&[b"a vote"]);
        let number = number_of(folder.path(), epoch);
        let mut copied = std::fs::read(log_path(folder.path(), number)).expect("a log file");
        if !older {
            store.log(&[b"another vote"]);
            copied = std::fs::read(log_path(folder.path(), number)).expect("a log file");
        }
        drop(store);
        for other in (0..LOG_FILES_COUNT).filter(|other| *other != number) {
            let doubtful = tempfile::tempdir().expect("a folder");
            copy(folder.path(), doubtful.path());
            std::fs::write(log_path(doubtful.path(), other), &copied).expect("written");
            for _ in 0..2 {
                let store = Store::open(doubtful.path());
                let log = store.recovered.log.expect("the mark is there");
                assert_eq!(log.condition, LogCondition::Missing, "files {number} and {other}");
                assert!(log.records.is_empty());
            }
        }
    }
}

#[test]
fn a_generation_counts_up_from_the_newest_file_whether_marked_or_not() {
    for number in 0..LOG_FILES_COUNT {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        let epoch = store.begin(1);
        store.log(&[b"a vote"]);
        drop(store);
        if number == number_of(folder.path(), epoch) {
            continue;
        }
        let newest = LogEpoch {
            height: Height(2),
            generation: 1000,
        };
        std::fs::write(log_path(folder.path(), number), unmarked_log(newest)).expect("written");
        let log = Store::open(folder.path()).recovered.log.expect("the log");
        assert_eq!((log.condition, log.records.len()), (LogCondition::Whole, 1));
        assert!(log.epoch.generation > 1000, "number {number}: {:?}", log.epoch);
    }
}

#[test]
fn a_log_prepared_before_a_crash_is_never_taken_for_a_later_one() {
    for number in 0..LOG_FILES_COUNT {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        let epoch = store.begin(1);
        drop(store);
        let unmarked = LogEpoch {
            height: Height(2),
            generation: epoch.generation + 1,
        };
        for lost in 0..LOG_FILES_COUNT {
            std::fs::write(log_path(folder.path(), lost), vec![0; 4096]).expect("written");
        }
        std::fs::write(log_path(folder.path(), number), unmarked_log(unmarked)).expect("written");
        let mut store = Store::open(folder.path());
        assert_eq!(
            store.recovered.log.as_ref().expect("the mark").condition,
            LogCondition::Missing
        );
        store.grow(1..=1, 0);
        drop(store);
        let log = Store::open(folder.path()).recovered.log.expect("the log");
        assert_eq!((log.epoch.height, log.condition), (Height(2), LogCondition::Whole));
        assert!(log.records.is_empty(), "number {number}: {:?}", log.records);
    }
}

/// Votes at heights that the index forgot would be given once more.
#[test]
fn an_index_that_lost_its_newest_decisions_is_refused() {
    for lost_from in 0..3 {
        let (folder, copied) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, copied) = (folder.expect("a folder"), copied.expect("a folder"));
        let index = folder.path().join("index.redb");
        let mut store = Store::open(folder.path());
        for height in 1..=3 {
            if height == lost_from + 1 {
                std::fs::copy(&index, copied.path().join("index.redb")).expect("a copy");
            }
            store.begin(height);
            store.log(&[b"a vote"]);
            if height < 3 {
                store.grow(height..=height, 0);
            }
        }
        drop(store);
        std::fs::copy(copied.path().join("index.redb"), &index).expect("put back");
        for _ in 0..2 {
            let opened = Store::try_open(folder.path(), &options());
            if lost_from == 2 {
                // The mark of height 3 came with the decision of height 2.
                let log = opened.expect("nothing is lost").recovered.log.expect("the log");
                assert_eq!((log.epoch.height, log.condition), (Height(3), LogCondition::Whole));
                continue;
            }
            let refused = opened.err().expect("votes of later heights are there");
            assert!(matches!(refused, OpenError::RolledBack { .. }), "{refused}");
        }
    }
}

#[test]
fn a_log_that_a_newer_one_of_its_height_outgrew_is_doubted() {
    for outgrown in [false, true] {
        let (folder, copied) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, copied) = (folder.expect("a folder"), copied.expect("a folder"));
        let (index, kept) = (folder.path().join("index.redb"), copied.path().join("index.redb"));
        let mut store = Store::open(folder.path());
        store.begin(1);
        store.log(&[b"a vote"]);
        drop(store);
        std::fs::copy(&index, &kept).expect("a copy");
        let mut store = Store::open(folder.path());
        if outgrown {
            store.log(&[b"another vote"]);
        }
        drop(store);
        std::fs::copy(&kept, &index).expect("put back");
        let log = Store::open(folder.path()).recovered.log.expect("the mark");
        let expected = if outgrown {
            (LogCondition::Missing, 0)
        } else {
            // As after a kill between the new file and its mark.
            (LogCondition::Whole, 1)
        };
        assert_eq!((log.condition, log.records.len()), expected);
    }
}
