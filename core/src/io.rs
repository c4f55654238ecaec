//! This file knows everything the core is told and everything it may want done.

use ultramarine_types::execution::{EngineCall, EngineReply};
use ultramarine_types::network::{NetCommand, NetEvent};
use ultramarine_types::storage::{Recovered, StoreReply, StoreRequest};
use ultramarine_types::{Address, CommitCertificate, Evidence, Hash, Height, Nanos, Round, Stage, ValueId, ValueKey};

use crate::clocks::Grade;
use crate::stop::Stop;

/// What the core is told.
#[derive(Debug)]
pub enum Input {
    /// First of all, once: what the data directory holds.
    Boot(Box<Recovered>),
    /// The host's wall clock, in nanoseconds since the Unix epoch; sent before `Boot` and once a second.
    WallClock {
        /// Nanoseconds since the Unix epoch.
        unix_ns: u64,
    },
    /// From the network.
    Net(NetEvent),
    /// From the store.
    Store(StoreReply),
    /// From the execution client's driver.
    Engine(EngineReply),
}

/// What the core wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// For the network.
    Net(NetCommand),
    /// For the store.
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
    /// A round began.
    Round {
        /// Height.
        height: Height,
        /// Round.
        round: Round,
        /// Who proposes in it.
        proposer: Address,
        /// Whether that is us.
        ours: bool,
    },
    /// A height was decided and its commit is durable.
    Decided {
        /// The certificate.
        certificate: CommitCertificate,
        /// Blobs of the block.
        blobs: u32,
        /// Payload and blob bytes.
        bytes: u64,
        /// Who built it.
        origin_proposer: Address,
        /// The round it was built in.
        origin_round: Round,
        /// Its execution block.
        block_hash: Hash,
        /// Whether it came by sync.
        synced: bool,
    },
    /// A stage of a block took this long here.
    Stage {
        /// The value.
        key: ValueKey,
        /// Which stage.
        stage: Stage,
        /// How long.
        took: Nanos,
    },
    /// The execution client became ready, or is so no longer, and why.
    Readiness {
        /// Whether it confirms our head, so that we may propose and give first verdicts.
        ready: bool,
        /// One line for the operator.
        why: String,
    },
    /// The execution client has imported up to here.
    Executed {
        /// Height of its head.
        height: Height,
    },
    /// A value was found invalid; nobody votes for it here.
    InvalidValue {
        /// The value.
        key: ValueKey,
        /// Who built it.
        origin_proposer: Address,
        /// The broken rule.
        reason: String,
    },
    /// A validator signed two different things for one step; the store keeps both.
    Evidence(Evidence),
    /// We sign at this height, or follow without signing, and why.
    Signing {
        /// From this height on.
        height: Height,
        /// Whether we sign.
        active: bool,
        /// Nothing is the matter: so it is for a full node, or while heights are caught up with.
        usual: bool,
        /// One line for the operator.
        why: String,
    },
    /// We are behind, or no longer. Sent when it changes.
    Lag {
        /// Our tip.
        ours: Height,
        /// The highest tip that is proven: by a certificate, or by the word of more than a third of the power.
        best: Height,
    },
    /// Our wall clock beside the validators' median, when that changes.
    Clock {
        /// What our clock says more than the median; `None`: too few were heard.
        offset_ns: Option<i64>,
        /// How bad it is.
        grade: Grade,
        /// Validators whose clocks are off, whatever ours is.
        peers_off: usize,
    },
    /// A validator's wall clock is off, or no longer.
    PeerClock {
        /// Whose.
        validator: Address,
        /// What it says more than the validators' median.
        offset_ns: i64,
        /// How bad it is.
        grade: Grade,
    },
    /// The height does not move while it should. Sent once a second while that lasts.
    Stalled {
        /// The height to be decided.
        height: Height,
        /// For how long.
        still: Nanos,
        /// What is waited for.
        why: String,
        /// Worth a line: it began, its reason changed, or it has lasted for long.
        is_news: bool,
    },
    /// The height that did not move does, or its reason is gone.
    Moving {
        /// The height to be decided.
        height: Height,
    },
    /// A message of ours left; by what kind, for tests that look for double signing.
    Signed {
        /// Height.
        height: Height,
        /// Round.
        round: Round,
        /// `prevote`, `precommit`, `proposal` or `init`.
        kind: &'static str,
        /// The value or nil.
        value_id: Option<ValueId>,
    },
}
