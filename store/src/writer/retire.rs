//! This part of the writer knows how to free disk: segments of dropped values at once, blobs past retention once their
//! payloads lie elsewhere.
//!
//! ```text
//!   Retire ─▶ a segment is due ─▶ files thread: payloads appended, synced ─▶ next transaction: rows name the new place
//!                                                                                       └─▶ segment freed, or punched
//! ```
//! One segment at a time. What was moved waits for the next commit's transaction; if nothing commits, it gets one of
//! its own.

use std::ops::Range;

use ultramarine_runtime::medium::Medium;
use ultramarine_types::storage::{Blobs, Source, StoreReply};
use ultramarine_types::{Height, Nanos};

use super::{Ahead, State, Writer};
use crate::failure::{Failure, no_room};
use crate::files::{Broken, Done, Ended, Job, MovedRow};
use crate::index::Relocation;
use crate::ledger::Due;
use crate::mapped::Recycling;
use crate::segment::{Location, Position, SegmentId};

/// Heights that a blob past retention may wait for the rest of its segment. Beyond, its payload is moved alone and its
/// bytes are punched out of the file. With the heights until the next transaction they are fewer than ten.
const PATIENCE_HEIGHTS: u64 = 7;
/// How long what was moved waits for a commit to join.
const WAIT: Nanos = Nanos::from_millis(250);
/// Heights whose bytes are noted one by one when retention reaches them; a first retirement of many is not counted.
const NOTED_MAX: u64 = 64;
/// What may lie on disk beside what is retained, in segments: the growing one's rest, the one made ahead, and what is
/// past retention or waits to be recycled.
const SLACK_SEGMENTS: u64 = 3;

/// How far retention went, and what is under way.
#[derive(Debug, Default)]
pub(crate) struct Retiring {
    /// First height whose blobs stay.
    below: Height,
    moving: Option<Moving>,
    /// Moved, and not in the index yet.
    rows: Vec<MovedRow>,
    /// When the first of them came.
    since: Nanos,
    /// Where the payloads segment ends behind them.
    end: Option<Position>,
    /// The last segment that there was no room to empty, and the bytes that lacked.
    lacking: Option<(SegmentId, u64)>,
}

/// A segment whose heights are being moved.
#[derive(Debug)]
struct Moving {
    due: Due,
    /// What the index does not name there any more.
    gone: Vec<Range<u64>>,
    /// Whether the thread is through.
    has_ended: bool,
    /// What it could not move, if it tried all.
    damaged: Option<Vec<Height>>,
}

impl<M: Medium> Writer<M> {
    /// Frees segments in which nothing is needed. The index never named them, or no longer does.
    pub(super) fn free_dead(&mut self) {
        let dead = self.state.ledger.dead();
        if dead.is_empty() {
            return;
        }
        self.state.segments.retire(&dead);
        for id in dead {
            self.state.ledger.close(id);
            self.state.metrics.retired_segments.inc();
        }
        // The sweep must not judge these files by the bound of when they still held something.
        self.allow_free();
        self.state.sweep_soon();
    }

    /// Notes how far retention goes, and says how far it went.
    pub(super) fn retire(&mut self, blobs_below: Height) -> Result<StoreReply, Failure> {
        let mut below = blobs_below.min(self.state.head.next());
        if self.state.archives {
            below = below.min(self.state.view.archived_through().next());
        }
        let before = self.state.retiring.below;
        if below > before {
            self.state.retiring.below = below;
            for height in before.0.max(below.0.saturating_sub(NOTED_MAX))..below.0 {
                let row = self.state.index.location(Height(height));
                // Whoever reads it says that a row is damaged.
                if let Ok(Some(row)) = row {
                    self.state.ledger.retired(&row.location);
                }
            }
        }
        let lacking = self.state.retiring.lacking;
        if lacking.is_some_and(|(_, bytes)| self.state.reserve.has_room_for(bytes)) {
            self.state.retiring.lacking = None;
        }
        self.tend()?;
        Ok(StoreReply::Retired {
            blobs_below: self.state.oldest_blobs,
        })
    }

    /// Takes what the files thread did, and has it go on.
    pub(super) fn tend(&mut self) -> Result<(), Failure> {
        while let Some(done) = self.state.files.take_done() {
            self.take(done)?;
        }
        self.move_next();
        self.begin_ahead();
        self.allow_free();
        Ok(())
    }

    /// The same, and gives what was moved a transaction of its own if it waited long enough for one to join.
    pub(super) fn tend_idle(&mut self) -> Result<(), Failure> {
        self.tend()?;
        let retiring = &self.state.retiring;
        if !retiring.rows.is_empty() && self.clock.now().since(retiring.since) >= WAIT {
            self.relocate()?;
        }
        Ok(())
    }

    fn take(&mut self, done: Done) -> Result<(), Failure> {
        let state = &mut self.state;
        match done {
            Done::Begun(begun) => {
                // A segment begun meanwhile has a higher number: recovery would not look for values in this one.
                if state.newest_values < begun.id && state.ahead.is_asked(begun.id) {
                    state.ahead = Ahead::Made(begun);
                } else {
                    state.segments.retire(&[begun.id]);
                    state.sweep_soon();
                }
            }
            Done::NotBegun(id) => {
                if state.ahead.is_asked(id) {
                    state.ahead = Ahead::None;
                }
            }
            Done::Moved { rows, end } => {
                if state.retiring.rows.is_empty() {
                    state.retiring.since = self.clock.now();
                }
                let bytes = rows.iter().map(|row| row.to.location.bytes).sum();
                state.metrics.appended_bytes.add(bytes);
                state.metrics.syncs.inc();
                state.retiring.rows.extend(rows);
                state.retiring.end = Some(end);
            }
            Done::Ended { due, ended } => self.end_move(&due, ended),
            Done::Swept => state.view.show_account(),
            Done::Failed(Broken::Write(error)) => return Err(state.write_failed("a payloads segment", &error)),
            Done::Failed(Broken::Index(error)) => return Err(state.index_failed(&error)),
            Done::Lost => {
                tracing::error!("the thread that works on files ended: it begins again");
                if let Some(moving) = state.retiring.moving.take() {
                    state.ledger.not_tried(&moving.due);
                }
                state.ahead = Ahead::None;
            }
        }
        Ok(())
    }

    fn end_move(&mut self, due: &Due, ended: Ended) {
        match ended {
            Ended::Whole { damaged } => {
                if let Some(moving) = &mut self.state.retiring.moving {
                    moving.damaged = Some(damaged.iter().map(|(height, _)| *height).collect());
                }
                self.tell_damaged(due.segment, damaged);
            }
            Ended::NoRoom { bytes } => {
                tracing::warn!(
                    "blobs stay although their retention has ended: {}",
                    no_room(&self.state.reserve, "their payloads elsewhere", bytes)
                );
                self.state.retiring.lacking = Some((due.segment, bytes));
                self.state.ledger.not_tried(due);
            }
        }
        if let Some(moving) = &mut self.state.retiring.moving {
            moving.has_ended = true;
        }
        if self.state.retiring.rows.is_empty() {
            self.end_segment();
        }
    }

    fn tell_damaged(&self, id: SegmentId, damaged: Vec<(Height, String)>) {
        for (height, why) in damaged {
            let reason = format!("height {height} cannot be moved out of segment {id}: {why}");
            self.state.view.mark_damaged(height, &reason);
        }
    }

    /// Has the next segment emptied, if one is due and none is being emptied.
    fn move_next(&mut self) {
        let state = &mut self.state;
        if state.retiring.moving.is_some() || !state.retiring.rows.is_empty() {
            return;
        }
        let after = state.retiring.lacking.map(|(segment, _)| segment);
        let Some(due) = state.ledger.due(state.retiring.below, PATIENCE_HEIGHTS, after) else {
            return;
        };
        if state.files.ask(Job::Move(due)) {
            state.ledger.trying(&due);
            state.retiring.moving = Some(Moving {
                due,
                gone: Vec::new(),
                has_ended: false,
                damaged: None,
            });
        }
    }

    /// What was moved, as far as the index still names the place it was moved from. The ledger counts it from now on:
    /// the transaction that follows must write this.
    pub(super) fn take_relocation(&mut self) -> Result<(Relocation, Vec<MovedRow>), Failure> {
        let state = &mut self.state;
        let mut relocation = Relocation::default();
        let mut moved = Vec::new();
        for row in std::mem::take(&mut state.retiring.rows) {
            let now = state.index.read_for_change(|| state.index.location(row.key.height));
            let now = now.map_err(|error| state.index_failed(&error))?;
            if now.is_none_or(|now| now.location != row.from) {
                // It was stored again since.
                continue;
            }
            assert!(
                state.segments.is_synced(&row.to.location),
                "the index is told only of synced bytes"
            );
            state.ledger.open_payloads(row.to.location.segment);
            state.ledger.moved(&row.from);
            state.ledger.decided(&row.to.location, row.key.height);
            if let Some(moving) = &mut state.retiring.moving
                && moving.due.segment == row.from.segment
            {
                add_range(&mut moving.gone, row.from);
            }
            relocation.rows.push((row.key.height, row.to));
            moved.push(row);
        }
        relocation.payloads = state.retiring.end.take();
        relocation.segments = state.ledger.take_changed();
        Ok((relocation, moved))
    }

    /// The oldest height from which on nothing is without its blobs, once these rows are in the index. Heights below
    /// that are still here, in a damaged segment for one, are served all the same.
    pub(super) fn oldest_after(&self, relocation: &Relocation) -> Height {
        let pruned = relocation.rows.iter().filter(|(_, row)| row.blobs == Blobs::Pruned);
        let newest_pruned = pruned.map(|(height, _)| height.next()).max();
        newest_pruned.unwrap_or_default().max(self.state.oldest_blobs)
    }

    /// Lets the index and everybody know where heights lie now, and how far retention went.
    pub(super) fn relocate(&mut self) -> Result<(), Failure> {
        let (relocation, moved) = self.take_relocation()?;
        let oldest_blobs = self.oldest_after(&relocation);
        self.state.make_room();
        self.state
            .index
            .relocate(&relocation, oldest_blobs)
            .map_err(|error| self.state.index_failed(&error))?;
        self.relocated(&moved, oldest_blobs);
        Ok(())
    }

    /// The index names the new places, durably: nobody reads the old ones any more.
    pub(super) fn relocated(&mut self, moved: &[MovedRow], oldest_blobs: Height) {
        self.state.segments.step("relocated");
        self.state.oldest_blobs = oldest_blobs;
        self.state.view.set_oldest_blobs(oldest_blobs);
        let pruned = moved.iter().filter(|row| row.to.blobs == Blobs::Pruned);
        self.state.metrics.prunes.add(pruned.count() as u64);
        for row in moved {
            self.state.view.hot().remove(&row.key);
            self.state.view.forget_recent(row.key.height);
            if row.to.blobs == Blobs::Pruned && self.state.view.is_damaged(row.key.height) {
                // What it is to have still is whole: its payload was checked.
                self.state.view.restored(row.key.height);
            }
        }
        self.end_segment();
        self.state.view.show_account();
    }

    /// A segment that was emptied as far as it goes: what is not freed whole is punched.
    fn end_segment(&mut self) {
        let state = &mut self.state;
        let Some(Moving { due, gone, damaged, .. }) = state.retiring.moving.take_if(|moving| moving.has_ended) else {
            return;
        };
        if let Some(damaged) = damaged {
            state.ledger.tried(&due, &damaged);
        }
        let damaged_segments = state.ledger.damaged_segments();
        state
            .metrics
            .damaged_segments
            .set(i64::try_from(damaged_segments).unwrap_or(i64::MAX));
        if state.ledger.is_dead(due.segment) {
            self.free_dead();
            return;
        }
        // Recovery looks for values from the floor on, and takes a hole for damage.
        let is_below_floor = |range: &Range<u64>| {
            due.segment < state.floor.segment || (due.segment == state.floor.segment && range.end <= state.floor.offset)
        };
        let ranges: Vec<_> = gone.into_iter().filter(is_below_floor).collect();
        if !ranges.is_empty() {
            state.segments.punch(due.segment, ranges);
            state.sweep_soon();
        }
    }

    /// How much may be kept to be recycled: with it and all else there is no more than [`SLACK_SEGMENTS`] beside what
    /// is retained.
    fn allow_free(&mut self) {
        let state = &mut self.state;
        let file_bytes = state.capacity_bytes(0);
        let rest_bytes = state.growing.as_ref().map_or(0, super::Growing::rest_bytes);
        let ahead_bytes = match &state.ahead {
            Ahead::None => 0,
            Ahead::Asked(_) | Ahead::Made(_) => file_bytes,
        };
        let slack_bytes = rest_bytes + ahead_bytes + state.ledger.retired_bytes() + state.ledger.dead_bytes();
        let bytes_max = (SLACK_SEGMENTS * file_bytes).saturating_sub(slack_bytes);
        let recycling = Recycling { file_bytes, bytes_max };
        if state.segments.recycle(recycling) {
            state.sweep_soon();
        }
    }

    /// Waits until the files thread has done what it can. What it moved still waits for a transaction.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn wait_for_files(&mut self) -> Result<(), Failure> {
        let mut is_swept = false;
        loop {
            self.tend()?;
            if self.state.files.is_busy() {
                std::thread::sleep(std::time::Duration::from_micros(100));
            } else if !is_swept || self.state.segments.has_ended() {
                // The thread may be in a sweep of its own.
                self.state.sweep_soon();
                is_swept = true;
            } else {
                return Ok(());
            }
        }
    }

    /// Waits until everything is moved, freed and begun that can be.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        self.wait_for_files()?;
        while !self.state.retiring.rows.is_empty() {
            self.relocate()?;
            self.wait_for_files()?;
        }
        Ok(())
    }
}

impl State {
    /// Has the files thread give back what was freed. If it is busy, it does so afterwards by itself.
    pub(crate) fn sweep_soon(&mut self) {
        self.files.ask(Job::Sweep);
    }
}

/// Adds a record's range; those of a segment's heights follow on each other.
fn add_range(ranges: &mut Vec<Range<u64>>, location: Location) {
    match ranges.last_mut().filter(|last| last.end == location.offset) {
        Some(last) => last.end = location.end(),
        None => ranges.push(location.offset..location.end()),
    }
}
