//! This file knows what the network tells the core and what the core asks of it. Blob bytes never pass here.

use std::sync::Arc;

use bytes::Bytes;
use rkyv::{Archive, Deserialize, Serialize};

use crate::consensus::{CommitCertificate, ConsensusMessage, SignedMessage};
use crate::evidence::FalseValue;
use crate::hearing::Hearing;
use crate::ids::{Address, Height, PeerId, Round, ValueId, ValueKey};
use crate::lists::Lists;
use crate::positions::Positions;
use crate::storage::Tag;
use crate::value::Init;
use crate::verify::Refutation;

/// What a node tells its peers about itself, on change and at least every [`crate::limits::STATUS_INTERVAL`].
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Status {
    /// The newest height it has decided.
    pub tip: Height,
    /// Oldest height whose blobs it serves.
    pub oldest_blobs: Height,
    /// Round it is in at `tip + 1`.
    pub round: Round,
    /// Undecided values of `tip + 1` that it holds whole and can be asked for. At most
    /// [`crate::limits::STATUS_VALUES_MAX`].
    pub holds: Vec<ValueId>,
    /// The latest message of the *receiver* that the sender has seen, if any. A receiver that lost its memory of what
    /// it signed finds out by it, and so does one that shares its key with another node. The message's own signature
    /// proves it; the sender need not be trusted.
    pub seen_signed: Option<SignedMessage>,
    /// The sender's clocks, for the receiver to compare its own with. Nothing in consensus depends on them.
    pub clock: ClockReading,
    /// Whether it would begin the chain's first height now: its execution client has confirmed the genesis block.
    /// Always so above.
    pub ready: bool,
    /// The validators whose nodes are connected to the sender. What they sign reaches it without a relay.
    pub links: Positions,
    /// Whether it could propose now: it is a validator that signs, and its execution client follows its head. Where it
    /// is behind, its `tip` says so.
    pub proposes: bool,
}

/// What a status says of time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct ClockReading {
    /// The sender's wall clock, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// A moment of the sender's own monotonic clock. It comes back in an [`Echo`] and means something to its sender
    /// alone.
    pub token: u64,
    /// The newest reading of the receiver that the sender has.
    pub echo: Option<Echo>,
}

/// A reading that comes back. Its sender learns from it how long the way there and back took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Echo {
    /// [`ClockReading::token`], as it came.
    pub token: u64,
    /// How long it lay where it came from, in nanoseconds.
    pub held_ns: u64,
}

/// Names one incoming stream of parts (or sync answer) between `Offer` and its verdict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OfferId(pub u64);

/// What an offer brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfferKind {
    /// A proposal's stream, first or again, or requested parts of it.
    Proposal,
    /// A sync package with its blobs.
    Full,
    /// A sync package of a height whose blobs are past retention.
    MetadataOnly,
}

/// Why an offer was not admitted. Only `Invalid` costs the peer its score.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Of a height that is decided, or far ahead.
    Height,
    /// The value is complete here already, or another peer is sending it.
    Held,
    /// Two value ids are admitted in this round already and no certificate names this one.
    Full,
    /// A signature, an election or a certificate does not hold.
    Invalid { reason: &'static str },
}

/// Faults that cost a peer its score: provable from signed or hashed data, or measured by ourselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Fault {
    /// A frame that does not parse, is too long, or comes where it may not.
    Protocol,
    /// A signature that does not verify.
    Signature,
    /// A list, a chunk or a blob whose hash is not the one that the value binds.
    Part,
    /// It proposed a value whose own proof does not hold.
    Proof,
    /// A certificate that does not verify.
    Certificate,
    /// A package that does not hash to its certificate's value id, or is otherwise unusable.
    Package,
    /// It proposed what breaks a block rule, by what it signed.
    Rule,
    /// It proposed what our execution client calls invalid: our word alone, and our client may be at fault.
    Execution,
    /// It promised bytes and did not deliver within the deadline.
    Withheld,
    /// It sent more than its budget.
    Flood,
}

impl Fault {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Signature => "signature",
            Self::Part => "part",
            Self::Proof => "proof",
            Self::Certificate => "certificate",
            Self::Package => "package",
            Self::Rule => "rule",
            Self::Execution => "execution",
            Self::Withheld => "withheld",
            Self::Flood => "flood",
        }
    }
}

/// How a sync request ended, when it brought no offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SyncEnd {
    /// The certificate alone, as asked.
    Certificate(CommitCertificate),
    /// The peer has not decided that height.
    NotDecided { tip: Height },
    /// The peer should have it and cannot serve it.
    Unavailable,
    /// No answer in time, or the connection went.
    TimedOut,
    /// The peer was not asked in time: too much else was asked of it, or our process slept. Nobody is at fault.
    NotAsked,
    /// The answer could not be used; the peer's score was charged already.
    Unusable,
}

/// What an admitted value's own id binds and nobody's bytes can mend: its origin proposer's fault.
#[derive(Clone, Debug)]
pub struct Flaw {
    /// The blob whose commitment or proof does not hold.
    pub index: u16,
    pub why: Refutation,
    /// What shows it to anybody.
    pub evidence: Box<FalseValue>,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "blob {}: {}", self.index, self.why)
    }
}

/// What the network tells the core.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// An authenticated connection is up.
    PeerUp {
        peer: PeerId,
        /// The validator that attests it; `None` for a full node.
        validator: Option<Address>,
    },
    /// The last connection to a peer is gone.
    PeerDown {
        peer: PeerId,
    },
    /// A consensus message, well-formed and not verified.
    Message {
        peer: PeerId,
        message: ConsensusMessage,
    },
    Status {
        peer: PeerId,
        status: Status,
    },
    /// A call of a validator that has just started, or an answer to one; not verified.
    Hearing {
        peer: PeerId,
        hearing: Hearing,
    },
    /// A stream began with this `Init`; its bytes wait for [`NetCommand::Admit`] or [`NetCommand::Refuse`]. The key
    /// was computed from the metadata, signatures are not verified.
    Offer {
        offer: OfferId,
        peer: PeerId,
        /// Computed from `init`, never taken from the wire.
        key: ValueKey,
        /// Unchanged, as it came from the peer.
        init: Arc<Init>,
        /// Proposal or sync package.
        kind: OfferKind,
        /// Of a sync package; names the same height and value id as `key`.
        certificate: Option<CommitCertificate>,
    },
    /// An admitted value's payload is whole and is what its `Init` binds; blobs may still be under way. Sent once per
    /// assembly of a value, before the store answers `Stored`.
    Payload {
        key: ValueKey,
        lists: Arc<Lists>,
        payload: Bytes,
    },
    /// An admitted value can never be good. If the evidence does not show that, the answer is
    /// [`NetCommand::Rejudge`].
    Flawed {
        key: ValueKey,
        flaw: Flaw,
    },
    /// Parts of an admitted value are missing that no stream will bring: one ended or broke, or parts were wrong. Ask
    /// somebody with [`NetCommand::Fetch`].
    Incomplete {
        key: ValueKey,
        /// The peer that sent the stream or the blobs: ask another one first.
        peer: PeerId,
    },
    /// A sync request ended without an offer.
    SyncEnded {
        /// The peer that was asked.
        peer: PeerId,
        /// The height asked for.
        height: Height,
        end: SyncEnd,
    },
}

/// The peers that a message goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recipients {
    All,
    One(PeerId),
}

/// What a sync request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum SyncWant {
    /// Certificate, metadata, payload and blobs.
    Package,
    /// The same without its blobs. The answer is offered as `MetadataOnly`, whatever the peer has of the height.
    Payload,
    /// The certificate only: the bytes are held already.
    Certificate,
}

/// What the core asks of the network.
#[derive(Clone, Debug)]
pub enum NetCommand {
    /// Send a consensus message; it has passed the gate.
    Send {
        to: Recipients,
        message: ConsensusMessage,
    },
    /// Send our status; `seen_signed` is filled per receiver from `signed` by the core, so this goes to one peer.
    Status {
        to: PeerId,
        status: Status,
    },
    /// Send a call, or an answer to one.
    Hearing {
        to: PeerId,
        hearing: Hearing,
    },
    /// Take an offer's bytes.
    Admit {
        offer: OfferId,
        /// How the value will be tagged in the store.
        tag: Tag,
    },
    /// Stop an offer's stream.
    Refuse {
        offer: OfferId,
        why: Refusal,
    },
    /// Stream a stored value: `Init`, lists, payload chunks, blobs, `Fin`, one unidirectional stream per receiver.
    Stream {
        /// The value; it is stored.
        key: ValueKey,
        to: Recipients,
    },
    /// Ask a peer for an undecided value, or for what is missing of it.
    Fetch {
        key: ValueKey,
        peer: PeerId,
    },
    /// Ask a peer for a decided height.
    Sync {
        peer: PeerId,
        height: Height,
        want: SyncWant,
    },
    /// The evidence of a flaw that was told of this value does not show it: judge its bytes anew.
    Rejudge {
        key: ValueKey,
    },
    /// Forget all parts in assembly at or below this height.
    Forget {
        height: Height,
    },
    Charge {
        peer: PeerId,
        fault: Fault,
    },
}
