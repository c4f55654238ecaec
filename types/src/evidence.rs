//! This file knows what convicts a validator: two signed messages of which an honest validator signs at most one.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::consensus::{Proposal, Vote};
use crate::ids::{Address, Height, ValueId};

/// Two contradicting messages, signatures verified. Anybody can check them again: [`crate::sign`] says over which
/// bytes.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum Evidence {
    /// Votes of one kind, height and round for different values.
    Votes(Vote, Vote),
    /// Proposals of one height and round that differ.
    Proposals(Proposal, Proposal),
}

impl Evidence {
    /// The height the messages are of.
    pub const fn height(&self) -> Height {
        match self {
            Self::Votes(first, _) => first.height,
            Self::Proposals(first, _) => first.height,
        }
    }

    pub const fn validator(&self) -> Address {
        match self {
            Self::Votes(first, _) => first.voter,
            Self::Proposals(first, _) => first.proposer,
        }
    }

    /// Whether the two contradict each other: one signer, one step of the protocol, different contents.
    pub fn is_contradiction(&self) -> bool {
        match self {
            Self::Votes(first, second) => {
                (first.kind, first.height, first.round, first.voter)
                    == (second.kind, second.height, second.round, second.voter)
                    && first.value_id != second.value_id
            }
            Self::Proposals(first, second) => {
                (first.height, first.round, first.proposer) == (second.height, second.round, second.proposer)
                    && (first.value_id, first.valid_round) != (second.value_id, second.valid_round)
            }
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |id: Option<ValueId>| id.map_or_else(|| "nil".to_owned(), |id| id.to_string());
        match self {
            Self::Votes(first, second) => write!(
                f,
                "{:?}s in round {} for {} and for {}",
                first.kind,
                first.round,
                named(first.value_id),
                named(second.value_id)
            ),
            Self::Proposals(first, second) => write!(
                f,
                "proposals in round {} of {} (valid round {:?}) and of {} (valid round {:?})",
                first.round, first.value_id, first.valid_round, second.value_id, second.valid_round
            ),
        }
    }
}
