//! What becomes of a directory whose index is damaged below its rows: it is rebuilt, and nothing is signed twice.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ultramarine_types::storage::{LogCondition, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height};

use super::damage::{HEIGHTS, living, read_all};
use super::support::*;

pub(super) const INDEX: &str = "index.redb";
pub(super) const DAMAGED: &str = "index.redb.damaged";

fn overwrite(folder: &Path, page: u64, fill: u8) {
    let file = OpenOptions::new()
        .write(true)
        .open(folder.join(INDEX))
        .expect("the index");
    file.write_all_at(&[fill; 4096], page * 4096).expect("written");
}

/// Pages of the index with anything in them.
pub(super) fn pages(folder: &Path) -> Vec<u64> {
    let bytes = std::fs::read(folder.join(INDEX)).expect("the index");
    let pages = bytes.chunks(4096).zip(0..);
    let pages = pages.filter(|(page, _)| page.iter().any(|byte| *byte != 0));
    pages.map(|(_, number)| number).collect()
}

/// Stores every damaged height again, as the core has it fetched.
pub(super) fn heal(store: &mut Store, values: &[Assembly]) {
    for height in store.view.damaged() {
        let value = &values[height.0 as usize - 1];
        store.ask([StoreRequest::Vouch(Box::new(certificate(value)))]);
        let stored = store.ask([StoreRequest::Put {
            assembly: value.clone(),
            tag: Tag::Restored,
        }]);
        assert!(
            matches!(stored[..], [StoreReply::Stored { .. }]),
            "{height}: {stored:?}"
        );
    }
    assert!(store.view.damaged().is_empty());
}

/// Decides what is missing up to a height, as sync has it.
fn catch_up(store: &mut Store, values: &[Assembly]) {
    for value in &values[store.view.head().0 as usize..] {
        store.put(value, Tag::Certified);
        store.commit(value);
    }
}

#[test]
fn without_the_page_of_its_roots_the_index_is_rebuilt_from_leaves_and_segments() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, values) = living(folder.path());
    store.ask([
        StoreRequest::Evidence(vec![two_votes(3), two_votes(5)]),
        StoreRequest::Archived { through: Height(10) },
        StoreRequest::Silence { through: Height(7) },
    ]);
    let (oldest, account) = (store.view.oldest_blobs(), store.view.tallied());
    drop(store);
    let before = std::fs::read(folder.path().join(INDEX)).expect("the index");
    overwrite(folder.path(), 0, 0);
    for life in 0..2 {
        let store = Store::open_with(folder.path(), &cold());
        assert_eq!(store.view.head(), Height(HEIGHTS));
        assert_eq!(read_all(&store, &values, "rebuilt"), 0);
        assert_eq!(store.view.oldest_blobs(), oldest);
        assert_eq!(store.view.tallied(), account);
        assert_eq!(store.view.archived_through(), Height(10));
        assert_eq!(store.evidence(Height(1), Height(9), 9).len(), 2);
        assert_eq!(store.recovered.undecided.len(), 1);
        // The log of the next height has votes: nothing is signed there, and the core listens first.
        assert_eq!(store.recovered.silent_through, Height(HEIGHTS + 1), "life {life}");
        assert_eq!(store.recovered.rebuilt_through, Height(HEIGHTS + 1), "life {life}");
        assert!(store.recovered.log.is_none());
        let block_hash = &values[11].init.metadata.header.block_hash;
        assert_eq!(store.view.height_of_block(block_hash), Some(Height(12)));
    }
    let kept = std::fs::read(folder.path().join(DAMAGED)).expect("it is kept");
    assert_eq!(kept[4096..], before[4096..]);
    let mut store = Store::open_with(folder.path(), &cold());
    store.begin(HEIGHTS + 1);
    let next = value(HEIGHTS + 1, 77, 1);
    store.put(&next, Tag::Streamed);
    store.commit(&next);
    let later = Height(HEIGHTS + 9);
    store.ask([StoreRequest::Silence { through: later }]);
    drop(store);
    let store = Store::open_with(folder.path(), &cold());
    assert_eq!(store.view.head(), Height(HEIGHTS + 1));
    // The later silence has another reason.
    let recovered = &store.recovered;
    assert_eq!(
        (recovered.silent_through, recovered.rebuilt_through),
        (later, Height(HEIGHTS + 1))
    );
}

#[test]
fn no_page_of_the_index_is_one_that_a_start_refuses_or_a_vote_is_forgotten_by() {
    let (closed, killed) = (tempfile::tempdir(), tempfile::tempdir());
    let (closed, killed) = (closed.expect("a folder"), killed.expect("a folder"));
    let (store, values) = living(closed.path());
    copy(closed.path(), killed.path());
    drop(store);
    let mut rebuilt_count = 0;
    for (end, whole) in [("closed", closed.path()), ("killed", killed.path())] {
        for page in pages(whole) {
            // What a sector of zeros is for one, one of noise is for the other.
            let fill = if page % 2 == 0 { 0 } else { 0xa5 };
            let case = format!("{end}, page {page}, {fill:#x}");
            let folder = tempfile::tempdir().expect("a folder");
            copy(whole, folder.path());
            overwrite(folder.path(), page, fill);
            let mut store = Store::try_open(folder.path(), &cold()).unwrap_or_else(|error| panic!("{case}: {error}"));
            read_all(&store, &values, &case);
            let head = store.view.head();
            let log = store.recovered.log.clone();
            let knows = log.is_some_and(|log| {
                log.condition == LogCondition::Whole
                    && log.epoch.height == Height(HEIGHTS + 1)
                    && log.records.len() == 3
            });
            assert!(
                knows || store.recovered.silent_through > Height(HEIGHTS),
                "{case}: what was signed is forgotten, at head {head}"
            );
            rebuilt_count += usize::from(folder.path().join(DAMAGED).exists());
            heal(&mut store, &values);
            catch_up(&mut store, &values);
            assert_eq!(read_all(&store, &values, &case), 0);
            drop(store);
            let store = Store::try_open(folder.path(), &cold()).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(read_all(&store, &values, &case), 0);
            assert_eq!(store.view.head(), Height(HEIGHTS));
        }
    }
    assert!(rebuilt_count > 10, "{rebuilt_count}");
}

#[test]
fn a_rebuilding_that_was_cut_short_is_begun_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    drop(store);
    overwrite(folder.path(), 0, 0);
    let index = folder.path().join(INDEX);
    std::fs::hard_link(&index, folder.path().join(DAMAGED)).expect("as before the rename");
    std::fs::write(folder.path().join("index.redb.new"), b"half an index").expect("written");
    let store = Store::open_with(folder.path(), &cold());
    assert_eq!(read_all(&store, &values, "rebuilt"), 0);
    assert!(!folder.path().join("index.redb.new").exists());
}

#[test]
fn an_index_with_nothing_left_in_it_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(living(folder.path()));
    let index = folder.path().join(INDEX);
    let bytes = std::fs::metadata(&index).expect("metadata").len();
    std::fs::write(&index, vec![0; bytes as usize]).expect("written");
    let refused = Store::try_open(folder.path(), &cold()).err().expect("nobody knows");
    assert!(refused.to_string().contains("move the whole directory"), "{refused}");
    assert!(!folder.path().join("index.redb.new").exists() && !folder.path().join(DAMAGED).exists());
}
