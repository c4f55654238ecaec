//! What the check of a stopped node's directory says, fault by fault.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use redb::{ReadableTable, TableDefinition};
use ultramarine_types::storage::{BlobState, Source, StoreRequest, Tag};
use ultramarine_types::{ChainIdentity, Height};

use super::support::*;
use crate::{CheckProgress, OpenError, check, stats};

fn wrong(folder: &Path) -> Vec<String> {
    check(folder, CHAIN, &mut |_| {}).expect("it can be checked")
}

/// Every file and its bytes.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [folder.to_owned(), folder.join("segments")] {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                files.insert(path.clone(), std::fs::read(&path).expect("read"));
            }
        }
    }
    files
}

/// A directory with everything: pruned heights, held ones, dropped values and two undecided ones. What it accounts for.
fn full(folder: &Path) -> Full {
    let mut store = Store::open_with(folder, &cold());
    let values = store.grow(1..=16, 6);
    store.retire(8);
    store.begin(17);
    store.log(&[b"one", b"two"]);
    store.put(&value(17, 1, 1), Tag::Streamed);
    store.put(&value(17, 2, 1), Tag::Streamed);
    let place = |height: usize| {
        let place = store.view.on_disk(&values[height - 1].key).expect("on disk");
        (place.path, place.offset)
    };
    let (pruned, held) = (place(2), place(15));
    let newest = store.view.on_disk(&value(17, 1, 1).key).expect("on disk");
    store.settle();
    Full {
        account: store.view.account().expect("an account"),
        pruned,
        held,
        undecided: (newest.path, newest.offset),
    }
}

/// Where things lie, each as a file and an offset in it.
struct Full {
    account: ultramarine_types::storage::StoreAccount,
    pruned: (PathBuf, u64),
    held: (PathBuf, u64),
    undecided: (PathBuf, u64),
}

fn change_index(folder: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(folder.join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    change(&transaction);
    transaction.commit().expect("written");
}

#[test]
fn a_whole_directory_has_nothing_wrong_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let crashed = tempfile::tempdir().expect("a folder");
    let full = full(folder.path());
    let before = content(folder.path());
    let mut last = CheckProgress::default();
    let found = check(folder.path(), CHAIN, &mut |progress| last = progress).expect("it can be checked");
    assert_eq!(found, [""; 0]);
    assert_eq!((last.height, last.head), (Height(16), Height(16)));
    assert!(last.bytes > 8 * 6 * 131_072);
    let found = stats(folder.path(), CHAIN).expect("it can be counted");
    assert_eq!(found, full.account, "it is what the running store said");
    assert!(content(folder.path()) == before, "nothing is written");
    // As a crash leaves it, with an index that redb has to repair.
    let mut store = Store::open(folder.path());
    store.put(&value(17, 3, 1), Tag::Streamed);
    copy(folder.path(), crashed.path());
    std::fs::write(crashed.path().join("LOCK"), "").expect("written");
    let before = content(crashed.path());
    assert_eq!(wrong(crashed.path()), [""; 0]);
    let states = stats(crashed.path(), CHAIN).expect("it can be counted").states;
    assert_eq!(states, store.view.account().expect("an account").states);
    assert_eq!(states.of(BlobState::Undecided).heights, 1);
    assert!(content(crashed.path()) == before, "nothing is written");
}

#[test]
fn a_directory_in_use_of_another_chain_or_not_there_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path());
    let locked = |result: Result<(), OpenError>| assert!(matches!(result, Err(OpenError::Locked { .. })));
    locked(check(folder.path(), CHAIN, &mut |_| {}).map(drop));
    locked(stats(folder.path(), CHAIN).map(drop));
    drop(store);
    let other = ChainIdentity([1; 32]);
    assert!(matches!(stats(folder.path(), other), Err(OpenError::Foreign { .. })));
    let empty = folder.path().join("nowhere");
    assert!(stats(&empty, CHAIN).is_err());
    assert!(!empty.exists(), "nothing is made");
}

#[test]
fn each_fault_is_named() {
    type Fault<'a> = (&'a str, &'a dyn Fn(&Path, &Full));
    let marks = TableDefinition::<&str, &[u8]>::new("marks");
    let locations = TableDefinition::<u64, &[u8]>::new("locations");
    let blocks = TableDefinition::<&[u8; 32], u64>::new("blocks");
    let faults: [Fault<'_>; 12] = [
        ("height 2: its record in segment", &|_, full| {
            flip(&full.pruned.0, full.pruned.1 + 700)
        }),
        ("height 15: its record in segment", &|_, full| {
            flip(&full.held.0, full.held.1 + 700)
        }),
        ("blob 3 is damaged", &|_, full| {
            flip(&full.held.0, full.held.1 + 4096 + 3 * 131_072 + 5);
        }),
        ("which the index names, is not there", &|_, full| {
            std::fs::remove_file(&full.held.0).expect("removed");
        }),
        ("height 15: its record in segment", &|_, full| {
            let file = OpenOptions::new().write(true).open(&full.held.0).expect("a file");
            file.set_len(full.held.1 + 8192).expect("shortened");
        }),
        ("its header is damaged", &|_, full| flip(&full.held.0, 30)),
        ("where the next whole record is", &|_, full| {
            flip(&full.undecided.0, full.undecided.1 + 700)
        }),
        ("index.redb", &|folder, _| {
            let path = folder.join("index.redb");
            let at = content(folder)[&path]
                .windows(32)
                .position(|row| row == block_hash(9, 9).0);
            flip(&path, at.expect("the row of a block") as u64);
        }),
        (
            "height 9: the index does not lead to it from its block",
            &|folder, _| {
                change_index(folder, |transaction| {
                    let mut table = transaction.open_table(blocks).expect("a table");
                    table
                        .remove(&block_hash(9, 9).0)
                        .expect("written")
                        .expect("it was there");
                });
            },
        ),
        ("1 heights that are not decided", &|folder, _| {
            change_index(folder, |transaction| {
                let mut table = transaction.open_table(locations).expect("a table");
                let other = table.get(4).expect("read").expect("there").value().to_vec();
                table.insert(900, other.as_slice()).expect("written");
            });
        }),
        ("the index tallies", &|folder, _| {
            change_index(folder, |transaction| {
                let mut table = transaction.open_table(marks).expect("a table");
                table.insert("tallies", [0; 64].as_slice()).expect("written");
            });
        }),
        ("the log of height 17 is missing", &|folder, _| {
            for number in 0..3 {
                flip(&folder.join(format!("log-{number}")), 33);
            }
        }),
    ];
    for (said, fault) in faults {
        let folder = tempfile::tempdir().expect("a folder");
        let full = full(folder.path());
        fault(folder.path(), &full);
        let wrong = wrong(folder.path());
        assert!(wrong.iter().any(|line| line.contains(said)), "{said}: {wrong:?}");
    }
}

/// Flips a bit of a row.
fn spoil<'k, K: redb::Key + 'static>(transaction: &redb::WriteTransaction, table: &str, key: K::SelfType<'k>) {
    let mut table = transaction
        .open_table(TableDefinition::<K, &[u8]>::new(table))
        .expect("a table");
    let mut row = table.get(&key).expect("read").expect("there").value().to_vec();
    row[9] ^= 1;
    table.insert(&key, row.as_slice()).expect("written");
}

#[test]
fn each_row_of_the_index_that_rotted_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    full(folder.path());
    let mut store = Store::open(folder.path());
    store.ask([StoreRequest::Evidence(vec![two_votes(3), two_votes(5)])]);
    let segment = store.view.index().segments().expect("read").expect("rows")[0].0.0;
    drop(store);
    let mut pairs = Vec::new();
    change_index(folder.path(), |transaction| {
        let table = TableDefinition::<(u64, &[u8; 32]), &[u8]>::new("evidence");
        let table = transaction.open_table(table).expect("a table");
        pairs.extend(table.iter().expect("rows").map(|row| {
            let (key, _) = row.expect("a row");
            (key.value().0, *key.value().1)
        }));
    });
    let blocks = TableDefinition::<&[u8; 32], u64>::new("blocks");
    change_index(folder.path(), |transaction| {
        for height in [2, 3] {
            spoil::<u64>(transaction, "locations", height);
        }
        for height in [6, 15] {
            spoil::<u64>(transaction, "decided", height);
        }
        spoil::<u64>(transaction, "segments", segment);
        for name in ["floor", "oldest_blobs"] {
            spoil::<&str>(transaction, "marks", name);
        }
        for (height, digest) in &pairs {
            spoil::<(u64, &[u8; 32])>(transaction, "evidence", (*height, digest));
        }
        let mut table = transaction.open_table(blocks).expect("a table");
        for other in [1, 9] {
            table.insert(&block_hash(other, 200).0, other).expect("written");
        }
    });
    let wrong = wrong(folder.path());
    for said in [
        "the locations row of 2 is damaged",
        "the locations row of 3 is damaged",
        "the decided row of 6 is damaged",
        "the decided row of 15 is damaged",
        "the segments row of ",
        "the marks row of floor is damaged",
        "the marks row of oldest_blobs is damaged",
        "the evidence row of 3 is damaged",
        "the evidence row of 5 is damaged",
        "the blocks row of 1 is damaged",
        "the blocks row of 9 is damaged",
    ] {
        assert!(wrong.iter().any(|line| line.contains(said)), "{said}: {wrong:#?}");
    }
}

#[test]
fn bytes_with_right_checksums_that_the_value_does_not_bind_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let mut forged = value(1, 1, 2);
    forged.blobs.swap(0, 1);
    store.put(&forged, Tag::Streamed);
    store.commit(&forged);
    let mut forged = value(2, 2, 1);
    forged.payload = vec![7; forged.payload.len()].into();
    store.put(&forged, Tag::Streamed);
    store.commit(&forged);
    drop(store);
    let wrong = wrong(folder.path());
    assert!(
        wrong[0].contains("height 1: ") && wrong[0].contains("blob 0 is not the one that the value binds"),
        "{wrong:?}"
    );
    assert!(
        wrong[1].contains("height 2: ") && wrong[1].contains("its payload is not the one"),
        "{wrong:?}"
    );
    assert_eq!(wrong.len(), 2);
}

#[test]
fn an_index_that_a_start_rebuilds_is_not_called_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(full(folder.path()));
    let index = folder.path().join("index.redb");
    let mut file = std::fs::read(&index).expect("the index");
    file[..4096].fill(0);
    file[..9].copy_from_slice(b"redb\x1a\x0a\xa9\x0d\x0a");
    std::fs::write(&index, file).expect("written");
    let wrong = wrong(folder.path());
    let refused = stats(folder.path(), CHAIN).expect_err("it cannot be counted");
    for said in [&wrong[0], &refused.to_string()] {
        assert!(said.contains("start the node: it rebuilds the index"), "{said}");
    }
    let store = Store::open_with(folder.path(), &cold());
    assert_eq!(store.view.head(), Height(16));
}

#[test]
fn heights_that_are_wrong_in_one_way_have_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let full = full(folder.path());
    std::fs::remove_file(&full.pruned.0).expect("removed");
    let wrong = wrong(folder.path());
    let first = wrong.first().expect("it is wrong");
    assert!(first.starts_with("heights 1 to "), "{wrong:?}");
}
