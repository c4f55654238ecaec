//! What the background check notices, and what it leaves alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redb::{ReadableTable, TableDefinition};
use ultramarine_runtime::{Halt, Reason};
use ultramarine_types::Height;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{ScrubProgress, Source};

use super::support::*;
use crate::scrub::{self, Scrub};

/// Faster than any test reads.
const AT_ONCE: u64 = u64::MAX;

/// Reads everything once; what was damaged then.
fn pass(store: &Store) -> Vec<Height> {
    let whole = Scrub::new(&store.view, AT_ONCE, |_| false).pass();
    assert!(whole.is_ok(), "nobody halts");
    store.view.damaged()
}

fn progress(store: &Store) -> ScrubProgress {
    store.view.metrics().scrub.progress()
}

#[test]
fn a_planted_flip_is_found_within_a_pass_wherever_it_is() {
    let blobs_at = 4096;
    for (at, what) in [
        (8, "the record's header"),
        (140, "the table"),
        (700, "lists, init or payload"),
        (blobs_at, "the first blob"),
        (blobs_at + BLOB_BYTES as u64 + 77, "the second blob"),
        (blobs_at + 2 * BLOB_BYTES as u64 - 1, "its last byte"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open_with(folder.path(), &cold());
        let values = store.grow(1..=4, 2);
        assert_eq!(pass(&store), [], "{what}");
        assert_eq!(progress(&store).found, 0);
        let place = store.view.on_disk(&values[1].key).expect("on disk");
        flip(&place.path, place.offset + at);
        assert_eq!(pass(&store), [Height(2)], "{what}");
        assert_eq!(progress(&store).found, 1);
        let damage = store.view.damage_of(Height(2)).expect("it is known");
        assert!(
            damage.reason.contains("height 2: its record in segment"),
            "{}",
            damage.reason
        );
        assert!(store.view.decided_value(Height(2)).is_err(), "it is not served");
        assert_eq!(pass(&store), [Height(2)], "what is known is not found again");
        assert_eq!(progress(&store).found, 1);
    }
}

#[test]
fn a_payload_that_was_moved_is_read_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=20, 6);
    store.retire(15);
    assert_eq!(pass(&store), []);
    let place = store.view.on_disk(&values[2].key).expect("its payload is on disk");
    assert!(place.path.to_string_lossy().contains("payloads-"));
    flip(&place.path, place.offset + 700);
    assert_eq!(pass(&store), [Height(3)]);
}

#[test]
fn rows_of_the_index_are_held_against_each_other_and_against_the_files() {
    let locations = TableDefinition::<u64, &[u8]>::new("locations");
    let decided = TableDefinition::<u64, &[u8]>::new("decided");
    let blocks = TableDefinition::<&[u8; 32], u64>::new("blocks");
    type Change<'a> = &'a dyn Fn(&redb::WriteTransaction);
    let changes: [(&str, Change<'_>); 4] = [
        ("no way from the block", &|transaction| {
            let mut table = transaction.open_table(blocks).expect("a table");
            table
                .remove(&block_hash(3, 3).0)
                .expect("written")
                .expect("it was there");
        }),
        ("the place of another", &|transaction| {
            let mut table = transaction.open_table(locations).expect("a table");
            let other = table.get(4).expect("read").expect("there").value().to_vec();
            table.insert(3, other.as_slice()).expect("written");
        }),
        ("the row of another", &|transaction| {
            let mut table = transaction.open_table(decided).expect("a table");
            let other = table.get(4).expect("read").expect("there").value().to_vec();
            table.insert(3, other.as_slice()).expect("written");
        }),
        ("no row", &|transaction| {
            let mut table = transaction.open_table(decided).expect("a table");
            table.remove(3).expect("written").expect("it was there");
        }),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        store.grow(1..=5, 1);
        drop(store);
        let database = redb::Database::open(folder.path().join("index.redb")).expect("the index");
        let transaction = database.begin_write().expect("a transaction");
        change(&transaction);
        transaction.commit().expect("written");
        drop(database);
        let store = Store::open_with(folder.path(), &cold());
        assert_eq!(pass(&store), [Height(3)], "{what}");
    }
}

#[test]
fn a_header_page_that_rotted_is_an_alarm() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let value = store.grow(1..=2, 2).remove(0);
    let place = store.view.on_disk(&value.key).expect("on disk");
    flip(&place.path, 20);
    assert_eq!(pass(&store), [], "what its records hold is whole");
    assert_eq!(progress(&store).found, 1);
}

#[test]
fn a_log_head_or_a_page_of_the_indexs_file_that_rotted_is_an_alarm() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=5, 1);
    assert_eq!(pass(&store), []);
    assert_eq!(progress(&store).found, 0);
    flip(&folder.path().join("log-1"), 33);
    assert_eq!(pass(&store), []);
    assert_eq!(progress(&store).found, 1);
    let path = folder.path().join("index.redb");
    let content = std::fs::read(&path).expect("read");
    // Pages of older states stand beside the newest: the row is flipped wherever it is.
    let rows = content
        .windows(32)
        .enumerate()
        .filter(|(_, row)| *row == block_hash(4, 4).0);
    let places: Vec<u64> = rows.map(|(at, _)| at as u64).collect();
    for at in places {
        flip(&path, at);
    }
    pass(&store);
    assert!(
        progress(&store).found >= 3,
        "the log, and the index: {:?}",
        progress(&store)
    );
}

#[test]
fn a_page_of_the_indexs_file_that_rotted_is_written_anew_and_a_start_finds_all_of_it() {
    for every in [1, 7] {
        let folder = tempfile::tempdir().expect("a folder");
        let options = cold();
        let mut store = Store::open_with(folder.path(), &options);
        let values = store.grow(1..=900, 0);
        let path = folder.path().join("index.redb");
        let bytes = std::fs::metadata(&path).expect("it is there").len();
        assert!(bytes > 600 << 10, "many pages: {bytes}");
        for page in (4096..bytes).step_by(4096 * every) {
            flip(&path, page + 100);
        }
        assert_eq!(pass(&store), []);
        assert_eq!(metric(&options, "ultramarine_store_index_renewals_total"), 1);
        let found = progress(&store).found;
        assert_eq!(pass(&store), []);
        assert_eq!(progress(&store).found, found, "the file is whole again");
        drop(store);
        let store = Store::open_with(folder.path(), &cold());
        for value in &values {
            let (_, found) = store.view.decided_value(value.key.height).expect("it is there");
            assert_same(&found, value);
        }
    }
}

#[test]
fn an_index_that_is_written_meanwhile_is_not_called_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=50, 0);
    let view = std::sync::Arc::clone(&store.view);
    let passes_count = AtomicU32::new(0);
    std::thread::scope(|threads| {
        let scrubbing = threads.spawn(|| {
            for _ in 0..3 {
                assert!(Scrub::new(&view, AT_ONCE, |_| false).pass().is_ok());
                passes_count.fetch_add(1, Ordering::AcqRel);
            }
        });
        let mut height = 51;
        while passes_count.load(Ordering::Acquire) < 3 && !scrubbing.is_finished() {
            store.grow(height..=height, 0);
            height += 1;
        }
        scrubbing.join().expect("no panic");
        assert!(height > 60, "written meanwhile: {height}");
    });
    assert_eq!(progress(&store).found, 0);
}

#[test]
fn reading_keeps_to_the_rate_and_ends_when_the_node_halts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=20, 6);
    let mut longest = Duration::ZERO;
    let mut at_a_rate = Scrub::new(&store.view, 1_000_000, |pause| {
        longest = longest.max(pause);
        false
    });
    let begun = Instant::now();
    assert!(at_a_rate.pass().is_ok());
    // No time passed in the pauses, so each is what all that was read before it should have taken.
    let due = Duration::from_micros(progress(&store).bytes);
    assert!(
        due > Duration::from_secs(15),
        "20 heights of six blobs at 1 MB a second"
    );
    assert!(
        longest + begun.elapsed() + Duration::from_millis(10) >= due,
        "{longest:?} of {due:?}"
    );
    let before = progress(&store);
    let halted = Scrub::new(&store.view, 1_000_000, |_| true).pass();
    assert!(halted.is_err());
    assert_eq!(progress(&store).passes, before.passes);
}

#[test]
fn a_record_that_moves_while_it_is_read_is_not_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=20, 6);
    let view = std::sync::Arc::clone(&store.view);
    let mut calls = 0;
    let mut scrub = Scrub::new(&view, AT_ONCE, |_| {
        calls += 1;
        // In the midst of the first record.
        if calls == 4 {
            store.retire(15);
            // The file is recycled, and has other bytes.
            store.grow(21..=40, 6);
        }
        false
    });
    assert!(scrub.pass().is_ok());
    assert!(store.view.oldest_blobs() > Height(1));
    assert_eq!(view.damaged(), []);
    assert_eq!(progress(&store).found, 0);
}

#[test]
fn the_thread_goes_round_until_the_node_halts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=3, 1);
    let halt = Halt::new();
    scrub::start(&halt, &store.view, 0).expect("none is started");
    assert_eq!(store.view.scrub_progress(), None);
    scrub::start(&halt, &store.view, 1_000_000_000).expect("it starts");
    let until = Instant::now() + Duration::from_secs(30);
    while progress(&store).passes == 0 {
        assert!(Instant::now() < until, "a pass ends");
        std::thread::sleep(Duration::from_millis(10));
    }
    let shown = store.view.scrub_progress().expect("it runs");
    assert_eq!((shown.height, shown.found), (3, 0));
    assert!(shown.last_pass.is_some() && shown.bytes > 3 * BLOB_BYTES as u64);
    halt.stop(Reason::Asked);
    let view = std::sync::Arc::downgrade(&store.view);
    drop(store);
    while view.strong_count() > 0 {
        assert!(Instant::now() < until, "the thread ends and lets go of the directory");
        std::thread::sleep(Duration::from_millis(10));
    }
}
