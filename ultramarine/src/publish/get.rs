//! This file knows how to restore a file from any node, trusting nothing it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_primitives::B256;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use ultramarine_engine::foreign::{bounded, quoted};
use ultramarine_engine::http::{HttpAnswer, HttpClient};
use ultramarine_types::limits::{BLOB_BYTES, BLOBS_PER_BLOCK_MAX};

use super::encode::decode;
use super::prove;
use super::put::DecidedBlock;

/// Largest answer: every blob of the largest block in hex.
const ANSWER_BYTES_MAX: usize = BLOBS_PER_BLOCK_MAX as usize * (2 * BLOB_BYTES + 4096);
/// Blobs asked for at one time, so that an answer stays below some tens of megabytes and the URL below what a node
/// reads.
const BLOBS_AT_ONCE: usize = 64;

/// Longest wait for one answer: some tens of megabytes from a machine that is busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What to restore, and from whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GetOptions {
    /// HTTP of a node, `http://host:port`.
    pub node: String,
    /// The blobs, in any order.
    pub blobs: Vec<BlobName>,
}

/// A blob as it is asked for: `HASH`, or `HASH@HEIGHT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobName {
    pub versioned_hash: B256,
    /// Its block; `None`: the node is asked, which knows those of recent blocks.
    pub height: Option<u64>,
}

impl FromStr for BlobName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (hash, height) = match text.split_once('@') {
            Some((hash, height)) => (hash, Some(height)),
            None => (text, None),
        };
        let expected = || "expected a versioned hash (0x and 64 hex digits), alone or as HASH@HEIGHT".to_owned();
        Ok(Self {
            versioned_hash: hash.parse().map_err(|_| expected())?,
            height: height.map(str::parse).transpose().map_err(|_| expected())?,
        })
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.versioned_hash)?;
        self.height.map_or(Ok(()), |height| write!(f, "@{height}"))
    }
}

#[derive(Deserialize)]
struct Blobs {
    /// Distinct ones: a block may carry one blob twice.
    #[serde(deserialize_with = "distinct")]
    data: BTreeSet<Bytes>,
}

/// Reads blobs one by one, so that what is kept is bounded by what was asked for.
fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Bytes>, D::Error> {
    struct Distinct;

    impl<'de> Visitor<'de> for Distinct {
        type Value = BTreeSet<Bytes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {BLOBS_AT_ONCE} distinct blobs")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut blobs = BTreeSet::new();
            while let Some(text) = list.next_element::<&str>()? {
                let mut blob = vec![0; BLOB_BYTES];
                hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut blob)
                    .map_err(|_| A::Error::custom("a blob is not 131072 bytes of hex"))?;
                blobs.insert(Bytes::from(blob));
                if blobs.len() > BLOBS_AT_ONCE {
                    return Err(A::Error::custom("it has more blobs than were asked for"));
                }
            }
            Ok(blobs)
        }
    }

    deserializer.deserialize_seq(Distinct)
}

/// Restores the file whose blobs have these names, and tells how many of them are here.
pub async fn get(options: &GetOptions, mut fetched: impl FnMut(u64, u64)) -> Result<Vec<u8>> {
    ensure!(!options.blobs.is_empty(), "no versioned hash was given");
    let node = HttpClient::new(&options.node, ANSWER_BYTES_MAX)?;
    let mut known: BTreeMap<u64, DecidedBlock> = BTreeMap::new();
    let mut wanted: BTreeMap<DecidedBlock, BTreeSet<B256>> = BTreeMap::new();
    for name in &options.blobs {
        let block = match name.height {
            None => locate(&node, &name.versioned_hash).await?,
            Some(height) => match known.get(&height) {
                Some(block) => *block,
                None => block_at(&node, height).await?,
            },
        };
        known.insert(block.height, block);
        wanted.entry(block).or_default().insert(name.versioned_hash);
    }
    let mut blobs = Vec::with_capacity(options.blobs.len());
    let total = wanted.values().map(BTreeSet::len).sum::<usize>() as u64;
    fetched(0, total);
    for (block, hashes) in &wanted {
        let hashes: Vec<B256> = hashes.iter().copied().collect();
        for hashes in hashes.chunks(BLOBS_AT_ONCE) {
            blobs.extend(fetch(&node, *block, hashes).await?);
            fetched(blobs.len() as u64, total);
        }
    }
    // A commitment takes tens of milliseconds: not on this reactor.
    let wanted = wanted.into_values().flatten().collect();
    let file = tokio::task::spawn_blocking(move || restore(blobs, wanted))
        .await
        .context("checking the blobs panicked")??;
    Ok(file)
}

async fn ask(node: &HttpClient, path: &str) -> Result<HttpAnswer> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, node.get(path)).await;
    let late = || {
        let limit = ANSWER_TIMEOUT.as_secs();
        format!("no answer to {path} from {} within {limit} s", node.authority())
    };
    Ok(answer.with_context(late)??)
}

/// The block of a recent blob.
async fn locate(node: &HttpClient, hash: &B256) -> Result<DecidedBlock> {
    let answer = ask(node, &format!("/ultramarine/v1/blobs/{hash}")).await?;
    read(&answer).with_context(|| format!("looking for blob {hash} at {}", node.authority()))
}

/// The block of a height: the Beacon API wants its slot.
async fn block_at(node: &HttpClient, height: u64) -> Result<DecidedBlock> {
    let answer = ask(node, &format!("/ultramarine/v1/value/{height}")).await?;
    read(&answer).with_context(|| format!("looking for height {height} at {}", node.authority()))
}

/// What the node says are the blobs of a block that have these names: as many.
async fn fetch(node: &HttpClient, block: DecidedBlock, hashes: &[B256]) -> Result<BTreeSet<Bytes>> {
    let DecidedBlock { height, slot } = block;
    let list: Vec<String> = hashes.iter().map(B256::to_string).collect();
    let path = format!("/eth/v1/beacon/blobs/{slot}?versioned_hashes={}", list.join(","));
    let answer = ask(node, &path).await?;
    let blobs: Blobs = read(&answer).with_context(|| {
        format!(
            "fetching blobs of height {height} (slot {slot}) from {}",
            node.authority()
        )
    })?;
    ensure!(
        blobs.data.len() == hashes.len(),
        "{} has {} blobs for the {} asked for of height {height}; the first is {}. Take names and heights from the \
         `get` \
         command that `blob put` ends with, or ask another node",
        node.authority(),
        blobs.data.len(),
        hashes.len(),
        hashes[0]
    );
    Ok(blobs.data)
}

/// The file of those blobs that were asked for. What names a blob is its own bytes, whatever the node says of it.
fn restore(blobs: Vec<Bytes>, mut wanted: BTreeSet<B256>) -> Result<Vec<u8>> {
    let mut found = Vec::with_capacity(wanted.len());
    for blob in blobs {
        if wanted.remove(&kzg_to_versioned_hash(&prove::commitment(&blob)?.0)) {
            found.push(blob);
        }
    }
    if let Some(missing) = wanted.first() {
        bail!("the node served other bytes than those of blob {missing}; ask another node");
    }
    Ok(decode(&found)?)
}

/// What a node answers where it refuses.
#[derive(Deserialize)]
struct NodeRefusal {
    message: String,
}

/// For whoever asks something else than a node.
const NO_NODE: &str = "no node answers so. Give the HTTP address of a node, http.listen in its config.toml; its \
     execution client listens on others";

fn read<T: serde::de::DeserializeOwned>(answer: &HttpAnswer) -> Result<T> {
    let HttpAnswer { status, body, .. } = answer;
    if *status == StatusCode::OK {
        let is_object = body.trim_ascii_start().starts_with(b"{");
        ensure!(is_object, "HTTP {status} with {}: {NO_NODE}", quoted(body));
        return Ok(serde_json::from_slice(body)?);
    }
    match serde_json::from_slice::<NodeRefusal>(body) {
        Ok(refusal) => bail!("HTTP {status}: {}", bounded(&refusal.message)),
        Err(_) => bail!("HTTP {status} with {}: {NO_NODE}", quoted(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_blobs(blobs: &[String]) -> Result<Blobs> {
        let body = serde_json::json!({ "data": blobs }).to_string();
        Ok(serde_json::from_str(&body)?)
    }

    fn blob(number: usize) -> String {
        format!("0x{number:04x}{}", "0".repeat(2 * BLOB_BYTES - 4))
    }

    #[test]
    fn a_refusal_of_a_node_is_told_from_what_no_node_answers() {
        let said = |status, body: &str| {
            let answer = HttpAnswer {
                status,
                location: None,
                body: Bytes::copy_from_slice(body.as_bytes()),
            };
            read::<DecidedBlock>(&answer).err().map(|error| error.to_string())
        };
        let refusal = said(StatusCode::NOT_FOUND, r#"{"code": 404, "message": "no such blob"}"#);
        assert_eq!(refusal.expect("refused"), "HTTP 404 Not Found: no such blob");
        for (status, body, part) in [
            (StatusCode::NOT_FOUND, "", "404 Not Found with an empty body"),
            (StatusCode::METHOD_NOT_ALLOWED, "<html>\n", "with `<html>`"),
            (StatusCode::BAD_REQUEST, r#"{"jsonrpc": "2.0"}"#, "jsonrpc"),
            (StatusCode::OK, "", "200 OK with an empty body"),
        ] {
            let said = said(status, body).expect("no node");
            assert!(said.contains(part) && said.contains("http.listen"), "{said}");
        }
        assert_eq!(said(StatusCode::OK, r#"{"height": 7, "slot": 9}"#), None);
    }

    #[test]
    fn an_answer_keeps_no_more_blobs_than_can_be_asked_for() {
        let mut blobs: Vec<String> = (0..BLOBS_AT_ONCE).map(blob).collect();
        blobs.push(blob(0));
        assert_eq!(read_blobs(&blobs).expect("one comes twice").data.len(), BLOBS_AT_ONCE);
        blobs.push(blob(BLOBS_AT_ONCE));
        let error = read_blobs(&blobs).err().expect("one too many").to_string();
        assert!(error.contains("more blobs than were asked for"), "{error}");
        for short in ["", "0x00"] {
            let error = read_blobs(&[short.to_owned()]).err().expect("no blob").to_string();
            assert!(error.contains("131072 bytes"), "{error}");
        }
    }
}
