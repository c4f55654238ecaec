//! What becomes of a store that runs over an index of which a page cannot be read: it works on, and forgets no vote.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::TableDefinition;
use ultramarine_types::Height;
use ultramarine_types::storage::{LogCondition, Source, StoreReply, StoreRequest, Tag};

use super::damage::{HEIGHTS, RETAINED, living, read_all};
use super::rebuilding::{DAMAGED, INDEX, heal, pages};
use super::support::*;
use crate::check;
use crate::index::MENDINGS_MAX;
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
    let (mut mended, mut ended) = (0, Vec::new());
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
            let lost_now = read_all(&store, &values, &case);
            match outcome {
                Ok(()) => {
                    if matches!(loss, Loss::Refused) {
                        // The file has it, and so have the segments.
                        assert_eq!(lost_now, 0, "{case}");
                    }
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
    assert!(mended >= 8, "{mended} times mended");
    // Pages that each transaction writes anew, so a real node has them in memory: marks, segments, roots of tables.
    assert!(ended.len() <= 6, "{ended:?}");
}

#[test]
fn a_read_of_the_index_that_fails_and_then_succeeds_loses_nothing() {
    let whole = tempfile::tempdir().expect("a folder");
    let (store, values) = living(whole.path());
    drop(store);
    CACHE_BYTES.set(Some(0));
    for page in pages(whole.path()).into_iter().filter(|page| *page > 0) {
        let case = format!("page {page}");
        let folder = tempfile::tempdir().expect("a folder");
        copy(whole.path(), folder.path());
        let mut store = Store::open_with(folder.path(), &cold());
        store.view.index().refuse_times(page, 2);
        assert_eq!(read_all(&store, &values, &case), 0);
        change_all(&mut store).expect("changed");
        assert_eq!(read_all(&store, &values, &case), 0);
        assert!(!folder.path().join(DAMAGED).exists(), "{case}");
    }
    CACHE_BYTES.set(None);
}

/// A package without blobs is what a peer has past retention.
#[test]
fn a_value_whose_row_cannot_be_read_is_not_replaced_by_one_without_blobs() {
    let whole = tempfile::tempdir().expect("a folder");
    let (store, values) = living(whole.path());
    drop(store);
    CACHE_BYTES.set(Some(0));
    let mut met = 0;
    for page in pages(whole.path()).into_iter().filter(|page| *page > 0) {
        for loss in [Loss::Refused, Loss::Zeros] {
            let case = format!("page {page} {loss:?}");
            let folder = tempfile::tempdir().expect("a folder");
            copy(whole.path(), folder.path());
            let mut store = Store::open_with(folder.path(), &cold());
            loss.strike(&store, folder.path(), page);
            read_all(&store, &values, &case);
            for height in store.view.damaged().into_iter().filter(|height| height.0 >= RETAINED) {
                met += 1;
                let value = &values[height.0 as usize - 1];
                let put = StoreRequest::Put {
                    assembly: without_blobs(value),
                    tag: Tag::Restored,
                };
                let asked = store.try_ask([StoreRequest::Vouch(Box::new(certificate(value))), put]);
                let Ok(asked) = asked else { break };
                assert!(matches!(asked[..], [StoreReply::Stored { .. }]), "{case}: {asked:?}");
                for (index, blob) in value.blobs.iter().enumerate() {
                    let found = store.view.blob(&value.key, index);
                    assert_eq!(found.as_ref(), Ok(blob), "{case}: {height}");
                }
            }
        }
    }
    CACHE_BYTES.set(None);
    assert!(met > 0);
}

#[test]
fn a_start_finds_the_records_of_heights_that_the_index_has_no_place_of() {
    const LOCATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("locations");
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    let account = store.view.tallied();
    drop(store);
    let unborn = folder.path().join("index.redb.new");
    std::fs::write(&unborn, b"half an index").expect("written");
    let database = redb::Database::open(folder.path().join(INDEX)).expect("the index");
    let transaction = database.begin_write().expect("begun");
    {
        let mut locations = transaction.open_table(LOCATIONS).expect("the table");
        for height in 2..HEIGHTS {
            locations.remove(height).expect("removed").expect("there was one");
        }
    }
    transaction.commit().expect("committed");
    drop(database);
    let store = Store::open_with(folder.path(), &cold());
    assert_eq!(read_all(&store, &values, "found again"), 0);
    assert_eq!(store.view.tallied(), account);
    assert!(!unborn.exists());
    drop(store);
    let wrong = check(folder.path(), CHAIN, &mut |_| ()).expect("it can be read");
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_lost_page_of_evidence_takes_no_false_value_with_it() {
    let whole = tempfile::tempdir().expect("a folder");
    let (mut store, _) = living(whole.path());
    store.ask([StoreRequest::Evidence(vec![two_votes(3), false_value(3, 9, 0)])]);
    let both = store.evidence(Height(0), Height(u64::MAX), 9).len();
    assert_eq!(both, 2);
    drop(store);
    CACHE_BYTES.set(Some(0));
    let mut halves = 0;
    for page in pages(whole.path()).into_iter().filter(|page| *page > 0) {
        let folder = tempfile::tempdir().expect("a folder");
        copy(whole.path(), folder.path());
        let mut store = Store::open_with(folder.path(), &cold());
        Loss::Zeros.strike(&store, folder.path(), page);
        let _ = store
            .view
            .index()
            .read_for_change(|| Err::<(), _>(store.view.index().lost_page()));
        if store.try_ask([StoreRequest::Silence { through: Height(4) }]).is_err() {
            continue;
        }
        let kept = store.evidence(Height(0), Height(u64::MAX), 9).len();
        assert!(kept > 0, "page {page}");
        halves += usize::from(kept == 1);
    }
    CACHE_BYTES.set(None);
    assert!(halves >= 2, "{halves}");
}

#[test]
fn mendings_keep_the_first_damaged_index_leave_nothing_behind_and_come_to_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    let index = store.view.index();
    let mend = || index.read_for_change(|| Err::<(), _>(index.lost_page()));
    let fails_once = std::cell::Cell::new(true);
    let read = index.read_for_change(|| {
        if fails_once.replace(false) {
            Err(index.lost_page())
        } else {
            Ok(())
        }
    });
    assert!(
        read.is_ok() && !folder.path().join(DAMAGED).exists(),
        "it was looked at again"
    );
    let number = |name: &str| std::fs::metadata(folder.path().join(name)).expect("the file").ino();
    let first = number(INDEX);
    let later = folder.path().join("index.redb.damaged.later");
    for count in 0..MENDINGS_MAX {
        let is_hindered = count == 1;
        if is_hindered {
            std::fs::create_dir(&later).expect("in its way");
        }
        assert!(mend().is_err());
        assert!(!folder.path().join("index.redb.new").exists(), "{count}");
        assert_eq!(
            store.view.index().take_mended().len(),
            usize::from(!is_hindered),
            "{count}"
        );
        if is_hindered {
            std::fs::remove_dir(&later).expect("out of its way");
        }
    }
    assert_eq!(number(DAMAGED), first);
    assert!(later.exists());
    assert!(mend().is_err() && index.take_mended().is_empty(), "the disk fails");
    assert_eq!(read_all(&store, &values, "mended"), 0);
}
