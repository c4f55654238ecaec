//! This file knows how to look through a data directory that no node has: what it holds, and all that is wrong with it.
//!
//! It holds the lock while it looks, and changes nothing: what redb writes to open the index stays in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use ultramarine_types::storage::StoreAccount;
use ultramarine_types::{ChainIdentity, Height, ValueKey};

use crate::account::{add_undecided, of_parts};
use crate::device::forget_cached;
use crate::error::OpenError;
use crate::folder;
use crate::format::PAGE_BYTES;
use crate::index::{INDEX_NAME, Index, IndexError, guarded};
use crate::journal::{LOG_FILES_COUNT, log_path};
use crate::lock::{DirectoryLock, LOCK_NAME};
use crate::log::{self, FoundLog, LogHeader};
use crate::mapped::{FoundFile, Segments};
use crate::record::{Record, RecordHeader};
use crate::recovery::{LogImage, find_log};
use crate::scan::{Pages, scan};
use crate::scrub::{Depth, ROWS_PER_STEP, read_record, rows};
use crate::segment::{Class, Location, Position, SegmentHeader, SegmentId};

/// How far a check has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckProgress {
    /// The height checked last.
    pub height: Height,
    /// The newest decided height.
    pub head: Height,
    /// Bytes of records read.
    pub bytes: u64,
}

/// What a stopped node's directory holds.
pub fn stats(folder: &Path, chain: ChainIdentity) -> Result<StoreAccount, OpenError> {
    let stock = Stock::take(folder, chain)?;
    let mut states = stock.index.recount().map_err(OpenError::Unread)?;
    let undecided = stock.walk().map_err(|source| OpenError::io(folder, source))?;
    add_undecided(&mut states, undecided.iter().map(|(key, bytes)| (key.height, *bytes)));
    Ok(of_parts(folder, states, stock.segments.occupied()))
}

/// Everything that is wrong with a stopped node's directory, one line each; none if all is well. `tell` is told at each
/// height how far it has come.
///
/// It reads everything: each row of the index, each record with its checksums and digests, each log.
pub fn check(
    folder: &Path,
    chain: ChainIdentity,
    tell: &mut dyn FnMut(CheckProgress),
) -> Result<Vec<String>, OpenError> {
    let stock = match Stock::take(folder, chain) {
        Ok(stock) => stock,
        // Without an index there is nothing that the files could be held against.
        Err(error @ OpenError::Unread(_)) => return Ok(vec![error.to_string()]),
        Err(error) => return Err(error),
    };
    let mut wrong = Wrong::default();
    check_heights(&stock, &mut wrong, tell);
    check_rows(&stock, &mut wrong);
    check_segments(&stock, chain, &mut wrong);
    check_logs(&stock, folder, chain, &mut wrong);
    Ok(wrong.into_lines())
}

/// The index and the files of a directory that is locked.
struct Stock {
    index: Index,
    head: Height,
    segments: Segments,
    files: Vec<FoundFile>,
    _lock: DirectoryLock,
}

impl Stock {
    fn take(folder: &Path, chain: ChainIdentity) -> Result<Self, OpenError> {
        let lock_path = folder.join(LOCK_NAME);
        let lock = DirectoryLock::take_existing(folder).map_err(|source| OpenError::io(&lock_path, source))?;
        let lock = lock.ok_or_else(|| OpenError::Locked {
            path: folder.to_owned(),
        })?;
        folder::look(folder, chain)?;
        let path = folder.join(INDEX_NAME);
        forget_cached(&path).map_err(|source| OpenError::io(&path, source))?;
        let index = guarded(|| Ok(Index::open_untouched(&path, chain)));
        let index = index.unwrap_or_else(|_| Err(IndexError::Page { path: path.clone() }));
        let index = index.map_err(|error| match OpenError::index(folder, chain, error) {
            OpenError::Index(error) => OpenError::Unread(error),
            other => other,
        })?;
        let head = index.head().map_err(OpenError::Unread)?.unwrap_or(Height::GENESIS);
        let segments_folder = folder.join("segments");
        let found = Segments::open(&segments_folder, chain, 1);
        let (segments, files) = found.map_err(|source| OpenError::io(&segments_folder, source))?;
        Ok(Self {
            index,
            head,
            segments,
            files,
            _lock: lock,
        })
    }

    /// Finds where the records of each segment end, and the values that are not decided with their bytes.
    fn walk(&self) -> io::Result<BTreeMap<ValueKey, u64>> {
        let of_index = |error: IndexError| io::Error::other(error.to_string());
        let floor = self.index.marks().map_err(of_index)?.floor;
        let mut last: BTreeMap<SegmentId, Location> = BTreeMap::new();
        let named = self.index.locations(|_, row| {
            let last = last.entry(row.location.segment).or_insert(row.location);
            if last.offset < row.location.offset {
                *last = row.location;
            }
        });
        named.map_err(of_index)?;
        let mut undecided = BTreeMap::new();
        for file in &self.files {
            let mut pages = FileToRead::open(file)?;
            let named = last.get(&file.id);
            let Some(header) = pages.header(file)? else {
                self.segments.set_end(file.id, named.map_or(PAGE_BYTES, Location::end));
                continue;
            };
            let end = if file.class == Class::Values && file.id >= floor.segment {
                let from = if file.id == floor.segment {
                    floor
                } else {
                    Position::start_of(file.id)
                };
                let found = |location: Location, found: Record| {
                    undecided.insert(found.header.key, location.bytes);
                    Ok(())
                };
                scan(&mut pages, header.lineage(), from, self.head, found)?.at.offset
            } else {
                // Below the floor nothing is undecided.
                walk(&mut pages, &header, named)?
            };
            self.segments
                .set_end(file.id, end.max(named.map_or(PAGE_BYTES, Location::end)));
        }
        Ok(undecided)
    }
}

/// Where the records of a segment end, by the headers of those behind the last one that the index names.
fn walk(pages: &mut FileToRead, segment: &SegmentHeader, named: Option<&Location>) -> io::Result<u64> {
    let mut offset = named.map_or(PAGE_BYTES, |named| named.offset);
    let mut sequence = None;
    loop {
        match RecordHeader::decode(&pages.page(offset)?) {
            Ok(header)
                if header.lineage == segment.lineage() && sequence.is_none_or(|next| next == header.sequence) =>
            {
                sequence = Some(header.sequence + 1);
                offset += header.record_bytes();
            }
            Ok(_) | Err(_) => return Ok(offset),
        }
    }
}

/// Reads what each decided height has: rows, record, checksums, digests.
fn check_heights(stock: &Stock, wrong: &mut Wrong, tell: &mut dyn FnMut(CheckProgress)) {
    let mut progress = CheckProgress {
        head: stock.head,
        ..CheckProgress::default()
    };
    let mut opened: Option<(SegmentId, Result<File, String>)> = None;
    for height in (1..=stock.head.0).map(Height) {
        progress.height = height;
        tell(progress);
        let rows = match guarded(|| rows(&stock.index, height)) {
            Ok(rows) => rows,
            Err(reason) => {
                wrong.of_height(height, reason);
                continue;
            }
        };
        let Location {
            segment: id, offset, ..
        } = rows.place.location;
        if opened.as_ref().is_none_or(|(segment, _)| *segment != id) {
            opened = Some((id, open_segment(stock, id)));
        }
        let Some((_, Ok(file))) = &opened else {
            if let Some((_, Err(reason))) = &opened {
                wrong.of_height(height, reason.clone());
            }
            continue;
        };
        let read = read_record(file, &rows, Depth::Digests, |bytes| {
            progress.bytes += bytes;
            true
        });
        if let Err(rot) = read {
            let reason = format!("its record in segment {id} at {offset}: {rot}");
            wrong.of_height(height, reason);
        }
    }
}

fn open_segment(stock: &Stock, id: SegmentId) -> Result<File, String> {
    let found = stock.files.iter().find(|file| file.id == id);
    let found = found.ok_or_else(|| format!("segment {id}, which the index names, is not there"))?;
    File::open(&found.path).map_err(|error| format!("segment {id} cannot be opened: {error}"))
}

/// Reads the rows of the index that no height leads to, and adds up what they tell.
fn check_rows(stock: &Stock, wrong: &mut Wrong) {
    let index = &stock.index;
    let text = |error: IndexError| error.to_string();
    let mut from = None;
    loop {
        let mut rotten = |error| wrong.of_all(text(error));
        match guarded(|| index.check_blocks(from, ROWS_PER_STEP, &mut rotten).map_err(text)) {
            Ok(Some(next)) => from = Some(next),
            Ok(None) => break,
            Err(reason) => {
                wrong.of_all(reason);
                break;
            }
        }
    }
    let mut rotten = |error| wrong.of_all(text(error));
    let rows = guarded(|| {
        index.check_marks(&mut rotten).map_err(text)?;
        index.check_evidence(&mut rotten).map_err(text)
    });
    if let Err(reason) = rows {
        wrong.of_all(reason);
    }
    let others = guarded(|| {
        let strays = index.strays(stock.head).map_err(text)?;
        if strays > 0 {
            return Err(format!("the index has places of {strays} heights that are not decided"));
        }
        let (counted, tallied) = (index.recount().map_err(text)?, index.states());
        if counted != tallied {
            return Err(format!("the index tallies {tallied:?}, and its rows are {counted:?}"));
        }
        Ok(())
    });
    if let Err(reason) = others {
        wrong.of_all(reason);
    }
}

/// Holds each segment against its name, and the places that the index names against each other; looks for records
/// behind a damaged one where a start would look.
fn check_segments(stock: &Stock, chain: ChainIdentity, wrong: &mut Wrong) {
    let mut places: BTreeMap<SegmentId, Vec<Location>> = BTreeMap::new();
    // Rows that cannot be read were named above.
    let _ = guarded(|| {
        let named = stock
            .index
            .locations(|_, row| places.entry(row.location.segment).or_default().push(row.location));
        named.map_err(|error| error.to_string())
    });
    let floor = stock.index.marks().map_or(Position::default(), |marks| marks.floor);
    for file in &stock.files {
        let id = file.id;
        let mut named = places.remove(&id).unwrap_or_default();
        named.sort_by_key(|place| place.offset);
        let overlap = named.windows(2).find(|pair| pair[0].end() > pair[1].offset);
        if let Some(pair) = overlap {
            wrong.of_all(format!("two records of segment {id} overlap at {}", pair[1].offset));
        }
        if let Err(reason) = check_segment(file, chain, floor, stock.head, !named.is_empty()) {
            wrong.of_all(format!("segment {id}: {reason}"));
        }
    }
}

fn check_segment(
    file: &FoundFile,
    chain: ChainIdentity,
    floor: Position,
    head: Height,
    is_named: bool,
) -> Result<(), String> {
    let text = |error: io::Error| format!("it cannot be read: {error}");
    let mut pages = FileToRead::open(file).map_err(text)?;
    let Some(header) = pages.header(file).map_err(text)? else {
        // A crash leaves a file that was just begun, and the next start takes it away.
        return if is_named {
            Err("its header is damaged".to_owned())
        } else {
            Ok(())
        };
    };
    if header.chain != chain {
        return Err(format!("it belongs to the chain with identity {}", header.chain));
    }
    if file.class != Class::Values || file.id < floor.segment {
        return Ok(());
    }
    let from = if file.id == floor.segment {
        floor
    } else {
        Position::start_of(file.id)
    };
    let ended = scan(&mut pages, header.lineage(), from, head, |_, _| Ok(())).map_err(text)?;
    match ended.gaps.iter().find(|gap| gap.was_synced) {
        None => Ok(()),
        Some(gap) => Err(format!(
            "it is damaged from {} to {}, where the next whole record is",
            gap.from.offset, gap.to.offset
        )),
    }
}

/// Reads the logs as a start would.
fn check_logs(stock: &Stock, folder: &Path, chain: ChainIdentity, wrong: &mut Wrong) {
    let mut images = Vec::with_capacity(LOG_FILES_COUNT);
    let marked = stock.index.marks().ok().and_then(|marks| marks.epoch);
    for number in 0..LOG_FILES_COUNT {
        let path = log_path(folder, number);
        let image = match forget_cached(&path).and_then(|()| std::fs::read(&path)) {
            Ok(image) => Bytes::from(image),
            Err(error) => {
                wrong.of_all(format!("{}: {error}", path.display()));
                Bytes::new()
            }
        };
        match LogHeader::decode(&image) {
            None if image.iter().take(PAGE_BYTES as usize).any(|byte| *byte != 0) => {
                wrong.of_all(format!("the header of {} is damaged", path.display()));
            }
            Some(header) if marked.is_none_or(|marked| marked.height < header.epoch.height) => {
                if log::read(&image, header.epoch, chain) != FoundLog::Whole(Vec::new()) {
                    let height = header.epoch.height;
                    let path = path.display();
                    wrong.of_all(format!(
                        "{path} has records of height {height}, and the index lost that height"
                    ));
                }
            }
            None | Some(_) => {}
        }
        images.push(LogImage {
            image,
            lost_pages: Vec::new(),
        });
    }
    let Some(epoch) = marked.filter(|epoch| epoch.height > stock.head) else {
        return;
    };
    let state = match find_log(&images, epoch, chain).1 {
        FoundLog::Whole(_) => return,
        FoundLog::Corrupt => "corrupt",
        FoundLog::Missing => "missing",
    };
    let height = epoch.height;
    wrong.of_all(format!(
        "the log of height {height} is {state}: this node would sign nothing at that height"
    ));
}

/// A segment file that is only read.
struct FileToRead {
    file: File,
    file_bytes: u64,
}

impl FileToRead {
    fn open(found: &FoundFile) -> io::Result<Self> {
        forget_cached(&found.path)?;
        Ok(Self {
            file: File::open(&found.path)?,
            file_bytes: found.file_bytes,
        })
    }

    /// The header, if it is whole and that of the file's name.
    fn header(&mut self, found: &FoundFile) -> io::Result<Option<SegmentHeader>> {
        let header = SegmentHeader::decode(&self.page(0)?);
        Ok(header.filter(|header| header.id == found.id && header.class == found.class))
    }

    fn page(&mut self, at: u64) -> io::Result<Bytes> {
        self.read(at, PAGE_BYTES as usize)
    }
}

impl Pages for FileToRead {
    fn length(&self) -> u64 {
        self.file_bytes
    }

    fn read(&mut self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let there = self.file_bytes.saturating_sub(at).min(bytes as u64);
        let mut buffer = vec![0; usize::try_from(there).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut buffer, at)?;
        Ok(buffer.into())
    }
}

/// Lines kept; beyond, they are counted.
const LINES_MAX: usize = 100_000;

/// What is wrong, in the order in which it was found.
#[derive(Default)]
struct Wrong {
    lines: Vec<(Option<(Height, Height)>, String)>,
    more: u64,
}

impl Wrong {
    /// Heights in a row that are wrong in the same way have one line.
    fn of_height(&mut self, height: Height, reason: String) {
        match self.lines.last_mut() {
            Some((Some((_, last)), before)) if last.next() == height && *before == reason => *last = height,
            _ => self.push(Some((height, height)), reason),
        }
    }

    fn of_all(&mut self, reason: String) {
        self.push(None, reason);
    }

    fn push(&mut self, heights: Option<(Height, Height)>, reason: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push((heights, reason));
        } else {
            self.more += 1;
        }
    }

    fn into_lines(self) -> Vec<String> {
        let line = |(heights, reason)| match heights {
            None => reason,
            Some((first, last)) if first == last => format!("height {first}: {reason}"),
            Some((first, last)) => format!("heights {first} to {last}: {reason}"),
        };
        let mut lines: Vec<String> = self.lines.into_iter().map(line).collect();
        if self.more > 0 {
            lines.push(format!("and {} more", self.more));
        }
        lines
    }
}
