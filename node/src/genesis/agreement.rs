//! This file knows whether `genesis.json` and `execution-genesis.json` agree, and what one relies on in the other.
//!
//! The hash of the execution genesis block binds its gas limit, its time and its accounts. It does not bind what stands
//! under `config`: forks and blob limits are the client's configuration. Two nodes may differ there, and nothing shows
//! it before the first block that depends on it. But all nodes compare `genesis.json` when they connect. So whatever
//! stands in both files must be equal.

use alloy_eips::{eip7002, eip7251};
use alloy_primitives::Address;
use serde_json::Value;
use ultramarine_types::ChainParams;

use crate::genesis::execution::{FieldError, data, fixed_bytes, number, optional};

/// How a message about both files ends.
const REMEDY: &str = "Copy both files from one node of the chain; in a new chain, make both the same on every node";
/// Forks by block number, all of which clients demand from the first block on.
const FORKS_BY_NUMBER: [&str; 10] = [
    "homesteadBlock",
    "eip150Block",
    "eip155Block",
    "eip158Block",
    "byzantiumBlock",
    "constantinopleBlock",
    "petersburgBlock",
    "istanbulBlock",
    "berlinBlock",
    "londonBlock",
];
/// Forks by time whose rules we know.
const FORKS_BY_TIME: [&str; 3] = ["shanghaiTime", "cancunTime", "pragueTime"];

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgreementFault {
    /// Both files say something about it.
    Disagreement(String),
    /// The execution genesis alone is wrong.
    Execution(String),
}

/// Checks one part. The error names a field that cannot be read.
type Check = fn(&ChainParams, &Value, &mut Vec<AgreementFault>) -> Result<(), FieldError>;

/// A fork whose blocks carry blobs.
struct BlobFork {
    name: &'static str,
    /// What clients assume if the genesis has no schedule for the fork (EIP-4844, EIP-7691).
    target: u64,
    max: u64,
}

const CANCUN: BlobFork = BlobFork {
    name: "cancun",
    target: 3,
    max: 6,
};
const PRAGUE: BlobFork = BlobFork {
    name: "prague",
    target: 6,
    max: 9,
};

/// Everything that does not fit together.
pub fn of(chain: &ChainParams, execution: &Value) -> Vec<AgreementFault> {
    let mut faults = Vec::new();
    let checks: [Check; 6] = [chain_id, time, forks, prague, blobs, gas];
    for check in checks {
        if let Err(error) = check(chain, execution, &mut faults) {
            faults.push(AgreementFault::Execution(error.to_string()));
        }
    }
    faults
}

fn chain_id(chain: &ChainParams, execution: &Value, faults: &mut Vec<AgreementFault>) -> Result<(), FieldError> {
    let found = number(&execution["config"]["chainId"], "config.chainId")?;
    if found != chain.chain_id {
        faults.push(AgreementFault::Disagreement(format!(
            "chain_id is {}, config.chainId is {found}. {REMEDY}",
            chain.chain_id
        )));
    }
    Ok(())
}

fn time(chain: &ChainParams, execution: &Value, faults: &mut Vec<AgreementFault>) -> Result<(), FieldError> {
    let found = optional(&execution["timestamp"], "timestamp")?.unwrap_or(0);
    if found != chain.genesis_time {
        faults.push(AgreementFault::Disagreement(format!(
            "genesis_time is {}, timestamp is {found}. Slots are counted from the time of the execution genesis block, \
             in seconds. {REMEDY}",
            chain.genesis_time
        )));
    }
    Ok(())
}

/// Checks the forks that must hold from the first block on, and refuses those that we do not know.
fn forks(_: &ChainParams, execution: &Value, faults: &mut Vec<AgreementFault>) -> Result<(), FieldError> {
    let config = &execution["config"];
    let mut wrong = |field: &str, found: &Value, expected: &str| {
        faults.push(AgreementFault::Execution(format!(
            "config.{field} is {found}; expected {expected}"
        )));
    };
    for field in FORKS_BY_NUMBER {
        if optional(&config[field], &format!("config.{field}"))? != Some(0) {
            wrong(field, &config[field], "0: all these rules hold from the first block on");
        }
    }
    let name = "terminalTotalDifficulty";
    if optional(&config[name], &format!("config.{name}"))? != Some(0) {
        wrong(name, &config[name], "0: the chain has no mining before it");
    }
    // Cancun is checked when the block's hash is computed.
    let timestamp = optional(&execution["timestamp"], "timestamp")?.unwrap_or(0);
    let shanghai = optional(&config["shanghaiTime"], "config.shanghaiTime")?;
    if shanghai.is_none_or(|time| time > timestamp) {
        let expected = "a time no later than the genesis block's: Cancun's rules stand on it";
        wrong("shanghaiTime", &config["shanghaiTime"], expected);
    }
    let unknown = config.as_object().into_iter().flatten();
    for (field, found) in unknown.filter(|(field, found)| field.ends_with("Time") && !found.is_null()) {
        if !FORKS_BY_TIME.contains(&field.as_str()) {
            let expected = "no such entry: the newest rules that this version knows are Prague's, and the chain would \
                            stop at this fork";
            wrong(field, found, expected);
        }
    }
    Ok(())
}

fn prague(chain: &ChainParams, execution: &Value, faults: &mut Vec<AgreementFault>) -> Result<(), FieldError> {
    let config = &execution["config"];
    let found = optional(&config["pragueTime"], "config.pragueTime")?;
    if found != chain.prague_time {
        let say = |time: Option<u64>| time.map_or_else(|| "not set".to_owned(), |time| time.to_string());
        faults.push(AgreementFault::Disagreement(format!(
            "prague_time is {}, config.pragueTime is {}. Between the two, node and execution client follow different \
             rules, and the chain stops. {REMEDY}",
            say(chain.prague_time),
            say(found)
        )));
    }
    if chain.prague_time.is_none() {
        return Ok(());
    }
    for (address, name) in [
        (
            eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            "withdrawal requests (EIP-7002)",
        ),
        (
            eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            "consolidation requests (EIP-7251)",
        ),
    ] {
        if !has_code(&execution["alloc"], &address)? {
            faults.push(AgreementFault::Execution(format!(
                "alloc has no contract for {name} at {address}; without it no block of Prague is valid, and \
                 genesis.json sets prague_time. Make the chain with `ultramarine testnet`, or add the contract on \
                 every node before it begins"
            )));
        }
    }
    let name = "depositContractAddress";
    if fixed_bytes::<20>(&config[name], &format!("config.{name}")).is_err() || config[name].is_null() {
        faults.push(AgreementFault::Execution(format!(
            "config.{name} is {}; expected an address of 20 bytes, such as the zero address: without it each client \
             takes one of its own for the deposits of Prague",
            config[name]
        )));
    }
    Ok(())
}

fn has_code(alloc: &Value, address: &Address) -> Result<bool, FieldError> {
    for (key, account) in alloc.as_object().into_iter().flatten() {
        if fixed_bytes::<20>(&Value::String(key.clone()), &format!("alloc.{key}"))? == address.0.0 {
            return Ok(!data(&account["code"], &format!("alloc.{key}.code"))?.is_empty());
        }
    }
    Ok(false)
}

fn blobs(chain: &ChainParams, execution: &Value, faults: &mut Vec<AgreementFault>) -> Result<(), FieldError> {
    let timestamp = optional(&execution["timestamp"], "timestamp")?.unwrap_or(0);
    let begins_with_prague = chain.prague_time.is_some_and(|time| time <= timestamp);
    let in_use = [(CANCUN, !begins_with_prague), (PRAGUE, chain.prague_time.is_some())];
    for (fork, _) in in_use.into_iter().filter(|(_, in_use)| *in_use) {
        let path = format!("config.blobSchedule.{}", fork.name);
        let schedule = &execution["config"]["blobSchedule"][fork.name];
        let read = |key: &str, default: u64| {
            if schedule.is_null() {
                Ok(default)
            } else {
                number(&schedule[key], &format!("{path}.{key}"))
            }
        };
        let (target, max) = (read("target", fork.target)?, read("max", fork.max)?);
        let unset = if schedule.is_null() {
            " (not set; this is what clients take then)"
        } else {
            ""
        };
        if max != u64::from(chain.blobs_per_block_max) {
            faults.push(AgreementFault::Disagreement(format!(
                "blobs_per_block_max is {}, {path}.max is {max}{unset}. The node refuses blocks with more blobs than \
                 its own limit, and execution clients with different limits refuse each other's. {REMEDY}",
                chain.blobs_per_block_max
            )));
        }
        if target > max {
            faults.push(AgreementFault::Execution(format!(
                "{path}.target is {target}; expected at most its max, {max}"
            )));
        }
        if read("baseFeeUpdateFraction", 1)? == 0 {
            faults.push(AgreementFault::Execution(format!(
                "{path}.baseFeeUpdateFraction is 0; expected a number that the blob fee can be divided by"
            )));
        }
    }
    Ok(())
}

fn gas(chain: &ChainParams, execution: &Value, faults: &mut Vec<AgreementFault>) -> Result<(), FieldError> {
    let limit = number(&execution["gasLimit"], "gasLimit")?;
    let (min, max) = (chain.gas_limit_min, chain.gas_limit_max);
    // If the two bounds exclude each other, another check says so.
    if min <= max && !(min..=max).contains(&limit) {
        let (bound, name) = if limit > max {
            (max, "gas_limit_max")
        } else {
            (min, "gas_limit_min")
        };
        faults.push(AgreementFault::Disagreement(format!(
            "{name} is {bound}, and the first block's gasLimit is {limit}. Clients keep near their parent's limit, and \
             the node refuses such blocks: no height would be decided. {REMEDY}"
        )));
    }
    Ok(())
}
