//! This file knows what an adversary is: a node that runs the real core with a real validator key and changes what
//! leaves it.
//!
//! Each kind is a file. At most a third of the voting power is adversarial in one run.

pub mod bad_relay;
pub mod equivocator;
pub mod forge;
pub mod liar;
pub mod relaunch;
pub mod rule_breaker;
pub mod withholder;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use ultramarine_net::hello::Hello;
use ultramarine_types::{Address, Chain, ChainIdentity, Height, PeerId, Signature, ValidatorSet, ValueId};

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
    /// Its own validator address.
    pub address: Address,
    /// The validator address of the node at the other end, if it is one.
    pub receiver: Option<Address>,
    pub key: &'a SigningKey,
    /// What its own honest half has stored.
    pub disk: &'a Disk,
    pub dice: &'a mut Dice,
    /// What it has done so far, by name.
    pub deeds: &'a mut BTreeMap<&'static str, u64>,
}

impl Means<'_> {
    /// Signs with its validator key.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.key.sign(bytes).to_bytes())
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
    /// Only what a script does in its name.
    Puppet,
}

impl AdversaryKind {
    /// All that do something by themselves.
    pub const ALL: [Self; 6] = [
        Self::Equivocator,
        Self::Withholder,
        Self::BadRelay,
        Self::Liar,
        Self::RuleBreaker,
        Self::Relaunch,
    ];

    /// A fresh adversary of this kind.
    pub fn adversary(self) -> Box<dyn Adversary> {
        match self {
            Self::Equivocator => Box::<equivocator::Equivocator>::default(),
            Self::Withholder => Box::<withholder::Withholder>::default(),
            Self::BadRelay => Box::<bad_relay::BadRelay>::default(),
            Self::Liar => Box::<liar::Liar>::default(),
            Self::RuleBreaker => Box::<rule_breaker::RuleBreaker>::default(),
            Self::Relaunch => Box::<relaunch::Relaunch>::default(),
            Self::Puppet => Box::new(Puppet),
        }
    }
}
