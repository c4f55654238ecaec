//! This file knows why the node stops itself, and every word that an operator reads about it.

use ultramarine_types::evidence::FalseValue;
use ultramarine_types::network::Flaw;
use ultramarine_types::verify::Refutation;
use ultramarine_types::{Address, Hash, Height, KzgCommitment, KzgProof, Round, Signature, ValueKey};

use crate::guard::{Conflict, SignedKind};
use crate::log::LogRecordError;
use crate::rules::BrokenRule;

/// Why the node stops itself. Displayed, it says what happened and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stop {
    /// The disk failed. The store's own words say what, where, and what to do.
    #[error("{0}; nothing more was signed")]
    Disk(String),
    /// Our own signature would contradict an earlier one.
    #[error("refused to contradict an earlier signature: {0}. Is another process signing with this key?")]
    Equivocation(Conflict),
    /// Two signatures of ours in the log contradict each other.
    #[error(
        "refused to contradict an earlier signature: the log contradicts itself: {0}. Is another process signing with \
         this key?"
    )]
    ContradictoryLog(Conflict),
    /// The execution client calls a decided block invalid, or a decided block breaks a rule. The store has, with its
    /// certificate, only what was committed before.
    #[error("a decided block cannot be executed: {0}. Compare with other operators before restarting")]
    DecidedInvalid(DecidedFault),
    /// Peers hold a signature of ours that we do not know: another process may be signing with this key.
    #[error(
        "peers hold signatures of this key that this data directory does not know: {0}. Make sure no other process \
         uses the key"
    )]
    ForeignSignatures(ForeignSignature),
    /// The log cannot be replayed.
    #[error(
        "the consensus log cannot be replayed: {0}. Start the version that wrote it; or stay without a vote at this \
         one height: move the files `log-*` out of the data directory and start again"
    )]
    Replay(ReplayFault),
    /// Malachite broke an input off in its midst. Its state counts on what was never done.
    #[error(
        "consensus broke off in the midst of an input {0}. Start the node again: its log brings the height back. If it \
         stops here again, keep the data directory and report this"
    )]
    Consensus(BrokenOff),
    /// No crash leaves the data directory, or the node, in this state.
    #[error("the data directory is in an impossible state: {0}")]
    State(ImpossibleState),
}

/// What is wrong with a decided block.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecidedFault {
    /// Its own blob refutes it.
    #[error(transparent)]
    Flawed(Box<DecidedFlaw>),
    /// Its metadata breaks a rule.
    #[error("decided value {key} breaks a rule: {broken}")]
    Metadata { key: ValueKey, broken: BrokenRule },
    /// Its payload is not what the metadata says. The driver's own words say why.
    #[error("decided value {key} breaks a rule: {reason}")]
    Payload { key: ValueKey, reason: String },
    #[error("the execution client calls decided block {height} INVALID: {reason}; it is kept with its certificate")]
    Block { height: Height, reason: String },
    #[error("the execution client refuses decided head {height}: {reason}; it is kept with its certificate")]
    Head { height: Height, reason: String },
}

/// A decided value that its own blob refutes, with all that convicts its proposer but the lists and the blob.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "decided value {key}: blob {index}: {why}. Validator {proposer} signed this value ({signature}); it binds \
     commitment {commitment}, proof {proof} and digest {digest}. {}",
    if *.is_evidence_kept {
        "The evidence is in the data directory, and served under /ultramarine/v1/evidence while a node runs on it"
    } else {
        "The evidence is not kept: the disk had no room for it, or failed"
    }
)]
pub struct DecidedFlaw {
    pub key: ValueKey,
    pub index: u16,
    pub why: Refutation,
    /// The validator that built and signed the value.
    pub proposer: Address,
    pub signature: Signature,
    pub commitment: KzgCommitment,
    pub proof: KzgProof,
    pub digest: Hash,
    /// Whether the store has the evidence.
    pub is_evidence_kept: bool,
}

impl DecidedFlaw {
    /// What evidence that was checked says of a value. Evidence that lacks what it names shows as zeros.
    pub fn new(key: ValueKey, flaw: &Flaw) -> Self {
        let FalseValue { init, lists, .. } = &*flaw.evidence;
        let at = usize::from(flaw.index);
        Self {
            key,
            index: flaw.index,
            why: flaw.why,
            proposer: init.metadata.origin_proposer,
            signature: init.signature,
            commitment: lists.commitments.get(at).copied().unwrap_or(KzgCommitment::ZERO),
            proof: lists.proofs.get(at).copied().unwrap_or(KzgProof::ZERO),
            digest: lists.digests.get(at).copied().unwrap_or(Hash::ZERO),
            is_evidence_kept: true,
        }
    }
}

impl Stop {
    /// The store did not keep the evidence.
    pub(crate) fn lose_evidence(&mut self) {
        if let Self::DecidedInvalid(DecidedFault::Flawed(flaw)) = self {
            flaw.is_evidence_kept = false;
        }
    }
}

/// A signature of our key that this process did not make.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a {what} of ours at height {height}, round {round}, which this process did not sign: another one is signing with \
     this key. Started again, this node follows without signing until a whole height has passed without such a \
     signature",
    what = .kind.name()
)]
pub struct ForeignSignature {
    pub kind: SignedKind,
    pub height: Height,
    pub round: Round,
}

/// An input that consensus broke off.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at height {height}: {error}")]
pub struct BrokenOff {
    pub height: Height,
    /// Malachite's own words.
    pub error: String,
}

/// Why the log cannot be replayed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayFault {
    /// Malachite derived something else than what the log has. The text is Malachite's own.
    #[error("{0}")]
    Divergence(String),
    /// A record is not of this version.
    #[error("record {index} of the log of height {height}: {error}")]
    Undecodable {
        index: usize,
        height: Height,
        error: LogRecordError,
    },
    /// A record belongs to another height than its log.
    #[error("record {index} of the log of height {height}: the record is of height {found}")]
    OtherHeight {
        index: usize,
        height: Height,
        found: Height,
    },
}

/// What no crash leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImpossibleState {
    #[error("the core was booted twice")]
    BootedTwice,
    #[error("the store committed height {height}, which was not decided")]
    UndecidedCommit { height: Height },
    #[error("consensus decided {key}, whose bytes are not stored")]
    BytesMissing { key: ValueKey },
    #[error(
        "the log is of height {log} but the newest decided height is {head}: decided heights were lost. Restore the \
         whole data directory, or start with an empty one"
    )]
    HeadLost { log: Height, head: Height },
}
