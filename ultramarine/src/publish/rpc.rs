//! This file knows the public JSON-RPC methods that publishing needs.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use ultramarine_types::sidecar::slot_at;

use ultramarine_engine::call::{self, CallError, Code};
use ultramarine_engine::http::HttpClient;

/// Longest wait for one answer: a client that is up answers in milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer: a block without its transactions is far below.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A public JSON-RPC port of an execution client.
#[derive(Debug)]
pub struct Rpc {
    http: HttpClient,
}

/// What a transaction must offer to be included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fees {
    /// Of the newest block, wei.
    pub base_fee: u128,
    /// For the next block, wei.
    pub blob_base_fee: u128,
}

/// Where a transaction is, as far as the client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inclusion {
    /// Nowhere: it never came, or it was dropped.
    Unknown,
    /// In no block yet.
    Pending,
    /// In the block of this number.
    Block(u64),
}

impl Rpc {
    /// A client of `url`.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            http: HttpClient::new(url, ANSWER_BYTES_MAX)?,
        })
    }

    /// The chain id of EIP-155.
    pub async fn chain_id(&self) -> Result<u64> {
        self.quantity("eth_chainId", json!([])).await
    }

    /// The newest block's number.
    pub async fn block_number(&self) -> Result<u64> {
        self.quantity("eth_blockNumber", json!([])).await
    }

    /// Transactions of `account` in blocks.
    pub async fn nonce(&self, account: Address) -> Result<u64> {
        self.quantity("eth_getTransactionCount", json!([account, "latest"]))
            .await
    }

    /// Transactions of `account` in blocks and in the pool, as far as the client counts its pool.
    pub async fn pending_nonce(&self, account: Address) -> Result<u64> {
        self.quantity("eth_getTransactionCount", json!([account, "pending"]))
            .await
    }

    /// What the next block costs.
    pub async fn fees(&self) -> Result<Fees> {
        let block: Value = self.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let base_fee = block["baseFeePerGas"].as_str().map(parse).transpose()?.unwrap_or(0);
        // Old clients do not know this one; a devnet's blobs cost the minimum.
        let blob_base_fee = self.quantity("eth_blobBaseFee", json!([])).await.unwrap_or(1);
        Ok(Fees {
            base_fee: base_fee.into(),
            blob_base_fee: blob_base_fee.into(),
        })
    }

    /// Hands a signed transaction to the pool. `Ok` if it is there now, whether or not it was before.
    pub async fn send(&self, raw: &[u8]) -> Result<(), CallError> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x{}"]}}"#,
            hex::encode(raw)
        );
        let method = "eth_sendRawTransaction";
        let late = CallError::Timeout {
            method,
            after: CALL_TIMEOUT,
        };
        let answer = self.http.post(Bytes::from(body), None);
        let answer = tokio::time::timeout(CALL_TIMEOUT, answer).await.map_err(|_| late)??;
        match call::json_of(answer).and_then(|body| call::read::<B256>(&body)) {
            Ok(_) => Ok(()),
            Err(CallError::Rpc { code, message }) if is_pooled(code, &message) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where a transaction is. Whether it did what it was meant to is not asked: its blobs are in the block all the
    /// same.
    ///
    /// Receipts are looked for only where transactions cannot be. ethrex in memory has them for the first transaction
    /// of a block alone; EthereumJS has neither unless it is started for it.
    pub async fn inclusion(&self, transaction: B256) -> Result<Inclusion> {
        let found = match self
            .call_or_null("eth_getTransactionByHash", json!([transaction]))
            .await
        {
            Ok(Value::Null) => return Ok(Inclusion::Unknown),
            Ok(found) => found,
            Err(error) => {
                let receipt = self.call_or_null("eth_getTransactionReceipt", json!([transaction]));
                receipt.await.map_err(|_| error)?
            }
        };
        match found["blockNumber"].as_str() {
            None => Ok(Inclusion::Pending),
            Some(number) => parse(number).map(Inclusion::Block),
        }
    }

    /// The slot of a block: how many seconds its time is after the genesis block's.
    pub async fn slot(&self, number: u64) -> Result<u64> {
        Ok(slot_at(self.timestamp(number).await?, self.timestamp(0).await?))
    }

    async fn timestamp(&self, number: u64) -> Result<u64> {
        let params = json!([format!("{number:#x}"), false]);
        let block: Value = self.call("eth_getBlockByNumber", params).await?;
        let timestamp = block["timestamp"].as_str();
        parse(timestamp.with_context(|| format!("block {number} has no timestamp"))?)
    }

    async fn quantity(&self, method: &str, params: Value) -> Result<u64> {
        parse(&self.call::<String>(method, params).await?)
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T> {
        self.exchange(method, params)
            .await?
            .ok_or_else(|| anyhow!("{method} answered null"))
    }

    async fn call_or_null(&self, method: &str, params: Value) -> Result<Value> {
        Ok(self.exchange(method, params).await?.unwrap_or(Value::Null))
    }

    async fn exchange<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<Option<T>> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.http.post(Bytes::from(body.to_string()), None);
        let answer = tokio::time::timeout(CALL_TIMEOUT, answer).await.map_err(|_| {
            let (address, limit) = (self.http.authority(), CALL_TIMEOUT.as_secs());
            anyhow!("no answer to {method} from {address} within {limit} s")
        })??;
        let read = call::json_of(answer).and_then(|body| {
            let read: Option<T> = call::read(&body)?;
            Ok(read)
        });
        read.with_context(|| format!("{method} at {}", self.http.authority()))
    }
}

/// Whether an error only says that the transaction is in the pool already.
///
/// EthereumJS pools a blob transaction and then fails to describe it: -32602 about a missing `blobGasPerBlob`.
fn is_pooled(code: Code, message: &str) -> bool {
    let message = message.to_lowercase();
    (code == Code::InvalidParams && message.contains("blobgasperblob"))
        || [
            "already known",
            "already imported",
            "already exists",
            "already pending",
            "already in",
        ]
        .iter()
        .any(|known| message.contains(known))
}

fn parse(text: &str) -> Result<u64> {
    let digits = text
        .strip_prefix("0x")
        .with_context(|| format!("`{text}` is no quantity"))?;
    u64::from_str_radix(digits, 16).with_context(|| format!("`{text}` is no quantity of 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooled_transaction_is_told_from_a_refused_one() {
        assert!(is_pooled(
            Code::InvalidParams,
            "Missing parameter value for blobGasPerBlob"
        ));
        assert!(is_pooled(Code::Server, "Invalid params: transaction already known"));
        assert!(!is_pooled(Code::InvalidParams, "invalid nonce"));
        assert!(!is_pooled(Code::Server, "nonce too low"));
    }

    #[test]
    fn quantities_are_hex() {
        assert_eq!(parse("0x10").expect("hex"), 16);
        assert!(parse("10").is_err() && parse("0x").is_err() && parse("0x10000000000000000").is_err());
    }
}
