//! This file knows how a disk is read by whoever serves peers: as the real store's view is.

use std::fmt;
use std::sync::Arc;

use ultramarine_types::storage::{Absent, Blobs, Decided, DecidedPayload, Source};
use ultramarine_types::{Assembly, Hash, Height, ValueKey};

use super::rot::Rot;
use super::{DecidedValue, Disk};

/// What peers may have of a disk.
pub struct Shelf<'a>(pub &'a Disk);

impl fmt::Debug for Shelf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf")
    }
}

impl Shelf<'_> {
    /// A decided height whose row of the index can be read.
    fn row(&self, height: Height) -> Option<&DecidedValue> {
        let is_readable = !matches!(self.0.rotten.of(height), Some(Rot::Row));
        self.0.decided(height).filter(|_| is_readable)
    }
}

impl Source for Shelf<'_> {
    fn head(&self) -> Height {
        self.0.head()
    }

    fn oldest_blobs(&self) -> Height {
        self.0.oldest_blobs()
    }

    fn decided(&self, height: Height) -> Option<Decided> {
        self.row(height).map(|value| value.decided.clone())
    }

    fn height_of_block(&self, block_hash: &Hash) -> Option<Height> {
        let mut decided = self.0.decisions();
        decided
            .find(|(_, value)| value.decided.init.metadata.header.block_hash == *block_hash)
            .map(|(height, _)| *height)
    }

    fn value(&self, key: &ValueKey) -> Result<Assembly, Absent> {
        self.0.value(key)
    }

    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent> {
        let Some(value) = self.0.decided(height) else {
            return Err(Absent::Unknown);
        };
        self.0.check_rot(height)?;
        match value.decided.blobs {
            Blobs::Held => Ok((value.decided.clone(), value.assembly.clone())),
            Blobs::Pruned => Err(Absent::Pruned {
                oldest: self.0.oldest_blobs(),
            }),
            Blobs::NeverHeld => Err(Absent::NeverHeld),
        }
    }

    fn decided_payload(&self, height: Height) -> Option<DecidedPayload> {
        if self.0.rotten.of(height).is_some_and(|rot| rot != Rot::Blob) {
            return None;
        }
        self.0.decided(height).map(|value| DecidedPayload {
            decided: value.decided.clone(),
            lists: Arc::clone(&value.assembly.lists),
            payload: value.assembly.payload.clone(),
        })
    }

    fn is_damaged(&self, height: Height) -> bool {
        self.0.is_rotten(height)
    }
}
