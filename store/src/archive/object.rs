//! This file knows the header and the index of an archive's object: whose heights it has, and where each begins.

use bytes::Bytes;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::storage::{Blobs, DecidedEntry};
use ultramarine_types::{ChainIdentity, Height, ValueId, ValueKey};

use super::height::{self, ArchivedHeight, EncodedHeight, HeightFlaw};
use super::span::HeightSpan;
use super::{HEIGHT_BYTES_MAX, OBJECT_BYTES_MAX, SPAN_HEIGHTS_MAX};
use crate::format::{Fields, STORE_VERSION, crc32c};

/// First eight bytes of an object.
pub const OBJECT_MAGIC: [u8; 8] = *b"ULTRARC\0";
/// Bytes of the header. Its checksum is the last four.
pub const HEADER_BYTES: usize = 96;
const COVERED_BYTES: usize = HEADER_BYTES - 4;
/// Bytes of a row of the index.
pub const ROW_BYTES: usize = 64;
/// Bytes at the start of an object that hold header and index, whatever they say.
pub const INDEX_END_MAX: usize = HEADER_BYTES + SPAN_HEIGHTS_MAX as usize * ROW_BYTES;

/// Why an object, or a height of it, cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("it is no object of an archive")]
    Absent,
    #[error("it has format {found}; this version reads {STORE_VERSION}")]
    Format { found: u16 },
    #[error("its header is damaged")]
    Header,
    #[error("its index is damaged")]
    Index,
    #[error("it is of the chain with identity {found}")]
    Foreign { found: ChainIdentity },
    #[error("it has {found} bytes where its header says {expected}")]
    Length { found: u64, expected: u64 },
    #[error("it has no height {height}")]
    NoHeight { height: Height },
    #[error("height {height}: {flaw}")]
    Height { height: Height, flaw: HeightFlaw },
}

/// Where a height lies in an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveRow {
    pub key: ValueKey,
    /// From the object's start.
    pub offset: u64,
    pub bytes: u64,
    /// Blobs that the value commits to.
    pub blobs_count: u32,
    /// Whether they are there.
    pub is_whole: bool,
}

impl ArchiveRow {
    /// Whether the archive has what is held of a decided height.
    pub fn is_as_held(&self, entry: &DecidedEntry) -> bool {
        self.key == entry.key() && (self.is_whole || entry.blobs != Blobs::Held)
    }
}

/// Header and index of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveIndex {
    pub chain: ChainIdentity,
    pub object_bytes: u64,
    /// In order of height, without a gap, and not empty.
    pub rows: Vec<ArchiveRow>,
}

impl ArchiveIndex {
    /// Lays out rows for heights that follow on each other.
    pub(super) fn lay_out(chain: ChainIdentity, heights: &[(EncodedHeight, u32)]) -> Self {
        let mut offset = (HEADER_BYTES + heights.len() * ROW_BYTES) as u64;
        let mut rows = Vec::with_capacity(heights.len());
        for (encoded, blobs_count) in heights {
            let bytes = encoded.bytes();
            rows.push(ArchiveRow {
                key: encoded.key,
                offset,
                bytes,
                blobs_count: *blobs_count,
                is_whole: encoded.blobs.len() == *blobs_count as usize,
            });
            offset += bytes;
        }
        Self {
            chain,
            object_bytes: offset,
            rows,
        }
    }

    /// The heights it has.
    pub fn span(&self) -> HeightSpan {
        let height = |row: Option<&ArchiveRow>| row.map_or(Height::GENESIS, |row| row.key.height);
        HeightSpan {
            first: height(self.rows.first()),
            last: height(self.rows.last()),
        }
    }

    /// The row of a height.
    pub fn row(&self, height: Height) -> Result<&ArchiveRow, ObjectError> {
        let row = self.rows.iter().find(|row| row.key.height == height);
        row.ok_or(ObjectError::NoHeight { height })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut rows = Fields::default();
        for row in &self.rows {
            rows.bytes(&row.key.id.0)
                .u64(row.key.height.0)
                .u64(row.offset)
                .u64(row.bytes)
                .u32(row.blobs_count)
                .u32(row.is_whole.into());
        }
        let mut fields = Fields::default();
        fields
            .bytes(&OBJECT_MAGIC)
            .u16(STORE_VERSION)
            .u16(0)
            .u32(u32::try_from(self.rows.len()).expect("a span is bounded"))
            .bytes(&self.chain.0)
            .u64(self.span().first.0)
            .u64(self.object_bytes)
            .u32(crc32c(&rows.0))
            .pad_to(COVERED_BYTES);
        let crc = crc32c(&fields.0);
        fields.u32(crc).bytes(&rows.0);
        fields.0
    }

    /// Reads header and index from an object's first bytes, of which there may be more. `object_bytes` is its length.
    pub fn decode(bytes: &[u8], object_bytes: u64, chain: ChainIdentity) -> Result<Self, ObjectError> {
        let (covered, rest) = bytes.split_at_checked(COVERED_BYTES).ok_or(ObjectError::Absent)?;
        let mut fields = Cursor::new(covered);
        if fields.array() != Some(OBJECT_MAGIC) {
            return Err(ObjectError::Absent);
        }
        let mut rest = Cursor::new(rest);
        if rest.u32() != Some(crc32c(covered)) {
            return Err(ObjectError::Header);
        }
        let found = fields.u16().ok_or(ObjectError::Header)?;
        if found != STORE_VERSION {
            return Err(ObjectError::Format { found });
        }
        let mut read = || {
            fields.u16()?;
            let rows_count = fields.u32().filter(|count| (1..=SPAN_HEIGHTS_MAX).contains(count))?;
            Some((
                rows_count,
                ChainIdentity(fields.array()?),
                Height(fields.u64()?),
                fields.u64()?,
                fields.u32()?,
            ))
        };
        let (rows_count, found, first, expected, index_crc) = read().ok_or(ObjectError::Header)?;
        if found != chain {
            return Err(ObjectError::Foreign { found });
        }
        if expected != object_bytes {
            return Err(ObjectError::Length {
                found: object_bytes,
                expected,
            });
        }
        let rows = rest
            .slice(rows_count as usize * ROW_BYTES)
            .filter(|rows| crc32c(rows) == index_crc)
            .and_then(|rows| decode_rows(rows, first, object_bytes));
        Ok(Self {
            chain,
            object_bytes,
            rows: rows.ok_or(ObjectError::Index)?,
        })
    }
}

/// Rows whose heights follow on each other, and whose bytes fill the object.
fn decode_rows(bytes: &[u8], first: Height, object_bytes: u64) -> Option<Vec<ArchiveRow>> {
    let (raw, _) = bytes.as_chunks::<ROW_BYTES>();
    let mut offset = (HEADER_BYTES + bytes.len()) as u64;
    let mut height = first;
    let mut rows = Vec::with_capacity(raw.len());
    for raw in raw {
        let mut fields = Cursor::new(raw);
        let row = ArchiveRow {
            key: ValueKey {
                id: ValueId(fields.array()?),
                height: Height(fields.u64()?),
            },
            offset: fields.u64()?,
            bytes: fields.u64()?,
            blobs_count: fields.u32()?,
            is_whole: match fields.u32()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        };
        let follows = row.key.height == height && row.offset == offset && height.0 > 0 && height.0 < u64::MAX;
        let fits = row.bytes <= HEIGHT_BYTES_MAX && row.blobs_count <= BLOBS_PER_BLOCK_MAX;
        if !follows || !fits {
            return None;
        }
        offset += row.bytes;
        height = height.next();
        rows.push(row);
    }
    (offset == object_bytes && object_bytes <= OBJECT_BYTES_MAX).then_some(rows)
}

/// Reads one height out of the bytes of its row, and checks all of it.
pub fn decode_row(row: &ArchiveRow, bytes: &Bytes) -> Result<ArchivedHeight, ObjectError> {
    let flawed = |flaw| ObjectError::Height {
        height: row.key.height,
        flaw,
    };
    let found = height::decode(bytes, row.key).map_err(flawed)?;
    if found.assembly.init.metadata.blobs_count != row.blobs_count || found.is_whole() != row.is_whole {
        return Err(flawed(HeightFlaw::Foreign));
    }
    Ok(found)
}

/// Reads a whole object and checks all of it; `each` is given its heights in order.
pub fn decode_object(
    bytes: &Bytes,
    chain: ChainIdentity,
    mut each: impl FnMut(ArchivedHeight) -> Result<(), ObjectError>,
) -> Result<ArchiveIndex, ObjectError> {
    let index = ArchiveIndex::decode(bytes, bytes.len() as u64, chain)?;
    for row in &index.rows {
        let at = |position: u64| usize::try_from(position).map_err(|_| ObjectError::Index);
        each(decode_row(
            row,
            &bytes.slice(at(row.offset)?..at(row.offset + row.bytes)?),
        )?)?;
    }
    Ok(index)
}
