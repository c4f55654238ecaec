//! The process ends between two steps of what moves, frees and begins files: nothing is lost, and nothing is wrong.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ultramarine_types::storage::{Absent, Source, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height};

use super::support::*;

/// Few of them fit a segment, and several heights lie between two with blobs.
fn block(height: u64) -> Assembly {
    value(
        height,
        height as u8,
        if height.is_multiple_of(3) {
            6
        } else {
            (height % 2) as u8
        },
    )
}

/// Opens a copy, and demands every decided height of it.
#[track_caller]
fn demand(copied: &Path, below: u64, step: &str) {
    let mut store = Store::open_with(copied, &cold());
    for height in 1..=store.view.head().0 {
        let expected = block(height);
        let kept = store.view.decided_payload(Height(height)).expect("for ever (I1)");
        assert_eq!(
            (&kept.payload, &kept.lists),
            (&expected.payload, &expected.lists),
            "{step}"
        );
        match store.view.decided_value(Height(height)) {
            Ok((_, found)) => assert_same(&found, &expected),
            Err(Absent::Pruned { .. }) => assert!(height < below, "{step}: height {height}"),
            Err(other) => panic!("{step}: height {height}: {other:?}"),
        }
    }
    // It goes on from there.
    let next = store.view.head().next();
    store.put(&block(next.0), Tag::Streamed);
    store.commit(&block(next.0));
    store.retire(below);
    let kept = store.view.decided_payload(Height(1)).expect("for ever (I1)");
    assert_eq!(kept.payload, block(1).payload, "{step}");
}

/// Takes from a copy what was written to payloads and not synced.
fn lose_unsynced(copied: &Path, synced: &HashMap<PathBuf, u64>) {
    for entry in std::fs::read_dir(copied.join("segments")).expect("the folder") {
        let entry = entry.expect("an entry");
        if entry.file_name().to_string_lossy().starts_with("payloads") {
            let kept = synced.get(Path::new(&entry.file_name())).copied().unwrap_or(4096);
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(entry.path())
                .expect("it opens");
            file.set_len(kept.min(entry.metadata().expect("metadata").len()))
                .expect("cut");
        }
    }
}

#[test]
fn an_end_between_any_two_steps_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let below = Arc::new(AtomicU64::new(0));
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut store = Store::open_with(folder.path(), &cold());
    let (path, limit, steps) = (folder.path().to_owned(), Arc::clone(&below), Arc::clone(&seen));
    let mut synced = HashMap::new();
    store.look(move |step| {
        let copied = tempfile::tempdir().expect("a folder");
        copy(&path, copied.path());
        let step = match step.strip_prefix("synced ") {
            Some(name) => {
                let metadata = std::fs::metadata(path.join("segments").join(name)).expect("it was synced");
                synced.insert(PathBuf::from(name), metadata.len());
                "synced"
            }
            None => step,
        };
        lose_unsynced(copied.path(), &synced);
        demand(copied.path(), limit.load(Ordering::SeqCst), step);
        steps.lock().expect("no panic").insert(step.to_owned());
    });
    for height in 1..=45 {
        store.put(&block(height), Tag::Streamed);
        store.commit(&block(height));
        let retired = (height + 1).saturating_sub(12);
        below.store(retired, Ordering::SeqCst);
        store.retire(retired);
    }
    let seen = seen.lock().expect("no panic");
    let expected = [
        "header written",
        "named",
        "payloads synced",
        "payloads written",
        "preallocated",
        "punched",
        "relocated",
        "retired",
        "synced",
        "tail",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    drop(seen);
    assert!(store.view.oldest_blobs() > Height(24));
}

#[test]
fn each_life_goes_on_in_the_same_payloads_segment() {
    let folder = tempfile::tempdir().expect("a folder");
    for life in 0..6 {
        let mut store = Store::open_with(folder.path(), &cold());
        store.grow(life * 8 + 1..=life * 8 + 8, 6);
        store.retire(life * 8);
    }
    let names = std::fs::read_dir(folder.path().join("segments")).expect("the folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let payloads = names.filter(|name| name.to_string_lossy().starts_with("payloads"));
    assert_eq!(payloads.count(), 1);
    let store = Store::open_with(folder.path(), &cold());
    for height in 1..=48 {
        let kept = store.view.decided_payload(Height(height)).expect("for ever (I1)");
        assert_eq!(kept.payload, value(height, height as u8, 6).payload);
    }
}

#[test]
fn what_was_moved_waits_for_no_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.grow(1..=20, 6);
    store.ask([StoreRequest::Retire {
        blobs_below: Height(12),
    }]);
    let until = Instant::now() + Duration::from_secs(20);
    while store.view.oldest_blobs() < Height(6) {
        assert!(Instant::now() < until, "nothing was freed");
        std::thread::sleep(Duration::from_millis(20));
        store.ask([]);
    }
}
