//! This file knows what all nodes of a chain agree on before the first block: parameters, the ceilings that follow from
//! them, and validators.

use serde::{Deserialize, Serialize};

use crate::canonical::{Canonical, FORMAT_VERSION, sha256};
use crate::ids::{Address, ChainIdentity, Hash, Height, PublicKey, Round};
use crate::limits;
use crate::machine::Nanos;

/// Parameters of a chain, the same on every node; part of its genesis file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainParams {
    /// The id of EIP-155, which execution transactions sign as well.
    pub chain_id: u64,
    /// Hash of the execution genesis block; the execution client must have the same.
    pub execution_genesis_hash: Hash,
    /// Most blobs one block may carry; the Engine API, limits and timeouts follow from it.
    pub blobs_per_block_max: u32,
    /// Time from the start of one height to the start of the next, in milliseconds. The commit may take longer.
    pub block_interval_ms: u64,
    /// Heights for which every node must keep blobs; sync may omit older ones.
    pub blob_retention_heights_min: u64,
    /// Lowest gas limit a block may have.
    pub gas_limit_min: u64,
    /// Highest gas limit a block may have.
    pub gas_limit_max: u64,
    /// Unix time of the execution genesis block, in seconds: slot 0 begins then. Every block has a later time.
    pub genesis_time: u64,
    /// Unix time in seconds from which blocks follow Prague (Engine API V4); `None`: Cancun (V3) for ever.
    pub prague_time: Option<u64>,
}

/// A value of [`ChainParams`] that no chain may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainParamsError {
    /// The blob limit is outside what the protocol's fixed bounds allow.
    #[error(
        "blobs_per_block_max is {found}; it must be from {} to {}",
        limits::BLOBS_PER_BLOCK_MIN,
        limits::BLOBS_PER_BLOCK_MAX
    )]
    Blobs {
        /// What the file says.
        found: u32,
    },
    /// The block interval is unusable.
    #[error("block_interval_ms is {found}; it must be from 10 to 60000")]
    Interval {
        /// What the file says.
        found: u64,
    },
    /// The gas limits exclude every block.
    #[error("gas_limit_min {min} is above gas_limit_max {max}")]
    Gas { min: u64, max: u64 },
}

impl ChainParams {
    /// Checks what can be checked of a parameter set by itself.
    pub fn check(&self) -> Result<(), ChainParamsError> {
        if !(limits::BLOBS_PER_BLOCK_MIN..=limits::BLOBS_PER_BLOCK_MAX).contains(&self.blobs_per_block_max) {
            return Err(ChainParamsError::Blobs {
                found: self.blobs_per_block_max,
            });
        }
        if !(10..=60_000).contains(&self.block_interval_ms) {
            return Err(ChainParamsError::Interval {
                found: self.block_interval_ms,
            });
        }
        if self.gas_limit_min > self.gas_limit_max {
            return Err(ChainParamsError::Gas {
                min: self.gas_limit_min,
                max: self.gas_limit_max,
            });
        }
        Ok(())
    }

    /// The ceilings of this chain.
    pub const fn limits(&self) -> Limits {
        Limits {
            blobs_per_block: self.blobs_per_block_max,
        }
    }

    /// Whether a block with this timestamp (Unix seconds) follows Prague's rules.
    pub fn is_prague(&self, timestamp: u64) -> bool {
        self.prague_time.is_some_and(|time| timestamp >= time)
    }

    /// How many proofs each blob of a block with this timestamp has: one, by EIP-4844.
    pub const fn proofs_per_blob(&self, _timestamp: u64) -> u32 {
        1
    }
}

/// A chain as its nodes know it: the parameters, and the identity that follows from them and the validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub identity: ChainIdentity,
    pub params: ChainParams,
}

impl Chain {
    /// A chain with these parameters, begun by these validators. `salt` is drawn once, when the chain is made: a chain
    /// that is begun again with the same keys and parameters shares no valid signature with its past.
    pub fn new(params: ChainParams, validators: &ValidatorSet, salt: &Hash) -> Self {
        // Every field is named, so that a new one cannot be forgotten.
        let ChainParams {
            chain_id,
            execution_genesis_hash,
            blobs_per_block_max,
            block_interval_ms,
            blob_retention_heights_min,
            gas_limit_min,
            gas_limit_max,
            genesis_time,
            prague_time,
        } = &params;
        let prague_time = prague_time.map(u64::to_le_bytes);
        let identity = Canonical::new("ultramarine/chain/2")
            .u32(FORMAT_VERSION)
            .u64(*chain_id)
            .hash(execution_genesis_hash)
            .hash(&validators.hash())
            .u32(*blobs_per_block_max)
            .u64(*block_interval_ms)
            .u64(*blob_retention_heights_min)
            .u64(*gas_limit_min)
            .u64(*gas_limit_max)
            .u64(*genesis_time)
            .optional(prague_time.as_ref())
            .hash(salt)
            .sha256();
        Self {
            identity: ChainIdentity(identity.0),
            params,
        }
    }
}

/// Ceilings that follow from a chain's parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most blobs a block of this chain carries.
    pub blobs_per_block: u32,
}

impl Limits {
    /// Bytes of all blobs of the largest block.
    pub const fn block_blob_bytes(&self) -> usize {
        self.blobs_per_block as usize * limits::BLOB_BYTES
    }

    /// Bytes of a whole value: blobs, payload, `Init` and its lists.
    pub const fn value_bytes(&self) -> usize {
        self.block_blob_bytes() + limits::PAYLOAD_BYTES_MAX + limits::INIT_BYTES_MAX + limits::LISTS_BYTES_MAX
    }

    /// Bytes in assembly over all peers: every admissible value, and what sync may have in flight, which is two values'
    /// worth of bytes at most.
    pub const fn assembly_bytes(&self) -> usize {
        (limits::VALUES_IN_ASSEMBLY_MAX + 2) * self.value_bytes()
    }

    /// Blobs in assembly over all peers: the bytes in assembly, if all of them were blobs.
    pub const fn assembly_blobs(&self) -> usize {
        self.assembly_bytes() / limits::BLOB_BYTES
    }

    /// How long a proposal may take from `GetValue` to its last part: one second for the build, and its bytes at
    /// 25 MB/s.
    pub const fn propose_timeout(&self) -> Nanos {
        Nanos::from_millis(1000 + self.block_blob_bytes() as u64 / 25_000)
    }

    /// How long one call to the execution client may take, unless the operator says otherwise: eight seconds, and
    /// 40 ms for each blob beyond Cancun's own six.
    ///
    /// ethrex takes up to 8 ms of a core to write a blob into its answer. Where four validators share two cores that
    /// is 16 ms, and they have other work to do as well.
    pub const fn engine_timeout(&self) -> Nanos {
        let beyond = self.blobs_per_block.saturating_sub(limits::BLOBS_PER_BLOCK_MIN) as u64;
        Nanos::from_millis(8_000 + 40 * beyond)
    }

    /// How long a sync request may go without its last byte: two seconds and its bytes at 10 MB/s.
    pub const fn sync_timeout(&self) -> Nanos {
        Nanos::from_millis(2000 + self.value_bytes() as u64 / 10_000)
    }
}

/// One validator of the static set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// ed25519 key it signs consensus messages with.
    pub public_key: PublicKey,
    /// Voting power, at least 1.
    pub power: u64,
}

impl Validator {
    /// The address its messages carry.
    pub fn address(&self) -> Address {
        address_of(&self.public_key)
    }
}

/// The address of a public key: the first 20 bytes of its SHA-256.
pub fn address_of(key: &PublicKey) -> Address {
    let hash = sha256(&key.0);
    let mut address = [0; 20];
    address.copy_from_slice(&hash.0[..20]);
    Address(address)
}

/// The validators of a chain, sorted by address; static from genesis on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Vec<(Address, Validator)>,
    total_power: u64,
    hash: Hash,
}

/// Why a list of validators is not a set a chain can run on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// A chain without validators decides nothing.
    #[error("the validator set is empty")]
    Empty,
    /// More than the protocol's bound.
    #[error("{found} validators; at most {} are allowed", limits::VALIDATORS_MAX)]
    TooMany {
        /// How many the file lists.
        found: usize,
    },
    /// A validator without power.
    #[error("validator {0} has no voting power")]
    NoPower(Address),
    #[error("validator {0} is listed twice")]
    Duplicate(Address),
    /// The sum does not fit what quorum arithmetic can hold.
    #[error("total voting power is above {}", limits::TOTAL_POWER_MAX)]
    PowerOverflow,
}

impl ValidatorSet {
    /// Builds the set and checks it.
    pub fn new(list: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        if list.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if list.len() > limits::VALIDATORS_MAX {
            return Err(ValidatorSetError::TooMany { found: list.len() });
        }
        let mut validators: Vec<_> = list
            .into_iter()
            .map(|validator| (validator.address(), validator))
            .collect();
        validators.sort_by_key(|(address, _)| *address);
        let mut total_power = 0u64;
        let mut before = None;
        for (address, validator) in &validators {
            if validator.power == 0 {
                return Err(ValidatorSetError::NoPower(*address));
            }
            if before.replace(*address) == Some(*address) {
                return Err(ValidatorSetError::Duplicate(*address));
            }
            total_power = total_power
                .checked_add(validator.power)
                .filter(|total| *total <= limits::TOTAL_POWER_MAX)
                .ok_or(ValidatorSetError::PowerOverflow)?;
        }
        let count = u32::try_from(validators.len()).expect("at most VALIDATORS_MAX, as checked above");
        let mut canonical = Canonical::new("ultramarine/validator-set/2").u32(count);
        for (_, validator) in &validators {
            canonical = canonical.fixed(&validator.public_key.0).u64(validator.power);
        }
        Ok(Self {
            hash: canonical.sha256(),
            validators,
            total_power,
        })
    }

    /// Hash over keys and powers; certificates are verified against the set that has it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Sum of all voting power.
    pub fn total_power(&self) -> u64 {
        self.total_power
    }

    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// Never true: [`new`](Self::new) refuses an empty set.
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// Address and validator at a position in address order.
    pub fn at(&self, index: usize) -> Option<(&Address, &Validator)> {
        self.validators
            .get(index)
            .map(|(address, validator)| (address, validator))
    }

    /// Position in address order: the *proposer index* of sidecar headers.
    pub fn index_of(&self, address: &Address) -> Option<u32> {
        self.validators
            .binary_search_by_key(address, |(address, _)| *address)
            .ok()
            .and_then(|index| u32::try_from(index).ok())
    }

    /// The validator with an address.
    pub fn get(&self, address: &Address) -> Option<&Validator> {
        let index = self.index_of(address)?;
        self.validators.get(index as usize).map(|(_, validator)| validator)
    }

    /// All, in address order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Address, &Validator)> {
        self.validators.iter().map(|(address, validator)| (address, validator))
    }

    /// Who proposes at a height and round: validators take turns in address order, one per height and per round.
    pub fn proposer(&self, height: Height, round: Round) -> &Address {
        let turn = (height.0.wrapping_sub(1)).wrapping_add(u64::from(round.0)) % self.validators.len() as u64;
        let turn = usize::try_from(turn).expect("a position in memory");
        let (address, _) = self
            .validators
            .get(turn)
            .expect("a turn is below the number of validators");
        address
    }

    /// Whether `power` is more than two thirds of the whole.
    pub fn is_quorum(&self, power: u64) -> bool {
        // TOTAL_POWER_MAX keeps both products inside u64.
        power * 3 > self.total_power * 2
    }

    /// Whether `power` is more than one third of the whole: at least one honest validator is among its owners.
    pub fn is_honest(&self, power: u64) -> bool {
        power * 3 > self.total_power
    }
}

#[cfg(test)]
mod tests;
