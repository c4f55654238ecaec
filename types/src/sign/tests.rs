//! Golden sign bytes: a change here forks every chain that exists.

use super::*;
use crate::value::tests::pattern;

fn id() -> ValueId {
    ValueId(pattern(0xC0))
}

#[test]
fn vote_bytes_never_change() {
    assert_eq!(
        hex::encode(vote(1337, VoteKind::Prevote, Height(7), Round(2), None)),
        "12756c7472616d6172696e652f766f74652f3139050000000000000107000000000000000200000000"
    );
    assert_eq!(
        hex::encode(vote(1337, VoteKind::Precommit, Height(7), Round(2), Some(&id()))),
        "12756c7472616d6172696e652f766f74652f3139050000000000000207000000000000000200000001\
         c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
    );
}

#[test]
fn proposal_bytes_never_change() {
    let head = "16756c7472616d6172696e652f70726f706f73616c2f313905000000000000070000000000000002000000\
                c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf";
    assert_eq!(
        hex::encode(proposal(1337, Height(7), Round(2), &id(), None)),
        format!("{head}00")
    );
    assert_eq!(
        hex::encode(proposal(1337, Height(7), Round(2), &id(), Some(Round(1)))),
        format!("{head}0101000000")
    );
}

#[test]
fn init_and_header_bytes_never_change() {
    let tail = "3905000000000000c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf";
    assert_eq!(
        hex::encode(init(1337, &id())),
        format!("12756c7472616d6172696e652f696e69742f31{tail}")
    );
    assert_eq!(
        hex::encode(sidecar_header(1337, &id().into())),
        format!("1c756c7472616d6172696e652f736964656361722d6865616465722f31{tail}")
    );
}

#[test]
fn attestation_bytes_never_change() {
    assert_eq!(
        hex::encode(attestation(
            1337,
            &Hash(pattern(0x20)),
            &PeerId(pattern(0xC0)),
            1_800_000_000
        )),
        "1e756c7472616d6172696e652f706565722d6174746573746174696f6e2f313905000000000000\
         202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\
         c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf00d2496b00000000"
    );
}

#[test]
fn no_two_kinds_of_message_share_their_bytes() {
    let kinds = [
        vote(1, VoteKind::Prevote, Height(1), Round(0), None),
        vote(1, VoteKind::Precommit, Height(1), Round(0), None),
        vote(1, VoteKind::Prevote, Height(1), Round(0), Some(&ValueId::ZERO)),
        vote(2, VoteKind::Prevote, Height(1), Round(0), None),
        proposal(1, Height(1), Round(0), &ValueId::ZERO, None),
        proposal(1, Height(1), Round(0), &ValueId::ZERO, Some(Round(0))),
        init(1, &ValueId::ZERO),
        sidecar_header(1, &Hash::ZERO),
        attestation(1, &Hash::ZERO, &PeerId::ZERO, 0),
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
