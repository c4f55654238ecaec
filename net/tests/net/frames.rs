//! Frames under honest and hostile bytes.

use proptest::prelude::*;
use tokio::runtime::Builder;
use ultramarine_net::buffers::Buffers;
use ultramarine_net::frame::{
    FrameKind, HEADER_BYTES, Header, Part, ReadFault, frame, read_body, read_frame, read_header, read_part,
};
use ultramarine_net::message::{self, ValueWant};
use ultramarine_net::streaming::split::{list_frame, split};
use ultramarine_net::streaming::{ListSet, Missing, Ranges};
use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::hearing::{Heard, Hearing};
use ultramarine_types::limits::{
    BLOB_BYTES, BLOBS_PER_BLOCK_MAX, EXTRA_DATA_BYTES_MAX, PAYLOAD_CHUNKS_MAX, PROOFS_PER_BLOB_MAX, STATUS_VALUES_MAX,
    VALIDATORS_MAX,
};
use ultramarine_types::network::{ClockReading, Echo, Status};
use ultramarine_types::{
    Address, Assembly, ConsensusMessage, Hash, Height, KzgCommitment, KzgProof, ListKind, Lists, Nonce,
    PolkaCertificate, Proposal, Round, RoundCertificate, Signature, ValueId, Vote, VoteKind, consensus,
};

use crate::fixture::{params, same_bytes, value};

fn now<F: Future>(future: F) -> F::Output {
    Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn buffers() -> Buffers {
    Buffers::new(&params(6).limits())
}

fn vote() -> ConsensusMessage {
    ConsensusMessage::Vote(Vote {
        kind: VoteKind::Prevote,
        height: Height(7),
        round: Round(1),
        value_id: Some(ValueId([9; 32])),
        voter: Address([1; 20]),
        signature: Signature([2; 64]),
    })
}

fn body_of(frame: &[u8], kind: FrameKind) -> rkyv::util::AlignedVec {
    now(async { read_frame(&mut &frame[..], kind).await })
        .expect("a whole frame")
        .expect("not the end")
}

#[test]
fn messages_come_back_as_they_were_sent() {
    let frame = message::message_frame(&vote());
    assert_eq!(message::read_message(&body_of(&frame, FrameKind::Message)), Ok(vote()));
    let status = Status {
        tip: Height(4),
        oldest_blobs: Height(1),
        round: Round(2),
        holds: vec![ValueId([3; 32])],
        seen_signed: Some(SignedMessage::Vote(Vote {
            kind: VoteKind::Prevote,
            height: Height(4),
            round: Round(1),
            value_id: None,
            voter: Address([7; 20]),
            signature: Signature([8; 64]),
        })),
        clock: Default::default(),
        ready: true,
        links: [0, 3].into_iter().collect(),
        proposes: true,
    };
    let frame = message::status_frame(&status);
    assert_eq!(message::read_status(&body_of(&frame, FrameKind::Status)), Ok(status));
}

#[test]
fn the_largest_legal_messages_fit_their_frames() {
    let address = Address([1; 20]);
    let signature = Signature([2; 64]);
    let signatures = vec![consensus::CertificateSignature { address, signature }; VALIDATORS_MAX];
    let (height, round, value_id) = (Height(1), Round(0), ValueId([1; 32]));
    let polka = ConsensusMessage::Polka(PolkaCertificate {
        height,
        round,
        value_id,
        signatures: signatures.clone(),
    });
    let entry = consensus::RoundSignature {
        kind: VoteKind::Precommit,
        value_id: Some(value_id),
        address,
        signature,
    };
    let kind = consensus::RoundCertificateKind::Skip;
    let skip = |count| {
        ConsensusMessage::Round(RoundCertificate {
            height,
            round,
            kind,
            signatures: vec![entry.clone(); count],
        })
    };
    for message in [polka, skip(2 * VALIDATORS_MAX)] {
        let frame = message::message_frame(&message);
        assert_eq!(message::read_message(&body_of(&frame, FrameKind::Message)), Ok(message));
    }
    let status = Status {
        tip: height,
        oldest_blobs: height,
        round,
        holds: vec![value_id; STATUS_VALUES_MAX],
        seen_signed: Some(SignedMessage::Proposal(Proposal {
            height,
            round,
            value_id,
            valid_round: Some(round),
            proposer: address,
            signature,
        })),
        clock: ClockReading {
            unix_ns: 1,
            token: 2,
            echo: Some(Echo { token: 3, held_ns: 4 }),
        },
        ready: true,
        links: (0..VALIDATORS_MAX as u32).collect(),
        proposes: true,
    };
    let frame = message::status_frame(&status);
    assert_eq!(
        message::read_status(&body_of(&frame, FrameKind::Status)),
        Ok(status.clone())
    );
    let heard = Hearing::Heard(Heard {
        by: address,
        listener: address,
        nonce: Nonce([3; 32]),
        tip: height,
        seen: status.seen_signed,
        signature,
    });
    let frame = message::hearing_frame(&heard);
    assert_eq!(message::read_hearing(&body_of(&frame, FrameKind::Hearing)), Ok(heard));
    let certificate = ultramarine_types::CommitCertificate {
        height,
        round,
        value_id,
        signatures,
    };
    let frame = message::value_response_frame(&message::ValueResponse::Package { certificate });
    assert!(message::read_value_response(&body_of(&frame, FrameKind::ValueResponse)).is_ok());
    let missing = Some(Missing {
        lists: ListSet::ALL,
        chunks: (0..256).step_by(2).collect(),
        blobs: (0..1024).step_by(2).collect(),
    });
    let key = ultramarine_types::ValueKey { height, id: value_id };
    let request = message::PartsRequest { key, missing };
    let frame = message::parts_request_frame(&request);
    assert_eq!(
        message::read_parts_request(&body_of(&frame, FrameKind::PartsRequest)),
        Ok(request)
    );
    let request = message::ValueRequest {
        height,
        want: ValueWant::Package {
            blobs: Some((0..1024).step_by(2).collect()),
        },
    };
    let frame = message::value_request_frame(&request);
    assert_eq!(
        message::read_value_request(&body_of(&frame, FrameKind::ValueRequest)),
        Ok(request)
    );
    let mut init = value(1, 0, 1000, 1).init.as_ref().clone();
    init.metadata.header.extra_data = vec![7; EXTRA_DATA_BYTES_MAX];
    init.metadata.header.requests_hash = Some(Hash([1; 32]));
    let frame = message::init_frame(&init);
    assert_eq!(message::read_init(&body_of(&frame, FrameKind::Init)), Ok(init));
    let lists = Lists {
        chunks: vec![Hash::ZERO; PAYLOAD_CHUNKS_MAX],
        commitments: vec![KzgCommitment::ZERO; BLOBS_PER_BLOCK_MAX as usize],
        digests: vec![Hash::ZERO; BLOBS_PER_BLOCK_MAX as usize],
        proofs: vec![KzgProof::ZERO; BLOBS_PER_BLOCK_MAX as usize * PROOFS_PER_BLOB_MAX],
    };
    for kind in ListKind::ALL {
        assert!(list_frame(&lists, kind).len() <= HEADER_BYTES + FrameKind::List.body_bytes_max());
    }
}

#[test]
fn requests_have_one_encoding_each() {
    let key = ultramarine_types::ValueKey {
        height: Height(7),
        id: ValueId([1; 32]),
    };
    let missing = Some(Missing {
        lists: ListSet::from_iter([ListKind::Digests]),
        chunks: Ranges::from_iter([0, 1]),
        blobs: Ranges::from_iter([3]),
    });
    let frame = message::parts_request_frame(&message::PartsRequest { key, missing });
    let body = frame[HEADER_BYTES..].to_vec();
    assert_eq!(body[40..], [0, 0b100, 1, 0, 0, 0, 2, 0, 1, 0, 3, 0, 4, 0]);
    assert!(message::read_parts_request(&body).is_ok());
    let mut longer = body.clone();
    longer.push(0);
    let with = |at: usize, byte: u8| {
        let mut body = body.clone();
        body[at] = byte;
        body
    };
    for wrong in [longer, with(40, 2), with(41, 0b1_0000), with(46, 0), with(50, 5)] {
        assert!(message::read_parts_request(&wrong).is_err(), "{wrong:?}");
    }
    let certificate = message::value_request_frame(&message::ValueRequest {
        height: Height(7),
        want: ValueWant::Certificate,
    });
    let mut body = certificate[HEADER_BYTES..].to_vec();
    assert!(message::read_value_request(&body).is_ok());
    body.push(0);
    assert!(message::read_value_request(&body).is_err(), "nothing may follow");
}

fn rejoin(value: &Assembly, bytes: &[u8]) -> Result<Assembly, ReadFault> {
    let mut reader = bytes;
    let buffers = buffers();
    now(async {
        let body = read_frame(&mut reader, FrameKind::Init).await?.expect("an Init");
        let init = message::read_init(&body).expect("the Init that was sent");
        let mut lists = Lists::default();
        let mut payload = Vec::new();
        let mut blobs = Vec::new();
        loop {
            match read_part(&mut reader, &buffers).await? {
                Part::List { kind, items } => assert!(lists.read(kind, &items), "whole items"),
                Part::Chunk { bytes, .. } => payload.extend_from_slice(&bytes),
                Part::Blob { blob, .. } => blobs.push(blob),
                Part::Fin => break,
            }
        }
        Ok(Assembly {
            key: value.key,
            init: init.into(),
            lists: lists.into(),
            payload: payload.into(),
            blobs,
        })
    })
}

#[test]
fn a_split_value_reads_back_whole_and_shares_its_bytes() {
    let value = value(2, 1, 150_000, 3);
    let pieces = split(&value, None);
    assert!(same_bytes(&rejoin(&value, &pieces.concat()).expect("whole"), &value));
    let large: Vec<_> = pieces.iter().filter(|piece| piece.len() >= BLOB_BYTES).collect();
    assert_eq!(large.len(), 3);
    assert!(
        large
            .iter()
            .zip(&value.blobs)
            .all(|(piece, blob)| piece.as_ptr() == blob.as_ptr())
    );
}

#[test]
fn only_wanted_parts_are_split_off() {
    let value = value(2, 1, 150_000, 3);
    let wanted = Missing {
        lists: ListSet::from_iter([ListKind::Digests]),
        chunks: Ranges::new(),
        blobs: Ranges::from_iter([1]),
    };
    let part = rejoin(&value, &split(&value, Some(&wanted)).concat()).expect("a whole stream");
    assert!(part.payload.is_empty());
    assert_eq!(part.blobs.len(), 1);
    assert_eq!(part.blobs[0], value.blobs[1]);
    let digests = value.lists.digests.clone();
    assert_eq!(
        *part.lists,
        Lists {
            digests,
            ..Lists::default()
        }
    );
}

#[test]
fn a_stream_without_its_fin_is_broken() {
    let value = value(2, 1, 1000, 1);
    let bytes = split(&value, None).concat();
    assert!(matches!(
        rejoin(&value, &bytes[..bytes.len() - HEADER_BYTES]),
        Err(ReadFault::Broken(_))
    ));
}

#[test]
fn a_frame_over_its_ceiling_is_refused_before_its_body() {
    for kind in [
        FrameKind::Message,
        FrameKind::Status,
        FrameKind::Init,
        FrameKind::List,
        FrameKind::Chunk,
        FrameKind::Blob,
        FrameKind::ValueBytes,
    ] {
        let mut header = [0; HEADER_BYTES];
        header[0] = kind as u8;
        header[4..].copy_from_slice(&(kind.body_bytes_max() as u32 + 1).to_le_bytes());
        assert!(matches!(Header::parse(header), Err(ReadFault::Protocol(_))), "{kind:?}");
    }
}

#[test]
fn an_announced_body_costs_memory_only_as_it_arrives() {
    let header = Header {
        kind: FrameKind::ValueBytes,
        body_bytes: FrameKind::ValueBytes.body_bytes_max(),
    };
    let sent = [7; 1000];
    let body = now(async { read_body(&mut &sent[..], header).await });
    assert!(matches!(body, Err(ReadFault::Broken(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let buffers = buffers();
        now(async {
            let _ = read_header(&mut &bytes[..]).await;
            let mut reader = &bytes[..];
            while let Ok(part) = read_part(&mut reader, &buffers).await {
                if matches!(part, Part::Fin) { break; }
            }
        });
        let mut body = rkyv::util::AlignedVec::new();
        body.extend_from_slice(&bytes);
        let _ = message::read_message(&body);
        let _ = message::read_status(&body);
        let _ = message::read_hearing(&body);
        let _ = message::read_init(&body);
        let _ = message::read_parts_request(&body);
        let _ = message::read_value_request(&body);
        let _ = message::read_value_response(&body);
        let _ = ultramarine_net::hello::Hello::parse(&bytes, ultramarine_net::bounds::WIRE_VERSIONS);
    }

    #[test]
    fn mutated_messages_are_refused_or_read_within_bounds(
        at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let value = value(2, 1, 150_000, 3);
        let mut frame = message::init_frame(&value.init).to_vec();
        let position = HEADER_BYTES + at.index(frame.len() - HEADER_BYTES);
        frame[position] ^= flip;
        if let Ok(init) = message::read_init(&body_of(&frame, FrameKind::Init)) {
            // Validation is not authentication: what still parses is told apart by its hash.
            prop_assert_eq!(init.key() == value.key, init.metadata == value.init.metadata);
        }
    }

    #[test]
    fn headers_come_back_as_they_were_made(byte in any::<u8>(), length in any::<u32>()) {
        let [a, b, c, d] = length.to_le_bytes();
        let bytes = [byte, 0, 0, 0, a, b, c, d];
        if let Ok(header) = Header::parse(bytes) {
            prop_assert_eq!(header.bytes(), bytes);
            prop_assert!(header.body_bytes <= header.kind.body_bytes_max());
        }
    }
}

#[test]
fn a_frame_is_its_header_and_body() {
    let frame = frame(FrameKind::Hello, &[1; 20]);
    assert_eq!(frame.len(), HEADER_BYTES + 20);
    assert_eq!(body_of(&frame, FrameKind::Hello).as_slice(), &[1; 20]);
}
