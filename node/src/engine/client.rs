//! This file knows the methods of the Engine API that we call: their parameters, their answers, their metrics.

use std::cell::Cell;
use std::time::Duration;

use alloy_primitives::{B256, Bytes as AlloyBytes};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::json;
use ultramarine_runtime::{Clock, Counter, Histogram, Registry};
use ultramarine_types::assembly::BlobPart;
use ultramarine_types::execution::PayloadStatus;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Address, Hash, KzgCommitment, KzgProof};

use super::call::{self, CallError, bounded};
use super::payload::Payload;
use super::transport::Transport;

/// The methods we call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// What the client can do.
    ExchangeCapabilities,
    /// Head, safe and finalized block; starts a build if attributes are given.
    ForkchoiceUpdatedV3,
    /// The block built, Cancun.
    GetPayloadV3,
    /// The block built, Prague.
    GetPayloadV4,
    /// Execute a block, Cancun.
    NewPayloadV3,
    /// Execute a block, Prague.
    NewPayloadV4,
    /// A block's header.
    GetBlockByNumber,
    /// EIP-155 chain id.
    ChainId,
}

impl Method {
    const ALL: [Self; 8] = [
        Self::ExchangeCapabilities,
        Self::ForkchoiceUpdatedV3,
        Self::GetPayloadV3,
        Self::GetPayloadV4,
        Self::NewPayloadV3,
        Self::NewPayloadV4,
        Self::GetBlockByNumber,
        Self::ChainId,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExchangeCapabilities => "engine_exchangeCapabilities",
            Self::ForkchoiceUpdatedV3 => "engine_forkchoiceUpdatedV3",
            Self::GetPayloadV3 => "engine_getPayloadV3",
            Self::GetPayloadV4 => "engine_getPayloadV4",
            Self::NewPayloadV3 => "engine_newPayloadV3",
            Self::NewPayloadV4 => "engine_newPayloadV4",
            Self::GetBlockByNumber => "eth_getBlockByNumber",
            Self::ChainId => "eth_chainId",
        }
    }
}

/// What a client may be asked to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Unix seconds.
    pub timestamp: u64,
    /// Receives priority fees.
    pub fee_recipient: Address,
    /// The block it is built on, which on our chains is its `parentBeaconBlockRoot` as well.
    pub parent: Hash,
}

/// Answer to a forkchoice update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forkchoice {
    /// What the client says of the head.
    pub status: PayloadStatus,
    /// Names the build that began, if attributes were given and taken.
    pub payload_id: Option<PayloadId>,
}

/// Names a build, opaque.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PayloadId([u8; 8]);

/// Answer to `getPayload`.
#[derive(Clone, Debug)]
pub struct BuiltPayload {
    /// The block.
    pub payload: Payload,
    /// Its blobs in block order, with commitments; proofs not yet verified.
    pub blobs: Vec<(KzgCommitment, BlobPart)>,
}

/// A block as `eth_getBlockByNumber` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockName {
    /// Its hash.
    pub hash: Hash,
    /// Its number.
    pub number: u64,
}

/// One execution client.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    timeout: Duration,
    blobs_max: usize,
    next_id: Cell<u64>,
    clock: Clock,
    latencies: Vec<Histogram>,
    registry: std::sync::Arc<Registry>,
    calls: Vec<Counter>,
}

impl Client {
    /// A client over `transport`. Every call ends within `timeout`; a bundle of more than `blobs_max` blobs is refused.
    pub fn new(
        transport: Transport,
        timeout: Duration,
        blobs_max: usize,
        clock: Clock,
        registry: &std::sync::Arc<Registry>,
    ) -> Self {
        let latency = |method: Method| {
            registry.histogram(
                "ultramarine_engine_call_seconds",
                "Time from a call to the execution client to its answer.",
                &[("method", method.name())],
            )
        };
        let answered = |method: Method| outcome_counter(registry, method, "answered");
        Self {
            transport,
            timeout,
            blobs_max,
            next_id: Cell::new(1),
            clock,
            latencies: Method::ALL.into_iter().map(latency).collect(),
            calls: Method::ALL.into_iter().map(answered).collect(),
            registry: std::sync::Arc::clone(registry),
        }
    }

    /// For messages: where the client is.
    pub fn place(&self) -> String {
        self.transport.place()
    }

    /// Tells the client our methods and learns its own.
    pub async fn exchange_capabilities(&self, ours: &[&str]) -> Result<Vec<String>, CallError> {
        let answer = self.call(Method::ExchangeCapabilities, &(ours,)).await?;
        result(&answer)
    }

    /// The client's chain id.
    pub async fn chain_id(&self) -> Result<u64, CallError> {
        let answer = self.call(Method::ChainId, &[(); 0]).await?;
        quantity(result(&answer)?)
    }

    /// A block by number or tag (`latest`, `earliest`); `None` if the client has none.
    pub async fn block(&self, number: &str) -> Result<Option<BlockName>, CallError> {
        #[derive(Deserialize)]
        struct Block<'a> {
            hash: B256,
            number: &'a str,
        }
        let answer = self.call(Method::GetBlockByNumber, &(number, false)).await?;
        let Some(block) = call::read::<Block<'_>>(&answer)? else {
            return Ok(None);
        };
        Ok(Some(BlockName {
            hash: Hash(block.hash.0),
            number: quantity(block.number)?,
        }))
    }

    /// Makes `head` the head, safe and finalized block, and starts a build on it if attributes are given.
    pub async fn forkchoice_updated(
        &self,
        head: Hash,
        attributes: Option<&Attributes>,
    ) -> Result<Forkchoice, CallError> {
        let state = json!({ "headBlockHash": head, "safeBlockHash": head, "finalizedBlockHash": head });
        let attributes = attributes.map(|attributes| {
            json!({
                "timestamp": format!("{:#x}", attributes.timestamp),
                "prevRandao": prev_randao(),
                "suggestedFeeRecipient": attributes.fee_recipient,
                "withdrawals": [],
                "parentBeaconBlockRoot": attributes.parent,
            })
        });
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            payload_status: WireStatus,
            payload_id: Option<String>,
        }
        let answer = self.call(Method::ForkchoiceUpdatedV3, &(state, attributes)).await?;
        let answer: Answer = result(&answer)?;
        let payload_id = match answer.payload_id {
            None => None,
            Some(text) => Some(PayloadId(fixed(&text, "payloadId")?)),
        };
        Ok(Forkchoice {
            status: answer.payload_status.into(),
            payload_id,
        })
    }

    /// Fetches a build; `prague` chooses V4.
    pub async fn get_payload(&self, id: PayloadId, prague: bool) -> Result<BuiltPayload, CallError> {
        let method = if prague {
            Method::GetPayloadV4
        } else {
            Method::GetPayloadV3
        };
        let answer = self.call(method, &(format!("0x{}", hex::encode(id.0)),)).await?;
        read_built(&answer, prague, self.blobs_max)
    }

    /// Has the client execute a payload that passed [`inspect`](super::payload::inspect).
    pub async fn new_payload(
        &self,
        payload: &Payload,
        versioned_hashes: &[B256],
        parent_beacon_block_root: Hash,
    ) -> Result<PayloadStatus, CallError> {
        let execution = &payload.execution;
        let answer = match &payload.requests {
            None => {
                self.call(
                    Method::NewPayloadV3,
                    &(execution, versioned_hashes, parent_beacon_block_root),
                )
                .await?
            }
            Some(requests) => {
                let parameters = (execution, versioned_hashes, parent_beacon_block_root, requests);
                self.call(Method::NewPayloadV4, &parameters).await?
            }
        };
        result::<WireStatus>(&answer).map(PayloadStatus::from)
    }

    async fn call(&self, method: Method, parameters: &impl Serialize) -> Result<Bytes, CallError> {
        #[derive(Serialize)]
        struct Request<'a, P> {
            jsonrpc: &'static str,
            id: u64,
            method: &'static str,
            params: &'a P,
        }
        let id = self.next_id.replace(self.next_id.get().wrapping_add(1));
        let request = Request {
            jsonrpc: "2.0",
            id,
            method: method.name(),
            params: parameters,
        };
        let body = Bytes::from(serde_json::to_vec(&request).expect("our own types serialise"));
        let started = self.clock.now();
        let exchange = self.transport.exchange(&body);
        let outcome = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Timeout {
                method: method.name(),
                after: self.timeout,
            }),
        };
        match &outcome {
            Ok(_) => {
                self.calls[method as usize].inc();
                self.latencies[method as usize].record(self.clock.now().since(started));
            }
            // Failures are rare enough to look their counter up.
            Err(error) => outcome_counter(&self.registry, method, error.kind()).inc(),
        }
        outcome
    }
}

/// The fixed `prevRandao` of our chains: 1, as no beacon chain gives us randomness.
pub fn prev_randao() -> Hash {
    let mut bytes = [0; 32];
    bytes[31] = 1;
    Hash(bytes)
}

/// Reads the answer to `engine_getPayloadV4`, or V3 before Prague: a JSON-RPC object whose `result` carries up to `blobs_max`
/// blobs in hex. Each hex digit of a blob is read once, into the buffer that the blob then stays in.
pub fn read_built(answer: &[u8], prague: bool, blobs_max: usize) -> Result<BuiltPayload, CallError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        execution_payload: ExecutionPayloadV3,
        #[serde(borrow)]
        blobs_bundle: WireBundle<'a>,
        #[serde(default)]
        execution_requests: Option<Vec<AlloyBytes>>,
    }
    let answer: Answer<'_> = result(answer)?;
    let requests = match (prague, answer.execution_requests) {
        (false, _) => None,
        (true, Some(requests)) => Some(requests),
        (true, None) => return Err(CallError::Answer("executionRequests are missing".to_owned())),
    };
    Ok(BuiltPayload {
        blobs: answer.blobs_bundle.decode(blobs_max)?,
        payload: Payload {
            requests,
            execution: answer.execution_payload,
        },
    })
}

fn outcome_counter(registry: &Registry, method: Method, outcome: &str) -> Counter {
    registry.counter(
        "ultramarine_engine_calls_total",
        "Calls to the execution client, by how they ended.",
        &[("method", method.name()), ("outcome", outcome)],
    )
}

fn result<'de, T: Deserialize<'de>>(answer: &'de [u8]) -> Result<T, CallError> {
    call::read(answer)?.ok_or_else(|| CallError::Answer("the result is null".to_owned()))
}

fn quantity(text: &str) -> Result<u64, CallError> {
    text.strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| CallError::Answer(format!("`{}` is no quantity", bounded(text))))
}

fn fixed<const N: usize>(text: &str, what: &str) -> Result<[u8; N], CallError> {
    let mut bytes = [0; N];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(CallError::Answer(format!("{what} is not {N} bytes of hex: {error}"))),
    }
}

/// `PayloadStatusV1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStatus {
    status: WireStatusWord,
    latest_valid_hash: Option<B256>,
    validation_error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum WireStatusWord {
    Valid,
    Invalid,
    // Only V1 and V2 say this; it is an INVALID with a reason.
    InvalidBlockHash,
    Syncing,
    Accepted,
}

impl From<WireStatus> for PayloadStatus {
    fn from(wire: WireStatus) -> Self {
        let latest = wire.latest_valid_hash.map(|hash| Hash(hash.0));
        let reason = || bounded(wire.validation_error.as_deref().unwrap_or("no reason given"));
        match wire.status {
            WireStatusWord::Valid => Self::Valid { latest },
            WireStatusWord::Invalid => Self::Invalid {
                latest,
                reason: reason(),
            },
            WireStatusWord::InvalidBlockHash => Self::Invalid {
                latest,
                reason: format!("block hash: {}", reason()),
            },
            WireStatusWord::Syncing => Self::Syncing,
            WireStatusWord::Accepted => Self::Accepted,
        }
    }
}

/// `BlobsBundleV1`, still in hex and still in the answer's bytes.
#[derive(Deserialize)]
struct WireBundle<'a> {
    #[serde(borrow)]
    commitments: Vec<&'a str>,
    #[serde(borrow)]
    proofs: Vec<&'a str>,
    #[serde(borrow)]
    blobs: Vec<&'a str>,
}

impl WireBundle<'_> {
    /// Decodes all hex; every blob is a slice of one buffer, written once.
    fn decode(&self, blobs_max: usize) -> Result<Vec<(KzgCommitment, BlobPart)>, CallError> {
        let count = self.blobs.len();
        if self.commitments.len() != count || self.proofs.len() != count {
            let (commitments, proofs) = (self.commitments.len(), self.proofs.len());
            return Err(CallError::Answer(format!(
                "{count} blobs, {commitments} commitments, {proofs} proofs"
            )));
        }
        if count > blobs_max {
            return Err(CallError::Answer(format!(
                "{count} blobs, above this chain's {blobs_max}"
            )));
        }
        let mut buffer = BytesMut::zeroed(count * BLOB_BYTES);
        for (blob, room) in self.blobs.iter().zip(buffer.chunks_exact_mut(BLOB_BYTES)) {
            hex::decode_to_slice(blob, room)
                .map_err(|error| CallError::Answer(format!("a blob is not {BLOB_BYTES} bytes of hex: {error}")))?;
        }
        let mut buffer = buffer.freeze();
        let mut blobs = Vec::with_capacity(count);
        for (commitment, proof) in self.commitments.iter().zip(&self.proofs) {
            let part = BlobPart {
                blob: buffer.split_to(BLOB_BYTES),
                proofs: vec![KzgProof(fixed(proof, "a proof")?)],
            };
            blobs.push((KzgCommitment(fixed(commitment, "a commitment")?), part));
        }
        Ok(blobs)
    }
}

#[cfg(test)]
mod tests {
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
                commitments,
                proofs,
                blobs,
            };
            bundle
                .decode(2)
                .map(|blobs| blobs.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(bundle(vec![&point; 2], vec![&point; 2], vec![&blob; 2]), Ok(2));
        assert_eq!(bundle(vec![], vec![], vec![]), Ok(0));
        assert!(
            bundle(vec![&point], vec![&point; 2], vec![&blob; 2]).is_err_and(|error| error.contains("1 commitments"))
        );
        assert!(bundle(vec![&point; 3], vec![&point; 3], vec![&blob; 3]).is_err_and(|error| error.contains("above")));
        assert!(bundle(vec![&point], vec![&point], vec![&blob[..100]]).is_err());
        assert!(bundle(vec!["0xzz"], vec![&point], vec![&blob]).is_err());
    }

    #[test]
    fn each_method_has_its_own_series() {
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, index, "{}", method.name());
        }
    }
}
