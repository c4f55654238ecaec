//! This part of the writer knows how to free segments: those of dropped values at once, those past retention after their
//! payloads were moved.

use std::io;

use ultramarine_runtime::medium::{Medium, MediumFile};
use ultramarine_types::storage::{Blobs, StoreReply, Tag};
use ultramarine_types::{Height, ValueKey};

use super::{Failure, Writer, failed, is_full};
use crate::append::write_parts;
use crate::index::Place;
use crate::record::{self, Check, Content};
use crate::segment::{self, Class, Location, SEGMENT_FIRST_RECORD, SegmentId};

/// Segments freed by one `Retire`: bounds the pause; the next one goes on.
const RETIRE_SEGMENTS_MAX: usize = 4;

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
        self.state
            .metrics
            .dead_bytes
            .set(i64::try_from(self.state.ledger.dead_bytes()).unwrap_or(i64::MAX));
    }

    /// Frees segments whose heights are all below a height, after their payloads were moved and the index says so.
    pub(super) async fn retire(&mut self, blobs_below: Height) -> Result<StoreReply, Failure> {
        let below = blobs_below.min(self.state.head.next());
        let mut ids = self.state.ledger.wholly_below(below);
        ids.truncate(RETIRE_SEGMENTS_MAX);
        let heights: Vec<Height> = ids.iter().flat_map(|id| self.state.ledger.heights(*id)).collect();
        if !heights.is_empty() {
            let Some(places) = self.move_payloads(&heights).await? else {
                return Ok(StoreReply::Retired {
                    blobs_below: self.state.oldest_blobs,
                });
            };
            let newest_pruned = places
                .iter()
                .filter(|(_, place)| place.blobs == Blobs::Pruned)
                .map(|(height, _)| height.next())
                .max();
            let oldest_blobs = newest_pruned.unwrap_or_default().max(self.state.oldest_blobs);
            self.state
                .index
                .relocate(&places, oldest_blobs)
                .map_err(|error| Failure(error.to_string()))?;
            self.state.oldest_blobs = oldest_blobs;
            self.state.reader.set_oldest_blobs(oldest_blobs);
            for height in &heights {
                if let Some((decided, _)) = self.state.reader.row(*height) {
                    self.state.reader.hot().remove(&ValueKey {
                        height: *height,
                        id: decided.certificate.value_id,
                    });
                }
                self.state.reader.forget_recent(*height);
            }
            self.free(&ids);
            self.state.segments.sweep();
        }
        Ok(StoreReply::Retired {
            blobs_below: self.state.oldest_blobs,
        })
    }

    /// Writes the payloads of heights into a payloads segment and syncs it. `None`: something cannot be read or there
    /// is no room, so that nothing may be freed.
    async fn move_payloads(&mut self, heights: &[Height]) -> Result<Option<Vec<(Height, Place)>>, Failure> {
        let mut records = Vec::with_capacity(heights.len());
        for height in heights {
            let Some((decided, location)) = self.state.reader.row(*height) else {
                return Ok(None);
            };
            let key = ValueKey {
                height: *height,
                id: decided.certificate.value_id,
            };
            let Ok(Some(mut assembly)) = self.state.reader.record(&key, &location, Check::Body) else {
                return Ok(None);
            };
            let (content, blobs) = match decided.blobs {
                Blobs::NeverHeld => (Content::NeverHeld, Blobs::NeverHeld),
                Blobs::Held | Blobs::Pruned if assembly.init.metadata.commitments.is_empty() => {
                    (Content::Whole, Blobs::Held)
                }
                Blobs::Held | Blobs::Pruned => (Content::Moved, Blobs::Pruned),
            };
            assembly.blobs.clear();
            let encoded =
                record::encode(&assembly, Tag::Certified, content).map_err(|unfit| Failure(unfit.to_string()))?;
            records.push((*height, blobs, encoded));
        }
        let total_bytes = records.iter().map(|(_, _, encoded)| encoded.record_bytes()).sum();
        let capacity = segment::exact(total_bytes);
        if !self.state.reserve.has_room_for(capacity) {
            tracing::warn!(
                "blobs stay although their retention has ended: no room to move {total_bytes} bytes of payloads"
            );
            return Ok(None);
        }
        let begun = match self.state.segments.begin(Class::Payloads, capacity) {
            Ok(begun) => begun,
            Err(error) if is_full(&error) => return Ok(None),
            Err(error) => return Err(failed("a new segment", &error)),
        };
        let stop = |error: io::Error| failed("a payloads segment", &error);
        let file = self.medium.open(&begun.path).await.map_err(stop)?;
        let mut offset = SEGMENT_FIRST_RECORD;
        let mut places = Vec::with_capacity(records.len());
        for (sequence, (height, blobs, mut encoded)) in (0..).zip(records) {
            encoded.stamp(begun.lineage, sequence);
            let location = Location {
                segment: begun.id,
                offset,
                bytes: encoded.record_bytes(),
            };
            write_parts(&file, offset, location.bytes, encoded.parts())
                .await
                .map_err(stop)?;
            self.state.metrics.appended_bytes.add(location.bytes);
            offset = location.end();
            places.push((height, Place { location, blobs }));
        }
        file.sync().await.map_err(stop)?;
        self.state.metrics.syncs.inc();
        self.state.segments.advance(begun.id, offset);
        Ok(Some(places))
    }
}
