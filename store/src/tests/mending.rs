//! What becomes of a store that runs over an index of which a page cannot be read: it works on, and forgets no vote.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ultramarine_types::Height;
use ultramarine_types::storage::{LogCondition, Source, StoreRequest, Tag};

use super::damage::{HEIGHTS, living, read_all};
use super::rebuilding::{DAMAGED, INDEX, heal, pages};
use super::support::*;
use crate::check;
use crate::index::opened::refusal::CACHE_BYTES;

/// How a page is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// The device says so.
    Refused,
    /// It has other bytes.
    Zeros,
}

impl Loss {
    fn strike(self, store: &Store, folder: &Path, page: u64) {
        match self {
            Self::Refused => store.view.index().refuse(page),
            Self::Zeros => {
                let file = OpenOptions::new().write(true).open(folder.join(INDEX));
                let file = file.expect("the index");
                file.write_all_at(&[0; 4096], page * 4096).expect("written");
            }
        }
    }
}

/// Everything that changes the index, once. `Err`: the store ended in order.
fn change_all(store: &mut Store) -> Result<(), crate::Failure> {
    let next = value(HEIGHTS + 1, 77, 1);
    store.try_ask([StoreRequest::Put {
        assembly: next.clone(),
        tag: Tag::Streamed,
    }])?;
    store.try_ask([commit(&next, ultramarine_types::storage::Blobs::Held)])?;
    store.try_ask([StoreRequest::Evidence(vec![two_votes(3)])])?;
    store.try_ask([StoreRequest::Silence { through: Height(4) }])?;
    store.try_ask([StoreRequest::Archived { through: Height(10) }])?;
    Ok(())
}

/// Whether the next start knows all that was signed, or is silent.
fn knows_what_was_signed(store: &Store) -> bool {
    let log = store.recovered.log.clone();
    log.is_some_and(|log| log.condition == LogCondition::Whole && log.epoch.height > Height(HEIGHTS))
        || store.recovered.silent_through > Height(HEIGHTS)
}

/// redb reads and writes pages when it is closed.
#[test]
fn an_index_is_closed_over_lost_pages_without_ending_the_thread() {
    let folder = tempfile::tempdir().expect("a folder");
    CACHE_BYTES.set(Some(0));
    let (store, _) = living(folder.path());
    for page in pages(folder.path()) {
        Loss::Zeros.strike(&store, folder.path(), page);
    }
    let closed = catch_unwind(AssertUnwindSafe(|| drop(store)));
    CACHE_BYTES.set(None);
    assert!(closed.is_ok());
}

#[test]
fn no_page_of_the_index_that_is_lost_under_a_running_store_ends_it_or_has_a_vote_forgotten() {
    let whole = tempfile::tempdir().expect("a folder");
    let (store, values) = living(whole.path());
    drop(store);
    // Nothing is hidden by memory.
    CACHE_BYTES.set(Some(0));
    let (mut mended, mut ended, mut lost) = (0, Vec::new(), 0);
    for page in pages(whole.path()).into_iter().filter(|page| *page > 0) {
        for loss in [Loss::Refused, Loss::Zeros] {
            let case = format!("page {page} {loss:?}");
            let folder = tempfile::tempdir().expect("a folder");
            copy(whole.path(), folder.path());
            let mut store = Store::open_with(folder.path(), &cold());
            loss.strike(&store, folder.path(), page);
            read_all(&store, &values, &case);
            let outcome = change_all(&mut store);
            store.writer.tell_damage(usize::MAX, &mut Vec::new());
            lost += read_all(&store, &values, &case);
            match outcome {
                Ok(()) => {
                    heal(&mut store, &values);
                    assert_eq!(read_all(&store, &values, &case), 0);
                    assert_eq!(store.view.head(), Height(HEIGHTS + 1), "{case}");
                    let was_mended = folder.path().join(DAMAGED).exists();
                    mended += usize::from(was_mended);
                    drop(store);
                    let wrong = check(folder.path(), CHAIN, &mut |_| ()).expect("it can be read");
                    assert!(wrong.is_empty(), "{case}: {wrong:?}");
                }
                Err(failure) => {
                    let said = failure.to_string();
                    assert!(said.contains("the start rebuilds the index"), "{case}: {said}");
                    ended.push(case.clone());
                    drop(store);
                }
            }
            let mut store = Store::try_open(folder.path(), &cold()).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(knows_what_was_signed(&store), "{case}");
            heal(&mut store, &values);
            assert_eq!(read_all(&store, &values, &case), 0);
        }
    }
    CACHE_BYTES.set(None);
    assert!(mended >= 8 && lost > 0, "{mended} times mended, {lost} heights lost");
    // Pages that each transaction writes anew, so a real node has them in memory: marks, segments, roots of tables.
    assert!(ended.len() <= 6, "{ended:?}");
}
