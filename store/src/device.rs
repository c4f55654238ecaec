//! This file knows how to have a file read from its device, not from what the page cache believes of it.
//!
//! When a sync fails, Linux marks the pages it could not write as clean and keeps them (ext4, xfs). The next reader of
//! the file sees bytes that the device never got, and the next sync succeeds. A process that starts after such an end
//! must not take them for stored. Where the file system has O_DIRECT, segments and logs are read around the cache. redb
//! reads the index through the cache, and so does everything else where O_DIRECT is refused.
//!
//! Covers the bytes of a file on a device. Does not cover:
//! - a file's length, and where its blocks lie: the file system's own journal does;
//! - pages that another process maps: the directory is locked, but a backup tool may map them;
//! - a device that loses what it acknowledged;
//! - file systems that are nothing but cache (tmpfs).

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Whether an error says that the device, or a checksum of the file system, does not give back what was written: other
/// bytes of the file may be whole.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::ENODATA | libc::EILSEQ | libc::EBADMSG | libc::EUCLEAN | libc::EREMOTEIO)
    )
}

/// Drops a file's cached pages, so that the next read asks the device. Call it before the first read.
pub(crate) fn forget_cached(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // Dirty pages cannot be dropped, and a process that was killed leaves some: they are written first. A success here
    // says nothing about pages that could not be written before: those count as clean, and are dropped below. So does
    // a failure of theirs, which is told once.
    if let Err(error) = file.sync_all() {
        if !is_lost(&error) {
            return Err(error);
        }
        tracing::error!("{} was not written whole before: {error}", path.display());
    }
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}
