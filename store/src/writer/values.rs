//! This part of the writer knows how to append values to the growing segment, and to show them once they are synced.

use std::sync::Arc;

use ultramarine_runtime::medium::{Medium, MediumFile};
use ultramarine_runtime::{Mark, StageTime};
use ultramarine_types::storage::{Blobs, Source, StoreReply, Tag};
use ultramarine_types::{Assembly, Init, Stage, ValueKey};

use super::{Ahead, Growing, Waiting, Writer};
use crate::append::write_parts;
use crate::damage::unix_seconds;
use crate::failure::{Failure, no_room};
use crate::files::Job;
use crate::format::PAGE_BYTES;
use crate::mapped::Begun;
use crate::record::{self, Encoded, RecordContent};
use crate::reserve::is_full;
use crate::segment::{self, Class, Location, SEGMENT_FIRST_RECORD};
use crate::view::Undecided;

/// What became of an append.
pub(super) enum Appended {
    At(Location, u64),
    NoRoom(String),
}

impl<M: Medium> Writer<M> {
    pub(super) async fn put(&mut self, assembly: Assembly, tag: Tag) -> Result<(), Failure> {
        let arrived = self.clock.now();
        let key = assembly.key;
        let content = match record::content_of(&assembly) {
            Ok(content) => content,
            Err(unfit) => return self.refuse(key, unfit.to_string()),
        };
        let blobs = if content == RecordContent::Whole {
            Blobs::Held
        } else {
            Blobs::NeverHeld
        };
        let stored = |init: &Arc<Init>, blobs: Blobs| StoreReply::Stored {
            key,
            init: Arc::clone(init),
            lists: Arc::clone(&assembly.lists),
            payload: assembly.payload.clone(),
            tag,
            blobs,
        };
        if key.height <= self.state.head {
            let decided = self.state.view.decided(key.height);
            let decided = decided.filter(|decided| decided.certificate.value_id == key.id);
            self.group.replies.push(match &decided {
                Some(decided) => stored(&decided.init, decided.blobs),
                None => stored(&assembly.init, blobs),
            });
            return Ok(());
        }
        // The key binds lists and payload. The signatures of two right `Init`s may differ.
        if let Some((init, blobs)) = self.find_stored(&key, tag, blobs) {
            self.group.replies.push(stored(&init, blobs));
            return Ok(());
        }
        let encoded = match record::encode(&assembly, tag, content) {
            Ok(encoded) => encoded,
            Err(unfit) => return self.refuse(key, unfit.to_string()),
        };
        let (location, sequence) = match self.append(encoded).await? {
            Appended::At(location, sequence) => (location, sequence),
            Appended::NoRoom(reason) => {
                let reason = self.with_archive(reason);
                return self.refuse(key, reason);
            }
        };
        let reply = stored(&assembly.init, blobs);
        let entry = Undecided {
            init: Arc::clone(&assembly.init),
            tag,
            blobs,
            location,
            sequence,
            blobs_count: assembly.init.metadata.blobs_count,
            since: Some(unix_seconds()),
        };
        self.state.ledger.stored(&location);
        if let Some(before) = self.group.values.insert(
            key,
            Waiting {
                assembly,
                stored: entry,
                arrived,
            },
        ) {
            self.state.ledger.dropped(&before.stored.location);
        }
        self.group.replies.push(reply);
        Ok(())
    }

    /// Why there is no room for values of so many bytes: in the words of `/health`, if it tells that too.
    fn full(&self, bytes: u64) -> String {
        let (state, reserve) = (&self.state, &self.state.reserve);
        let shortage = reserve.shortage(bytes.max(state.largest_bytes()));
        shortage.unwrap_or_else(|| no_room(reserve, "more values", bytes))
    }

    /// Says as well what waits for the archive, if retention frees nothing before.
    fn with_archive(&self, reason: String) -> String {
        let waiting = self.state.head.0.saturating_sub(self.state.view.archived().through().0);
        if !self.state.archives || self.state.keeps_all || waiting == 0 {
            return reason;
        }
        format!("{reason}; {waiting} heights are in no archive yet, and nothing is freed before: /health says why")
    }

    pub(super) fn refuse(&mut self, key: ValueKey, reason: String) -> Result<(), Failure> {
        self.state.metrics.refusals.inc();
        // The sender of the request gets the answer, and tells the operator.
        tracing::debug!("value {key} is not stored: {reason}");
        self.state.show_shortage();
        self.group.replies.push(StoreReply::Refused { key, reason });
        Ok(())
    }

    /// What of a value is stored, or about to be, with at least these blobs; notes the newer tag.
    fn find_stored(&mut self, key: &ValueKey, tag: Tag, blobs: Blobs) -> Option<(Arc<Init>, Blobs)> {
        let mut undecided = self.state.view.undecided_mut();
        let waiting = self.group.values.get_mut(key).map(|waiting| &mut waiting.stored);
        let mut found = waiting.into_iter().chain(undecided.get_mut(key));
        let stored = found.find(|stored| stored.blobs == Blobs::Held || stored.blobs == blobs)?;
        stored.tag = tag;
        Some((Arc::clone(&stored.init), stored.blobs))
    }

    /// Writes a record behind the others; it is durable after the next sync.
    pub(super) async fn append(&mut self, mut encoded: Encoded) -> Result<Appended, Failure> {
        let bytes = encoded.record_bytes();
        let fits = self
            .state
            .growing
            .as_ref()
            // What is written into a file without a name is gone with the next start, and nobody can read it.
            .is_some_and(|growing| growing.offset + bytes <= growing.capacity_bytes && growing.path.exists());
        if !fits {
            // The old segment's records must be durable before it is sealed.
            self.sync_values().await?;
            if let Some(reason) = self.begin_segment(bytes)? {
                return Ok(Appended::NoRoom(reason));
            }
        }
        let growing = self.state.growing.as_mut().expect("begun above");
        if self.values_file.is_none() {
            self.values_file = Some(
                self.medium
                    .open(&growing.path)
                    .await
                    .map_err(|error| Failure::write(&self.state.reserve, "a segment", &error))?,
            );
        }
        let file = self.values_file.as_ref().expect("opened above");
        let location = Location {
            segment: growing.id,
            offset: growing.offset,
            bytes,
        };
        let sequence = growing.sequence;
        encoded.follow_synced(growing.synced_below);
        encoded.stamp(growing.lineage, sequence);
        match write_parts(file, location.offset, bytes, encoded.parts()).await {
            Ok(()) => {
                growing.offset += bytes;
                growing.sequence += 1;
                self.state.metrics.appended_bytes.add(bytes);
                Ok(Appended::At(location, sequence))
            }
            Err(error) if is_full(&error) => {
                let reason = self.full(bytes);
                self.give_up_segment(&reason);
                Ok(Appended::NoRoom(reason))
            }
            Err(error) => Err(self.state.write_failed("a segment", &error)),
        }
    }

    /// Seals the growing segment and goes on in one that takes `record_bytes`; a reason if there is no room.
    fn begin_segment(&mut self, record_bytes: u64) -> Result<Option<String>, Failure> {
        let Some(begun) = self.next_segment(record_bytes)? else {
            let capacity = segment::exact(record_bytes);
            return Ok(Some(self.full(capacity)));
        };
        self.values_file = None;
        self.seal_growing();
        let state = &mut self.state;
        state.ledger.open(begun.id, Class::Values, false);
        assert!(
            state.newest_values < begun.id,
            "recovery looks for values from a segment's number on"
        );
        state.newest_values = begun.id;
        state.growing = Some(Growing {
            id: begun.id,
            lineage: begun.lineage,
            path: begun.path,
            capacity_bytes: begun.capacity_bytes,
            offset: SEGMENT_FIRST_RECORD,
            sequence: 0,
            synced_below: 0,
        });
        Ok(None)
    }

    /// The segment made ahead, or one that is begun here and now: as large as there is room for.
    fn next_segment(&mut self, record_bytes: u64) -> Result<Option<Begun>, Failure> {
        let state = &mut self.state;
        let least_bytes = segment::exact(record_bytes);
        // One that is too small, or not made yet, is overtaken: it never holds a value.
        match std::mem::take(&mut state.ahead) {
            Ahead::Made(begun) if begun.capacity_bytes >= least_bytes && begun.path.exists() => {
                return Ok(Some(begun));
            }
            Ahead::Made(begun) => {
                state.segments.retire(&[begun.id]);
                state.sweep_soon();
            }
            Ahead::None | Ahead::Asked(_) => {}
        }
        let mut capacity = state.capacity_bytes(record_bytes);
        if !state.segments.has_free(capacity) && !state.reserve.has_room_for(capacity) {
            state.segments.give_up_free();
            let room_bytes = state.reserve.room_bytes();
            capacity = capacity.min(room_bytes - room_bytes % PAGE_BYTES);
        }
        while capacity >= least_bytes {
            let id = state.segments.take_number();
            match state.segments.begin(id, Class::Values, capacity) {
                Ok(begun) => return Ok(Some(begun)),
                Err(error) if is_full(&error) && capacity > least_bytes => {
                    let half = capacity / 2;
                    capacity = least_bytes.max(half - half % PAGE_BYTES);
                }
                Err(error) if is_full(&error) => break,
                Err(error) => return Err(state.write_failed("a new segment", &error)),
            }
        }
        Ok(None)
    }

    /// Has the next segment made once the growing one is half full.
    pub(super) fn begin_ahead(&mut self) {
        let state = &mut self.state;
        let is_near = |growing: &Growing| growing.rest_bytes() < growing.capacity_bytes / 2;
        if state.ahead.id().is_some() || !state.growing.as_ref().is_some_and(is_near) {
            return;
        }
        let capacity_bytes = state.capacity_bytes(0);
        if state.segments.has_free(capacity_bytes) || state.reserve.has_room_for(capacity_bytes) {
            let id = state.segments.take_number();
            if state.files.ask(Job::Begin { id, capacity_bytes }) {
                state.ahead = Ahead::Asked(id);
            }
        }
    }

    fn seal_growing(&mut self) {
        let state = &mut self.state;
        if let Some(growing) = state.growing.take() {
            state.segments.seal(growing.id);
            state.ledger.seal(growing.id);
            state.sweep_soon();
        }
    }

    /// Syncs the growing segment and publishes what was appended to it.
    pub(super) async fn sync_values(&mut self) -> Result<(), Failure> {
        if self.group.values.is_empty() && self.restores.is_empty() {
            return Ok(());
        }
        let file = self.values_file.as_ref().expect("values wait in an open segment");
        match file.sync().await {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                let waiting = self.group.values.values().map(|waiting| &waiting.stored.location);
                let waiting = waiting.chain(self.restores.locations()).map(|location| location.bytes);
                let reason = self.full(waiting.sum());
                self.give_up_segment(&reason);
                return Ok(());
            }
            Err(error) => return Err(self.state.write_failed("a segment", &error)),
        }
        self.state.metrics.syncs.inc();
        let growing = self.state.growing.as_mut().expect("values wait in a growing segment");
        growing.synced_below = growing.sequence;
        self.state.segments.advance(growing.id, growing.offset);
        self.publish_restored()?;
        let now = self.clock.now();
        // Dropped behind the locks.
        let mut evicted = Vec::new();
        let mut undecided = self.state.view.undecided_mut();
        let mut hot = self.state.view.hot();
        for (key, waiting) in self.group.values.drain() {
            if let Some(before) = undecided.insert(key, waiting.stored) {
                self.state.ledger.dropped(&before.location);
            }
            evicted.extend(hot.insert(waiting.assembly));
            self.state.metrics.persist.record(now.since(waiting.arrived));
            let moment = StageTime {
                began: waiting.arrived,
                ended: now,
            };
            let mark = Mark::Stage(Stage::Persist);
            self.state.metrics.stage_log.note(mark, key.height, moment);
        }
        self.state
            .metrics
            .hot_bytes
            .set(i64::try_from(hot.held_bytes()).unwrap_or(i64::MAX));
        self.state
            .metrics
            .undecided
            .set(i64::try_from(undecided.len()).unwrap_or(i64::MAX));
        drop((undecided, hot));
        self.state.view.show_account();
        Ok(())
    }

    /// The disk filled up under a segment: what waits in it is refused, and it grows no further.
    fn give_up_segment(&mut self, reason: &str) {
        let mut lost = self.restores.give_up();
        for (key, waiting) in self.group.values.drain() {
            self.state.ledger.dropped(&waiting.stored.location);
            lost.push(key);
        }
        for key in lost {
            self.state.metrics.refusals.inc();
            for reply in &mut self.group.replies {
                if matches!(reply, StoreReply::Stored { key: stored, .. } if *stored == key) {
                    *reply = StoreReply::Refused {
                        key,
                        reason: reason.to_owned(),
                    };
                }
            }
        }
        self.values_file = None;
        self.seal_growing();
        tracing::warn!("{reason}");
    }
}
