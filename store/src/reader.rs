//! This file knows how to read a record of a segment, whole or in part, and what is wrong with one.
//!
//! Every read checks what it hands out, so what rots between two reads of a process is met as well. Blobs are slices of
//! a map, whose pages are brought in first. What stands before them is read into memory. So a page that the disk does
//! not give back is an error here, and no signal.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Assembly, Init, ValueKey};

use crate::format::{PAGE_BYTES, crc32c, whole_pages};
use crate::mapped::Segments;
use crate::record::{self, CheckDepth, RecordError, RecordHeader};
use crate::segment::Location;

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it cannot be read: {0}")]
    Unread(#[from] io::Error),
    #[error("its segment ends before it")]
    Cut,
    #[error("it is another value's")]
    Foreign,
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// `Ok(None)`: the segment was freed since the location was looked up, or ends before the record.
pub(crate) type Reading<T> = Result<Option<T>, Damage>;

/// What is read of a value.
pub(crate) trait How<T> {
    /// Whether it has blobs: then nothing of a damaged height is read.
    fn needs_blobs(&self) -> bool;
    /// From memory.
    fn take(&self, assembly: &Assembly) -> T;
    /// From its segment.
    fn read(&self, segments: &Segments, key: &ValueKey, location: &Location) -> Reading<T>;
}

/// Everything.
pub(crate) struct Whole;

impl How<Assembly> for Whole {
    fn needs_blobs(&self) -> bool {
        true
    }

    fn take(&self, assembly: &Assembly) -> Assembly {
        assembly.clone()
    }

    fn read(&self, segments: &Segments, key: &ValueKey, location: &Location) -> Reading<Assembly> {
        whole(segments, key, location)
    }
}

/// Everything but the blobs.
pub(crate) struct Head;

impl How<Assembly> for Head {
    fn needs_blobs(&self) -> bool {
        false
    }

    fn take(&self, assembly: &Assembly) -> Assembly {
        Assembly {
            key: assembly.key,
            init: Arc::clone(&assembly.init),
            lists: Arc::clone(&assembly.lists),
            payload: assembly.payload.clone(),
            blobs: Vec::new(),
        }
    }

    fn read(&self, segments: &Segments, key: &ValueKey, location: &Location) -> Reading<Assembly> {
        head(segments, key, location)
    }
}

/// The `Init` alone.
pub(crate) struct InitAlone;

impl How<Arc<Init>> for InitAlone {
    fn needs_blobs(&self) -> bool {
        false
    }

    fn take(&self, assembly: &Assembly) -> Arc<Init> {
        Arc::clone(&assembly.init)
    }

    fn read(&self, segments: &Segments, key: &ValueKey, location: &Location) -> Reading<Arc<Init>> {
        init(segments, key, location)
    }
}

/// One blob; `None` beyond the last.
pub(crate) struct Blob(pub usize);

impl How<Option<Bytes>> for Blob {
    fn needs_blobs(&self) -> bool {
        true
    }

    fn take(&self, assembly: &Assembly) -> Option<Bytes> {
        assembly.blobs.get(self.0).cloned()
    }

    fn read(&self, segments: &Segments, key: &ValueKey, location: &Location) -> Reading<Option<Bytes>> {
        blob(segments, key, location, self.0)
    }
}

/// A value with all that its record has.
pub(crate) fn whole(segments: &Segments, key: &ValueKey, location: &Location) -> Reading<Assembly> {
    let Some(bytes) = segments.slice(location)? else {
        return Ok(None);
    };
    checked(key, record::decode(&bytes, CheckDepth::All)?).map(Some)
}

/// A value without its blobs, in memory of its own.
pub(crate) fn head(segments: &Segments, key: &ValueKey, location: &Location) -> Reading<Assembly> {
    let Some((header, page)) = header(segments, key, location)? else {
        return Ok(None);
    };
    let head_bytes = header.blobs_offset();
    let head = if head_bytes == PAGE_BYTES {
        Some(page)
    } else {
        segments.read(&part(location, 0, head_bytes)?)?
    };
    let Some(head) = head else { return Ok(None) };
    checked(key, record::decode(&head, CheckDepth::Body)?).map(Some)
}

/// The `Init` of a value.
fn init(segments: &Segments, key: &ValueKey, location: &Location) -> Reading<Arc<Init>> {
    let Some((header, page)) = header(segments, key, location)? else {
        return Ok(None);
    };
    if header.init_crc.is_none() {
        // An older record: its body has one checksum.
        return Ok(head(segments, key, location)?.map(|assembly| assembly.init));
    }
    let (at, end) = (header.init_at(), header.init_end());
    let (from, bytes) = if end <= PAGE_BYTES {
        (0, Some(page))
    } else {
        let from = at / PAGE_BYTES * PAGE_BYTES;
        (from, segments.read(&part(location, from, whole_pages(end) - from)?)?)
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let position = |at: u64| usize::try_from(at - from).ok();
    let bytes = position(at).zip(position(end)).and_then(|(at, end)| bytes.get(at..end));
    let init = record::decode_init(&header, bytes.ok_or(RecordError::Short)?)?;
    Ok(Some(Arc::new(init)))
}

/// One blob of a value; inside, `None` beyond the last.
pub(crate) fn blob(segments: &Segments, key: &ValueKey, location: &Location, index: usize) -> Reading<Option<Bytes>> {
    let Some((header, page)) = header(segments, key, location)? else {
        return Ok(None);
    };
    let Ok(index) = u32::try_from(index) else {
        return Ok(Some(None));
    };
    if index >= header.blobs_count {
        return Ok(Some(None));
    }
    let crc = if header.table_crc.is_some() {
        // The table follows on the header.
        let table_end = header.table_end();
        let head = if table_end <= PAGE_BYTES {
            Some(page)
        } else {
            segments.read(&part(location, 0, table_end.next_multiple_of(PAGE_BYTES))?)?
        };
        let Some(head) = head else { return Ok(None) };
        header.blob_crc(&head, index)?
    } else {
        let Some(head) = segments.read(&part(location, 0, header.blobs_offset())?)? else {
            return Ok(None);
        };
        header.blob_crc(&head, index)?
    };
    let at = header.blobs_offset() + u64::from(index) * BLOB_BYTES as u64;
    let Some(blob) = segments.slice(&part(location, at, BLOB_BYTES as u64)?)? else {
        return Ok(None);
    };
    if crc32c(&blob) != crc {
        return Err(RecordError::Blob { index }.into());
    }
    Ok(Some(Some(blob)))
}

/// A record's header and the page that it stands on.
fn header(segments: &Segments, key: &ValueKey, location: &Location) -> Reading<(RecordHeader, Bytes)> {
    let Some(page) = segments.read(&part(location, 0, PAGE_BYTES)?)? else {
        return Ok(None);
    };
    let header = RecordHeader::decode(&page)?;
    if header.key != *key {
        return Err(Damage::Foreign);
    }
    if header.record_bytes() > location.bytes {
        return Err(RecordError::Short.into());
    }
    Ok(Some((header, page)))
}

/// A part of a record, as a place of its own.
fn part(location: &Location, at: u64, bytes: u64) -> Result<Location, Damage> {
    let part = Location {
        segment: location.segment,
        offset: location.offset + at,
        bytes,
    };
    if part.end() <= location.end() {
        Ok(part)
    } else {
        Err(RecordError::Short.into())
    }
}

fn checked(key: &ValueKey, record: record::Record) -> Result<Assembly, Damage> {
    if record.header.key == *key {
        Ok(record.assembly)
    } else {
        Err(Damage::Foreign)
    }
}
