//! This file knows the methods of the Engine API that we call: their parameters, their answers, their metrics.

use std::cell::Cell;
use std::time::Duration;

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{B256, Bloom, Bytes as AlloyBytes, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::json;
use ultramarine_runtime::{Clock, Counter, Histogram, Registry};
use ultramarine_types::execution::PayloadStatus;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Address, Hash, KzgCommitment, KzgProof, Stage};

use crate::call::{self, CallError};
use crate::client_time;
use crate::foreign::bounded;
use crate::payload::Payload;
use crate::transport::Transport;
use crate::waiting::{SLOW, Waiting};

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
    GetBlockByNumber,
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

/// The block that a client is asked to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Unix time, in seconds.
    pub timestamp: u64,
    pub fee_recipient: Address,
    /// Root of the parent's sidecar header (EIP-4788); zero on genesis.
    pub parent_beacon_block_root: Hash,
}

/// The answer to a forkchoice update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forkchoice {
    /// What the client says of the head.
    pub status: PayloadStatus,
    /// Names the build that began, if attributes were given and taken.
    pub payload_id: Option<PayloadId>,
}

/// Names a build: eight bytes in hex, which some clients write as a number. We send it back as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PayloadId(String);

impl PayloadId {
    fn read(text: String) -> Result<Self, CallError> {
        let digits = text.strip_prefix("0x").unwrap_or_default();
        let fits = (1..=16).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match fits {
            true => Ok(Self(text)),
            false => Err(CallError::Answer(format!(
                "payloadId is `{}`, not 8 bytes of hex",
                bounded(&text)
            ))),
        }
    }
}

/// The answer to `getPayload`.
#[derive(Clone, Debug)]
pub struct BuiltPayload {
    pub payload: Payload,
    pub bundle: Bundle,
}

/// Proofs of a blob with cell proofs: `CELLS_PER_EXT_BLOB` of EIP-7594.
pub const CELL_PROOFS: usize = 128;

/// The blobs of a built block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// In block order, with their commitments.
    pub blobs: Vec<(KzgCommitment, Bytes)>,
    /// Proofs as they came, none verified: one for each blob, or 128 cell proofs of it (EIP-7594), or both kinds mixed.
    pub proofs: Vec<KzgProof>,
}

/// A block as `eth_getBlockByNumber` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockName {
    pub hash: Hash,
    pub number: u64,
}

/// Calls the methods of one execution client.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    timeout: Duration,
    blobs_max: usize,
    waiting: Waiting,
    next_id: Cell<u64>,
    clock: Clock,
    latencies: Vec<Histogram>,
    registry: std::sync::Arc<Registry>,
    calls: Vec<Counter>,
}

impl Client {
    /// A client over `transport`. Every call ends within `timeout`, and `waiting` shows it meanwhile. A bundle of more
    /// than `blobs_max` blobs is refused.
    pub fn new(
        transport: Transport,
        timeout: Duration,
        blobs_max: usize,
        waiting: Waiting,
        clock: Clock,
        registry: &std::sync::Arc<Registry>,
    ) -> Self {
        let latency = |method: Method| call_time(registry, method);
        let answered = |method: Method| outcome_counter(registry, method, "answered");
        Self {
            transport,
            timeout,
            blobs_max,
            waiting,
            next_id: Cell::new(1),
            clock,
            latencies: Method::ALL.into_iter().map(latency).collect(),
            calls: Method::ALL.into_iter().map(answered).collect(),
            registry: std::sync::Arc::clone(registry),
        }
    }

    /// Where the client is, for messages.
    pub fn address(&self) -> String {
        self.transport.address()
    }

    /// Longest time a call may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
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
                "parentBeaconBlockRoot": attributes.parent_beacon_block_root,
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
        Ok(Forkchoice {
            status: answer.payload_status.into(),
            payload_id: answer.payload_id.map(PayloadId::read).transpose()?,
        })
    }

    /// Fetches a build; `prague` chooses V4.
    pub async fn get_payload(&self, id: &PayloadId, prague: bool) -> Result<BuiltPayload, CallError> {
        let method = if prague {
            Method::GetPayloadV4
        } else {
            Method::GetPayloadV3
        };
        let answer = self.call(method, &(&id.0,)).await?;
        read_built(&answer, prague, self.blobs_max)
    }

    /// Asks the client to execute a payload that passed [`inspect`](crate::inspect::inspect).
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
        let outcome = self.within_the_time(method, &body).await;
        client_time::add(self.clock.now().since(started));
        match &outcome {
            Ok(_) => {
                self.calls[method as usize].inc();
                self.latencies[method as usize].record(self.clock.now().since(started));
            }
            // Failures are rare, so we can afford to look their counter up.
            Err(error) => outcome_counter(&self.registry, method, error.kind()).inc(),
        }
        outcome
    }

    /// Makes an exchange. If it takes long, the log names the call, at doubling intervals.
    async fn within_the_time(&self, method: Method, body: &Bytes) -> Result<Bytes, CallError> {
        let (method, started) = (method.name(), tokio::time::Instant::now());
        let shown = self.waiting.begin(method);
        let mut exchange = std::pin::pin!(self.transport.exchange(body));
        let mut look = SLOW.min(self.timeout);
        loop {
            match tokio::time::timeout_at(started + look, &mut exchange).await {
                Ok(outcome) => return outcome,
                Err(_) if look >= self.timeout => {
                    shown.give_up();
                    return Err(CallError::Timeout {
                        method,
                        after: self.timeout,
                    });
                }
                Err(_) => tracing::warn!(
                    "the execution client at {} has not answered {method} for {} s; it may take {} s",
                    self.transport.address(),
                    look.as_secs(),
                    self.timeout.as_secs()
                ),
            }
            look = (look * 2).min(self.timeout);
        }
    }
}

/// The fixed `prevRandao` of our chains: 1, as no beacon chain gives us randomness.
pub fn prev_randao() -> Hash {
    let mut bytes = [0; 32];
    bytes[31] = 1;
    Hash(bytes)
}

/// Reads the answer to `engine_getPayloadV4`, or V3 before Prague: a JSON-RPC object whose `result` carries up to
/// `blobs_max` blobs in hex. Each hex digit of a blob is read once, into the buffer that the blob then stays in.
pub fn read_built(answer: &[u8], prague: bool, blobs_max: usize) -> Result<BuiltPayload, CallError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        #[serde(borrow)]
        execution_payload: WirePayload<'a>,
        // Clients write an empty list, `null` or nothing where they have nothing to list. If one leaves something out
        // wrongly, the block's hash or the blobs' versioned hashes show it.
        #[serde(borrow, default)]
        blobs_bundle: Option<WireBundle<'a>>,
        #[serde(default)]
        execution_requests: Option<Vec<AlloyBytes>>,
    }
    let answer: Answer<'_> = result(answer)?;
    Ok(BuiltPayload {
        bundle: answer.blobs_bundle.unwrap_or_default().decode(blobs_max)?,
        payload: Payload {
            requests: prague.then(|| answer.execution_requests.unwrap_or_default()),
            execution: answer.execution_payload.read()?,
        },
    })
}

/// Registers every series that the driver of the execution client writes.
pub fn register_metrics(registry: &Registry) {
    for method in Method::ALL {
        call_time(registry, method);
        outcome_counter(registry, method, "answered");
    }
    client_time::share(registry, Stage::Build);
}

fn call_time(registry: &Registry, method: Method) -> Histogram {
    registry.histogram(
        "ultramarine_engine_call_seconds",
        "Time from a call to the execution client to its answer.",
        &[("method", method.name())],
    )
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

/// `PayloadStatusV1` of the Engine API.
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
    // Only V1 and V2 say this. It is an INVALID with a reason.
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

/// `ExecutionPayloadV3` of the Engine API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePayload<'a> {
    parent_hash: B256,
    fee_recipient: alloy_primitives::Address,
    state_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    prev_randao: B256,
    block_number: &'a str,
    gas_limit: &'a str,
    gas_used: &'a str,
    timestamp: &'a str,
    extra_data: AlloyBytes,
    base_fee_per_gas: U256,
    block_hash: B256,
    #[serde(default)]
    transactions: Option<Vec<AlloyBytes>>,
    #[serde(default)]
    withdrawals: Option<Vec<Withdrawal>>,
    blob_gas_used: &'a str,
    excess_blob_gas: &'a str,
}

impl WirePayload<'_> {
    fn read(self) -> Result<ExecutionPayloadV3, CallError> {
        Ok(ExecutionPayloadV3 {
            blob_gas_used: quantity(self.blob_gas_used)?,
            excess_blob_gas: quantity(self.excess_blob_gas)?,
            payload_inner: ExecutionPayloadV2 {
                withdrawals: self.withdrawals.unwrap_or_default(),
                payload_inner: ExecutionPayloadV1 {
                    parent_hash: self.parent_hash,
                    fee_recipient: self.fee_recipient,
                    state_root: self.state_root,
                    receipts_root: self.receipts_root,
                    logs_bloom: self.logs_bloom,
                    prev_randao: self.prev_randao,
                    block_number: quantity(self.block_number)?,
                    gas_limit: quantity(self.gas_limit)?,
                    gas_used: quantity(self.gas_used)?,
                    timestamp: quantity(self.timestamp)?,
                    extra_data: self.extra_data,
                    base_fee_per_gas: self.base_fee_per_gas,
                    block_hash: self.block_hash,
                    transactions: self.transactions.unwrap_or_default(),
                },
            },
        })
    }
}

/// `BlobsBundleV1`, still in hex and still in the answer's bytes.
#[derive(Default, Deserialize)]
struct WireBundle<'a> {
    #[serde(borrow, default)]
    commitments: Option<Vec<&'a str>>,
    #[serde(borrow, default)]
    proofs: Option<Vec<&'a str>>,
    #[serde(borrow, default)]
    blobs: Option<Vec<&'a str>>,
}

impl WireBundle<'_> {
    /// Decodes all hex. Every blob is a slice of one buffer, which is written once.
    fn decode(self, blobs_max: usize) -> Result<Bundle, CallError> {
        let (commitments, proofs, blobs) = (
            self.commitments.unwrap_or_default(),
            self.proofs.unwrap_or_default(),
            self.blobs.unwrap_or_default(),
        );
        let count = blobs.len();
        if count > blobs_max {
            return Err(CallError::Answer(format!(
                "{count} blobs, above this chain's {blobs_max}"
            )));
        }
        if commitments.len() != count || proofs.len() > count * CELL_PROOFS {
            let (commitments, proofs) = (commitments.len(), proofs.len());
            return Err(CallError::Answer(format!(
                "{count} blobs, {commitments} commitments, {proofs} proofs"
            )));
        }
        let mut buffer = BytesMut::zeroed(count * BLOB_BYTES);
        for (blob, room) in blobs.iter().zip(buffer.chunks_exact_mut(BLOB_BYTES)) {
            hex::decode_to_slice(blob, room)
                .map_err(|error| CallError::Answer(format!("a blob is not {BLOB_BYTES} bytes of hex: {error}")))?;
        }
        let mut buffer = buffer.freeze();
        let blob = |commitment: &&str| {
            let commitment = KzgCommitment(fixed(commitment, "a commitment")?);
            Ok((commitment, buffer.split_to(BLOB_BYTES)))
        };
        let blobs: Result<Vec<_>, CallError> = commitments.iter().map(blob).collect();
        let proof = |proof: &&str| Ok(KzgProof(fixed(proof, "a proof")?));
        let proofs: Result<Vec<_>, CallError> = proofs.iter().map(proof).collect();
        Ok(Bundle {
            blobs: blobs?,
            proofs: proofs?,
        })
    }
}

#[cfg(test)]
mod tests;
