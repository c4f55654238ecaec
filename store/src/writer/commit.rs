//! This part of the writer knows how to make a decision durable, and what everybody sees of it afterwards.

use ultramarine_runtime::medium::Medium;
use ultramarine_types::storage::{Blobs, Decision, Source, StoreReply};
use ultramarine_types::{Height, ValueKey};

use super::Writer;
use crate::damage::unix_seconds;
use crate::failure::{Failure, Misdecision};
use crate::index::{Commit, DecidedRow, HeightRows, LocationRow};
use crate::segment::Position;

impl<M: Medium> Writer<M> {
    pub(super) async fn commit(&mut self, decision: Decision) -> Result<StoreReply, Failure> {
        let started = self.clock.now();
        let height = decision.certificate.height;
        let key = ValueKey {
            height,
            id: decision.certificate.value_id,
        };
        if height <= self.state.head {
            return self.commit_again(&key);
        }
        if height != self.state.head.next() {
            return Err(Misdecision::OutOfTurn {
                height,
                head: self.state.head,
            }
            .into());
        }
        let stored = self.state.view.undecided().get(&key).cloned();
        let Some(stored) = stored else {
            return Err(Misdecision::NotStored(key).into());
        };
        if decision.blobs == Blobs::Held && stored.blobs != Blobs::Held {
            return Err(Misdecision::WithoutBlobs(key).into());
        }
        self.state.make_room();
        let epoch = self.prepare_epoch(height.next()).await?;
        let location_row = LocationRow {
            location: stored.location,
            blobs: stored.blobs,
            since: unix_seconds(),
        };
        self.tend()?;
        // A transaction that fails is the last thing this store did, so the ledger may be ahead of it.
        self.state.ledger.promoted(&stored.location, height);
        let (relocation, moved) = self.take_relocation()?;
        let oldest_blobs = if stored.blobs == Blobs::Held {
            self.oldest_after(&relocation)
        } else {
            height.next()
        };
        let growing = self.state.growing.as_ref();
        assert!(
            growing.is_none_or(|growing| growing.id != location_row.location.segment)
                || self.state.segments.is_synced(&location_row.location),
            "a decision names only synced bytes"
        );
        assert!(
            self.group.values.is_empty(),
            "a decision waits for the sync of what came before"
        );
        assert_eq!(epoch.height, height.next(), "the epoch that follows is made ready");
        let commit = Commit {
            certificate: &decision.certificate,
            init: &decision.init,
            location_row,
            epoch,
            floor: self.floor_above(height),
            oldest_blobs,
            relocation: &relocation,
        };
        self.state
            .index
            .commit(&commit)
            .map_err(|error| self.state.index_failed(&error))?;
        self.state.floor = commit.floor;
        self.publish(decision, location_row, oldest_blobs);
        self.relocated(&moved, oldest_blobs);
        self.free_dead();
        self.state.view.show_account();
        self.state.metrics.commit.record(self.clock.now().since(started));
        Ok(StoreReply::Committed { height })
    }

    /// A decision that is durable already: the same again is fine, another is the worst there is.
    fn commit_again(&self, key: &ValueKey) -> Result<StoreReply, Failure> {
        let height = key.height;
        let entry = self.state.view.entry(height);
        let decided = entry.ok_or(Misdecision::Unreadable(height))?.certificate.value_id;
        if decided == key.id {
            Ok(StoreReply::Committed { height })
        } else {
            Err(Misdecision::Another { key: *key, decided }.into())
        }
    }

    /// Where recovery would have to begin once `height` is decided: at the first value stored above it.
    fn floor_above(&self, height: Height) -> Position {
        let end = match &self.state.growing {
            Some(growing) => growing.position(),
            // The next value goes into the one made ahead, or into one that is begun later.
            None => Position::start_of(self.state.ahead.id().unwrap_or(self.state.segments.next_id())),
        };
        let undecided = self.state.view.undecided();
        let above = undecided
            .iter()
            .filter(|(key, _)| key.height > height)
            .map(|(_, value)| value.position());
        above.fold(end, Position::min)
    }

    /// Lets readers see a decision that is durable, and drops every other value of its height.
    fn publish(&mut self, decision: Decision, location_row: LocationRow, oldest_blobs: Height) {
        let state = &mut self.state;
        let height = decision.certificate.height;
        assert_eq!(height, state.head.next(), "heights are decided one after the other");
        let key = ValueKey {
            height,
            id: decision.certificate.value_id,
        };
        state.view.keep_recent(HeightRows {
            decided: DecidedRow::new(decision.certificate, &decision.init),
            init: Some(decision.init),
            place: location_row,
        });
        state.head = height;
        state.oldest_blobs = oldest_blobs;
        state.view.set_head(height);
        state.view.set_oldest_blobs(oldest_blobs);
        let mut undecided = state.view.undecided_mut();
        let mut hot = state.view.hot();
        let mut promoted_count = 0;
        undecided.retain(|other, value| {
            if other.height > height {
                return true;
            }
            if *other == key {
                promoted_count += 1;
            } else {
                state.ledger.dropped(&value.location);
                state.metrics.drops.inc();
                hot.remove(other);
            }
            false
        });
        assert_eq!(promoted_count, 1, "the value that was decided was stored");
        state.metrics.promotions.inc();
        state
            .metrics
            .undecided
            .set(i64::try_from(undecided.len()).unwrap_or(i64::MAX));
    }
}
