//! How decided heights are stored again: damaged ones, and those whose blobs were not here.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use redb::{Database, TableDefinition};
use ultramarine_runtime::medium::ready;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Absent, Blobs, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height};

use super::support::*;

/// The tables of FORMAT.md that a test spoils.
const DECIDED: TableDefinition<u64, &[u8]> = TableDefinition::new("decided");
const LOCATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("locations");

fn restored(assembly: &Assembly) -> StoreRequest {
    StoreRequest::Put {
        assembly: assembly.clone(),
        tag: Tag::Restored,
    }
}

fn vouch(assembly: &Assembly) -> StoreRequest {
    StoreRequest::Vouch(Box::new(certificate(assembly)))
}

/// Stores a value again; what is said of its blobs.
#[track_caller]
fn restore(store: &mut Store, assembly: &Assembly) -> Blobs {
    match &store.ask([restored(assembly)])[..] {
        [StoreReply::Stored { key, tag, blobs, .. }] => {
            assert_eq!((*key, *tag), (assembly.key, Tag::Restored));
            *blobs
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(store: &mut Store, assembly: &Assembly) -> String {
    match &store.ask([restored(assembly)])[..] {
        [StoreReply::Refused { key, reason }] if *key == assembly.key => reason.clone(),
        other => panic!("{other:?}"),
    }
}

/// Flips a byte of a value's first blob on disk.
fn damage_blob(store: &Store, assembly: &Assembly) {
    let held = store.view.on_disk(&assembly.key).expect("it is held");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&held.path)
        .expect("the segment");
    let at = held.offset + held.bytes - (assembly.blobs.len() * BLOB_BYTES) as u64 + 77;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

/// Spoils a row of a closed index.
fn spoil_row(folder: &Path, table: TableDefinition<'_, u64, &'static [u8]>, height: u64) {
    let database = Database::open(folder.join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    transaction
        .open_table(table)
        .expect("the table")
        .insert(height, &b"rotten"[..])
        .expect("written");
    transaction.commit().expect("durable");
}

fn told(store: &mut Store) -> Vec<Height> {
    let mut out = Vec::new();
    store.writer.tell_damage(100, &mut out);
    let height = |reply| match reply {
        StoreReply::Damaged { height } => height,
        other => panic!("{other:?}"),
    };
    out.into_iter().map(height).collect()
}

fn assert_whole(store: &Store, values: &[Assembly]) {
    for value in values {
        let (_, found) = store.view.decided_value(value.key.height).expect("it is whole");
        assert_same(&found, value);
    }
    assert!(store.view.damaged().is_empty());
}

#[test]
fn a_damaged_height_is_stored_again_and_served_over_a_restart_too() {
    for is_blob in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open_with(folder.path(), &cold());
        let values = store.grow(1..=5, 2);
        let (value, height) = (&values[2], Height(3));
        if is_blob {
            damage_blob(&store, value);
        } else {
            damage_payload(&store, &value.key);
        }
        assert_eq!(store.view.decided_value(height).unwrap_err(), Absent::Damaged);
        assert_eq!(told(&mut store), [height]);
        assert_eq!(restore(&mut store, value), Blobs::Held);
        assert_whole(&store, &values);
        assert!(told(&mut store).is_empty());
        drop(store);
        let mut store = Store::open_with(folder.path(), &cold());
        // Another time, before anybody has read it in this life.
        damage_payload(&store, &value.key);
        assert!(store.view.decided_payload(height).is_none());
        assert_eq!(restore(&mut store, value), Blobs::Held);
        assert_whole(&store, &values);
    }
}

#[test]
fn only_the_value_that_was_decided_is_stored_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=3, 2);
    damage_payload(&store, &values[1].key);
    assert!(store.view.decided_value(Height(2)).is_err());
    let another = value(2, 99, 2);
    assert!(refused(&mut store, &another).contains("was decided at its height"));
    // Whatever vouches for it: our own row can be read.
    store.ask([vouch(&another)]);
    assert!(refused(&mut store, &another).contains("was decided at its height"));
    for undecided in [value(4, 4, 2), value(9, 9, 2)] {
        assert!(refused(&mut store, &undecided).contains("not decided here"));
    }
    assert_eq!(store.view.decided_value(Height(2)).unwrap_err(), Absent::Damaged);
    restore(&mut store, &values[1]);
    assert_whole(&store, &values);
}

#[test]
fn a_rotten_row_is_written_anew_from_the_certificate_that_vouches_for_it() {
    for table in [DECIDED, LOCATIONS] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path());
        let values = store.grow(1..=100, 1);
        let value = &values[1];
        drop(store);
        spoil_row(folder.path(), table, 2);
        let mut store = Store::open_with(folder.path(), &cold());
        assert!(store.view.decided(Height(2)).is_none());
        assert_eq!(told(&mut store), [Height(2)]);
        let why = refused(&mut store, value);
        assert!(why.contains("no certificate vouches"), "{why}");
        let another = super::support::value(2, 99, 1);
        store.ask([vouch(&another)]);
        assert!(refused(&mut store, value).contains("was decided at its height"));
        store.ask([vouch(value)]);
        assert_eq!(restore(&mut store, value), Blobs::Held);
        assert_whole(&store, &values);
        assert_eq!(
            store.view.height_of_block(&value.init.metadata.header.block_hash),
            Some(Height(2))
        );
        assert_eq!(
            store.view.decided(Height(2)).expect("its row").certificate,
            certificate(value)
        );
        let store = reopened(store, folder.path());
        assert_whole(&store, &values);
    }
}

#[test]
fn a_crash_before_the_index_knows_leaves_the_old_place() {
    let (folder, killed) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=3, 2);
    damage_payload(&store, &values[1].key);
    assert!(store.view.decided_payload(Height(2)).is_none());
    let mut out = Vec::new();
    ready(store.writer.handle(restored(&values[1]), &mut out)).expect("appended");
    assert!(out.is_empty(), "it is not durable");
    copy(folder.path(), killed.path());
    assert_eq!(
        store.view.decided_value(Height(2)).unwrap_err(),
        Absent::Damaged,
        "it is not served before"
    );
    ready(store.writer.flush(&mut out)).expect("synced");
    assert!(
        matches!(&out[..], [StoreReply::Stored { tag: Tag::Restored, .. }]),
        "{out:?}"
    );
    assert_whole(&store, &values);
    // The other life: damaged as it was, and healed in turn.
    let mut store = Store::open_with(killed.path(), &cold());
    assert_eq!(store.view.decided_value(Height(2)).unwrap_err(), Absent::Damaged);
    assert!(store.recovered.undecided.is_empty(), "it is no undecided value");
    restore(&mut store, &values[1]);
    store.grow(4..=6, 2);
    assert_whole(&store, &values);
}

#[test]
fn what_is_whole_is_written_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = cold();
    let mut store = Store::open_with(folder.path(), &options);
    let values = store.grow(1..=2, 2);
    let appended = || metric(&options, "ultramarine_store_appended_bytes_total");
    let before = appended();
    assert_eq!(restore(&mut store, &values[0]), Blobs::Held);
    assert_eq!(
        restore(&mut store, &without_blobs(&values[0])),
        Blobs::Pruned,
        "said, and not done"
    );
    assert_eq!(appended(), before, "it is whole");
    damage_payload(&store, &values[0].key);
    assert!(store.view.decided_payload(Height(1)).is_none());
    let replies = store.ask([restored(&values[0]), restored(&values[0])]);
    assert_eq!(replies.len(), 2);
    assert!(replies.iter().all(|reply| matches!(reply, StoreReply::Stored { .. })));
    let once = appended();
    restore(&mut store, &values[0]);
    assert_eq!(appended(), once);
    assert_eq!(metric(&options, "ultramarine_store_heals_total"), 1);
    assert_whole(&store, &values);
}

#[test]
fn blobs_that_were_never_held_can_be_brought_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let value = value(1, 1, 3);
    store.put(&without_blobs(&value), Tag::Certified);
    store.ask([commit(&value, Blobs::NeverHeld)]);
    assert_eq!(store.view.decided_value(Height(1)).unwrap_err(), Absent::NeverHeld);
    // Its payload alone is here already, and what it was is not changed by that.
    assert_eq!(restore(&mut store, &without_blobs(&value)), Blobs::NeverHeld);
    assert_eq!(restore(&mut store, &value), Blobs::Held);
    let store = reopened(store, folder.path());
    assert_whole(&store, &[value]);
}

/// Enough heights of six blobs for several segments of 4 MiB.
const HEIGHTS: u64 = 20;

#[test]
fn a_payload_that_rots_after_its_blobs_were_freed_comes_back_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=HEIGHTS, 6);
    let oldest = store.retire(11);
    assert!(oldest > Height(2));
    damage_payload(&store, &values[1].key);
    assert!(store.view.decided_payload(Height(2)).is_none());
    assert_eq!(restore(&mut store, &without_blobs(&values[1])), Blobs::Pruned);
    let store = reopened(store, folder.path());
    let held = store.view.decided_payload(Height(2)).expect("it is back");
    assert_eq!(
        (held.payload, held.decided.blobs),
        (values[1].payload.clone(), Blobs::Pruned)
    );
    assert_eq!(store.view.oldest_blobs(), oldest, "nothing else is missing");
}

#[test]
fn a_height_that_nobody_has_with_its_blobs_is_kept_without_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=5, 2);
    damage_payload(&store, &values[1].key);
    assert!(store.view.decided_payload(Height(2)).is_none());
    assert_eq!(restore(&mut store, &without_blobs(&values[1])), Blobs::Pruned);
    assert!(store.view.decided_payload(Height(2)).is_some());
    let oldest = Height(3);
    assert_eq!(
        store.view.decided_value(Height(2)).unwrap_err(),
        Absent::Pruned { oldest }
    );
    let store = reopened(store, folder.path());
    assert_eq!(
        store.view.oldest_blobs(),
        oldest,
        "from there on nothing is without its blobs"
    );
}

#[test]
fn a_segment_with_a_damaged_record_is_freed_once_that_lies_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=HEIGHTS, 6);
    let path = store.view.on_disk(&values[0].key).expect("it is held").path;
    damage_payload(&store, &values[0].key);
    store.retire(11);
    assert!(path.exists(), "it is the only place that has what is left");
    assert!(store.view.is_damaged(Height(1)));
    restore(&mut store, &values[0]);
    store.retire(11);
    assert_ne!(store.view.on_disk(&values[0].key).expect("it is held").path, path);
    let store = reopened(store, folder.path());
    assert!(!path.exists(), "its payloads have moved");
    for value in &values {
        assert!(store.view.decided_payload(value.key.height).is_some());
    }
}

#[test]
fn a_segment_is_freed_once_the_height_is_stored_again_whose_row_rotted() {
    for retires_first in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open_with(folder.path(), &cold());
        let values = store.grow(1..=HEIGHTS, 6);
        let path = store.view.on_disk(&values[1].key).expect("it is held").path;
        drop(store);
        spoil_row(folder.path(), LOCATIONS, 2);
        let mut store = Store::open_with(folder.path(), &cold());
        assert!(store.view.decided(Height(2)).is_none(), "nobody knows where it lies");
        if retires_first {
            store.retire(11);
            assert!(path.exists());
        }
        store.ask([vouch(&values[1])]);
        restore(&mut store, &values[1]);
        store.retire(11);
        assert!(!path.exists(), "nothing is left in it");
        let live_bytes = store.view.tallied().live_bytes();
        let store = reopened(store, folder.path());
        assert_eq!(store.view.tallied().live_bytes(), live_bytes);
        for value in &values {
            assert!(store.view.decided_payload(value.key.height).is_some());
        }
    }
}

#[test]
fn what_is_stored_again_past_retention_stays_as_long_as_its_segment() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=HEIGHTS, 6);
    assert!(store.retire(15) > Height(10));
    restore(&mut store, &values[1]);
    for below in [15, 16] {
        store.retire(below);
        assert_same(&store.view.decided_value(Height(2)).expect("it is back").1, &values[1]);
        store = reopened(store, folder.path());
    }
    // In a segment with others it goes with them.
    restore(&mut store, &values[4]);
    store.grow(HEIGHTS + 1..=HEIGHTS + 20, 6);
    let oldest = store.retire(HEIGHTS + 15);
    let found = store.view.decided_value(Height(2)).expect("it is alone");
    assert_same(&found.1, &values[1]);
    let absent = store.view.decided_value(Height(5)).err();
    assert_eq!(absent, Some(Absent::Pruned { oldest }));
}

#[test]
fn files_that_are_removed_under_an_open_store_are_done_without_and_what_lay_there_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let mut values = store.grow(1..=HEIGHTS, 6);
    store.retire(11);
    for life in 1..=2 {
        for file in std::fs::read_dir(folder.path().join("segments")).expect("the folder") {
            std::fs::remove_file(file.expect("an entry").path()).expect("removed");
        }
        // It goes on: more than a segment of values, and more payloads.
        let from = HEIGHTS * life + 1;
        values.extend(store.grow(from..=HEIGHTS * (life + 1), 6));
        store.retire(from + 9);
        for value in &values {
            let height = value.key.height;
            if store.view.decided_payload(height).is_none() {
                assert!(height < Height(from), "height {height} was stored since");
                restore(&mut store, value);
            }
        }
        for value in &values {
            let height = value.key.height;
            let found = store.view.decided_payload(height).expect("it is back");
            assert_eq!(found.payload, value.payload, "height {height}");
            assert!(height < Height(from + 9) || store.view.decided_value(height).is_ok());
        }
        assert!(store.view.damaged().is_empty());
    }
    let store = reopened(store, folder.path());
    for value in &values {
        let found = store.view.decided_payload(value.key.height).expect("it is durable");
        assert_eq!(found.payload, value.payload);
    }
}

#[test]
fn what_is_appended_after_its_file_was_removed_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=1, 1);
    for file in std::fs::read_dir(folder.path().join("segments")).expect("the folder") {
        std::fs::remove_file(file.expect("an entry").path()).expect("removed");
    }
    let values = store.grow(2..=3, 1);
    let store = reopened(store, folder.path());
    for value in &values {
        let (_, found) = store.view.decided_value(value.key.height).expect("it was acknowledged");
        assert_same(&found, value);
    }
}
