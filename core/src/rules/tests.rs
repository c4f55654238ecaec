use ultramarine_types::execution::ParentBlock;
use ultramarine_types::{
    Address, Chain, ChainIdentity, ChainParams, ExecutionHeader, Hash, Height, KzgCommitment, KzgProof, Lists,
    ValueMetadata, fixtures,
};

use super::{EMPTY_ROOT, GAS_PER_BLOB, PREV_RANDAO, Parent, check, is_ahead};

const PARENT_HASH: Hash = Hash([3; 32]);
const SIDECAR_ROOT: Hash = Hash([4; 32]);

pub(crate) fn chain() -> Chain {
    Chain {
        identity: fixtures::CHAIN,
        params: ChainParams {
            chain_id: 7,
            execution_genesis_hash: Hash::ZERO,
            blobs_per_block_max: 6,
            block_interval_ms: 1000,
            blob_retention_heights_min: 100,
            gas_limit_min: 1_000_000,
            gas_limit_max: 36_000_000,
            genesis_time: 1_000,
            prague_time: Some(5_000),
        },
    }
}

fn parent() -> Parent {
    Parent {
        block: ParentBlock {
            hash: PARENT_HASH,
            number: 8,
            timestamp: 1_000,
        },
        sidecar_root: SIDECAR_ROOT,
    }
}

/// Metadata that keeps every rule, for a height after a parent of the height before.
pub(crate) fn metadata_at(height: u64) -> ValueMetadata {
    let commitments = [KzgCommitment([11; 48]), KzgCommitment([12; 48])];
    let blobs = commitments.map(|commitment| (&b"blob"[..], commitment));
    let payload = b"a payload!";
    let lists = Lists::of(payload, blobs, vec![KzgProof::ZERO; 2]);
    ValueMetadata {
        origin_proposer: Address([1; 20]),
        validator_set_hash: Hash([2; 32]),
        header: ExecutionHeader {
            parent_hash: PARENT_HASH,
            fee_recipient: Address([9; 20]),
            state_root: Hash([5; 32]),
            transactions_root: Hash([6; 32]),
            receipts_root: Hash([7; 32]),
            gas_used: 21_000,
            timestamp: 1_001,
            extra_data: b"extra".to_vec(),
            prev_randao: PREV_RANDAO,
            withdrawals_root: EMPTY_ROOT,
            blob_gas_used: 2 * GAS_PER_BLOB,
            parent_beacon_block_root: SIDECAR_ROOT,
            block_hash: Hash([8; 32]),
            ..fixtures::header(height)
        },
        ..fixtures::metadata(height, payload, &lists)
    }
}

#[test]
fn a_block_that_keeps_every_rule_is_valid() {
    assert_eq!(check(&chain(), &parent(), &metadata_at(9)), Ok(()));
}

#[test]
fn each_broken_rule_is_found() {
    type Break = fn(&mut ValueMetadata);
    let table: [(&str, Break); 23] = [
        ("chain", |m| m.chain = ChainIdentity([8; 32])),
        ("height", |m| m.height = Height(10)),
        ("number", |m| m.header.number = 10),
        ("parent", |m| m.header.parent_hash = Hash::ZERO),
        ("timestamp equal", |m| m.header.timestamp = 1_000),
        ("timestamp before", |m| m.header.timestamp = 1),
        ("randao", |m| m.header.prev_randao = Hash::ZERO),
        ("withdrawals mint money", |m| m.header.withdrawals_root = Hash([1; 32])),
        ("beacon root", |m| m.header.parent_beacon_block_root = Hash::ZERO),
        ("the parent's hash as beacon root", |m| {
            m.header.parent_beacon_block_root = PARENT_HASH
        }),
        ("gas limit low", |m| m.header.gas_limit = 999_999),
        ("gas limit high", |m| m.header.gas_limit = 36_000_001),
        ("gas used", |m| m.header.gas_used = 30_000_001),
        ("extra data", |m| m.header.extra_data = vec![0; 33]),
        ("requests before Prague", |m| m.header.requests_hash = Some(Hash::ZERO)),
        ("no requests in Prague", |m| m.header.timestamp = 5_000),
        ("blob gas one short", |m| m.header.blob_gas_used = GAS_PER_BLOB),
        ("blob gas one over", |m| m.header.blob_gas_used = 3 * GAS_PER_BLOB),
        ("blob gas without blobs", |m| m.blobs_count = 0),
        ("a commitment too many", |m| m.blobs_count = 3),
        ("too many blobs", |m| {
            m.blobs_count = 7;
            m.header.blob_gas_used = 7 * GAS_PER_BLOB;
        }),
        ("old height", |m| m.height = Height(8)),
        ("old number", |m| m.header.number = 8),
    ];
    for (name, broken) in table {
        let mut metadata = metadata_at(9);
        broken(&mut metadata);
        assert!(check(&chain(), &parent(), &metadata).is_err(), "{name}");
    }
}

#[test]
fn prague_blocks_have_requests() {
    let mut metadata = metadata_at(9);
    metadata.header.timestamp = 5_000;
    metadata.header.requests_hash = Some(Hash([1; 32]));
    assert_eq!(check(&chain(), &parent(), &metadata), Ok(()));
}

#[test]
fn a_full_block_and_an_empty_one_are_valid() {
    for blobs in [0, 6] {
        let mut metadata = metadata_at(9);
        metadata.blobs_count = blobs;
        metadata.header.blob_gas_used = u64::from(blobs) * GAS_PER_BLOB;
        assert_eq!(check(&chain(), &parent(), &metadata), Ok(()));
    }
}

#[test]
fn fifteen_seconds_ahead_are_tolerated_and_parent_plus_one_always() {
    let now_ns = 1_000_999_999_999;
    let is_ahead_of = |timestamp, parent| {
        let parent = ParentBlock {
            hash: Hash::ZERO,
            number: 1,
            timestamp: parent,
        };
        is_ahead(timestamp, &parent, now_ns)
    };
    assert!(!is_ahead_of(1_015, 999));
    assert!(is_ahead_of(1_016, 999));
    assert!(!is_ahead_of(1, 0));
    assert!(!is_ahead_of(5_001, 5_000));
    assert!(is_ahead_of(5_002, 5_000));
}
