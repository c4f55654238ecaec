//! This part of the files thread knows how to move payloads out of a segment into the one that grows, a few megabytes
//! at a time.

use std::io;

use crossbeam::channel::Sender;
use ultramarine_runtime::medium::{Medium, MediumFile, ready};
use ultramarine_types::storage::{Blobs, Tag};
use ultramarine_types::{Height, ValueKey};

use super::{Broken, Desk, Done, Ended, MovedRow};
use crate::append::write_parts;
use crate::damage::unix_seconds;
use crate::format::{Lineage, PAGE_BYTES, whole_pages};
use crate::index::LocationRow;
use crate::ledger::Due;
use crate::reader::{self, Damage};
use crate::record::{self, Encoded, RecordContent};
use crate::reserve::{is_full, room_bytes};
use crate::segment::{Class, Location, PAYLOADS_BYTES, Position, SEGMENT_FIRST_RECORD, SegmentHeader, SegmentId};

/// Rows asked of the index at a time.
const ROWS_MAX: usize = 64;
/// Payloads in memory at a time, one height's excepted.
const BATCH_BYTES: u64 = 4 << 20;

/// Why a move does not go on.
#[derive(Debug)]
pub(super) enum Stopped {
    Broken(Broken),
    /// Nobody waits for it any more.
    Closed,
}

/// What is kept of a height when its blobs go.
struct Payload {
    key: ValueKey,
    from: Location,
    /// What the index will say of its blobs.
    blobs: Blobs,
    encoded: Encoded,
}

/// The payloads segment that is appended to.
struct Growing<F> {
    id: SegmentId,
    lineage: Lineage,
    file: F,
    offset: u64,
    sequence: u64,
}

/// Why what is kept of a height cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unmovable {
    #[error("its row in the index is damaged")]
    Row,
    #[error("its record in segment {segment} at {offset}: {damage}")]
    Record {
        segment: SegmentId,
        offset: u64,
        damage: Damage,
    },
    #[error("what was stored fits no record: {0}")]
    Unfit(#[from] record::Unfit),
}

/// Moves payloads. Its medium blocks.
pub(super) struct Mover<M: Medium> {
    desk: Desk,
    medium: M,
    /// Where another life's segment ends, until the first payload is moved.
    resume: Option<Position>,
    growing: Option<Growing<M::File>>,
}

impl<M: Medium> Mover<M> {
    pub const fn new(desk: Desk, medium: M, resume: Option<Position>) -> Self {
        Self {
            desk,
            medium,
            resume,
            growing: None,
        }
    }

    /// Moves what is kept of a segment's heights, and reports each piece when it is synced.
    pub fn move_out(&mut self, due: &Due, answers: &Sender<Done>) -> Result<Ended, Stopped> {
        let mut damaged = Vec::new();
        let mut from = Some(due.from);
        while let Some(first) = from {
            let index = &self.desk.index;
            let found = index.read_for_change(|| index.heights_in(due.segment, first, due.below, ROWS_MAX));
            let found = found.map_err(|error| Stopped::Broken(Broken::Index(error)))?;
            from = found.next;
            let rows_damaged = found.damaged.into_iter();
            damaged.extend(rows_damaged.map(|height| (height, Unmovable::Row.to_string())));
            let mut batch = Vec::new();
            let mut batch_bytes = 0;
            for (height, row) in found.rows {
                // What has no room is not read.
                let least_bytes = batch_bytes + PAGE_BYTES;
                if !self.has_room(least_bytes) {
                    return Ok(Ended::NoRoom { bytes: least_bytes });
                }
                match self.read(height, &row) {
                    Ok(payload) => {
                        batch_bytes += payload.encoded.record_bytes();
                        batch.push(payload);
                    }
                    Err(unmovable) => damaged.push((height, unmovable.to_string())),
                }
                if batch_bytes >= BATCH_BYTES {
                    if let Err(bytes) = self.append(std::mem::take(&mut batch), answers)? {
                        return Ok(Ended::NoRoom { bytes });
                    }
                    batch_bytes = 0;
                }
            }
            if let Err(bytes) = self.append(batch, answers)? {
                return Ok(Ended::NoRoom { bytes });
            }
        }
        Ok(Ended::Whole { damaged })
    }

    /// What is kept of a height for ever, ready to be written elsewhere. It gets new checksums, so those of before are
    /// checked whether or not they were.
    fn read(&self, height: Height, row: &LocationRow) -> Result<Payload, Unmovable> {
        let decided = self.desk.index.decided(height).ok().flatten();
        let key = decided.ok_or(Unmovable::Row)?.decided.key();
        let Location { segment, offset, .. } = row.location;
        let found = reader::head(&self.desk.segments, &key, &row.location);
        let assembly = found.and_then(|found| found.ok_or(Damage::Cut));
        let assembly = assembly.map_err(|damage| Unmovable::Record {
            segment,
            offset,
            damage,
        })?;
        let (content, blobs) = match row.blobs {
            Blobs::NeverHeld => (RecordContent::NeverHeld, Blobs::NeverHeld),
            Blobs::Held | Blobs::Pruned if assembly.init.metadata.blobs_count == 0 => {
                (RecordContent::Whole, Blobs::Held)
            }
            Blobs::Held | Blobs::Pruned => (RecordContent::Moved, Blobs::Pruned),
        };
        let encoded = record::encode(&assembly, Tag::Certified, content)?;
        Ok(Payload {
            key,
            from: row.location,
            blobs,
            encoded,
        })
    }

    /// Whether there is room for so many bytes beside the reserve. Files that only wait to be recycled make room.
    fn has_room(&self, bytes: u64) -> bool {
        let fits = || bytes <= room_bytes(&self.desk.folder);
        fits() || (self.desk.segments.give_up_free() && fits())
    }

    /// Writes records, syncs them and reports them; those that fit, and the bytes for which there was no room.
    fn append(&mut self, batch: Vec<Payload>, answers: &Sender<Done>) -> Result<Result<(), u64>, Stopped> {
        if batch.is_empty() {
            return Ok(Ok(()));
        }
        let mut rows = Vec::with_capacity(batch.len());
        let outcome = ready(self.write(batch, &mut rows));
        let lacking = match outcome {
            Ok(lacking) => lacking,
            Err(error) if is_full(&error) => {
                // What was written may be lost: nothing of it is reported, and nothing follows behind it.
                let bytes = rows.iter().map(|row| row.to.location.bytes).sum();
                self.give_up();
                return Ok(Err(bytes));
            }
            Err(error) => return Err(Stopped::Broken(Broken::Write(error))),
        };
        if let Some(growing) = self.growing.as_ref().filter(|_| !rows.is_empty()) {
            let end = Position {
                segment: growing.id,
                offset: growing.offset,
                sequence: growing.sequence,
            };
            let moved = Done::Moved { rows, end };
            answers.send(moved).map_err(|_| Stopped::Closed)?;
        }
        Ok(lacking.map_or(Ok(()), Err))
    }

    /// Writes and syncs what there is room for; the bytes of the first that had none.
    async fn write(&mut self, batch: Vec<Payload>, rows: &mut Vec<MovedRow>) -> io::Result<Option<u64>> {
        let mut lacking = None;
        let since = unix_seconds();
        self.leave_removed();
        let all_bytes: u64 = batch.iter().map(|payload| payload.encoded.record_bytes()).sum();
        let all_fit = self.has_room(all_bytes + SEGMENT_FIRST_RECORD);
        for mut payload in batch {
            let bytes = payload.encoded.record_bytes();
            let written_bytes: u64 = rows.iter().map(|row| row.to.location.bytes).sum();
            if !all_fit && !self.has_room(written_bytes + bytes + SEGMENT_FIRST_RECORD) {
                lacking = Some(bytes + SEGMENT_FIRST_RECORD);
                break;
            }
            let is_full = self.growing.as_ref().is_some_and(|growing| {
                growing.offset > SEGMENT_FIRST_RECORD && growing.offset + bytes > PAYLOADS_BYTES
            });
            if is_full {
                self.sync().await?;
                self.growing = None;
            }
            if self.growing.is_none() {
                self.growing = Some(self.begin().await?);
            }
            let growing = self.growing.as_mut().expect("begun above");
            payload.encoded.stamp(growing.lineage, growing.sequence);
            let location = Location {
                segment: growing.id,
                offset: growing.offset,
                bytes,
            };
            write_parts(&growing.file, location.offset, bytes, payload.encoded.parts()).await?;
            growing.offset += bytes;
            growing.sequence += 1;
            rows.push(MovedRow {
                key: payload.key,
                from: payload.from,
                to: LocationRow {
                    location,
                    blobs: payload.blobs,
                    since,
                },
            });
        }
        self.desk.segments.step("payloads written");
        self.sync().await?;
        self.desk.segments.step("payloads synced");
        Ok(lacking)
    }

    /// Goes on in another segment if the name of this one is gone: nobody could read what is appended to it.
    fn leave_removed(&mut self) {
        let path = |growing: &Growing<M::File>| self.desk.segments.path(growing.id);
        let is_removed = |growing: &Growing<M::File>| path(growing).is_none_or(|path| !path.exists());
        if self.growing.as_ref().is_some_and(is_removed) {
            self.growing = None;
        }
    }

    /// Makes what was appended durable, and shows it.
    async fn sync(&self) -> io::Result<()> {
        let Some(growing) = &self.growing else { return Ok(()) };
        growing.file.sync().await?;
        self.desk.segments.advance(growing.id, growing.offset);
        Ok(())
    }

    /// The segment that another life left, or a new one.
    async fn begin(&mut self) -> io::Result<Growing<M::File>> {
        if let Some(resumed) = self.resume().await {
            return Ok(resumed);
        }
        let segments = &self.desk.segments;
        let begun = segments.begin(segments.take_number(), Class::Payloads, PAYLOADS_BYTES)?;
        Ok(Growing {
            id: begun.id,
            lineage: begun.lineage,
            file: self.medium.open(&begun.path).await?,
            offset: SEGMENT_FIRST_RECORD,
            sequence: 0,
        })
    }

    /// What is behind the end of another life's segment was never named: it is written over.
    async fn resume(&mut self) -> Option<Growing<M::File>> {
        let end = self.resume.take()?;
        let path = self.desk.segments.path(end.segment)?;
        let file = self.medium.open(&path).await.ok()?;
        let page = file.read(0, PAGE_BYTES as usize).await.ok()?;
        let header = SegmentHeader::decode(&page)?;
        let is_it = header.id == end.segment && header.class == Class::Payloads && end.offset < PAYLOADS_BYTES;
        let file_bytes = std::fs::metadata(&path).ok()?.len();
        (is_it && whole_pages(end.offset) == end.offset && end.offset <= file_bytes).then(|| Growing {
            id: end.segment,
            lineage: header.lineage(),
            file,
            offset: end.offset,
            sequence: end.sequence,
        })
    }

    /// The disk filled up under the segment: it grows no further. One without any record is not kept.
    fn give_up(&mut self) {
        if let Some(growing) = self.growing.take() {
            let segments = &self.desk.segments;
            if segments.synced_bytes(growing.id) == Some(SEGMENT_FIRST_RECORD) {
                segments.retire(&[growing.id]);
            }
        }
    }
}
