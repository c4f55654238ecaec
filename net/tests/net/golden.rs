//! Golden frames: nodes of one version of the wire send exactly these bytes, whatever built them. Their hashes are
//! printed by `docs/formats/recompute.py golden`, which was written from the description alone.

use bytes::Bytes;
use ultramarine_net::Attestation;
use ultramarine_net::frame::{FrameKind, frame};
use ultramarine_net::hello::{Hello, Plans};
use ultramarine_net::message::{self, PartsRequest, ValueRequest, ValueResponse, ValueWant};
use ultramarine_net::streaming::split::{list_frame, split};
use ultramarine_net::streaming::{ListSet, Missing};
use ultramarine_net::versions::WireVersions;
use ultramarine_types::canonical::sha256;
use ultramarine_types::consensus::{CertificateSignature, RoundCertificateKind, RoundSignature, SignedMessage};
use ultramarine_types::hearing::{Call, Heard, Hearing};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::{ClockReading, Echo, Status};
use ultramarine_types::package::{PackagedValue, SyncedValuePackage};
use ultramarine_types::positions::Positions;
use ultramarine_types::{
    Address, Assembly, ChainIdentity, CommitCertificate, ConsensusMessage, ExecutionHeader, Hash, Height, Init,
    KzgCommitment, KzgProof, ListKind, Lists, Nonce, PolkaCertificate, Proposal, PublicKey, Round, RoundCertificate,
    Signature, ValueId, ValueKey, ValueMetadata, Vote, VoteKind,
};

const HEIGHT: Height = Height(7);
const ROUND: Round = Round(2);

/// Bytes that count up from `start`, wrapping.
fn bytes(start: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (start + at) as u8).collect()
}

fn pattern<const N: usize>(start: usize) -> [u8; N] {
    bytes(start, N).try_into().expect("as long as was asked for")
}

fn value_id() -> ValueId {
    ValueId(pattern(0xC0))
}

fn signer() -> Address {
    Address(pattern(0x10))
}

fn signature() -> Signature {
    Signature(pattern(0x40))
}

fn signatures() -> Vec<CertificateSignature> {
    let first = CertificateSignature {
        address: signer(),
        signature: signature(),
    };
    let second = CertificateSignature {
        address: Address(pattern(0x11)),
        signature: Signature(pattern(0x50)),
    };
    vec![first, second]
}

fn certificate() -> CommitCertificate {
    CommitCertificate {
        height: HEIGHT,
        round: ROUND,
        value_id: value_id(),
        signatures: signatures(),
    }
}

fn lists(blobs: usize) -> Lists {
    Lists {
        chunks: vec![Hash(pattern(0xA8)), Hash(pattern(0xA9))],
        commitments: (0..blobs).map(|blob| KzgCommitment(pattern(blob * 7 + 1))).collect(),
        digests: (0..blobs).map(|blob| Hash(pattern(blob * 5 + 2))).collect(),
        proofs: (0..blobs).map(|blob| KzgProof(pattern(blob * 3 + 3))).collect(),
    }
}

/// An `Init` whose fields all differ.
fn init(blobs: usize) -> Init {
    let metadata = ValueMetadata {
        chain: ChainIdentity(pattern(0x08)),
        height: HEIGHT,
        origin_proposer: signer(),
        origin_proposer_index: 3,
        origin_round: ROUND,
        validator_set_hash: Hash(pattern(0x18)),
        header: ExecutionHeader {
            parent_hash: Hash(pattern(0x20)),
            fee_recipient: Address(pattern(0x28)),
            state_root: Hash(pattern(0x30)),
            transactions_root: Hash(pattern(0x38)),
            receipts_root: Hash(pattern(0x40)),
            logs_bloom: pattern(0x48),
            number: 7,
            gas_limit: 30_000_000,
            gas_used: 21_000,
            timestamp: 1_700_000_000,
            extra_data: if blobs == 0 { Vec::new() } else { b"ultra".to_vec() },
            prev_randao: Hash(pattern(0x58)),
            base_fee_per_gas: Hash(pattern(0x60)),
            withdrawals_root: Hash(pattern(0x68)),
            blob_gas_used: 393_216,
            excess_blob_gas: 131_072,
            parent_beacon_block_root: Hash(pattern(0x78)),
            requests_hash: (blobs > 0).then(|| Hash(pattern(0x80))),
            block_hash: Hash(pattern(0x90)),
        },
        payload_bytes: 70_000,
        blobs_count: u32::try_from(blobs).expect("few"),
        roots: lists(blobs).roots(),
    };
    Init {
        metadata,
        signature: signature(),
        header_signature: Signature(pattern(0x50)),
    }
}

#[track_caller]
fn assert_frame(frame: &[u8], what: &str, golden: &str) {
    assert_eq!(sha256(frame).to_string(), format!("0x{golden}"), "{what}");
}

#[test]
fn a_hello_has_these_bytes() {
    let attested = Hello {
        versions: WireVersions { lowest: 1, highest: 2 },
        chain: ChainIdentity(pattern(0x08)),
        plans: Plans {
            upgrades: Hash(pattern(0x20)),
            fork_schedule: Hash(pattern(0x28)),
        },
        instance: 7,
        attestation: Some(Attestation {
            validator: PublicKey(pattern(0x30)),
            expiry: 1_800_000_000,
            signature: signature(),
        }),
    };
    assert_frame(
        &attested.frame(),
        "hello",
        "ce48f960b426abc984cffd82693b69d9c4952f21b92ef0da531035b3f1a1eedc",
    );
    let full_node = Hello {
        versions: WireVersions { lowest: 2, highest: 3 },
        attestation: None,
        ..attested
    };
    assert_frame(
        &full_node.frame(),
        "hello of a full node",
        "e5e5ed94c186119dca4c3934469f86f379f66f2f1b95f16dd39a2c3d2bade073",
    );
}

fn vote(kind: VoteKind, value_id: Option<ValueId>) -> Vote {
    Vote {
        kind,
        height: HEIGHT,
        round: ROUND,
        value_id,
        voter: signer(),
        signature: signature(),
    }
}

fn proposal(valid_round: Option<Round>) -> Proposal {
    Proposal {
        height: HEIGHT,
        round: ROUND,
        value_id: value_id(),
        valid_round,
        proposer: signer(),
        signature: signature(),
    }
}

#[test]
fn messages_have_these_bytes() {
    let polka = PolkaCertificate {
        height: HEIGHT,
        round: ROUND,
        value_id: value_id(),
        signatures: signatures(),
    };
    let vote_in = |kind, value_id, of: &CertificateSignature| RoundSignature {
        kind,
        value_id,
        address: of.address,
        signature: of.signature,
    };
    let [first, second] = signatures().try_into().expect("two");
    let round = RoundCertificate {
        height: HEIGHT,
        round: ROUND,
        kind: RoundCertificateKind::Skip,
        signatures: vec![
            vote_in(VoteKind::Prevote, None, &first),
            vote_in(VoteKind::Precommit, Some(value_id()), &second),
        ],
    };
    for (message, what, golden) in [
        (
            ConsensusMessage::Vote(vote(VoteKind::Prevote, None)),
            "prevote for nil",
            "713946a15f3ce3ca8401013856b1fe3f05d43229e13ed8e3e69a7db2bdac48e8",
        ),
        (
            ConsensusMessage::Vote(vote(VoteKind::Precommit, Some(value_id()))),
            "precommit",
            "d48df64b3d391b9c656d8a77d989307215af9f8d6e62e94751133f6f97b834a2",
        ),
        (
            ConsensusMessage::Proposal(proposal(Some(Round(1)))),
            "proposal",
            "e7b8063cb4b1cd089a2369111a1c221da8b9d6d3000029f66bb982fb9d869e4e",
        ),
        (
            ConsensusMessage::Proposal(proposal(None)),
            "proposal without a valid round",
            "780b562d88b4540e147a5940c85f7832f99fa55308a0eba12b34c6e74d64388d",
        ),
        (
            ConsensusMessage::Polka(polka),
            "polka",
            "1f8eae19b7eae41a0134624f9e6c66d8017b38b0df494661428023df9ca4b547",
        ),
        (
            ConsensusMessage::Round(round),
            "round",
            "e666cbe96a124d5e65908c165ed127577d066bd1efadbdb1415a2009aa02ca3e",
        ),
    ] {
        assert_frame(&message::message_frame(&message), what, golden);
    }
}

#[test]
fn calls_and_answers_have_these_bytes() {
    let (listener, nonce) = (signer(), Nonce(pattern(0x08)));
    let call = Hearing::Call(Call {
        listener,
        nonce,
        signature: signature(),
    });
    assert_frame(
        &message::hearing_frame(&call),
        "call",
        "690ed074a7c26d0bfc64af72591249c856838e1f726df92ebc734e5f8ab346c1",
    );
    let heard = |tip, seen| {
        let heard = Heard {
            by: Address(pattern(0x11)),
            listener,
            nonce,
            tip,
            seen,
            signature: Signature(pattern(0x50)),
        };
        message::hearing_frame(&Hearing::Heard(heard))
    };
    assert_frame(
        &heard(HEIGHT, Some(SignedMessage::Proposal(proposal(Some(Round(1)))))),
        "heard",
        "7bdd355b6d80978bccef0517d95cb603dafa4e54de8bc8822585fdcf662618d9",
    );
    assert_frame(
        &heard(Height(0), None),
        "heard nothing",
        "b3e1e2c462c0eb607e5df4d64b71f115fe6a3df252c2f2d5f70231ce82c938e4",
    );
}

#[test]
fn a_status_has_these_bytes() {
    let status = Status {
        tip: HEIGHT,
        oldest_blobs: Height(3),
        round: ROUND,
        holds: vec![value_id(), ValueId(pattern(0xC1))],
        seen_signed: Some(SignedMessage::Proposal(proposal(Some(Round(1))))),
        clock: ClockReading {
            unix_ns: 11,
            token: 12,
            echo: Some(Echo { token: 13, held_ns: 14 }),
        },
        ready: true,
        links: [0, 9, 255].into_iter().collect(),
        proposes: true,
    };
    assert_frame(
        &message::status_frame(&status),
        "status",
        "084c6725f6d72909df4dba51fbf6105b1a11465ae57999b0fc65345baf758a3a",
    );
    let voted = Status {
        holds: Vec::new(),
        seen_signed: Some(SignedMessage::Vote(vote(VoteKind::Precommit, Some(value_id())))),
        clock: ClockReading {
            unix_ns: 1,
            token: 2,
            echo: None,
        },
        ..status
    };
    assert_frame(
        &message::status_frame(&voted),
        "status with a vote",
        "dd2be5d18c9756a78d7f347b0ede12cff8fdad6fd6fc94e58267312243df92ea",
    );
    let little = Status {
        tip: Height(0),
        oldest_blobs: Height(1),
        round: Round(0),
        holds: Vec::new(),
        seen_signed: None,
        clock: ClockReading::default(),
        ready: false,
        links: Positions::NONE,
        proposes: false,
    };
    assert_frame(
        &message::status_frame(&little),
        "status with little",
        "ca64b4b11f945f2985b219642ba68f0aa07b248e5d1592410d58ff32a918389e",
    );
}

#[test]
fn a_values_stream_has_these_bytes() {
    assert_frame(
        &message::init_frame(&init(3)),
        "init",
        "2d1cb1bb1af1754cc14d8ec47057c99f850726e9ee0df534888bc4a6a8e39cca",
    );
    assert_frame(
        &message::init_frame(&init(0)),
        "init with little",
        "477e3f9c824cf42a6772453b9e68cf7d41a114e770ad7b504e012926ea807838",
    );
    for (kind, golden) in [
        (
            ListKind::Chunks,
            "89209c711ef2e540b6aa209dd821e61cb4f1a83fbb30ad332a3228c923e7d528",
        ),
        (
            ListKind::Commitments,
            "a0fc9c05793a9428b167084e826bfc76489925da793b2de7022db43bb33cb1c1",
        ),
        (
            ListKind::Digests,
            "e8f78db33cf4ca7ef95b5f9b4ac0b5c951ba2a9cd2108b77f36ee2d4474c6185",
        ),
        (
            ListKind::Proofs,
            "4daba589c51c8946473149083c2bb1310d62f36f0d72e3e87dddd6214bae6e3f",
        ),
    ] {
        assert_frame(&list_frame(&lists(3), kind), &format!("{kind:?}"), golden);
    }
    let init = init(3);
    let value = Assembly {
        key: init.key(),
        init: init.into(),
        lists: lists(3).into(),
        payload: bytes(5, 70_000).into(),
        blobs: (6..9).map(|start| Bytes::from(bytes(start, BLOB_BYTES))).collect(),
    };
    assert_frame(
        &split(&value, None).concat(),
        "a value's stream",
        "af88a350549fd04f92ba6ade541ddbdbd99024d2cd76aec557a5095cde58bab5",
    );
}

#[test]
fn requests_have_these_bytes() {
    let key = ValueKey {
        height: HEIGHT,
        id: value_id(),
    };
    let blobs = || [1, 4, 5, 6].into_iter().collect();
    let some = Missing {
        lists: ListSet::from_iter([ListKind::Chunks, ListKind::Digests]),
        chunks: [0, 1].into_iter().collect(),
        blobs: blobs(),
    };
    for (missing, golden) in [
        (None, "aee8037dbb5873b77e0875283622c245c44798a0d96d0dc4f43374d39db74672"),
        (
            Some(some),
            "7b2a226470759a3442ff1c343126184a6785248edb53d484a9633f49fb6acb66",
        ),
    ] {
        let request = PartsRequest { key, missing };
        assert_frame(&message::parts_request_frame(&request), "parts", golden);
    }
    for (want, golden) in [
        (
            ValueWant::Certificate,
            "dae76f046c6236d91835ed27182df2383c88d5435cc012f740791e18df875283",
        ),
        (
            ValueWant::Package { blobs: None },
            "ddd9b2fbe44402b69050bbfb4f44ef4faf2756db6c8e21303c0b7c384c725434",
        ),
        (
            ValueWant::Package { blobs: Some(blobs()) },
            "11f726981909928e88dba02f4579d658cd6deac4acb1251add4a3eb6d527c487",
        ),
    ] {
        let request = ValueRequest { height: HEIGHT, want };
        assert_frame(&message::value_request_frame(&request), "value", golden);
    }
}

#[test]
fn answers_have_these_bytes() {
    let certificate = certificate();
    for (response, golden) in [
        (
            ValueResponse::Package {
                certificate: certificate.clone(),
            },
            "07208705c626372ab301b26bce76154fcd8a4e8cbf750594b210d6b5da6702d6",
        ),
        (
            ValueResponse::Certificate {
                certificate: certificate.clone(),
            },
            "6672c4c467981c66d606c16cd81f7b8775e23119d2b437ce3a06638b87cc794f",
        ),
        (
            ValueResponse::NotDecided { tip: HEIGHT },
            "5223dd2384ccb8bf549317e119335354d6aef564a696ecccefdcf8daec6eeb69",
        ),
        (
            ValueResponse::Unavailable,
            "9a1a2d314f332945c53d7e4d550428077dd71d227390df4dc007227c3d66193e",
        ),
    ] {
        assert_frame(&message::value_response_frame(&response), "answer", golden);
    }
    let value = PackagedValue {
        certificate,
        init: init(3),
        lists: lists(3),
        payload: b"payload".to_vec(),
    };
    for (package, golden) in [
        (
            SyncedValuePackage::Full { value: value.clone() },
            "de98ae3f2e7f1064ba596d37bc2154fe69aef66715ed057b202600912f07b3de",
        ),
        (
            SyncedValuePackage::MetadataOnly { value },
            "cb00d5ebcaaec435a736ed958f1e507b0978ea1dbec105c6c6556cf2d69eef7d",
        ),
    ] {
        let archive = rkyv::to_bytes::<rkyv::rancor::Error>(&package).expect("plain data");
        assert_frame(&frame(FrameKind::ValueBytes, &archive), "package", golden);
    }
}
