//! This file knows the frames that simulated nodes exchange: the same things that `ultramarine-net` puts on QUIC
//! streams, unencoded.

use std::sync::Arc;

use bytes::Bytes;
use ultramarine_net::streaming::{Missing, Ranges};
use ultramarine_types::network::{OfferKind, Status, SyncEnd, SyncWant};
use ultramarine_types::{CommitCertificate, ConsensusMessage, Height, Init, ListKind, Lists, ValueKey};

/// Names a stream or a request within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u64);

#[derive(Clone, Debug)]
pub enum SimFrame {
    Message(ConsensusMessage),
    Status(Status),
    Begin {
        stream: StreamId,
        /// Its metadata and signatures.
        init: Arc<Init>,
        /// Whether it is a proposal or a package.
        kind: OfferKind,
        /// The certificate that a package comes with.
        certificate: Option<CommitCertificate>,
        /// The request that this answers.
        answers: Option<StreamId>,
    },
    /// One of the value's lists: its items, one behind the other.
    List {
        stream: StreamId,
        kind: ListKind,
        items: Bytes,
    },
    /// A chunk of the payload.
    Chunk {
        stream: StreamId,
        index: usize,
        bytes: Bytes,
    },
    Blob {
        stream: StreamId,
        index: usize,
        bytes: Bytes,
    },
    /// The stream ends as it should.
    Fin {
        stream: StreamId,
    },
    Gone {
        stream: StreamId,
    },
    /// A request for parts of an undecided value.
    PartsRequest {
        /// The answer's parts name it.
        stream: StreamId,
        key: ValueKey,
        /// Which parts; `None`: the `Init` as well, and everything.
        missing: Option<Missing>,
    },
    /// A request for a decided height.
    SyncRequest {
        /// The answer names it.
        stream: StreamId,
        height: Height,
        want: SyncWant,
        /// The blobs that the asker lacks; `None` for all.
        blobs: Option<Ranges>,
    },
    /// An answer to a sync request that brings no package.
    SyncAnswer {
        stream: StreamId,
        end: SyncEnd,
    },
}

impl SimFrame {
    /// A value's lists, in the order in which they are sent.
    pub fn lists(stream: StreamId, lists: &Lists) -> impl Iterator<Item = Self> {
        ListKind::ALL.into_iter().map(move |kind| {
            let mut items = Vec::new();
            lists.write(kind, &mut items);
            let items = Bytes::from(items);
            Self::List { stream, kind, items }
        })
    }

    /// Size on the wire, near enough for transfer times.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Blob { bytes, .. } | Self::Chunk { bytes, .. } => bytes.len() + 16,
            Self::List { items, .. } => items.len() + 16,
            Self::Begin { .. } => 1024,
            Self::Message(_)
            | Self::Status(_)
            | Self::Fin { .. }
            | Self::Gone { .. }
            | Self::PartsRequest { .. }
            | Self::SyncRequest { .. }
            | Self::SyncAnswer { .. } => 256,
        }
    }

    /// The stream whose order the frame keeps, if any.
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Begin { stream, .. }
            | Self::List { stream, .. }
            | Self::Chunk { stream, .. }
            | Self::Blob { stream, .. }
            | Self::Fin { stream }
            | Self::Gone { stream }
            | Self::SyncAnswer { stream, .. } => Some(*stream),
            // Requests open a stream of their own; a lost one shows to the asker as a broken stream.
            Self::PartsRequest { stream, .. } | Self::SyncRequest { stream, .. } => Some(*stream),
            Self::Message(_) | Self::Status(_) => None,
        }
    }

    /// One word and what identifies it, for the trace.
    pub fn describe(&self) -> String {
        match self {
            Self::Message(ConsensusMessage::Vote(vote)) => format!(
                "vote {:?} {}/{} {} by {:?}",
                vote.kind,
                vote.height,
                vote.round,
                vote.value_id.map_or("nil".to_owned(), |id| format!("{id:?}")),
                vote.voter
            ),
            Self::Message(ConsensusMessage::Proposal(proposal)) => format!(
                "proposal {}/{} {:?} valid round {:?} by {:?}",
                proposal.height, proposal.round, proposal.value_id, proposal.valid_round, proposal.proposer
            ),
            Self::Message(ConsensusMessage::Polka(polka)) => {
                format!("polka {}/{} {:?}", polka.height, polka.round, polka.value_id)
            }
            Self::Message(ConsensusMessage::Round(round)) => {
                format!("round certificate {}/{} {:?}", round.height, round.round, round.kind)
            }
            Self::Status(status) => format!(
                "status tip {} round {} holds {}",
                status.tip,
                status.round,
                status.holds.len()
            ),
            Self::Begin { stream, init, kind, .. } => {
                format!("begin {} {kind:?} {}", stream.0, init.key())
            }
            Self::List { stream, kind, .. } => format!("list {} {kind:?}", stream.0),
            Self::Chunk { stream, index, .. } => format!("chunk {} {index}", stream.0),
            Self::Blob { stream, index, .. } => format!("blob {} {index}", stream.0),
            Self::Fin { stream } => format!("fin {}", stream.0),
            Self::Gone { stream } => format!("gone {}", stream.0),
            Self::PartsRequest { stream, key, .. } => format!("parts-request {} {key}", stream.0),
            Self::SyncRequest {
                stream, height, want, ..
            } => format!("sync-request {} {height} {want:?}", stream.0),
            Self::SyncAnswer { stream, end } => format!("sync-answer {} {}", stream.0, end_name(end)),
        }
    }
}

fn end_name(end: &SyncEnd) -> &'static str {
    match end {
        SyncEnd::Certificate(_) => "certificate",
        SyncEnd::NotDecided { .. } => "not-decided",
        SyncEnd::Unavailable => "unavailable",
        SyncEnd::TimedOut => "timed-out",
        SyncEnd::NotAsked => "not-asked",
        SyncEnd::Unusable => "unusable",
    }
}
