//! This file knows where an incoming blob's bytes are put: a pooled page-aligned buffer, so that a warm one is reused.
//!
//! The lanes and the store read the blob there. The store copies it once more, into the buffer it writes from.

use bytes::{Bytes, BytesMut};
use ultramarine_runtime::{AlignedBuffer, BufferPool};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;

/// Warm memory kept while nothing is lent: one block of 64 blobs.
const IDLE_BYTES: usize = 64 * BLOB_BYTES;

#[derive(Clone, Debug)]
pub struct Buffers {
    pool: BufferPool,
}

impl Buffers {
    /// Buffers for a chain's blocks. Memory is taken when it is first used.
    pub fn new(limits: &Limits) -> Self {
        Self {
            pool: BufferPool::new(BLOB_BYTES, limits.assembly_bytes().max(BLOB_BYTES), IDLE_BYTES),
        }
    }

    /// A buffer of one blob's size. Beyond the pool's bound it comes from the heap: the join's reservations bound what
    /// is read, but the store or the verifier may hold pooled buffers a little longer.
    pub fn take(&self) -> Buffer {
        match self.pool.try_take() {
            Some(mut pooled) => {
                pooled.truncate(BLOB_BYTES);
                Buffer::Pooled(pooled)
            }
            None => Buffer::Heap(BytesMut::zeroed(BLOB_BYTES)),
        }
    }

    /// Bytes lent by the pool now.
    pub fn lent_bytes(&self) -> usize {
        self.pool.lent_bytes()
    }
}

/// A buffer of one blob's size, being filled.
#[derive(Debug)]
pub enum Buffer {
    /// From the pool; goes back when the last slice of it is dropped.
    Pooled(AlignedBuffer),
    Heap(BytesMut),
}

impl Buffer {
    /// No more writes: the bytes can be shared.
    pub fn freeze(self) -> Bytes {
        match self {
            Self::Pooled(buffer) => buffer.freeze(),
            Self::Heap(bytes) => bytes.freeze(),
        }
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Pooled(buffer) => buffer,
            Self::Heap(bytes) => bytes,
        }
    }
}
