//! This file knows everything we have signed at the heights that still matter, and refuses to contradict it.
//!
//! It is asked before every signature, `Init`s included, and filled from the log at start: one record and one sync
//! serve both. The watermark outlives the log.
//!
//! Keeps:
//! - this process signs nothing at or below the watermark, which covers the head and never falls;
//! - what may be signed is on record before it is signed, and no record changes until its height is decided.

use std::collections::BTreeMap;

use ultramarine_types::{Height, Round, ValueId, VoteKind};

/// What kind of thing is signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SignedKind {
    Prevote,
    Precommit,
    Proposal,
    /// An `Init`, with its sidecar header.
    Init,
}

impl SignedKind {
    /// The name in events and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prevote => "prevote",
            Self::Precommit => "precommit",
            Self::Proposal => "proposal",
            Self::Init => "init",
        }
    }
}

impl From<VoteKind> for SignedKind {
    fn from(kind: VoteKind) -> Self {
        match kind {
            VoteKind::Prevote => Self::Prevote,
            VoteKind::Precommit => Self::Precommit,
        }
    }
}

/// What was signed. Two of them for one height, round and kind contradict each other unless they are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The value, or nil.
    pub value_id: Option<ValueId>,
    /// The valid round of a proposal; `None` for all else.
    pub valid_round: Option<Round>,
}

/// Why a signature is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Conflict {
    /// Another value was signed there.
    #[error("{kind:?} at height {height}, round {round}: signed {before:?} before, asked to sign {now:?}")]
    Contradiction {
        height: Height,
        round: Round,
        kind: SignedKind,
        before: Signed,
        now: Signed,
    },
    /// We do not know any more what was signed at this height.
    #[error("{kind:?} at height {height}: nothing at or below the watermark {watermark} may be signed")]
    BelowWatermark {
        height: Height,
        kind: SignedKind,
        watermark: Height,
    },
}

#[derive(Debug, Default)]
pub struct Guard {
    signed: BTreeMap<(Height, Round, SignedKind), Signed>,
    watermark: Height,
}

impl Guard {
    /// An empty guard, watermark at genesis.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a signature that we made before, as the log says. `Err` if it contradicts one on record.
    pub fn learn(&mut self, height: Height, round: Round, kind: SignedKind, signed: Signed) -> Result<(), Conflict> {
        match self.signed.get(&(height, round, kind)) {
            Some(before) if *before != signed => Err(Conflict::Contradiction {
                height,
                round,
                kind,
                before: *before,
                now: signed,
            }),
            _ => {
                let before = self.signed.insert((height, round, kind), signed);
                assert!(
                    before.is_none_or(|before| before == signed),
                    "no record changes until its height is decided"
                );
                Ok(())
            }
        }
    }

    /// Asks whether a signature may be made, and records it if so.
    pub fn ask(&mut self, height: Height, round: Round, kind: SignedKind, signed: Signed) -> Result<(), Conflict> {
        if height <= self.watermark {
            return Err(Conflict::BelowWatermark {
                height,
                kind,
                watermark: self.watermark,
            });
        }
        self.learn(height, round, kind, signed)?;
        assert!(height > self.watermark, "nothing is signed at or below the watermark");
        assert_eq!(
            self.get(height, round, kind),
            Some(&signed),
            "what may be signed is on record first"
        );
        Ok(())
    }

    /// What is on record for a height, round and kind.
    pub fn get(&self, height: Height, round: Round, kind: SignedKind) -> Option<&Signed> {
        self.signed.get(&(height, round, kind))
    }

    /// From now on nothing at or below `height` is signed.
    pub fn raise(&mut self, height: Height) {
        let before = self.watermark;
        self.watermark = self.watermark.max(height);
        assert!(self.watermark >= before, "the watermark never falls");
    }

    /// Nothing at or below this is ever signed.
    pub fn watermark(&self) -> Height {
        self.watermark
    }

    /// Asserts that the watermark covers the head, and that nothing is kept of heights that are decided.
    pub fn check(&self, head: Height) {
        assert!(self.watermark >= head, "a decided height may be signed at");
        if let Some(((lowest, ..), _)) = self.signed.first_key_value() {
            assert!(
                *lowest > head,
                "a signature at height {lowest} is kept, which is decided"
            );
        }
    }

    /// A height was committed: the watermark covers it and its records may go.
    pub fn commit(&mut self, height: Height) {
        self.raise(height);
        self.signed.retain(|(signed, ..), _| *signed > height);
    }
}

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;
