//! This part of the writer knows what the writer keeps, and checks it after every request.
//!
//! What a damaged disk or a peer can cause is an error or an alarm, and is never asserted here.

use ultramarine_runtime::medium::Medium;
use ultramarine_types::storage::StoreReply;

use super::Writer;
use super::evidence::EVIDENCE_WAITING_MAX;
use crate::format::PAGE_BYTES;
use crate::segment::SEGMENT_FIRST_RECORD;

impl<M: Medium> Writer<M> {
    /// Checks what can be checked without looking at every value.
    pub(super) fn check(&self) {
        let state = &self.state;
        state.journal.check();
        state.reserve.check();
        state.view.check();
        assert_eq!(
            state.view.head_height(),
            state.head,
            "readers see the head that is durable"
        );
        assert_eq!(
            state.view.oldest_height(),
            state.oldest_blobs,
            "readers see how far retention went"
        );
        assert!(
            self.evidence.count() <= EVIDENCE_WAITING_MAX,
            "evidence in memory is bounded"
        );
        self.restores.check();
        let nothing_waits = self.group.values.is_empty() && self.restores.is_empty();
        let Some(growing) = &state.growing else {
            assert!(nothing_waits, "values wait only in a growing segment");
            return;
        };
        assert!(
            nothing_waits || self.values_file.is_some(),
            "values wait only in an open file"
        );
        assert!(growing.offset.is_multiple_of(PAGE_BYTES), "a record begins on a page");
        assert!(
            (SEGMENT_FIRST_RECORD..=growing.capacity_bytes).contains(&growing.offset),
            "a segment grows behind its header and within its capacity"
        );
        let synced_bytes = state.segments.synced_bytes(growing.id);
        assert!(
            synced_bytes.is_some_and(|synced| synced <= growing.offset),
            "only what was appended is called synced"
        );
    }

    /// Checks everything: for tests, as it visits every value.
    pub(super) fn check_whole(&self) {
        let state = &self.state;
        self.evidence.check_whole();
        state.view.check_whole();
        state.segments.check_whole();
        state.ledger.check_whole();
        let acknowledged = self.group.replies.iter();
        let stored_count = acknowledged.filter(|reply| matches!(reply, StoreReply::Stored { .. }));
        assert!(
            self.group.values.len() <= stored_count.count(),
            "an answer waits for every value that waits for a sync"
        );
        let waiting = self.group.values.values().map(|waiting| &waiting.stored.location);
        for location in waiting.clone().chain(self.restores.locations()) {
            assert_eq!(
                Some(location.segment),
                state.growing.as_ref().map(|growing| growing.id),
                "a value waits in the growing segment"
            );
        }
        let undecided = state.view.undecided();
        let stored = undecided.values().map(|value| &value.location);
        state.ledger.check_undecided(stored.chain(waiting));
    }
}
