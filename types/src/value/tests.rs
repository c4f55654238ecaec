//! Golden value ids, computed by an independent implementation of the canonical encoding.

use super::*;

/// `N` bytes that count up from `start`, wrapping.
pub(crate) fn pattern<const N: usize>(start: usize) -> [u8; N] {
    std::array::from_fn(|index| (start + index) as u8)
}

/// A value with every field different from every other.
pub(crate) fn sample(blobs: usize) -> ValueMetadata {
    ValueMetadata {
        chain_id: 1337,
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
        payload_hash: Hash(pattern(0xA0)),
        chunk_hashes: vec![Hash(pattern(0xA8)), Hash(pattern(0xA9))],
        commitments: (0..blobs).map(|blob| KzgCommitment(pattern(blob * 7 + 1))).collect(),
        parent_blob_root: Hash(pattern(0xB0)),
    }
}

fn id(metadata: &ValueMetadata) -> String {
    hex::encode(metadata.id().0)
}

#[test]
fn value_ids_never_change() {
    assert_eq!(
        id(&sample(3)),
        "9b099f72c7fd9426edb2b55a9a477fc50c12e91481f1ebb7cde8b6f56e3b7c8d"
    );

    let mut prague = sample(3);
    prague.header.requests_hash = Some(Hash(pattern(0x80)));
    assert_eq!(
        id(&prague),
        "0e94960923d088490d34518978940e3a020093343874df57a3a65c4ccb8463ea"
    );

    let mut bare = sample(0);
    bare.header.extra_data.clear();
    assert_eq!(
        id(&bare),
        "56ef6fd3d345f44c31031ffac8e895096c753adb9f9f69f2d9353cfac4c4df8f"
    );
}

#[test]
fn the_id_binds_every_field() {
    fn flip<const N: usize>(bytes: &mut [u8; N]) {
        bytes[N - 1] ^= 1;
    }
    type Change = fn(&mut ValueMetadata);
    let changes: [(&str, Change); 31] = [
        ("chain_id", |m| m.chain_id += 1),
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
        ("payload_hash", |m| flip(&mut m.payload_hash.0)),
        ("chunk_hashes", |m| m.chunk_hashes.truncate(1)),
        ("commitments", |m| m.commitments.swap(0, 1)),
        ("blob count", |m| m.commitments.truncate(2)),
        ("parent_blob_root", |m| flip(&mut m.parent_blob_root.0)),
    ];
    let original = sample(3).id();
    for (field, change) in changes {
        let mut metadata = sample(3);
        change(&mut metadata);
        assert_ne!(metadata.id(), original, "{field} is not bound by the value id");
    }
}
