//! This file knows what to believe of a data directory after any end of the process before, and keeps it afresh.
//!
//! [`crate::open()`] says in which order.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_runtime::medium::{Medium, MediumFile, Pwrite, ready};
use ultramarine_types::storage::{LogCondition, LogEpoch, RecoveredLog, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, ChainIdentity, Height, ValueKey};

use crate::damage::DAMAGED_MAX;
use crate::error::OpenError;
use crate::file_pages::{FilePages, refuse_other_version};
use crate::format::{PAGE_BYTES, whole_pages};
use crate::index::{INDEX_NAME, Index, IndexError, Marks};
use crate::journal::{LOG_FILES_COUNT, LogFiles, log_path};
use crate::ledger::Ledger;
use crate::log::{self, FoundLog, LOG_MAGIC, LogHeader};
use crate::mapped::{FoundFile, Segments};
use crate::places::find_places;
use crate::read_so_far::{ReadSoFar, TellRead};
use crate::scan::{Gap, Tail, scan};
use crate::segment::{Class, Position, SegmentId};
use crate::view::{Undecided, View};
use crate::writer::{State, Writer};

/// Where the last decided record of each segment ends.
pub(crate) type Ends = HashMap<SegmentId, u64>;

/// What the index says lies where: the accounts, and per segment where its last decided record ends.
///
/// Rows of segments are read, and none of heights: the time this takes does not follow the chain's length. If one of
/// them is damaged, or in a directory of before them, rows of heights are counted; those that rotted are looked for in
/// the segments first. `grows` is the payloads segment that is appended to again.
pub(crate) fn take_stock(
    index: &Index,
    segments: &Segments,
    files: &[FoundFile],
    grows: Option<SegmentId>,
) -> Result<(Ledger, Ends), OpenError> {
    let mut ledger = Ledger::default();
    let mut ends = Ends::new();
    let rows = match index.segments() {
        Err(error @ IndexError::Row { .. }) => {
            tracing::error!("{error}: what lies in the segments is counted");
            None
        }
        rows => rows.map_err(OpenError::Index)?,
    };
    if let Some(rows) = rows {
        for (id, row) in rows {
            ledger.load(id, row);
            // Nothing is appended to a segment of before, but payloads to the one that the mark names.
            if grows != Some(id) {
                ledger.seal(id);
            }
            ends.insert(id, row.end);
        }
    } else {
        let damaged = index.locations(|_, _| {}).map_err(OpenError::Index)?;
        repair_rows(index, files, &damaged)?;
        for file in files {
            ledger.open(file.id, file.class, grows != Some(file.id));
        }
        let stock = index.locations(|height, row| {
            // Where its file is gone, its class is not known, and values are what can be fetched again.
            ledger.open(row.location.segment, Class::Values, true);
            ledger.counted(&row.location, height);
            let end = ends.entry(row.location.segment).or_default();
            *end = (*end).max(row.location.end());
        });
        stock.map_err(OpenError::Index)?;
    }
    for file in files {
        ledger.open(file.id, file.class, true);
    }
    if let Some(newest) = ends.keys().max() {
        // A lost file's number is not given away, or the index would name another's bytes.
        segments.number_from(newest.0 + 1);
    }
    for file in files {
        segments.set_end(
            file.id,
            ends.get(&file.id).copied().unwrap_or(PAGE_BYTES).min(file.file_bytes),
        );
    }
    Ok((ledger, ends))
}

/// Finds the whole values above the head and stores them afresh.
pub(crate) fn recover_values(
    state: State,
    files: &[FoundFile],
    ends: &Ends,
    floor: Position,
    tell: &TellRead,
) -> Result<State, OpenError> {
    let head = state.head;
    let segments = Arc::clone(&state.segments);
    let first_fresh = segments.next_id();
    let medium = Pwrite::new(None);
    let mut writer = Writer::new(Pwrite::new(None), state);
    let (mut replies, mut kept) = (Vec::new(), Vec::new());
    let is_above = |file: &&FoundFile| file.class == Class::Values && file.id >= floor.segment;
    let mut read = ReadSoFar::new(tell, files.iter().filter(is_above));
    for file in files.iter().filter(is_above) {
        let failed = |source| OpenError::io(&file.path, source);
        let mut pages = FilePages::open(&medium, &file.path, file.file_bytes).map_err(failed)?;
        let Some(lineage) = pages.lineage(file).map_err(failed)? else {
            tracing::error!(
                "neither the header nor the first record of segment {} is whole: its undecided values are fetched \
                 again",
                file.id
            );
            continue;
        };
        let from = if file.id == floor.segment {
            floor
        } else {
            Position::start_of(file.id)
        };
        let ended = scan(&mut pages, lineage, from, head, |location, found| {
            read.within(location.end());
            let (tag, blobs, sequence) = (found.header.tag, found.header.blobs(), found.header.sequence);
            let init = Arc::clone(&found.assembly.init);
            let blobs_count = found.assembly.init.metadata.blobs_count;
            let put = StoreRequest::Put {
                assembly: found.assembly,
                tag,
            };
            let stored = ready(async {
                writer.handle(put, &mut replies).await?;
                writer.flush(&mut replies).await
            });
            stored.map_err(io::Error::other)?;
            if replies
                .drain(..)
                .any(|reply| matches!(reply, StoreReply::Refused { .. }))
            {
                // A full disk must not cost a value that was acknowledged: it stays where it is, and so does the floor.
                kept.push((
                    found.header.key,
                    Undecided {
                        init,
                        tag,
                        blobs,
                        location,
                        sequence,
                        blobs_count,
                        since: None,
                    },
                ));
            }
            Ok(())
        });
        let ended = ended.map_err(failed)?;
        for gap in &ended.gaps {
            tell_gap(file.id, gap);
        }
        if ended.tail == Tail::Torn {
            tracing::info!(
                "segment {} ends in a torn record at {}: it was never acknowledged",
                file.id,
                ended.at.offset
            );
        }
        let lost_pages = pages.lost_pages;
        if lost_pages > 0 {
            tracing::error!("{lost_pages} pages of segment {} cannot be read", file.id);
        }
        let end = ended.at.offset.max(ends.get(&file.id).copied().unwrap_or(0));
        if end <= file.file_bytes {
            segments.set_end(file.id, end);
            segments.seal(file.id);
        }
        read.past(file);
    }
    let mut state = writer.into_state();
    for value in state.view.undecided_mut().values_mut() {
        // They came in an earlier life, which kept no time of it.
        value.since = None;
    }
    // Everything above the head lies in segments begun since; the old locations may be forgotten once this is durable.
    let mut floor = Position::start_of(first_fresh);
    for (key, value) in kept {
        sync_again(&medium, files, value.location.segment)?;
        floor = floor.min(value.position());
        state.ledger.stored(&value.location);
        if let Some(before) = state.view.undecided_mut().insert(key, value) {
            // A life that was cut short before it moved the floor leaves a value twice.
            state.ledger.dropped(&before.location);
        }
    }
    state.floor = floor;
    state.make_room();
    state
        .index
        .mark(None, Some(floor))
        .map_err(|error| write_failed(&state, &error))?;
    Ok(state)
}

fn tell_gap(id: SegmentId, gap: &Gap) {
    let (from, to) = (gap.from.offset, gap.to.offset);
    if gap.was_synced {
        tracing::error!(
            "segment {id} is damaged from {from} to {to}: the undecided values that are missing are fetched from peers \
             again"
        );
    } else {
        tracing::info!("segment {id} has a torn record from {from} to {to}: it was never acknowledged");
    }
}

/// Makes a segment that keeps a recovered value durable once more: all of it was read back from the device.
fn sync_again(medium: &Pwrite, files: &[FoundFile], id: SegmentId) -> Result<(), OpenError> {
    let Some(file) = files.iter().find(|file| file.id == id) else {
        return Ok(());
    };
    ready(async { medium.open(&file.path).await?.sync().await }).map_err(|source| OpenError::io(&file.path, source))
}

/// Reads the marked epoch's log and, if it may be signed on, moves it into a fresh file.
pub(crate) fn recover_log(
    state: &mut State,
    marks: &Marks,
    chain: ChainIdentity,
) -> Result<Option<RecoveredLog>, OpenError> {
    let folder = state.folder.clone();
    let medium = Pwrite::new(None);
    let mut files = Vec::with_capacity(LOG_FILES_COUNT);
    for number in 0..LOG_FILES_COUNT {
        let path = log_path(&folder, number);
        let read = LogImage::read(&medium, &path).map_err(|source| OpenError::io(&path, source))?;
        let image = &read.image;
        refuse_other_version(image, &LOG_MAGIC).map_err(|source| OpenError::io(&folder, source))?;
        // A file may be newer than the mark: it was made ready just before the process ended.
        if let Some(header) = LogHeader::decode(image).filter(|header| header.chain == chain) {
            state.journal.number_from(header.epoch.generation);
            // Records follow the mark, so those of a later height say that the mark was there and is lost.
            let is_later = marks.epoch.is_none_or(|marked| marked.height < header.epoch.height);
            // Where nothing is signed whatever a log says, it may say what it will.
            let is_later = is_later && header.epoch.height > marks.silent_through;
            if is_later && log::read(image, header.epoch, chain) != FoundLog::Whole(Vec::new()) {
                return Err(OpenError::RolledBack {
                    index: folder.join(INDEX_NAME),
                    folder,
                    log: path,
                    height: header.epoch.height,
                });
            }
        }
        files.push(read);
    }
    let Some(epoch) = marks.epoch else { return Ok(None) };
    let (number, content) = find_log(&files, epoch, chain);
    let (condition, records) = match content {
        FoundLog::Whole(records) => (LogCondition::Whole, records),
        FoundLog::Corrupt => (LogCondition::Corrupt, Vec::new()),
        FoundLog::Missing => (LogCondition::Missing, Vec::new()),
    };
    if epoch.height <= state.head {
        return Ok(Some(RecoveredLog {
            epoch,
            condition,
            records,
        }));
    }
    if condition != LogCondition::Whole {
        tracing::error!(
            "the consensus log of height {} is {condition:?}: this node signs nothing at that height",
            epoch.height
        );
        state.journal.distrust(epoch);
        return Ok(Some(RecoveredLog {
            epoch,
            condition,
            records,
        }));
    }
    state.journal.avoid(number, epoch);
    state.make_room();
    let epoch = move_log(state, &medium, epoch, &records)
        .map_err(|source| OpenError::io(&log_path(&folder, number), source))?;
    state
        .index
        .mark(Some(epoch), None)
        .map_err(|error| write_failed(state, &error))?;
    state.journal.turn();
    Ok(Some(RecoveredLog {
        epoch,
        condition,
        records,
    }))
}

/// The one file of an epoch and what it holds. Two are as good as none: nobody knows which of them was signed on last.
/// So is one that a newer file of its height outgrew.
pub(crate) fn find_log(files: &[LogImage], epoch: LogEpoch, chain: ChainIdentity) -> (usize, FoundLog) {
    let read = files.iter().map(|file| file.content(epoch, chain)).enumerate();
    let mut found: Vec<(usize, FoundLog)> = read.filter(|(_, content)| *content != FoundLog::Missing).collect();
    if let [(first, _), (second, _), ..] = found[..] {
        tracing::error!(
            "log-{first} and log-{second} both claim to be generation {} of height {}: neither is believed",
            epoch.generation,
            epoch.height
        );
        return (0, FoundLog::Missing);
    }
    let (number, content) = found.pop().unwrap_or((0, FoundLog::Missing));
    for LogImage { image, .. } in files {
        let newer = LogHeader::decode(image).filter(|header| {
            let of_height = header.chain == chain && header.epoch.height == epoch.height;
            of_height && header.epoch.generation > epoch.generation
        });
        let Some(newer) = newer else { continue };
        // Recovery that was cut short before its mark leaves nothing or the same; what was marked and went on holds
        // more.
        let other = log::read(image, newer.epoch, chain);
        if other != FoundLog::Whole(Vec::new()) && other != content {
            tracing::error!(
                "the index believes generation {} of the log of height {}, and generation {} holds other records: the \
                 index lost its newest mark, and neither log is believed",
                epoch.generation,
                epoch.height,
                newer.epoch.generation
            );
            return (0, FoundLog::Missing);
        }
    }
    (number, content)
}

fn move_log(state: &mut State, medium: &Pwrite, old: LogEpoch, records: &[Bytes]) -> io::Result<LogEpoch> {
    let mut files = LogFiles::default();
    ready(async {
        let epoch = state.journal.prepare(old.height, medium, &mut files).await?;
        assert!(
            epoch.generation > old.generation,
            "the fresh log is the newer of the two"
        );
        state.journal.refill(records, medium, &mut files).await?;
        Ok(epoch)
    })
}

/// Lets go of files that hold nothing any more: the index and the fresh segments do without them, durably.
pub(crate) fn forget_old(state: &mut State) {
    let ids = state.ledger.dead();
    let growing = state.growing.as_ref().map(|growing| growing.id);
    assert!(
        growing.is_none_or(|growing| !ids.contains(&growing)),
        "the segment that grows is not freed"
    );
    state.segments.retire(&ids);
    for id in ids {
        state.ledger.close(id);
    }
    state.sweep_soon();
}

/// The whole values above the head, in the order they are stored.
pub(crate) fn undecided(view: &View) -> Vec<(Assembly, Tag)> {
    let mut stored: Vec<_> = view
        .undecided()
        .iter()
        .map(|(key, value)| (*key, value.clone()))
        .collect();
    stored.sort_by_key(|(_, value)| value.position());
    let read = stored.into_iter().filter_map(|(key, value)| {
        let hot = view.hot().get(&key);
        let assembly = match hot {
            Some(assembly) => Some(Arc::unwrap_or_clone(assembly)),
            None => view.record(&key, &value.location).ok().flatten(),
        };
        assembly.map(|assembly| (assembly, value.tag))
    });
    read.collect()
}

/// A log file as it was read. What cannot be read is zeros.
pub(crate) struct LogImage {
    pub image: Bytes,
    pub lost_pages: Vec<u64>,
}

impl LogImage {
    fn read(medium: &Pwrite, path: &Path) -> io::Result<Self> {
        let pages = FilePages::open(medium, path, whole_pages(std::fs::metadata(path)?.len()))?;
        let bytes = usize::try_from(pages.file_bytes).map_err(io::Error::other)?;
        let (image, lost_pages) = pages.read_around(0, bytes)?;
        if !lost_pages.is_empty() {
            tracing::error!("{} pages of {} cannot be read", lost_pages.len(), path.display());
        }
        Ok(Self { image, lost_pages })
    }

    /// What it holds of an epoch. If the page behind the last whole frame cannot be read, a signature may stand there.
    fn content(&self, epoch: LogEpoch, chain: ChainIdentity) -> FoundLog {
        let content = log::read(&self.image, epoch, chain);
        let next = log::next_frame(&self.image, epoch, chain);
        let may_hide = next.is_some_and(|next| self.lost_pages.iter().any(|page| next.contains(page)));
        match content {
            FoundLog::Whole(_) if may_hide => FoundLog::Corrupt,
            content => content,
        }
    }
}

fn write_failed(state: &State, error: &IndexError) -> OpenError {
    OpenError::Write {
        path: state.folder.clone(),
        failure: state.index_failed(error),
    }
}

/// Looks for the records of heights whose row in `locations` is damaged or lost, and writes those rows anew.
pub(crate) fn repair_rows(index: &Index, files: &[FoundFile], damaged: &[Height]) -> Result<(), OpenError> {
    if damaged.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for height in damaged {
        let id = index.decided_id(*height).map_err(OpenError::Index)?;
        wanted.extend(id.map(|id| ValueKey { height: *height, id }));
    }
    let lacking = index.lacking().map_err(OpenError::Index)?;
    let found = find_places(files, wanted, lacking);
    tracing::error!(
        "{} rows of the index are damaged or lost; the records of {} were found again",
        damaged.len(),
        found.len()
    );
    index.repair(&found).map_err(OpenError::Index)
}

/// Marks heights that the index names and that are not on disk, or that it does not name.
pub(crate) fn mark_lost(state: &State, files: &[FoundFile], ends: &Ends) -> Result<(), OpenError> {
    let (index, view) = (&state.index, &state.view);
    let mut holes = index.holes(state.head, DAMAGED_MAX).map_err(OpenError::Index)?;
    if !holes.is_empty() {
        repair_rows(index, files, &holes)?;
        holes = index.holes(state.head, DAMAGED_MAX).map_err(OpenError::Index)?;
    }
    if !holes.is_empty() {
        view.mark_all_damaged(holes, "it is at or below the head and not in the index");
    }
    let file_bytes: HashMap<_, _> = files.iter().map(|file| (file.id, file.file_bytes)).collect();
    let lost = ends.iter().filter_map(|(id, end)| {
        let bytes = file_bytes.get(id).copied().unwrap_or(0);
        (bytes < *end).then_some((*id, (bytes, Vec::new())))
    });
    let mut lost: HashMap<SegmentId, (u64, Vec<Height>)> = lost.collect();
    if lost.is_empty() {
        return Ok(());
    }
    let looked = index.locations(|height, row| {
        if let Some((bytes, heights)) = lost.get_mut(&row.location.segment)
            && row.location.end() > *bytes
        {
            heights.push(height);
        }
    });
    let rotten = looked.map_err(OpenError::Index)?;
    repair_rows(index, files, &rotten)?;
    for (id, (bytes, heights)) in lost {
        let reason = match file_bytes.get(&id) {
            Some(_) => format!("segment {id} ends at byte {bytes}, before records that it should have"),
            None => format!("the file of segment {id} is gone"),
        };
        view.mark_all_damaged(heights, &reason);
    }
    Ok(())
}

/// How many pages of a file the device does not give back.
#[cfg(test)]
pub(crate) fn lost_pages(medium: &Pwrite, path: &Path) -> io::Result<usize> {
    Ok(LogImage::read(medium, path)?.lost_pages.len())
}
