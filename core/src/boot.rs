//! This file knows what to make of a data directory: start afresh, replay, stay silent, or stop.
//!
//! | log | plan |
//! |---|---|
//! | none, of a decided height, or empty | nothing was signed above the head from this directory: listen first |
//! | of the next height, and marked silent | another signs with our key, or did before a wipe: silent there |
//! | of the next height, whole | listen, then replay it, once the bytes of every value it calls valid are back |
//! | of the next height, damaged or missing | what we signed there is not known: silent there |
//! | above the next height | the head was lost: stop |
//!
//! Listening is short where nothing is wrong: it ends when every other validator was heard. It is what keeps a wiped
//! validator, or one that was wiped and crashed again while it was still catching up, from signing at heights where
//! it may have signed before. The head itself says nothing about that: it may have come by sync.

use std::collections::BTreeSet;

use bytes::Bytes;
use ultramarine_types::storage::{LogCondition, RecoveredLog};
use ultramarine_types::{Address, Height, ValueId, VoteKind};

use crate::guard::{Conflict, Guard, Signed, SignedKind};
use crate::log::LogRecord;
use crate::stop::{ImpossibleState, ReplayFault, Stop};

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

/// Reads head and log. `silent_through`: up to there nothing is signed, whatever the log says. `Err`: the node must stop
/// at once.
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
        LogCondition::Whole if next <= silent_through => Ok(FirstHeight::Silent(
            "signatures of ours that this directory did not make were seen",
        )),
        LogCondition::Whole => read(next, &log.records).map(FirstHeight::Replay).map_err(Stop::Replay),
    }
}

/// Decodes the records of the log of `height`. Everything that is kept of them later is of that height.
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

/// Teaches the guard everything the log says we signed.
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

/// The values whose bytes must be back before the log is replayed: those it calls valid.
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
