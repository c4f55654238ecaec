//! This file knows what an adversary is: a node that runs the real core with a real validator key and changes what
//! leaves it.
//!
//! Each kind is a file. At most a third of the voting power is adversarial in one run.

pub mod bad_relay;
pub mod equivocator;
pub mod forge;
pub mod liar;
pub mod rule_breaker;
pub mod swap;
pub mod withholder;

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use ultramarine_types::{Address, Assembly, ChainParams, Height, Signature, ValueKey};

use crate::dice::Dice;
use crate::disk::Disk;
use crate::wire::SimFrame;

/// What an adversary can see and use.
pub struct Means<'a> {
    pub chain: &'a ChainParams,
    /// Its own validator address.
    pub address: Address,
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

    /// A value that its own honest half has proposed, while its height is undecided.
    pub fn own(&self, key: &ValueKey) -> Option<Assembly> {
        let value = self.disk.value(key).ok()?;
        let is_own = value.init.metadata.origin_proposer == self.address;
        (is_own && self.disk.decided(key.height).is_none()).then_some(value)
    }

    pub fn count(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }
}

/// Changes the frames that leave a node.
pub trait Adversary {
    /// What leaves for `to` in place of `frame`.
    fn outgoing(&mut self, means: &mut Means<'_>, to: usize, frame: SimFrame) -> Vec<SimFrame>;

    /// A height was decided: what was remembered for lower ones may go.
    fn forget(&mut self, _below: Height) {}
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AdversaryKind {
    /// Two values in one round, conflicting votes.
    Equivocator,
    /// Streams that lack parts, or go to some peers only.
    Withholder,
    /// Parts whose hash or proof does not hold.
    BadRelay,
    /// False statuses and sync answers.
    Liar,
    /// Values that break a block rule.
    RuleBreaker,
}

impl AdversaryKind {
    pub const ALL: [Self; 5] = [
        Self::Equivocator,
        Self::Withholder,
        Self::BadRelay,
        Self::Liar,
        Self::RuleBreaker,
    ];

    /// A fresh adversary of this kind.
    pub fn adversary(self) -> Box<dyn Adversary> {
        match self {
            Self::Equivocator => Box::<equivocator::Equivocator>::default(),
            Self::Withholder => Box::<withholder::Withholder>::default(),
            Self::BadRelay => Box::<bad_relay::BadRelay>::default(),
            Self::Liar => Box::<liar::Liar>::default(),
            Self::RuleBreaker => Box::<rule_breaker::RuleBreaker>::default(),
        }
    }
}
