//! This file knows how to keep a second process off a data directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// The file that is locked, within the data directory.
pub(crate) const LOCK_NAME: &str = "LOCK";
/// How long to ask again: a process that was just killed, or a child between its fork and its exec, lets go by itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Held while the store or any reader of it lives; the kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock, or says that another process has it and keeps it (`Ok(None)`).
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        Self::wait(
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(LOCK_NAME))?,
        )
    }

    /// The same where a node was before. Makes no file.
    pub fn take_existing(folder: &Path) -> io::Result<Option<Self>> {
        Self::wait(File::open(folder.join(LOCK_NAME))?)
    }

    fn wait(file: File) -> io::Result<Option<Self>> {
        let until = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
