//! Claims about the answers of execution clients.

use proptest::prelude::*;

use super::*;

fn status(json: &str) -> PayloadStatus {
    serde_json::from_str::<WireStatus>(json).expect("a status").into()
}

#[test]
fn all_statuses_are_told_apart() {
    let hash = format!("\"0x{}\"", "07".repeat(32));
    let latest = Some(Hash([7; 32]));
    assert_eq!(
        status(&format!(r#"{{"status":"VALID","latestValidHash":{hash}}}"#)),
        PayloadStatus::Valid { latest }
    );
    assert_eq!(
        status(&format!(
            r#"{{"status":"INVALID","latestValidHash":{hash},"validationError":"gas"}}"#
        )),
        PayloadStatus::Invalid {
            latest,
            reason: "gas".to_owned()
        }
    );
    assert_eq!(
        status(r#"{"status":"SYNCING","latestValidHash":null,"validationError":null}"#),
        PayloadStatus::Syncing
    );
    assert_eq!(status(r#"{"status":"ACCEPTED"}"#), PayloadStatus::Accepted);
    assert!(matches!(
        status(r#"{"status":"INVALID_BLOCK_HASH"}"#),
        PayloadStatus::Invalid { latest: None, .. }
    ));
    assert!(serde_json::from_str::<WireStatus>(r#"{"status":"MAYBE"}"#).is_err());
}

#[test]
fn a_bundle_whose_parts_do_not_match_is_refused() {
    let blob = "0x".to_owned() + &"00".repeat(BLOB_BYTES);
    let point = "0x".to_owned() + &"c0".repeat(48);
    let bundle = |commitments, proofs, blobs| {
        let bundle = WireBundle {
            commitments: Some(commitments),
            proofs: Some(proofs),
            blobs: Some(blobs),
        };
        bundle
            .decode(2)
            .map(|bundle| (bundle.blobs.len(), bundle.proofs.len()))
            .map_err(|error| error.to_string())
    };
    assert_eq!(bundle(vec![&point; 2], vec![&point; 2], vec![&blob; 2]), Ok((2, 2)));
    assert_eq!(bundle(vec![], vec![], vec![]), Ok((0, 0)));
    // Which proof is whose, and which are missing, is not seen here.
    for proofs in [0, 1, 129, 256] {
        assert_eq!(
            bundle(vec![&point; 2], vec![&point; proofs], vec![&blob; 2]),
            Ok((2, proofs))
        );
    }
    assert!(bundle(vec![&point; 2], vec![&point; 257], vec![&blob; 2]).is_err_and(|error| error.contains("257")));
    assert!(bundle(vec![&point], vec![&point; 2], vec![&blob; 2]).is_err_and(|error| error.contains("1 commitments")));
    assert!(bundle(vec![&point; 3], vec![&point; 3], vec![&blob; 3]).is_err_and(|error| error.contains("above")));
    assert!(bundle(vec![&point], vec![&point], vec![&blob[..100]]).is_err());
    assert!(bundle(vec!["0xzz"], vec![&point], vec![&blob]).is_err());
}

/// What is read of an answer to `getPayload`, with changes to it.
fn built(change: impl Fn(&mut serde_json::Value)) -> Result<BuiltPayload, CallError> {
    read_built(answer(change).as_bytes(), true, 6)
}

fn answer(change: impl Fn(&mut serde_json::Value)) -> String {
    let hash = format!("0x{}", "ab".repeat(32));
    let mut result = json!({
        "executionPayload": {
            "parentHash": hash, "feeRecipient": format!("0x{}", "ab".repeat(20)), "stateRoot": hash,
            "receiptsRoot": hash, "logsBloom": format!("0x{}", "00".repeat(256)), "prevRandao": hash,
            "blockNumber": "0x7", "gasLimit": "0x1c9c380", "gasUsed": "0x5208", "timestamp": "0x64",
            "extraData": "0x", "baseFeePerGas": "0x7", "blockHash": hash, "transactions": [], "withdrawals": [],
            "blobGasUsed": "0x20000", "excessBlobGas": "0x0",
        },
        "blockValue": "0x1", "shouldOverrideBuilder": false, "executionRequests": [],
        "blobsBundle": {"commitments": [], "proofs": [], "blobs": []},
    });
    change(&mut result);
    json!({"jsonrpc": "2.0", "id": "1", "result": result}).to_string()
}

proptest! {
    #[test]
    fn no_answer_makes_reading_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        prague in any::<bool>(),
    ) {
        let mut bytes = answer(|_| ()).into_bytes();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let _ = read_built(&bytes, prague, 6);
        let _ = read_built(&noise, prague, 6);
    }
}

#[test]
fn lists_with_nothing_in_them_may_be_null_or_absent() {
    let plain = built(|_| ()).expect("as the specification writes it");
    let alloy: ExecutionPayloadV3 = serde_json::from_value(json!({
        "parentHash": plain.payload.execution.payload_inner.payload_inner.parent_hash,
        "feeRecipient": format!("0x{}", "ab".repeat(20)), "stateRoot": format!("0x{}", "ab".repeat(32)),
        "receiptsRoot": format!("0x{}", "ab".repeat(32)), "logsBloom": format!("0x{}", "00".repeat(256)),
        "prevRandao": format!("0x{}", "ab".repeat(32)), "blockNumber": "0x7", "gasLimit": "0x1c9c380",
        "gasUsed": "0x5208", "timestamp": "0x64", "extraData": "0x", "baseFeePerGas": "0x7",
        "blockHash": format!("0x{}", "ab".repeat(32)), "transactions": [], "withdrawals": [],
        "blobGasUsed": "0x20000", "excessBlobGas": "0x0",
    }))
    .expect("alloy reads it");
    assert_eq!(plain.payload.execution, alloy, "field by field as alloy reads them");
    let lists = [
        ("/executionPayload", "transactions"),
        ("/executionPayload", "withdrawals"),
        ("/blobsBundle", "commitments"),
        ("/blobsBundle", "proofs"),
        ("/blobsBundle", "blobs"),
        ("", "executionRequests"),
        ("", "blobsBundle"),
    ];
    for (pointer, list) in lists {
        let changed = |change: fn(&mut serde_json::Map<String, serde_json::Value>, &str)| {
            built(|result| {
                let object = result.pointer_mut(pointer).and_then(|object| object.as_object_mut());
                change(object.expect("it is there"), list);
            })
        };
        let null = changed(|object, list| drop(object.insert(list.to_owned(), serde_json::Value::Null)));
        let absent = changed(|object, list| drop(object.remove(list)));
        for read in [null, absent] {
            let read = read.unwrap_or_else(|error| panic!("{list}: {error}"));
            assert_eq!((&read.payload, &read.bundle), (&plain.payload, &plain.bundle), "{list}");
        }
    }
}

#[test]
fn what_a_payload_must_have_is_missed_by_name() {
    for field in ["parentHash", "blockNumber", "timestamp", "blobGasUsed", "blockHash"] {
        let error = built(|result| {
            result["executionPayload"]
                .as_object_mut()
                .expect("an object")
                .remove(field);
        })
        .expect_err("it is not there")
        .to_string();
        assert!(error.contains(field), "{error}");
    }
    for wrong in [
        json!(7),
        json!("7"),
        json!("0x"),
        json!(null),
        json!("0x10000000000000000"),
    ] {
        let read = built(|result| result["executionPayload"]["gasUsed"] = wrong.clone());
        assert!(matches!(read, Err(CallError::Answer(_))), "{wrong}");
    }
    let capitals = built(|result| result["executionPayload"]["stateRoot"] = json!(format!("0x{}", "AB".repeat(32))));
    assert!(capitals.is_ok());
    assert!(built(|result| *result = json!(null)).is_err_and(|error| error.to_string().contains("null")));
}

#[test]
fn a_payload_id_goes_back_as_it_came() {
    for id in ["0x0", "0x00000000000000ab", "0xAB", "0x0123456789abcdef"] {
        assert_eq!(PayloadId::read(id.to_owned()).expect(id).0, id);
    }
    for id in ["", "0x", "ab", "0x0123456789abcdef0", "0xgg", "0x\n"] {
        assert!(PayloadId::read(id.to_owned()).is_err(), "{id}");
    }
}

#[test]
fn each_method_has_its_own_series() {
    for (index, method) in Method::ALL.into_iter().enumerate() {
        assert_eq!(method as usize, index, "{}", method.name());
    }
}
