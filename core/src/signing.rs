//! This file knows how to sign with the validator's key and how to verify without doing the same work twice.
//!
//! Malachite asks again about its own votes, and about every precommit when it builds a certificate. A memo of what was
//! verified answers those. Its key covers public key, message and signature. Public keys are decoded once.
//!
//! Keeps: the memo stays within its bound.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use ultramarine_types::chain::address_of;
use ultramarine_types::{Address, PublicKey, Signature, ValidatorSet, limits};

/// Signatures remembered between two heights: every vote of 256 validators in 16 rounds, twice.
const MEMO_MAX: usize = 16_384;
const _: () = assert!(MEMO_MAX == limits::VALIDATORS_MAX * 2 * 16 * 2);

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

/// Verifies signatures of the validators.
#[derive(Debug)]
pub struct SignatureVerifier {
    keys: BTreeMap<PublicKey, VerifyingKey>,
    memo: BTreeSet<[u8; 32]>,
    verified_count: u64,
}

impl SignatureVerifier {
    /// Decodes the keys of the set. A key that is no point of the curve verifies nothing.
    pub fn new(set: &ValidatorSet) -> Self {
        let keys = set
            .iter()
            .filter_map(|(_, validator)| {
                let key = VerifyingKey::from_bytes(&validator.public_key.0).ok()?;
                Some((validator.public_key, key))
            })
            .collect();
        Self {
            keys,
            memo: BTreeSet::new(),
            verified_count: 0,
        }
    }

    /// Whether `signature` over `message` is by `key`, a member's.
    pub fn verify(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let Some(decoded) = self.keys.get(key) else {
            return false;
        };
        let digest = memo_key(key, message, signature);
        if self.memo.contains(&digest) {
            return true;
        }
        self.verified_count += 1;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        if decoded.verify_strict(message, &signature).is_err() {
            return false;
        }
        self.remember(digest);
        true
    }

    /// Records a signature of our own as verified.
    pub fn trust(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) {
        self.remember(memo_key(key, message, signature));
    }

    /// Asserts that no more signatures are remembered than the memo may hold.
    pub fn check(&self) {
        assert!(self.memo.len() <= MEMO_MAX, "the memo outgrew its bound");
    }

    /// Forgets all signatures; called when a height ends.
    pub fn forget(&mut self) {
        self.memo.clear();
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

fn memo_key(key: &PublicKey, message: &[u8], signature: &Signature) -> [u8; 32] {
    let mut hasher = Sha256::new();
    // The two fixed widths come first, so no two triples share an encoding.
    hasher.update(key.0);
    hasher.update(signature.0);
    hasher.update(message);
    hasher.finalize().into()
}

#[cfg(test)]
#[path = "signing/tests.rs"]
mod tests;
