//! This part of the writer knows how to free segments: those of dropped values at once, those past retention once their
//! payloads have moved.

use std::io;

use ultramarine_runtime::medium::{Medium, MediumFile};
use ultramarine_types::storage::{Blobs, Source, StoreReply, Tag};
use ultramarine_types::{Height, ValueKey};

use super::Writer;
use crate::append::write_parts;
use crate::damage::unix_seconds;
use crate::failure::{Failure, no_room};
use crate::index::LocationRow;
use crate::mapped::Begun;
use crate::reader::Damage;
use crate::record::{self, Encoded, RecordContent};
use crate::reserve::is_full;
use crate::segment::{self, Class, Location, SEGMENT_FIRST_RECORD, SegmentId};

/// Segments read by one `Retire`: bounds the pause; the next one goes on.
const RETIRE_SEGMENTS_MAX: usize = 4;

/// What is kept of a height when its segment goes.
struct Payload {
    key: ValueKey,
    /// What the index will say of its blobs.
    blobs: Blobs,
    encoded: Encoded,
}

/// Why a segment's payloads cannot be moved.
#[derive(Debug, thiserror::Error)]
enum Unmovable {
    #[error("the index has no row of height {0} that can be read")]
    Row(Height),
    #[error("the record of {key} at {offset}: {damage}")]
    Record { key: ValueKey, offset: u64, damage: Damage },
}

impl Unmovable {
    const fn height(&self) -> Height {
        match self {
            Self::Row(height) => *height,
            Self::Record { key, .. } => key.height,
        }
    }
}

impl<M: Medium> Writer<M> {
    /// Frees segments that hold nothing but dead bytes. The index never named them, or no longer does.
    pub(super) fn free_dead(&mut self) {
        let dead = self.state.ledger.dead();
        self.free(&dead);
    }

    fn free(&mut self, ids: &[SegmentId]) {
        if ids.is_empty() {
            return;
        }
        self.state.segments.retire(ids);
        for id in ids {
            self.state.ledger.close(*id);
            self.state.metrics.retired_segments.inc();
        }
    }

    /// Frees segments whose heights are all below a height, after their payloads were moved and the index says so.
    ///
    /// A segment with a damaged record stays, and is no reason for the next ones to stay. Nor is one for whose payloads
    /// there is no room beside those of the others: it stays until there is, and is not read again before.
    pub(super) async fn retire(&mut self, blobs_below: Height) -> Result<StoreReply, Failure> {
        assert!(
            self.group.values.is_empty(),
            "a retirement waits for the sync of what came before"
        );
        let mut below = blobs_below.min(self.state.head.next());
        if self.state.archives {
            below = below.min(self.state.view.archived_through().next());
        }
        let room_bytes = self.state.reserve.room_bytes();
        let fits = |payloads_bytes| segment::exact(payloads_bytes) <= room_bytes;
        let (mut movable, mut payloads, mut payloads_bytes) = (Vec::new(), Vec::new(), 0);
        let (mut read_count, mut lacking_bytes) = (0, None);
        for id in self.state.ledger.wholly_below(below) {
            let known_bytes = payloads_bytes + self.state.ledger.payloads_bytes(id);
            if !fits(known_bytes) {
                lacking_bytes.get_or_insert(known_bytes);
                continue;
            }
            if read_count == RETIRE_SEGMENTS_MAX {
                break;
            }
            read_count += 1;
            let mut read = match self.read_payloads(id)? {
                Ok(read) => read,
                Err(damage) => {
                    self.leave(id, &damage);
                    continue;
                }
            };
            let read_bytes = read.iter().map(|payload| payload.encoded.record_bytes()).sum();
            self.state.ledger.weighed(id, read_bytes);
            if !fits(payloads_bytes + read_bytes) {
                lacking_bytes.get_or_insert(payloads_bytes + read_bytes);
                continue;
            }
            payloads_bytes += read_bytes;
            movable.push(id);
            payloads.append(&mut read);
        }
        if let Some(bytes) = lacking_bytes {
            self.tell_no_room(segment::exact(bytes));
        }
        if !movable.is_empty()
            && let Some(moved) = self.move_payloads(payloads, payloads_bytes).await?
        {
            self.relocate(&moved)?;
            self.free(&movable);
            self.state.segments.sweep();
            self.state.view.show_account();
        }
        Ok(StoreReply::Retired {
            blobs_below: self.state.oldest_blobs,
        })
    }

    /// Counts a segment as damaged, so that it is tried and spoken of once.
    fn leave(&mut self, id: SegmentId, damage: &Unmovable) {
        tracing::error!(
            "segment {id} stays on disk although its retention has ended: {damage}. What of it is whole is served as \
             before and other segments are freed; check the disk (dmesg, smartctl)"
        );
        let view = &self.state.view;
        view.mark_damaged(damage.height(), &format!("segment {id}: {damage}"));
        self.state.ledger.leave(id);
        let left_count = self.state.ledger.left_count();
        self.state
            .metrics
            .damaged_segments
            .set(i64::try_from(left_count).unwrap_or(i64::MAX));
    }

    /// What is kept of a segment's heights for ever, ready to be written elsewhere; or which record is damaged.
    fn read_payloads(&self, id: SegmentId) -> Result<Result<Vec<Payload>, Unmovable>, Failure> {
        let mut payloads = Vec::new();
        for height in self.state.ledger.heights(id) {
            let Some((decided, location)) = self.state.view.row(height) else {
                return Ok(Err(Unmovable::Row(height)));
            };
            let key = ValueKey {
                height,
                id: decided.certificate.value_id,
            };
            let assembly = match self.state.view.record_to_move(&key, &location) {
                Ok(assembly) => assembly,
                Err(damage) => {
                    return Ok(Err(Unmovable::Record {
                        key,
                        offset: location.offset,
                        damage,
                    }));
                }
            };
            let (content, blobs) = match decided.blobs {
                Blobs::NeverHeld => (RecordContent::NeverHeld, Blobs::NeverHeld),
                Blobs::Held | Blobs::Pruned if assembly.init.metadata.blobs_count == 0 => {
                    (RecordContent::Whole, Blobs::Held)
                }
                Blobs::Held | Blobs::Pruned => (RecordContent::Moved, Blobs::Pruned),
            };
            let encoded = record::encode(&assembly, Tag::Certified, content)?;
            payloads.push(Payload { key, blobs, encoded });
        }
        Ok(Ok(payloads))
    }

    /// Writes payloads into a segment of their own and syncs it. `None`: there was no room after all, so nothing may be
    /// freed.
    async fn move_payloads(
        &mut self,
        payloads: Vec<Payload>,
        payloads_bytes: u64,
    ) -> Result<Option<Vec<(ValueKey, LocationRow)>>, Failure> {
        let capacity = segment::exact(payloads_bytes);
        let begun = match self.state.segments.begin(Class::Payloads, capacity) {
            Ok(begun) => begun,
            Err(error) if is_full(&error) => {
                self.tell_no_room(capacity);
                return Ok(None);
            }
            Err(error) => return Err(self.state.write_failed("a new segment", &error)),
        };
        match self.write_payloads(&begun, payloads).await {
            Ok(moved) => Ok(Some(moved)),
            Err(error) if is_full(&error) => {
                // Nothing names it: the index was not told.
                self.state.segments.retire(&[begun.id]);
                self.state.segments.sweep();
                self.tell_no_room(capacity);
                Ok(None)
            }
            Err(error) => Err(self.state.write_failed("a payloads segment", &error)),
        }
    }

    async fn write_payloads(
        &mut self,
        begun: &Begun,
        payloads: Vec<Payload>,
    ) -> io::Result<Vec<(ValueKey, LocationRow)>> {
        let file = self.medium.open(&begun.path).await?;
        let mut offset = SEGMENT_FIRST_RECORD;
        let mut moved = Vec::with_capacity(payloads.len());
        for (sequence, mut payload) in (0..).zip(payloads) {
            payload.encoded.stamp(begun.lineage, sequence);
            let location = Location {
                segment: begun.id,
                offset,
                bytes: payload.encoded.record_bytes(),
            };
            write_parts(&file, offset, location.bytes, payload.encoded.parts()).await?;
            self.state.metrics.appended_bytes.add(location.bytes);
            offset = location.end();
            let row = LocationRow {
                location,
                blobs: payload.blobs,
                since: unix_seconds(),
            };
            moved.push((payload.key, row));
        }
        file.sync().await?;
        self.state.metrics.syncs.inc();
        self.state.segments.advance(begun.id, offset);
        Ok(moved)
    }

    fn tell_no_room(&self, bytes: u64) {
        tracing::warn!(
            "blobs stay although their retention has ended: {}",
            no_room(&self.state.reserve, "their payloads elsewhere", bytes)
        );
    }

    /// Lets the index and everybody know where heights lie now, and how far retention went.
    fn relocate(&mut self, moved: &[(ValueKey, LocationRow)]) -> Result<(), Failure> {
        assert!(
            moved
                .iter()
                .all(|(_, row)| self.state.segments.is_synced(&row.location)),
            "the index is told only of synced bytes"
        );
        let pruned = moved.iter().filter(|(_, row)| row.blobs == Blobs::Pruned);
        // Heights below that are still here, in a damaged segment for one, are served all the same: the mark says from
        // where on nothing is missing.
        let pruned_count = pruned.clone().count() as u64;
        let newest_pruned = pruned.map(|(key, _)| key.height.next()).max();
        let oldest_blobs = newest_pruned.unwrap_or_default().max(self.state.oldest_blobs);
        let rows: Vec<(Height, LocationRow)> = moved.iter().map(|(key, row)| (key.height, *row)).collect();
        self.state.reserve.balance();
        self.state
            .index
            .relocate(&rows, oldest_blobs)
            .map_err(|error| self.state.index_failed(&error))?;
        self.state.metrics.prunes.add(pruned_count);
        self.state.oldest_blobs = oldest_blobs;
        self.state.view.set_oldest_blobs(oldest_blobs);
        for (key, _) in moved {
            self.state.view.hot().remove(key);
            self.state.view.forget_recent(key.height);
        }
        Ok(())
    }
}
