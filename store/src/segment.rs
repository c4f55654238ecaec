//! This file knows what a segment is: its number, its header page, its file name and how large it is made.

use std::fmt;

use ultramarine_types::ChainIdentity;
use ultramarine_types::chain::Limits;

use crate::format::{Fields, Lineage, PAGE_BYTES, STORE_VERSION, open_header, whole_pages};

/// First eight bytes of a segment file.
pub const SEGMENT_MAGIC: [u8; 8] = *b"ULTRSEG\0";
/// Where the first record begins: behind the header page.
pub const SEGMENT_FIRST_RECORD: u64 = PAGE_BYTES;

/// What a values segment is made for beside the blobs of each record: payload, lists and `Init`. A record that takes
/// more room finds it in the next segment, or in one of its own.
const BODY_BYTES: u64 = 1 << 20;
/// Records of the chain's largest block that a values segment takes at least.
pub const RECORDS_MIN: u64 = 4;
/// Records that it takes where they are small, within [`SMALL_BYTES`].
const RECORDS_MAX: u64 = 8;
/// A small chain's node preallocates this much, not a server's share.
const SMALL_BYTES: u64 = 32 << 20;
/// Largest values segment that is made for what is held already: bounds the pause of freeing one.
const GROWN_BYTES_MAX: u64 = 512 << 20;
/// A payloads segment is sealed at this size. It is not preallocated.
pub const PAYLOADS_BYTES: u64 = 64 << 20;

const _: () = assert!(GROWN_BYTES_MAX.is_multiple_of(PAGE_BYTES) && PAYLOADS_BYTES.is_multiple_of(PAGE_BYTES));

/// The number of a segment: also the generation that each of its records carries, because files are recycled. Never
/// used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// Whether a store can have counted so far. From each such number it counts on: the upper half is never reached.
    pub const fn is_counted(self) -> bool {
        self.0 <= u64::MAX / 2
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a segment's records are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Values as they were put, blobs included; freed whole when retention ends.
    Values,
    /// Payloads moved out of freed segments; kept for ever.
    Payloads,
}

impl Class {
    const fn code(self) -> u8 {
        match self {
            Self::Values => 1,
            Self::Payloads => 2,
        }
    }

    /// File name of a segment in use.
    pub fn file_name(self, id: SegmentId) -> String {
        match self {
            Self::Values => format!("values-{id}.seg"),
            Self::Payloads => format!("payloads-{id}.seg"),
        }
    }
}

/// File name of a segment that waits to be recycled; its number tells which records it may still contain.
pub fn free_file_name(id: SegmentId) -> String {
    format!("free-{id}.seg")
}

/// What a file name in the segments folder says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileName {
    /// A segment in use.
    Used(Class, SegmentId),
    /// A segment that waits to be recycled.
    Free(SegmentId),
}

impl FileName {
    /// Reads a file name; `None` for a file that is not ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, number) = name.strip_suffix(".seg")?.split_once('-')?;
        // One number has one name: `from_str_radix` takes a sign and capitals too.
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if number.len() != 16 || !number.bytes().all(is_digit) {
            return None;
        }
        let id = SegmentId(u64::from_str_radix(number, 16).ok()?);
        id.is_counted().then_some(())?;
        match kind {
            "values" => Some(Self::Used(Class::Values, id)),
            "payloads" => Some(Self::Used(Class::Payloads, id)),
            "free" => Some(Self::Free(id)),
            _ => None,
        }
    }

    /// The number in the name.
    pub const fn id(self) -> SegmentId {
        match self {
            Self::Used(_, id) | Self::Free(id) => id,
        }
    }
}

/// Where a record lies. `bytes` is the whole record in whole pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Location {
    pub segment: SegmentId,
    /// From the start of the file, a multiple of the page.
    pub offset: u64,
    /// Length, a multiple of the page.
    pub bytes: u64,
}

impl Location {
    /// Where the next record may begin.
    pub const fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

/// A point between two records: where an append, or a scan, goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    pub segment: SegmentId,
    /// From the start of the file.
    pub offset: u64,
    /// Sequence number of the record there.
    pub sequence: u64,
}

impl Position {
    /// Before the first record of a segment.
    pub const fn start_of(segment: SegmentId) -> Self {
        Self {
            segment,
            offset: SEGMENT_FIRST_RECORD,
            sequence: 0,
        }
    }
}

/// The first page of a segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// What its records are.
    pub class: Class,
    /// Its number, equal to the generation of its records.
    pub id: SegmentId,
    /// Drawn when this use of the file began; every record repeats it.
    pub salt: u64,
    /// Bytes preallocated when it was begun.
    pub capacity_bytes: u64,
    /// The chain it belongs to.
    pub chain: ChainIdentity,
}

impl SegmentHeader {
    /// What its records carry.
    pub const fn lineage(&self) -> Lineage {
        Lineage {
            generation: self.id.0,
            salt: self.salt,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut page = Fields::default();
        page.bytes(&SEGMENT_MAGIC)
            .u16(STORE_VERSION)
            .u8(self.class.code())
            .pad_to(16)
            .u64(self.id.0)
            .u64(self.salt)
            .u64(self.capacity_bytes)
            .bytes(&self.chain.0);
        page.into_header_page()
    }

    /// Reads the page; `None` if it is no segment header of this version or damaged.
    pub fn decode(page: &[u8]) -> Option<Self> {
        let (version, mut fields) = open_header(page, &SEGMENT_MAGIC)?;
        if version != STORE_VERSION {
            return None;
        }
        let class = match fields.u8()? {
            1 => Class::Values,
            2 => Class::Payloads,
            _ => return None,
        };
        fields.slice(5)?;
        let id = SegmentId(fields.u64()?);
        let salt = fields.u64()?;
        let capacity_bytes = fields.u64()?;
        let chain = ChainIdentity(fields.array()?);
        Some(Self {
            class,
            id,
            salt,
            capacity_bytes,
            chain,
        })
    }
}

/// The size of a chain's values segments. All have it, so that each can be recycled for each.
pub fn class_bytes(limits: &Limits) -> u64 {
    let record_bytes = limits.block_blob_bytes() as u64 + BODY_BYTES;
    exact((RECORDS_MIN * record_bytes).max((RECORDS_MAX * record_bytes).min(SMALL_BYTES)))
}

/// How large to make the next values segment so that `record_bytes` fit: of the class, or as large as a record that the
/// class has no room for. Where nothing is ever freed (`grows`), an eighth of what the store holds if that is more, so
/// that a large store still has few files.
pub fn capacity(class_bytes: u64, grows: bool, held_bytes: u64, record_bytes: u64) -> u64 {
    let grown = if grows {
        (held_bytes / 8).next_power_of_two().clamp(PAGE_BYTES, GROWN_BYTES_MAX)
    } else {
        0
    };
    let capacity = class_bytes.max(grown).max(exact(record_bytes));
    assert!(
        capacity - SEGMENT_FIRST_RECORD >= record_bytes,
        "the record has room behind the header"
    );
    capacity
}

/// How large to make a segment that takes exactly these records.
pub const fn exact(records_bytes: u64) -> u64 {
    SEGMENT_FIRST_RECORD + whole_pages(records_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FILE_HEADER_BYTES;

    fn header() -> SegmentHeader {
        SegmentHeader {
            class: Class::Values,
            id: SegmentId(0x0102),
            salt: 0x1122_3344_5566_7788,
            capacity_bytes: 32 << 20,
            chain: ChainIdentity([0xab; 32]),
        }
    }

    #[test]
    fn the_header_page_has_these_bytes() {
        let page = header().encode();
        assert_eq!(page.len(), 4096);
        assert_eq!(&page[..8], b"ULTRSEG\0");
        assert_eq!(&page[8..16], [2, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(&page[16..24], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&page[24..32], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        assert_eq!(&page[32..40], [0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(&page[40..72], [0xab; 32]);
        assert_eq!(&page[72..80], [0; 8]);
        assert_eq!(&page[80..84], GOLDEN_CRC.to_le_bytes());
        assert!(page[84..].iter().all(|byte| *byte == 0));
    }
    const GOLDEN_CRC: u32 = 0x2af4_e3c6;

    #[test]
    fn a_header_comes_back_and_no_damaged_one_does() {
        let page = header().encode();
        assert_eq!(SegmentHeader::decode(&page), Some(header()));
        for byte in 0..FILE_HEADER_BYTES + 4 {
            let mut damaged = page.clone();
            damaged[byte] ^= 0x40;
            assert_eq!(SegmentHeader::decode(&damaged), None, "byte {byte}");
        }
        assert_eq!(SegmentHeader::decode(&page[..83]), None);
    }

    #[test]
    fn file_names_come_back() {
        let id = SegmentId(0xdead_beef);
        for class in [Class::Values, Class::Payloads] {
            assert_eq!(FileName::parse(&class.file_name(id)), Some(FileName::Used(class, id)));
        }
        assert_eq!(FileName::parse(&free_file_name(id)), Some(FileName::Free(id)));
        for foreign in [
            "",
            "values-1.seg",
            "values-00000000deadbeef",
            "lost+found",
            "other-00000000deadbeef.seg",
            "values-ffffffffffffffff.seg",
            "values-00000000DEADBEEF.seg",
            "values-+0000000deadbeef.seg",
        ] {
            assert_eq!(FileName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_class_takes_four_of_the_largest_blocks_and_is_small_on_a_small_chain() {
        let class = |blobs_per_block| class_bytes(&Limits { blobs_per_block });
        assert!(class(6) < 16 << 20);
        assert_eq!(class(48), exact(32 << 20));
        for blobs_per_block in [6, 24, 48, 128, 1024] {
            let record_bytes = (u64::from(blobs_per_block) + 1) * 131_072;
            assert!(class(blobs_per_block) >= 4 * record_bytes, "{blobs_per_block}");
        }
    }

    #[test]
    fn a_large_value_always_fits_and_only_what_is_never_freed_makes_segments_larger() {
        let limits = Limits { blobs_per_block: 6 };
        let class = class_bytes(&limits);
        assert_eq!(capacity(class, false, 1 << 40, 4096), class);
        assert_eq!(capacity(class, true, 0, 4096), class);
        assert_eq!(capacity(class, true, 1 << 40, 4096), 512 << 20);
        let value_bytes = limits.value_bytes() as u64 * 8;
        assert_eq!(capacity(class, false, 0, value_bytes), exact(value_bytes));
    }
}
