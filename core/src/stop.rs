//! This file knows why the node stops itself, and every word that an operator reads about it.

use ultramarine_types::verify::Refutation;
use ultramarine_types::{Height, Round, ValueKey};

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
    /// No crash leaves the data directory, or the node, in this state.
    #[error("the data directory is in an impossible state: {0}")]
    State(ImpossibleState),
}

/// What is wrong with a decided block.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecidedFault {
    /// Its bytes can never be whole.
    #[error("decided value {key}: blob {index}: {why}")]
    Flawed { key: ValueKey, index: u16, why: Refutation },
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
