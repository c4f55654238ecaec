//! This file knows how to walk a segment after a crash: record by record in unbroken sequence, until the tail.
//!
//! Sans-io: it reads through [`Pages`], which a disk, an image in memory or a simulated disk implements.

use std::io;

use bytes::Bytes;
use ultramarine_types::Height;

use crate::format::{Lineage, PAGE_BYTES};
use crate::record::{self, CheckDepth, Record, RecordHeader};
use crate::segment::{Location, Position};

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
    /// A record that is not whole, and no whole one behind it: a write the crash cut short.
    Torn,
    /// A record that is not whole, with a whole one of the same generation behind it: the disk lost bytes.
    Corrupt {
        /// Where the whole one begins.
        behind: u64,
    },
}

/// Where and how a scan ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Behind the last whole record.
    pub at: Position,
    pub tail: Tail,
}

/// Walks a segment from a position and hands each whole record above a height to `found`.
///
/// Records at or below `above` belong to decided heights, which the index knows; of those only the header is read.
pub fn scan(
    pages: &mut impl Pages,
    lineage: Lineage,
    from: Position,
    above: Height,
    mut found: impl FnMut(Location, Record) -> io::Result<()>,
) -> io::Result<Ended> {
    let mut at = from;
    loop {
        let page = pages.read(at.offset, PAGE_BYTES as usize)?;
        let header = match RecordHeader::decode(&page) {
            Ok(header) if header.lineage == lineage && header.sequence == at.sequence => header,
            Ok(_) | Err(_) => {
                return Ok(Ended {
                    at,
                    tail: tail(pages, lineage, at, &page)?,
                });
            }
        };
        let location = Location {
            segment: at.segment,
            offset: at.offset,
            bytes: header.record_bytes(),
        };
        if location.end() > pages.length() {
            return Ok(Ended { at, tail: Tail::Torn });
        }
        if header.key.height > above {
            let bytes = usize::try_from(location.bytes).map_err(io::Error::other)?;
            let whole = pages.read(at.offset, bytes)?;
            match record::decode(&whole, CheckDepth::All) {
                Ok(record) => found(location, record)?,
                Err(_) => {
                    return Ok(Ended {
                        at,
                        tail: tail(pages, lineage, at, &page)?,
                    });
                }
            }
        }
        assert!(location.end() > at.offset, "every record leads further");
        at = Position {
            segment: at.segment,
            offset: location.end(),
            sequence: at.sequence + 1,
        };
    }
}

/// Looks behind a position where no whole record begins.
fn tail(pages: &mut impl Pages, lineage: Lineage, at: Position, page: &[u8]) -> io::Result<Tail> {
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
                return Ok(Tail::Corrupt { behind });
            }
        }
        offset += window.len() as u64;
    }
    // A recycled or preallocated page holds nothing of this generation; a torn record may have left its header.
    let begun = RecordHeader::decode(page).is_ok_and(|header| header.lineage == lineage);
    Ok(if begun { Tail::Torn } else { Tail::Clean })
}

fn is_whole(pages: &mut impl Pages, at: u64, header: &RecordHeader) -> io::Result<bool> {
    if at.saturating_add(header.record_bytes()) > pages.length() {
        return Ok(false);
    }
    let bytes = usize::try_from(header.record_bytes()).map_err(io::Error::other)?;
    Ok(record::decode(&pages.read(at, bytes)?, CheckDepth::All).is_ok())
}
