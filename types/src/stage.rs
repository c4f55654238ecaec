//! This file knows the stages of a block's life, as histograms and the waterfall name them.

/// A stage of a block between the request to build it and its import; see ARCHITECTURE.md, "A block's journey".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// `GetValue` to the payload and bundle in hand.
    Build,
    /// First part seen to last part seen.
    Stream,
    /// Last blob's last byte to the last verdict.
    Verify,
    /// Bytes handed to the store to the durable receipt.
    Persist,
    /// Payload handed to the execution client to its answer.
    Execute,
    /// Value valid here to decision.
    Vote,
    /// Decision to `forkchoiceUpdated` answered `VALID` on it.
    Import,
    /// The first round's proposal started to decision, rounds that were lost included: what "commit latency" means in
    /// the status line. A height that came decided has none.
    Commit,
}

impl Stage {
    /// Every stage, in the order a block passes them.
    pub const ALL: [Self; 8] = [
        Self::Build,
        Self::Stream,
        Self::Verify,
        Self::Persist,
        Self::Execute,
        Self::Vote,
        Self::Import,
        Self::Commit,
    ];

    /// The name in metrics, reports and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Stream => "stream",
            Self::Verify => "verify",
            Self::Persist => "persist",
            Self::Execute => "execute",
            Self::Vote => "vote",
            Self::Import => "import",
            Self::Commit => "commit",
        }
    }
}
