//! This file knows which bugs can be put into the nodes of a run, for `tests/planted.rs` to find.

use ultramarine_core::Planted;
use ultramarine_net::streaming::JoinBug;

/// A bug, by the crate that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlantedBug {
    Core(Planted),
    Join(JoinBug),
    /// Leave the chain's identity out of hellos, and of what attestations sign.
    AnyChainsHellos,
    /// Stream values to full nodes that say that they are too far behind to take them.
    StreamedToAll,
    /// Send background bytes without waiting for a turn.
    TurnsWaived,
    /// Ban whoever is slow as if it had sent wrong parts.
    SlownessBanned,
    /// Have nobody give way once all places are taken.
    NobodyGivesWay,
    /// Have the core hear every status at once.
    StatusesUnmerged,
}

impl PlantedBug {
    pub(crate) fn of_core(self) -> Option<Planted> {
        match self {
            Self::Core(bug) => Some(bug),
            _ => None,
        }
    }

    pub(crate) fn of_join(self) -> Option<JoinBug> {
        match self {
            Self::Join(bug) => Some(bug),
            _ => None,
        }
    }
}
