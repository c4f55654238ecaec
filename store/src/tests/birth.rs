//! The first start may be cut short anywhere; a lost index is never begun anew beside what it accounted for.

use std::path::Path;

use ultramarine_types::Height;
use ultramarine_types::storage::Source;

use super::support::*;

const INDEX: &str = "index.redb";
const UNBORN: &str = "index.redb.new";

/// An index of this chain as the first start makes it.
fn whole_index() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Store::open(folder.path()));
    std::fs::read(folder.path().join(INDEX)).expect("the index")
}

/// A database nobody wrote to: redb is done, the store is not.
fn blank_index() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(INDEX);
    drop(redb::Database::create(&path).expect("a database"));
    std::fs::read(path).expect("the database")
}

fn without_magic(mut index: Vec<u8>) -> Vec<u8> {
    index[..9].fill(0);
    index
}

/// What a kill or a power loss may leave of an index that was never whole.
fn flawed() -> Vec<(&'static str, Option<Vec<u8>>)> {
    vec![
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("a few bytes", Some(vec![0; 5])),
        ("zeros", Some(vec![0; 1 << 20])),
        ("without redb's magic", Some(without_magic(whole_index()))),
        ("blank", Some(blank_index())),
    ]
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = ["", "segments"]
        .iter()
        .flat_map(|inner| std::fs::read_dir(folder.join(inner)).expect("a folder"))
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_first_start_cut_short_anywhere_is_begun_again() {
    for (what, index) in flawed() {
        for (also, unborn) in [
            ("nothing", None),
            ("zeros", Some(vec![0; 1 << 20])),
            ("a whole one", Some(whole_index())),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(folder.path().join("segments")).expect("a folder");
            std::fs::write(folder.path().join("LOCK"), b"").expect("written");
            if let Some(index) = &index {
                std::fs::write(folder.path().join(INDEX), index).expect("written");
            }
            if let Some(unborn) = unborn {
                std::fs::write(folder.path().join(UNBORN), unborn).expect("written");
            }
            let mut store = Store::try_open(folder.path(), &options())
                .unwrap_or_else(|error| panic!("index {what}, {also} unborn: {error}"));
            assert_eq!(store.view.head(), Height(0));
            assert!(store.recovered.log.is_none());
            let value = store.grow(1..=1, 1).remove(0);
            drop(store);
            assert!(!folder.path().join(UNBORN).exists(), "index {what}, {also} unborn");
            let store = Store::open(folder.path());
            assert_same(&store.view.decided_value(Height(1)).expect("decided").1, &value);
        }
    }
}

#[test]
fn a_lost_index_beside_logs_or_segments_is_refused_and_nothing_is_touched() {
    for (what, index) in flawed() {
        for beside in [
            "log-2",
            "segments/values-0000000000000001.seg",
            "segments/free-0000000000000003.seg",
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(folder.path().join("segments")).expect("a folder");
            std::fs::write(folder.path().join("LOCK"), b"").expect("written");
            std::fs::write(folder.path().join(beside), vec![0; 4096]).expect("written");
            if let Some(index) = &index {
                std::fs::write(folder.path().join(INDEX), index).expect("written");
            }
            let before = names(folder.path());
            for _ in 0..2 {
                let refused = Store::try_open(folder.path(), &options()).err();
                let refused = refused.unwrap_or_else(|| panic!("index {what} beside {beside} was begun anew"));
                let refused = refused.to_string();
                assert!(
                    refused.contains(INDEX) && refused.contains(beside) && refused.contains("move the whole directory"),
                    "index {what} beside {beside}: {refused}"
                );
            }
            assert_eq!(names(folder.path()), before, "index {what} beside {beside}");
        }
    }
}
