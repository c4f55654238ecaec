//! This file knows the messages inside frames. They are rkyv archives: every byte is validated, then the bounds are
//! checked.

use bytes::Bytes;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use ultramarine_types::limits::{BLOBS_PER_BLOCK_MAX, PAYLOAD_CHUNKS_MAX, STATUS_VALUES_MAX, VALIDATORS_MAX};
use ultramarine_types::network::{Status, SyncWant};
use ultramarine_types::{CommitCertificate, ConsensusMessage, Height, Init, ValueKey};

use crate::streaming::Missing;
use crate::wire::frame::{FrameKind, frame};

/// Asks for parts of a value.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct PartsRequest {
    pub key: ValueKey,
    /// The parts; `None` for all.
    pub missing: Option<Missing>,
}

/// Asks for a decided height.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct ValueRequest {
    pub height: Height,
    /// Whether the whole package is wanted, or the certificate alone.
    pub want: SyncWant,
}

#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum ValueResponse {
    /// A [`FrameKind::ValueBytes`] frame follows, then the blobs of a `Full` package.
    Package { certificate: CommitCertificate },
    /// The certificate alone, as asked.
    Certificate {
        /// Proof of the decision.
        certificate: CommitCertificate,
    },
    /// The height is not decided here.
    NotDecided { tip: Height },
    /// The height should be here, and cannot be served.
    Unavailable,
}

/// The bytes are no message, or one over its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeFault(pub &'static str);

macro_rules! codec {
    ($(#[$doc:meta])* $encode:ident, $decode:ident, $type:ty, $kind:expr, $fault:literal, $bound:expr) => {
        $(#[$doc])*
        pub fn $encode(message: &$type) -> Bytes {
            let body = rkyv::to_bytes::<Error>(message).expect("plain data always archives");
            frame($kind, &body)
        }

        /// Reads what the function above wrote. The body must be aligned: [`crate::wire::frame::read_body`] does that.
        pub fn $decode(body: &AlignedVec) -> Result<$type, DecodeFault> {
            let message = rkyv::from_bytes::<$type, Error>(body).map_err(|_| DecodeFault($fault))?;
            let within: fn(&$type) -> bool = $bound;
            if within(&message) { Ok(message) } else { Err(DecodeFault($fault)) }
        }
    };
}

codec!(
    /// The frame of a consensus message.
    message_frame, read_message, ConsensusMessage, FrameKind::Message, "not a consensus message within its bounds",
    |message| match message {
        ConsensusMessage::Vote(_) | ConsensusMessage::Proposal(_) => true,
        ConsensusMessage::Polka(polka) => polka.signatures.len() <= VALIDATORS_MAX,
        // It may have a prevote and a precommit of each validator.
        ConsensusMessage::Round(round) => round.signatures.len() <= 2 * VALIDATORS_MAX,
    }
);
codec!(
    /// The frame of a status.
    status_frame, read_status, Status, FrameKind::Status, "not a status within its bounds",
    |status| status.holds.len() <= STATUS_VALUES_MAX
);
codec!(
    /// The frame of an `Init`.
    init_frame, read_init, Init, FrameKind::Init, "not an Init within its bounds",
    |init| {
        init.metadata.commitments.len() <= BLOBS_PER_BLOCK_MAX as usize
            && init.metadata.chunk_hashes.len() <= PAYLOAD_CHUNKS_MAX
    }
);
codec!(
    /// The frame of a request for parts.
    parts_request_frame, read_parts_request, PartsRequest, FrameKind::PartsRequest,
    "not a request for parts",
    |_| true
);
codec!(
    /// The frame of a request for a height.
    value_request_frame, read_value_request, ValueRequest, FrameKind::ValueRequest,
    "not a request for a height",
    |_| true
);
codec!(
    /// The frame of an answer to it.
    value_response_frame, read_value_response, ValueResponse, FrameKind::ValueResponse,
    "not an answer within its bounds",
    |response| match response {
        ValueResponse::Package { certificate } | ValueResponse::Certificate { certificate } => {
            certificate.signatures.len() <= VALIDATORS_MAX
        }
        ValueResponse::NotDecided { .. } | ValueResponse::Unavailable => true,
    }
);
