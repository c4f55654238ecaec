//! This file knows what an adversary is: a node that runs the real core and changes what leaves it.
//!
//! Each kind is a file. At most a third of the voting power is adversarial in one run. Full nodes have no power, so any
//! number of them may be adversarial: strangers, who need no more than an address.

pub mod bad_relay;
pub mod equivocator;
pub mod false_links;
pub mod forge;
pub mod liar;
pub mod mute;
pub mod old_caller;
pub mod puller;
pub mod relaunch;
pub mod rising_tip;
pub mod rule_breaker;
pub mod silent;
pub mod status_flood;
pub mod withholder;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use ultramarine_net::hello::Hello;
use ultramarine_types::{Address, Chain, ChainIdentity, Height, Nanos, PeerId, Signature, ValidatorSet, ValueId};

use crate::dice::Dice;
use crate::disk::Disk;
use crate::wire::SimFrame;

/// What an adversary can see and use.
pub struct Means<'a> {
    pub chain: &'a Chain,
    /// What is left of the chain that these validators ran before.
    pub past: &'a Past,
    /// Values whose own blobs refute them, for the checkers.
    pub false_values: &'a mut BTreeSet<ValueId>,
    /// Its own name on the network.
    pub peer: PeerId,
    /// Its own validator address; zero for a stranger.
    pub address: Address,
    /// The validator address of the node at the other end, if it is one.
    pub receiver: Option<Address>,
    /// Its validator key; `None` for a stranger.
    pub key: Option<&'a SigningKey>,
    pub now: Nanos,
    /// Frames that leave for a node at a later moment, as they are.
    pub later: &'a mut Vec<(Nanos, usize, SimFrame)>,
    /// What its own honest half has stored.
    pub disk: &'a Disk,
    pub dice: &'a mut Dice,
    /// What it has done so far, by name.
    pub deeds: &'a mut BTreeMap<&'static str, u64>,
}

impl Means<'_> {
    /// Signs with its validator key. A stranger's signature is of nobody.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        self.key
            .map_or(Signature::ZERO, |key| Signature(key.sign(bytes).to_bytes()))
    }

    /// Sends a frame after a while.
    pub fn send_later(&mut self, wait: Nanos, to: usize, frame: SimFrame) {
        self.later.push((self.now + wait, to, frame));
    }

    pub fn count(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }
}

/// A chain that had the same validators, keys and parameters, and another salt: all that its validators signed is
/// known to whoever kept it.
#[derive(Debug)]
pub struct Past {
    pub chain: Chain,
    /// The identity in its votes and proposals: the chain's own, unless a bug is planted.
    pub voting_chain: ChainIdentity,
    /// The identity in its hellos and attestations, likewise.
    pub attesting_chain: ChainIdentity,
    pub validators: Arc<ValidatorSet>,
    pub keys: BTreeMap<Address, SigningKey>,
}

impl Past {
    /// The signature of a validator.
    pub fn sign(&self, validator: &Address, bytes: &[u8]) -> Signature {
        let key = self.keys.get(validator);
        key.map_or(Signature::ZERO, |key| Signature(key.sign(bytes).to_bytes()))
    }
}

/// Changes what leaves a node.
pub trait Adversary {
    /// The first words to a peer, in place of these.
    fn hello(&mut self, _means: &mut Means<'_>, hello: Hello) -> Hello {
        hello
    }

    /// What leaves for `to` in place of `frame`.
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: SimFrame) -> Vec<SimFrame>;

    /// What reaches it.
    fn incoming(&mut self, _means: &mut Means<'_>, _from: usize, _frame: &SimFrame) {}

    /// A height was decided: what was remembered for lower ones may go.
    fn forget(&mut self, _below: Height) {}
}

/// A node whose script does wrong. The node itself changes nothing.
struct Puppet;

impl Adversary for Puppet {
    fn outgoing(&mut self, _means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        vec![frame]
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AdversaryKind {
    /// Two values in one round, conflicting votes.
    Equivocator,
    /// Streams that lack parts, or go to some peers only.
    Withholder,
    /// `Init`s, lists and parts that are not what was signed.
    BadRelay,
    /// False statuses and sync answers.
    Liar,
    /// Values that break a block rule, or that their own blobs refute.
    RuleBreaker,
    /// Messages, claims, hellos and packages of the chain's past.
    Relaunch,
    /// Tips that rise and that nobody has decided, and refusals just before each deadline.
    RisingTip,
    /// No answer to any question.
    Mute,
    /// The same, and claims to hold every value.
    Hollow,
    /// Packages without end.
    Puller,
    /// Statuses at the full rate.
    StatusFlood,
    /// Links to all validators.
    FalseLinks,
    /// No vote, no proposal.
    Silent,
    /// Calls of earlier starts, for ever, and no vote.
    OldCaller,
    /// Only what a script does in its name.
    Puppet,
}

impl AdversaryKind {
    /// All that a validator does by itself in a run of a seed.
    pub const ALL: [Self; 6] = [
        Self::Equivocator,
        Self::Withholder,
        Self::BadRelay,
        Self::Liar,
        Self::RuleBreaker,
        Self::Relaunch,
    ];

    /// All that a stranger does by itself in a run of a seed.
    pub const STRANGERS: [Self; 5] = [Self::RisingTip, Self::Mute, Self::Hollow, Self::Liar, Self::BadRelay];

    /// A fresh adversary of this kind.
    pub fn adversary(self) -> Box<dyn Adversary> {
        match self {
            Self::Equivocator => Box::<equivocator::Equivocator>::default(),
            Self::Withholder => Box::<withholder::Withholder>::default(),
            Self::BadRelay => Box::<bad_relay::BadRelay>::default(),
            Self::Liar => Box::<liar::Liar>::default(),
            Self::RuleBreaker => Box::<rule_breaker::RuleBreaker>::default(),
            Self::Relaunch => Box::<relaunch::Relaunch>::default(),
            Self::RisingTip => Box::<rising_tip::RisingTip>::default(),
            Self::Mute => Box::<mute::Mute>::default(),
            Self::Hollow => Box::new(mute::Mute::hollow()),
            Self::Puller => Box::<puller::Puller>::default(),
            Self::StatusFlood => Box::<status_flood::StatusFlood>::default(),
            Self::FalseLinks => Box::<false_links::FalseLinks>::default(),
            Self::Silent => Box::<silent::Silent>::default(),
            Self::OldCaller => Box::<old_caller::OldCaller>::default(),
            Self::Puppet => Box::new(Puppet),
        }
    }
}
