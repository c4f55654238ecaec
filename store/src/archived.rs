//! This file knows which heights the archive has, as every thread may ask.

use std::sync::atomic::{AtomicU64, Ordering};

use ultramarine_types::Height;

/// From where on the archive has blobs, and up to where it has everything.
#[derive(Debug, Default)]
pub(crate) struct ArchivedHeights {
    from: AtomicU64,
    through: AtomicU64,
}

impl ArchivedHeights {
    pub fn set(&self, from: Height, through: Height) {
        self.from.store(from.0, Ordering::Release);
        self.through.store(through.0, Ordering::Release);
    }

    /// Up to here it has everything.
    pub fn through(&self) -> Height {
        Height(self.through.load(Ordering::Acquire))
    }

    /// Whether it has a height, its blobs among it if there are any.
    pub fn has(&self, height: Height) -> bool {
        let from = Height(self.from.load(Ordering::Acquire));
        height > Height::GENESIS && from <= height && height <= self.through()
    }
}
