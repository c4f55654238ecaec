//! Golden value ids, printed by `docs/formats/recompute.py golden`, which was written from the description alone.

use super::*;
use crate::ids::{KzgCommitment, KzgProof};
use crate::lists::Lists;

/// `N` bytes that count up from `start`, wrapping.
pub(crate) fn pattern<const N: usize>(start: usize) -> [u8; N] {
    std::array::from_fn(|index| (start + index) as u8)
}

/// Lists whose items all differ.
pub(crate) fn sample_lists(blobs: usize) -> Lists {
    Lists {
        chunks: vec![Hash(pattern(0xA8)), Hash(pattern(0xA9))],
        commitments: (0..blobs).map(|blob| KzgCommitment(pattern(blob * 7 + 1))).collect(),
        digests: (0..blobs).map(|blob| Hash(pattern(blob * 5 + 2))).collect(),
        proofs: (0..blobs).map(|blob| KzgProof(pattern(blob * 3 + 3))).collect(),
    }
}

/// A value with every field different from every other.
pub(crate) fn sample(blobs: usize) -> ValueMetadata {
    ValueMetadata {
        chain: ChainIdentity(pattern(0x08)),
        height: Height(7),
        origin_proposer: Address(pattern(0x10)),
        origin_proposer_index: 3,
        origin_round: Round(2),
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
            extra_data: b"ultra".to_vec(),
            prev_randao: Hash(pattern(0x58)),
            base_fee_per_gas: Hash(pattern(0x60)),
            withdrawals_root: Hash(pattern(0x68)),
            blob_gas_used: 393_216,
            excess_blob_gas: 131_072,
            parent_beacon_block_root: Hash(pattern(0x78)),
            requests_hash: None,
            block_hash: Hash(pattern(0x90)),
        },
        payload_bytes: 70_000,
        blobs_count: u32::try_from(blobs).expect("few"),
        roots: sample_lists(blobs).roots(),
    }
}

fn id(metadata: &ValueMetadata) -> String {
    hex::encode(metadata.id().0)
}

#[test]
fn value_ids_never_change() {
    assert_eq!(
        id(&sample(3)),
        "202142a6a718c08f498d57644bcb1797d8ab66769629c9991accb32139e1ac6a"
    );

    let mut prague = sample(3);
    prague.header.requests_hash = Some(Hash(pattern(0x80)));
    assert_eq!(
        id(&prague),
        "7c30df1c167e8daff4d80d025f63e0943478c5cd9589d5f05132b9843f12c4e1"
    );

    let mut bare = sample(0);
    bare.header.extra_data.clear();
    assert_eq!(
        id(&bare),
        "a52db15d6bf18b2b82f2ce827a5462a0d4fe1039b09258c7fd01810b5bc8cbe6"
    );
}

#[test]
fn the_id_binds_every_field() {
    fn flip<const N: usize>(bytes: &mut [u8; N]) {
        bytes[N - 1] ^= 1;
    }
    type Change = fn(&mut ValueMetadata);
    let changes: [(&str, Change); 32] = [
        ("chain", |m| flip(&mut m.chain.0)),
        ("height", |m| m.height.0 += 1),
        ("origin_proposer", |m| flip(&mut m.origin_proposer.0)),
        ("origin_proposer_index", |m| m.origin_proposer_index += 1),
        ("origin_round", |m| m.origin_round.0 += 1),
        ("validator_set_hash", |m| flip(&mut m.validator_set_hash.0)),
        ("parent_hash", |m| flip(&mut m.header.parent_hash.0)),
        ("fee_recipient", |m| flip(&mut m.header.fee_recipient.0)),
        ("state_root", |m| flip(&mut m.header.state_root.0)),
        ("transactions_root", |m| flip(&mut m.header.transactions_root.0)),
        ("receipts_root", |m| flip(&mut m.header.receipts_root.0)),
        ("logs_bloom", |m| flip(&mut m.header.logs_bloom)),
        ("number", |m| m.header.number += 1),
        ("gas_limit", |m| m.header.gas_limit += 1),
        ("gas_used", |m| m.header.gas_used += 1),
        ("timestamp", |m| m.header.timestamp += 1),
        ("extra_data", |m| m.header.extra_data.push(0)),
        ("prev_randao", |m| flip(&mut m.header.prev_randao.0)),
        ("base_fee_per_gas", |m| flip(&mut m.header.base_fee_per_gas.0)),
        ("withdrawals_root", |m| flip(&mut m.header.withdrawals_root.0)),
        ("blob_gas_used", |m| m.header.blob_gas_used += 1),
        ("excess_blob_gas", |m| m.header.excess_blob_gas += 1),
        ("parent_beacon_block_root", |m| {
            flip(&mut m.header.parent_beacon_block_root.0)
        }),
        ("requests_hash", |m| m.header.requests_hash = Some(Hash::ZERO)),
        ("block_hash", |m| flip(&mut m.header.block_hash.0)),
        ("payload_bytes", |m| m.payload_bytes += 1),
        ("blobs_count", |m| m.blobs_count += 1),
        ("chunks root", |m| flip(&mut m.roots.chunks.0)),
        ("commitments root", |m| flip(&mut m.roots.commitments.0)),
        ("digests root", |m| flip(&mut m.roots.digests.0)),
        ("proofs root", |m| flip(&mut m.roots.proofs.0)),
        ("two roots in each other's place", |m| {
            std::mem::swap(&mut m.roots.digests, &mut m.roots.proofs);
        }),
    ];
    let original = sample(3).id();
    for (field, change) in changes {
        let mut metadata = sample(3);
        change(&mut metadata);
        assert_ne!(metadata.id(), original, "{field} is not bound by the value id");
    }
}

#[test]
fn metadata_is_read_back_from_the_bytes_of_its_id_and_from_no_others() {
    let mut with_requests = sample(3);
    with_requests.header.requests_hash = Some(Hash(pattern(0x88)));
    with_requests.header.extra_data.clear();
    for metadata in [sample(0), sample(3), with_requests] {
        let bytes = metadata.canonical().into_bytes();
        assert_eq!(ValueMetadata::read(&bytes), Some(metadata));
        for length in 0..bytes.len() {
            assert_eq!(ValueMetadata::read(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(
            ValueMetadata::read(&[bytes.as_slice(), &[0]].concat()),
            None,
            "a byte more"
        );
        for at in (0..bytes.len()).step_by(3) {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let again = ValueMetadata::read(&other).map(|metadata| metadata.canonical().into_bytes());
            assert!(again.is_none_or(|again| again == other), "byte {at} has two forms");
        }
    }
}
