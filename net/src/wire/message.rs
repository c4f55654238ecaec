//! This file knows the messages inside frames. Requests have a layout of their own:
//!
//! ```text
//!   parts request:  height u64 │ value id 32 │ all u8 = 1
//!                   height u64 │ value id 32 │ all u8 = 0 │ lists u8 │ ranges of chunks │ ranges of blobs
//!   value request:  height u64 │ want u8: 0 certificate, 1 package with all blobs
//!                   height u64 │ want u8 = 2 │ ranges of blobs that come behind the package
//! ```
//! Numbers are little-endian, ranges are as `streaming/ranges.rs` says, and nothing may follow. All other messages are
//! rkyv archives: every byte is validated, then the bounds are checked.

use bytes::{BufMut, Bytes};
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use ultramarine_types::canonical::Cursor;
use ultramarine_types::hearing::Hearing;
use ultramarine_types::limits::{
    BLOBS_PER_BLOCK_MAX, EXTRA_DATA_BYTES_MAX, PAYLOAD_CHUNKS_MAX, STATUS_VALUES_MAX, VALIDATORS_MAX,
};
use ultramarine_types::network::{Status, SyncWant};
use ultramarine_types::{CommitCertificate, ConsensusMessage, Height, Init, ValueId, ValueKey};

use crate::streaming::{ListSet, Missing, Ranges};
use crate::wire::frame::{FrameKind, frame};

/// Asks for parts of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartsRequest {
    pub key: ValueKey,
    /// The parts; `None` for all.
    pub missing: Option<Missing>,
}

/// Asks for a decided height.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueRequest {
    pub height: Height,
    pub want: ValueWant,
}

/// How much of a decided height is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueWant {
    /// The certificate alone.
    Certificate,
    /// The package, and these of its blobs; `None` for all.
    Package { blobs: Option<Ranges> },
}

impl From<SyncWant> for ValueWant {
    fn from(want: SyncWant) -> Self {
        match want {
            SyncWant::Package => Self::Package { blobs: None },
            SyncWant::Payload => Self::Package {
                blobs: Some(Ranges::default()),
            },
            SyncWant::Certificate => Self::Certificate,
        }
    }
}

/// The frame of a request for parts.
pub fn parts_request_frame(request: &PartsRequest) -> Bytes {
    let mut body = Vec::new();
    body.put_u64_le(request.key.height.0);
    body.put_slice(&request.key.id.0);
    body.put_u8(u8::from(request.missing.is_none()));
    if let Some(missing) = &request.missing {
        body.put_u8(missing.lists.bits());
        missing.chunks.write(&mut body);
        missing.blobs.write(&mut body);
    }
    frame(FrameKind::PartsRequest, &body)
}

/// Reads what [`parts_request_frame`] wrote.
pub fn read_parts_request(body: &[u8]) -> Result<PartsRequest, DecodeFault> {
    let mut fields = Cursor::new(body);
    parts_request_in(&mut fields)
        .filter(|_| fields.rest().is_empty())
        .ok_or(DecodeFault("not a request for parts"))
}

fn parts_request_in(fields: &mut Cursor<'_>) -> Option<PartsRequest> {
    let height = Height(fields.u64()?);
    let id = ValueId(fields.array()?);
    let missing = match fields.u8()? {
        1 => None,
        0 => Some(Missing {
            lists: ListSet::of_bits(fields.u8()?)?,
            chunks: Ranges::read(fields, PAYLOAD_CHUNKS_MAX)?,
            blobs: Ranges::read(fields, BLOBS_PER_BLOCK_MAX as usize)?,
        }),
        _ => return None,
    };
    let key = ValueKey { height, id };
    Some(PartsRequest { key, missing })
}

/// The frame of a request for a height.
pub fn value_request_frame(request: &ValueRequest) -> Bytes {
    let mut body = Vec::new();
    body.put_u64_le(request.height.0);
    match &request.want {
        ValueWant::Certificate => body.put_u8(0),
        ValueWant::Package { blobs: None } => body.put_u8(1),
        ValueWant::Package { blobs: Some(blobs) } => {
            body.put_u8(2);
            blobs.write(&mut body);
        }
    }
    frame(FrameKind::ValueRequest, &body)
}

/// Reads what [`value_request_frame`] wrote.
pub fn read_value_request(body: &[u8]) -> Result<ValueRequest, DecodeFault> {
    let mut fields = Cursor::new(body);
    value_request_in(&mut fields)
        .filter(|_| fields.rest().is_empty())
        .ok_or(DecodeFault("not a request for a height"))
}

fn value_request_in(fields: &mut Cursor<'_>) -> Option<ValueRequest> {
    let height = Height(fields.u64()?);
    let want = match fields.u8()? {
        0 => ValueWant::Certificate,
        1 => ValueWant::Package { blobs: None },
        2 => ValueWant::Package {
            blobs: Some(Ranges::read(fields, BLOBS_PER_BLOCK_MAX as usize)?),
        },
        _ => return None,
    };
    Some(ValueRequest { height, want })
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
    /// The frame of a call or of an answer to one.
    hearing_frame, read_hearing, Hearing, FrameKind::Hearing, "not a call or an answer to one", |_| true
);
codec!(
    /// The frame of an `Init`.
    init_frame, read_init, Init, FrameKind::Init, "not an Init within its bounds",
    |init| init.metadata.header.extra_data.len() <= EXTRA_DATA_BYTES_MAX
);
codec!(
    /// The frame of an answer to a request for a height.
    value_response_frame, read_value_response, ValueResponse, FrameKind::ValueResponse,
    "not an answer within its bounds",
    |response| match response {
        ValueResponse::Package { certificate } | ValueResponse::Certificate { certificate } => {
            certificate.signatures.len() <= VALIDATORS_MAX
        }
        ValueResponse::NotDecided { .. } | ValueResponse::Unavailable => true,
    }
);
