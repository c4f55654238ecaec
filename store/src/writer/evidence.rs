//! This part of the writer knows how to keep evidence: at once if there is room, later if there is not.
//!
//! It is written only while there is room for it and for the reserve. Once a write of redb has failed, redb takes
//! nothing more; so a row that can wait must not be the one that finds the disk full.

use std::collections::BTreeMap;

use ultramarine_runtime::medium::Medium;
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::limits::{BLOB_BYTES, EXTRA_DATA_BYTES_MAX, INIT_BYTES_MAX, LISTS_BYTES_MAX, VALIDATORS_MAX};
use ultramarine_types::{Address, Evidence};

use super::Writer;
use crate::failure::{Failure, no_room};

/// Pieces that wait for room: four of each validator of the largest set, and more of some while others have fewer.
pub(crate) const EVIDENCE_WAITING_MAX: usize = 4 * VALIDATORS_MAX;
/// What two messages take at most: a row, and its part of the pages that a transaction copies.
const PIECE_BYTES: u64 = 2048;

/// Pieces that wait for room.
#[derive(Debug, Default)]
pub(super) struct WaitingEvidence {
    /// By the validator they convict, in the order they came.
    pieces: BTreeMap<Address, Vec<Evidence>>,
    count: usize,
    given_up_count: usize,
    /// The operator was warned of it.
    told: bool,
}

impl WaitingEvidence {
    fn add(&mut self, evidence: Vec<Evidence>) {
        for piece in evidence {
            if let Evidence::Value(value) = &piece
                && !is_bounded(value)
            {
                tracing::error!("evidence of {value:?} is above every limit and is not kept");
                continue;
            }
            self.count += 1;
            self.pieces.entry(piece.validator()).or_default().push(piece);
        }
    }

    /// Gives up what is too much. False values are large: of each validator one waits, its first. Of the rest the
    /// validator with the most pieces loses its newest: its first ones convict it as well, and no other validator can
    /// hide behind their number.
    fn cut(&mut self) {
        for pieces in self.pieces.values_mut() {
            let before = pieces.len();
            let mut has_value = false;
            pieces.retain(|piece| !is_value(piece) || !std::mem::replace(&mut has_value, true));
            self.count -= before - pieces.len();
            self.given_up_count += before - pieces.len();
        }
        while self.count > EVIDENCE_WAITING_MAX {
            let heaviest = self.pieces.values_mut().max_by_key(|pieces| pieces.len());
            heaviest.expect("somebody has pieces").pop();
            self.count -= 1;
            self.given_up_count += 1;
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Checks that the count is that of the pieces.
    pub(super) fn check_whole(&self) {
        let pieces_count: usize = self.pieces.values().map(Vec::len).sum();
        assert_eq!(self.count, pieces_count, "every piece is counted");
    }

    fn bytes(&self) -> u64 {
        self.pieces.values().flatten().map(piece_bytes).sum()
    }
}

const fn is_value(piece: &Evidence) -> bool {
    matches!(piece, Evidence::Value(_))
}

/// Whether a value is within the limits by which it came to us.
fn is_bounded(value: &FalseValue) -> bool {
    value.blob.len() == BLOB_BYTES
        && value.lists.bytes() <= LISTS_BYTES_MAX
        && value.init.metadata.header.extra_data.len() <= EXTRA_DATA_BYTES_MAX
}

/// What a piece takes on disk at most.
fn piece_bytes(piece: &Evidence) -> u64 {
    match piece {
        Evidence::Votes(..) | Evidence::Proposals(..) => PIECE_BYTES,
        Evidence::Value(value) => {
            let row_bytes = INIT_BYTES_MAX + value.lists.bytes() + value.blob.len();
            // redb gives a row that is larger than a page the next power of two.
            (row_bytes as u64).next_power_of_two() + PIECE_BYTES
        }
    }
}

impl<M: Medium> Writer<M> {
    pub(super) fn take_evidence(&mut self, evidence: Vec<Evidence>) -> Result<(), Failure> {
        self.evidence.add(evidence);
        self.keep_evidence()?;
        self.evidence.cut();
        if self.evidence.count > 0 && !self.evidence.told {
            self.evidence.told = true;
            tracing::warn!(
                "evidence waits in memory, {} of at most {EVIDENCE_WAITING_MAX} pieces ({} given up): {}",
                self.evidence.count,
                self.evidence.given_up_count,
                no_room(&self.state.reserve, "it", self.evidence.bytes())
            );
        }
        self.show_waiting_evidence();
        Ok(())
    }

    /// Makes evidence durable that waits, if there is room for it by now.
    pub(super) fn keep_evidence(&mut self) -> Result<(), Failure> {
        if self.evidence.count == 0 || !self.state.reserve.has_room_for(self.evidence.bytes()) {
            return Ok(());
        }
        let kept = self.state.index.keep_evidence(self.evidence.pieces.values().flatten());
        kept.map_err(|error| self.state.index_failed(&error))?;
        let kept = std::mem::take(&mut self.evidence);
        if kept.told {
            tracing::info!(
                "{} pieces of evidence that waited for room are kept, {} were given up",
                kept.count,
                kept.given_up_count
            );
        }
        self.show_waiting_evidence();
        Ok(())
    }

    fn show_waiting_evidence(&self) {
        let count = i64::try_from(self.evidence.count).unwrap_or(i64::MAX);
        self.state.metrics.waiting_evidence.set(count);
    }
}
