//! This file knows the bytes of a record: one value in whole pages, checksummed throughout.
//!
//! ```text
//!   page boundary                                   page boundary
//!   │ header 128 │ table │ proofs │ init │ payload │ 0… │ blob 0 │ blob 1 │ … │
//!                └──────────── body_crc ───────────┘     one crc each, in the table
//! ```
//! Sans-io: it turns values into bytes and back; its callers say where they lie. FORMAT.md draws every field.

use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::limits::{
    BLOB_BYTES, BLOBS_PER_BLOCK_MAX, INIT_BYTES_MAX, PAYLOAD_BYTES_MAX, PROOFS_PER_BLOB_MAX,
};
use ultramarine_types::storage::{Blobs, Tag};
use ultramarine_types::{Assembly, BlobPart, Height, Init, KzgProof, ValueId, ValueKey};

use crate::format::{Fields, Lineage, PAGE_BYTES, crc32c, whole_pages};

/// First four bytes of a record.
pub const RECORD_MAGIC: [u8; 4] = *b"UREC";
/// The only version so far.
pub const RECORD_VERSION: u16 = 1;
/// Bytes of the header, checksum included.
pub const RECORD_HEADER_BYTES: usize = 128;
/// Bytes of one blob's entry in the table.
const ENTRY_BYTES: usize = 8;
/// Bytes the header's checksum covers.
const COVERED_BYTES: usize = RECORD_HEADER_BYTES - 4;

const _: () = assert!(
    (BLOB_BYTES as u64).is_multiple_of(PAGE_BYTES),
    "blobs stay page-aligned behind each other"
);

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
    /// Proofs of all blobs together.
    pub proofs_count: u32,
    /// Length of the archived `Init`.
    pub init_bytes: u32,
    /// Length of the payload.
    pub payload_bytes: u32,
    /// CRC32C of table, proofs, init and payload.
    pub body_crc: u32,
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
}

impl RecordHeader {
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut fields = Fields::default();
        fields
            .bytes(&RECORD_MAGIC)
            .u16(RECORD_VERSION)
            .u8(match self.content {
                RecordContent::Whole => 1,
                RecordContent::NeverHeld => 2,
                RecordContent::Moved => 3,
            })
            .u8(match self.tag {
                Tag::Proposed => 1,
                Tag::Streamed => 2,
                Tag::Certified => 3,
            })
            .u64(self.lineage.generation)
            .u64(self.lineage.salt)
            .u64(self.sequence)
            .u64(self.key.height.0)
            .bytes(&self.key.id.0)
            .u32(self.blobs_count)
            .u32(self.proofs_count)
            .u32(self.init_bytes)
            .u32(self.payload_bytes)
            .u32(self.body_crc)
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
        Self::read(covered).filter(Self::is_bounded).ok_or(RecordError::Header)
    }

    fn read(covered: &[u8]) -> Option<Self> {
        let mut fields = Cursor::new(covered);
        fields.slice(RECORD_MAGIC.len())?;
        if fields.u16()? != RECORD_VERSION {
            return None;
        }
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
        Some(Self {
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
            proofs_count: fields.u32()?,
            init_bytes: fields.u32()?,
            payload_bytes: fields.u32()?,
            body_crc: fields.u32()?,
        })
    }

    /// Whether every length is one that a writer could have written, so that the sums below cannot overflow.
    fn is_bounded(&self) -> bool {
        self.blobs_count <= BLOBS_PER_BLOCK_MAX
            && self.proofs_count as usize <= BLOBS_PER_BLOCK_MAX as usize * PROOFS_PER_BLOB_MAX
            && self.init_bytes as usize <= init_bytes_ceiling()
            && self.payload_bytes as usize <= PAYLOAD_BYTES_MAX
            && (self.content == RecordContent::Whole || self.blobs_count == 0)
    }

    /// Bytes of the body, which begins right behind the header.
    pub const fn body_bytes(&self) -> u64 {
        self.blobs_count as u64 * ENTRY_BYTES as u64
            + self.proofs_count as u64 * KzgProof::BYTES as u64
            + self.init_bytes as u64
            + self.payload_bytes as u64
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

/// The archive may be a little larger than the wire's bound on the same fields: it has alignment and relative pointers.
const fn init_bytes_ceiling() -> usize {
    INIT_BYTES_MAX + 1024
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
    /// Blobs and commitments differ in number.
    #[error("{blobs} blobs for {commitments} commitments")]
    Count {
        /// Blobs of the assembly.
        blobs: usize,
        /// Commitments of its metadata.
        commitments: usize,
    },
    /// A blob of another length, or with more proofs than the format has room for.
    #[error("blob {index} has {bytes} bytes and {proofs} proofs")]
    Blob {
        /// Its position among the blobs, from 0.
        index: usize,
        bytes: usize,
        proofs: usize,
    },
    /// Payload or metadata above the limit.
    #[error("{bytes} bytes of {what} are above the limit")]
    Size { what: &'static str, bytes: usize },
}

/// What part of a value an assembly holds, if its blobs fit its metadata.
pub fn content_of(assembly: &Assembly) -> Result<RecordContent, Unfit> {
    let (blobs, commitments) = (assembly.blobs.len(), assembly.init.metadata.commitments.len());
    if blobs == commitments {
        Ok(RecordContent::Whole)
    } else if blobs == 0 {
        Ok(RecordContent::NeverHeld)
    } else {
        Err(Unfit::Count { blobs, commitments })
    }
}

/// Lays a value out as a record. It must be stamped before it is written.
pub fn encode(assembly: &Assembly, tag: Tag, content: RecordContent) -> Result<Encoded, Unfit> {
    let blobs: &[BlobPart] = if content == RecordContent::Whole {
        &assembly.blobs
    } else {
        &[]
    };
    for (index, part) in blobs.iter().enumerate() {
        if part.blob.len() != BLOB_BYTES || part.proofs.len() > PROOFS_PER_BLOB_MAX {
            return Err(Unfit::Blob {
                index,
                bytes: part.blob.len(),
                proofs: part.proofs.len(),
            });
        }
    }
    let init =
        rkyv::to_bytes::<rkyv::rancor::Error>(&*assembly.init).expect("an archive in memory cannot fail to be written");
    let bounded = |what, bytes: usize, most: usize| {
        let fits = u32::try_from(bytes).ok().filter(|_| bytes <= most);
        fits.ok_or(Unfit::Size { what, bytes })
    };
    let init_bytes = bounded("metadata", init.len(), init_bytes_ceiling())?;
    let payload_bytes = bounded("payload", assembly.payload.len(), PAYLOAD_BYTES_MAX)?;
    let blobs_count = bounded("blobs", blobs.len(), BLOBS_PER_BLOCK_MAX as usize)?;
    let proofs: usize = blobs.iter().map(|part| part.proofs.len()).sum();
    let proofs_count = bounded("proofs", proofs, BLOBS_PER_BLOCK_MAX as usize * PROOFS_PER_BLOB_MAX)?;

    let mut header = RecordHeader {
        lineage: Lineage { generation: 0, salt: 0 },
        sequence: 0,
        key: assembly.key,
        content,
        tag,
        blobs_count,
        proofs_count,
        init_bytes,
        payload_bytes,
        body_crc: 0,
    };
    let mut head = Fields(Vec::with_capacity(
        usize::try_from(header.blobs_offset()).expect("a head fits memory"),
    ));
    head.pad_to(RECORD_HEADER_BYTES);
    for part in blobs {
        let proofs = u16::try_from(part.proofs.len()).expect("bounded above");
        head.u32(crc32c(&part.blob)).u16(proofs).u16(0);
    }
    for proof in blobs.iter().flat_map(|part| &part.proofs) {
        head.bytes(&proof.0);
    }
    head.bytes(&init).bytes(&assembly.payload);
    let mut head = head.0;
    assert_eq!(
        head.len() as u64,
        RECORD_HEADER_BYTES as u64 + header.body_bytes(),
        "the body is as long as its header says"
    );
    header.body_crc = crc32c(&head[RECORD_HEADER_BYTES..]);
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
        blobs: blobs.iter().map(|part| part.blob.clone()).collect(),
    })
}

/// How much of a record to check while reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckDepth {
    /// Every checksum, and that the metadata hashes to the key: the first read.
    All,
    /// Header, body and key, not the blobs: for a reader of the payload.
    Body,
    /// The header only: the record was checked since the process started and its file never changes.
    Header,
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
    let record_bytes = usize::try_from(header.record_bytes()).map_err(|_| RecordError::Header)?;
    if bytes.len() < record_bytes {
        return Err(RecordError::Short);
    }
    let body_end = RECORD_HEADER_BYTES + usize::try_from(header.body_bytes()).map_err(|_| RecordError::Header)?;
    let body = bytes.get(RECORD_HEADER_BYTES..body_end).ok_or(RecordError::Short)?;
    if check != CheckDepth::Header && crc32c(body) != header.body_crc {
        return Err(RecordError::Body);
    }
    let (init, payload_at, entries) = decode_body(&header, body).ok_or(RecordError::Body)?;
    if check != CheckDepth::Header && init.key() != header.key {
        return Err(RecordError::Foreign);
    }
    let payload = bytes.slice(RECORD_HEADER_BYTES + payload_at..body_end);
    let mut at = usize::try_from(header.blobs_offset()).map_err(|_| RecordError::Header)?;
    let mut blobs = Vec::with_capacity(entries.len());
    for (index, (crc, proofs)) in (0u32..).zip(entries) {
        let blob = bytes.slice(at..at + BLOB_BYTES);
        at += BLOB_BYTES;
        if check == CheckDepth::All && crc32c(&blob) != crc {
            return Err(RecordError::Blob { index });
        }
        blobs.push(BlobPart { blob, proofs });
    }
    assert_eq!(at, record_bytes, "the blobs end where the record does");
    Ok(Record {
        header,
        assembly: Assembly {
            key: header.key,
            init: Arc::new(init),
            payload,
            blobs,
        },
    })
}

type Entry = (u32, Vec<KzgProof>);

/// `Init`, where the payload begins within the body, and per blob its checksum and proofs.
fn decode_body(header: &RecordHeader, body: &[u8]) -> Option<(Init, usize, Vec<Entry>)> {
    let mut fields = Cursor::new(body);
    let mut counts = Vec::with_capacity(header.blobs_count as usize);
    for _ in 0..header.blobs_count {
        counts.push((fields.u32()?, fields.u16()?));
        fields.u16()?;
    }
    let mut entries = Vec::with_capacity(counts.len());
    let mut proofs_left = header.proofs_count;
    for (crc, count) in counts {
        proofs_left = proofs_left.checked_sub(u32::from(count))?;
        let proofs = (0..count)
            .map(|_| fields.array().map(KzgProof))
            .collect::<Option<Vec<_>>>()?;
        entries.push((crc, proofs));
    }
    if proofs_left != 0 {
        return None;
    }
    // An archive is read where it is aligned; this one is small, so it is copied there.
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(header.init_bytes as usize);
    aligned.extend_from_slice(fields.slice(header.init_bytes as usize)?);
    let init = rkyv::from_bytes::<Init, rkyv::rancor::Error>(&aligned).ok()?;
    let payload_at = body.len().checked_sub(header.payload_bytes as usize)?;
    Some((init, payload_at, entries))
}
