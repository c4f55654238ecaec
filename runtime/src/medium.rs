//! This file knows the contract of a storage medium: direct, page-aligned file I/O that one tile owns.
//!
//! ```text
//!   store ── Medium ──┬── Uring   glommio's DmaFile: O_DIRECT, io_uring, several writes in flight
//!                     └── Pwrite  O_DIRECT pwrite and fdatasync on the calling thread; buffered where refused
//! ```
//!
//! A write may return before the device has the bytes. Only a [`sync`](MediumFile::sync) that returned `Ok` makes the
//! writes before it durable, and it reports the failure of any of them. After a sync that failed, nothing since the
//! last good one can be relied on. Calling it again proves nothing, because the kernel drops the dirty mark with the
//! error. So callers stop.

use std::future::Future;
use std::io;
use std::ops::DerefMut;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

mod pwrite;
mod uring;

#[cfg(test)]
mod tests;

pub use pwrite::{Pwrite, PwriteFile, takes_direct_io};
pub use uring::{Uring, UringFile, run_on_ring, try_ring};

/// A page: the alignment of every position, length and buffer of a medium. It is the largest logical block size of the
/// devices we run on.
pub const PAGE_BYTES: usize = 4096;

/// Most bytes of one write: large enough to reach the device's bandwidth at a queue depth of four, small enough that
/// copying the next one overlaps with it.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// How a tile reaches its files.
#[expect(
    async_fn_in_trait,
    reason = "every medium is owned by one thread; its futures are never sent"
)]
pub trait Medium {
    type File: MediumFile;

    /// What operators call it.
    fn name(&self) -> &'static str;

    /// Opens an existing file for reading and writing.
    async fn open(&self, path: &Path) -> io::Result<Self::File>;
}

/// A file open on a [`Medium`]. Positions and lengths are multiples of [`PAGE_BYTES`].
#[expect(
    async_fn_in_trait,
    reason = "every medium is owned by one thread; its futures are never sent"
)]
pub trait MediumFile {
    /// Page-aligned memory that a write takes over.
    type Buffer: DerefMut<Target = [u8]>;

    /// Memory for one write, at most [`CHUNK_BYTES`]; waits while too many writes are in flight. Its content is
    /// unspecified.
    async fn buffer(&self, bytes: usize) -> Self::Buffer;

    /// Writes the whole buffer at a position. A later call may report its failure instead.
    async fn write(&self, at: u64, buffer: Self::Buffer) -> io::Result<()>;

    /// Makes everything written before durable: waits for the writes, then `fdatasync`.
    async fn sync(&self) -> io::Result<()>;

    /// Reads from the device, around the page cache where the file system allows it. Short at the file's end.
    async fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>>;
}

/// The output of a future that never waits, as every future of [`Pwrite`] is.
///
/// # Panics
///
/// If the future waits after all.
pub fn ready<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a blocking medium's future must be ready at once"),
    }
}

/// Refuses what O_DIRECT would refuse with a bare EINVAL, on every back end alike.
fn check_aligned(at: u64, bytes: usize) -> io::Result<()> {
    if at.is_multiple_of(PAGE_BYTES as u64) && bytes.is_multiple_of(PAGE_BYTES) && bytes > 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{bytes} bytes at {at} are not whole pages of {PAGE_BYTES}"),
    ))
}
