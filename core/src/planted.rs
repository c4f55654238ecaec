//! This file knows the bugs that can be planted, to prove that the simulator finds them. Never compiled into a node.

use ultramarine_types::ValueKey;
use ultramarine_types::storage::Recovered;

use crate::config::CoreConfig;
use crate::rules::Broken;
use crate::values::{Value, Values};

/// One planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// Propose and judge though the execution client has not confirmed the head.
    SkipGate,
    /// Accept a block whose blob gas is not that of its commitments.
    WrongBlobCount,
    /// Look a value's bytes up by round instead of by id.
    BytesByRound,
    /// Call a value invalid because a relay sent a bad part of it.
    RelayBlamed,
    /// Sign from a log whose newer half is ignored.
    StaleLog,
    /// Prevote for a value before it was executed.
    PrevoteBeforeExecution,
}

impl CoreConfig {
    /// Whether this bug is planted.
    pub(crate) fn plants(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    /// What is left of the rules.
    pub(crate) fn overlook(&self, kept: Result<(), Broken>) -> Result<(), Broken> {
        kept.or_else(|broken| {
            let overlooked = self.plants(Planted::WrongBlobCount) && broken.0.contains("blob gas");
            if overlooked { Ok(()) } else { Err(broken) }
        })
    }

    /// What is left of the log.
    pub(crate) fn outdate(&self, mut recovered: Recovered) -> Recovered {
        if let Some(log) = recovered.log.as_mut().filter(|_| self.plants(Planted::StaleLog)) {
            log.records.truncate(log.records.len() / 2);
        }
        recovered
    }
}

impl Values {
    /// Some value that was built in the same round, where values are looked up by round.
    pub(crate) fn mistaken(&self, config: &CoreConfig, key: &ValueKey) -> Option<&Value> {
        let round = |value: &Value| value.init.as_ref().map(|init| init.metadata.origin_round);
        let wanted = round(self.get(key)?)?;
        let mut of_round = self.at(key.height).filter(|(_, value)| round(value) == Some(wanted));
        of_round
            .next()
            .map(|(_, value)| value)
            .filter(|_| config.plants(Planted::BytesByRound))
    }
}
