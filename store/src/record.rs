//! This file knows the bytes of a record: one value in whole pages, checksummed throughout.
//!
//! ```text
//!   page boundary                                   page boundary
//!   │ header 128 │ table │ init │ lists │ payload │ 0… │ blob 0 │ blob 1 │ … │
//!                └─────────── body_crc ───────────┘     one crc each, in the table
//!                 table_crc init_crc
//! ```
//! Sans-io: it turns values into bytes and back; its callers say where they lie. FORMAT.md draws every field.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::limits::{BLOB_BYTES, BLOBS_PER_BLOCK_MAX, INIT_BYTES_MAX, LISTS_BYTES_MAX, PAYLOAD_BYTES_MAX};
use ultramarine_types::storage::{Blobs, Tag};
use ultramarine_types::{Assembly, Height, Init, ListKind, Lists, ValueId, ValueKey, ValueMetadata};

use self::init::archive_init;
pub use self::init::decode_init;
pub(crate) use self::init::read_init;
use crate::format::{Fields, Lineage, PAGE_BYTES, STORE_VERSION, crc32c, whole_pages};

mod init;

/// The version of records. In version 2 the lists stand before the `Init`, which has no checksum of its own. It is read
/// as well.
pub const RECORD_VERSION: u16 = 3;
const _: () = assert!(STORE_VERSION == 2, "what came before had the version of all formats");

/// First four bytes of a record.
pub const RECORD_MAGIC: [u8; 4] = *b"UREC";
/// Bytes of the header, checksum included.
pub const RECORD_HEADER_BYTES: usize = 128;
/// Bytes of one blob's entry in the table.
const ENTRY_BYTES: usize = 4;
/// Where a header says which file it is of.
const LINEAGE_AT: usize = 8;
/// Bytes the header's checksum covers.
const COVERED_BYTES: usize = RECORD_HEADER_BYTES - 4;

const _: () = assert!(
    (BLOB_BYTES as u64).is_multiple_of(PAGE_BYTES),
    "blobs stay page-aligned behind each other"
);

/// Bytes of the largest record that a header may speak of.
pub(crate) const RECORD_BYTES_MAX: u64 = whole_pages(
    (RECORD_HEADER_BYTES + LISTS_BYTES_MAX + INIT_BYTES_MAX + PAYLOAD_BYTES_MAX) as u64
        + (BLOBS_PER_BLOCK_MAX as usize * ENTRY_BYTES) as u64,
) + BLOBS_PER_BLOCK_MAX as u64 * BLOB_BYTES as u64;

const _: () = assert!(
    RECORD_HEADER_BYTES as u64 <= PAGE_BYTES,
    "one page shows whether a record begins"
);

/// What a record brings of its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordContent {
    /// Everything the metadata names.
    Whole,
    /// The metadata names blobs that this node never held.
    NeverHeld,
    /// The payload of a height whose blobs were freed.
    Moved,
}

/// The first bytes of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Repeats that of its segment.
    pub lineage: Lineage,
    /// Counts the file's records from 0, without a gap.
    pub sequence: u64,
    pub key: ValueKey,
    /// What part of the value is here.
    pub content: RecordContent,
    /// How the value came.
    pub tag: Tag,
    /// Blobs behind the body.
    pub blobs_count: u32,
    /// Length of the lists.
    pub lists_bytes: u32,
    /// Length of the archived `Init`.
    pub init_bytes: u32,
    /// Length of the payload.
    pub payload_bytes: u32,
    /// CRC32C of table, lists, init and payload.
    pub body_crc: u32,
    /// CRC32C of the table alone, by which one blob is read without the rest of the body. Older records have none.
    pub table_crc: Option<NonZeroU32>,
    /// Records of the file below this sequence number were synced before this one was written; 0 in older records.
    pub synced_below: u64,
    /// CRC32C of the archived `Init` alone, by which it is read without lists and payload. Then it stands before them.
    /// A record of version 2 has none, and its `Init` stands behind the lists.
    pub init_crc: Option<NonZeroU32>,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// No record of this format begins here.
    #[error("no record begins here")]
    Absent,
    /// The header's checksum, or a bound, does not hold.
    #[error("the record's header is damaged")]
    Header,
    /// Another version wrote it.
    #[error("the record has format {found}")]
    Version { found: u16 },
    /// The bytes end before the record does.
    #[error("the record is cut short")]
    Short,
    /// The body's checksum does not hold, or it does not parse.
    #[error("the record's body is damaged")]
    Body,
    /// A blob's checksum does not hold.
    #[error("blob {index} is damaged")]
    Blob {
        /// Its position among the blobs, from 0.
        index: u32,
    },
    /// The metadata is not that of the key.
    #[error("the record's metadata belongs to another value")]
    Foreign,
    /// The metadata binds another list.
    #[error("the record's list {kind:?} is not the one that its metadata binds")]
    List { kind: ListKind },
}

impl RecordHeader {
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut fields = Fields::default();
        fields
            .bytes(&RECORD_MAGIC)
            .u16(self.init_crc.map_or(STORE_VERSION, |_| RECORD_VERSION))
            .u8(match self.content {
                RecordContent::Whole => 1,
                RecordContent::NeverHeld => 2,
                RecordContent::Moved => 3,
            })
            .u8(match self.tag {
                Tag::Proposed => 1,
                Tag::Streamed => 2,
                Tag::Certified | Tag::Restored => 3,
            })
            .u64(self.lineage.generation)
            .u64(self.lineage.salt)
            .u64(self.sequence)
            .u64(self.key.height.0)
            .bytes(&self.key.id.0)
            .u32(self.blobs_count)
            .u32(self.lists_bytes)
            .u32(self.init_bytes)
            .u32(self.payload_bytes)
            .u32(self.body_crc)
            .u32(self.table_crc.map_or(0, NonZeroU32::get))
            .u64(self.synced_below)
            .u32(self.init_crc.map_or(0, NonZeroU32::get))
            .pad_to(COVERED_BYTES);
        let crc = crc32c(&fields.0);
        fields.u32(crc);
        fields
            .0
            .try_into()
            .expect("the fields above add up to the header's length")
    }

    /// Reads a header and checks its checksum and bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = bytes.get(..RECORD_HEADER_BYTES).ok_or(RecordError::Short)?;
        if !header.starts_with(&RECORD_MAGIC) {
            return Err(RecordError::Absent);
        }
        let (covered, crc) = header.split_at(COVERED_BYTES);
        if Cursor::new(crc).u32() != Some(crc32c(covered)) {
            return Err(RecordError::Header);
        }
        match Cursor::new(&covered[RECORD_MAGIC.len()..]).u16() {
            Some(STORE_VERSION | RECORD_VERSION) => {}
            found => {
                let found = found.unwrap_or_default();
                return Err(RecordError::Version { found });
            }
        }
        Self::read(covered).filter(Self::is_bounded).ok_or(RecordError::Header)
    }

    /// The file that a record header of any version says it is of: these fields never move.
    pub fn lineage_of(bytes: &[u8]) -> Option<Lineage> {
        let mut fields = Cursor::new(bytes.get(LINEAGE_AT..)?);
        Some(Lineage {
            generation: fields.u64()?,
            salt: fields.u64()?,
        })
    }

    fn read(covered: &[u8]) -> Option<Self> {
        let mut fields = Cursor::new(covered);
        fields.slice(RECORD_MAGIC.len())?;
        let version = fields.u16()?;
        let content = match fields.u8()? {
            1 => RecordContent::Whole,
            2 => RecordContent::NeverHeld,
            3 => RecordContent::Moved,
            _ => return None,
        };
        let tag = match fields.u8()? {
            1 => Tag::Proposed,
            2 => Tag::Streamed,
            3 => Tag::Certified,
            _ => return None,
        };
        let header = Self {
            content,
            tag,
            lineage: Lineage {
                generation: fields.u64()?,
                salt: fields.u64()?,
            },
            sequence: fields.u64()?,
            key: ValueKey {
                height: Height(fields.u64()?),
                id: ValueId(fields.array()?),
            },
            blobs_count: fields.u32()?,
            lists_bytes: fields.u32()?,
            init_bytes: fields.u32()?,
            payload_bytes: fields.u32()?,
            body_crc: fields.u32()?,
            table_crc: NonZeroU32::new(fields.u32()?),
            synced_below: fields.u64()?,
            init_crc: NonZeroU32::new(fields.u32()?),
        };
        (header.init_crc.is_some() == (version == RECORD_VERSION)).then_some(header)
    }

    /// Whether every number is one that a writer could have written, so that the sums below cannot overflow, nor the
    /// number of the next record.
    fn is_bounded(&self) -> bool {
        self.blobs_count <= BLOBS_PER_BLOCK_MAX
            && self.lists_bytes as usize <= LISTS_BYTES_MAX
            && self.init_bytes as usize <= INIT_BYTES_MAX
            && self.payload_bytes as usize <= PAYLOAD_BYTES_MAX
            && (self.content == RecordContent::Whole || self.blobs_count == 0)
            && self.sequence < u64::MAX
    }

    /// Bytes of the body, which begins right behind the header.
    pub const fn body_bytes(&self) -> u64 {
        self.blobs_count as u64 * ENTRY_BYTES as u64
            + self.lists_bytes as u64
            + self.init_bytes as u64
            + self.payload_bytes as u64
    }

    /// Where the table ends, from the record's start.
    pub const fn table_end(&self) -> u64 {
        (RECORD_HEADER_BYTES + self.blobs_count as usize * ENTRY_BYTES) as u64
    }

    /// Where the archived `Init` begins, from the record's start.
    pub const fn init_at(&self) -> u64 {
        match self.init_crc {
            Some(_) => self.table_end(),
            None => self.table_end() + self.lists_bytes as u64,
        }
    }

    /// Where it ends.
    pub const fn init_end(&self) -> u64 {
        self.init_at() + self.init_bytes as u64
    }

    /// The checksum of a blob, out of the record's first bytes: up to the table's end, or up to the first blob if the
    /// table has no checksum of its own.
    pub fn blob_crc(&self, head: &[u8], index: u32) -> Result<u32, RecordError> {
        let bytes = |end: u64| {
            let end = usize::try_from(end).ok()?;
            head.get(RECORD_HEADER_BYTES..end)
        };
        let table = bytes(self.table_end()).ok_or(RecordError::Short)?;
        let is_sound = match self.table_crc {
            Some(crc) => crc32c(table) == crc.get(),
            None => {
                let body = bytes(RECORD_HEADER_BYTES as u64 + self.body_bytes());
                crc32c(body.ok_or(RecordError::Short)?) == self.body_crc
            }
        };
        if !is_sound {
            return Err(RecordError::Body);
        }
        let entry = table.chunks_exact(ENTRY_BYTES).nth(index as usize);
        entry
            .and_then(|entry| Cursor::new(entry).u32())
            .ok_or(RecordError::Short)
    }

    /// Where the first blob begins, from the record's start.
    pub const fn blobs_offset(&self) -> u64 {
        whole_pages(RECORD_HEADER_BYTES as u64 + self.body_bytes())
    }

    /// The whole record, in whole pages.
    pub const fn record_bytes(&self) -> u64 {
        self.blobs_offset() + self.blobs_count as u64 * BLOB_BYTES as u64
    }

    /// What the index says of a value in such a record.
    pub const fn blobs(&self) -> Blobs {
        match self.content {
            RecordContent::Whole => Blobs::Held,
            RecordContent::NeverHeld => Blobs::NeverHeld,
            RecordContent::Moved => Blobs::Pruned,
        }
    }
}

/// A record ready to be written: the pages before the blobs, then the blobs as they are.
#[derive(Debug)]
pub struct Encoded {
    header: RecordHeader,
    head: Vec<u8>,
    blobs: Vec<Bytes>,
}

impl Encoded {
    /// The whole record, in whole pages.
    pub const fn record_bytes(&self) -> u64 {
        self.header.record_bytes()
    }

    /// Says how many records of its file are synced. Call it before [`stamp`](Self::stamp).
    pub const fn follow_synced(&mut self, below: u64) {
        self.header.synced_below = below;
    }

    /// Says which position in which file it is for. Call it before the record is written.
    pub fn stamp(&mut self, lineage: Lineage, sequence: u64) {
        self.header.lineage = lineage;
        self.header.sequence = sequence;
        assert_eq!(
            self.head.len() as u64,
            self.header.blobs_offset(),
            "the first blob follows on the head"
        );
        self.head[..RECORD_HEADER_BYTES].copy_from_slice(&self.header.encode());
    }

    /// Its bytes in order: header and body padded to whole pages, then each blob.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.head.as_slice()).chain(self.blobs.iter().map(|blob| &blob[..]))
    }
}

/// Why a value cannot be a record: our own fault or a value beyond every limit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// The metadata says another number of blobs.
    #[error("{blobs} blobs where the metadata says {expected}")]
    Count { blobs: usize, expected: u32 },
    /// A blob of another length.
    #[error("blob {index} has {bytes} bytes")]
    Blob {
        /// Its position among the blobs, from 0.
        index: usize,
        bytes: usize,
    },
    /// The metadata says another length of the payload.
    #[error("{bytes} bytes of payload where the metadata says {expected}")]
    Payload { bytes: usize, expected: u32 },
    /// The metadata binds another list.
    #[error("its list {kind:?} is not the one that its metadata binds")]
    List { kind: ListKind },
    /// Payload, lists or metadata above the limit.
    #[error("{bytes} bytes of {what} are above the limit")]
    Size { what: &'static str, bytes: usize },
}

/// What part of a value an assembly holds, if its blobs fit its metadata.
pub fn content_of(assembly: &Assembly) -> Result<RecordContent, Unfit> {
    let (blobs, expected) = (assembly.blobs.len(), assembly.init.metadata.blobs_count);
    if blobs == expected as usize {
        Ok(RecordContent::Whole)
    } else if blobs == 0 {
        Ok(RecordContent::NeverHeld)
    } else {
        Err(Unfit::Count { blobs, expected })
    }
}

/// Checks the lengths of a value's payload and of these blobs of it, and its lists against its metadata.
pub(crate) fn check_parts(assembly: &Assembly, blobs: &[Bytes]) -> Result<(), Unfit> {
    let metadata = &assembly.init.metadata;
    let other = |blob: &&Bytes| blob.len() != BLOB_BYTES;
    if let Some((index, blob)) = blobs.iter().enumerate().find(|(_, blob)| other(blob)) {
        let bytes = blob.len();
        return Err(Unfit::Blob { index, bytes });
    }
    let (bytes, expected) = (assembly.payload.len(), metadata.payload_bytes);
    if bytes != expected as usize {
        return Err(Unfit::Payload { bytes, expected });
    }
    match misfit(&assembly.lists, metadata) {
        Some(kind) => Err(Unfit::List { kind }),
        None => Ok(()),
    }
}

/// Lays a value out as a record. It must be stamped before it is written.
pub fn encode(assembly: &Assembly, tag: Tag, content: RecordContent) -> Result<Encoded, Unfit> {
    let blobs: &[Bytes] = if content == RecordContent::Whole {
        &assembly.blobs
    } else {
        &[]
    };
    check_parts(assembly, blobs)?;
    let init = archive_init(&assembly.init);
    let bounded = |what, bytes: usize, most: usize| {
        let fits = u32::try_from(bytes).ok().filter(|_| bytes <= most);
        fits.ok_or(Unfit::Size { what, bytes })
    };
    let init_bytes = bounded("metadata", init.len(), INIT_BYTES_MAX)?;
    let payload_bytes = bounded("payload", assembly.payload.len(), PAYLOAD_BYTES_MAX)?;
    let blobs_count = bounded("blobs", blobs.len(), BLOBS_PER_BLOCK_MAX as usize)?;
    let lists_bytes = bounded("lists", assembly.lists.bytes(), LISTS_BYTES_MAX)?;

    let mut header = RecordHeader {
        lineage: Lineage { generation: 0, salt: 0 },
        sequence: 0,
        key: assembly.key,
        content,
        tag,
        blobs_count,
        lists_bytes,
        init_bytes,
        payload_bytes,
        body_crc: 0,
        table_crc: None,
        synced_below: 0,
        init_crc: NonZeroU32::new(crc32c(&init)),
    };
    let mut head = Fields(Vec::with_capacity(
        usize::try_from(header.blobs_offset()).expect("a head fits memory"),
    ));
    head.pad_to(RECORD_HEADER_BYTES);
    for blob in blobs {
        head.u32(crc32c(blob));
    }
    if header.init_crc.is_some() {
        head.bytes(&init);
    }
    for kind in ListKind::ALL {
        assembly.lists.write(kind, &mut head.0);
    }
    if header.init_crc.is_none() {
        // The checksum is 0 by chance, which says that there is none.
        head.bytes(&init);
    }
    head.bytes(&assembly.payload);
    let mut head = head.0;
    assert_eq!(
        head.len() as u64,
        RECORD_HEADER_BYTES as u64 + header.body_bytes(),
        "the body is as long as its header says"
    );
    header.body_crc = crc32c(&head[RECORD_HEADER_BYTES..]);
    header.table_crc = NonZeroU32::new(crc32c(&head[RECORD_HEADER_BYTES..][..blobs.len() * ENTRY_BYTES]));
    head[..RECORD_HEADER_BYTES].copy_from_slice(&header.encode());
    head.resize(usize::try_from(header.blobs_offset()).expect("a head fits memory"), 0);
    assert!(header.is_bounded(), "what is written is what a reader takes");
    assert!(
        header.record_bytes().is_multiple_of(PAGE_BYTES),
        "a record is whole pages"
    );
    Ok(Encoded {
        header,
        head,
        blobs: blobs.to_vec(),
    })
}

/// The first list that is not the one that the metadata binds. How many proofs a blob has is the chain's to say; the
/// root binds what was said.
pub(crate) fn misfit(lists: &Lists, metadata: &ValueMetadata) -> Option<ListKind> {
    let blobs_count = metadata.blobs_count.max(1) as usize;
    let proofs_per_blob = u32::try_from(lists.proofs.len() / blobs_count).unwrap_or(u32::MAX);
    lists.misfit(metadata, proofs_per_blob)
}

/// How much of a record to read and check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckDepth {
    /// Every checksum, that the metadata hashes to the key, and that it binds the lists.
    All,
    /// The same without the blobs, which are not taken and need not be there.
    Body,
}

/// A record read back.
#[derive(Clone, Debug)]
pub struct Record {
    pub header: RecordHeader,
    /// The value; its payload and blobs are slices of the bytes given.
    pub assembly: Assembly,
}

/// Reads a record out of the bytes it lies in. Nothing large is copied.
pub fn decode(bytes: &Bytes, check: CheckDepth) -> Result<Record, RecordError> {
    let header = RecordHeader::decode(bytes)?;
    let body_end = RECORD_HEADER_BYTES + usize::try_from(header.body_bytes()).map_err(|_| RecordError::Header)?;
    let body = bytes.get(RECORD_HEADER_BYTES..body_end).ok_or(RecordError::Short)?;
    if crc32c(body) != header.body_crc {
        return Err(RecordError::Body);
    }
    let (crcs, lists, init) = decode_body(&header, body).ok_or(RecordError::Body)?;
    if init.key() != header.key {
        return Err(RecordError::Foreign);
    }
    if let Some(kind) = misfit(&lists, &init.metadata) {
        return Err(RecordError::List { kind });
    }
    let payload_at = body.len() - header.payload_bytes as usize;
    let payload = bytes.slice(RECORD_HEADER_BYTES + payload_at..body_end);
    let blobs = match check {
        CheckDepth::All => blobs_of(&header, bytes, &crcs)?,
        CheckDepth::Body => Vec::new(),
    };
    Ok(Record {
        header,
        assembly: Assembly {
            key: header.key,
            init: Arc::new(init),
            lists: Arc::new(lists),
            payload,
            blobs,
        },
    })
}

fn blobs_of(header: &RecordHeader, bytes: &Bytes, crcs: &[u32]) -> Result<Vec<Bytes>, RecordError> {
    let record_bytes = usize::try_from(header.record_bytes()).map_err(|_| RecordError::Header)?;
    if bytes.len() < record_bytes {
        return Err(RecordError::Short);
    }
    let mut at = usize::try_from(header.blobs_offset()).map_err(|_| RecordError::Header)?;
    let mut blobs = Vec::with_capacity(crcs.len());
    for (index, crc) in (0u32..).zip(crcs) {
        let blob = bytes.slice(at..at + BLOB_BYTES);
        at += BLOB_BYTES;
        if crc32c(&blob) != *crc {
            return Err(RecordError::Blob { index });
        }
        blobs.push(blob);
    }
    assert_eq!(at, record_bytes, "the blobs end where the record does");
    Ok(blobs)
}

/// The blobs' checksums, the lists, and the `Init`, whose metadata says how long the lists and the payload are.
fn decode_body(header: &RecordHeader, body: &[u8]) -> Option<(Vec<u32>, Lists, Init)> {
    let mut fields = Cursor::new(body);
    let crcs = (0..header.blobs_count)
        .map(|_| fields.u32())
        .collect::<Option<Vec<_>>>()?;
    let (lists_bytes, init_bytes) = (header.lists_bytes as usize, header.init_bytes as usize);
    let (lists, init) = if header.init_crc.is_some() {
        let init = fields.slice(init_bytes)?;
        (fields.slice(lists_bytes)?, init)
    } else {
        (fields.slice(lists_bytes)?, fields.slice(init_bytes)?)
    };
    let init = read_init(init)?;
    let metadata = &init.metadata;
    let is_all = header.content != RecordContent::Whole || header.blobs_count == metadata.blobs_count;
    if header.payload_bytes != metadata.payload_bytes || !is_all {
        return None;
    }
    let lists = decode_lists(metadata, lists)?;
    Some((crcs, lists, init))
}

/// The lists one behind the other. The metadata says how long each is but the last, the proofs, which takes the rest.
pub(crate) fn decode_lists(metadata: &ValueMetadata, bytes: &[u8]) -> Option<Lists> {
    let mut lists = Lists::default();
    let mut fields = Cursor::new(bytes);
    for kind in ListKind::ALL {
        let bytes = match kind {
            ListKind::Chunks | ListKind::Commitments | ListKind::Digests => {
                fields.slice(metadata.list_len(kind, 0) * kind.item_bytes())?
            }
            ListKind::Proofs => fields.rest(),
        };
        lists.read(kind, bytes).then_some(())?;
    }
    Some(lists)
}
