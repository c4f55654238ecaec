//! Claims about what each URL answers, over a source held in memory.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::BTreeMap;
use tower::Service;
use ultramarine_core::io::Event;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Absent, Blobs, Decided};
use ultramarine_types::value::{ExecutionHeader, Init, ValueMetadata};
use ultramarine_types::{
    Address, Assembly, BlobPart, CommitCertificate, Evidence, Hash, Height, KzgCommitment, KzgProof, Nanos, PeerId,
    Round, Signature, ValueId, ValueKey, Vote, VoteKind, fixtures, sidecar, sign,
};

use super::index::versioned_hash;
use super::*;
use crate::board::NodeIdentity;

/// Blobs of each height, from 1; `None`: pruned.
#[derive(Debug)]
pub(super) struct Memory {
    blocks: BTreeMap<u64, (Decided, Option<Assembly>)>,
    evidence: Vec<Evidence>,
}

const PRUNED: u64 = 2;

impl Memory {
    /// Heights 1 to `heights`; height h has h % 4 blobs; height 2 is pruned.
    fn chain(heights: u64) -> Self {
        let mut blocks = BTreeMap::new();
        let mut parent_blob_root = Hash::ZERO;
        for height in 1..=heights {
            let (decided, assembly) = block(height, (height % 4) as usize, parent_blob_root);
            parent_blob_root = sidecar::header(&decided.init.metadata).root();
            blocks.insert(height, (decided, (height != PRUNED).then_some(assembly)));
        }
        Self {
            blocks,
            evidence: Vec::new(),
        }
    }

    pub(super) fn commitments(&self, height: u64) -> Vec<KzgCommitment> {
        self.blocks[&height].0.init.metadata.commitments.clone()
    }

    /// One height with this many blobs.
    pub(super) fn large(blobs: usize) -> Self {
        let (decided, assembly) = block(1, blobs, Hash::ZERO);
        Self {
            blocks: BTreeMap::from([(1, (decided, Some(assembly)))]),
            evidence: Vec::new(),
        }
    }
}

fn block(height: u64, blobs: usize, parent_blob_root: Hash) -> (Decided, Assembly) {
    let fill = |kind: u8| [kind ^ (height as u8); 32];
    let commitments = (0..blobs)
        .map(|index| {
            let mut commitment = [((height * 16) as u8).wrapping_add(index as u8); 48];
            commitment[0] ^= (index >> 8) as u8;
            KzgCommitment(commitment)
        })
        .collect();
    let metadata = ValueMetadata {
        chain_id: 7,
        origin_proposer: Address([1; 20]),
        origin_proposer_index: 3,
        header: ExecutionHeader {
            parent_hash: Hash(fill(0x10)),
            state_root: Hash(fill(0x20)),
            gas_limit: 1,
            gas_used: 1,
            timestamp: height,
            block_hash: Hash(fill(0x80)),
            ..fixtures::header(height)
        },
        payload_bytes: 500,
        payload_hash: Hash::ZERO,
        chunk_hashes: vec![Hash::ZERO],
        parent_blob_root,
        ..fixtures::metadata(height, &[], commitments)
    };
    let init = Arc::new(Init {
        metadata,
        signature: Signature([5; 64]),
        header_signature: Signature([6; 64]),
    });
    let key = init.key();
    let parts = (0..blobs)
        .map(|index| BlobPart {
            blob: Bytes::from(vec![(index as u8).wrapping_add(1); BLOB_BYTES]),
            proofs: vec![KzgProof([0xc0 | (index as u8); 48])],
        })
        .collect();
    let certificate = CommitCertificate {
        height: Height(height),
        round: Round(0),
        value_id: key.id,
        signatures: Vec::new(),
    };
    let assembly = Assembly {
        key,
        init: Arc::clone(&init),
        payload: Bytes::from_static(b"payload"),
        blobs: parts,
    };
    (
        Decided {
            certificate,
            init,
            blobs: Blobs::Held,
        },
        assembly,
    )
}

impl Source for Memory {
    fn head(&self) -> Height {
        Height(self.blocks.keys().next_back().copied().unwrap_or_default())
    }

    fn oldest_blobs(&self) -> Height {
        Height(PRUNED + 1)
    }

    fn decided(&self, height: Height) -> Option<Decided> {
        self.blocks.get(&height.0).map(|(decided, _)| decided.clone())
    }

    fn height_of_block(&self, block_hash: &Hash) -> Option<Height> {
        let found = self
            .blocks
            .values()
            .find(|(decided, _)| decided.init.metadata.header.block_hash == *block_hash);
        found.map(|(decided, _)| decided.certificate.height)
    }

    fn value(&self, _key: &ValueKey) -> Result<Assembly, Absent> {
        Err(Absent::Unknown)
    }

    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent> {
        match self.blocks.get(&height.0) {
            None => Err(Absent::Unknown),
            Some((_, None)) => Err(Absent::Pruned {
                oldest: self.oldest_blobs(),
            }),
            Some((decided, Some(assembly))) => Ok((decided.clone(), assembly.clone())),
        }
    }

    fn evidence(&self, from: Height, to: Height, _rows_max: usize) -> Vec<Evidence> {
        self.evidence
            .iter()
            .filter(|piece| (from..=to).contains(&piece.height()))
            .cloned()
            .collect()
    }

    fn decided_payload(&self, height: Height) -> Option<(Decided, Bytes)> {
        self.blocks
            .get(&height.0)
            .map(|(decided, _)| (decided.clone(), Bytes::new()))
    }
}

pub(super) fn state(heights: u64) -> HttpState {
    state_of(Memory::chain(heights))
}

pub(super) fn state_of(memory: Memory) -> HttpState {
    let board = Board::new(NodeIdentity {
        name: "test".to_owned(),
        version: "0".to_owned(),
        chain_id: 7,
        genesis_hash: Hash::ZERO,
        address: None,
        peer_id: PeerId::ZERO,
        validators: 4,
    });
    HttpState::new(Arc::new(memory), Arc::new(board), Registry::new())
}

async fn ask_text(state: &HttpState, url: &str) -> (StatusCode, String) {
    let request = Request::get(url).body(Body::empty()).expect("a valid request");
    let response = router(state.clone(), &ServerLimits::default())
        .call(request)
        .await
        .expect("routers never fail");
    let status = response.status();
    let body = response.into_body().collect().await.expect("bodies end").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("all answers are text"))
}

async fn ask(state: &HttpState, url: &str) -> (StatusCode, Value) {
    let (status, text) = ask_text(state, url).await;
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}")),
    )
}

#[tokio::test]
async fn a_sidecar_is_whole_and_proves_its_place() {
    let state = state(7);
    let (status, json) = ask(&state, "/eth/v1/beacon/blob_sidecars/7").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(json["version"], "deneb");
    let sidecars = json["data"].as_array().expect("a list");
    assert_eq!(sidecars.len(), 3);
    let (decided, assembly) = state.source.decided_value(Height(7)).expect("held");
    let metadata = &decided.init.metadata;
    for (index, sidecar) in sidecars.iter().enumerate() {
        assert_eq!(sidecar["index"], index.to_string());
        assert_eq!(
            sidecar["blob"],
            format!("0x{}", hex::encode(&assembly.blobs[index].blob))
        );
        assert_eq!(sidecar["kzg_proof"], assembly.blobs[index].proofs[0].to_string());
        let commitment: KzgCommitment = sidecar["kzg_commitment"]
            .as_str()
            .expect("hex")
            .parse()
            .expect("48 bytes");
        let header = &sidecar["signed_block_header"];
        // As long as the standard's: ours, then zeros.
        let signature = format!("{}{}", decided.init.header_signature, "00".repeat(32));
        assert_eq!(
            (&header["signature"], signature.len()),
            (&signature.as_str().into(), 2 + 192)
        );
        assert_eq!(header["message"]["slot"], "7");
        assert_eq!(header["message"]["proposer_index"], "3");
        assert_eq!(header["message"]["parent_root"], metadata.parent_blob_root.to_string());
        let body_root: Hash = header["message"]["body_root"]
            .as_str()
            .expect("hex")
            .parse()
            .expect("32 bytes");
        let proof: Vec<Hash> = sidecar["kzg_commitment_inclusion_proof"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|hash| hash.as_str().expect("hex").parse().expect("32 bytes"))
            .collect();
        let proof = proof.try_into().expect("seventeen hashes");
        assert!(sidecar::verify_inclusion_proof(&commitment, index, &proof, &body_root));
    }
}

#[tokio::test]
async fn every_kind_of_block_id_finds_its_block() {
    let state = state(7);
    let metadata = state.source.decided(Height(5)).expect("decided").init.metadata.clone();
    let root = sidecar::header(&metadata).root();
    let (_, by_slot) = ask(&state, "/eth/v1/beacon/blob_sidecars/5").await;
    assert_eq!(by_slot["data"].as_array().map(Vec::len), Some(1));
    for id in [root, metadata.header.block_hash] {
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/blob_sidecars/{id}")).await;
        assert_eq!((status, &json), (StatusCode::OK, &by_slot), "{id}");
    }
    let (_, head) = ask(&state, "/eth/v1/beacon/blob_sidecars/head").await;
    let (_, finalized) = ask(&state, "/eth/v1/beacon/blob_sidecars/finalized").await;
    assert_eq!(head, finalized);
    assert_eq!(head["data"][0]["signed_block_header"]["message"]["slot"], "7");
    for genesis in ["genesis", "0"] {
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/blob_sidecars/{genesis}")).await;
        assert_eq!(
            (status, json["data"].as_array().map(Vec::len)),
            (StatusCode::OK, Some(0))
        );
    }
}

#[tokio::test]
async fn a_block_without_blobs_is_an_empty_list_and_a_pruned_one_is_not() {
    let state = state(7);
    for api in ["blob_sidecars", "blobs"] {
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/{api}/4")).await;
        assert_eq!((status, &json["data"]), (StatusCode::OK, &Value::Array(Vec::new())));
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/{api}/2")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(json["oldest_height"], "3");
        assert!(
            json["message"]
                .as_str()
                .is_some_and(|text| text.contains("pruned") && text.contains('3')),
            "{json}"
        );
    }
}

#[tokio::test]
async fn unknown_blocks_are_404_and_nonsense_is_400() {
    let state = state(7);
    for (url, expected) in [
        ("/eth/v1/beacon/blob_sidecars/8", 404),
        ("/eth/v1/beacon/blobs/99999999999999999999", 400),
        ("/eth/v1/beacon/blob_sidecars/tail", 400),
        ("/eth/v1/beacon/blob_sidecars/+5", 400),
        ("/eth/v1/beacon/blob_sidecars/0x12", 400),
        ("/eth/v1/beacon/blob_sidecars/7?indices=one", 400),
        ("/eth/v1/beacon/blob_sidecars/7?indices=1,,2", 400),
        ("/eth/v1/beacon/blob_sidecars/7?indices=99999999999999999999", 400),
        ("/eth/v1/beacon/blob_sidecars/7?indices=%zz", 400),
        ("/eth/v1/beacon/blob_sidecars/%ff", 400),
        ("/eth/v1/beacon/blobs/7?versioned_hashes=0x1", 400),
        ("/ultramarine/v1/blobs/xyz", 400),
        ("/ultramarine/v1/decided?from=x", 400),
        ("/ultramarine/v1/decided?form=1", 400),
        ("/ultramarine/v1/decided?from=1&from=2", 400),
        ("/ultramarine/v1/decided?to=99999999999999999999", 400),
        ("/ultramarine/v1/evidence?from=%31&to=-1", 400),
        ("/nothing/here", 404),
    ] {
        let (status, json) = ask(&state, url).await;
        assert_eq!(status.as_u16(), expected, "{url}: {json}");
        assert_eq!(json["code"], expected, "{url}");
        assert!(json["message"].is_string(), "{url}");
    }
    let unknown = Hash([0xee; 32]);
    assert_eq!(
        ask(&state, &format!("/eth/v1/beacon/blobs/{unknown}")).await.0,
        StatusCode::NOT_FOUND
    );
    let (status, json) = ask(&state, &format!("/ultramarine/v1/blobs/{unknown}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let message = json["message"].as_str().expect("a text");
    for part in [
        "from height 1 to 7",
        "/eth/v1/beacon/blobs/HEIGHT",
        &format!("{unknown}@HEIGHT"),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn filters_choose_blobs_in_block_order() {
    let state = state(7);
    for query in [
        "indices=2,0",
        "indices=2&indices=0",
        "indices=0%2C2&other=1",
        "indices[]=0&indices[]=2",
        "indices=0,2,9",
    ] {
        let (_, json) = ask(&state, &format!("/eth/v1/beacon/blob_sidecars/7?{query}")).await;
        let indices: Vec<&str> = json["data"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|item| item["index"].as_str())
            .collect();
        assert_eq!(indices, ["0", "2"], "{query}");
    }
    let commitments = state
        .source
        .decided(Height(7))
        .expect("decided")
        .init
        .metadata
        .commitments
        .clone();
    let hash = versioned_hash(&commitments[1]);
    let (_, json) = ask(&state, &format!("/eth/v1/beacon/blobs/7?versioned_hashes={hash}")).await;
    assert_eq!(json["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["data"][0], format!("0x{}", "02".repeat(BLOB_BYTES)));
    let (_, json) = ask(
        &state,
        &format!("/eth/v1/beacon/blobs/7?versioned_hashes={}", Hash([9; 32])),
    )
    .await;
    assert_eq!(json["data"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn a_blob_is_found_by_its_versioned_hash() {
    let state = state(7);
    for height in [2u64, 7] {
        let commitments = state
            .source
            .decided(Height(height))
            .expect("decided")
            .init
            .metadata
            .commitments
            .clone();
        for (index, commitment) in commitments.iter().enumerate() {
            let hash = versioned_hash(commitment);
            assert_eq!(hash.0[0], 1);
            let (status, json) = ask(&state, &format!("/ultramarine/v1/blobs/{hash}")).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(
                (json["height"].as_u64(), json["index"].as_u64()),
                (Some(height), Some(index as u64))
            );
        }
    }
}

#[tokio::test]
async fn decided_heights_come_in_order_and_in_pages() {
    let state = state(1200);
    let (_, json) = ask(&state, "/ultramarine/v1/decided").await;
    let first = json.as_array().expect("a list");
    assert_eq!(first.len(), 1000);
    assert!(
        first
            .iter()
            .enumerate()
            .all(|(index, item)| item["height"] == index as u64 + 1)
    );
    assert_eq!(first[6]["blobs"], 3);
    assert_eq!(first[6]["bytes"], 500 + 3 * BLOB_BYTES as u64);
    assert!(
        first[6]["value_id"].is_string()
            && first[6]["block_hash"].is_string()
            && first[6]["origin_proposer"].is_string()
    );
    let (_, json) = ask(&state, "/ultramarine/v1/decided?from=1001&to=2000").await;
    assert_eq!(json.as_array().map(Vec::len), Some(200));
    let (_, json) = ask(&state, "/ultramarine/v1/decided?from=1201&to=2200").await;
    assert_eq!(json.as_array().map(Vec::len), Some(0));
    assert_eq!(
        ask(&state, "/ultramarine/v1/decided?from=1&to=1001").await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn health_tells_what_is_missing() {
    let state = state(1);
    let (status, json) = ask(&state, "/health").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json["reasons"].as_array().map(Vec::len), Some(2), "{json}");
    state.board.apply(&Event::Readiness {
        ready: true,
        why: String::new(),
        is_news: true,
    });
    state.board.peer_up();
    let (status, json) = ask(&state, "/health").await;
    assert_eq!((status, &json["ready"]), (StatusCode::OK, &Value::Bool(true)));
    let (_, json) = ask(&state, "/status").await;
    assert_eq!((json["peers"].as_u64(), json["chain_id"].as_u64()), (Some(1), Some(7)));
}

#[tokio::test]
async fn histograms_survive_the_wire_stage_by_stage() {
    let state = state(1);
    for (stage, ms) in [("build", 5), ("vote", 70)] {
        let histogram = state
            .registry
            .histogram(status::STAGE_HISTOGRAM, "help", &[("stage", stage)]);
        histogram.record(Nanos::from_millis(ms));
    }
    state
        .registry
        .histogram("ultramarine_other_seconds", "help", &[("stage", "build")])
        .record(Nanos::from_millis(1));
    let (_, json) = ask(&state, "/histograms").await;
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(2));
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(json["vote"].as_str().expect("base64"))
        .expect("base64");
    let vote: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .expect("V2");
    assert_eq!(vote.len(), 1);
    assert!(vote.equivalent(vote.max(), 70_000_000), "{}", vote.max());
    let (status, text) = ask_text(&state, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("ultramarine_stage_seconds_bucket"), "{text}");
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
                7,
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
    let messages = json[0]["messages"].as_array().expect("two messages");
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
        serde_json::json!([])
    );
    assert_eq!(
        ask_text(&state, "/ultramarine/v1/evidence?form=4").await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn blobs_are_optimistic_until_our_client_has_their_block() {
    let state = state(7);
    for url in ["/eth/v1/beacon/blob_sidecars/7", "/eth/v1/beacon/blobs/7"] {
        assert_eq!(ask(&state, url).await.1["execution_optimistic"], true);
    }
    state.board.apply(&Event::Executed { height: Height(7) });
    for url in ["/eth/v1/beacon/blob_sidecars/7", "/eth/v1/beacon/blobs/7"] {
        let (_, json) = ask(&state, url).await;
        assert_eq!(
            (&json["execution_optimistic"], &json["finalized"]),
            (&false.into(), &true.into())
        );
    }
}
