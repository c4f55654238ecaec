//! This file knows the execution genesis: how to write one that all clients read alike, and which block it stands for.
//!
//! Clients hash the genesis block themselves. We compute the hash without a client, so that a node can compare before
//! it sends a word.

use std::collections::BTreeMap;

use alloy_consensus::constants::{EMPTY_WITHDRAWALS, KECCAK_EMPTY};
use alloy_consensus::proofs::{state_root_unhashed, storage_root_unhashed};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, TrieAccount};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, B64, B256, Bytes, U256, keccak256};
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};
use ultramarine_types::Hash;

/// Funded accounts on top of the validators', for experiments.
const SPARE_ACCOUNTS: usize = 4;
/// Enough for any devnet: a billion ether each.
const FUNDS: &str = "0x33b2e3c9fd0803ce8000000";
/// Base fee of the first block: one gwei. While blocks stay below half full, it falls to 7 wei.
const BASE_FEE: u64 = 1_000_000_000;
/// How fast the blob base fee moves (EIP-4844's constant). It never moves while the target equals the maximum.
const BLOB_FEE_FRACTION: u64 = 3_338_477;

/// Characters of a wrong value that are shown.
const FOUND_CHARS_MAX: usize = 80;

/// What a new chain's execution genesis depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenesisOptions {
    pub chain_id: u64,
    /// The chain's blob limit: both maximum and target, so that full blocks do not raise the price.
    pub blobs_per_block: u32,
    /// Gas limit of the first block.
    pub gas_limit: u64,
    /// Unix time of the genesis block, in seconds.
    pub genesis_time: u64,
    /// Unix time in seconds from which Prague holds; `None`: Cancun for ever.
    pub prague_time: Option<u64>,
    /// Funded accounts: one per validator. [`dev_account`] gives their keys; a few spare ones follow.
    pub accounts: usize,
}

/// A field of the execution genesis that we cannot use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {found}; expected {expected}")]
pub struct FieldError {
    /// Path within the file.
    pub field: String,
    pub found: String,
    pub expected: &'static str,
}

/// A geth-style genesis: Shanghai and Cancun from the first block, Prague if asked for.
pub fn execution_genesis(options: &GenesisOptions) -> Value {
    let schedule = json!({
        "target": options.blobs_per_block,
        "max": options.blobs_per_block,
        "baseFeeUpdateFraction": BLOB_FEE_FRACTION,
    });
    let mut config = json!({
        "chainId": options.chain_id,
        "homesteadBlock": 0,
        "eip150Block": 0,
        "eip155Block": 0,
        "eip158Block": 0,
        "byzantiumBlock": 0,
        "constantinopleBlock": 0,
        "petersburgBlock": 0,
        "istanbulBlock": 0,
        "berlinBlock": 0,
        "londonBlock": 0,
        "mergeNetsplitBlock": 0,
        "terminalTotalDifficulty": 0,
        "terminalTotalDifficultyPassed": true,
        "shanghaiTime": 0,
        "cancunTime": 0,
        "depositContractAddress": Address::ZERO,
        "blobSchedule": { "cancun": schedule, "prague": schedule },
    });
    if let Some(time) = options.prague_time {
        config["pragueTime"] = time.into();
    }
    json!({
        "config": config,
        "nonce": "0x0",
        "timestamp": format!("{:#x}", options.genesis_time),
        "extraData": "0x",
        "gasLimit": format!("{:#x}", options.gas_limit),
        "difficulty": "0x0",
        "mixHash": B256::ZERO,
        "coinbase": Address::ZERO,
        "number": "0x0",
        "gasUsed": "0x0",
        "parentHash": B256::ZERO,
        "baseFeePerGas": format!("{BASE_FEE:#x}"),
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "alloc": allocations(options),
    })
}

fn allocations(options: &GenesisOptions) -> BTreeMap<Address, Value> {
    let mut alloc = BTreeMap::new();
    // Cancun's contract is needed from the first block on, Prague's from its own time on. All are harmless before.
    for (address, code) in [
        (eip4788::BEACON_ROOTS_ADDRESS, &eip4788::BEACON_ROOTS_CODE),
        (eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE),
        (
            eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE,
        ),
        (
            eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE,
        ),
    ] {
        alloc.insert(address, json!({ "balance": "0x0", "nonce": "0x1", "code": code }));
    }
    for index in 0..options.accounts + SPARE_ACCOUNTS {
        alloc.insert(dev_account(index).address(), json!({ "balance": FUNDS }));
    }
    alloc
}

/// The key of the `index`-th funded account of a devnet. Everybody knows it: never fund it on a chain with value.
pub fn dev_account(index: usize) -> PrivateKeySigner {
    let key = keccak256(format!("ultramarine/dev-account/{index}"));
    PrivateKeySigner::from_bytes(&key).expect("a hash is a valid key with all but vanishing probability")
}

/// Hash of the genesis block: keccak-256 of its RLP header, with the state root of `alloc`.
pub fn genesis_hash(genesis: &Value) -> Result<Hash, FieldError> {
    Ok(Hash(header(genesis)?.hash_slow().0))
}

/// What a node must know of its chain's execution genesis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionGenesis {
    /// Hash of the block.
    pub hash: Hash,
    pub chain_id: u64,
    /// Unix time in seconds from which Prague holds.
    pub prague_time: Option<u64>,
    pub timestamp: u64,
}

impl ExecutionGenesis {
    /// Reads it from a geth-style genesis.
    pub fn of(genesis: &Value) -> Result<Self, FieldError> {
        Ok(Self {
            hash: genesis_hash(genesis)?,
            chain_id: number(&genesis["config"]["chainId"], "config.chainId")?,
            prague_time: optional(&genesis["config"]["pragueTime"], "config.pragueTime")?,
            timestamp: optional(&genesis["timestamp"], "timestamp")?.unwrap_or(0),
        })
    }
}

fn header(genesis: &Value) -> Result<Header, FieldError> {
    let config = &genesis["config"];
    let timestamp = optional(&genesis["timestamp"], "timestamp")?.unwrap_or(0);
    let active = |fork: &str| -> Result<bool, FieldError> {
        Ok(optional(&config[fork], &format!("config.{fork}"))?.is_some_and(|time| time <= timestamp))
    };
    let (shanghai, cancun, prague) = (active("shanghaiTime")?, active("cancunTime")?, active("pragueTime")?);
    if !cancun {
        return Err(FieldError {
            field: "config.cancunTime".to_owned(),
            found: config["cancunTime"].to_string(),
            expected: "a time no later than the genesis block's: blobs begin with Cancun",
        });
    }
    Ok(Header {
        parent_hash: fixed(&genesis["parentHash"], "parentHash")?,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: Address::from(fixed_bytes(&genesis["coinbase"], "coinbase")?),
        state_root: state_root(&genesis["alloc"])?,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        difficulty: big(&genesis["difficulty"], "difficulty")?,
        number: optional(&genesis["number"], "number")?.unwrap_or(0),
        gas_limit: number(&genesis["gasLimit"], "gasLimit")?,
        gas_used: optional(&genesis["gasUsed"], "gasUsed")?.unwrap_or(0),
        timestamp,
        extra_data: data(&genesis["extraData"], "extraData")?,
        mix_hash: fixed(&genesis["mixHash"], "mixHash")?,
        nonce: B64::from(optional(&genesis["nonce"], "nonce")?.unwrap_or(0).to_be_bytes()),
        base_fee_per_gas: Some(optional(&genesis["baseFeePerGas"], "baseFeePerGas")?.unwrap_or(BASE_FEE)),
        withdrawals_root: shanghai.then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(optional(&genesis["blobGasUsed"], "blobGasUsed")?.unwrap_or(0)),
        excess_blob_gas: Some(optional(&genesis["excessBlobGas"], "excessBlobGas")?.unwrap_or(0)),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: prague.then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    })
}

fn state_root(alloc: &Value) -> Result<B256, FieldError> {
    let accounts = alloc
        .as_object()
        .ok_or_else(|| wrong("alloc", alloc, "an object of accounts"))?;
    let mut state = BTreeMap::new();
    for (address, account) in accounts {
        let field = |name: &str| format!("alloc.{address}.{name}");
        let key = Address::from(fixed_bytes(&Value::String(address.clone()), &field("address"))?);
        let code = data(&account["code"], &field("code"))?;
        state.insert(
            key,
            TrieAccount {
                nonce: optional(&account["nonce"], &field("nonce"))?.unwrap_or(0),
                balance: big(&account["balance"], &field("balance"))?,
                storage_root: storage_root(&account["storage"], &field("storage"))?,
                code_hash: if code.is_empty() {
                    KECCAK_EMPTY
                } else {
                    keccak256(&code)
                },
            },
        );
    }
    Ok(state_root_unhashed(state))
}

fn storage_root(storage: &Value, field: &str) -> Result<B256, FieldError> {
    let Some(pairs) = storage.as_object() else {
        return if storage.is_null() {
            Ok(EMPTY_ROOT_HASH)
        } else {
            Err(wrong(field, storage, "an object of storage keys"))
        };
    };
    let mut entries = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let value = big(value, field)?;
        if !value.is_zero() {
            entries.push((B256::from(big(&Value::String(key.clone()), field)?), value));
        }
    }
    Ok(storage_root_unhashed(entries))
}

fn wrong(field: &str, found: &Value, expected: &'static str) -> FieldError {
    let mut found = found.to_string();
    if let Some((index, _)) = found.char_indices().nth(FOUND_CHARS_MAX) {
        found.truncate(index);
    }
    FieldError {
        field: field.to_owned(),
        found,
        expected,
    }
}

/// A 256-bit number: plain, decimal text or 0x-prefixed hex; zero if absent.
fn big(value: &Value, field: &str) -> Result<U256, FieldError> {
    let read = match value {
        Value::Null => Some(U256::ZERO),
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => match text.strip_prefix("0x") {
            Some("") => Some(U256::ZERO),
            Some(digits) => U256::from_str_radix(digits, 16).ok(),
            None => U256::from_str_radix(text, 10).ok(),
        },
        _ => None,
    };
    read.ok_or_else(|| wrong(field, value, "a number or 0x-prefixed hex"))
}

pub(crate) fn optional(value: &Value, field: &str) -> Result<Option<u64>, FieldError> {
    if value.is_null() {
        Ok(None)
    } else {
        number(value, field).map(Some)
    }
}

pub(crate) fn number(value: &Value, field: &str) -> Result<u64, FieldError> {
    let expected = "a number of at most 64 bits";
    if value.is_null() {
        return Err(wrong(field, value, expected));
    }
    u64::try_from(big(value, field)?).map_err(|_| wrong(field, value, expected))
}

pub(crate) fn data(value: &Value, field: &str) -> Result<Bytes, FieldError> {
    match value {
        Value::Null => Ok(Bytes::new()),
        Value::String(text) => hex::decode(text)
            .map(Bytes::from)
            .map_err(|_| wrong(field, value, "bytes as hex")),
        _ => Err(wrong(field, value, "bytes as hex")),
    }
}

pub(crate) fn fixed_bytes<const N: usize>(value: &Value, field: &str) -> Result<[u8; N], FieldError> {
    let bytes = data(value, field)?;
    if bytes.is_empty() {
        return Ok([0; N]);
    }
    <[u8; N]>::try_from(bytes.as_ref()).map_err(|_| wrong(field, value, "bytes of the right count as hex"))
}

fn fixed(value: &Value, field: &str) -> Result<B256, FieldError> {
    fixed_bytes(value, field).map(B256::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: GenesisOptions = GenesisOptions {
        chain_id: 20_250,
        blobs_per_block: 6,
        gas_limit: 36_000_000,
        genesis_time: 1_700_000_000,
        prague_time: None,
        accounts: 4,
    };

    #[test]
    fn everything_the_hash_covers_changes_it() {
        let hash = |change: &dyn Fn(&mut Value)| {
            let mut genesis = execution_genesis(&OPTIONS);
            change(&mut genesis);
            genesis_hash(&genesis).expect("a genesis")
        };
        let original = hash(&|_| {});
        let first = dev_account(0).address().to_string().to_lowercase();
        for (name, changed) in [
            ("gasLimit", hash(&|genesis| genesis["gasLimit"] = "0x1".into())),
            ("timestamp", hash(&|genesis| genesis["timestamp"] = "0x1".into())),
            ("extraData", hash(&|genesis| genesis["extraData"] = "0x01".into())),
            (
                "pragueTime",
                hash(&|genesis| genesis["config"]["pragueTime"] = 0.into()),
            ),
            (
                "balance",
                hash(&|genesis| genesis["alloc"][&first]["balance"] = "0x1".into()),
            ),
            (
                "storage",
                hash(&|genesis| genesis["alloc"][&first]["storage"] = json!({"0x01": "0x02"})),
            ),
        ] {
            assert_ne!(original, changed, "{name} is covered");
        }
        // The blob schedule and later forks are configuration, not part of the block.
        assert_eq!(
            original,
            hash(&|genesis| genesis["config"]["pragueTime"] = 2_000_000_000u64.into())
        );
    }

    #[test]
    fn every_validator_has_its_own_funded_account() {
        let genesis = execution_genesis(&OPTIONS);
        for index in 0..OPTIONS.accounts {
            let address = dev_account(index).address().to_string().to_lowercase();
            assert_eq!(genesis["alloc"][&address]["balance"], FUNDS, "account {index}");
        }
        assert_ne!(dev_account(0).address(), dev_account(1).address());
    }

    #[test]
    fn a_wrong_field_is_named() {
        let mut genesis = execution_genesis(&OPTIONS);
        genesis["gasLimit"] = "many".into();
        let error = genesis_hash(&genesis).expect_err("no number").to_string();
        assert!(error.starts_with("gasLimit is \"many\"; expected a number"), "{error}");
        genesis = execution_genesis(&OPTIONS);
        genesis["config"]["cancunTime"] = Value::Null;
        assert!(
            genesis_hash(&genesis)
                .expect_err("no blobs")
                .to_string()
                .contains("cancunTime")
        );
    }
}
