use alloy_primitives::{B256, Bytes, U256};
use proptest::prelude::*;
use ultramarine_types::{Address, Hash, KzgCommitment, fixtures};

use super::*;
use crate::payload::fixtures::{lists, metadata, payload, sealed};

fn inspected(payload: &Payload) -> Result<Payload, BrokenPayload> {
    inspect(&metadata(payload), &lists(payload), &payload.encode())
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
fn every_field_of_the_header_is_compared() {
    let payload = payload(true);
    let bytes = payload.encode();
    let broken = |change: &dyn Fn(&mut ultramarine_types::ExecutionHeader)| {
        let mut metadata = metadata(&payload);
        change(&mut metadata.header);
        match inspect(&metadata, &lists(&payload), &bytes) {
            Err(BrokenPayload::Header(field)) => field,
            other => panic!("{other:?}"),
        }
    };
    macro_rules! each {
        ($($field:ident: $change:expr),+ $(,)?) => {$(
            let change = |header: &mut ultramarine_types::ExecutionHeader| {
                let change: fn(&mut _) = $change;
                change(&mut header.$field);
            };
            assert_eq!(broken(&change), stringify!($field));
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
    assert!(matches!(
        inspect(&other, &lists(&payload), &bytes),
        Err(BrokenPayload::BlockHash { .. })
    ));
}

#[test]
fn a_block_hash_that_the_header_does_not_have_is_broken() {
    let mut payload = payload(false);
    payload.execution.payload_inner.payload_inner.block_hash = B256::repeat_byte(9);
    assert!(matches!(inspected(&payload), Err(BrokenPayload::BlockHash { .. })));
    let mut payload = self::payload(false);
    payload.execution.payload_inner.payload_inner.base_fee_per_gas = U256::from(1) << 64;
    assert!(matches!(inspected(&payload), Err(BrokenPayload::BlockHash { .. })));
}

#[test]
fn withdrawals_are_never_accepted() {
    let mut payload = payload(false);
    payload.execution.payload_inner.withdrawals.push(Default::default());
    assert_eq!(inspected(&sealed(payload)), Err(BrokenPayload::Withdrawals(1)));
}

#[test]
fn blobs_and_commitments_match_one_to_one_in_order() {
    let payload = payload(true);
    let bytes = payload.encode();
    for change in [0, 1, 2] {
        let mut lists = lists(&payload);
        match change {
            0 => lists.commitments.swap(0, 1),
            1 => lists.commitments.truncate(2),
            _ => lists.commitments.push(KzgCommitment([9; 48])),
        }
        assert_eq!(inspect(&metadata(&payload), &lists, &bytes), Err(BrokenPayload::Lists));
        // A proposer that binds such a list breaks a rule of the block.
        let bound = ValueMetadata {
            header: metadata(&payload).header,
            ..fixtures::metadata(7, &bytes, &lists)
        };
        assert!(matches!(
            inspect(&bound, &lists, &bytes),
            Err(BrokenPayload::VersionedHashes { transactions: 3, .. })
        ));
    }
}

#[test]
fn a_transaction_that_only_claims_to_carry_blobs_is_broken() {
    let mut payload = payload(false);
    payload.execution.payload_inner.payload_inner.transactions[1] = Bytes::from_static(&[3, 0xc0]);
    assert_eq!(inspected(&sealed(payload)), Err(BrokenPayload::Transaction(1)));
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
        assert_eq!(inspected(&payload), Err(BrokenPayload::RequestsOrder));
    }
    let none = sealed(Payload {
        requests: Some(Vec::new()),
        ..payload(true)
    });
    assert_eq!(inspected(&none), Ok(none));
}

#[test]
fn other_bytes_than_the_value_binds_are_broken() {
    let payload = payload(true);
    let (bytes, lists, metadata) = (payload.encode(), lists(&payload), metadata(&payload));
    let mut longer = metadata.clone();
    longer.payload_bytes += 1;
    assert_eq!(inspect(&longer, &lists, &bytes), Err(BrokenPayload::Bytes));
    let mut other = lists.clone();
    other.chunks[0].0[0] ^= 1;
    assert_eq!(inspect(&metadata, &other, &bytes), Err(BrokenPayload::Bytes));
    let mut unbound = metadata;
    unbound.roots.chunks.0[0] ^= 1;
    assert_eq!(inspect(&unbound, &lists, &bytes), Err(BrokenPayload::Lists));
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
            let _ = inspect(&metadata(&decoded), &lists(&decoded), &bytes);
        }
    }
}
