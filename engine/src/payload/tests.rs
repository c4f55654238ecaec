use proptest::prelude::*;

use super::fixtures::{payload, payload_within};
use ultramarine_types::canonical::sha256;

use super::*;

#[test]
fn the_bytes_are_the_ones_the_format_promises() {
    // Golden: a value id binds these bytes for ever.
    let bytes = payload_within(true, 8).encode();
    assert_eq!(&bytes[..12], &[2, 1, 2, 3, 0, 0, 0, 0, 1, 2, 2, 0]);
    assert_eq!(
        sha256(&bytes).to_string(),
        "0x787254515a600b851cbc4333a1dfec0dc8031dc200ad93b694c0252adc9893ce"
    );
    assert_eq!(
        sha256(&payload_within(false, 8).encode()).to_string(),
        "0x06524580c4c4a6db167afcce43a92ff48fbb064eb76e6b94a3975897dfa57eef"
    );
}

#[test]
fn unknown_versions_forks_and_lengths_are_refused() {
    let bytes = payload(true).encode();
    let changed = |index: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[index] = value;
        Payload::decode(&bytes)
    };
    for other in [1, 3] {
        assert_eq!(changed(0, other), Err(MalformedPayload::Version(other)));
    }
    assert_eq!(changed(1, 2), Err(MalformedPayload::Fork(2)));
    assert_eq!(changed(1, 0), Err(MalformedPayload::Requests(2)));
    assert_eq!(changed(6, 255), Err(MalformedPayload::Truncated("request")));
    assert_eq!(Payload::decode(&[]), Err(MalformedPayload::Truncated("head")));
    assert_eq!(
        Payload::decode(&vec![1; limits::PAYLOAD_BYTES_MAX + 1]),
        Err(MalformedPayload::Oversize(limits::PAYLOAD_BYTES_MAX + 1))
    );
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
    let expected = MalformedPayload::Transactions {
        count: 3_000_000,
        gas_limit: 30_000_000,
    };
    assert_eq!(refused, Err(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        let _ = Payload::decode(&bytes);
    }
}
