//! This file knows a chain's genesis: parameters, validators and first peers, read from a home and checked as a whole.
//!
//! `genesis.json` and `execution-genesis.json` are the same on every node. The genesis hash, which peers compare when they
//! connect, covers parameters and validators and through `execution_genesis_hash` the execution state; not the peers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ultramarine_types::canonical::Canonical;
use ultramarine_types::chain::{ChainParamsError, ValidatorSetError};
use ultramarine_types::execution::ParentBlock;
use ultramarine_types::{ChainParams, Hash, Validator, ValidatorSet};

use crate::config::PeerAddress;
use crate::engine::genesis::genesis_hash;
use crate::home::Home;

/// `genesis.json` as it is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisFile {
    /// Parameters.
    pub chain: ChainParams,
    /// The validator set.
    pub validators: Vec<Validator>,
    /// Peers to begin with, as `PEER_ID@host:port`; a node's own entry is skipped.
    #[serde(default)]
    pub peers: Vec<String>,
}

/// A checked genesis.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// Parameters.
    pub params: ChainParams,
    /// The validator set.
    pub validators: Arc<ValidatorSet>,
    /// Peers to begin with.
    pub peers: Vec<PeerAddress>,
    /// Names the chain among those with the same chain id.
    pub hash: Hash,
    /// The execution client's genesis.
    pub execution: Arc<serde_json::Value>,
    /// The execution genesis block: what height 1 is built on.
    pub genesis_block: ParentBlock,
}

/// Why a genesis is not used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// Missing or unreadable.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not the JSON we expect; the text says where in the file.
    #[error("{path}: {error}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        error: serde_json::Error,
    },
    /// A parameter no chain may have.
    #[error("{path}: {error}")]
    Params {
        /// The file.
        path: PathBuf,
        /// Which.
        error: ChainParamsError,
    },
    /// Validators no chain can run on.
    #[error("{path}: {error}")]
    Validators {
        /// The file.
        path: PathBuf,
        /// Why.
        error: ValidatorSetError,
    },
    /// A peer that cannot be read.
    #[error("{path}: {error}")]
    Peer {
        /// The file.
        path: PathBuf,
        /// Which.
        error: crate::config::peer::PeerAddressError,
    },
    /// The execution genesis cannot be used.
    #[error("{path}: {error}")]
    Execution {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The two files are not of one chain.
    #[error(
        "{path} is not the execution genesis of this chain: its block hash is {found}, genesis.json expects {expected}. Copy \
         both files from one node of the chain"
    )]
    ExecutionHash {
        /// The execution genesis file.
        path: PathBuf,
        /// Of the file.
        found: Hash,
        /// Of the chain.
        expected: Hash,
    },
    /// The two files disagree about the chain id.
    #[error("{path} has chain id {found}, genesis.json has {expected}; copy both files from one node of the chain")]
    ExecutionChainId {
        /// The execution genesis file.
        path: PathBuf,
        /// Of the file.
        found: String,
        /// Of the chain.
        expected: u64,
    },
}

impl Genesis {
    /// Reads and checks both files of a home.
    pub fn load(home: &Home) -> Result<Self, GenesisError> {
        let (path, execution_path) = (home.genesis(), home.execution_genesis());
        Self::check(&path, &read(&path)?, &execution_path, &read(&execution_path)?)
    }

    /// Checks both files' texts; the paths are for messages.
    pub fn check(path: &Path, text: &str, execution_path: &Path, execution_text: &str) -> Result<Self, GenesisError> {
        let (path, execution_path) = (path.to_owned(), execution_path.to_owned());
        let file: GenesisFile = match serde_json::from_str(text) {
            Ok(file) => file,
            Err(error) => return Err(GenesisError::Parse { path, error }),
        };
        if let Err(error) = file.chain.check() {
            return Err(GenesisError::Params { path, error });
        }
        let validators = match ValidatorSet::new(file.validators) {
            Ok(validators) => Arc::new(validators),
            Err(error) => return Err(GenesisError::Validators { path, error }),
        };
        let peers = match file.peers.iter().map(|peer| peer.parse()).collect() {
            Ok(peers) => peers,
            Err(error) => return Err(GenesisError::Peer { path, error }),
        };
        let execution: serde_json::Value = match serde_json::from_str(execution_text) {
            Ok(execution) => execution,
            Err(error) => {
                return Err(GenesisError::Parse {
                    path: execution_path,
                    error,
                });
            }
        };
        let genesis_block = genesis_block(&file.chain, &execution, &execution_path)?;
        let hash = hash(&file.chain, &validators);
        Ok(Self {
            params: file.chain,
            validators,
            peers,
            hash,
            execution: Arc::new(execution),
            genesis_block,
        })
    }
}

fn read(path: &Path) -> Result<String, GenesisError> {
    std::fs::read_to_string(path).map_err(|error| GenesisError::Read {
        path: path.to_owned(),
        error,
    })
}

fn genesis_block(chain: &ChainParams, execution: &serde_json::Value, path: &Path) -> Result<ParentBlock, GenesisError> {
    let path = path.to_owned();
    let chain_id = &execution["config"]["chainId"];
    if number(chain_id) != Some(chain.chain_id) {
        return Err(GenesisError::ExecutionChainId {
            path,
            found: chain_id.to_string(),
            expected: chain.chain_id,
        });
    }
    let found = match genesis_hash(execution) {
        Ok(found) => found,
        Err(error) => {
            return Err(GenesisError::Execution {
                path,
                error: error.to_string(),
            });
        }
    };
    if found != chain.execution_genesis_hash {
        return Err(GenesisError::ExecutionHash {
            path,
            found,
            expected: chain.execution_genesis_hash,
        });
    }
    let timestamp = match &execution["timestamp"] {
        serde_json::Value::Null => 0,
        timestamp => number(timestamp).ok_or_else(|| GenesisError::Execution {
            path,
            error: format!("timestamp is {timestamp}; expected a number or 0x-prefixed hex"),
        })?,
    };
    Ok(ParentBlock {
        hash: found,
        number: 0,
        timestamp,
    })
}

/// A number as genesis files write them: plain, decimal text or 0x-prefixed hex.
fn number(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
}

/// The genesis hash; SHA-256 over the canonical encoding of every parameter and the validator set's hash.
fn hash(chain: &ChainParams, validators: &ValidatorSet) -> Hash {
    let ChainParams {
        chain_id,
        execution_genesis_hash,
        blobs_per_block_max,
        block_interval_ms,
        blob_retention_heights_min,
        gas_limit_min,
        gas_limit_max,
        prague_time,
    } = chain;
    Canonical::new("ultramarine/genesis/1")
        .u64(*chain_id)
        .hash(execution_genesis_hash)
        .u32(*blobs_per_block_max)
        .u64(*block_interval_ms)
        .u64(*blob_retention_heights_min)
        .u64(*gas_limit_min)
        .u64(*gas_limit_max)
        .optional(prague_time.map(u64::to_le_bytes).as_ref())
        .hash(&validators.hash())
        .sha256()
}

#[cfg(test)]
mod tests;
