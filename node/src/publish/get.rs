//! This file knows how to restore a file from any node, trusting nothing it says.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_primitives::B256;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use ultramarine_types::KzgCommitment;
use ultramarine_types::limits::{BLOB_BYTES, BLOBS_PER_BLOCK_MAX};

use super::encode::decode;
use super::prove;
use crate::engine::http::{Answer, HttpClient};

/// Largest answer: every sidecar of the largest block in hex, with two kilobytes of proofs and header each.
const ANSWER_BYTES_MAX: usize = BLOBS_PER_BLOCK_MAX as usize * (2 * BLOB_BYTES + 4096);
/// Sidecars asked for at one time, so that an answer stays below some tens of megabytes.
const SIDECARS_AT_ONCE: usize = 64;

/// Longest wait for one answer: some tens of megabytes from a machine that is busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What to restore, and from whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GetOptions {
    /// HTTP of a node, `http://host:port`.
    pub node: String,
    /// Names of the blobs, in any order.
    pub versioned_hashes: Vec<B256>,
}

/// Where a blob is.
#[derive(Clone, Copy, Deserialize)]
struct Place {
    height: u64,
    index: u64,
}

#[derive(Deserialize)]
struct Sidecars {
    data: Vec<Sidecar>,
}

#[derive(Deserialize)]
struct Sidecar {
    index: String,
    blob: String,
    kzg_commitment: String,
}

/// Restores the file whose blobs have these names.
pub async fn get(options: &GetOptions) -> Result<Vec<u8>> {
    ensure!(!options.versioned_hashes.is_empty(), "no versioned hash was given");
    let node = HttpClient::new(&options.node, ANSWER_BYTES_MAX)?;
    let mut wanted: BTreeMap<u64, BTreeMap<u64, B256>> = BTreeMap::new();
    for hash in &options.versioned_hashes {
        let place = locate(&node, hash).await?;
        wanted.entry(place.height).or_default().insert(place.index, *hash);
    }
    let mut blobs = Vec::with_capacity(options.versioned_hashes.len());
    for (height, hashes) in &wanted {
        let indices: Vec<u64> = hashes.keys().copied().collect();
        for indices in indices.chunks(SIDECARS_AT_ONCE) {
            blobs.extend(fetch(&node, *height, indices, hashes).await?);
        }
    }
    // A commitment takes tens of milliseconds: not on this reactor.
    let file = tokio::task::spawn_blocking(move || restore(&blobs))
        .await
        .context("checking the blobs panicked")??;
    Ok(file)
}

async fn ask(node: &HttpClient, path: &str) -> Result<Answer> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, node.get(path)).await;
    let late = || {
        let limit = ANSWER_TIMEOUT.as_secs();
        format!("no answer to {path} from {} within {limit} s", node.authority())
    };
    Ok(answer.with_context(late)??)
}

async fn locate(node: &HttpClient, hash: &B256) -> Result<Place> {
    let answer = ask(node, &format!("/ultramarine/v1/blobs/{hash}")).await?;
    read(&answer).with_context(|| format!("looking for blob {hash} at {}", node.authority()))
}

/// Blobs with the commitments they came with, which have the names asked for.
async fn fetch(
    node: &HttpClient,
    height: u64,
    indices: &[u64],
    hashes: &BTreeMap<u64, B256>,
) -> Result<Vec<(Bytes, KzgCommitment)>> {
    let list: Vec<String> = indices.iter().map(u64::to_string).collect();
    let path = format!("/eth/v1/beacon/blob_sidecars/{height}?indices={}", list.join(","));
    let answer = ask(node, &path).await?;
    let sidecars: Sidecars =
        read(&answer).with_context(|| format!("fetching sidecars of height {height} from {}", node.authority()))?;
    ensure!(
        sidecars.data.len() == indices.len(),
        "asked for {} sidecars, got {}",
        indices.len(),
        sidecars.data.len()
    );
    let mut blobs = Vec::with_capacity(indices.len());
    for sidecar in &sidecars.data {
        let index: u64 = sidecar.index.parse().context("a sidecar's index is no number")?;
        let expected = hashes
            .get(&index)
            .with_context(|| format!("sidecar {index} was not asked for"))?;
        let mut commitment = [0; 48];
        hex::decode_to_slice(&sidecar.kzg_commitment, &mut commitment)
            .context("a commitment is not 48 bytes of hex")?;
        ensure!(
            kzg_to_versioned_hash(&commitment) == *expected,
            "sidecar {index} has another commitment than {expected}"
        );
        let mut blob = vec![0; BLOB_BYTES];
        hex::decode_to_slice(&sidecar.blob, &mut blob).context("a blob is not 131072 bytes of hex")?;
        blobs.push((Bytes::from(blob), KzgCommitment(commitment)));
    }
    Ok(blobs)
}

fn restore(blobs: &[(Bytes, KzgCommitment)]) -> Result<Vec<u8>> {
    for (blob, claimed) in blobs {
        ensure!(
            prove::commitment(blob)? == *claimed,
            "a blob is not the one its commitment names"
        );
    }
    let blobs: Vec<Bytes> = blobs.iter().map(|(blob, _)| blob.clone()).collect();
    Ok(decode(&blobs)?)
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T> {
    if answer.status != StatusCode::OK {
        let text = String::from_utf8_lossy(&answer.body);
        bail!("HTTP {}: {}", answer.status, crate::engine::call::bounded(&text));
    }
    Ok(serde_json::from_slice(&answer.body)?)
}
