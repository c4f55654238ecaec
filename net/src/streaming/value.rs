//! This file knows one admitted value while its parts come in: which place is empty, and which has the right bytes.
//!
//! Keeps: there is one place for each part that the metadata binds, and only bytes with the hash that it binds are in
//! it. The payload has every chunk, or the joined chunks are its front. A value without reserved room holds no bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ultramarine_types::canonical::sha256;
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::Flaw;
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::Refutation;
use ultramarine_types::{Address, Assembly, Hash, KzgCommitment, KzgProof, ListKind, Lists, Nanos, PeerId, ValueKey};

use super::bits::Bits;
use super::contract::Missing;
use super::init::{CheckedInit, chunk_bytes};
use super::listset::ListSet;
use super::pace::Pace;

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

/// The front of a payload: chunks that are joined.
#[derive(Debug, Default)]
struct Front {
    chunks: usize,
    bytes: BytesMut,
}

/// How far a payload's chunks are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Joined {
    /// As far as possible: the next chunk is not here, or there is nothing more to do.
    AllThatIsHere,
    /// One step further. The next chunk is here, and another call goes on with it.
    Some,
    /// The payload is whole. This is returned once.
    Whole,
}

/// Chunks joined in one go, 256 KiB: so a vote never waits until 16 MiB are copied.
const CHUNKS_PER_STEP: usize = 4;

/// What became of a list or a chunk that was offered to a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Taken,
    /// It is here already.
    Known,
    /// Its length or hash is wrong.
    Bad,
    /// The list that says its hash is not here.
    Early,
}

/// What the lists say of one blob.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub commitment: KzgCommitment,
    pub proof: KzgProof,
    pub digest: Hash,
}

/// An admitted value in assembly.
#[derive(Debug)]
pub(super) struct Pending {
    pub key: ValueKey,
    pub init: CheckedInit,
    pub tag: Tag,
    /// Whether blobs are wanted. A metadata-only package has none.
    pub wants_blobs: bool,
    /// Bytes reserved for it, and the peer for whose sake; `None` while parked.
    pub reserved: Option<(PeerId, usize)>,
    /// When it was admitted: the oldest is given up first.
    pub admitted: Nanos,
    /// At what pace its bytes came since it has room.
    pub pace: Pace,
    /// Its own proof does not hold, so it can never be good. It had room for this peer's sake.
    hopeless: Option<PeerId>,
    /// The lanes have jobs of it, and were not told to forget it.
    pub is_at_lanes: bool,
    /// The lanes said that every proof of this id holds. It stays true, whatever becomes of the bytes.
    holds: bool,
    /// The lanes said that the proof of this blob does not hold. That stays true as well.
    refuted: Option<(u16, Refutation)>,
    lists: Arc<Lists>,
    lists_here: ListSet,
    chunks: Vec<ChunkPlace>,
    front: Front,
    /// All chunks, once they are joined.
    payload: Option<Bytes>,
    /// The core was told of the payload.
    is_announced: bool,
    /// The bytes of each blob, once they were found to be right.
    blobs: Vec<Option<Bytes>>,
    first_part: Option<Nanos>,
    /// Lists that a planted bug took.
    #[cfg(feature = "planted")]
    pub(super) unbound: ListSet,
    last_part: Nanos,
    last_blob: Nanos,
}

impl Pending {
    pub fn new(init: CheckedInit, tag: Tag, wants_blobs: bool, admitted: Nanos) -> Self {
        let chunks = (0..init.chunks_count()).map(|_| ChunkPlace::Empty).collect();
        Self {
            key: init.key(),
            tag,
            wants_blobs,
            reserved: None,
            admitted,
            pace: Pace::begin(admitted, 0),
            hopeless: None,
            is_at_lanes: false,
            holds: false,
            refuted: None,
            lists: Arc::default(),
            lists_here: ListSet::NONE,
            chunks,
            front: Front::default(),
            payload: None,
            is_announced: false,
            blobs: vec![None; init.blobs_count()],
            first_part: None,
            #[cfg(feature = "planted")]
            unbound: ListSet::NONE,
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
        self.init.init().metadata.payload_bytes as usize + self.init.lists_bytes() + blobs
    }

    /// Validator that signed its `Init`.
    pub fn proposer(&self) -> Address {
        self.init.init().metadata.origin_proposer
    }

    /// Bytes of the places that have right bytes, without the lists.
    pub fn bytes_here(&self) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| !matches!(chunk, ChunkPlace::Empty));
        let blobs = self.blobs.iter().flatten();
        chunks.count() * PAYLOAD_CHUNK_BYTES + blobs.count() * BLOB_BYTES
    }

    /// Takes one list from the bytes of its items, if it is the one that the metadata binds.
    pub fn put_list(&mut self, now: Nanos, kind: ListKind, items: &[u8]) -> Fate {
        // One that is here is compared and not hashed: that would be work for nothing, and nobody would pay for it.
        if self.lists_here.contains(kind) {
            let mut here = Vec::with_capacity(items.len());
            self.lists.write(kind, &mut here);
            return if here == items { Fate::Known } else { Fate::Bad };
        }
        let mut list = Lists::default();
        let is_right = items.len() == self.init.list_len(kind) * kind.item_bytes()
            && list.read(kind, items)
            && list.fits(kind, &self.init.init().metadata, self.init.proofs_per_blob());
        if is_right {
            self.take_list(now, kind, items)
        } else {
            Fate::Bad
        }
    }

    pub(super) fn take_list(&mut self, now: Nanos, kind: ListKind, items: &[u8]) -> Fate {
        if !self.lists_here.insert(kind) {
            return Fate::Known;
        }
        // Nobody else has the lists before all of them are here.
        Arc::make_mut(&mut self.lists).read(kind, items);
        self.touch(now);
        Fate::Taken
    }

    pub fn put_chunk(&mut self, now: Nanos, index: usize, bytes: Bytes) -> Fate {
        let Some(hash) = self.lists.chunks.get(index).copied() else {
            return Fate::Early;
        };
        let Some(place) = self.chunks.get_mut(index) else {
            return Fate::Bad;
        };
        if !matches!(place, ChunkPlace::Empty) {
            return Fate::Known;
        }
        let payload_bytes = self.init.init().metadata.payload_bytes as usize;
        if chunk_bytes(payload_bytes, index) != Some(bytes.len()) || sha256(&bytes) != hash {
            return Fate::Bad;
        }
        *place = ChunkPlace::Here(bytes);
        self.touch(now);
        Fate::Taken
    }

    #[cfg(feature = "planted")]
    pub(super) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// What the lists say of a blob; `None` while one of the three that say it is not here.
    pub fn bound(&self, index: usize) -> Option<Bound> {
        let proofs_per_blob = self.init.proofs_per_blob() as usize;
        Some(Bound {
            commitment: *self.lists.commitments.get(index)?,
            proof: *self.lists.proofs.get(index.checked_mul(proofs_per_blob)?)?,
            digest: *self.lists.digests.get(index)?,
        })
    }

    /// Whether bytes for this place could be of use: it has none that were found to be right.
    pub fn wants_blob(&self, index: usize) -> bool {
        self.wants_blobs && self.blobs.get(index).is_some_and(Option::is_none)
    }

    /// Notes that bytes of a blob have come, which still have to be judged.
    pub fn blob_came(&mut self, now: Nanos) {
        self.touch(now);
        self.last_blob = now;
    }

    /// Fills a place with bytes that were found to be right.
    pub fn fill(&mut self, index: usize, blob: Bytes) {
        if self.wants_blobs
            && let Some(place) = self.blobs.get_mut(index)
        {
            place.get_or_insert(blob);
        }
    }

    /// Every proof of this value holds.
    pub const fn hold(&mut self) {
        self.holds = true;
    }

    /// The proof of a blob does not hold. `false` if that was said of another proof than the value binds: then nothing
    /// is known. Without its lists, what was said is dropped, as the lanes judge the value anew when they come again.
    pub fn refute(&mut self, index: u16, why: Refutation, proof: &KzgProof) -> bool {
        assert!(usize::from(index) < self.blobs.len(), "the lanes name one of its blobs");
        let Some(bound) = self.bound(usize::from(index)) else {
            return true;
        };
        if bound.proof != *proof {
            return false;
        }
        self.refuted.get_or_insert((index, why));
        true
    }

    /// What shows that its own proof does not hold, once all bytes are here that show it.
    pub fn flaw(&self) -> Option<Flaw> {
        let (index, why) = self.refuted.filter(|_| self.lists_here.is_all())?;
        let blob = self.blobs.get(usize::from(index))?.as_ref()?;
        let evidence = Box::new(FalseValue {
            init: self.init.init().as_ref().clone(),
            lists: self.lists.as_ref().clone(),
            index,
            blob: blob.to_vec(),
        });
        Some(Flaw { index, why, evidence })
    }

    /// Whether its own proof does not hold.
    pub const fn is_hopeless(&self) -> bool {
        self.hopeless.is_some()
    }

    /// Gives it up: its own proof does not hold. Call only while it has room.
    pub fn give_up(&mut self) {
        let (owner, _) = self.reserved.expect("a value that was judged has room");
        self.hopeless = Some(owner);
    }

    /// Takes back that it was given up, and all that the lanes said. Returns for whose sake it had room; `None` if it
    /// was not given up.
    pub fn take_back(&mut self) -> Option<PeerId> {
        let owner = self.hopeless.take()?;
        self.refuted = None;
        self.holds = false;
        Some(owner)
    }

    /// Drops all bytes, and keeps the admission and what the lanes said. The bytes can be asked for again.
    pub fn park(&mut self) {
        self.reserved = None;
        self.first_part = None;
        self.lists = Arc::default();
        self.lists_here = ListSet::NONE;
        self.payload = None;
        self.is_announced = false;
        self.front = Front::default();
        self.chunks.iter_mut().for_each(|chunk| *chunk = ChunkPlace::Empty);
        self.blobs.fill(None);
    }

    /// The parts of which no bytes are here. `hashing` says for which blobs there are bytes that wait for a verdict.
    pub fn missing(&self, hashing: &Bits) -> Missing {
        let is_empty = |(_, chunk): &(usize, &ChunkPlace)| matches!(chunk, ChunkPlace::Empty);
        let chunks = self.chunks.iter().enumerate().filter(is_empty);
        let blobs = (0..self.blobs.len()).filter(|index| self.wants_blob(*index) && !hashing.contains(*index));
        Missing {
            lists: self.lists_here.others(),
            chunks: chunks.map(|(index, _)| index).collect(),
            blobs: blobs.collect(),
        }
    }

    /// Whether some place is without right bytes.
    pub fn needs_parts(&self) -> bool {
        !self.lists_here.is_all()
            || self.chunks.iter().any(|chunk| matches!(chunk, ChunkPlace::Empty))
            || (self.wants_blobs && self.blobs.iter().any(Option::is_none))
    }

    /// Whether all wanted parts are here, and every proof holds.
    pub fn is_whole(&self) -> bool {
        let is_proven = !self.wants_blobs || self.blobs.is_empty() || self.holds || self.tag == Tag::Restored;
        self.payload.is_some() && !self.needs_parts() && is_proven
    }

    /// Time from the first part to the last one.
    pub fn streamed(&self) -> Nanos {
        self.first_part.map_or(Nanos::ZERO, |first| self.last_part.since(first))
    }

    /// Time from the last blob's last byte to `now`; `None` for a value without blobs.
    pub fn verified(&self, now: Nanos) -> Option<Nanos> {
        (self.wants_blobs && !self.blobs.is_empty()).then(|| now.since(self.last_blob))
    }

    /// Joins the next few chunks. Each has its hash, so what they make up is the payload.
    pub fn join_payload(&mut self) -> Joined {
        if self.payload.is_some() {
            return Joined::AllThatIsHere;
        }
        let payload = if let [only] = self.chunks.as_mut_slice() {
            // The only chunk is the payload: nothing is copied.
            match std::mem::replace(only, ChunkPlace::Joined) {
                ChunkPlace::Here(bytes) => bytes,
                other => {
                    *only = other;
                    return Joined::AllThatIsHere;
                }
            }
        } else {
            for _ in 0..CHUNKS_PER_STEP {
                let Some(place @ ChunkPlace::Here(_)) = self.chunks.get_mut(self.front.chunks) else {
                    break;
                };
                if let ChunkPlace::Here(bytes) = std::mem::replace(place, ChunkPlace::Joined) {
                    if self.front.chunks == 0 {
                        let payload_bytes = self.init.init().metadata.payload_bytes;
                        self.front.bytes.reserve(payload_bytes as usize);
                    }
                    self.front.bytes.extend_from_slice(&bytes);
                    self.front.chunks += 1;
                }
            }
            match self.chunks.get(self.front.chunks) {
                Some(ChunkPlace::Here(_)) => return Joined::Some,
                Some(_) => return Joined::AllThatIsHere,
                None => {}
            }
            std::mem::take(&mut self.front).bytes.freeze()
        };
        self.payload = Some(payload);
        Joined::Whole
    }

    /// What the core is told once: the payload, with all lists. `None` if some of it is not here.
    pub fn announce(&mut self) -> Option<(Arc<Lists>, Bytes)> {
        let payload = self.payload.clone()?;
        if self.is_announced || !self.lists_here.is_all() {
            return None;
        }
        self.is_announced = true;
        Some((self.lists.clone(), payload))
    }

    /// The whole value. Call only when [`is_whole`](Self::is_whole).
    pub fn assemble(&mut self) -> Assembly {
        assert!(self.is_whole(), "only a whole value is assembled");
        let payload = self.payload.take().expect("a whole value has its payload");
        let blobs = std::mem::take(&mut self.blobs);
        let blobs = blobs.into_iter().flatten().filter(|_| self.wants_blobs).collect();
        Assembly {
            key: self.key,
            init: self.init.init().clone(),
            lists: self.lists.clone(),
            payload,
            blobs,
        }
    }

    /// Every promise of the module's head.
    pub fn check(&self) {
        let metadata = &self.init.init().metadata;
        assert_eq!(
            self.chunks.len(),
            self.init.chunks_count(),
            "one place for each chunk that the metadata binds"
        );
        assert_eq!(
            self.blobs.len(),
            metadata.blobs_count as usize,
            "one place for each blob that the metadata binds"
        );
        let lists = self.lists_here;
        #[cfg(feature = "planted")]
        let lists = lists.without(self.unbound);
        for kind in lists.iter() {
            assert!(
                self.lists.fits(kind, metadata, self.init.proofs_per_blob()),
                "a list that is here is the one that the metadata binds"
            );
        }
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
            let is_empty = self.lists_here.is_empty()
                && self.chunks.iter().all(|chunk| matches!(chunk, ChunkPlace::Empty))
                && self.blobs.iter().all(Option::is_none);
            assert!(is_empty, "a value without room holds no bytes");
        }
    }

    fn touch(&mut self, now: Nanos) {
        self.first_part.get_or_insert(now);
        self.last_part = now;
    }
}
