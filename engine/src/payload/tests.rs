use ultramarine_types::{Address, Height, KzgCommitment, Round};

use super::*;
use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address as EthAddress, U256, keccak256};
use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use proptest::prelude::*;

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

fn commitments(count: u8) -> Vec<KzgCommitment> {
    (0..count).map(|index| KzgCommitment([index; 48])).collect()
}

/// A payload with a legacy and two blob transactions, whose block hash is right.
fn payload(prague: bool) -> Payload {
    payload_within(prague, 30_000_000)
}

fn payload_within(prague: bool, gas_limit: u64) -> Payload {
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

const PARENT_ROOT: Hash = Hash([13; 32]);

fn sealed(mut payload: Payload) -> Payload {
    let computed = header::of(&payload, &PARENT_ROOT);
    payload.execution.payload_inner.payload_inner.block_hash = B256::from(computed.block_hash.0);
    payload
}

fn metadata(payload: &Payload) -> ValueMetadata {
    let bytes = payload.encode();
    ValueMetadata {
        chain_id: 7,
        height: Height(7),
        origin_proposer: Address([0; 20]),
        origin_proposer_index: 0,
        origin_round: Round(0),
        validator_set_hash: Hash([0; 32]),
        header: header::of(payload, &PARENT_ROOT).claimed,
        payload_bytes: u32::try_from(bytes.len()).expect("small"),
        payload_hash: sha256(&bytes),
        chunk_hashes: chunk_hashes(&bytes),
        commitments: commitments(3),
        parent_blob_root: Hash([0; 32]),
    }
}

fn inspected(payload: &Payload) -> Result<Payload, Broken> {
    inspect(&metadata(payload), &payload.encode())
}

#[test]
fn a_payload_comes_back_from_its_bytes() {
    for prague in [false, true] {
        let payload = payload(prague);
        assert_eq!(Payload::decode(&payload.encode()).as_ref(), Ok(&payload));
        assert_eq!(inspected(&payload), Ok(payload));
    }
}

#[test]
fn the_bytes_are_the_ones_the_format_promises() {
    // Golden: a value id binds these bytes for ever.
    let bytes = payload_within(true, 8).encode();
    assert_eq!(&bytes[..12], &[1, 1, 2, 3, 0, 0, 0, 0, 1, 2, 2, 0]);
    assert_eq!(
        sha256(&bytes).to_string(),
        "0x947293925e67c1f85b107a00130af5d83aafa3db4e079261a98c90d6efe65141"
    );
    assert_eq!(
        sha256(&payload_within(false, 8).encode()).to_string(),
        "0xc9c69eaf7bd4842fd8aa126ace87f4b38942b125cdf220529b998c07ef469308"
    );
}

#[test]
fn every_field_of_the_header_is_compared() {
    let payload = payload(true);
    let bytes = payload.encode();
    let broken = |change: &dyn Fn(&mut ultramarine_types::ExecutionHeader)| {
        let mut metadata = metadata(&payload);
        change(&mut metadata.header);
        match inspect(&metadata, &bytes) {
            Err(Broken::Header(field)) => field,
            other => panic!("{other:?}"),
        }
    };
    macro_rules! each {
        ($($field:ident: $change:expr),+ $(,)?) => {$(
            assert_eq!(broken(&|header| { let change: fn(&mut _) = $change; change(&mut header.$field) }), stringify!($field));
        )+};
    }
    each!(
        parent_hash: |hash: &mut Hash| hash.0[0] ^= 1,
        fee_recipient: |address: &mut Address| address.0[0] ^= 1,
        state_root: |hash: &mut Hash| hash.0[0] ^= 1,
        transactions_root: |hash: &mut Hash| hash.0[0] ^= 1,
        receipts_root: |hash: &mut Hash| hash.0[0] ^= 1,
        logs_bloom: |bloom: &mut [u8; 256]| bloom[9] ^= 1,
        number: |number: &mut u64| *number += 1,
        gas_limit: |number: &mut u64| *number += 1,
        gas_used: |number: &mut u64| *number += 1,
        timestamp: |number: &mut u64| *number += 1,
        extra_data: |bytes: &mut Vec<u8>| bytes.push(0),
        prev_randao: |hash: &mut Hash| hash.0[0] ^= 1,
        base_fee_per_gas: |hash: &mut Hash| hash.0[31] ^= 1,
        withdrawals_root: |hash: &mut Hash| hash.0[0] ^= 1,
        blob_gas_used: |number: &mut u64| *number += 1,
        excess_blob_gas: |number: &mut u64| *number += 1,
        requests_hash: |hash: &mut Option<Hash>| *hash = None,
        block_hash: |hash: &mut Hash| hash.0[0] ^= 1,
    );
    // The parent's root is part of what is hashed, so a wrong one shows as a wrong block hash.
    let mut other = metadata(&payload);
    other.header.parent_beacon_block_root.0[0] ^= 1;
    assert!(matches!(inspect(&other, &bytes), Err(Broken::BlockHash { .. })));
}

#[test]
fn a_block_hash_that_the_header_does_not_have_is_broken() {
    let mut payload = payload(false);
    payload.execution.payload_inner.payload_inner.block_hash = B256::repeat_byte(9);
    assert!(matches!(inspected(&payload), Err(Broken::BlockHash { .. })));
    let mut payload = self::payload(false);
    payload.execution.payload_inner.payload_inner.base_fee_per_gas = U256::from(1) << 64;
    assert!(matches!(inspected(&payload), Err(Broken::BlockHash { .. })));
}

#[test]
fn withdrawals_are_never_accepted() {
    let mut payload = payload(false);
    payload.execution.payload_inner.withdrawals.push(Default::default());
    assert_eq!(inspected(&sealed(payload)), Err(Broken::Withdrawals(1)));
}

#[test]
fn blobs_and_commitments_match_one_to_one_in_order() {
    let payload = payload(true);
    let bytes = payload.encode();
    for change in [0, 1, 2] {
        let mut metadata = metadata(&payload);
        match change {
            0 => metadata.commitments.swap(0, 1),
            1 => metadata.commitments.truncate(2),
            _ => metadata.commitments.push(KzgCommitment([9; 48])),
        }
        assert!(matches!(
            inspect(&metadata, &bytes),
            Err(Broken::VersionedHashes { transactions: 3, .. })
        ));
    }
}

#[test]
fn a_transaction_that_only_claims_to_carry_blobs_is_broken() {
    let mut payload = payload(false);
    payload.execution.payload_inner.payload_inner.transactions[1] = Bytes::from_static(&[3, 0xc0]);
    assert_eq!(inspected(&sealed(payload)), Err(Broken::Transaction(1)));
}

#[test]
fn requests_are_ordered_distinct_and_not_empty() {
    for requests in [
        vec![vec![0]],
        vec![vec![]],
        vec![vec![1, 1], vec![0, 1]],
        vec![vec![1, 1], vec![1, 2]],
    ] {
        let requests = Some(requests.into_iter().map(Bytes::from).collect());
        let payload = sealed(Payload {
            requests,
            ..payload(true)
        });
        assert_eq!(inspected(&payload), Err(Broken::RequestsOrder));
    }
    let none = sealed(Payload {
        requests: Some(Vec::new()),
        ..payload(true)
    });
    assert_eq!(inspected(&none), Ok(none));
}

#[test]
fn other_bytes_than_the_metadata_hashes_are_broken() {
    let payload = payload(true);
    let mut metadata = metadata(&payload);
    metadata.payload_hash.0[0] ^= 1;
    assert_eq!(inspect(&metadata, &payload.encode()), Err(Broken::PayloadHash));
}

#[test]
fn unknown_versions_forks_and_lengths_are_refused() {
    let bytes = payload(true).encode();
    let changed = |index: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[index] = value;
        Payload::decode(&bytes)
    };
    assert_eq!(changed(0, 2), Err(Malformed::Version(2)));
    assert_eq!(changed(1, 2), Err(Malformed::Fork(2)));
    assert_eq!(changed(1, 0), Err(Malformed::Requests(2)));
    assert_eq!(changed(6, 255), Err(Malformed::Truncated("request")));
    assert_eq!(Payload::decode(&[]), Err(Malformed::Truncated("head")));
    assert_eq!(
        Payload::decode(&vec![1; limits::PAYLOAD_BYTES_MAX + 1]),
        Err(Malformed::Oversize(limits::PAYLOAD_BYTES_MAX + 1))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn hostile_bytes_never_panic_and_never_have_two_forms(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        prague in any::<bool>(),
    ) {
        let mut bytes = payload(prague).encode().to_vec();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if cut.index(4) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(decoded) = Payload::decode(&bytes) {
            prop_assert_eq!(&decoded.encode()[..], &bytes[..]);
            let _ = inspect(&metadata(&decoded), &bytes);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        let _ = Payload::decode(&bytes);
    }
}

#[test]
fn a_list_of_transactions_that_the_gas_cannot_pay_for_is_refused_unread() {
    let mut payload = payload(false);
    let count = payload.transactions().len();
    let execution = payload.execution.as_ssz_bytes();
    assert_eq!(
        transactions_listed(&execution),
        Some(count),
        "the offset stands where it is looked for"
    );
    let gas_limit = payload.execution.payload_inner.payload_inner.gas_limit;
    assert_eq!(
        Payload::decode_within(&payload.encode(), gas_limit),
        Ok(payload.clone())
    );

    let transactions = &mut payload.execution.payload_inner.payload_inner.transactions;
    transactions.clear();
    assert_eq!(transactions_listed(&payload.execution.as_ssz_bytes()), Some(0));
    payload.execution.payload_inner.payload_inner.transactions = vec![Bytes::new(); 3_000_000];
    let refused = Payload::decode_within(&payload.encode(), 30_000_000);
    let expected = Malformed::Transactions {
        count: 3_000_000,
        gas_limit: 30_000_000,
    };
    assert_eq!(refused, Err(expected));
}
