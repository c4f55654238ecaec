//! Claims about what each URL answers, over a source held in memory.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use tower::Service;
use ultramarine_core::io::Event;
use ultramarine_types::consensus::CertificateSignature;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Absent, Blobs, Decided, DecidedPayload, ScrubProgress, StoreAccount};
use ultramarine_types::value::{ExecutionHeader, Init, ValueMetadata};
use ultramarine_types::{
    Address, Assembly, ChainParams, CommitCertificate, Evidence, Hash, Height, KzgCommitment, KzgProof, Lists, Nanos,
    PeerId, Round, Signature, ValueId, ValueKey, Vote, VoteKind, fixtures, sidecar, sign,
};

use super::index::versioned_hash;
use super::*;
use crate::board::NodeIdentity;

mod beacon;
pub(super) mod events;
mod histograms;
mod hosts;
mod index;
mod live;
mod proof;
mod reading;
mod refusals;
mod spec;
mod store;

/// When slot 0 begins.
const GENESIS_TIME: u64 = 1_000;
/// Slots from one height to the next: every third has a block.
const SLOTS_PER_HEIGHT: u64 = 3;
/// The first slot of Prague, between heights 7 and 8.
const PRAGUE_SLOT: u64 = 7 * SLOTS_PER_HEIGHT + 1;

fn slot(height: u64) -> u64 {
    SLOTS_PER_HEIGHT * height
}

/// Values of each height, from 1.
#[derive(Debug)]
pub(super) struct Memory {
    blocks: BTreeMap<u64, (Decided, Assembly)>,
    evidence: Vec<Evidence>,
    /// Heights below the head that are not among the blocks.
    damaged: Vec<Height>,
    archived_through: Height,
    /// What a full disk says.
    shortage: Option<String>,
    /// How often one blob was asked for by itself.
    blobs_read: AtomicUsize,
}

const PRUNED: u64 = 2;

impl Memory {
    /// Heights 1 to `heights`; height h has h % 4 blobs; height 2 is pruned.
    fn chain(heights: u64) -> Self {
        Self::chain_with(heights, |height| (height % 4) as usize)
    }

    /// The same without blobs.
    pub(super) fn bare(heights: u64) -> Self {
        Self::chain_with(heights, |_| 0)
    }

    fn chain_with(heights: u64, blobs: impl Fn(u64) -> usize) -> Self {
        let mut blocks = BTreeMap::new();
        let mut parent_root = Hash::ZERO;
        for height in 1..=heights {
            let (decided, assembly) = block(height, blobs(height), parent_root);
            parent_root = sidecar::header(&decided.init.metadata, GENESIS_TIME).root();
            blocks.insert(height, (decided, assembly));
        }
        Self {
            blocks,
            evidence: Vec::new(),
            damaged: Vec::new(),
            archived_through: Height::GENESIS,
            shortage: None,
            blobs_read: AtomicUsize::new(0),
        }
    }

    pub(super) fn commitments(&self, height: u64) -> Vec<KzgCommitment> {
        self.blocks[&height].1.lists.commitments.clone()
    }

    /// One height with this many blobs.
    pub(super) fn large(blobs: usize) -> Self {
        Self::chain_with(1, |_| blobs)
    }
}

fn block(height: u64, blobs: usize, parent_root: Hash) -> (Decided, Assembly) {
    let fill = |kind: u8| [kind ^ (height as u8); 32];
    let commitment = |index: usize| {
        let mut commitment = [((height * 16) as u8).wrapping_add(index as u8); 48];
        commitment[0] ^= (index >> 8) as u8;
        KzgCommitment(commitment)
    };
    let contents: Vec<Bytes> = (0..blobs)
        .map(|index| Bytes::from(vec![(index as u8).wrapping_add(1); BLOB_BYTES]))
        .collect();
    let payload = vec![height as u8; 500];
    let lists = Lists::of(
        &payload,
        contents
            .iter()
            .enumerate()
            .map(|(index, blob)| (&blob[..], commitment(index))),
        (0..blobs).map(|index| KzgProof([0xc0 | (index as u8); 48])).collect(),
    );
    let metadata = ValueMetadata {
        origin_proposer: Address([1; 20]),
        origin_proposer_index: 3,
        header: ExecutionHeader {
            parent_hash: Hash(fill(0x10)),
            state_root: Hash(fill(0x20)),
            gas_limit: 1,
            gas_used: 1,
            timestamp: GENESIS_TIME + slot(height),
            extra_data: vec![7, 8],
            parent_beacon_block_root: parent_root,
            block_hash: Hash(fill(0x80)),
            ..fixtures::header(height)
        },
        ..fixtures::metadata(height, &payload, &lists)
    };
    let init = Init {
        metadata,
        signature: Signature([5; 64]),
        header_signature: Signature([6; 64]),
    };
    let assembly = fixtures::assembly(init, lists, payload.into(), contents);
    let certificate = CommitCertificate {
        height: Height(height),
        round: Round(2),
        value_id: assembly.key.id,
        signatures: vec![CertificateSignature {
            address: Address([9; 20]),
            signature: Signature([8; 64]),
        }],
    };
    let blobs = if height == PRUNED { Blobs::Pruned } else { Blobs::Held };
    (
        Decided {
            certificate,
            init: Arc::clone(&assembly.init),
            blobs,
        },
        assembly,
    )
}

impl Source for Memory {
    fn account(&self) -> Option<StoreAccount> {
        Some(store::account())
    }

    fn scrub_progress(&self) -> Option<ScrubProgress> {
        Some(store::SCRUB)
    }

    fn shortage(&self) -> Option<String> {
        self.shortage.clone()
    }

    fn head(&self) -> Height {
        Height(self.blocks.keys().next_back().copied().unwrap_or_default())
    }

    fn archived_through(&self) -> Height {
        self.archived_through
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

    fn value(&self, key: &ValueKey) -> Result<Assembly, Absent> {
        let (_, assembly) = self.decided_value(key.height)?;
        (assembly.key == *key).then_some(assembly).ok_or(Absent::Unknown)
    }

    fn damaged(&self) -> Vec<Height> {
        self.damaged.clone()
    }

    fn blob(&self, key: &ValueKey, index: usize) -> Result<Bytes, Absent> {
        self.blobs_read.fetch_add(1, Ordering::Relaxed);
        self.value(key)?.blobs.get(index).cloned().ok_or(Absent::Unknown)
    }

    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent> {
        match self.blocks.get(&height.0) {
            None => Err(Absent::Unknown),
            Some((decided, _)) if decided.blobs == Blobs::Pruned => Err(Absent::Pruned {
                oldest: self.oldest_blobs(),
            }),
            Some((decided, assembly)) => Ok((decided.clone(), assembly.clone())),
        }
    }

    fn evidence(&self, from: Height, to: Height, each: &mut dyn FnMut(Evidence) -> ControlFlow<()>) {
        let found = self
            .evidence
            .iter()
            .filter(|piece| (from..=to).contains(&piece.height()));
        let _ = found.cloned().try_for_each(each);
    }

    fn false_value(&self, validator: &Address, height: Height) -> Option<FalseValue> {
        self.evidence.iter().find_map(|piece| match piece {
            Evidence::Value(value) if (piece.validator(), piece.height()) == (*validator, height) => {
                Some(FalseValue::clone(value))
            }
            _ => None,
        })
    }

    fn decided_payload(&self, height: Height) -> Option<DecidedPayload> {
        let (decided, assembly) = self.blocks.get(&height.0)?;
        Some(DecidedPayload {
            decided: decided.clone(),
            lists: Arc::clone(&assembly.lists),
            payload: assembly.payload.clone(),
        })
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
        genesis_hash: fixtures::CHAIN,
        address: None,
        peer_id: PeerId::ZERO,
        validators: 4,
    });
    HttpState::new(chain(), Arc::new(memory), Arc::new(board), Registry::new())
}

fn chain() -> Chain {
    Chain {
        identity: fixtures::CHAIN,
        params: ChainParams {
            chain_id: 7,
            execution_genesis_hash: Hash::ZERO,
            blobs_per_block_max: 9,
            block_interval_ms: 1000,
            blob_retention_heights_min: 100,
            gas_limit_min: 0,
            gas_limit_max: 1,
            genesis_time: GENESIS_TIME,
            prague_time: Some(GENESIS_TIME + PRAGUE_SLOT),
        },
    }
}

async fn ask_with(state: &HttpState, url: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a valid request");
    let response = router(state.clone(), &ServerLimits::default())
        .call(request)
        .await
        .expect("routers never fail");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("bodies end").to_bytes();
    (head.status, head.headers, body)
}

async fn ask_text(state: &HttpState, url: &str) -> (StatusCode, String) {
    let (status, _, body) = ask_with(state, url, &[]).await;
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
    let (status, json) = ask(&state, "/eth/v1/beacon/blob_sidecars/21").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(json["version"], "deneb");
    let sidecars = json["data"].as_array().expect("a list");
    assert_eq!(sidecars.len(), 3);
    let (decided, assembly) = state.source.decided_value(Height(7)).expect("held");
    let metadata = &decided.init.metadata;
    for (index, sidecar) in sidecars.iter().enumerate() {
        assert_eq!(sidecar["index"], index.to_string());
        assert_eq!(sidecar["blob"], format!("0x{}", hex::encode(&assembly.blobs[index])));
        assert_eq!(sidecar["kzg_proof"], assembly.lists.proofs[index].to_string());
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
        assert_eq!(header["message"]["slot"], "21");
        assert_eq!(header["message"]["proposer_index"], "3");
        let parent_root = metadata.header.parent_beacon_block_root;
        assert_eq!(header["message"]["parent_root"], parent_root.to_string());
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
    let root = sidecar::header(&metadata, GENESIS_TIME).root();
    let (_, by_slot) = ask(&state, "/eth/v1/beacon/blob_sidecars/15").await;
    assert_eq!(by_slot["data"].as_array().map(Vec::len), Some(1));
    for id in [root, metadata.header.block_hash] {
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/blob_sidecars/{id}")).await;
        assert_eq!((status, &json), (StatusCode::OK, &by_slot), "{id}");
    }
    let (_, head) = ask(&state, "/eth/v1/beacon/blob_sidecars/head").await;
    let (_, finalized) = ask(&state, "/eth/v1/beacon/blob_sidecars/finalized").await;
    assert_eq!(head, finalized);
    assert_eq!(head["data"][0]["signed_block_header"]["message"]["slot"], "21");
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
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/{api}/12")).await;
        assert_eq!((status, &json["data"]), (StatusCode::OK, &Value::Array(Vec::new())));
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/{api}/6")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(json["oldest_height"], "3");
        assert_eq!(json["oldest_slot"], "9");
        assert!(
            json["message"]
                .as_str()
                .is_some_and(|text| text.contains("pruned") && text.contains('3')),
            "{json}"
        );
    }
}

#[tokio::test]
async fn filters_choose_blobs_in_block_order() {
    let state = state(7);
    for query in [
        "indices=2,0",
        "indices=2&indices=0",
        "indices=0%2C2",
        "indices[]=0&indices[]=2",
        "indices=0,2,9",
    ] {
        let (_, json) = ask(&state, &format!("/eth/v1/beacon/blob_sidecars/21?{query}")).await;
        let indices: Vec<&str> = json["data"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|item| item["index"].as_str())
            .collect();
        assert_eq!(indices, ["0", "2"], "{query}");
    }
    let lists = state.source.decided_payload(Height(7)).expect("decided").lists;
    let hash = versioned_hash(&lists.commitments[1]);
    let (_, json) = ask(&state, &format!("/eth/v1/beacon/blobs/21?versioned_hashes={hash}")).await;
    assert_eq!(json["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["data"][0], format!("0x{}", "02".repeat(BLOB_BYTES)));
    let (_, json) = ask(
        &state,
        &format!("/eth/v1/beacon/blobs/21?versioned_hashes={}", Hash([9; 32])),
    )
    .await;
    assert_eq!(json["data"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn a_blob_is_found_by_its_versioned_hash() {
    let state = state(7);
    for height in [2u64, 7] {
        let lists = state.source.decided_payload(Height(height)).expect("decided").lists;
        for (index, commitment) in lists.commitments.iter().enumerate() {
            let hash = versioned_hash(commitment);
            assert_eq!(hash.0[0], 1);
            let (status, json) = ask(&state, &format!("/ultramarine/v1/blobs/{hash}")).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(
                ["height", "slot", "index"].map(|field| json[field].as_u64()),
                [height, slot(height), index as u64].map(Some)
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
    state.board.peer_up(&ultramarine_types::PeerId::ZERO);
    let (status, json) = ask(&state, "/health").await;
    assert_eq!((status, &json["ready"]), (StatusCode::OK, &Value::Bool(true)));
    let (_, json) = ask(&state, "/status").await;
    assert_eq!((json["peers"].as_u64(), json["chain_id"].as_u64()), (Some(1), Some(7)));
}

#[tokio::test]
async fn every_health_check_is_an_answer_whatever_it_says() {
    let state = state(1);
    for url in ["/health", "/eth/v1/node/health"] {
        let request = Request::get(url).body(Body::empty()).expect("a valid request");
        let answer = router(state.clone(), &ServerLimits::default()).call(request).await;
        let answer = answer.expect("routers never fail");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{url}");
        assert!(answer.extensions().get::<metrics::Told>().is_some(), "{url}");
    }
}

#[tokio::test]
async fn blobs_are_optimistic_until_our_client_has_their_block() {
    let state = state(7);
    for url in ["/eth/v1/beacon/blob_sidecars/21", "/eth/v1/beacon/blobs/21"] {
        assert_eq!(ask(&state, url).await.1["execution_optimistic"], true);
    }
    state.board.apply(&Event::Executed { height: Height(7) });
    for url in ["/eth/v1/beacon/blob_sidecars/21", "/eth/v1/beacon/blobs/21"] {
        let (_, json) = ask(&state, url).await;
        assert_eq!(
            (&json["execution_optimistic"], &json["finalized"]),
            (&false.into(), &true.into())
        );
    }
}
