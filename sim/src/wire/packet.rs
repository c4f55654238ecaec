//! This file knows the bytes of frames: they are written and read by the real codecs.
//!
//! Blobs and chunks stay slices of the buffers that they lie in, as they do where QUIC sends them.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use ultramarine_net::bounds::WIRE_VERSIONS;
use ultramarine_net::frame::{FrameKind, HEADER_BYTES, Header, Part, PartHead, ReadFault};
use ultramarine_net::hello::{Goodbye, Hello};
use ultramarine_net::message::{self, PartsRequest, ValueRequest, ValueResponse};
use ultramarine_net::reply::PeerRequest;
use ultramarine_types::chain::Limits;
use ultramarine_types::package::SyncedValuePackage;

use super::{SimFrame, StreamId};

/// Where bytes come on a connection: QUIC tells its streams apart without a word of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On the control stream.
    Control,
    /// On a stream of a value's parts.
    Value(StreamId),
    /// On the stream of a request: the request.
    Request(StreamId),
    /// On the stream of a request for parts: the answer.
    Parts(StreamId),
    /// On the stream of a request for a height: the answer's head, or all of it.
    Reply(StreamId),
    /// Behind the head of such an answer.
    Blob(StreamId),
    /// A stream that is reset.
    Reset(StreamId),
}

impl Place {
    pub const fn stream(self) -> Option<StreamId> {
        match self {
            Self::Control => None,
            Self::Value(stream)
            | Self::Request(stream)
            | Self::Parts(stream)
            | Self::Reply(stream)
            | Self::Blob(stream)
            | Self::Reset(stream) => Some(stream),
        }
    }
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    pub place: Place,
    /// Its bytes, in order.
    pub pieces: Vec<Bytes>,
}

/// The packets of a value's frames.
pub fn cut_stream(stream: StreamId, pieces: Vec<Bytes>) -> Vec<Packet> {
    cut(Place::Value(stream), pieces)
}

/// The packets of an answer to a request.
pub fn cut_answer(stream: StreamId, request: &PeerRequest, pieces: Vec<Bytes>) -> Vec<Packet> {
    match request {
        PeerRequest::Parts(_) => cut(Place::Parts(stream), pieces),
        PeerRequest::Value(_) => {
            let mut pieces = pieces;
            let blobs = pieces.split_off(pieces.len().min(2));
            let head = Packet {
                place: Place::Reply(stream),
                pieces,
            };
            let place = Place::Blob(stream);
            let blobs = blobs.into_iter().map(|blob| Packet {
                place,
                pieces: vec![blob],
            });
            std::iter::once(head).chain(blobs).collect()
        }
    }
}

/// One packet a frame. A frame's bytes begin with a piece and end with one.
fn cut(place: Place, pieces: Vec<Bytes>) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut pieces = pieces.into_iter();
    while let Some(first) = pieces.next() {
        let (header, _) = header_of(&first).expect("our own frames have headers");
        let mut packet = Packet {
            place,
            pieces: vec![first],
        };
        while packet.bytes() < HEADER_BYTES + header.body_bytes {
            packet.pieces.extend(pieces.next());
        }
        packets.push(packet);
    }
    packets
}

/// The first words of a connection, as the other end reads them. The error is its reason to part.
pub fn pass_hello(said: &Hello) -> Result<Hello, Goodbye> {
    let (header, body) = header_of(&said.frame()).map_err(|_| Goodbye::Protocol)?;
    if header.kind != FrameKind::Hello || header.body_bytes != body.len() {
        return Err(Goodbye::Protocol);
    }
    let (hello, _) = Hello::parse(&body, WIRE_VERSIONS)?;
    Ok(hello)
}

fn header_of(bytes: &Bytes) -> Result<(Header, Bytes), &'static str> {
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or("no header")?;
    let header = Header::parse(*header).map_err(said)?;
    Ok((header, bytes.slice(HEADER_BYTES..)))
}

fn said(fault: ReadFault) -> &'static str {
    match fault {
        ReadFault::Protocol(what) => what,
        ReadFault::Broken(_) => "broken",
    }
}

impl Packet {
    /// Bytes of the frame itself.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// The bytes of a frame, whatever is in it.
    pub fn write(frame: &SimFrame) -> Self {
        let (place, pieces) = match frame {
            SimFrame::Message(message) => (Place::Control, vec![message::message_frame(message)]),
            SimFrame::Status(status) => (Place::Control, vec![message::status_frame(status)]),
            SimFrame::Hearing(hearing) => (Place::Control, vec![message::hearing_frame(hearing)]),
            SimFrame::Begin { stream, init, answers } => {
                let place = match answers {
                    true => Place::Parts(*stream),
                    false => Place::Value(*stream),
                };
                (place, vec![message::init_frame(init)])
            }
            SimFrame::List { stream, kind, items } => {
                let number = [*kind as u8];
                (Place::Value(*stream), part(FrameKind::List, &number, items))
            }
            SimFrame::Chunk { stream, index, bytes } => {
                let number = (*index as u32).to_le_bytes();
                (Place::Value(*stream), part(FrameKind::Chunk, &number, bytes))
            }
            SimFrame::Blob { stream, index, bytes } => {
                let number = (*index as u16).to_le_bytes();
                (Place::Value(*stream), part(FrameKind::Blob, &number, bytes))
            }
            SimFrame::Fin { stream } => (Place::Value(*stream), part(FrameKind::Fin, &[], &Bytes::new())),
            SimFrame::NotHeld { stream } => (Place::Parts(*stream), part(FrameKind::NotHeld, &[], &Bytes::new())),
            SimFrame::Gone { stream } => (Place::Reset(*stream), Vec::new()),
            SimFrame::PartsRequest { stream, key, missing } => {
                let request = PartsRequest {
                    key: *key,
                    missing: missing.clone(),
                };
                (Place::Request(*stream), vec![message::parts_request_frame(&request)])
            }
            SimFrame::SyncRequest { stream, height, want } => {
                let request = ValueRequest {
                    height: *height,
                    want: want.clone(),
                };
                (Place::Request(*stream), vec![message::value_request_frame(&request)])
            }
            SimFrame::SyncAnswer { stream, response } => {
                (Place::Reply(*stream), vec![message::value_response_frame(response)])
            }
            SimFrame::Package {
                stream,
                certificate,
                bytes,
            } => {
                let certificate = certificate.clone();
                let mut pieces = vec![message::value_response_frame(&ValueResponse::Package { certificate })];
                pieces.extend(part(FrameKind::ValueBytes, &[], bytes));
                (Place::Reply(*stream), pieces)
            }
            SimFrame::PackageBlob { stream, bytes } => (Place::Blob(*stream), vec![bytes.clone()]),
            SimFrame::Unreadable { stream, .. } => {
                let place = stream.map_or(Place::Control, Place::Value);
                (place, vec![Bytes::from_static(&[0xff; HEADER_BYTES])])
            }
        };
        Self { place, pieces }
    }

    /// What a peer reads, by the ceilings of its chain.
    pub fn read(&self, limits: &Limits) -> SimFrame {
        self.frame(limits).unwrap_or_else(|what| SimFrame::Unreadable {
            stream: self.place.stream(),
            what,
        })
    }

    fn frame(&self, limits: &Limits) -> Result<SimFrame, &'static str> {
        match self.place {
            Place::Reset(stream) => return Ok(SimFrame::Gone { stream }),
            Place::Blob(stream) => {
                let bytes = self.pieces.first().cloned().ok_or("no blob")?;
                return Ok(SimFrame::PackageBlob { stream, bytes });
            }
            _ => {}
        }
        let (header, body) = header_of(self.pieces.first().ok_or("no bytes")?)?;
        match (self.place, header.kind) {
            (Place::Control, FrameKind::Message) => {
                let message = message::read_message(&aligned(&body)).map_err(|fault| fault.0)?;
                Ok(SimFrame::Message(message))
            }
            (Place::Control, FrameKind::Status) => {
                let status = message::read_status(&aligned(&body)).map_err(|fault| fault.0)?;
                Ok(SimFrame::Status(status))
            }
            (Place::Control, FrameKind::Hearing) => {
                let hearing = message::read_hearing(&aligned(&body)).map_err(|fault| fault.0)?;
                Ok(SimFrame::Hearing(hearing))
            }
            (Place::Control, _) => Err("a frame of this kind may not come on the control stream"),
            (Place::Value(stream) | Place::Parts(stream), FrameKind::Init) => Ok(SimFrame::Begin {
                stream,
                init: Arc::new(message::read_init(&aligned(&body)).map_err(|fault| fault.0)?),
                answers: matches!(self.place, Place::Parts(_)),
            }),
            (Place::Parts(stream), FrameKind::NotHeld) => Ok(SimFrame::NotHeld { stream }),
            (Place::Value(stream) | Place::Parts(stream), _) => self.part(stream, header, &body),
            (Place::Request(_), kind) if !PeerRequest::is(kind) => Err("a frame of this kind is no request"),
            (Place::Request(stream), kind) => Ok(match PeerRequest::read(kind, &body, limits)? {
                PeerRequest::Parts(PartsRequest { key, missing }) => SimFrame::PartsRequest { stream, key, missing },
                PeerRequest::Value(ValueRequest { height, want }) => SimFrame::SyncRequest { stream, height, want },
            }),
            (Place::Reply(stream), FrameKind::ValueResponse) => {
                let response = message::read_value_response(&aligned(&body)).map_err(|fault| fault.0)?;
                let (ValueResponse::Package { certificate }, Some(second)) = (&response, self.pieces.get(1)) else {
                    return Ok(SimFrame::SyncAnswer { stream, response });
                };
                let (header, head) = header_of(second)?;
                if header.kind != FrameKind::ValueBytes {
                    return Err("a frame of this kind may not come here");
                }
                Ok(SimFrame::Package {
                    stream,
                    certificate: certificate.clone(),
                    bytes: self.pieces.get(2).cloned().unwrap_or(head),
                })
            }
            (Place::Reply(_) | Place::Blob(_) | Place::Reset(_), _) => Err("a frame of this kind may not come here"),
        }
    }

    fn part(&self, stream: StreamId, header: Header, body: &Bytes) -> Result<SimFrame, &'static str> {
        let (number_bytes, rest) = PartHead::lengths(header).map_err(said)?;
        let number = body.get(..number_bytes).ok_or("a part without its number")?;
        let head = PartHead::parse(header.kind, number).map_err(said)?;
        let bytes = match self.pieces.get(1) {
            Some(bytes) => bytes.clone(),
            None => body.slice(number_bytes..),
        };
        if bytes.len() != rest {
            return Err("a part of another length than it says");
        }
        Ok(match head.with(bytes) {
            Part::List { kind, items } => SimFrame::List { stream, kind, items },
            Part::Chunk { index, bytes } => {
                let index = index as usize;
                SimFrame::Chunk { stream, index, bytes }
            }
            Part::Blob { index, blob: bytes } => {
                let index = usize::from(index);
                SimFrame::Blob { stream, index, bytes }
            }
            Part::Fin => SimFrame::Fin { stream },
        })
    }
}

/// A frame whose bytes are a piece of their own. Its length is what it is: whoever lies sends what nobody reads.
fn part(kind: FrameKind, number: &[u8], bytes: &Bytes) -> Vec<Bytes> {
    let header = Header {
        kind,
        body_bytes: number.len() + bytes.len(),
    };
    let mut head = BytesMut::with_capacity(HEADER_BYTES + number.len());
    head.put_slice(&header.bytes());
    head.put_slice(number);
    vec![head.freeze(), bytes.clone()]
}

/// A body where an archive may be read.
fn aligned(body: &[u8]) -> AlignedVec {
    let mut aligned = AlignedVec::with_capacity(body.len());
    aligned.extend_from_slice(body);
    aligned
}

pub fn read_package(bytes: &[u8]) -> Option<SyncedValuePackage> {
    rkyv::from_bytes::<SyncedValuePackage, Error>(&aligned(bytes)).ok()
}

pub fn write_package(package: &SyncedValuePackage) -> Bytes {
    let bytes = rkyv::to_bytes::<Error>(package).expect("plain data always archives");
    Bytes::from(bytes.into_vec())
}

/// The archive of a package, as it is opened.
pub fn package_bytes(bytes: &[u8]) -> AlignedVec {
    aligned(bytes)
}

#[cfg(test)]
mod tests {
    use ultramarine_net::hello::Plans;
    use ultramarine_net::message::ValueWant;
    use ultramarine_net::reply;
    use ultramarine_net::versions::WireVersions;
    use ultramarine_types::{ChainIdentity, Hash, Height, ListKind, Round};

    use super::*;
    use crate::RunConfig;
    use crate::disk::Shelf;
    use crate::world::World;

    /// A world of one decided height with blobs, and where it lies.
    fn decided() -> (World, Height) {
        let mut world = World::new(RunConfig {
            blobs_range: (3, 3),
            ..RunConfig::quiet(1)
        });
        let height = Height(1);
        let end = world.now + ultramarine_types::Nanos::from_millis(30_000);
        assert!(world.run(end, |world| world.nodes[0].head() >= height));
        (world, height)
    }

    #[test]
    fn a_hello_is_read_as_it_was_written_and_one_of_other_versions_is_refused() {
        let hello = Hello {
            versions: WIRE_VERSIONS,
            chain: ChainIdentity([7; 32]),
            plans: Plans {
                upgrades: Hash([1; 32]),
                fork_schedule: Hash([2; 32]),
            },
            instance: 3,
            attestation: None,
        };
        assert_eq!(pass_hello(&hello), Ok(hello));
        let later = WIRE_VERSIONS.highest + 1;
        let versions = WireVersions {
            lowest: later,
            highest: later,
        };
        assert_eq!(pass_hello(&Hello { versions, ..hello }), Err(Goodbye::Version));
    }

    #[test]
    fn a_streamed_value_is_its_frames_and_a_blob_is_not_copied() {
        let (world, height) = decided();
        let disk = &world.nodes[0].disk;
        let value = disk.decided(height).expect("decided").assembly.clone();
        let pieces = reply::stream(&Shelf(disk), &value.key).expect("held");
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let packets = cut_stream(StreamId(7), pieces);
        assert_eq!(packets.iter().map(Packet::bytes).sum::<usize>(), bytes);
        let limits = world.config.chain.limits();
        let frames: Vec<SimFrame> = packets.iter().map(|packet| packet.read(&limits)).collect();
        assert!(matches!(&frames[0], SimFrame::Begin { init, answers: false, .. } if **init == *value.init));
        let lists = frames.iter().filter(|frame| matches!(frame, SimFrame::List { .. }));
        assert_eq!(lists.count(), ListKind::ALL.len());
        let blobs: Vec<&Bytes> = frames
            .iter()
            .filter_map(|frame| match frame {
                SimFrame::Blob { bytes, .. } => Some(bytes),
                _ => None,
            })
            .collect();
        assert_eq!(blobs.len(), 3);
        for (sent, held) in blobs.iter().zip(&value.blobs) {
            assert_eq!(sent.as_ptr(), held.as_ptr());
        }
        assert!(matches!(frames.last(), Some(SimFrame::Fin { .. })));
    }

    #[test]
    fn a_package_is_what_the_real_server_says_and_opens() {
        let (world, height) = decided();
        let disk = &world.nodes[0].disk;
        let request = ValueRequest {
            height,
            want: ValueWant::Package { blobs: None },
        };
        let request = PeerRequest::Value(request);
        let answer = request.answer(&Shelf(disk)).expect("honest");
        let packets = cut_answer(StreamId(7), &request, answer.pieces);
        assert_eq!(packets.len(), 4);
        let limits = world.config.chain.limits();
        let SimFrame::Package { certificate, bytes, .. } = packets[0].read(&limits) else {
            panic!("no package")
        };
        let raw = ultramarine_net::sync::RawDecidedValue {
            certificate,
            value_bytes: package_bytes(&bytes),
        };
        assert!(raw.open(height, &world.chain).is_ok());
    }

    #[test]
    fn what_is_written_is_read_and_other_bytes_are_not() {
        let (world, height) = decided();
        let limits = world.config.chain.limits();
        let key = world.nodes[0].disk.decided(height).expect("decided").assembly.key;
        let asked = SimFrame::PartsRequest {
            stream: StreamId(3),
            key,
            missing: None,
        };
        let read = Packet::write(&asked).read(&limits);
        assert!(matches!(read, SimFrame::PartsRequest { key: of, missing: None, .. } if of == key));
        let blob = SimFrame::Blob {
            stream: StreamId(3),
            index: 2,
            bytes: Bytes::from_static(&[1; 100]),
        };
        assert!(
            matches!(Packet::write(&blob).read(&limits), SimFrame::Unreadable { .. }),
            "too short"
        );
        let vote = ultramarine_types::Vote {
            kind: ultramarine_types::VoteKind::Prevote,
            height,
            round: Round(4),
            value_id: None,
            voter: ultramarine_types::Address::ZERO,
            signature: ultramarine_types::Signature::ZERO,
        };
        let mut packet = Packet::write(&SimFrame::Message(ultramarine_types::ConsensusMessage::Vote(vote)));
        assert!(matches!(packet.read(&limits), SimFrame::Message(_)));
        packet.pieces[0] = packet.pieces[0].slice(..packet.pieces[0].len() - 1);
        assert!(matches!(packet.read(&limits), SimFrame::Unreadable { .. }), "cut short");
    }
}
