//! This file knows how a span of heights becomes an object, how the object is named, and which heights names leave out.

use std::fmt;

use bytes::Bytes;
use ultramarine_types::{Assembly, ChainIdentity, CommitCertificate, Height};

use super::height::{self, EncodedHeight};
use super::object::{ArchiveIndex, HEADER_BYTES, ROW_BYTES};
use super::{SPAN_BYTES_MAX, SPAN_HEIGHTS_MAX};
use crate::record::Unfit;

/// What the names of objects end with.
const SUFFIX: &str = ".uarc";
/// Digits of a height in a name: as many as the largest has, so that names sort as heights do.
const DIGITS: usize = 20;

/// Heights one after the other, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct HeightSpan {
    pub first: Height,
    pub last: Height,
}

impl HeightSpan {
    pub fn new(first: Height, last: Height) -> Self {
        Self { first, last }
    }

    /// The name of the object with these heights, within its chain's folder.
    pub fn object_name(self) -> String {
        format!("{:0DIGITS$}-{:0DIGITS$}{SUFFIX}", self.first.0, self.last.0)
    }

    /// The heights of the object with this name; `None` if no object is named so.
    pub fn of_name(name: &str) -> Option<Self> {
        let (first, last) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let height = |text: &str| {
            let digits = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok().map(Height)).flatten()
        };
        let span = Self::new(height(first)?, height(last)?);
        (span.first > Height::GENESIS && span.first <= span.last).then_some(span)
    }

    pub fn has(self, height: Height) -> bool {
        self.first <= height && height <= self.last
    }

    /// The heights of this span that none of the others has.
    pub fn missing_from(self, others: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut others: Vec<Self> = others.into_iter().collect();
        others.sort_unstable();
        let mut missing = Vec::new();
        let mut next = self.first;
        for other in others {
            if next > self.last {
                break;
            }
            if other.first > next {
                missing.push(Self::new(next, self.last.min(other.first.prev())));
            }
            next = next.max(other.last.next());
        }
        if next <= self.last {
            missing.push(Self::new(next, self.last));
        }
        missing
    }
}

impl fmt::Display for HeightSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

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
