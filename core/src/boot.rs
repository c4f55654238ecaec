//! This file knows what to make of a data directory: start afresh, replay, stay silent, or stop.
//!
//! | log | plan |
//! |---|---|
//! | none, of a decided height, or empty | nothing was signed above the head from this directory: listen first |
//! | of the next height, and marked silent | another signs with our key, or we did before a wipe: silent there |
//! | of the next height, whole | listen, then replay it, once the bytes of every value that it calls valid are back |
//! | of the next height, damaged or missing | we do not know what we signed there: silent there |
//! | above the next height | the head was lost: stop |
//!
//! If nothing is wrong, listening is short: it ends when every other validator was heard. It keeps a wiped validator
//! from signing at heights where it may have signed before, even if it crashed again while it was catching up. The head
//! itself says nothing about that: it may have come by sync.
//!
//! A record of another height than the log's own stops the node (`read`).

use std::collections::BTreeSet;

use bytes::Bytes;
use ultramarine_types::storage::{LogCondition, RecoveredLog};
use ultramarine_types::{Address, Height, ValueId, VoteKind};

use crate::guard::{Conflict, Guard, Signed, SignedKind};
use crate::log::LogRecord;
use crate::stop::{ImpossibleState, ReplayFault, Stop};

/// Why nothing is signed after such a signature was seen.
pub const SIGNED_ELSEWHERE: &str = "signatures of ours that this directory did not make were seen";

/// How the first height starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FirstHeight {
    /// Listen to peers, then begin.
    Listen,
    /// Replay these records of the next height.
    Replay(Vec<LogRecord>),
    /// Follow the next height without signing, for this reason.
    Silent(&'static str),
}

/// Decides by head and log. Nothing is signed up to `silent_through`, whatever the log says. `Err` stops the node at
/// once.
pub fn plan(head: Height, log: Option<&RecoveredLog>, silent_through: Height) -> Result<FirstHeight, Stop> {
    let Some(log) = log else { return Ok(FirstHeight::Listen) };
    let next = head.next();
    if log.epoch.height <= head {
        return Ok(FirstHeight::Listen);
    }
    if log.epoch.height > next {
        let log = log.epoch.height;
        return Err(Stop::State(ImpossibleState::HeadLost { log, head }));
    }
    match log.condition {
        LogCondition::Corrupt => Ok(FirstHeight::Silent("the log of this height is damaged")),
        LogCondition::Missing => Ok(FirstHeight::Silent("the log of this height is missing")),
        LogCondition::Whole if log.records.is_empty() => Ok(FirstHeight::Listen),
        LogCondition::Whole if next <= silent_through => Ok(FirstHeight::Silent(SIGNED_ELSEWHERE)),
        LogCondition::Whole => read(next, &log.records).map(FirstHeight::Replay).map_err(Stop::Replay),
    }
}

/// Decodes the records of the log of `height`, which must all be of that height.
fn read(height: Height, records: &[Bytes]) -> Result<Vec<LogRecord>, ReplayFault> {
    let decode = |(index, bytes): (usize, &Bytes)| {
        let record = LogRecord::decode(bytes).map_err(|error| ReplayFault::Undecodable { index, height, error })?;
        match record.height() {
            Some(found) if found != height => Err(ReplayFault::OtherHeight { index, height, found }),
            _ => Ok(record),
        }
    };
    records.iter().enumerate().map(decode).collect()
}

/// Teaches the guard everything that we signed, as the log says.
pub fn teach(guard: &mut Guard, ours: &Address, records: &[LogRecord]) -> Result<(), Conflict> {
    for record in records {
        match record {
            LogRecord::Vote(vote) if vote.voter == *ours => {
                let signed = Signed {
                    value_id: vote.value_id,
                    valid_round: None,
                };
                guard.learn(vote.height, vote.round, vote.kind.into(), signed)?;
            }
            LogRecord::Proposal(proposal) if proposal.proposer == *ours => {
                let signed = Signed {
                    value_id: Some(proposal.value_id),
                    valid_round: proposal.valid_round,
                };
                guard.learn(proposal.height, proposal.round, SignedKind::Proposal, signed)?;
            }
            LogRecord::Polka(polka) if polka.signatures.iter().any(|signed| signed.address == *ours) => {
                let signed = Signed {
                    value_id: Some(polka.value_id),
                    valid_round: None,
                };
                guard.learn(polka.height, polka.round, VoteKind::Prevote.into(), signed)?;
            }
            LogRecord::Chosen {
                height,
                round,
                value_id,
            } => {
                let signed = Signed {
                    value_id: Some(*value_id),
                    valid_round: None,
                };
                guard.learn(*height, *round, SignedKind::Init, signed)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The values whose bytes must be back before the log is replayed: those that it calls valid.
pub fn wanted(records: &[LogRecord]) -> BTreeSet<ValueId> {
    records
        .iter()
        .filter_map(|record| match record {
            LogRecord::Value {
                value_id,
                valid: true,
                synced: false,
                ..
            } => Some(*value_id),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
#[path = "boot/tests.rs"]
mod tests;
