//! What is opened is read from the device: a page that a failed sync left in the cache may never have reached it.

use std::path::Path;

use ultramarine_types::storage::StoreRequest;

use super::support::*;

/// Bytes this thread had fetched from a device so far (proc_pid_io(5)); `None` where the kernel does not count.
fn fetched_bytes() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    counts
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok())
}

/// A file system whose files are nothing but cache has no device to read from.
fn is_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|status| status.f_type == TMPFS_MAGIC)
}

#[test]
fn the_index_is_opened_from_the_device_and_not_from_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let (false, Some(_)) = (is_memory(folder.path()), fetched_bytes()) else {
        ultramarine_runtime::skip::say(
            "reads from the device: there is none, or what is fetched from it is not counted",
        );
        return;
    };
    let mut store = Store::open(folder.path());
    store.ask([StoreRequest::Evidence((1..=20_000).map(two_votes).collect())]);
    drop(store);
    let path = folder.path().join("index.redb");
    let read = || std::fs::read(&path).expect("the index").len() as u64;
    let index_bytes = read();
    let before = fetched_bytes().expect("counted");
    assert_eq!(read(), index_bytes);
    let after = fetched_bytes().expect("counted");
    assert_eq!(after - before, 0, "a file just read is read from the cache");
    let store = Store::open(folder.path());
    let fetched = fetched_bytes().expect("counted") - after;
    assert!(fetched > index_bytes / 2, "{fetched} of {index_bytes} bytes");
    drop(store);
}
