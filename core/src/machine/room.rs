//! This file knows when blocks come close to what the chain allows. People hear of it before anybody is refused.
//!
//! Clients move the gas limit by a 1024th a block, and no call of the Engine API can ask for a lower one. A client that
//! aims above the chain's bounds would one day build blocks that nobody takes.
//!
//! Keeps: a line an hour at most.

use ultramarine_types::limits::PAYLOAD_BYTES_MAX;
use ultramarine_types::{ChainParams, Nanos, ValueMetadata};

use super::Core;

/// The same warning gets another line after this long.
const LINE: Nanos = Nanos::from_millis(3_600_000);

/// When the last line was written.
#[derive(Debug, Default)]
pub(super) struct Room {
    line_at: Option<Nanos>,
}

/// What a block uses nine tenths of, and what to do; `None` while there is room.
pub fn crowded(chain: &ChainParams, metadata: &ValueMetadata) -> Option<String> {
    let (gas, most) = (metadata.header.gas_limit, chain.gas_limit_max);
    if gas > most / 10 * 9 {
        return Some(format!(
            "the gas limit of block {} is {gas}, and the chain allows {most}: see that execution clients aim lower, or \
             blocks are refused soon",
            metadata.header.number
        ));
    }
    let (bytes, most) = (metadata.payload_bytes as usize, PAYLOAD_BYTES_MAX);
    (bytes > most / 10 * 9).then(|| {
        format!(
            "the payload of block {} has {bytes} bytes, and {most} are allowed: a lower gas limit keeps blocks below",
            metadata.header.number
        )
    })
}

impl Core {
    /// Looks whether a decided block comes close to the chain's bounds.
    pub(super) fn watch_room(&mut self, metadata: &ValueMetadata) {
        let Some(what) = crowded(&self.config.chain.params, metadata) else {
            return;
        };
        if self.room.line_at.is_none_or(|at| self.now.since(at) >= LINE) {
            self.room.line_at = Some(self.now);
            tracing::warn!(what, "blocks come close to the chain's bounds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{chain, metadata_at};

    #[test]
    fn nine_tenths_of_a_bound_are_told() {
        let params = chain().params;
        let mut metadata = metadata_at(4);
        assert_eq!(crowded(&params, &metadata), None);
        metadata.header.gas_limit = params.gas_limit_max / 10 * 9 + 1;
        assert!(crowded(&params, &metadata).is_some_and(|what| what.contains("gas limit")));
        let mut metadata = metadata_at(4);
        metadata.payload_bytes = PAYLOAD_BYTES_MAX as u32;
        assert!(crowded(&params, &metadata).is_some_and(|what| what.contains("payload")));
    }
}
