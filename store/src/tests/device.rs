//! What is opened is read from the device: a page that a failed sync left in the cache may never have reached it.

use std::fs::File;
use std::io::IoSliceMut;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use ultramarine_types::storage::StoreRequest;

use super::support::*;

const PAGE_BYTES: u64 = 4096;

/// How many pages of a file the kernel would serve from memory, and how many there are.
fn cached_pages(path: &Path) -> (u64, u64) {
    let file = File::open(path).expect("it opens");
    // Without this, asking for one page would bring in its neighbours.
    fadvise(&file, 0, None, Advice::Random).expect("advice is taken");
    let pages = file.metadata().expect("metadata").len().div_ceil(PAGE_BYTES);
    let is_cached = |page: &u64| {
        let mut byte = [0];
        let read = preadv2(
            &file,
            &mut [IoSliceMut::new(&mut byte)],
            page * PAGE_BYTES,
            ReadWriteFlags::NOWAIT,
        );
        match read {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    };
    ((0..pages).filter(is_cached).count() as u64, pages)
}

/// A file system whose files are nothing but cache has no device to read from.
fn is_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let memory = rustix::fs::statfs(path).is_ok_and(|status| status.f_type == TMPFS_MAGIC);
    if memory {
        println!("skipped: {} is on tmpfs", path.display());
    }
    memory
}

#[test]
fn the_index_is_opened_from_the_device_and_not_from_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    if is_memory(folder.path()) {
        return;
    }
    let mut store = Store::open(folder.path());
    store.ask([StoreRequest::Evidence((1..=20_000).map(two_votes).collect())]);
    drop(store);
    let path = folder.path().join("index.redb");
    let before = std::fs::read(&path).expect("the index");
    let (cached, pages) = cached_pages(&path);
    assert_eq!(cached, pages, "what was read is cached");
    assert!(before.len() > 4 << 20, "larger than what opening reads");
    let store = Store::open(folder.path());
    let (cached, pages) = cached_pages(&path);
    assert!(
        cached < pages / 2,
        "{cached} of {pages} pages are still those of before"
    );
    drop(store);
}
