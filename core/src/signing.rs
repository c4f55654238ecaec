//! This file knows how to sign with the validator's key and how to verify without doing the same work twice.
//!
//! Malachite asks again about its own votes, and about every precommit when it builds a certificate. A memo of what was
//! verified answers those. Its key covers public key, message and signature. What comes together is verified together,
//! by the same rule ([`rule`]) that holds for a signature alone.
//!
//! Keeps: the memo and the list of refused signatures stay within their bounds.

mod key;
mod rule;

use std::collections::BTreeSet;

use ed25519_dalek::{Signer as _, SigningKey};
use ultramarine_types::chain::address_of;
use ultramarine_types::{Address, PublicKey, Signature, ValidatorSet, limits};

pub use self::key::{KeyFlaw, check_key};
use self::rule::PreparedSeal;

/// Signatures remembered between two heights: every vote of 256 validators in 16 rounds, twice.
const MEMO_MAX: usize = 16_384;
const _: () = assert!(MEMO_MAX == limits::VALIDATORS_MAX * 2 * 16 * 2);
/// Most signatures that are verified ahead together. A batch of 64 costs little less a signature than one of 32.
pub const AHEAD_MAX: usize = 64;

pub struct Signer {
    key: SigningKey,
    address: Address,
}

impl Signer {
    /// From the ed25519 seed.
    pub fn new(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let address = address_of(&PublicKey(key.verifying_key().to_bytes()));
        Self { key, address }
    }

    /// The address of the key.
    pub fn address(&self) -> Address {
        self.address
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// Signs; deterministic, so signing the same bytes again gives the same signature. Ask the guard first.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.key.sign(message).to_bytes())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({:?})", self.address)
    }
}

/// A signature to verify: by whom, over what.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    pub key: PublicKey,
    pub message: &'a [u8],
    pub signature: Signature,
}

/// Verifies signatures of the validators.
#[derive(Debug)]
pub struct SignatureVerifier {
    keys: BTreeSet<PublicKey>,
    memo: BTreeSet<[u8; 32]>,
    /// Of the signatures verified ahead last, those that do not hold.
    refused: BTreeSet<[u8; 32]>,
    verified_count: u64,
}

impl SignatureVerifier {
    /// Verifies for the keys of the set, and for no others.
    pub fn new(set: &ValidatorSet) -> Self {
        for (address, validator) in set.iter() {
            if let Err(flaw) = check_key(&validator.public_key) {
                panic!("the genesis gave validator {address} a key that it must refuse: {flaw}");
            }
        }
        Self {
            keys: set.iter().map(|(_, validator)| validator.public_key).collect(),
            memo: BTreeSet::new(),
            refused: BTreeSet::new(),
            verified_count: 0,
        }
    }

    /// Whether `signature` over `message` is by `key`, a member's.
    pub fn verify(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let seal = Seal {
            key: *key,
            message,
            signature: *signature,
        };
        self.first_bad(&[seal]).is_none()
    }

    /// The position of the first signature that does not hold, or is of no member. All are verified as one batch.
    pub fn first_bad(&mut self, seals: &[Seal<'_>]) -> Option<usize> {
        let stranger = seals.iter().position(|seal| !self.keys.contains(&seal.key));
        let (before, _) = seals.split_at(stranger.unwrap_or(seals.len()));
        let mut new = Vec::new();
        let mut refused = None;
        for (position, seal) in before.iter().enumerate() {
            let digest = rule::digest(&seal.key, seal.message, &seal.signature);
            if self.refused.contains(&digest) {
                refused = Some(position);
                break;
            }
            if !self.memo.contains(&digest) {
                new.push((position, PreparedSeal::new(*seal)));
            }
        }
        let (positions, claims): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        self.verified_count += claims.len() as u64;
        let bad = rule::first_bad(&claims);
        for claim in claims.iter().take(bad.unwrap_or(claims.len())) {
            self.remember(claim.digest());
        }
        bad.and_then(|bad| positions.get(bad).copied()).or(refused).or(stranger)
    }

    /// Verifies signatures as one batch before somebody asks about each. No answer depends on it.
    pub fn verify_ahead(&mut self, seals: &[Seal<'_>]) {
        assert!(seals.len() <= AHEAD_MAX, "the caller takes no more at a time");
        self.refused.clear();
        let known = |seal: &&Seal<'_>| {
            self.keys.contains(&seal.key)
                && !self
                    .memo
                    .contains(&rule::digest(&seal.key, seal.message, &seal.signature))
        };
        let seals = seals.iter().filter(known);
        let claims: Vec<_> = seals.copied().map(PreparedSeal::new).collect();
        self.verified_count += claims.len() as u64;
        for (claim, holds) in claims.iter().zip(rule::each_holds(&claims)) {
            if holds {
                self.remember(claim.digest());
            } else {
                self.refused.insert(claim.digest());
            }
        }
    }

    /// Records a signature of our own as verified.
    pub fn trust(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) {
        self.remember(rule::digest(key, message, signature));
    }

    /// Asserts that no more signatures are remembered than the memo may hold.
    pub fn check(&self) {
        assert!(self.memo.len() <= MEMO_MAX, "the memo outgrew its bound");
        assert!(self.refused.len() <= AHEAD_MAX, "more was refused than was asked about");
    }

    /// How many signatures were verified by arithmetic.
    pub fn verified_count(&self) -> u64 {
        self.verified_count
    }

    fn remember(&mut self, digest: [u8; 32]) {
        if self.memo.len() >= MEMO_MAX {
            self.memo.clear();
        }
        self.memo.insert(digest);
    }
}

#[cfg(test)]
#[path = "signing/tests.rs"]
mod tests;
