//! This file knows how to check what the join keeps, sentence by sentence.

use ultramarine_types::ValueKey;
use ultramarine_types::network::OfferKind;

use super::{Join, State};
use crate::bounds;

impl Join {
    /// The promises that cost little to check.
    pub(super) fn check(&self) {
        let bytes = self.reserved_bytes();
        assert!(
            bytes <= self.config.limits.assembly_bytes(),
            "assembly stays within its budget: {bytes} bytes"
        );
        assert!(
            self.done.len() <= bounds::DONE_MAX,
            "memory for whole values is bounded"
        );
        let is_above = |key: &ValueKey| key.height > self.forgotten;
        let is_kept = |key: &ValueKey| is_above(key) || self.is_restored(key);
        assert!(
            self.values.keys().all(is_kept),
            "a decided height has no value here but one that is restored"
        );
        assert!(
            self.done.keys().next().is_none_or(is_above),
            "nothing is remembered of a decided height"
        );
        assert!(
            self.joining.keys().all(is_kept),
            "nothing of a decided height is joined but what is restored"
        );
    }

    /// Every promise of the module's head, for tests and the simulator: it visits every part.
    ///
    /// # Panics
    /// If one is broken: our own fault.
    pub fn check_whole(&self) {
        self.check();
        for value in self.values.values() {
            value.check();
            assert!(
                value.is_hopeless() || !value.is_whole(),
                "a whole value is handed on at once"
            );
            assert!(
                value.is_at_lanes || self.unjudged.places(value.key).count() == 0,
                "what the lanes were told to forget has no bytes there"
            );
            if let Some((owner, _)) = value.reserved {
                let bytes = self.reserved_bytes_of(owner);
                assert!(
                    bytes <= self.config.limits.assembly_bytes() / 2,
                    "{bytes} bytes for one peer's sake are over half of all"
                );
            }
        }
        let is_full = self.unjudged.bytes() >= bounds::UNJUDGED_BYTES_MAX;
        for (name, stream) in &self.streams {
            let unjudged = self.unjudged.count_of(*name);
            assert!(
                unjudged <= bounds::UNJUDGED_PER_STREAM_MAX,
                "{unjudged} blobs of one stream wait for a verdict"
            );
            if stream.state == State::Active && (is_full || unjudged == bounds::UNJUDGED_PER_STREAM_MAX) {
                assert!(
                    stream.paused.is_some(),
                    "a stream waits when there is no room for its blobs"
                );
            }
            assert!(
                stream.key.height > self.forgotten || stream.kind != OfferKind::Proposal,
                "a proposal's stream is about a height that is not decided"
            );
            assert_eq!(
                stream.init.is_none(),
                stream.state == State::Requested,
                "a stream begins with its `Init`"
            );
            let value = self.values.get(&stream.key);
            match stream.state {
                State::Active => assert!(
                    value.is_some_and(|value| value.reserved.is_some()),
                    "only a stream whose value has room is read"
                ),
                State::Queued => assert!(value.is_some(), "only an admitted value waits for room"),
                State::Requested | State::Asked { .. } | State::Waiting => {}
            }
        }
    }
}
