//! This file knows the inputs and outputs of a join.

use bytes::Bytes;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::{BLOB_BYTES, LISTS_BYTES_MAX, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::{Fault, NetEvent, OfferId, Refusal};
use ultramarine_types::storage::Tag;
use ultramarine_types::verify::{Verdict, VerifyRequest};
use ultramarine_types::{Assembly, CommitCertificate, Height, ListKind, Nanos, PeerId, ValueKey};

use super::init::CheckedInit;
use super::listset::ListSet;
use super::ranges::Ranges;

/// What a join must know about its chain.
#[derive(Clone, Copy, Debug)]
pub struct JoinConfig {
    pub limits: Limits,
}

/// What a stream brings, as its sender says.
#[derive(Clone, Debug)]
pub enum Brings {
    /// A proposed value, streamed for the first time or again, or the requested parts of one.
    Proposal,
    /// A sync package with its blobs.
    Full {
        certificate: CommitCertificate,
        /// The blobs that were asked for; `None` for all.
        blobs: Option<Ranges>,
    },
    /// A sync package without blobs, of a height past retention.
    MetadataOnly(CommitCertificate),
}

/// A stream whose `Init` has arrived.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Named by the driver. No two streams of one run share a name.
    pub stream: OfferId,
    pub peer: PeerId,
    /// Its `Init`, whose shape is legal. For a sync package the driver has compared its key with the certificate's.
    pub init: CheckedInit,
    pub brings: Brings,
}

/// What a join takes in.
#[derive(Clone, Debug)]
pub enum Input {
    /// A stream began. Its parts wait until [`Output::Start`].
    Begin(Begin),
    /// The core wants a stream that it was asked about.
    Admit {
        offer: OfferId,
        /// Tag for the store.
        tag: Tag,
    },
    /// The core does not want a stream that it was asked about.
    Refuse { offer: OfferId, why: Refusal },
    /// One of the value's lists on a started stream: its items, one behind the other.
    List {
        stream: OfferId,
        kind: ListKind,
        items: Bytes,
    },
    /// A payload chunk of a started stream.
    Chunk { stream: OfferId, index: u32, bytes: Bytes },
    /// A blob of a started stream.
    Blob { stream: OfferId, index: u16, blob: Bytes },
    /// The sender says that it has sent everything.
    Fin { stream: OfferId },
    /// The stream broke, or the peer cannot serve what was requested.
    Gone { stream: OfferId },
    /// The verifier's word about the bytes of one blob, or about all blobs of a value.
    Verdict(Verdict),
    /// The core wants `peer` asked for the missing parts of a value.
    Fetch {
        /// Name of the stream that will carry the answer, chosen by the driver.
        stream: OfferId,
        key: ValueKey,
        peer: PeerId,
    },
    /// The core finds that the evidence of a flaw does not show it.
    Rejudge { key: ValueKey },
    /// The core has decided this height and all below it.
    Forget { height: Height },
}

/// A set of parts of a value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Missing {
    pub lists: ListSet,
    /// Positions of payload chunks.
    pub chunks: Ranges,
    pub blobs: Ranges,
}

impl Missing {
    pub const fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.chunks.is_empty() && self.blobs.is_empty()
    }

    /// Whether a value of `chunks` chunks and `blobs` blobs has all of these parts.
    pub fn is_within(&self, chunks: usize, blobs: usize) -> bool {
        self.chunks.is_within(chunks) && self.blobs.is_within(blobs)
    }

    /// The most bytes that these parts may have.
    pub fn bytes(&self) -> u64 {
        let lists = if self.lists.is_empty() { 0 } else { LISTS_BYTES_MAX };
        (lists + self.chunks.count() * PAYLOAD_CHUNK_BYTES + self.blobs.count() * BLOB_BYTES) as u64
    }
}

#[derive(Clone, Debug)]
pub struct Completed {
    pub assembly: Assembly,
    pub tag: Tag,
    /// Time from the first part to the last one.
    pub streamed: Nanos,
    /// Time from the last blob's last byte to the verdict about all; `None` for a value without blobs.
    pub verified: Option<Nanos>,
}

/// Why the join stops a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// The core refused it.
    Refused(Refusal),
    /// Its value needs no more parts.
    Complete,
    /// Its sender is at fault.
    Fault(Fault),
    /// There are too many at once, or the core did not answer in time. That is not the sender's fault.
    Busy,
    /// Its height is decided.
    Forgotten,
}

/// What a join wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the core, which may have to answer.
    Ask(NetEvent),
    /// Read the stream's parts.
    Start {
        stream: OfferId,
    },
    /// Read no further part of the stream until it is resumed: too many of its parts, or of all, wait for a verdict.
    Pause {
        stream: OfferId,
    },
    /// Read on.
    Resume {
        stream: OfferId,
    },
    /// Stop reading the stream. The join has forgotten it.
    Stop {
        stream: OfferId,
        why: StopReason,
    },
    Verify(VerifyRequest),
    /// Ask a peer for parts.
    Request {
        /// Name of the stream that is to carry the answer.
        stream: OfferId,
        peer: PeerId,
        key: ValueKey,
        /// The parts; `None` for all.
        missing: Option<Missing>,
    },
    /// Store a whole value.
    Complete(Box<Completed>),
    /// Alarm the operator: the verifier could say nothing about a value whose bytes are right. The fault is our own.
    Alarm {
        key: ValueKey,
        why: &'static str,
    },
    /// Charge a peer, whether it is still connected or not.
    Charge {
        peer: PeerId,
        fault: Fault,
        key: ValueKey,
    },
}
