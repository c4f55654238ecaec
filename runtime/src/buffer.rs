//! This file knows how to lend page-aligned buffers that become `Bytes` without a copy and come back when let go.
//!
//! The network receives each blob into one of these: 128 KiB into fresh pages cost 125 µs, four times what a warm
//! buffer costs. The buffers are aligned as O_DIRECT wants its memory, but the store does not write from them yet. It
//! copies each blob once more, into a buffer of its medium, while the write before it is under way.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::medium::PAGE_BYTES;

/// A pool of equal buffers. Clones lend from the same pool.
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    buffer_bytes: usize,
    buffers_max: usize,
    idle_max: usize,
    /// Buffers that exist outside the idle list.
    lent: AtomicUsize,
    idle: Mutex<Vec<Pages>>,
}

impl BufferPool {
    /// A pool of buffers of at least `buffer_bytes` each, which together never pass `bytes_max`.
    ///
    /// Memory is taken when first lent and filled. At most `idle_bytes_max` of it stays while not lent.
    ///
    /// # Panics
    ///
    /// If `buffer_bytes` is 0 or not even one buffer fits in `bytes_max`: both follow from the chain's limits.
    pub fn new(buffer_bytes: usize, bytes_max: usize, idle_bytes_max: usize) -> Self {
        assert!(buffer_bytes > 0, "a buffer has bytes");
        let buffer_bytes = buffer_bytes.next_multiple_of(PAGE_BYTES);
        let buffers_max = bytes_max / buffer_bytes;
        assert!(
            buffers_max > 0,
            "a pool of {bytes_max} bytes holds a buffer of {buffer_bytes}"
        );
        Self {
            shared: Arc::new(Shared {
                buffer_bytes,
                buffers_max,
                idle_max: idle_bytes_max / buffer_bytes,
                lent: AtomicUsize::new(0),
                idle: Mutex::new(Vec::new()),
            }),
        }
    }

    /// A buffer of the pool's size with unspecified contents, or `None` while all are lent.
    pub fn try_take(&self) -> Option<AlignedBuffer> {
        let shared = &self.shared;
        shared
            .lent
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |lent| {
                (lent < shared.buffers_max).then_some(lent + 1)
            })
            .ok()?;
        let idle = shared.idle().pop();
        let pages = idle.unwrap_or_else(|| Pages::new(shared.buffer_bytes));
        Some(AlignedBuffer {
            pages: Some(pages),
            len: shared.buffer_bytes,
            home: Arc::clone(shared),
        })
    }

    /// Bytes of each buffer: a multiple of the page.
    pub fn buffer_bytes(&self) -> usize {
        self.shared.buffer_bytes
    }

    pub fn lent_bytes(&self) -> usize {
        self.shared.lent.load(Ordering::Acquire) * self.shared.buffer_bytes
    }

    /// Most bytes lent at one time.
    pub fn bytes_max(&self) -> usize {
        self.shared.buffers_max * self.shared.buffer_bytes
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BufferPool({} of {} bytes lent)",
            self.lent_bytes(),
            self.bytes_max()
        )
    }
}

impl Shared {
    /// The idle list; a panic while holding it leaves it whole.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Pages>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, pages: Pages) {
        {
            let mut idle = self.idle();
            if idle.len() < self.idle_max {
                idle.push(pages);
            }
        }
        let lent = self.lent.fetch_sub(1, Ordering::AcqRel);
        assert!(lent > 0, "a buffer comes back once");
    }
}

/// A lent buffer, aligned to a page. It goes back to its pool when dropped, also after it became `Bytes`.
pub struct AlignedBuffer {
    /// `None` only while being dropped.
    pages: Option<Pages>,
    /// Bytes shown; at most the pool's buffer size.
    len: usize,
    home: Arc<Shared>,
}

impl AlignedBuffer {
    /// Shows only the first `len` bytes.
    ///
    /// # Panics
    ///
    /// If the buffer shows fewer already.
    pub fn truncate(&mut self, len: usize) {
        assert!(len <= self.len, "truncating {} bytes to {len}", self.len);
        self.len = len;
    }

    /// The same memory as `Bytes`; it goes back to the pool with the last clone or slice.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.pages.as_ref().map_or(&[], |pages| &pages.bytes()[..self.len])
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.pages.as_mut() {
            Some(pages) => &mut pages.bytes_mut()[..self.len],
            None => &mut [],
        }
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<AlignedBuffer> for Bytes {
    fn from(buffer: AlignedBuffer) -> Self {
        buffer.freeze()
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.home.give_back(pages);
        }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}

/// Whole pages, found inside an allocation one page larger: that needs no `unsafe`, and the spare page is never
/// touched, so it costs address space and no memory.
struct Pages {
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl Pages {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + PAGE_BYTES].into_boxed_slice();
        // A boxed slice never moves, so the offset stays right for its whole life.
        let start = memory.as_ptr().addr().next_multiple_of(PAGE_BYTES) - memory.as_ptr().addr();
        Self { memory, start, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: usize = 131_072;

    #[test]
    fn every_buffer_is_aligned_and_whole() {
        let pool = BufferPool::new(BLOB + 1, 40 * BLOB, 0);
        let buffers: Vec<_> = (0..8).map(|_| pool.try_take().expect("room")).collect();
        for buffer in &buffers {
            assert_eq!(buffer.as_ptr().addr() % PAGE_BYTES, 0);
            assert_eq!(buffer.len(), BLOB + PAGE_BYTES);
        }
    }

    #[test]
    fn a_pool_never_lends_more_than_its_bytes() {
        let pool = BufferPool::new(BLOB, 3 * BLOB + 5, 3 * BLOB);
        let lent: Vec<_> = (0..3).map(|_| pool.try_take().expect("room for three")).collect();
        assert!(pool.try_take().is_none());
        assert_eq!(pool.lent_bytes(), 3 * BLOB);
        drop(lent);
        assert_eq!(pool.lent_bytes(), 0);
        assert!(pool.try_take().is_some());
    }

    #[test]
    fn bytes_hold_their_buffer_until_the_last_slice_is_gone() {
        let pool = BufferPool::new(BLOB, BLOB, BLOB);
        let mut buffer = pool.try_take().expect("room");
        let address = buffer.as_ptr();
        buffer[..4].copy_from_slice(b"blob");
        buffer.truncate(100);
        let bytes = buffer.freeze();
        assert_eq!((bytes.len(), bytes.as_ptr()), (100, address), "no byte was copied");
        let slice = bytes.slice(..4);
        drop(bytes);
        assert!(pool.try_take().is_none(), "the slice still holds it");
        assert_eq!(&slice[..], b"blob");
        drop(slice);
        let again = pool.try_take().expect("it came back");
        assert_eq!(again.as_ptr(), address, "and was kept warm");
        assert_eq!(again.len(), BLOB, "in its full size");
    }

    #[test]
    fn idle_memory_is_bounded() {
        let pool = BufferPool::new(PAGE_BYTES, 10 * PAGE_BYTES, 2 * PAGE_BYTES);
        drop((0..10).map(|_| pool.try_take().expect("room")).collect::<Vec<_>>());
        assert_eq!(pool.shared.idle().len(), 2);
    }

    #[test]
    fn threads_share_a_pool_without_passing_its_bound() {
        let pool = BufferPool::new(PAGE_BYTES, 4 * PAGE_BYTES, 4 * PAGE_BYTES);
        let threads: Vec<_> = (0..4u8)
            .map(|mark| {
                let pool = pool.clone();
                std::thread::spawn(move || {
                    for _ in 0..2000 {
                        if let Some(mut buffer) = pool.try_take() {
                            assert!(pool.lent_bytes() <= pool.bytes_max());
                            buffer.fill(mark);
                            let bytes = buffer.freeze();
                            assert!(bytes.iter().all(|byte| *byte == mark), "nobody else wrote here");
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no thread panics"));
        assert_eq!(pool.lent_bytes(), 0);
    }
}
