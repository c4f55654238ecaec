//! Claims about what proves a decision, and what convicts a validator.

use super::*;

/// The value of a height, with the parts of the answer that others are checked against.
fn is_whole(json: &Value, height: u64, state: &HttpState) {
    let DecidedPayload { decided, lists, .. } = state.source.decided_payload(Height(height)).expect("decided");
    let (init, metadata) = (&decided.init, &decided.init.metadata);
    assert_eq!(json["height"], height);
    assert_eq!(json["slot"], slot(height));
    assert_eq!(json["value_id"], metadata.id().to_string());
    assert_eq!(json["genesis_hash"], fixtures::CHAIN.to_string());
    assert_eq!(json["init_signature"], init.signature.to_string());
    assert_eq!(json["header_signature"], init.header_signature.to_string());
    let shown = &json["metadata"];
    assert_eq!(shown["chain"], fixtures::CHAIN.to_string());
    assert_eq!(shown["height"], height);
    assert_eq!(shown["blobs_count"], metadata.blobs_count);
    assert_eq!(shown["payload_bytes"], 500);
    assert_eq!(shown["header"]["extra_data"], "0x0708");
    assert_eq!(shown["header"]["logs_bloom"], format!("0x{}", "00".repeat(256)));
    assert!(shown["header"]["requests_hash"].is_null());
    let roots: Vec<Value> = ["chunks", "commitments", "digests", "proofs"]
        .map(|kind| shown["roots"][kind].clone())
        .into();
    let expected = lists.roots();
    let expected = [expected.chunks, expected.commitments, expected.digests, expected.proofs];
    assert_eq!(roots, expected.map(|root| Value::String(root.to_string())));
    let count = |kind: &str| json["lists"][kind].as_array().map(Vec::len);
    let blobs = Some(lists.commitments.len());
    assert_eq!(["commitments", "digests", "proofs"].map(count), [blobs; 3]);
    assert_eq!(count("payload_chunks"), Some(1));
    let certificate = serde_json::json!({
        "height": height,
        "round": 2,
        "value_id": metadata.id(),
        "signatures": [{ "address": Address([9; 20]), "signature": Signature([8; 64]) }],
    });
    assert_eq!(json["certificate"], certificate);
}

#[tokio::test]
async fn every_decided_value_is_shown_whatever_became_of_its_blobs() {
    let state = state(7);
    // With three blobs, without one, and pruned.
    for height in [7, 4, PRUNED] {
        let (status, json) = ask(&state, &format!("/ultramarine/v1/value/{height}")).await;
        assert_eq!(status, StatusCode::OK, "height {height}: {json}");
        is_whole(&json, height, &state);
    }
}

#[tokio::test]
async fn a_false_value_is_shown_with_all_that_binds_its_blob() {
    use ultramarine_types::canonical::sha256;

    let mut memory = Memory::chain(7);
    let (decided, assembly) = memory.blocks[&7].clone();
    memory.evidence = vec![Evidence::Value(Box::new(FalseValue {
        init: decided.init.as_ref().clone(),
        lists: assembly.lists.as_ref().clone(),
        index: 2,
        blob: assembly.blobs[2].to_vec(),
    }))];
    let state = state_of(memory);
    let (status, json) = ask(&state, "/ultramarine/v1/evidence").await;
    assert_eq!(status, StatusCode::OK);
    let listed = &json["evidence"][0];
    let url = format!("/ultramarine/v1/evidence/7/{}", Address([1; 20]));
    let (status, whole) = ask(&state, &url).await;
    assert_eq!(status, StatusCode::OK);
    // The list has all but the long parts.
    let mut short = whole.clone();
    let value = short["value"].as_object_mut().expect("an object");
    assert!(value.remove("lists").is_some() && value.remove("blob").is_some());
    assert_eq!(*listed, short);
    let (piece, shown) = (&whole, &whole["value"]);
    assert_eq!(
        (&piece["height"], &piece["validator"]),
        (&7.into(), &Address([1; 20]).to_string().into())
    );
    let id = decided.init.metadata.id();
    assert_eq!(
        (&shown["value_id"], &shown["index"]),
        (&id.to_string().into(), &2.into())
    );
    assert_eq!(shown["proof"], assembly.lists.proofs[2].to_string());
    assert_eq!(shown["init_signature"], decided.init.signature.to_string());
    assert_eq!(
        shown["signed_bytes"],
        hex::encode_prefixed(sign::init(&fixtures::CHAIN, &id))
    );
    // A reader computes the digest again.
    let blob = hex::decode(shown["blob"].as_str().expect("hex")).expect("hex");
    let commitment: KzgCommitment = shown["commitment"].as_str().expect("hex").parse().expect("48 bytes");
    assert_eq!(shown["digest"], blob_digest(&blob, &commitment).to_string());
    assert_eq!(sha256(&blob), sha256(&assembly.blobs[2]));
    assert_eq!(shown["lists"]["digests"][2], shown["digest"]);
    assert_eq!(shown["metadata"]["chain"], fixtures::CHAIN.to_string());
}

#[tokio::test]
async fn evidence_can_be_checked_by_whoever_reads_it() {
    use ed25519_dalek::{Signature as Ed25519, Signer, SigningKey};

    let key = SigningKey::from_bytes(&[5; 32]);
    let vote = |value_id: Option<ValueId>| Vote {
        kind: VoteKind::Precommit,
        height: Height(3),
        round: Round(1),
        value_id,
        voter: Address([1; 20]),
        signature: Signature(
            key.sign(&sign::vote(
                &fixtures::CHAIN,
                VoteKind::Precommit,
                Height(3),
                Round(1),
                value_id.as_ref(),
            ))
            .to_bytes(),
        ),
    };
    let mut memory = Memory::chain(1);
    memory.evidence = vec![Evidence::Votes(vote(None), vote(Some(ValueId([9; 32]))))];
    let state = state_of(memory);
    let (status, json) = ask(&state, "/ultramarine/v1/evidence").await;
    assert_eq!(status, StatusCode::OK);
    let bytes = |value: &Value| hex::decode(value.as_str().expect("hex")).expect("hex");
    let messages = json["evidence"][0]["messages"].as_array().expect("two messages");
    assert_eq!((messages.len(), messages[0]["value_id"].is_null()), (2, true));
    for message in messages {
        let signature = Ed25519::from_slice(&bytes(&message["signature"])).expect("64 bytes");
        let verified = key
            .verifying_key()
            .verify_strict(&bytes(&message["signed_bytes"]), &signature);
        assert!(verified.is_ok(), "{message}");
    }
    assert_eq!(
        ask(&state, "/ultramarine/v1/evidence?from=4").await.1,
        serde_json::json!({ "next": null, "evidence": [] })
    );
    assert_eq!(
        ask_text(&state, "/ultramarine/v1/evidence?form=4").await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn an_answer_of_evidence_is_bounded_and_says_how_to_go_on() {
    let mut memory = Memory::chain(7);
    let (decided, assembly) = memory.blocks[&7].clone();
    // As much at one height as no answer has room for, and some before and behind it.
    let value = |height: u64, validator: u8| {
        let mut init = decided.init.as_ref().clone();
        init.metadata.height = Height(height);
        init.metadata.origin_proposer = Address([validator; 20]);
        Evidence::Value(Box::new(FalseValue {
            init,
            lists: assembly.lists.as_ref().clone(),
            index: 2,
            blob: assembly.blobs[2].to_vec(),
        }))
    };
    let heights = [3].into_iter().chain([4; 255]).chain([5, 6]);
    memory.evidence = heights.zip(0u8..=255).map(|(height, at)| value(height, at)).collect();
    memory.evidence.extend((0..100).map(|at| value(9, at)));
    let count = memory.evidence.len();
    let state = state_of(memory);
    let (mut found, mut answers, mut query) = (Vec::new(), 0, "from=1".to_owned());
    loop {
        let (status, text) = ask_text(&state, &format!("/ultramarine/v1/evidence?{query}")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.len() <= 513 * 1024, "{} bytes", text.len());
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let pieces = json["evidence"].as_array().expect("a list");
        assert!(!pieces.is_empty(), "each answer goes on");
        found.extend(
            pieces
                .iter()
                .map(|piece| (piece["height"].clone(), piece["validator"].clone())),
        );
        answers += 1;
        let next = &json["next"];
        if next.is_null() {
            break;
        }
        query = format!("from={}&skip={}", next["from"], next["skip"]);
    }
    let kept: Vec<_> = state_evidence(&state)
        .iter()
        .map(|piece| (piece.height().0.into(), piece.validator().to_string().into()))
        .collect();
    assert_eq!((found.len(), found == kept), (count, true), "each piece once, in order");
    assert!(answers > 1);
}

fn state_evidence(state: &HttpState) -> Vec<Evidence> {
    let mut all = Vec::new();
    state.source.evidence(Height(0), Height(u64::MAX), &mut |piece| {
        all.push(piece);
        ControlFlow::Continue(())
    });
    all
}
