//! This file knows what a peer's request gets: which requests are legal, what an answer needs, and what it says.
//!
//! It reads the source and nothing else. The simulator's nodes serve by it as well.

use bytes::Bytes;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::PAYLOAD_CHUNKS_MAX;
use ultramarine_types::storage::Source;
use ultramarine_types::{Height, ValueKey};

use super::answers::AnswerClass;
use super::held::{self, Need, Places};
use crate::streaming::split::split;
use crate::wire::frame::{FrameKind, frame};
use crate::wire::message::{self, PartsRequest, ValueRequest, ValueWant};
use crate::wire::sync::{self, Answer};

/// What a peer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerRequest {
    Parts(PartsRequest),
    Value(ValueRequest),
}

impl PeerRequest {
    /// Whether a frame of this kind is a request.
    pub const fn is(kind: FrameKind) -> bool {
        matches!(kind, FrameKind::PartsRequest | FrameKind::ValueRequest)
    }

    /// Reads the body of a request; an error if no value of the chain can have what it asks for.
    pub fn read(kind: FrameKind, body: &[u8], limits: &Limits) -> Result<Self, &'static str> {
        let request = if kind == FrameKind::PartsRequest {
            message::read_parts_request(body).map(Self::Parts)
        } else {
            message::read_value_request(body).map(Self::Value)
        };
        let request = request.map_err(|fault| fault.0)?;
        let blobs_max = limits.blobs_per_block as usize;
        match &request {
            Self::Parts(PartsRequest {
                missing: Some(missing), ..
            }) if missing.is_empty() || !missing.is_within(PAYLOAD_CHUNKS_MAX, blobs_max) => {
                Err("asks for no part, or for parts that no value has")
            }
            Self::Value(ValueRequest {
                want: ValueWant::Package { blobs: Some(blobs) },
                ..
            }) if !blobs.is_within(blobs_max) => Err("asks for blobs that no value has"),
            _ => Ok(request),
        }
    }

    /// The class of its answer, where `head` is the newest decided height. Some validators may still vote at that one.
    /// No round waits for parts of an older height: they take the time of packages.
    pub fn class(&self, head: Height) -> AnswerClass {
        match self {
            Self::Value(ValueRequest {
                want: ValueWant::Package { .. },
                ..
            }) => AnswerClass::Package,
            Self::Parts(request) if request.key.height < head => AnswerClass::Package,
            Self::Parts(_)
            | Self::Value(ValueRequest {
                want: ValueWant::Certificate,
                ..
            }) => AnswerClass::Repair,
        }
    }

    /// The bytes that the answer takes from the source, by what the index knows.
    pub fn weigh(&self, source: &dyn Source) -> u64 {
        self.need(source).map_or(0, |need| need.weigh(source))
    }

    /// What the peer gets; an error if it asked for parts that it must know the value does not have.
    pub fn answer(&self, source: &dyn Source) -> Result<Answer, &'static str> {
        match self {
            Self::Parts(request) => Ok(Answer {
                pieces: held::parts(source, request)?.unwrap_or_else(|| vec![frame(FrameKind::NotHeld, &[])]),
                alarm: false,
            }),
            Self::Value(request) => sync::answer(source, request),
        }
    }

    /// Where on disk what it needs lies; `None` if it is in memory, or nowhere.
    pub(crate) fn places(&self, source: &dyn Source) -> Option<Places> {
        self.need(source)?.places(source)
    }

    /// What the answer needs of which value; a certificate needs none.
    fn need(&self, source: &dyn Source) -> Option<Need> {
        match self {
            Self::Parts(request) => Some(Need::of_parts(source, request)),
            Self::Value(ValueRequest {
                height,
                want: ValueWant::Package { blobs },
            }) => Need::of_package(source, *height, blobs.as_ref()),
            Self::Value(ValueRequest {
                want: ValueWant::Certificate,
                ..
            }) => None,
        }
    }
}

/// The frames of a value that is streamed; `None` if not every blob of it is here.
pub fn stream(source: &dyn Source, key: &ValueKey) -> Option<Vec<Bytes>> {
    held::whole(source, key).map(|assembly| split(&assembly, None))
}

#[cfg(test)]
mod tests {
    use ultramarine_types::ValueId;
    use ultramarine_types::network::SyncWant;

    use super::*;

    #[test]
    fn parts_of_heights_long_decided_are_no_repair_of_a_round() {
        let parts = |height| {
            let id = ValueId([1; 32]);
            PeerRequest::Parts(PartsRequest {
                key: ValueKey {
                    height: Height(height),
                    id,
                },
                missing: None,
            })
        };
        let value = |want: SyncWant| {
            PeerRequest::Value(ValueRequest {
                height: Height(1),
                want: want.into(),
            })
        };
        let head = Height(7);
        assert_eq!(parts(6).class(head), AnswerClass::Package);
        assert_eq!(parts(7).class(head), AnswerClass::Repair, "others may still vote on it");
        assert_eq!(parts(8).class(head), AnswerClass::Repair);
        assert_eq!(value(SyncWant::Package).class(head), AnswerClass::Package);
        assert_eq!(
            value(SyncWant::Certificate).class(head),
            AnswerClass::Repair,
            "it is small"
        );
    }
}
