//! This file knows one admitted value while its parts come in: which place is empty, filled, or proven.
//!
//! Keeps: there is one place for each part that the metadata binds. The payload has every chunk, or the joined chunks
//! are its front. A value without reserved room holds no bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use ultramarine_types::canonical::sha256;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::Flaw;
use ultramarine_types::storage::Tag;
use ultramarine_types::{Assembly, BlobPart, Hash, Init, Nanos, PeerId, ValueKey};

use super::bits::Bits;
use super::contract::Missing;
use super::init::chunk_bytes;

/// Where one blob stands.
///
/// ```text
///            blob arrives            Holds
///   Empty ───────────────▶ Verifying ─────▶ Verified
///     ▲                      │  │ parked       │
///     ├── not found to hold ─┘  ▼              │
///     └────── any verdict ── Drained ◀─ never ─┘ (a parked Verified is Empty at once)
/// ```
#[derive(Debug)]
enum BlobPlace {
    /// No bytes are here.
    Empty,
    /// Bytes wait for their verdict. Only a verdict about this sender's bytes changes the place.
    Verifying {
        sender: PeerId,
        part: BlobPart,
    },
    /// The bytes were dropped for want of room, and their verdict has not come yet. A second job for the place must
    /// wait: its verdict could not be told from the first one's.
    Drained {
        sender: PeerId,
    },
    Verified(BlobPart),
}

impl BlobPlace {
    /// The sender of the bytes whose verdict is awaited.
    const fn awaited_from(&self) -> Option<PeerId> {
        match self {
            Self::Verifying { sender, .. } | Self::Drained { sender } => Some(*sender),
            Self::Empty | Self::Verified(_) => None,
        }
    }
}

/// Where one payload chunk stands.
#[derive(Debug)]
enum ChunkPlace {
    /// No bytes are here.
    Empty,
    /// Its bytes are here, and some chunk before it is not joined.
    Here(Bytes),
    /// Its bytes are in the payload.
    Joined,
}

/// The front of a payload: chunks that are joined and hashed.
#[derive(Debug, Default)]
struct Front {
    chunks: usize,
    bytes: BytesMut,
    hasher: Sha256,
}

/// How far a payload's chunks are joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Joined {
    /// As far as possible: the next chunk is not here, or there is nothing more to do.
    AllThatIsHere,
    /// One step further. The next chunk is here, and another call goes on with it.
    Some,
    /// The payload is whole and has its hash. This is returned once.
    Whole(Bytes),
}

/// Chunks joined in one go, 256 KiB: a fraction of a millisecond of hashing. So a vote never waits until 16 MiB are
/// hashed.
const CHUNKS_PER_STEP: usize = 4;

/// What became of a chunk offered to a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChunkFate {
    Taken,
    /// The place was filled already.
    Known,
    /// Its length or hash is wrong.
    Bad,
    Outside,
}

/// What became of a blob offered to a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BlobFate {
    /// Taken. Its proof must be verified.
    Taken,
    /// The place is filled, or blobs are not wanted.
    Known,
    Outside,
}

/// What a verdict did to the place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    /// The bytes are proven, or they are dropped: they are wrong, or the verifier gave them back unjudged.
    Judged,
    /// The bytes were dropped before. Only now may others come.
    Opened,
}

/// An admitted value in assembly.
#[derive(Debug)]
pub(super) struct Pending {
    pub key: ValueKey,
    pub init: Arc<Init>,
    pub tag: Tag,
    /// Whether blobs are wanted. A metadata-only package has none.
    pub wants_blobs: bool,
    /// Bytes reserved for it, and the peer for whose sake; `None` while parked.
    pub reserved: Option<(PeerId, usize)>,
    /// When it was admitted: the oldest is parked first.
    pub admitted: Nanos,
    /// Its proposer bound something malformed, so it can never be whole.
    pub hopeless: bool,
    /// Blobs were given back unjudged, and the core has not been told.
    pub given_back: bool,
    chunks: Vec<ChunkPlace>,
    front: Front,
    /// All chunks, once they are joined.
    payload: Option<Bytes>,
    blobs: Vec<BlobPlace>,
    first_part: Option<Nanos>,
    last_part: Nanos,
    last_blob: Nanos,
}

impl Pending {
    pub fn new(key: ValueKey, init: Arc<Init>, tag: Tag, wants_blobs: bool, admitted: Nanos) -> Self {
        let metadata = &init.metadata;
        let chunks = metadata.chunk_hashes.iter().map(|_| ChunkPlace::Empty).collect();
        let blobs = metadata.commitments.iter().map(|_| BlobPlace::Empty).collect();
        Self {
            key,
            tag,
            wants_blobs,
            reserved: None,
            admitted,
            hopeless: false,
            given_back: false,
            chunks,
            front: Front::default(),
            payload: None,
            blobs,
            first_part: None,
            last_part: admitted,
            last_blob: admitted,
            init,
        }
    }

    /// Bytes that it holds when it is whole.
    pub fn bytes(&self) -> usize {
        let blobs = if self.wants_blobs {
            self.blobs.len() * BLOB_BYTES
        } else {
            0
        };
        self.init.metadata.payload_bytes as usize + blobs
    }

    pub fn put_chunk(&mut self, now: Nanos, index: usize, bytes: Bytes) -> ChunkFate {
        let metadata = &self.init.metadata;
        let (Some(place), Some(hash)) = (self.chunks.get_mut(index), metadata.chunk_hashes.get(index)) else {
            return ChunkFate::Outside;
        };
        if !matches!(place, ChunkPlace::Empty) {
            return ChunkFate::Known;
        }
        if chunk_bytes(metadata.payload_bytes as usize, index) != Some(bytes.len()) || sha256(&bytes) != *hash {
            return ChunkFate::Bad;
        }
        *place = ChunkPlace::Here(bytes);
        self.touch(now);
        ChunkFate::Taken
    }

    pub fn put_blob(&mut self, now: Nanos, index: usize, sender: PeerId, part: BlobPart) -> BlobFate {
        let wanted = self.wants_blobs;
        match self.blobs.get_mut(index) {
            None => BlobFate::Outside,
            Some(place @ BlobPlace::Empty) if wanted => {
                *place = BlobPlace::Verifying { sender, part };
                self.touch(now);
                self.last_blob = now;
                BlobFate::Taken
            }
            Some(_) => BlobFate::Known,
        }
    }

    /// Settles the blob that a verdict is about; `None` if no blob of that sender awaits one there.
    pub fn settle(&mut self, index: usize, sender: PeerId, holds: bool) -> Option<Settled> {
        let place = self.blobs.get_mut(index)?;
        match std::mem::replace(place, BlobPlace::Empty) {
            BlobPlace::Verifying { sender: waiting, part } if waiting == sender => {
                if holds {
                    *place = BlobPlace::Verified(part);
                }
                Some(Settled::Judged)
            }
            BlobPlace::Drained { sender: waiting } if waiting == sender => Some(Settled::Opened),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Whether some blob awaits its verdict.
    pub fn awaits_verdicts(&self) -> bool {
        self.blobs.iter().any(|place| place.awaited_from().is_some())
    }

    /// Whether some blob of this sender awaits its verdict.
    pub fn awaits_verdicts_about(&self, sender: PeerId) -> bool {
        self.blobs.iter().any(|place| place.awaited_from() == Some(sender))
    }

    /// Drops all bytes and keeps the admission. The bytes can be asked for again.
    pub fn park(&mut self) {
        self.reserved = None;
        self.first_part = None;
        self.payload = None;
        self.front = Front::default();
        self.chunks.iter_mut().for_each(|chunk| *chunk = ChunkPlace::Empty);
        for place in &mut self.blobs {
            *place = place
                .awaited_from()
                .map_or(BlobPlace::Empty, |sender| BlobPlace::Drained { sender });
        }
    }

    /// The parts of which no bytes are here.
    pub fn missing(&self) -> Missing {
        let chunks = self
            .chunks
            .iter()
            .enumerate()
            .filter(|(_, chunk)| matches!(chunk, ChunkPlace::Empty))
            .map(|(index, _)| index);
        let blobs = self
            .blobs
            .iter()
            .enumerate()
            .filter(|(_, place)| self.wants_blobs && matches!(place, BlobPlace::Empty))
            .map(|(index, _)| index);
        Missing {
            chunks: chunks.collect(),
            blobs: blobs.collect::<Bits>(),
        }
    }

    /// Whether bytes are missing that somebody could send now.
    pub fn is_missing_parts(&self) -> bool {
        self.chunks.iter().any(|chunk| matches!(chunk, ChunkPlace::Empty))
            || (self.wants_blobs && self.blobs.iter().any(|place| matches!(place, BlobPlace::Empty)))
    }

    /// Whether the bytes of every blob are here.
    pub fn has_all_blobs(&self) -> bool {
        self.blobs
            .iter()
            .all(|place| matches!(place, BlobPlace::Verifying { .. } | BlobPlace::Verified(_)))
    }

    /// Whether all wanted parts are here and proven.
    pub fn is_whole(&self) -> bool {
        self.payload.is_some()
            && (!self.wants_blobs || self.blobs.iter().all(|place| matches!(place, BlobPlace::Verified(_))))
    }

    /// Time from the first part to the last one.
    pub fn streamed(&self) -> Nanos {
        self.first_part.map_or(Nanos::ZERO, |first| self.last_part.since(first))
    }

    /// Time from the last blob's last byte to `now`; `None` for a value without blobs.
    pub fn verified(&self, now: Nanos) -> Option<Nanos> {
        (self.wants_blobs && !self.blobs.is_empty()).then(|| now.since(self.last_blob))
    }

    /// Joins the next few chunks. An error if the whole payload is not the one that the metadata binds.
    pub fn join_payload(&mut self) -> Result<Joined, Flaw> {
        if self.payload.is_some() {
            return Ok(Joined::AllThatIsHere);
        }
        let payload = if let [only] = self.chunks.as_mut_slice() {
            // The only chunk's hash was compared with the payload's when the `Init` came.
            match std::mem::replace(only, ChunkPlace::Joined) {
                ChunkPlace::Here(bytes) => bytes,
                other => {
                    *only = other;
                    return Ok(Joined::AllThatIsHere);
                }
            }
        } else {
            for _ in 0..CHUNKS_PER_STEP {
                let Some(place @ ChunkPlace::Here(_)) = self.chunks.get_mut(self.front.chunks) else {
                    break;
                };
                if let ChunkPlace::Here(bytes) = std::mem::replace(place, ChunkPlace::Joined) {
                    if self.front.chunks == 0 {
                        self.front.bytes.reserve(self.init.metadata.payload_bytes as usize);
                    }
                    self.front.bytes.extend_from_slice(&bytes);
                    self.front.hasher.update(&bytes);
                    self.front.chunks += 1;
                }
            }
            match self.chunks.get(self.front.chunks) {
                Some(ChunkPlace::Here(_)) => return Ok(Joined::Some),
                Some(_) => return Ok(Joined::AllThatIsHere),
                None => {}
            }
            let front = std::mem::take(&mut self.front);
            if Hash(front.hasher.finalize().into()) != self.init.metadata.payload_hash {
                return Err(Flaw::Payload);
            }
            front.bytes.freeze()
        };
        self.payload = Some(payload.clone());
        Ok(Joined::Whole(payload))
    }

    /// The whole value. Call only when [`is_whole`](Self::is_whole).
    pub fn assemble(&mut self) -> Assembly {
        assert!(self.is_whole(), "only a whole value is assembled");
        let payload = self.payload.take().expect("a whole value has its payload");
        let blobs = std::mem::take(&mut self.blobs)
            .into_iter()
            .filter_map(|place| match place {
                BlobPlace::Verified(part) if self.wants_blobs => Some(part),
                _ => None,
            })
            .collect();
        Assembly {
            key: self.key,
            init: self.init.clone(),
            payload,
            blobs,
        }
    }

    /// Every promise of the module's head.
    pub fn check(&self) {
        let metadata = &self.init.metadata;
        assert_eq!(
            self.chunks.len(),
            metadata.chunk_hashes.len(),
            "one place for each chunk that the metadata binds"
        );
        assert_eq!(
            self.blobs.len(),
            metadata.commitments.len(),
            "one place for each blob that the metadata binds"
        );
        let joined = self.chunks.iter().filter(|chunk| matches!(chunk, ChunkPlace::Joined));
        let joined = joined.count();
        match &self.payload {
            Some(payload) => {
                assert_eq!(joined, self.chunks.len(), "a payload has every chunk");
                assert_eq!(
                    payload.len(),
                    metadata.payload_bytes as usize,
                    "a payload is as long as the metadata says"
                );
            }
            None => assert_eq!(joined, self.front.chunks, "what is joined is at the front"),
        }
        if self.reserved.is_none() {
            let is_empty = self.chunks.iter().all(|chunk| matches!(chunk, ChunkPlace::Empty))
                && self
                    .blobs
                    .iter()
                    .all(|blob| matches!(blob, BlobPlace::Empty | BlobPlace::Drained { .. }));
            assert!(is_empty, "a value without room holds no bytes");
        }
    }

    fn touch(&mut self, now: Nanos) {
        self.first_part.get_or_insert(now);
        self.last_part = now;
    }
}
