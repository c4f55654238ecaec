//! This file knows every input the core takes, and everything it may want done.

use ultramarine_types::execution::{EngineCall, EngineReply};
use ultramarine_types::network::{NetCommand, NetEvent};
use ultramarine_types::storage::{Recovered, StoreReply, StoreRequest};
use ultramarine_types::{Address, CommitCertificate, Evidence, Hash, Height, Nanos, Round, Stage, ValueId, ValueKey};

use crate::clocks::Grade;
use crate::stop::Stop;

/// What the core takes.
#[derive(Debug)]
pub enum Input {
    /// What the data directory holds. It comes once, before everything but a wall clock.
    Boot(Box<Recovered>),
    /// The host's wall clock; sent before `Boot` and once a second.
    WallClock {
        /// Nanoseconds since the Unix epoch.
        unix_ns: u64,
    },
    Net(NetEvent),
    Store(StoreReply),
    /// From the execution client's driver.
    Engine(EngineReply),
}

/// What the core wants done, in the order in which it comes.
#[derive(Debug)]
pub enum Output {
    Net(NetCommand),
    Store(StoreRequest),
    /// For the execution client's driver.
    Engine(EngineCall),
    /// For people: logs, metrics, `/status`.
    Event(Event),
    /// Stop the process: nothing more may be signed or sent.
    Stop(Stop),
}

/// What people want to know.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A round began at the current height.
    Round {
        height: Height,
        round: Round,
        proposer: Address,
        /// Whether that is us.
        ours: bool,
    },
    /// A height was decided, and its commit is durable.
    Decided {
        certificate: CommitCertificate,
        /// Blobs of the block.
        blobs: u32,
        /// Bytes of its payload and of the blobs that are here.
        bytes: u64,
        /// The validator that built it.
        origin_proposer: Address,
        /// The round it was built in.
        origin_round: Round,
        block_hash: Hash,
        /// Whether it came by sync.
        synced: bool,
        /// Whether our execution client has called the block `VALID`. Else it has yet to execute it.
        client_valid: bool,
    },
    /// A stage of a block took this long here.
    Stage { key: ValueKey, stage: Stage, took: Nanos },
    /// The execution client became ready, or is so no longer, and why.
    Readiness {
        /// Whether it confirms our head, and has called the newest blocks `VALID` that it was asked about.
        ready: bool,
        /// One line for the operator.
        why: String,
        /// Whether it is worth a line: such a state may come and go twice a second.
        is_news: bool,
    },
    /// The execution client has imported up to here.
    Executed {
        /// Height of its head.
        height: Height,
    },
    /// A value is invalid, so we do not vote for it.
    InvalidValue {
        key: ValueKey,
        /// The validator that built it.
        origin_proposer: Address,
        /// What makes it invalid.
        reason: String,
    },
    /// A validator signed two different things for one step, or a false value. The store keeps what convicts it.
    Evidence(Evidence),
    /// We sign at this height, or follow without signing, and why.
    Signing {
        /// From this height on.
        height: Height,
        active: bool,
        /// Whether this is normal: so it is for a full node, or while we catch up.
        usual: bool,
        /// One line for the operator.
        why: String,
    },
    /// How far we are behind, or that we are no longer. Sent when it changes.
    Lag {
        ours: Height,
        /// The highest tip that is proven: by a certificate, or by the word of more than a third of the power.
        best: Height,
    },
    /// A decided height is damaged here. Nothing of it is served until it is restored from a peer.
    Damaged {
        height: Height,
        /// How many heights are damaged now.
        damaged_count: usize,
    },
    /// A damaged height was written anew, and is served again.
    Restored {
        height: Height,
        /// How many heights are still damaged.
        damaged_count: usize,
    },
    /// How our wall clock compares with the validators' median. Sent when it changes.
    Clock {
        /// How far our clock is ahead of the median; `None` if too few were heard.
        offset_ns: Option<i64>,
        grade: Grade,
        /// How many validators' clocks are off, whatever ours is.
        peers_off: usize,
    },
    /// A validator's wall clock is off, or no longer.
    PeerClock {
        validator: Address,
        /// How far it is ahead of the validators' median.
        offset_ns: i64,
        grade: Grade,
    },
    /// The height does not move though it should. Sent once a second while that lasts.
    Stalled {
        /// The height to be decided.
        height: Height,
        still: Nanos,
        /// What the height waits for.
        why: String,
        /// Whether it is worth a line: it began, its reason changed, or it has lasted for long.
        is_news: bool,
    },
    /// The height that did not move does move, or the reason is gone.
    Moving {
        /// The height to be decided.
        height: Height,
    },
    /// A message of ours leaves; for logs, and for tests that look for double signing.
    Signed {
        height: Height,
        round: Round,
        /// `prevote`, `precommit`, `proposal` or `init`.
        kind: &'static str,
        /// The value or nil.
        value_id: Option<ValueId>,
    },
}
