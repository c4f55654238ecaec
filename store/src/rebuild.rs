//! This file knows how to rebuild an index that redb cannot use: its file is damaged, and what it accounts for is not.
//!
//! ```text
//!   index.redb ─▶ its leaves: decisions, evidence, marks ─┐
//!   segments ─▶ headers of their records ─▶ places ───────┼▶ index.redb.new ─▶ synced
//!   logs ─▶ heights at which this node signed ─▶ silence ─┘
//!   index.redb ═ linked as index.redb.damaged;  index.redb.new ─▶ renamed to index.redb ─▶ folder synced
//! ```
//! Until the rename, the damaged file counts, and each start begins again.
//!
//! Keeps:
//! - nothing is signed where this node may have signed: not up to the height of any log or mark that was found, nor at
//!   the one above the head. It has no `epoch`, so the core listens first, as in a fresh directory;
//! - no decided height is lost in silence: one without its row is damaged, and fetched again; so are those above the
//!   head;
//! - the old file stays beside the new one.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ultramarine_runtime::medium::Pwrite;
use ultramarine_types::storage::Blobs;
use ultramarine_types::{ChainIdentity, Height, ValueKey};

use crate::error::OpenError;
use crate::file_pages::FilePages;
use crate::folder;
use crate::format::PAGE_BYTES;
use crate::index::{INDEX_NAME, Index, LEAF_BYTES_MAX, LocationRow, Rebuilt, Remains};
use crate::journal::{LOG_FILES_COUNT, log_path};
use crate::log::LogHeader;
use crate::mapped::{FoundFile, Segments, sync_folder};
use crate::read_so_far::{ReadSoFar, TellRead};
use crate::scan::{Pages, headers};
use crate::segment::{Class, Position, SegmentId};

/// The index while it is made; what it holds counts for nothing.
pub(crate) const UNBORN_NAME: &str = "index.redb.new";
/// The damaged file, within the data directory. The next one takes its place.
pub(crate) const DAMAGED_NAME: &str = "index.redb.damaged";
/// The last file that an index took the place of while one with the name above was there.
pub(crate) const DAMAGED_LATER_NAME: &str = "index.redb.damaged.later";
/// Values above the head that are looked for after a rebuilding: more say that many decisions were lost.
const ABOVE_HEAD_MAX: usize = 32;

/// Puts a rebuilt index in the place of a damaged one. `false`: too little is left of it.
pub(crate) fn rebuild(folder: &Path, chain: ChainIdentity, why: &str, tell: &TellRead) -> Result<bool, OpenError> {
    folder::look(folder, chain)?;
    let path = folder.join(INDEX_NAME);
    tracing::error!("{why}: the index is rebuilt from what is left of it and from the segments");
    let unborn = fill(folder, chain)?;
    let failed = |error| OpenError::index(folder, chain, error);
    let index = Index::open(&unborn, chain).map_err(failed)?;
    let mut remains = Remains::default();
    read_leaves(&index, &path, &mut remains, failed)?;
    if let Some(height) = remains.contradicted.first() {
        tracing::error!(
            "{} says of height {height} that two values were decided",
            path.display()
        );
        return discard(&unborn);
    }
    let records = Records::find(folder, chain, tell)?;
    let logs = newest_log(folder, chain)?;
    let head = index.end_rebuilding(&records.places, &remains, |head| {
        let epoch = remains.epoch.map_or(Height::GENESIS, |epoch| epoch.height);
        Rebuilt {
            silent_through: remains.silent_through.max(logs).max(epoch).max(head.next()),
            archived: remains.archived,
            floor: records.floor(head),
        }
    });
    let Some(head) = head.map_err(failed)? else {
        return discard(&unborn);
    };
    drop(index);
    let damaged = folder.join(DAMAGED_NAME);
    take_place(folder, &unborn, &path, &damaged).map_err(|source| OpenError::io(&path, source))?;
    tracing::error!(
        "the index is rebuilt up to height {head}; the damaged one is kept as {}. What is missing is fetched from \
         peers, and nothing is signed at heights of before; check the disk (dmesg, smartctl)",
        damaged.display()
    );
    Ok(true)
}

/// Makes the whole index under the name that counts for nothing, durably.
pub(crate) fn fill(folder: &Path, chain: ChainIdentity) -> Result<PathBuf, OpenError> {
    let unborn = folder.join(UNBORN_NAME);
    match std::fs::remove_file(&unborn) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::io(&unborn, error)),
    }
    Index::begin(&unborn, chain).map_err(|error| OpenError::index(folder, chain, error))?;
    // redb's last writes come with closing it.
    let synced = File::open(&unborn).and_then(|file| file.sync_all());
    synced.map_err(|source| OpenError::io(&unborn, source))?;
    Ok(unborn)
}

fn discard(unborn: &Path) -> Result<bool, OpenError> {
    std::fs::remove_file(unborn).map_err(|source| OpenError::io(unborn, source))?;
    Ok(false)
}

pub(crate) fn take_place(folder: &Path, unborn: &Path, path: &Path, damaged: &Path) -> io::Result<()> {
    // redb's last writes come with closing it.
    File::open(unborn)?.sync_all()?;
    match std::fs::remove_file(damaged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::hard_link(path, damaged)?;
    std::fs::rename(unborn, path)?;
    sync_folder(folder)
}

fn read_leaves(
    index: &Index,
    path: &Path,
    remains: &mut Remains,
    failed: impl Fn(crate::index::IndexError) -> OpenError,
) -> Result<(), OpenError> {
    let at_path = |source| OpenError::io(path, source);
    let file_bytes = std::fs::metadata(path).map_err(at_path)?.len() / PAGE_BYTES * PAGE_BYTES;
    let medium = Pwrite::new(None);
    let mut pages = FilePages::open(&medium, path, file_bytes).map_err(at_path)?;
    for at in (0..file_bytes).step_by(LEAF_BYTES_MAX) {
        // The last leaf may go on behind.
        let piece = pages.read(at, 2 * LEAF_BYTES_MAX).map_err(at_path)?;
        index.take_leaves(&piece, LEAF_BYTES_MAX, remains).map_err(&failed)?;
    }
    Ok(())
}

/// The records in the segments.
struct Records {
    places: HashMap<ValueKey, LocationRow>,
    /// Where each record in a values segment begins.
    values: Vec<(Height, Position)>,
    newest: SegmentId,
}

impl Records {
    fn find(folder: &Path, chain: ChainIdentity, tell: &TellRead) -> Result<Self, OpenError> {
        let folder = folder.join("segments");
        let (_, mut files) = Segments::open(&folder, chain, 1).map_err(|source| OpenError::io(&folder, source))?;
        files.sort_by_key(|file| file.id);
        let mut records = Self {
            places: HashMap::new(),
            values: Vec::new(),
            newest: files.last().map_or(SegmentId(0), |file| file.id),
        };
        let mut read = ReadSoFar::new(tell, files.iter());
        for file in &files {
            let walked = records.walk(file, &read);
            walked.map_err(|source| OpenError::io(&file.path, source))?;
            read.past(file);
        }
        Ok(records)
    }

    fn walk(&mut self, file: &FoundFile, read: &ReadSoFar<'_>) -> io::Result<()> {
        let mut pages = FilePages::open(&Pwrite::new(None), &file.path, file.file_bytes)?;
        let Some(lineage) = pages.lineage(file)? else {
            return Ok(());
        };
        headers(&mut pages, lineage, file.id, |location, header| {
            read.within(location.end());
            let row = LocationRow {
                location,
                blobs: header.blobs(),
                since: 0,
            };
            let place = self.places.entry(header.key).or_insert(row);
            // The newest that has the blobs, or the newest.
            if row.blobs == Blobs::Held || place.blobs != Blobs::Held {
                *place = row;
            }
            if file.class == Class::Values {
                let position = Position {
                    segment: file.id,
                    offset: location.offset,
                    sequence: header.sequence,
                };
                self.values.push((header.key.height, position));
            }
        })
    }

    /// Where the first value above the head lies, if there are few.
    fn floor(&self, head: Height) -> Position {
        let end = Position::start_of(SegmentId(self.newest.0 + 1));
        let above = self.values.iter().filter(|(height, _)| *height > head);
        if above.clone().count() > ABOVE_HEAD_MAX {
            tracing::error!("the decisions of many heights above {head} are lost: their values are fetched again");
            return end;
        }
        above.map(|(_, position)| *position).fold(end, Position::min)
    }
}

/// The highest height of a log.
fn newest_log(folder: &Path, chain: ChainIdentity) -> Result<Height, OpenError> {
    let mut newest = Height::GENESIS;
    for number in 0..LOG_FILES_COUNT {
        let path = log_path(folder, number);
        if !path.exists() {
            continue;
        }
        let page = first_page(&path).map_err(|source| OpenError::io(&path, source))?;
        let header = LogHeader::decode(&page).filter(|header| header.chain == chain);
        newest = newest.max(header.map_or(Height::GENESIS, |header| header.epoch.height));
    }
    Ok(newest)
}

fn first_page(path: &Path) -> io::Result<bytes::Bytes> {
    FilePages::open(&Pwrite::new(None), path, PAGE_BYTES)?.read(0, PAGE_BYTES as usize)
}
