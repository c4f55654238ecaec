//! What the store says that it holds, held against what is there.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ultramarine_types::storage::{BlobState, Blobs, Source, StateTally, StoreAccount, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Height, ValueKey};

use super::support::*;

const NONE: StateTally = StateTally { heights: 0, bytes: 0 };

fn account(store: &Store) -> StoreAccount {
    store.view.account().expect("a store keeps one")
}

fn of(store: &Store, state: BlobState) -> StateTally {
    account(store).states.of(state)
}

/// What `du` says, by the first word of the file's name.
fn du(folder: &Path) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for folder in [folder.to_owned(), folder.join("segments")] {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = name.split(['-', '.']).next().unwrap_or_default().to_owned();
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_file() {
                *kinds.entry(kind).or_default() += metadata.blocks() * 512;
            }
        }
    }
    kinds
}

/// Every claim that the account makes, at any time.
#[track_caller]
fn assert_true(store: &mut Store, folder: &Path) {
    store.settle();
    let account = account(store);
    let head = store.view.head();
    let mut states: BTreeMap<BlobState, StateTally> = BTreeMap::new();
    for height in 1..=head.0 + 4 {
        let Some(status) = store.view.blob_status(Height(height)) else {
            assert!(height > head.0, "nothing is said of height {height}");
            continue;
        };
        assert_eq!(status.height, Height(height));
        assert_eq!(status.state == BlobState::Undecided, height > head.0);
        states.entry(status.state).or_default().add(status.bytes);
    }
    for (state, tally) in account.states.iter() {
        assert_eq!(tally, states.get(&state).copied().unwrap_or(NONE), "{state:?}");
    }
    assert_eq!(store.view.recount(), store.view.tallied(), "rows and tallies");
    let files = account.files;
    let shown = [
        ("values", files.values),
        ("payloads", files.payloads),
        ("free", files.free),
        ("index", files.index),
        ("log", files.log),
        ("RESERVE", files.reserve),
    ];
    let kinds = du(folder);
    let there = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    for (kind, bytes) in shown {
        assert_eq!(bytes, there(kind), "{kind}: {shown:?} are not {kinds:?}");
    }
    let live = account.states.live_bytes();
    let headers = account.segments * 4096;
    assert!(
        live + account.dead_bytes + headers <= files.values + files.payloads,
        "what is live and dead lies in the segments: {account:?}"
    );
    for (state, tally) in account.states.iter() {
        let line = format!(
            "ultramarine_store_heights{{state=\"{}\"}} {}\n",
            state.name(),
            tally.heights
        );
        assert!(store.rendered().contains(&line), "{line}");
        let line = format!(
            "ultramarine_store_state_bytes{{state=\"{}\"}} {}\n",
            state.name(),
            tally.bytes
        );
        assert!(store.rendered().contains(&line), "{line}");
    }
}

/// Puts two values at each height and decides the first.
fn grow_with_losers(store: &mut Store, heights: std::ops::RangeInclusive<u64>, blobs: u8) {
    for height in heights {
        let winner = value(height, height as u8, blobs);
        store.put(&value(height, height as u8 ^ 0x80, blobs), Tag::Streamed);
        store.put(&winner, Tag::Proposed);
        store.commit(&winner);
    }
}

#[test]
fn the_account_is_that_of_a_recount_through_every_change_and_after_every_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let crashed = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    assert_true(&mut store, folder.path());
    grow_with_losers(&mut store, 1..=10, 6);
    assert_true(&mut store, folder.path());
    let synced = value(11, 11, 3);
    store.put(&without_blobs(&synced), Tag::Certified);
    assert_eq!(of(&store, BlobState::Undecided).heights, 1);
    let replies = store.ask([commit(&synced, Blobs::NeverHeld)]);
    assert!(matches!(&replies[..], [StoreReply::Committed { .. }]), "{replies:?}");
    assert_eq!(of(&store, BlobState::NeverHeld).heights, 1);
    grow_with_losers(&mut store, 12..=20, 6);
    for seed in [1, 2] {
        store.put(&value(21, seed, 2), Tag::Streamed);
    }
    store.put(&value(22, 1, 1), Tag::Streamed);
    assert_eq!(of(&store, BlobState::Undecided).heights, 2);
    assert!(account(&store).dead_bytes > 0, "the losers' bytes");
    assert_true(&mut store, folder.path());
    store.retire(12);
    let pruned = of(&store, BlobState::Pruned);
    assert!(pruned.heights > 2, "{pruned:?}");
    assert!(
        pruned.bytes <= pruned.heights * 8192,
        "payloads and lists alone are left"
    );
    assert!(
        store
            .rendered()
            .contains(&format!("ultramarine_store_prunes_total {}\n", pruned.heights))
    );
    assert_true(&mut store, folder.path());
    copy(folder.path(), crashed.path());
    let before = account(&store).states;
    drop(store);
    for folder in [folder.path(), crashed.path()] {
        let mut store = Store::open(folder);
        assert_eq!(account(&store).states, before);
        assert_true(&mut store, folder);
        store.retire(21);
        assert_true(&mut store, folder);
        assert!(of(&store, BlobState::Pruned).heights > pruned.heights);
    }
}

#[test]
fn a_directory_without_tallies_has_its_rows_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=5, 2);
    let before = account(&store).states;
    drop(store);
    let database = redb::Database::open(folder.path().join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    let marks = redb::TableDefinition::<&str, &[u8]>::new("marks");
    let mut table = transaction.open_table(marks).expect("the marks");
    assert!(table.remove("tallies").expect("written").is_some());
    drop(table);
    transaction.commit().expect("written");
    drop(database);
    let mut store = Store::open(folder.path());
    assert_eq!(account(&store).states, before);
    assert_true(&mut store, folder.path());
}

#[test]
fn a_status_tells_state_time_blobs_and_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = crate::StoreOptions {
        archives: true,
        ..options()
    };
    let mut store = Store::open_with(folder.path(), &options);
    let status = |store: &Store, height| store.view.blob_status(Height(height));
    assert_eq!(status(&store, 0), None);
    assert_eq!(status(&store, 1), None);
    let begun = crate::damage::unix_seconds();
    let value = value(1, 1, 3);
    store.put(&value, Tag::Streamed);
    let found = status(&store, 1).expect("stored");
    assert_eq!((found.state, found.blobs_count), (BlobState::Undecided, 3));
    assert!(found.since >= Some(begun));
    let record_bytes = 4096 + 3 * 131_072;
    assert_eq!(found.bytes, record_bytes);
    store.commit(&value);
    let found = status(&store, 1).expect("decided");
    assert_eq!((found.state, found.blobs_count), (BlobState::Decided, 3));
    assert!(found.since >= Some(begun));
    assert_eq!(found.bytes, record_bytes);
    store.grow(2..=20, 6);
    store.retire(15);
    assert_eq!(of(&store, BlobState::Pruned), NONE, "nothing is archived yet");
    store.ask([StoreRequest::Archived { through: Height(10) }]);
    store.retire(15);
    let found = status(&store, 1).expect("archived");
    assert_eq!(
        (found.state, found.blobs_count, found.bytes),
        (BlobState::Archived, 3, 4096)
    );
    assert_true(&mut store, folder.path());
    let key = ValueKey {
        height: Height(1),
        id: value.key.id,
    };
    assert!(store.view.value(&key).is_err());
}

#[test]
fn what_was_pruned_before_there_was_an_archive_does_not_count_as_archived() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=20, 6);
    store.retire(15);
    let pruned = of(&store, BlobState::Pruned);
    assert!(pruned.heights > 4);
    for through in [3, 14] {
        let through = Height(through);
        store.ask([StoreRequest::Archived { through }]);
        assert_eq!(of(&store, BlobState::Archived), NONE);
        assert_eq!(of(&store, BlobState::Pruned), pruned);
        assert_true(&mut store, folder.path());
    }
    drop(store);
    let mut store = Store::open(folder.path());
    assert_true(&mut store, folder.path());
    // What is pruned from then on is in the archive.
    store.grow(21..=40, 6);
    store.ask([StoreRequest::Archived { through: Height(40) }]);
    store.retire(35);
    assert_eq!(of(&store, BlobState::Pruned), pruned);
    assert!(of(&store, BlobState::Archived).heights > 4);
    assert_true(&mut store, folder.path());
}

#[test]
fn a_height_that_moves_keeps_the_time_of_its_state_and_one_that_is_pruned_gets_a_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=1, 0);
    store.grow(2..=20, 6);
    drop(store);
    let database = redb::Database::open(folder.path().join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    let locations = redb::TableDefinition::<u64, &[u8]>::new("locations");
    let mut table = transaction.open_table(locations).expect("the places");
    for height in [1, 2] {
        let mut row = redb::ReadableTable::get(&table, height)
            .expect("read")
            .expect("there")
            .value()
            .to_vec();
        row[25..33].copy_from_slice(&5u64.to_le_bytes());
        // As from before rows had checksums.
        row.truncate(33);
        table.insert(height, row.as_slice()).expect("written");
    }
    drop(table);
    transaction.commit().expect("written");
    drop(database);
    let mut store = Store::open(folder.path());
    let since = |store: &Store, height| store.view.blob_status(Height(height)).expect("decided").since;
    assert_eq!([1, 2].map(|height| since(&store, height)), [Some(5), Some(5)]);
    store.retire(15);
    assert_eq!(since(&store, 1), Some(5), "it had no blobs to lose");
    assert!(since(&store, 2) > Some(1_577_836_800), "after 2020");
}

#[test]
fn a_damaged_height_has_a_state_of_its_own_until_it_is_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=3, 2);
    let before = account(&store).states;
    store.view.mark_damaged(Height(2), "a checksum");
    store.view.mark_damaged(Height(2), "a checksum");
    let status = store.view.blob_status(Height(2)).expect("it is known");
    assert_eq!((status.state, status.blobs_count), (BlobState::Damaged, 2));
    assert!(status.since.is_some());
    assert_eq!(of(&store, BlobState::Damaged).heights, 1);
    assert_eq!(of(&store, BlobState::Decided).heights, 2);
    assert_true(&mut store, folder.path());
    let replies = store.ask([StoreRequest::Put {
        assembly: value(2, 2, 2),
        tag: Tag::Restored,
    }]);
    assert!(matches!(&replies[..], [StoreReply::Stored { .. }]), "{replies:?}");
    assert_eq!(account(&store).states, before);
    assert!(account(&store).dead_bytes >= 2 * 131_072, "its old record");
    assert!(store.rendered().contains("ultramarine_store_heals_total 1\n"));
    assert_true(&mut store, folder.path());
}

#[test]
fn bytes_that_a_reader_holds_back_are_counted_until_it_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    store.grow(1..=20, 6);
    let slice = store.view.decided_value(Height(1)).expect("held").1.blobs.remove(0);
    store.retire(15);
    let leased = account(&store).leased_bytes;
    assert!(leased >= 6 * 131_072, "{leased}");
    assert!(
        store
            .rendered()
            .contains(&format!("ultramarine_store_leased_bytes {leased}\n"))
    );
    assert_true(&mut store, folder.path());
    drop(slice);
    store.settle();
    assert_eq!(account(&store).leased_bytes, 0);
    assert_true(&mut store, folder.path());
}
