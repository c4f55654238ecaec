//! This file knows how to keep room for the log and the metadata commit when the disk is full.
//!
//! Two measures:
//! - A value is refused while it would leave less than the reserve free.
//! - A file of that size is held ready, and given up when something else fills the disk.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The reserve, within the data directory.
pub(crate) const RESERVE_NAME: &str = "RESERVE";
/// Days of log and commits: a height costs about 60 KiB of them, most of it written over old blocks.
pub const RESERVE_BYTES: u64 = 16 << 20;
/// Below this the reserve is given up.
const LOW_BYTES: u64 = 8 << 20;
const _: () = assert!(
    LOW_BYTES < RESERVE_BYTES,
    "the reserve is given up only when it is needed"
);
/// Unit of `st_blocks`, whatever the file system's is (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;
const _: () = assert!(RESERVE_BYTES.is_multiple_of(STAT_BLOCK_BYTES));

/// The reserve of one data directory.
#[derive(Debug)]
pub(crate) struct Reserve {
    folder: PathBuf,
    path: PathBuf,
    /// What the file occupies, not what its name or length promise.
    held_bytes: u64,
    /// The file system does not hold what it is asked to, so that it is not asked again at every sync.
    in_vain: bool,
}

impl Reserve {
    /// Finds what is held of the reserve, and gives it up if the disk is nearly full. Takes nothing: opening comes
    /// first.
    pub fn find(folder: &Path) -> Self {
        let path = folder.join(RESERVE_NAME);
        let mut reserve = Self {
            held_bytes: occupied_bytes(&path),
            folder: folder.to_owned(),
            path,
            in_vain: false,
        };
        if reserve.held_bytes > 0 {
            reserve.balance();
        }
        reserve
    }

    /// Takes the reserve, or what is missing of it, if the disk has room for it and as much again.
    pub fn take(&mut self) {
        if self.in_vain || self.held_bytes >= RESERVE_BYTES || !self.has_room_for(RESERVE_BYTES) {
            return;
        }
        let outcome = create(&self.path);
        self.held_bytes = occupied_bytes(&self.path);
        if self.held_bytes < RESERVE_BYTES && !outcome.as_ref().is_err_and(is_full) {
            // Values are refused in time all the same; only a disk that others fill is no longer provided for.
            self.in_vain = true;
            tracing::warn!("no reserve can be held in {}: {outcome:?}", self.path.display());
        }
    }

    /// Checks that a reserve is not called held in vain while it is held.
    pub fn check(&self) {
        assert!(
            !self.in_vain || self.held_bytes < RESERVE_BYTES,
            "only a reserve that is not held is given up on"
        );
    }

    /// Whether `bytes` more may be taken for values.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.room_bytes()
    }

    /// What may be taken for values.
    pub fn room_bytes(&self) -> u64 {
        room_bytes(&self.folder)
    }

    /// Whether the disk is so full that the reserve would be given up.
    pub fn is_low(&self) -> bool {
        self.available_bytes().is_some_and(|available| available < LOW_BYTES)
    }

    /// Gives the reserve up when the disk is nearly full, and takes it again when it is not. Call it before every write
    /// that cannot be refused.
    pub fn balance(&mut self) {
        let Some(available) = self.available_bytes() else {
            return;
        };
        if available < LOW_BYTES && self.held_bytes > 0 {
            // Whatever comes of it, it is not tried again before there was a reserve again.
            self.held_bytes = 0;
            match std::fs::remove_file(&self.path) {
                Ok(()) => {
                    tracing::warn!(
                        "{available} bytes are left: the reserve {} is given up so that log and decisions can still be \
                         written; {} soon",
                        self.path.display(),
                        self.advice(0)
                    );
                }
                Err(error) => tracing::warn!("the reserve {} cannot be given up: {error}", self.path.display()),
            }
        } else if available > 4 * RESERVE_BYTES {
            self.take();
        }
    }

    /// What to do so that `bytes` can be written and the reserve held beside them.
    pub fn advice(&self, bytes: u64) -> String {
        let available = self.available_bytes().unwrap_or(0);
        advice(
            &self.folder,
            (bytes + 2 * RESERVE_BYTES).saturating_sub(self.held_bytes + available),
        )
    }

    /// Why values are refused, or will be soon, and what to do; `None` while there is room for another of `bytes`.
    pub fn shortage(&self, bytes: u64) -> Option<String> {
        let available = self.available_bytes()?;
        let needed = bytes + 2 * RESERVE_BYTES - self.held_bytes.min(RESERVE_BYTES);
        let is_short = available < needed;
        is_short.then(|| {
            let wanted = needed + RESERVE_BYTES - available;
            format!(
                "the disk has no room for another file of values: {}",
                advice(&self.folder, wanted)
            )
        })
    }

    fn available_bytes(&self) -> Option<u64> {
        available_bytes(&self.folder)
    }
}

/// What may be taken for values on the disk of a data directory.
pub(crate) fn room_bytes(folder: &Path) -> u64 {
    // A file system that cannot say is asked to do it instead.
    available_bytes(folder).map_or(u64::MAX, |available| available.saturating_sub(RESERVE_BYTES))
}

/// What a file system has room for; `None` if it does not say, as one that counts no blocks at all (ramfs) does not.
fn available_bytes(folder: &Path) -> Option<u64> {
    let status = statvfs(folder).ok()?;
    if status.f_blocks == 0 {
        return None;
    }
    status.f_bavail.checked_mul(status.f_frsize)
}

/// Whether there was no room, on the disk or in the user's share of it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How much to free, and where.
pub(crate) fn advice(folder: &Path, bytes: u64) -> String {
    let mebibytes = bytes.div_ceil(1 << 20).max(1);
    format!("free at least {mebibytes} MiB on the disk of {}", folder.display())
}

/// What a file occupies on disk; nothing, if there is none.
pub(crate) fn occupied_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks() * STAT_BLOCK_BYTES)
}

fn create(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)
        .map_err(io::Error::from)
        .inspect_err(|_| drop(std::fs::remove_file(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_counts_no_blocks_is_not_called_full() {
        assert_eq!(available_bytes(Path::new("/proc")), None);
        assert!(available_bytes(&std::env::temp_dir()) > Some(0));
    }

    #[test]
    fn a_reserve_that_cannot_be_held_is_not_asked_for_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("RESERVE");
        std::fs::create_dir(&path).expect("something is in its place");
        let mut reserve = Reserve::find(folder.path());
        reserve.take();
        std::fs::remove_dir(&path).expect("gone");
        reserve.balance();
        assert!(!path.exists(), "by this process no more");
        let mut reserve = Reserve::find(folder.path());
        reserve.take();
        assert!(occupied_bytes(&path) >= RESERVE_BYTES);
        assert_eq!(reserve.held_bytes, occupied_bytes(&path));
    }
}
