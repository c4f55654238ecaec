//! This file knows how to walk a segment after a crash: record by record in unbroken sequence, until the tail.
//!
//! Sans-io: it reads through [`Pages`], which a disk, an image in memory or a simulated disk implements.

use std::io;

use bytes::Bytes;
use ultramarine_types::Height;

use crate::format::{Lineage, PAGE_BYTES};
use crate::record::{self, CheckDepth, Record, RecordError, RecordHeader};
use crate::segment::{Location, Position, SegmentId};

/// How far ahead the search behind a damaged record reads at a time.
const SEARCH_BYTES: usize = 1 << 20;
const _: () = assert!((SEARCH_BYTES as u64).is_multiple_of(PAGE_BYTES));

/// Something that can be read by position.
pub trait Pages {
    /// Length of the whole, in bytes.
    fn length(&self) -> u64;
    /// Up to `bytes` from a position; short only at the end. Both are whole pages.
    fn read(&mut self, at: u64, bytes: usize) -> io::Result<Bytes>;
}

/// A whole file in memory.
#[derive(Clone, Debug)]
pub struct Image(pub Bytes);

impl Pages for Image {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(bytes).min(self.0.len());
        Ok(self.0.slice(start..end))
    }
}

/// What lies behind the last whole record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// Nothing of this generation: the segment ends here.
    Clean,
    /// A record that is not whole: a write the crash cut short.
    Torn,
}

/// A stretch without a whole record, and one of the file behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Where a record should begin.
    pub from: Position,
    /// Where the next whole one does.
    pub to: Position,
    /// Whether it was synced, so that the disk lost it. If not, a crash cut it short while it kept the one behind it:
    /// one sync was to cover both.
    pub was_synced: bool,
}

/// Where and how a scan ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Behind the last whole record.
    pub at: Position,
    pub tail: Tail,
    /// What lies before that and is not whole, in order.
    pub gaps: Vec<Gap>,
}

/// Walks a segment from a position and hands each whole record above a height to `found`. Behind a damaged one it goes
/// on: each record proves itself.
///
/// Records at or below `above` belong to decided heights, which the index knows; of those only the header is read. An
/// error that is a [`RecordError::Version`] says that another version wrote the file.
pub fn scan(
    pages: &mut impl Pages,
    lineage: Lineage,
    from: Position,
    above: Height,
    mut found: impl FnMut(Location, Record) -> io::Result<()>,
) -> io::Result<Ended> {
    let mut at = from;
    let mut gaps = Vec::new();
    loop {
        let page = pages.read(at.offset, PAGE_BYTES as usize)?;
        let header = RecordHeader::decode(&page);
        if let Err(error @ RecordError::Version { .. }) = header
            && RecordHeader::lineage_of(&page) == Some(lineage)
        {
            return Err(io::Error::other(error));
        }
        let whole = match &header {
            Ok(header) if header.lineage == lineage && header.sequence == at.sequence => {
                take(pages, at, header, above, &mut found)?
            }
            Ok(_) | Err(_) => None,
        };
        if let Some(end) = whole {
            assert!(end > at.offset, "every record leads further");
            at = Position {
                segment: at.segment,
                offset: end,
                sequence: at.sequence + 1,
            };
            continue;
        }
        let Some((to, synced_below)) = search(pages, lineage, at)? else {
            // A recycled or preallocated page holds nothing of this generation; a torn record may have left its header.
            let is_begun = header.is_ok_and(|header| header.lineage == lineage);
            let tail = if is_begun { Tail::Torn } else { Tail::Clean };
            return Ok(Ended { at, tail, gaps });
        };
        gaps.push(Gap {
            from: at,
            to,
            was_synced: at.sequence < synced_below,
        });
        at = to;
    }
}

/// Hands out the record at a position; where it ends, if it is whole as far as it was read.
fn take(
    pages: &mut impl Pages,
    at: Position,
    header: &RecordHeader,
    above: Height,
    found: &mut impl FnMut(Location, Record) -> io::Result<()>,
) -> io::Result<Option<u64>> {
    let location = Location {
        segment: at.segment,
        offset: at.offset,
        bytes: header.record_bytes(),
    };
    if location.end() > pages.length() {
        return Ok(None);
    }
    if header.key.height > above {
        let bytes = usize::try_from(location.bytes).map_err(io::Error::other)?;
        match record::decode(&pages.read(at.offset, bytes)?, CheckDepth::All) {
            Ok(record) => found(location, record)?,
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(location.end()))
}

/// Looks behind a position where no whole record begins: where the next one does, and below which number it says that
/// all are synced.
fn search(pages: &mut impl Pages, lineage: Lineage, at: Position) -> io::Result<Option<(Position, u64)>> {
    let mut offset = at.offset + PAGE_BYTES;
    while offset < pages.length() {
        let window = pages.read(offset, SEARCH_BYTES)?;
        if window.is_empty() {
            break;
        }
        for (index, candidate) in window.chunks(PAGE_BYTES as usize).enumerate() {
            let Ok(header) = RecordHeader::decode(candidate) else {
                continue;
            };
            let behind = offset + index as u64 * PAGE_BYTES;
            if header.lineage == lineage && header.sequence > at.sequence && is_whole(pages, behind, &header)? {
                let to = Position {
                    segment: at.segment,
                    offset: behind,
                    sequence: header.sequence,
                };
                return Ok(Some((to, header.synced_below)));
            }
        }
        offset += window.len() as u64;
    }
    Ok(None)
}

fn is_whole(pages: &mut impl Pages, at: u64, header: &RecordHeader) -> io::Result<bool> {
    if at.saturating_add(header.record_bytes()) > pages.length() {
        return Ok(false);
    }
    let bytes = usize::try_from(header.record_bytes()).map_err(io::Error::other)?;
    Ok(record::decode(&pages.read(at, bytes)?, CheckDepth::All).is_ok())
}

/// Walks the headers of a segment's records, and passes over what is not whole.
pub(crate) fn headers(
    pages: &mut impl Pages,
    lineage: Lineage,
    segment: SegmentId,
    mut each: impl FnMut(Location, &RecordHeader),
) -> io::Result<()> {
    let mut at = Position::start_of(segment);
    loop {
        let page = pages.read(at.offset, PAGE_BYTES as usize)?;
        let header = RecordHeader::decode(&page).ok();
        let header = header.filter(|header| header.lineage == lineage && header.sequence == at.sequence);
        let Some(header) = header else {
            match search(pages, lineage, at)? {
                Some((to, _)) => at = to,
                None => return Ok(()),
            }
            continue;
        };
        let location = Location {
            segment,
            offset: at.offset,
            bytes: header.record_bytes(),
        };
        if location.end() > pages.length() {
            return Ok(());
        }
        each(location, &header);
        at = Position {
            segment,
            offset: location.end(),
            sequence: at.sequence + 1,
        };
    }
}
