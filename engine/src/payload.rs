//! This file knows the canonical bytes of a payload.
//!
//! ```text
//!   version  u8        2
//!   fork     u8        0: Cancun, no requests may follow; 1: Prague
//!   count    u8        requests (0 for Cancun)
//!   request  u32 LE length, then that many bytes (type byte first)     × count
//!   payload  SSZ of ExecutionPayloadV3, to the end
//! ```
//!
//! The bytes come from peers: decoding never panics, and whatever decodes encodes to the same bytes again.

use alloy_consensus::{EthereumTxEnvelope, TxEip4844};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use ssz::{Decode, Encode};
use ultramarine_types::canonical::FORMAT_VERSION;
use ultramarine_types::{Hash, limits};

/// The one layout there is.
const VERSION: u8 = 2;
const _: () = assert!(VERSION as u32 == FORMAT_VERSION, "all formats of ours have one version");
/// Type byte of a transaction with blobs (EIP-4844).
const BLOB_TRANSACTION: u8 = 3;
/// Least gas of a transaction (Yellow Paper, G_transaction): a block's gas bounds how many it can hold.
const TRANSACTION_GAS_MIN: u64 = 21_000;
/// Where SSZ of `ExecutionPayloadV3` keeps the offset of its transactions: after 504 bytes of fixed fields and offsets.
const TRANSACTIONS_AT: usize = 504;
/// Request types are one byte and strictly ascending, so there are never more.
const REQUESTS_MAX: usize = 255;

/// An execution block as the Engine API carries it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The EIP-7685 requests, type byte first; `None` before Prague.
    pub requests: Option<Vec<Bytes>>,
    /// The block itself, with its transactions.
    pub execution: ExecutionPayloadV3,
}

/// Why bytes are no payload.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MalformedPayload {
    /// A length points past the end.
    #[error("payload bytes end inside the {0}")]
    Truncated(&'static str),
    /// Another layout than ours.
    #[error("payload version {0} is unknown")]
    Version(u8),
    /// Neither Cancun nor Prague.
    #[error("payload fork {0} is unknown")]
    Fork(u8),
    /// Cancun has no requests.
    #[error("a Cancun payload carries {0} requests")]
    Requests(u8),
    /// More than any block of ours may have.
    #[error("payload is {0} bytes, above {max}", max = limits::PAYLOAD_BYTES_MAX)]
    Oversize(usize),
    /// More transactions than the block's gas pays for. We would hash each before a client could refuse the block.
    #[error("payload lists {count} transactions; gas of {gas_limit} pays for {}", gas_limit / TRANSACTION_GAS_MIN)]
    Transactions {
        count: usize,
        /// The block's gas limit.
        gas_limit: u64,
    },
    #[error("payload is not SSZ of ExecutionPayloadV3: {0}")]
    Ssz(String),
    /// It decodes, but another encoding is the canonical one.
    #[error("payload bytes are not in their canonical form")]
    NotCanonical,
}

/// A rule that the bytes of a value break. The value id binds the bytes, so the origin proposer is at fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrokenPayload {
    #[error(transparent)]
    Malformed(#[from] MalformedPayload),
    /// Another length, or other chunks than those of the list.
    #[error("the payload's bytes are not those that the value binds")]
    Bytes,
    /// The chunk hashes or the commitments are not those that the metadata binds.
    #[error("the lists are not those that the value binds")]
    Lists,
    /// A header field differs from the metadata.
    #[error("header field {0} differs from the metadata")]
    Header(&'static str),
    /// The header does not hash to the block hash.
    #[error("block hash is {claimed}, the header hashes to {computed}")]
    BlockHash {
        /// What the metadata says.
        claimed: Hash,
        /// keccak-256 of the RLP header.
        computed: Hash,
    },
    /// The execution client does not judge withdrawals, so any withdrawal would mint money.
    #[error("payload has {0} withdrawals; our chains have none")]
    Withdrawals(usize),
    /// Empty, unordered or repeated requests.
    #[error("execution requests are not in strictly ascending order of type with data in each")]
    RequestsOrder,
    /// A transaction that says it carries blobs cannot be read.
    #[error("transaction {0} is no blob transaction although its type says so")]
    Transaction(usize),
    /// Blobs and commitments do not match one to one, in order.
    #[error("versioned hashes of the transactions ({transactions}) are not those of the commitments ({commitments})")]
    VersionedHashes {
        /// How many the transactions name.
        transactions: usize,
        /// How many commitments there are.
        commitments: usize,
    },
}

impl Payload {
    /// Checks its requests as the Engine API does (EIP-7685): none empty, types strictly ascending, so fewer than 256.
    pub fn check_requests(&self) -> Result<(), BrokenPayload> {
        let requests = self.requests.as_deref().unwrap_or_default();
        let has_data = requests.iter().all(|request| request.len() > 1);
        let ascends = requests.windows(2).all(|pair| pair[0].first() < pair[1].first());
        if has_data && ascends {
            Ok(())
        } else {
            Err(BrokenPayload::RequestsOrder)
        }
    }

    /// The canonical bytes.
    ///
    /// # Panics
    ///
    /// If there are more requests than request types exist, or one is longer than 4 GiB.
    pub fn encode(&self) -> bytes::Bytes {
        let requests = self.requests.as_deref().unwrap_or_default();
        let requests_bytes: usize = requests.iter().map(|request| 4 + request.len()).sum();
        let mut bytes = Vec::with_capacity(3 + requests_bytes + self.execution.ssz_bytes_len());
        bytes.push(VERSION);
        bytes.push(u8::from(self.requests.is_some()));
        bytes.push(u8::try_from(requests.len()).expect("request types are one byte and distinct"));
        for request in requests {
            let length = u32::try_from(request.len()).expect("requests are bounded by the block's gas");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(request);
        }
        self.execution.ssz_append(&mut bytes);
        bytes.into()
    }

    /// Reads canonical bytes; anything else is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedPayload> {
        Self::decode_within(bytes, u64::MAX)
    }

    /// Reads canonical bytes of a block with this gas limit. Refuses a list of transactions that the gas cannot pay for
    /// before it looks at any of them.
    pub fn decode_within(bytes: &[u8], gas_limit: u64) -> Result<Self, MalformedPayload> {
        if bytes.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(MalformedPayload::Oversize(bytes.len()));
        }
        let (&[version, fork, count], mut rest) = bytes
            .split_first_chunk::<3>()
            .ok_or(MalformedPayload::Truncated("head"))?;
        if version != VERSION {
            return Err(MalformedPayload::Version(version));
        }
        let requests = match fork {
            0 if count != 0 => return Err(MalformedPayload::Requests(count)),
            0 => None,
            1 => {
                let mut requests = Vec::with_capacity(usize::from(count).min(REQUESTS_MAX));
                for _ in 0..count {
                    let (request, behind) = split_request(rest)?;
                    requests.push(Bytes::copy_from_slice(request));
                    rest = behind;
                }
                Some(requests)
            }
            other => return Err(MalformedPayload::Fork(other)),
        };
        let count = transactions_listed(rest).ok_or(MalformedPayload::Truncated("list of transactions"))?;
        if count as u64 > gas_limit / TRANSACTION_GAS_MIN {
            return Err(MalformedPayload::Transactions { count, gas_limit });
        }
        let execution =
            ExecutionPayloadV3::from_ssz_bytes(rest).map_err(|error| MalformedPayload::Ssz(format!("{error:?}")))?;
        let payload = Self { requests, execution };
        if payload.encode() != bytes {
            return Err(MalformedPayload::NotCanonical);
        }
        Ok(payload)
    }

    /// The transactions, as they stand in the block.
    pub fn transactions(&self) -> &[Bytes] {
        &self.execution.payload_inner.payload_inner.transactions
    }

    /// The versioned hashes that the blob transactions name, in block order.
    pub fn versioned_hashes(&self) -> Result<Vec<B256>, BrokenPayload> {
        Ok(self.hashes_by_transaction()?.concat())
    }

    /// The versioned hashes of each blob transaction, in block order.
    pub fn hashes_by_transaction(&self) -> Result<Vec<Vec<B256>>, BrokenPayload> {
        let mut hashes = Vec::new();
        for (index, transaction) in self.transactions().iter().enumerate() {
            if transaction.first() != Some(&BLOB_TRANSACTION) {
                continue;
            }
            match EthereumTxEnvelope::<TxEip4844>::decode_2718_exact(transaction) {
                Ok(EthereumTxEnvelope::Eip4844(signed)) => {
                    hashes.push(signed.tx().blob_versioned_hashes.clone());
                }
                Ok(_) | Err(_) => return Err(BrokenPayload::Transaction(index)),
            }
        }
        Ok(hashes)
    }
}

/// How many transactions SSZ of an `ExecutionPayloadV3` claims to list. The list begins with one offset for each, and
/// the first offset points behind them all. The decoder checks the claim.
fn transactions_listed(execution: &[u8]) -> Option<usize> {
    let offset = |at: usize| {
        let bytes = execution.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let (from, to) = (offset(TRANSACTIONS_AT)?, offset(TRANSACTIONS_AT + 4)?);
    if from == to { Some(0) } else { Some(offset(from)? / 4) }
}

fn split_request(bytes: &[u8]) -> Result<(&[u8], &[u8]), MalformedPayload> {
    let (length, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(MalformedPayload::Truncated("request's length"))?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| MalformedPayload::Truncated("request"))?;
    rest.split_at_checked(length)
        .ok_or(MalformedPayload::Truncated("request"))
}

#[cfg(test)]
pub mod fixtures;
#[cfg(test)]
mod tests;
