//! This part of the writer knows how to keep evidence: at once if there is room, later if there is not.
//!
//! It is written only while the reserve is free beside it. redb takes nothing more once a write of its own has failed, so
//! the disk must not be found full by a row that can wait.

use ultramarine_runtime::medium::Medium;
use ultramarine_types::Evidence;

use super::Writer;
use crate::failure::{Failure, no_room};

/// Pieces that wait for room: what a third of the largest set of validators makes in several heights.
pub(crate) const EVIDENCE_WAITING_MAX: usize = 1024;
/// What one piece takes at most: a row, and its part of the pages that a transaction copies.
const PIECE_BYTES: u64 = 2048;

impl<M: Medium> Writer<M> {
    pub(super) fn take_evidence(&mut self, mut evidence: Vec<Evidence>) -> Result<(), Failure> {
        self.evidence.append(&mut evidence);
        self.keep_evidence()?;
        if self.evidence.is_empty() {
            return Ok(());
        }
        let surplus = self.evidence.len().saturating_sub(EVIDENCE_WAITING_MAX);
        self.evidence.truncate(EVIDENCE_WAITING_MAX);
        tracing::warn!(
            "{} pieces of evidence wait in memory ({surplus} more are given up): {}",
            self.evidence.len(),
            no_room(&self.state.reserve, "them", self.evidence_bytes())
        );
        Ok(())
    }

    /// Makes evidence durable that waits, if there is room for it by now.
    pub(super) fn keep_evidence(&mut self) -> Result<(), Failure> {
        if self.evidence.is_empty() || !self.state.reserve.has_room_for(self.evidence_bytes()) {
            return Ok(());
        }
        let kept = self.state.index.keep_evidence(&self.evidence);
        kept.map_err(|error| self.state.index_failed(&error))?;
        self.evidence.clear();
        Ok(())
    }

    fn evidence_bytes(&self) -> u64 {
        self.evidence.len() as u64 * PIECE_BYTES
    }
}
