//! This file knows how to keep room for the log and the metadata commit when the disk is full.
//!
//! Two measures: a value is refused while it would leave less than the reserve free; and a file of that size is held
//! ready, to be given up when something else fills the disk.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Days of log and commits: a height costs about 60 KiB of them, most of it written over old blocks.
pub const RESERVE_BYTES: u64 = 16 << 20;
/// Below this the reserve is given up.
const LOW_BYTES: u64 = 8 << 20;

/// The reserve of one data directory.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// Takes the reserve if the disk has room for it.
    pub fn take(folder: &Path) -> Self {
        let path = folder.join("RESERVE");
        let mut reserve = Self {
            held: path.exists(),
            path,
        };
        reserve.refill();
        reserve
    }

    /// Whether `bytes` more may be taken for values.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        // A file system that cannot say is asked to do it instead.
        self.available()
            .is_none_or(|available| available >= bytes + RESERVE_BYTES)
    }

    /// To be called before each commit: gives the reserve up when the disk is nearly full, takes it again when it is not.
    pub fn balance(&mut self) {
        let Some(available) = self.available() else { return };
        if available < LOW_BYTES && self.held {
            match std::fs::remove_file(&self.path) {
                Ok(()) => {
                    self.held = false;
                    tracing::warn!(
                        "the disk of {} has {available} bytes left: the reserve is given up so that decisions can still be \
                         recorded; free space soon",
                        self.path.display()
                    );
                }
                Err(error) => tracing::warn!("the reserve {} cannot be given up: {error}", self.path.display()),
            }
        } else if !self.held && available > 4 * RESERVE_BYTES {
            self.refill();
        }
    }

    fn refill(&mut self) {
        if !self.held && self.has_room_for(RESERVE_BYTES) {
            self.held = create(&self.path)
                .inspect_err(|error| tracing::debug!("no reserve: {error}"))
                .is_ok();
        }
    }

    fn available(&self) -> Option<u64> {
        let status = statvfs(self.path.parent()?).ok()?;
        status.f_bavail.checked_mul(status.f_frsize)
    }
}

fn create(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)
        .map_err(io::Error::from)
        .inspect_err(|_| drop(std::fs::remove_file(path)))
}
