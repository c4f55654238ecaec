//! This file knows how heights, one after the other, become an object.

use bytes::Bytes;
use ultramarine_types::{Assembly, ChainIdentity, CommitCertificate};

use super::height::{self, EncodedHeight};
use super::object::{ArchiveIndex, HEADER_BYTES, ROW_BYTES};
use super::{SPAN_BYTES_MAX, SPAN_HEIGHTS_MAX};
use crate::record::Unfit;

/// Gathers heights, one after the other, for one object.
#[derive(Debug)]
pub struct SpanBuilder {
    chain: ChainIdentity,
    heights: Vec<(EncodedHeight, u32)>,
    bytes: u64,
}

/// An object ready to be written.
#[derive(Clone, Debug)]
pub struct SpanObject {
    pub index: ArchiveIndex,
    /// Its bytes in order. Blobs are shared with whoever gave them.
    pub parts: Vec<Bytes>,
}

impl SpanBuilder {
    pub fn new(chain: ChainIdentity) -> Self {
        Self {
            chain,
            heights: Vec::new(),
            bytes: HEADER_BYTES as u64,
        }
    }

    pub fn heights_count(&self) -> usize {
        self.heights.len()
    }

    /// Adds the next height. `Ok(false)`: it is full, and the height is not in it. The first height always fits.
    ///
    /// # Panics
    ///
    /// If the height does not follow on the one before.
    pub fn push(&mut self, certificate: &CommitCertificate, assembly: &Assembly) -> Result<bool, Unfit> {
        if let Some((before, _)) = self.heights.last() {
            assert_eq!(
                assembly.key.height,
                before.key.height.next(),
                "a span has every height from its first to its last"
            );
        }
        let encoded = height::encode(certificate, assembly)?;
        let bytes = self.bytes + encoded.bytes() + ROW_BYTES as u64;
        let is_full = self.heights.len() == SPAN_HEIGHTS_MAX as usize || bytes > SPAN_BYTES_MAX;
        if is_full && !self.heights.is_empty() {
            return Ok(false);
        }
        self.bytes = bytes;
        self.heights.push((encoded, assembly.init.metadata.blobs_count));
        Ok(true)
    }

    /// The object, or `None` without a height.
    pub fn finish(self) -> Option<SpanObject> {
        if self.heights.is_empty() {
            return None;
        }
        let index = ArchiveIndex::lay_out(self.chain, &self.heights);
        let mut parts = vec![Bytes::from(index.encode())];
        for (encoded, _) in self.heights {
            parts.push(encoded.head);
            parts.extend(encoded.blobs);
        }
        assert_eq!(
            parts.iter().map(|part| part.len() as u64).sum::<u64>(),
            index.object_bytes,
            "the object is as long as its header says"
        );
        Some(SpanObject { index, parts })
    }
}
