//! This file knows what a join is told and what it may want done.

use bytes::Bytes;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::{Fault, NetEvent, OfferId, Refusal};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Verdict, VerifyJob};
use ultramarine_types::{Assembly, BlobPart, CommitCertificate, Height, Nanos, PeerId, ValueKey};

use super::bits::Bits;
use super::init::CheckedInit;

/// What a join must know of its chain.
#[derive(Clone, Copy, Debug)]
pub struct JoinConfig {
    /// Ceilings.
    pub limits: Limits,
}

/// What the sender of a stream says it is.
#[derive(Clone, Debug)]
pub enum Brings {
    /// A proposal's stream, first or again, or requested parts of one.
    Proposal,
    /// A sync package with its blobs.
    Full(CommitCertificate),
    /// A sync package of a height whose blobs are past retention.
    MetadataOnly(CommitCertificate),
}

/// A stream whose `Init` has arrived.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The stream, named by the driver: no two streams of one run share a name.
    pub stream: OfferId,
    /// Whose it is.
    pub peer: PeerId,
    /// Its `Init`, shape checked. For a sync package the driver has compared the key with the certificate's.
    pub init: CheckedInit,
    /// What it is said to be.
    pub brings: Brings,
}

/// What the join is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A stream began. Its parts wait for [`Output::Start`].
    Begin(Begin),
    /// From the core.
    Admit {
        /// The stream.
        offer: OfferId,
        /// Tag for the store.
        tag: Tag,
    },
    /// From the core.
    Refuse {
        /// The stream.
        offer: OfferId,
        /// Why.
        why: Refusal,
    },
    /// A payload chunk of a started stream.
    Chunk {
        /// The stream.
        stream: OfferId,
        /// Its position.
        index: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A blob of a started stream.
    Blob {
        /// The stream.
        stream: OfferId,
        /// Its position.
        index: u16,
        /// Bytes and proofs.
        part: BlobPart,
    },
    /// The sender says that it has sent all it meant to.
    Fin {
        /// The stream.
        stream: OfferId,
    },
    /// The stream broke, or the peer cannot serve what was requested.
    Gone {
        /// The stream.
        stream: OfferId,
    },
    /// From the verifier.
    Verdict(Verdict),
    /// From the core: ask `peer` for what is missing of a value.
    Fetch {
        /// The name of the stream that will carry the answer, chosen by the driver.
        stream: OfferId,
        /// The value.
        key: ValueKey,
        /// Whom.
        peer: PeerId,
    },
    /// From the core: everything at or below this height is decided.
    Forget {
        /// The height.
        height: Height,
    },
}

/// Parts of a value that are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(derive(Debug))]
pub struct Missing {
    /// Positions of payload chunks.
    pub chunks: Bits,
    /// Positions of blobs.
    pub blobs: Bits,
}

impl Missing {
    /// Whether no part is asked for.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.blobs.is_empty()
    }

    /// Whether all that is asked for is among so many chunks and blobs.
    pub fn is_within(&self, chunks: usize, blobs: usize) -> bool {
        self.chunks.iter().all(|index| index < chunks) && self.blobs.iter().all(|index| index < blobs)
    }

    /// The most that the parts asked for have in bytes.
    pub fn bytes(&self) -> u64 {
        (self.chunks.count() * PAYLOAD_CHUNK_BYTES + self.blobs.count() * BLOB_BYTES) as u64
    }
}

/// A whole value.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The value.
    pub assembly: Assembly,
    /// For the store.
    pub tag: Tag,
    /// From the first part to the last one.
    pub streamed: Nanos,
    /// From the last blob's last byte to the last verdict; `None` for a value without blobs.
    pub verified: Option<Nanos>,
}

/// Why a stream is read no further.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// The core refused it.
    Refused(Refusal),
    /// Nothing more is needed of its value.
    Complete,
    /// Its sender is at fault.
    Fault(Fault),
    /// Too many at once, or nobody answered for it in time; nobody's fault.
    Busy,
    /// Its height is decided.
    Forgotten,
}

/// What the join wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the core.
    Ask(NetEvent),
    /// Read the stream's parts.
    Start {
        /// The stream.
        stream: OfferId,
    },
    /// Stop reading the stream; the join has forgotten it.
    Stop {
        /// The stream.
        stream: OfferId,
        /// Why.
        why: StopReason,
    },
    /// Verify a blob.
    Verify(VerifyJob),
    /// Ask a peer for parts.
    Request {
        /// The stream the answer comes on.
        stream: OfferId,
        /// Whom.
        peer: PeerId,
        /// The value.
        key: ValueKey,
        /// Which parts; `None`: all of them.
        missing: Option<Missing>,
    },
    /// Store a whole value.
    Complete(Box<Completed>),
    /// Score a peer.
    Charge {
        /// Whom.
        peer: PeerId,
        /// For what.
        fault: Fault,
        /// About which value.
        key: ValueKey,
    },
}
