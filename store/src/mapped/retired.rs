//! This part of the map knows what becomes of bytes that nobody needs any more: holes, files to recycle, files to
//! unlink.
//!
//! The storage core says what is to go. A sweep, on the files thread, does it when the leases allow: freeing the blocks
//! of a large file takes up to half a second, and neither the storage core nor the reader that drops the last lease
//! should spend it. So a file's name goes at once, and a descriptor stays here until its leases end: the sweep makes
//! the last close. A lease that never ends keeps its own blocks and delays nobody.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use super::occupied::Use;
use super::{Free, Lease, Newest, Recycling, Segment, Segments, State, lock};
use crate::reserve::occupied_bytes;
use crate::segment::{Class, SegmentId, free_file_name};

/// How long a retired segment waits for its leases before it is unlinked instead of recycled: longer than serving one
/// height to a slow peer may take.
pub const LEASE_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of retired segments that wait for leases; beyond, the oldest is unlinked at once.
const WAITING_BYTES_MAX: u64 = 1 << 30;
/// Descriptors kept for leases to end. Beyond this the oldest is closed, and the reader that ends its lease pays for
/// it.
const LINGERING_FILES_MAX: usize = 64;
/// A sealed segment's unused tail is given back to the file system when it is at least this much.
const TAIL_BYTES_MIN: u64 = 64 << 10;

/// A retired segment whose file is not freed yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub id: SegmentId,
    pub segment: Arc<Segment>,
    file_bytes: u64,
    since: Instant,
}

impl Waiting {
    /// Whether a map of the segment lives. Retirement closed the segment under the lock under which maps are made:
    /// every map there will ever be is counted, and the count can only fall.
    pub fn is_leased(&self) -> bool {
        lock(&self.segment.shown).is_leased()
    }
}

/// A sealed segment whose unused tail may go.
#[derive(Debug)]
pub(super) struct Tail {
    id: SegmentId,
    segment: Arc<Segment>,
    end: u64,
}

/// Ranges of a segment that may go when the maps of before have ended.
#[derive(Debug)]
pub(super) struct Punch {
    id: SegmentId,
    segment: Arc<Segment>,
    ranges: Vec<Range<u64>>,
    /// What the maps hold that were made since the hole before this one.
    lease: Lease,
    /// What older maps hold, and the holes before this one that still wait. They show these ranges too.
    older: Vec<Weak<()>>,
}

impl Punch {
    fn is_leased(&self) -> bool {
        Arc::strong_count(&self.lease) > 1 || self.older.iter().any(|older| older.strong_count() > 0)
    }
}

impl State {
    /// Whether free files are too many, or of another length than what is begun now.
    fn has_surplus(&self) -> bool {
        let Recycling { file_bytes, bytes_max } = self.recycling;
        let kept_bytes: u64 = self.free.iter().map(|free| free.disk_bytes).sum();
        kept_bytes > bytes_max || self.free.iter().any(|free| free.file_bytes != file_bytes)
    }
}

impl Segments {
    /// Says which retired files are kept to be recycled from now on; whether a sweep has some to remove.
    pub fn recycle(&self, recycling: Recycling) -> bool {
        let mut state = self.state();
        state.recycling = recycling;
        state.has_surplus()
    }

    /// Whether a file of this length waits to be recycled.
    pub fn has_free(&self, file_bytes: u64) -> bool {
        self.state().free.iter().any(|free| free.file_bytes == file_bytes)
    }

    /// Ends a segment's growth at its synced bytes. Its tail is given back with the next sweep; its length stays, so
    /// that it can be recycled.
    pub fn seal(&self, id: SegmentId) {
        let Some(segment) = self.segment(id) else { return };
        let end = segment.synced_bytes.load(Ordering::Acquire);
        self.state().tails.push(Tail { id, segment, end });
    }

    /// Shows ranges of a segment to no reader any more, and has their blocks given back when no map shows them. The
    /// index must not name them any more, durably, and recovery must not look there.
    pub fn punch(&self, id: SegmentId, ranges: Vec<Range<u64>>) {
        let Some(segment) = self.segment(id) else { return };
        let (lease, older) = {
            let mut shown = lock(&segment.shown);
            for range in &ranges {
                match shown.gone.last_mut().filter(|last| last.end == range.start) {
                    Some(last) => last.end = range.end,
                    None => shown.gone.push(range.clone()),
                }
            }
            shown.forget_map();
            let lease = std::mem::take(&mut shown.lease);
            shown.older.retain(|older| older.strong_count() > 0);
            let older = shown.older.clone();
            shown.older.push(Arc::downgrade(&lease));
            (lease, older)
        };
        self.state().punches.push(Punch {
            id,
            segment,
            ranges,
            lease,
            older,
        });
    }

    /// Takes segments out of the table. The index must not name them any more, durably.
    pub fn retire(&self, ids: &[SegmentId]) {
        let mut state = self.state();
        for id in ids {
            let Some(segment) = state.used.remove(id) else { continue };
            lock(&segment.shown).newest = Newest::Closed;
            let file_bytes = std::fs::metadata(&segment.path).map_or(0, |metadata| metadata.len());
            let purpose = Use::Retired(segment.class);
            state.occupied.note(*id, purpose, &segment.path);
            state.waiting.push(Waiting {
                id: *id,
                segment,
                file_bytes,
                since: Instant::now(),
            });
        }
    }

    /// Whether there is something that a sweep may do, now or when leases have ended.
    pub fn wants_sweep(&self) -> bool {
        let waits = {
            let state = self.state();
            !(state.waiting.is_empty() && state.tails.is_empty() && state.punches.is_empty()) || state.has_surplus()
        };
        waits || lock(&self.lingering).files_count() > 0
    }

    /// Whether a sweep has something to do at once.
    #[cfg(any(test, fuzzing))]
    pub fn has_ended(&self) -> bool {
        let state = self.state();
        let waits = state.waiting.iter().any(|waiting| !waiting.is_leased());
        waits || !state.tails.is_empty() || state.punches.iter().any(|punch| !punch.is_leased()) || state.has_surplus()
    }

    /// Gives back what nobody shows any more: tails, punched ranges, retired files.
    pub fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    pub(super) fn sweep_at(&self, now: Instant) {
        let tails = std::mem::take(&mut self.state().tails);
        for tail in tails {
            self.step("tail");
            give_back(&tail.segment.path, tail.end..u64::MAX);
            self.note_used(tail.id, &tail.segment);
        }
        self.punch_at_last();
        for waiting in self.take_ended(now) {
            self.step("retired");
            if !self.keep_free(&waiting) {
                // A lease held here would be one that nobody ends.
                let lease = Arc::downgrade(&lock(&waiting.segment.shown).lease);
                self.state().occupied.unname(waiting.id, lease);
                lock(&self.lingering).unlink(waiting);
            }
        }
        lock(&self.lingering).close_ended();
        self.shed_free();
    }

    fn punch_at_last(&self) {
        let punches = std::mem::take(&mut self.state().punches);
        for punch in punches {
            if matches!(lock(&punch.segment.shown).newest, Newest::Closed) {
                // The whole file goes.
                continue;
            }
            if punch.is_leased() {
                self.state().punches.push(punch);
                continue;
            }
            // Whatever readers did with their maps comes before the hole.
            fence(Ordering::Acquire);
            for range in punch.ranges {
                self.step("punched");
                give_back(&punch.segment.path, range);
            }
            self.note_used(punch.id, &punch.segment);
        }
    }

    /// A segment in use occupies less than before.
    fn note_used(&self, id: SegmentId, segment: &Segment) {
        let mut state = self.state();
        if state.used.contains_key(&id) {
            let end = segment.synced_bytes.load(Ordering::Acquire);
            state.occupied.note(id, Use::Used(segment.class, end), &segment.path);
        }
    }

    /// Retired segments that nobody leases any more, or that waited too long.
    fn take_ended(&self, now: Instant) -> Vec<Waiting> {
        let mut state = self.state();
        let mut waiting_bytes: u64 = state.waiting.iter().map(|waiting| waiting.file_bytes).sum();
        let mut ended = Vec::new();
        for waiting in std::mem::take(&mut state.waiting) {
            let overdue = now.duration_since(waiting.since) >= LEASE_DEADLINE || waiting_bytes > WAITING_BYTES_MAX;
            if waiting.is_leased() && !overdue {
                state.waiting.push(waiting);
                continue;
            }
            waiting_bytes -= waiting.file_bytes;
            ended.push(waiting);
        }
        ended
    }

    /// Keeps a retired file to be recycled, if it is one of the kind that is wanted and has most of its blocks.
    fn keep_free(&self, waiting: &Waiting) -> bool {
        let Recycling { file_bytes, bytes_max } = self.state().recycling;
        let path = &waiting.segment.path;
        let disk_bytes = occupied_bytes(path);
        let kept_bytes: u64 = self.state().free.iter().map(|free| free.disk_bytes).sum();
        if waiting.is_leased()
            || waiting.segment.class != Class::Values
            || waiting.file_bytes != file_bytes
            || disk_bytes < file_bytes / 2
            || kept_bytes + disk_bytes > bytes_max
        {
            return false;
        }
        let free = self.folder.join(free_file_name(waiting.id));
        let renamed = std::fs::rename(path, &free);
        if renamed.is_ok() {
            let mut state = self.state();
            state.occupied.note(waiting.id, Use::Free, &free);
            state.free.push(Free {
                id: waiting.id,
                file_bytes,
                disk_bytes,
            });
        }
        renamed.is_ok()
    }

    /// A file of this length to recycle.
    pub(super) fn take_free(&self, file_bytes: u64) -> Option<SegmentId> {
        let mut state = self.state();
        let at = state.free.iter().position(|free| free.file_bytes == file_bytes)?;
        let old = state.free.swap_remove(at).id;
        state.occupied.forget(old);
        Some(old)
    }

    /// Removes free files that are too many, or of another length than what is begun now.
    fn shed_free(&self) {
        loop {
            let mut state = self.state();
            if !state.has_surplus() {
                return;
            }
            let file_bytes = state.recycling.file_bytes;
            let unwanted = state.free.iter().position(|free| free.file_bytes != file_bytes);
            let free = state.free.swap_remove(unwanted.unwrap_or(0));
            drop(state);
            self.remove_free(free.id);
        }
    }

    /// Gives up every file that waits to be recycled; whether there was one.
    pub fn give_up_free(&self) -> bool {
        let free = std::mem::take(&mut self.state().free);
        for free in &free {
            self.remove_free(free.id);
        }
        !free.is_empty()
    }

    fn remove_free(&self, id: SegmentId) {
        self.state().occupied.forget(id);
        if let Err(error) = std::fs::remove_file(self.folder.join(free_file_name(id))) {
            tracing::warn!("the free segment {id} could not be removed: {error}");
        }
    }

    /// Retired segments that still wait for a lease to end.
    #[cfg(test)]
    pub fn waiting_count(&self) -> usize {
        self.state().waiting.len()
    }
}

/// Gives the blocks of a range back, as far as the file reaches. Failing to is only a waste of disk.
fn give_back(path: &Path, range: Range<u64>) {
    let outcome = OpenOptions::new().write(true).open(path).and_then(|file| {
        let end = range.end.min(file.metadata()?.len());
        if end < range.start + TAIL_BYTES_MIN {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&file, flags, range.start, end - range.start) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    });
    match outcome {
        Ok(()) => {}
        // It was retired since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("{} keeps blocks that nothing needs: {error}", path.display()),
    }
}

/// Files without a name that are leased still.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    files: VecDeque<(File, Waiting)>,
}

impl Lingering {
    /// Takes the name away.
    pub fn unlink(&mut self, waiting: Waiting) {
        let file = File::open(&waiting.segment.path);
        if let Err(error) = std::fs::remove_file(&waiting.segment.path) {
            tracing::warn!("segment {} could not be removed: {error}", waiting.id);
        }
        if let Ok(file) = file {
            self.files.push_back((file, waiting));
        }
    }

    /// Closes what nobody leases any more, and the oldest of what is too many.
    pub fn close_ended(&mut self) {
        self.files.retain(|(_, waiting)| waiting.is_leased());
        let surplus = self.files.len().saturating_sub(LINGERING_FILES_MAX);
        self.files.drain(..surplus);
    }

    pub fn files_count(&self) -> usize {
        self.files.len()
    }
}
