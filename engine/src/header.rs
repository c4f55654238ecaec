//! This file knows the execution header that a payload stands for, and its hash.

use alloy_consensus::proofs::{calculate_withdrawals_root, ordered_trie_root_encoded};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::eip7685::Requests;
use alloy_primitives::{B64, B256, U256};
use ultramarine_types::{Address, ExecutionHeader, Hash};

use crate::payload::Payload;

/// A payload's header, with the hash it claims beside the hash it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Computed {
    /// All fields, with recomputed roots and the `block_hash` that the payload claims.
    pub claimed: ExecutionHeader,
    /// keccak-256 of the RLP of these fields.
    pub block_hash: Hash,
}

/// Computes the header of a payload built on `parent_beacon_block_root`, the one field a payload does not carry.
pub fn of(payload: &Payload, parent_beacon_block_root: &Hash) -> Computed {
    let v3 = &payload.execution;
    let v2 = &v3.payload_inner;
    let v1 = &v2.payload_inner;
    let requests_hash = payload
        .requests
        .as_ref()
        .map(|requests| Requests::from(requests.clone()).requests_hash());
    let transactions_root = ordered_trie_root_encoded(&v1.transactions);
    let withdrawals_root = calculate_withdrawals_root(&v2.withdrawals);
    let base_fee = u64::try_from(v1.base_fee_per_gas);
    let header = Header {
        parent_hash: v1.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: v1.fee_recipient,
        state_root: v1.state_root,
        transactions_root,
        receipts_root: v1.receipts_root,
        logs_bloom: v1.logs_bloom,
        difficulty: U256::ZERO,
        number: v1.block_number,
        gas_limit: v1.gas_limit,
        gas_used: v1.gas_used,
        timestamp: v1.timestamp,
        extra_data: v1.extra_data.clone(),
        mix_hash: v1.prev_randao,
        nonce: B64::ZERO,
        base_fee_per_gas: base_fee.ok(),
        withdrawals_root: Some(withdrawals_root),
        blob_gas_used: Some(v3.blob_gas_used),
        excess_blob_gas: Some(v3.excess_blob_gas),
        parent_beacon_block_root: Some(B256::from(parent_beacon_block_root.0)),
        requests_hash,
        ..Header::default()
    };
    // If 64 bits cannot hold the base fee, the header hashes as if it had none: no claimed hash equals that.
    let block_hash = hash(header.hash_slow());
    let claimed = ExecutionHeader {
        parent_hash: hash(v1.parent_hash),
        fee_recipient: Address(v1.fee_recipient.into_array()),
        state_root: hash(v1.state_root),
        transactions_root: hash(transactions_root),
        receipts_root: hash(v1.receipts_root),
        logs_bloom: v1.logs_bloom.into_array(),
        number: v1.block_number,
        gas_limit: v1.gas_limit,
        gas_used: v1.gas_used,
        timestamp: v1.timestamp,
        extra_data: v1.extra_data.to_vec(),
        prev_randao: hash(v1.prev_randao),
        base_fee_per_gas: Hash(v1.base_fee_per_gas.to_be_bytes()),
        withdrawals_root: hash(withdrawals_root),
        blob_gas_used: v3.blob_gas_used,
        excess_blob_gas: v3.excess_blob_gas,
        parent_beacon_block_root: *parent_beacon_block_root,
        requests_hash: requests_hash.map(hash),
        block_hash: hash(v1.block_hash),
    };
    Computed { claimed, block_hash }
}

/// Names the first field in which two headers differ.
pub fn first_difference(left: &ExecutionHeader, right: &ExecutionHeader) -> Option<&'static str> {
    macro_rules! compare {
        ($($field:ident),+ $(,)?) => {{
            // Destructured in full, so that a new field cannot be forgotten here.
            let ExecutionHeader { $($field: _),+ } = left;
            $(if left.$field != right.$field { return Some(stringify!($field)); })+
            None
        }};
    }
    compare!(
        parent_hash,
        fee_recipient,
        state_root,
        transactions_root,
        receipts_root,
        logs_bloom,
        number,
        gas_limit,
        gas_used,
        timestamp,
        extra_data,
        prev_randao,
        base_fee_per_gas,
        withdrawals_root,
        blob_gas_used,
        excess_blob_gas,
        parent_beacon_block_root,
        requests_hash,
        block_hash,
    )
}

/// Our hash type from alloy's.
pub fn hash(value: B256) -> Hash {
    Hash(value.0)
}
