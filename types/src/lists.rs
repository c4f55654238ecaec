//! This file knows the four lists behind a value's metadata: what each holds, how it is hashed, and whether it fits.
//!
//! The metadata binds every list by its root and every length by its fixed fields. So a list is right or wrong by
//! itself, whoever sent it, and one of another length is its sender's fault.

use rkyv::{Archive, Deserialize, Serialize};

use crate::canonical::{Canonical, sha256};
use crate::digest::blob_digest;
use crate::ids::{Hash, KzgCommitment, KzgProof};
use crate::limits::PAYLOAD_CHUNK_BYTES;
use crate::sidecar;
use crate::value::{Roots, ValueMetadata};

/// One of the four lists. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ListKind {
    /// SHA-256 of each chunk of [`PAYLOAD_CHUNK_BYTES`]; the last chunk may be shorter.
    Chunks = 1,
    /// One commitment per blob, in block order.
    Commitments = 2,
    /// One [`blob_digest`] per blob.
    Digests = 3,
    /// The proofs of all blobs, those of one blob together.
    Proofs = 4,
}

impl ListKind {
    /// All, in the order in which they are sent.
    pub const ALL: [Self; 4] = [Self::Chunks, Self::Commitments, Self::Digests, Self::Proofs];

    /// The list with a number of the wire.
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Chunks),
            2 => Some(Self::Commitments),
            3 => Some(Self::Digests),
            4 => Some(Self::Proofs),
            _ => None,
        }
    }

    /// Bytes of one item.
    pub const fn item_bytes(self) -> usize {
        match self {
            Self::Chunks | Self::Digests => Hash::BYTES,
            Self::Commitments => KzgCommitment::BYTES,
            Self::Proofs => KzgProof::BYTES,
        }
    }
}

impl Roots {
    /// The root of one list.
    pub const fn of(&self, kind: ListKind) -> Hash {
        match kind {
            ListKind::Chunks => self.chunks,
            ListKind::Commitments => self.commitments,
            ListKind::Digests => self.digests,
            ListKind::Proofs => self.proofs,
        }
    }
}

/// The four lists of a value.
#[derive(Clone, PartialEq, Eq, Default, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Lists {
    pub chunks: Vec<Hash>,
    pub commitments: Vec<KzgCommitment>,
    pub digests: Vec<Hash>,
    pub proofs: Vec<KzgProof>,
}

impl Lists {
    /// The lists of a value with these payload bytes and blobs, each computed the plain way.
    pub fn of<'a>(
        payload: &[u8],
        blobs: impl IntoIterator<Item = (&'a [u8], KzgCommitment)>,
        proofs: Vec<KzgProof>,
    ) -> Self {
        let (digests, commitments) = blobs
            .into_iter()
            .map(|(blob, commitment)| (blob_digest(blob, &commitment), commitment))
            .unzip();
        Self {
            chunks: chunk_hashes(payload),
            commitments,
            digests,
            proofs,
        }
    }

    /// The roots of all four.
    pub fn roots(&self) -> Roots {
        Roots {
            chunks: self.root(ListKind::Chunks),
            commitments: self.root(ListKind::Commitments),
            digests: self.root(ListKind::Digests),
            proofs: self.root(ListKind::Proofs),
        }
    }

    /// The root of one list.
    pub fn root(&self, kind: ListKind) -> Hash {
        match kind {
            ListKind::Chunks => root("ultramarine/chunks/2", self.chunks.iter().map(Hash::as_bytes)),
            ListKind::Commitments => sidecar::commitments_root(&self.commitments),
            ListKind::Digests => root("ultramarine/digests/2", self.digests.iter().map(Hash::as_bytes)),
            ListKind::Proofs => root("ultramarine/proofs/2", self.proofs.iter().map(KzgProof::as_bytes)),
        }
    }

    /// How many items one list has.
    pub const fn len(&self, kind: ListKind) -> usize {
        match kind {
            ListKind::Chunks => self.chunks.len(),
            ListKind::Commitments => self.commitments.len(),
            ListKind::Digests => self.digests.len(),
            ListKind::Proofs => self.proofs.len(),
        }
    }

    /// Bytes of all items.
    pub fn bytes(&self) -> usize {
        ListKind::ALL
            .into_iter()
            .map(|kind| self.len(kind) * kind.item_bytes())
            .sum()
    }

    /// Whether one list is the one that the metadata binds.
    pub fn fits(&self, kind: ListKind, metadata: &ValueMetadata, proofs_per_blob: u32) -> bool {
        self.len(kind) == metadata.list_len(kind, proofs_per_blob) && self.root(kind) == metadata.root(kind)
    }

    /// The first list that is not the one that the metadata binds.
    pub fn misfit(&self, metadata: &ValueMetadata, proofs_per_blob: u32) -> Option<ListKind> {
        ListKind::ALL
            .into_iter()
            .find(|kind| !self.fits(*kind, metadata, proofs_per_blob))
    }

    /// Takes one list from the bytes of its items, one behind the other. `false` if they are no whole items; nothing is
    /// taken then.
    pub fn read(&mut self, kind: ListKind, bytes: &[u8]) -> bool {
        match kind {
            ListKind::Chunks => items(bytes, Hash, &mut self.chunks),
            ListKind::Commitments => items(bytes, KzgCommitment, &mut self.commitments),
            ListKind::Digests => items(bytes, Hash, &mut self.digests),
            ListKind::Proofs => items(bytes, KzgProof, &mut self.proofs),
        }
    }

    /// Appends the items of one list to `bytes`, as [`read`](Self::read) takes them.
    pub fn write(&self, kind: ListKind, bytes: &mut Vec<u8>) {
        match kind {
            ListKind::Chunks => self.chunks.iter().for_each(|item| bytes.extend_from_slice(&item.0)),
            ListKind::Commitments => self
                .commitments
                .iter()
                .for_each(|item| bytes.extend_from_slice(&item.0)),
            ListKind::Digests => self.digests.iter().for_each(|item| bytes.extend_from_slice(&item.0)),
            ListKind::Proofs => self.proofs.iter().for_each(|item| bytes.extend_from_slice(&item.0)),
        }
    }
}

/// SHA-256 of each chunk of a payload.
pub fn chunk_hashes(payload: &[u8]) -> Vec<Hash> {
    payload.chunks(PAYLOAD_CHUNK_BYTES).map(sha256).collect()
}

fn root<'a, const N: usize>(domain: &str, items: impl ExactSizeIterator<Item = &'a [u8; N]>) -> Hash {
    Canonical::new(domain).list(items).sha256()
}

fn items<const N: usize, T>(bytes: &[u8], item: impl Fn([u8; N]) -> T, list: &mut Vec<T>) -> bool {
    let (whole, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() {
        *list = whole.iter().map(|bytes| item(*bytes)).collect();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests;
