//! This file knows how to have a file read from its device, not from what the page cache believes of it.
//!
//! When a sync fails, Linux marks the pages it could not write as clean and keeps them (ext4, xfs): whoever reads the file
//! next sees bytes that the device never got, and the next sync succeeds. A process that starts after such an end must not
//! take them for stored. Reads around the cache do that for segments and logs where the file system has O_DIRECT; redb
//! reads the index through the cache, and so does everything else where O_DIRECT is refused.
//!
//! Covers the bytes of a file on a device. Does not cover its length and where its blocks lie (the file system's own
//! journal does), pages that another process maps (the directory is locked; a backup tool may), a device that
//! loses what it acknowledged, and file systems that are nothing but cache (tmpfs).

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Drops a file's cached pages, so that the next read asks the device. To be called before anything of it is read.
pub(crate) fn forget_cached(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // Dirty pages cannot be dropped, and a process that was killed leaves some: they are written first. That this succeeds
    // says nothing of pages whose writing failed before: those count as clean, and go below.
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}
