//! Golden sign bytes, printed by `docs/formats/recompute.py golden`: a change here forks every chain that exists.

use super::*;
use crate::consensus::{Proposal, Vote};
use crate::value::tests::pattern;

fn id() -> ValueId {
    ValueId(pattern(0xC0))
}

fn chain() -> ChainIdentity {
    ChainIdentity(pattern(0x08))
}

#[test]
fn vote_bytes_never_change() {
    assert_eq!(
        hex::encode(vote(&chain(), VoteKind::Prevote, Height(7), Round(2), None)),
        "12756c7472616d6172696e652f766f74652f3208090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\
         212223242526270107000000000000000200000000"
    );
    assert_eq!(
        hex::encode(vote(&chain(), VoteKind::Precommit, Height(7), Round(2), Some(&id()))),
        "12756c7472616d6172696e652f766f74652f3208090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\
         212223242526270207000000000000000200000001c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6\
         d7d8d9dadbdcdddedf"
    );
}

#[test]
fn proposal_bytes_never_change() {
    assert_eq!(
        hex::encode(proposal(&chain(), Height(7), Round(2), &id(), None)),
        "16756c7472616d6172696e652f70726f706f73616c2f3208090a0b0c0d0e0f101112131415161718191a1b1c\
         1d1e1f2021222324252627070000000000000002000000c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4\
         d5d6d7d8d9dadbdcdddedf00"
    );
    assert_eq!(
        hex::encode(proposal(&chain(), Height(7), Round(2), &id(), Some(Round(1)))),
        "16756c7472616d6172696e652f70726f706f73616c2f3208090a0b0c0d0e0f101112131415161718191a1b1c\
         1d1e1f2021222324252627070000000000000002000000c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4\
         d5d6d7d8d9dadbdcdddedf0101000000"
    );
}

#[test]
fn bytes_of_calls_and_answers_never_change() {
    let (listener, nonce) = (Address(pattern(0x30)), Nonce(pattern(0x50)));
    assert_eq!(
        hex::encode(call(&chain(), &listener, &nonce)),
        "12756c7472616d6172696e652f63616c6c2f3208090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\
         21222324252627303132333435363738393a3b3c3d3e3f40414243505152535455565758595a5b5c5d5e5f60\
         6162636465666768696a6b6c6d6e6f"
    );
    let bytes = |seen| {
        let answer = Heard {
            by: Address(pattern(0x70)),
            listener,
            nonce,
            tip: Height(9),
            seen,
            signature: Signature::ZERO,
        };
        hex::encode(heard(&chain(), &answer))
    };
    assert_eq!(
        bytes(None),
        "13756c7472616d6172696e652f68656172642f3208090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
         2021222324252627303132333435363738393a3b3c3d3e3f40414243505152535455565758595a5b5c5d5e5f\
         606162636465666768696a6b6c6d6e6f090000000000000000"
    );
    let (height, round, signature) = (Height(7), Round(2), Signature(pattern(0x60)));
    let vote = Vote {
        kind: VoteKind::Prevote,
        height,
        round,
        value_id: Some(id()),
        voter: listener,
        signature,
    };
    assert_eq!(
        bytes(Some(SignedMessage::Vote(vote))),
        "13756c7472616d6172696e652f68656172642f3208090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
         2021222324252627303132333435363738393a3b3c3d3e3f40414243505152535455565758595a5b5c5d5e5f\
         606162636465666768696a6b6c6d6e6f09000000000000000122a0be351afe3bdff091b3dd5729271b9bf8c9\
         a66e14286988126739ecddc0b9"
    );
    let proposal = Proposal {
        height,
        round,
        value_id: id(),
        valid_round: Some(Round(1)),
        proposer: listener,
        signature,
    };
    assert_eq!(
        bytes(Some(SignedMessage::Proposal(proposal))),
        "13756c7472616d6172696e652f68656172642f3208090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
         2021222324252627303132333435363738393a3b3c3d3e3f40414243505152535455565758595a5b5c5d5e5f\
         606162636465666768696a6b6c6d6e6f090000000000000001a598b34e73aacc43d113c44603fc8c9b0b3218\
         db1b00e1fc7ca329763e06baf6"
    );
}

#[test]
fn init_and_header_bytes_never_change() {
    assert_eq!(
        hex::encode(init(&chain(), &id())),
        "12756c7472616d6172696e652f696e69742f3208090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\
         21222324252627c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
    );
    assert_eq!(
        hex::encode(sidecar_header(&chain(), &id().into())),
        "1c756c7472616d6172696e652f736964656361722d6865616465722f3208090a0b0c0d0e0f10111213141516\
         1718191a1b1c1d1e1f2021222324252627c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9da\
         dbdcdddedf"
    );
}

#[test]
fn attestation_bytes_never_change() {
    assert_eq!(
        hex::encode(attestation(&chain(), &PeerId(pattern(0xC0)), 1_800_000_000)),
        "1e756c7472616d6172696e652f706565722d6174746573746174696f6e2f3208090a0b0c0d0e0f1011121314\
         15161718191a1b1c1d1e1f2021222324252627c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8\
         d9dadbdcdddedf00d2496b00000000"
    );
}

#[test]
fn no_two_kinds_or_chains_share_their_bytes() {
    let (chain, other) = (&chain(), &ChainIdentity::ZERO);
    let kinds = [
        vote(chain, VoteKind::Prevote, Height(1), Round(0), None),
        vote(chain, VoteKind::Precommit, Height(1), Round(0), None),
        vote(chain, VoteKind::Prevote, Height(1), Round(0), Some(&ValueId::ZERO)),
        proposal(chain, Height(1), Round(0), &ValueId::ZERO, None),
        proposal(chain, Height(1), Round(0), &ValueId::ZERO, Some(Round(0))),
        init(chain, &ValueId::ZERO),
        sidecar_header(chain, &Hash::ZERO),
        attestation(chain, &PeerId::ZERO, 0),
        vote(other, VoteKind::Prevote, Height(1), Round(0), None),
        proposal(other, Height(1), Round(0), &ValueId::ZERO, None),
        init(other, &ValueId::ZERO),
        sidecar_header(other, &Hash::ZERO),
        attestation(other, &PeerId::ZERO, 0),
    ];
    let distinct: std::collections::HashSet<_> = kinds.iter().collect();
    assert_eq!(distinct.len(), kinds.len());
    // Nor does one begin with another, so that no suffix can turn one into the other.
    for (at, left) in kinds.iter().enumerate() {
        assert!(
            kinds
                .iter()
                .enumerate()
                .all(|(other, right)| at == other || !right.starts_with(left))
        );
    }
}
