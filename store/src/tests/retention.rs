//! What becomes of segments, their leases and their disk when retention ends.

use std::path::Path;

use ultramarine_types::Height;
use ultramarine_types::storage::{Absent, Blobs, Source, StoreRequest, Tag};

use super::support::*;

fn segment_files(folder: &Path, kind: &str) -> usize {
    let entries = std::fs::read_dir(folder.join("segments")).expect("the folder");
    entries
        .filter(|entry| {
            entry
                .as_ref()
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .starts_with(kind)
        })
        .count()
}

/// Enough heights of six blobs for several segments of 4 MiB.
const HEIGHTS: u64 = 20;

#[test]
fn blobs_are_freed_in_whole_segments_and_payloads_stay_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let values = store.grow(1..=HEIGHTS, 6);
    let files = segment_files(folder.path(), "values");
    let oldest = store.retire(11);
    assert!(oldest > Height(4) && oldest <= Height(11), "{oldest}");
    assert_eq!(store.view.oldest_blobs(), oldest);
    assert!(segment_files(folder.path(), "values") < files);
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = Store::open(folder.path());
            assert_eq!(store.recovered.oldest_blobs, oldest);
        }
        for value in &values {
            let height = value.key.height;
            let kept = store.view.decided_payload(height).expect("for ever (I1)");
            assert_eq!(kept.payload, value.payload);
            assert_eq!(kept.lists, value.lists);
            let decided = kept.decided;
            assert_eq!(decided.init, value.init);
            if height < oldest {
                assert_eq!(store.view.decided_value(height).err(), Some(Absent::Pruned { oldest }));
                assert_eq!(store.view.value(&value.key).err(), Some(Absent::Pruned { oldest }));
                assert_eq!(decided.blobs, Blobs::Pruned);
            } else {
                assert_same(&store.view.decided_value(height).expect("held").1, value);
            }
        }
    }
    let again = store.retire(11);
    assert_eq!(again, oldest, "nothing more to free");
    assert!(store.retire(u64::MAX) > oldest);
    assert_eq!(store.view.head(), Height(HEIGHTS));
}

#[test]
fn a_height_without_blobs_is_still_whole_after_its_segment_is_freed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let empty = store.grow(1..=1, 0).remove(0);
    store.grow(2..=HEIGHTS, 6);
    assert!(store.retire(15) > Height(2));
    assert_same(
        &store.view.decided_value(Height(1)).expect("it never had blobs").1,
        &empty,
    );
}

#[test]
fn a_slice_stays_valid_after_its_segment_is_retired() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let values = store.grow(1..=HEIGHTS, 6);
    let (_, leased) = store.view.decided_value(Height(1)).expect("held");
    assert!(store.retire(11) > Height(1));
    assert_eq!(
        segment_files(folder.path(), "free") + 1,
        2,
        "one was free to recycle, the leased one waits"
    );
    store.grow(HEIGHTS + 1..=2 * HEIGHTS, 6);
    assert_same(&leased, &values[0]);
    drop(leased);
    // The next request finds the lease gone.
    store.retire(1);
    assert_eq!(
        store.view.decided_value(Height(1)).err(),
        Some(Absent::Pruned {
            oldest: store.view.oldest_blobs()
        })
    );
}

#[test]
fn disk_comes_back_and_files_are_recycled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    for round in 0..6 {
        store.grow(round * 10 + 1..=round * 10 + 10, 6);
        store.retire(round * 10 + 6);
    }
    let bytes = occupied(folder.path(), "");
    assert!(
        bytes < 16 << 20,
        "60 heights of 0.75 MiB were written and {bytes} bytes are kept"
    );
    let last = store.view.decided_value(Height(60)).expect("held");
    assert_same(&last.1, &value(60, 60, 6));
}

#[test]
fn a_segment_of_dropped_values_is_freed_without_retention() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    for seed in 10..30 {
        store.put(&value(1, seed, 6), Tag::Streamed);
    }
    let before = segment_files(folder.path(), "values");
    assert!(before >= 3);
    let decided = value(1, 1, 6);
    store.put(&decided, Tag::Streamed);
    store.commit(&decided);
    store.settle();
    assert!(segment_files(folder.path(), "values") < before);
    assert_same(&store.view.decided_value(Height(1)).expect("held").1, &decided);
}

#[test]
fn readers_beside_the_retirement_see_a_value_or_that_it_is_pruned() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = cold();
    let mut store = Store::open_with(folder.path(), &options);
    store.grow(1..=HEIGHTS, 6);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for offset in 0..2 {
            let (view, done) = (&store.view, &done);
            scope.spawn(move || {
                let mut height = offset;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    height = height % HEIGHTS + 1;
                    let expected = value(height, height as u8, 6);
                    match view.decided_value(Height(height)) {
                        Ok((_, found)) => assert_same(&found, &expected),
                        Err(Absent::Pruned { .. }) => {}
                        Err(other) => panic!("height {height}: {other:?}"),
                    }
                    assert_eq!(
                        view.decided_payload(Height(height)).expect("for ever").payload,
                        expected.payload
                    );
                }
            });
        }
        let mut requests = (1..=HEIGHTS).map(|below| StoreRequest::Retire {
            blobs_below: Height(below),
        });
        let writer = &mut store.writer;
        let outcome = requests.try_for_each(|request| {
            ultramarine_runtime::medium::ready(async {
                writer.handle(request, &mut Vec::new()).await?;
                writer.flush(&mut Vec::new()).await
            })?;
            writer.settle()
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome.expect("retired");
    });
    assert!(store.view.oldest_blobs() > Height(10));
}

#[test]
fn a_damaged_segment_stays_and_the_next_ones_are_freed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = cold();
    let mut store = Store::open_with(folder.path(), &options);
    let values = store.grow(1..=HEIGHTS, 6);
    damage_payload(&store, &values[1].key);
    let damaged = store.view.on_disk(&values[1].key).expect("it is held").path;
    for reopened in [false, true] {
        if reopened {
            drop(store);
            options = cold();
            store = Store::open_with(folder.path(), &options);
            store.grow(HEIGHTS + 1..=HEIGHTS + 10, 6);
        }
        let below = if reopened { 26 } else { 16 };
        let oldest = store.retire(below);
        assert_eq!(store.retire(below), oldest, "the damaged segment is tried once");
        assert!(oldest > Height(below - 6) && oldest <= Height(below), "{oldest}");
        assert_eq!(store.view.oldest_blobs(), oldest);
        assert!(damaged.exists());
        assert_eq!(metric(&options, "ultramarine_store_damaged_segments"), 1);
        let mut pruned = 0;
        for height in 1..=store.view.head().0 {
            let expected = value(height, height as u8, 6);
            match store.view.decided_value(Height(height)) {
                Ok((_, found)) => assert_same(&found, &expected),
                Err(Absent::Damaged) => assert_eq!(height, 2),
                Err(Absent::Pruned { .. }) => {
                    pruned += 1;
                    assert!(Height(height) < oldest, "the mark is true: {height}");
                    let kept = store.view.decided_payload(Height(height)).expect("for ever");
                    assert_eq!(kept.payload, expected.payload);
                }
                Err(other) => panic!("height {height}: {other:?}"),
            }
        }
        assert!(pruned >= 8, "{pruned}");
    }
}

/// Recovery would take it for damage, and look behind it for more.
#[test]
fn no_hole_is_made_where_recovery_looks_for_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open_with(folder.path(), &cold());
    let waiting = [value(30, 1, 1), value(31, 2, 1)];
    store.put(&waiting[0], Tag::Streamed);
    store.grow(1..=2, 6);
    store.put(&waiting[1], Tag::Streamed);
    store.grow(3..=15, 6);
    assert!(store.retire(12) > Height(2));
    drop(store);
    let said = Warnings::during(|| {
        let store = Store::open_with(folder.path(), &cold());
        let found: Vec<_> = store.recovered.undecided.iter().map(|(found, _)| found.key).collect();
        assert_eq!(found, waiting.each_ref().map(|value| value.key));
    });
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_segment_whose_file_is_gone_does_not_end_retention() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = cold();
    let mut store = Store::open_with(folder.path(), &options);
    let values = store.grow(1..=HEIGHTS, 6);
    let lost = store.view.on_disk(&values[0].key).expect("it is held").path;
    drop(store);
    std::fs::remove_file(lost).expect("removed");
    let options = cold();
    let mut store = Store::open_with(folder.path(), &options);
    assert!(store.retire(16) > Height(10));
}

/// Damage after a record was read and found whole would otherwise be kept for ever under a fresh checksum.
#[test]
fn a_payload_is_checked_again_before_it_is_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = cold();
    let mut store = Store::open_with(folder.path(), &options);
    let values = store.grow(1..=HEIGHTS, 6);
    let (_, read) = store.view.decided_value(Height(2)).expect("whole");
    assert_same(&read, &values[1]);
    damage_payload(&store, &values[1].key);
    assert!(store.retire(11) > Height(5));
    assert_eq!(metric(&options, "ultramarine_store_damaged_segments"), 1);
    assert_eq!(store.view.decided(Height(2)).expect("decided").blobs, Blobs::Held);
}
