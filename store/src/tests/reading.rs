//! What a reader gets of a value, whole and in part, while its disk is sound and while it is not.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use ultramarine_runtime::Registry;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Absent, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Height, ValueKey};

use super::support::*;
use crate::StoreOptions;
use crate::hot::Hot;
use crate::record::{RECORD_HEADER_BYTES, RecordHeader};

/// Where the blobs of a value of few begin: behind a page.
const BLOBS_AT: u64 = 4096;

fn segment_of(store: &Store, key: &ValueKey) -> PathBuf {
    store.view.on_disk(key).expect("it is held").path
}

#[test]
fn one_blob_is_read_and_checked_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=2, 6);
    let undecided = value(3, 3, 2);
    store.put(&undecided, Tag::Streamed);
    for value in values.iter().chain([&undecided]) {
        for (index, blob) in value.blobs.iter().enumerate() {
            assert_eq!(store.view.blob(&value.key, index).as_ref(), Ok(blob));
        }
        assert_eq!(store.view.blob(&value.key, value.blobs.len()), Err(Absent::Unknown));
        assert_eq!(store.view.blob(&value.key, usize::MAX), Err(Absent::Unknown));
    }
    // Neither another blob nor the payload is looked at.
    damage(&store.view, &values[0].key, BLOBS_AT + 2 * BLOB_BYTES as u64 + 5);
    damage_payload(&store, &values[0].key);
    for index in [0, 1, 3, 4, 5] {
        assert_eq!(
            store.view.blob(&values[0].key, index).as_ref(),
            Ok(&values[0].blobs[index])
        );
    }
    assert!(store.view.damaged().is_empty());
    assert_eq!(store.view.blob(&values[0].key, 2), Err(Absent::Damaged));
    assert_eq!(store.view.damaged(), [Height(1)]);
    assert_eq!(
        store.view.blob(&values[0].key, 0),
        Err(Absent::Damaged),
        "nothing of a damaged height"
    );
    // Its own checksum, in the table.
    damage(&store.view, &values[1].key, RECORD_HEADER_BYTES as u64 + 1);
    assert_eq!(store.view.blob(&values[1].key, 5), Err(Absent::Damaged));
    assert_eq!(store.view.damaged(), [Height(1), Height(2)]);
}

/// Records of before have none, and their blobs are found by the checksum of the body.
#[test]
fn a_blob_is_read_from_a_record_whose_table_has_no_checksum() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=1, 3);
    let held = store.view.on_disk(&values[0].key).expect("it is held");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&held.path)
        .expect("the segment");
    let mut bytes = [0; RECORD_HEADER_BYTES];
    file.read_exact_at(&mut bytes, held.offset).expect("read");
    let mut header = RecordHeader::decode(&bytes).expect("a header");
    assert!(header.table_crc.take().is_some());
    file.write_all_at(&header.encode(), held.offset).expect("written");
    assert_eq!(store.view.blob(&values[0].key, 1).as_ref(), Ok(&values[0].blobs[1]));
    assert_same(&store.view.decided_value(Height(1)).expect("whole").1, &values[0]);
    damage_payload(&store, &values[0].key);
    assert_eq!(store.view.blob(&values[0].key, 1), Err(Absent::Damaged));
}

#[test]
fn what_rots_after_it_was_read_is_not_served_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=2, 2);
    assert_same(&store.view.decided_value(Height(1)).expect("whole").1, &values[0]);
    damage(&store.view, &values[0].key, BLOBS_AT + 7);
    assert_eq!(store.view.decided_value(Height(1)).err(), Some(Absent::Damaged));
    let payload = store.view.decided_payload(Height(1)).expect("the payload is whole");
    assert_eq!(payload.payload, values[0].payload);
    damage_payload(&store, &values[0].key);
    assert!(store.view.decided_payload(Height(1)).is_none());
    assert_same(&store.view.decided_value(Height(2)).expect("whole").1, &values[1]);
}

/// The kernel sends SIGBUS to whoever touches a page that a file has no more, or that the disk does not give back.
#[test]
fn a_page_lost_under_a_reader_is_zeros_and_its_height_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=3, 2);
    let leased: Vec<_> = (1..=3)
        .map(|height| store.view.decided_value(Height(height)).expect("whole").1)
        .collect();
    let held = store.view.on_disk(&values[1].key).expect("it is held");
    let file = OpenOptions::new().write(true).open(&held.path).expect("the segment");
    // The second blob of height 2 loses its end, and what follows is gone.
    let cut = held.offset + BLOBS_AT + 2 * BLOB_BYTES as u64 - 4096;
    file.set_len(cut).expect("shortened");
    assert_same(&leased[0], &values[0]);
    assert_eq!(leased[1].blobs[0], values[1].blobs[0]);
    let (whole, lost) = leased[1].blobs[1].split_at(BLOB_BYTES - 4096);
    assert_eq!(whole, &values[1].blobs[1][..BLOB_BYTES - 4096]);
    assert!(lost.iter().all(|byte| *byte == 0));
    let mut told = Vec::new();
    store.writer.tell_damage(9, &mut told);
    assert!(
        matches!(told[..], [StoreReply::Damaged { height }] if height == Height(2)),
        "height 3 was not read: {told:?}"
    );
    // Whoever comes next gets an error and no signal.
    assert_eq!(store.view.decided_value(Height(3)).err(), Some(Absent::Damaged));
    assert_eq!(store.view.blob(&values[2].key, 0), Err(Absent::Damaged));
    assert!(store.view.decided_payload(Height(3)).is_none());
    assert!(store.view.decided_payload(Height(2)).is_some());
    assert_same(&store.view.decided_value(Height(1)).expect("whole").1, &values[0]);
    assert_eq!(store.view.damaged(), [Height(2), Height(3)]);
    // The store goes on.
    drop(leased);
    store.grow(4..=4, 2);
    let loaded = store.ask([StoreRequest::Load { height: Height(3) }]);
    assert!(
        matches!(loaded[..], [StoreReply::Loaded { value: None, .. }]),
        "{loaded:?}"
    );
}

/// Its pages are brought in before a slice is handed out, where a page that cannot be had is an error.
#[test]
fn a_page_lost_before_it_is_read_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=3, 2);
    // The map that this makes covers all of them.
    assert_same(&store.view.decided_value(Height(1)).expect("whole").1, &values[0]);
    let held = store.view.on_disk(&values[1].key).expect("it is held");
    let file = OpenOptions::new().write(true).open(&held.path).expect("the segment");
    file.set_len(held.offset + BLOBS_AT + BLOB_BYTES as u64)
        .expect("shortened");
    assert_eq!(store.view.blob(&values[1].key, 0).as_ref(), Ok(&values[1].blobs[0]));
    assert_eq!(store.view.blob(&values[1].key, 1), Err(Absent::Damaged));
    assert_eq!(store.view.decided_value(Height(3)).err(), Some(Absent::Damaged));
    assert_eq!(store.view.damaged(), [Height(2), Height(3)]);
    assert!(store.writer.segments().take_faulted().is_empty());
}

#[test]
fn a_segment_that_is_gone_damages_its_heights_and_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=2, 2);
    std::fs::remove_file(segment_of(&store, &values[0].key)).expect("removed");
    for value in &values {
        assert_eq!(store.view.value(&value.key).err(), Some(Absent::Damaged));
    }
    assert_eq!(store.view.damaged(), [Height(1), Height(2)]);
}

#[test]
fn a_full_block_is_hot_at_any_limit_and_cheap_to_get() {
    for blobs_per_block in [6, 128, 1024] {
        let limits = Limits { blobs_per_block };
        let options = StoreOptions::new(limits, CHAIN, Registry::new());
        let mut hot = Hot::new(options.hot_bytes);
        // One blob's memory as often as the limit says.
        let mut block = value(1, 1, 1);
        block.blobs = vec![block.blobs[0].clone(); blobs_per_block as usize];
        assert!(hot.insert(block.clone()).is_empty());
        let first = hot.get(&block.key).expect("it fits");
        let again = hot.get(&block.key).expect("it fits");
        assert!(Arc::ptr_eq(&first, &again), "nothing is copied");
        hot.check_whole();
    }
}

#[test]
fn what_leaves_the_hot_values_is_handed_back() {
    let mut hot = Hot::new(400_000);
    let values = [value(1, 1, 1), value(2, 2, 1), value(3, 3, 4)];
    assert!(hot.insert(values[0].clone()).is_empty());
    assert!(hot.insert(values[1].clone()).is_empty());
    let replaced = hot.insert(values[1].clone());
    assert_eq!(
        replaced.iter().map(|value| value.key).collect::<Vec<_>>(),
        [values[1].key]
    );
    let too_large = hot.insert(values[2].clone());
    assert_eq!(
        too_large.iter().map(|value| value.key).collect::<Vec<_>>(),
        [values[2].key]
    );
    let evicted = hot.insert(value(4, 4, 2));
    assert_eq!(
        evicted.iter().map(|value| value.key).collect::<Vec<_>>(),
        [values[0].key]
    );
    hot.check_whole();
}
