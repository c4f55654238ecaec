//! Payloads for tests, and the metadata that fits them.

use alloy_consensus::{EthereumTxEnvelope, SignableTransaction, TxEip4844, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_primitives::{Address as EthAddress, B256, Bytes, U256, keccak256};
use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use ultramarine_types::{Hash, KzgCommitment, KzgProof, Lists, ValueMetadata};

use crate::header;
use crate::payload::Payload;

/// Someone who sends transactions.
fn account() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("ultramarine/dev-account/0")).expect("a key")
}

fn blob_transaction(commitments: &[KzgCommitment]) -> Bytes {
    let transaction = TxEip4844 {
        chain_id: 7,
        nonce: 1,
        gas_limit: 21_000,
        max_fee_per_gas: 9,
        max_priority_fee_per_gas: 1,
        to: EthAddress::repeat_byte(3),
        blob_versioned_hashes: commitments
            .iter()
            .map(|commitment| kzg_to_versioned_hash(&commitment.0))
            .collect(),
        max_fee_per_blob_gas: 1,
        ..TxEip4844::default()
    };
    let signature = account().sign_hash_sync(&transaction.signature_hash()).expect("signs");
    EthereumTxEnvelope::<TxEip4844>::from(transaction.into_signed(signature))
        .encoded_2718()
        .into()
}

fn legacy_transaction() -> Bytes {
    let transaction = TxLegacy {
        gas_limit: 21_000,
        to: EthAddress::ZERO.into(),
        ..TxLegacy::default()
    };
    let signature = account().sign_hash_sync(&transaction.signature_hash()).expect("signs");
    EthereumTxEnvelope::<TxEip4844>::from(transaction.into_signed(signature))
        .encoded_2718()
        .into()
}

pub fn commitments(count: u8) -> Vec<KzgCommitment> {
    (0..count).map(|index| KzgCommitment([index; 48])).collect()
}

/// A payload with a legacy and two blob transactions, whose block hash is right.
pub fn payload(prague: bool) -> Payload {
    payload_within(prague, 30_000_000)
}

pub fn payload_within(prague: bool, gas_limit: u64) -> Payload {
    let commitments = commitments(3);
    let execution = ExecutionPayloadV3 {
        payload_inner: ExecutionPayloadV2 {
            payload_inner: ExecutionPayloadV1 {
                parent_hash: B256::repeat_byte(1),
                fee_recipient: EthAddress::repeat_byte(2),
                state_root: B256::repeat_byte(3),
                receipts_root: B256::repeat_byte(4),
                logs_bloom: alloy_primitives::Bloom::repeat_byte(5),
                prev_randao: B256::repeat_byte(6),
                block_number: 7,
                gas_limit,
                gas_used: 9,
                timestamp: 10,
                extra_data: Bytes::from_static(b"extra"),
                base_fee_per_gas: U256::from(11),
                block_hash: B256::ZERO,
                transactions: vec![
                    legacy_transaction(),
                    blob_transaction(&commitments[..2]),
                    blob_transaction(&commitments[2..]),
                ],
            },
            withdrawals: Vec::new(),
        },
        blob_gas_used: 3 * 131_072,
        excess_blob_gas: 12,
    };
    let requests = prague.then(|| vec![Bytes::from_static(&[0, 1, 2]), Bytes::from_static(&[2, 7])]);
    sealed(Payload { requests, execution })
}

pub const PARENT_ROOT: Hash = Hash([13; 32]);

pub fn sealed(mut payload: Payload) -> Payload {
    let computed = header::of(&payload, &PARENT_ROOT);
    payload.execution.payload_inner.payload_inner.block_hash = B256::from(computed.block_hash.0);
    payload
}

/// The lists of a value with this payload; its blobs are empty.
pub fn lists(payload: &Payload) -> Lists {
    let blobs = commitments(3).into_iter().map(|commitment| (&[][..], commitment));
    Lists::of(&payload.encode(), blobs, vec![KzgProof::ZERO; 3])
}

pub fn metadata(payload: &Payload) -> ValueMetadata {
    ValueMetadata {
        header: header::of(payload, &PARENT_ROOT).claimed,
        ..ultramarine_types::fixtures::metadata(7, &payload.encode(), &lists(payload))
    }
}
