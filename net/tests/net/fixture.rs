//! Values, peers and sources for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Absent, Blobs, Decided, DecidedPayload, OnDisk, Source};
use ultramarine_types::verify::{Refutation, ValueOutcome, Verdict, VerifyJob};
use ultramarine_types::{
    Address, Assembly, Chain, ChainParams, CommitCertificate, ConsensusMessage, ExecutionHeader, Hash, Height, Init,
    KzgCommitment, KzgProof, Lists, PeerId, Round, Signature, ValueId, ValueKey, ValueMetadata, Vote, VoteKind,
    fixtures,
};

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn params(blobs_per_block_max: u32) -> ChainParams {
    ChainParams {
        chain_id: 77,
        execution_genesis_hash: Hash::ZERO,
        blobs_per_block_max,
        block_interval_ms: 1000,
        blob_retention_heights_min: 10,
        gas_limit_min: 0,
        gas_limit_max: u64::MAX,
        genesis_time: 0,
        prague_time: None,
    }
}

pub fn chain(blobs_per_block_max: u32) -> Chain {
    Chain {
        identity: fixtures::CHAIN,
        params: params(blobs_per_block_max),
    }
}

pub fn peer(byte: u8) -> PeerId {
    PeerId([byte; 32])
}

/// A whole value. `salt` tells two values of one height apart.
pub fn value(height: u64, salt: u8, payload_bytes: usize, blobs: usize) -> Assembly {
    value_with(height, salt, payload_bytes, blobs, None)
}

/// A value that announces the largest payload, of which nobody has a chunk: the cheapest way to make a node reserve
/// memory.
pub fn large(height: u64, salt: u8, blobs: usize) -> Assembly {
    let mut value = value(height, salt, 10, blobs);
    let mut init = value.init.as_ref().clone();
    init.metadata.payload_bytes = 16 * 1024 * 1024;
    value.key = init.key();
    value.init = init.into();
    value
}

/// The same of another proposer.
pub fn proposed_by(proposer: u8, mut value: Assembly) -> Assembly {
    let mut init = value.init.as_ref().clone();
    init.metadata.origin_proposer = Address([proposer; 20]);
    value.key = init.key();
    value.init = init.into();
    value
}

/// A value whose proposer bound a proof that does not hold for one blob.
pub fn false_value(height: u64, blobs: usize, wrong: usize) -> Assembly {
    value_with(height, 0, 1000, blobs, Some(wrong))
}

fn value_with(height: u64, salt: u8, payload_bytes: usize, blobs: usize, wrong: Option<usize>) -> Assembly {
    let payload: Bytes = (0..payload_bytes)
        .map(|index| (index as u8).wrapping_mul(31) ^ (index >> 8) as u8 ^ salt)
        .collect::<Vec<_>>()
        .into();
    let mark = |index: usize| [salt, index as u8, (index >> 8) as u8];
    let commitment = |index: usize| {
        let mut commitment = [0; 48];
        commitment[..3].copy_from_slice(&mark(index));
        KzgCommitment(commitment)
    };
    let proof = |index: usize| {
        let mut proof = [1; 48];
        proof[..3].copy_from_slice(&mark(index));
        if wrong == Some(index) {
            proof[0] ^= 1;
        }
        KzgProof(proof)
    };
    let blob = |index: usize| {
        let mut blob = vec![0; BLOB_BYTES];
        blob[..3].copy_from_slice(&mark(index));
        blob[BLOB_BYTES - 3..].copy_from_slice(&mark(index));
        Bytes::from(blob)
    };
    let bytes: Vec<Bytes> = (0..blobs).map(blob).collect();
    let bound = bytes
        .iter()
        .enumerate()
        .map(|(index, blob)| (blob.as_ref(), commitment(index)));
    let lists = Lists::of(&payload, bound, (0..blobs).map(proof).collect());
    let metadata = ValueMetadata {
        origin_proposer: Address([3; 20]),
        header: ExecutionHeader {
            extra_data: vec![1, 2, 3],
            ..fixtures::header(height)
        },
        ..fixtures::metadata(height, &payload, &lists)
    };
    let init = Init {
        metadata,
        signature: Signature([5; 64]),
        header_signature: Signature([6; 64]),
    };
    fixtures::assembly(init, lists, payload, bytes)
}

pub fn certificate(key: ValueKey) -> CommitCertificate {
    fixtures::certificate(key, Round(0))
}

pub fn vote(height: u64) -> ConsensusMessage {
    ConsensusMessage::Vote(Vote {
        kind: VoteKind::Precommit,
        height: Height(height),
        round: Round(1),
        value_id: Some(ValueId([9; 32])),
        voter: Address([1; 20]),
        signature: Signature([2; 64]),
    })
}

/// Whether a proof holds for a blob and its commitment, as [`value`] makes them.
fn holds(commitment: &KzgCommitment, blob: &[u8], proof: &KzgProof) -> bool {
    let mark = &commitment.0[..3];
    blob.len() == BLOB_BYTES && &blob[..3] == mark && &blob[BLOB_BYTES - 3..] == mark && &proof.0[..3] == mark
}

/// The lanes, with digests as they are and proofs as [`value`] makes them.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Positions of each value with right bytes, and the first of them whose proof does not hold.
    right: BTreeMap<ValueKey, (BTreeSet<u16>, Option<Wrong>)>,
}

/// A blob of which the proof does not hold: its position and its proof.
type Wrong = (u16, KzgProof);

impl Lanes {
    pub fn forget(&mut self, key: ValueKey) {
        self.right.remove(&key);
    }

    /// The verdict about the bytes of a job alone.
    pub fn hash(job: &VerifyJob) -> (bool, Verdict) {
        let digest = blob_digest(&job.blob, &job.commitment);
        let is_right = job.digest.is_none_or(|wanted| wanted == digest);
        let verdict = Verdict::Part {
            key: job.key,
            index: job.index,
            sender: job.sender,
            digest,
            is_right,
        };
        (is_right, verdict)
    }

    /// The verdicts that a job leads to.
    pub fn judge(&mut self, job: &VerifyJob) -> Vec<Verdict> {
        let (is_right, verdict) = Self::hash(job);
        let mut verdicts = vec![verdict];
        if is_right {
            let (right, wrong) = self.right.entry(job.key).or_default();
            right.insert(job.index);
            if !holds(&job.commitment, &job.blob, &job.proof) {
                let this = (job.index, job.proof);
                *wrong = Some(wrong.map_or(this, |before| if before.0 < job.index { before } else { this }));
            }
            if right.len() == usize::from(job.blobs_count) {
                let why = Refutation::Wrong;
                let outcome = wrong.map_or(ValueOutcome::Holds, |(index, proof)| ValueOutcome::Fails {
                    index,
                    why,
                    proof,
                });
                verdicts.push(Verdict::Value { key: job.key, outcome });
                self.right.remove(&job.key);
            }
        }
        verdicts
    }
}

pub fn same_bytes(left: &Assembly, right: &Assembly) -> bool {
    left.key == right.key
        && left.init == right.init
        && left.lists == right.lists
        && left.payload == right.payload
        && left.blobs == right.blobs
}

/// A source in memory.
#[derive(Debug, Default)]
pub struct Shelf {
    values: Mutex<BTreeMap<ValueKey, Assembly>>,
    decided: Mutex<BTreeMap<Height, (Decided, Option<Absent>)>>,
    disk: Arc<Disk>,
    on_disk: Mutex<Option<OnDisk>>,
    /// How often one blob was asked for by itself.
    pub blobs_read: AtomicUsize,
}

/// A disk that may make readers wait.
#[derive(Debug, Default)]
struct Disk {
    state: Mutex<(Option<ValueKey>, usize)>,
    moved: Condvar,
}

/// Readers of a value wait until this is dropped.
pub struct Stuck(Arc<Disk>);

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.state.lock().expect("no panic").0 = None;
        self.0.moved.notify_all();
    }
}

impl Shelf {
    pub fn put(&self, assembly: Assembly) {
        self.values.lock().expect("no panic").insert(assembly.key, assembly);
    }

    /// Lets go of every value.
    pub fn clear(&self) {
        self.values.lock().expect("no panic").clear();
    }

    /// Makes readers of a value wait.
    pub fn stick(&self, key: ValueKey) -> Stuck {
        self.disk.state.lock().expect("no panic").0 = Some(key);
        Stuck(self.disk.clone())
    }

    /// Waits until at least `least` readers wait.
    pub fn expect_waiting(&self, least: usize) {
        let state = self.disk.state.lock().expect("no panic");
        let few = |state: &mut (Option<ValueKey>, usize)| state.1 < least;
        let (state, waited) = self
            .disk
            .moved
            .wait_timeout_while(state, PATIENCE, few)
            .expect("no panic");
        assert!(!waited.timed_out(), "{} readers wait", state.1);
    }

    /// Says where every value lies on disk.
    pub fn lie_at(&self, range: OnDisk) {
        *self.on_disk.lock().expect("no panic") = Some(range);
    }

    /// Decides a value that was put; `absent` says why its blobs are not here.
    pub fn decide(&self, key: ValueKey, absent: Option<Absent>) {
        let init = self.values.lock().expect("no panic")[&key].init.clone();
        let blobs = match absent {
            None | Some(Absent::Damaged | Absent::Unknown) => Blobs::Held,
            Some(Absent::Pruned { .. }) => Blobs::Pruned,
            Some(Absent::NeverHeld) => Blobs::NeverHeld,
        };
        let decided = Decided {
            certificate: certificate(key),
            init,
            blobs,
        };
        self.decided
            .lock()
            .expect("no panic")
            .insert(key.height, (decided, absent));
    }
}

impl Source for Shelf {
    fn head(&self) -> Height {
        self.decided
            .lock()
            .expect("no panic")
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default()
    }

    fn oldest_blobs(&self) -> Height {
        Height(1)
    }

    fn decided(&self, height: Height) -> Option<Decided> {
        self.decided
            .lock()
            .expect("no panic")
            .get(&height)
            .map(|(decided, _)| decided.clone())
    }

    fn height_of_block(&self, _block_hash: &Hash) -> Option<Height> {
        None
    }

    fn on_disk(&self, _key: &ValueKey) -> Option<OnDisk> {
        self.on_disk.lock().expect("no panic").clone()
    }

    fn value(&self, key: &ValueKey) -> Result<Assembly, Absent> {
        let mut state = self.disk.state.lock().expect("no panic");
        if state.0 == Some(*key) {
            state.1 += 1;
            self.disk.moved.notify_all();
            let stuck = |state: &mut (Option<ValueKey>, usize)| state.0 == Some(*key);
            // Not for ever, so that a test that fails does end.
            let (waited, _) = self
                .disk
                .moved
                .wait_timeout_while(state, 2 * PATIENCE, stuck)
                .expect("no panic");
            state = waited;
            state.1 -= 1;
        }
        drop(state);
        self.values
            .lock()
            .expect("no panic")
            .get(key)
            .cloned()
            .ok_or(Absent::Unknown)
    }

    fn blob(&self, key: &ValueKey, index: usize) -> Result<Bytes, Absent> {
        let decided = self.decided.lock().expect("no panic").get(&key.height).cloned();
        if let Some((_, Some(absent))) = decided {
            return Err(absent);
        }
        self.blobs_read.fetch_add(1, Ordering::Relaxed);
        self.value(key)?.blobs.get(index).cloned().ok_or(Absent::Unknown)
    }

    fn decided_value(&self, height: Height) -> Result<(Decided, Assembly), Absent> {
        let (decided, absent) = self
            .decided
            .lock()
            .expect("no panic")
            .get(&height)
            .cloned()
            .ok_or(Absent::Unknown)?;
        if let Some(absent) = absent {
            return Err(absent);
        }
        let key = ValueKey {
            height,
            id: decided.certificate.value_id,
        };
        Ok((decided, self.value(&key)?))
    }

    fn decided_payload(&self, height: Height) -> Option<DecidedPayload> {
        let decided = self.decided(height)?;
        let key = ValueKey {
            height,
            id: decided.certificate.value_id,
        };
        let Assembly { lists, payload, .. } = self.value(&key).ok()?;
        Some(DecidedPayload {
            decided,
            lists,
            payload,
        })
    }
}
