//! This file knows the frames that simulated nodes exchange. On the wire they are the bytes that `ultramarine-net`
//! puts on QUIC streams: its own code writes and reads them.

mod packet;

use std::sync::Arc;

use bytes::Bytes;
pub use packet::{Packet, Place, cut_answer, cut_stream, package_bytes, pass_hello};
use ultramarine_net::message::{ValueResponse, ValueWant};
use ultramarine_net::streaming::Missing;
use ultramarine_types::hearing::Hearing;
use ultramarine_types::network::Status;
use ultramarine_types::package::{PackagedValue, SyncedValuePackage};
use ultramarine_types::{CommitCertificate, ConsensusMessage, Height, Init, ListKind, Lists, ValueKey};

/// Names a stream or a request within a run. QUIC's own number of a stream is no part of its bytes either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u64);

#[derive(Clone, Debug)]
pub enum SimFrame {
    Message(ConsensusMessage),
    Status(Status),
    Hearing(Hearing),
    /// An `Init`, first on a stream of parts.
    Begin {
        stream: StreamId,
        /// Its metadata and signatures.
        init: Arc<Init>,
        /// Whether the stream answers a request for parts.
        answers: bool,
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
    /// The stream of parts ends as it should.
    Fin {
        stream: StreamId,
    },
    /// The parts that were asked for are not held.
    NotHeld {
        stream: StreamId,
    },
    /// Its sender resets the stream.
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
        want: ValueWant,
    },
    /// An answer to a sync request that brings no package.
    SyncAnswer {
        stream: StreamId,
        response: ValueResponse,
    },
    /// An answer that brings a package; its blobs follow.
    Package {
        stream: StreamId,
        certificate: CommitCertificate,
        /// The archive of a [`SyncedValuePackage`].
        bytes: Bytes,
    },
    /// A blob behind a package.
    PackageBlob {
        stream: StreamId,
        bytes: Bytes,
    },
    /// Bytes that are none of these.
    Unreadable {
        stream: Option<StreamId>,
        what: &'static str,
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

    /// A package with other contents: `change` answers whether it says that blobs follow.
    pub fn repacked(
        stream: StreamId,
        mut certificate: CommitCertificate,
        bytes: &Bytes,
        change: impl FnOnce(&mut PackagedValue, &mut CommitCertificate, bool) -> bool,
    ) -> Self {
        let package = packet::read_package(bytes).expect("an own package is an archive");
        let (mut value, is_full) = match package {
            SyncedValuePackage::Full { value } => (value, true),
            SyncedValuePackage::MetadataOnly { value } => (value, false),
        };
        let package = match change(&mut value, &mut certificate, is_full) {
            true => SyncedValuePackage::Full { value },
            false => SyncedValuePackage::MetadataOnly { value },
        };
        Self::Package {
            stream,
            certificate,
            bytes: packet::write_package(&package),
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
            | Self::NotHeld { stream }
            | Self::Gone { stream }
            | Self::SyncAnswer { stream, .. }
            | Self::Package { stream, .. }
            | Self::PackageBlob { stream, .. } => Some(*stream),
            // Requests open a stream of their own; a lost one shows to the asker as a broken stream.
            Self::PartsRequest { stream, .. } | Self::SyncRequest { stream, .. } => Some(*stream),
            Self::Unreadable { stream, .. } => *stream,
            Self::Message(_) | Self::Status(_) | Self::Hearing(_) => None,
        }
    }

    /// Whether it asks for something.
    pub const fn is_request(&self) -> bool {
        matches!(self, Self::PartsRequest { .. } | Self::SyncRequest { .. })
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
            Self::Hearing(Hearing::Call(call)) => format!("call of {:?} {:?}", call.listener, call.nonce),
            Self::Hearing(Hearing::Heard(heard)) => {
                format!(
                    "{:?} heard {:?} {:?} tip {}",
                    heard.by, heard.listener, heard.nonce, heard.tip
                )
            }
            Self::Begin { stream, init, answers } => {
                let what = if *answers { "parts" } else { "value" };
                format!("begin {} {what} {}", stream.0, init.key())
            }
            Self::List { stream, kind, .. } => format!("list {} {kind:?}", stream.0),
            Self::Chunk { stream, index, .. } => format!("chunk {} {index}", stream.0),
            Self::Blob { stream, index, .. } => format!("blob {} {index}", stream.0),
            Self::Fin { stream } => format!("fin {}", stream.0),
            Self::NotHeld { stream } => format!("not-held {}", stream.0),
            Self::Gone { stream } => format!("gone {}", stream.0),
            Self::PartsRequest { stream, key, .. } => format!("parts-request {} {key}", stream.0),
            Self::SyncRequest { stream, height, want } => {
                let want = match want {
                    ValueWant::Certificate => "certificate",
                    ValueWant::Package { .. } => "package",
                };
                format!("sync-request {} {height} {want}", stream.0)
            }
            Self::SyncAnswer { stream, response } => format!("sync-answer {} {}", stream.0, answer_name(response)),
            Self::Package {
                stream, certificate, ..
            } => format!("package {} {}", stream.0, certificate.height),
            Self::PackageBlob { stream, .. } => format!("package-blob {}", stream.0),
            Self::Unreadable { what, .. } => format!("unreadable: {what}"),
        }
    }
}

fn answer_name(response: &ValueResponse) -> &'static str {
    match response {
        ValueResponse::Package { .. } => "package",
        ValueResponse::Certificate { .. } => "certificate",
        ValueResponse::NotDecided { .. } => "not-decided",
        ValueResponse::Unavailable => "unavailable",
    }
}
