//! I11: what waits and what is held stays within its ceiling, whatever the peers do.

use std::collections::BTreeMap;

use ultramarine_core::Core;
use ultramarine_core::held::Ceilings;
use ultramarine_types::Height;

use super::CheckOutcome;

/// Intentions of one call of the core.
const CORE_OUTBOX_MAX: usize = 2048;
/// Requests at one store.
const STORE_QUEUE_MAX: usize = 2048;
/// Times a machine may be woken without time moving on.
const WAKES_PER_MOMENT_MAX: u32 = 1000;

/// The largest of everything seen.
#[derive(Default, Clone, Debug)]
pub struct Bounds {
    /// Intentions of one call of a core.
    pub core_outbox_max: usize,
    /// Requests waiting at one store.
    pub store_queue_max: usize,
    /// Bytes reserved by one join.
    pub join_bytes_max: usize,
    /// Rounds that some node has begun at a height.
    rounds: BTreeMap<Height, usize>,
}

impl Bounds {
    /// One call of the core pushed this many intentions.
    pub fn core_outbox(&mut self, len: usize) -> CheckOutcome {
        self.core_outbox_max = self.core_outbox_max.max(len);
        within("intentions of one call", len, CORE_OUTBOX_MAX)
    }

    /// What a core holds because of what its peers send.
    pub fn core_held(&mut self, core: &Core, validators: usize) -> CheckOutcome {
        let rounds = self.rounds.entry(core.head().next()).or_insert(1);
        if let Some(round) = core.round() {
            *rounds = (*rounds).max(round.0 as usize + 1);
        }
        match core.held().beyond(&Ceilings::of(validators, *rounds)) {
            Some((what, held, most)) => within(what, held, most),
            None => Ok(()),
        }
    }

    /// Rounds that some node has begun at a height.
    pub fn rounds(&self, height: Height) -> usize {
        self.rounds.get(&height).copied().unwrap_or(1)
    }

    /// This many requests wait at a store.
    pub fn store_queue(&mut self, len: usize) -> CheckOutcome {
        self.store_queue_max = self.store_queue_max.max(len);
        within("requests at the store", len, STORE_QUEUE_MAX)
    }

    /// A join has reserved this many bytes.
    pub fn join_bytes(&mut self, bytes: usize, limit: usize) -> CheckOutcome {
        self.join_bytes_max = self.join_bytes_max.max(bytes);
        within("bytes in assembly", bytes, limit)
    }

    /// A machine was woken again at the same moment.
    pub fn wakes(&self, count: u32) -> CheckOutcome {
        within("wakes at one moment", count as usize, WAKES_PER_MOMENT_MAX as usize)
    }
}

fn within(what: &str, found: usize, limit: usize) -> CheckOutcome {
    if found > limit {
        Err(("I11", format!("{found} {what}, at most {limit}")))
    } else {
        Ok(())
    }
}
