//! This file knows the bugs that can be planted, to prove that the simulator finds them. Never compiled into a node.

/// One planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// Propose and judge though the execution client has not confirmed the head.
    SkipGate,
    /// Accept a block whose blob gas is not that of its commitments.
    WrongBlobCount,
    /// Look a value's bytes up by round instead of by id.
    BytesByRound,
    /// Call a value invalid because a relay sent a bad part of it.
    RelayBlamed,
    /// Ignore the log's records when filling the guard.
    StaleLog,
    /// Prevote for a value before it was executed.
    PrevoteBeforeExecution,
}
