//! This file knows a chain's genesis: parameters, validators and first peers, read from a home and checked as a whole.
//!
//! `genesis.json` and `execution-genesis.json` are the same on every node. Peers compare the chain's identity when they
//! connect. It covers parameters, validators, the salt and, through `execution_genesis_hash`, the execution state. It
//! does not cover the peers, nor what operators may change while the chain runs: upgrades and the schedule of forks.
//! Peers compare a hash of each of these two as well, and the log names those that differ.

mod agreement;
pub mod execution;
mod plans;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ultramarine_core::signing::{KeyFlaw, check_key};
use ultramarine_types::chain::{ChainParamsError, ValidatorSetError};
use ultramarine_types::execution::ParentBlock;
use ultramarine_types::{Address, Chain, ChainParams, Hash, Height, PublicKey, Validator, ValidatorSet};

use crate::config::{PeerAddress, peer};
use crate::genesis::execution::{genesis_hash, optional};
use crate::home::Home;

/// Shortest block interval of a chain for users, in milliseconds: the times of execution blocks are whole seconds, and
/// each is later than its parent's.
pub const BLOCK_INTERVAL_MS_MIN: u64 = 1000;
/// Unix times in seconds stay below this for three thousand years. In milliseconds they have been above it since 1973.
pub const TIME_S_MAX: u64 = 100_000_000_000;

/// `genesis.json` as it is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisFile {
    pub chain: ChainParams,
    pub validators: Vec<Validator>,
    /// Drawn once, when the chain is made: see [`Chain::new`].
    pub salt: Hash,
    /// What changes at heights to come. It is no part of the chain's identity, so that a running chain can get one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<Upgrade>,
    /// Peers to begin with, as `PEER_ID@host:port`; a node's own entry is skipped.
    #[serde(default)]
    pub peers: Vec<String>,
}

/// A change of the chain's rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// The first height with the new rules.
    pub height: Height,
    /// Its name. This version knows none.
    pub what: String,
}

/// A genesis that was checked as a whole.
#[derive(Clone, Debug)]
pub struct Genesis {
    pub chain: Chain,
    pub validators: Arc<ValidatorSet>,
    /// Peers to begin with.
    pub peers: Vec<PeerAddress>,
    /// Hash of the list of upgrades.
    pub upgrades_hash: Hash,
    /// Hash of the execution genesis' forks and blob limits.
    pub fork_schedule_hash: Hash,
    /// The execution client's genesis.
    pub execution: Arc<serde_json::Value>,
    /// The execution genesis block, on which height 1 is built.
    pub genesis_block: ParentBlock,
}

/// Why a genesis is not used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    #[error("cannot read {path}: {error}")]
    Read {
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not the JSON we expect; the text says where in the file.
    #[error("{path}: {error}")]
    Parse {
        path: PathBuf,
        /// Line, column and what was expected.
        error: serde_json::Error,
    },
    /// It lacks what every chain of this version has.
    #[error(
        "{path} was made by an older version: it has no {missing}. Keep that version for its chain, or make a new \
         chain with `ultramarine testnet`"
    )]
    Old {
        path: PathBuf,
        /// What it lacks.
        missing: String,
    },
    /// A change of rules that this version does not know.
    #[error(
        "{path}: upgrade `{what}` at height {height} is not known to this version: update to one that knows it, on \
         every node, before the chain gets there"
    )]
    Upgrade {
        path: PathBuf,
        what: String,
        height: Height,
    },
    /// A parameter no chain may have.
    #[error("{path}: {error}")]
    Params { path: PathBuf, error: ChainParamsError },
    /// Validators no chain can run on.
    #[error("{path}: {error}")]
    Validators { path: PathBuf, error: ValidatorSetError },
    /// A public key that no validator may have.
    #[error(
        "{path}: validator {validator} has the public key {public_key}: {flaw}. Get the key from its operator again"
    )]
    Key {
        path: PathBuf,
        validator: Address,
        public_key: PublicKey,
        flaw: KeyFlaw,
    },
    /// A peer that cannot be read.
    #[error("{path}: {error}")]
    Peer {
        path: PathBuf,
        error: crate::config::peer::PeerAddressError,
    },
    /// The execution genesis cannot be used.
    #[error("{path}: {error}")]
    Execution { path: PathBuf, error: String },
    /// The two files are not of one chain.
    #[error(
        "{path} is not the execution genesis of this chain: its block hash is {found}, genesis.json expects \
         {expected}. Copy both files from one node of the chain"
    )]
    ExecutionHash {
        /// The execution genesis file.
        path: PathBuf,
        found: Hash,
        expected: Hash,
    },
    /// The two files contradict each other.
    #[error("{path} and {execution_path} disagree: {what}")]
    Disagreement {
        path: PathBuf,
        /// The execution genesis file.
        execution_path: PathBuf,
        /// What each says, what comes of it, and what to do.
        what: String,
    },
}

/// Everything that is wrong with a genesis, so that the operator can mend all of it at once. Never empty.
#[derive(Debug)]
pub struct GenesisErrors(pub Vec<GenesisError>);

impl fmt::Display for GenesisErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for GenesisErrors {}

impl Genesis {
    /// Reads and checks both files of a home.
    pub fn load(home: &Home) -> Result<Self, GenesisErrors> {
        let (path, execution_path) = (home.genesis(), home.execution_genesis());
        match (read(&path), read(&execution_path)) {
            (Ok(text), Ok(execution_text)) => Self::check(&path, &text, &execution_path, &execution_text),
            (text, execution_text) => Err(GenesisErrors(
                [text.err(), execution_text.err()].into_iter().flatten().collect(),
            )),
        }
    }

    /// Checks the texts of both files, each by itself and one against the other. The paths are for messages.
    pub fn check(path: &Path, text: &str, execution_path: &Path, execution_text: &str) -> Result<Self, GenesisErrors> {
        if let Some(missing) = missing_since_older(text) {
            // Whatever else is wrong with it, its operator needs another file.
            return Err(GenesisErrors(vec![GenesisError::Old {
                path: path.to_owned(),
                missing,
            }]));
        }
        let mut wrong = Vec::new();
        let file = parse::<GenesisFile>(path, text, &mut wrong);
        let execution = parse::<serde_json::Value>(execution_path, execution_text, &mut wrong);
        let mut parts = None;
        if let Some(file) = &file {
            let path = || path.to_owned();
            if let Err(error) = file.chain.check() {
                wrong.push(GenesisError::Params { path: path(), error });
            }
            for validator in &file.validators {
                if let Err(flaw) = check_key(&validator.public_key) {
                    wrong.push(GenesisError::Key {
                        path: path(),
                        validator: validator.address(),
                        public_key: validator.public_key,
                        flaw,
                    });
                }
            }
            wrong.extend(file.upgrades.iter().map(|upgrade| GenesisError::Upgrade {
                path: path(),
                what: upgrade.what.clone(),
                height: upgrade.height,
            }));
            let validators = ValidatorSet::new(file.validators.clone());
            let validators = validators.map_err(|error| wrong.push(GenesisError::Validators { path: path(), error }));
            let mut peers = Vec::with_capacity(file.peers.len());
            for peer in &file.peers {
                match peer.parse::<PeerAddress>() {
                    Ok(peer) => peers.push(peer),
                    Err(error) => wrong.push(GenesisError::Peer { path: path(), error }),
                }
            }
            parts = validators.ok().map(|validators| (validators, peer::distinct(peers)));
        }
        let mut fork_schedule_hash = None;
        let mut genesis_block = None;
        if let (Some(file), Some(execution)) = (&file, &execution) {
            genesis_block = block(&file.chain, execution, execution_path, &mut wrong);
            let mut faults = agreement::of(&file.chain, execution);
            match plans::fork_schedule_hash(&execution["config"]) {
                Ok(hash) => fork_schedule_hash = Some(hash),
                Err(error) => faults.push(agreement::AgreementFault::Execution(error.to_string())),
            }
            for fault in faults {
                let error = match fault {
                    agreement::AgreementFault::Disagreement(what) => GenesisError::Disagreement {
                        path: path.to_owned(),
                        execution_path: execution_path.to_owned(),
                        what,
                    },
                    agreement::AgreementFault::Execution(error) => GenesisError::Execution {
                        path: execution_path.to_owned(),
                        error,
                    },
                };
                // Several checks read the same field, so each of them finds a field that cannot be read.
                if wrong.iter().all(|known| known.to_string() != error.to_string()) {
                    wrong.push(error);
                }
            }
        }
        let (true, Some(file), Some(execution)) = (wrong.is_empty(), file, execution) else {
            return Err(GenesisErrors(wrong));
        };
        let (Some((validators, peers)), Some(genesis_block), Some(fork_schedule_hash)) =
            (parts, genesis_block, fork_schedule_hash)
        else {
            return Err(GenesisErrors(wrong));
        };
        Ok(Self {
            chain: Chain::new(file.chain, &validators, &file.salt),
            upgrades_hash: plans::upgrades_hash(&file.upgrades),
            fork_schedule_hash,
            validators: Arc::new(validators),
            peers,
            execution: Arc::new(execution),
            genesis_block,
        })
    }

    /// What is doubtful about this chain, though it runs. `now_s` is the Unix time in seconds.
    pub fn warnings(&self, now_s: u64) -> Vec<String> {
        let mut doubtful = Vec::new();
        let interval_ms = self.chain.params.block_interval_ms;
        if interval_ms < BLOCK_INTERVAL_MS_MIN {
            doubtful.push(format!(
                "genesis.json: block_interval_ms is {interval_ms}, and the times of execution blocks are whole \
                 seconds, each later than its parent's: this chain's times run ahead of the clock, without end. Give a \
                 new chain {BLOCK_INTERVAL_MS_MIN} or more"
            ));
        }
        let begin_s = self.genesis_block.timestamp;
        if begin_s > now_s {
            doubtful.push(format!(
                "execution-genesis.json: timestamp is {begin_s}, {} s after this machine's clock, and no block is \
                 decided before it: wait for it, or set the clock right; in a new chain, see that the time is in \
                 seconds",
                begin_s - now_s
            ));
        }
        if let Some(time) = self.chain.params.prague_time.filter(|time| *time >= TIME_S_MAX) {
            doubtful.push(format!(
                "genesis.json: prague_time is {time}, thousands of years from now: in a new chain, give it in seconds, \
                 not milliseconds"
            ));
        }
        doubtful
    }
}

/// What a `genesis.json` lacks that every version from this one on writes, in words. `None` also for a text that is no
/// such file at all.
fn missing_since_older(text: &str) -> Option<String> {
    let file: serde_json::Value = serde_json::from_str(text).ok()?;
    let chain = file.get("chain")?.as_object()?;
    let lacks = [
        ("salt", file.get("salt").is_none()),
        ("chain.genesis_time", !chain.contains_key("genesis_time")),
    ];
    let missing: Vec<&str> = lacks
        .iter()
        .filter(|(_, lacks)| *lacks)
        .map(|(name, _)| *name)
        .collect();
    (!missing.is_empty()).then(|| missing.join(" and no "))
}

fn read(path: &Path) -> Result<String, GenesisError> {
    std::fs::read_to_string(path).map_err(|error| GenesisError::Read {
        path: path.to_owned(),
        error,
    })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str, wrong: &mut Vec<GenesisError>) -> Option<T> {
    let parsed = serde_json::from_str(text).map_err(|error| {
        wrong.push(GenesisError::Parse {
            path: path.to_owned(),
            error,
        });
    });
    parsed.ok()
}

/// The execution genesis block, if it is this chain's.
fn block(
    chain: &ChainParams,
    execution: &serde_json::Value,
    path: &Path,
    wrong: &mut Vec<GenesisError>,
) -> Option<ParentBlock> {
    let read = genesis_hash(execution).and_then(|hash| {
        let timestamp = optional(&execution["timestamp"], "timestamp")?.unwrap_or(0);
        Ok(ParentBlock {
            hash,
            number: 0,
            timestamp,
        })
    });
    let path = path.to_owned();
    match read {
        Ok(block) if block.hash == chain.execution_genesis_hash => Some(block),
        Ok(block) => {
            wrong.push(GenesisError::ExecutionHash {
                path,
                found: block.hash,
                expected: chain.execution_genesis_hash,
            });
            None
        }
        Err(error) => {
            let error = error.to_string();
            wrong.push(GenesisError::Execution { path, error });
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
