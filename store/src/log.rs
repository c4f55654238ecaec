//! This file knows the bytes of a consensus log file, and how to read one back after a crash.
//!
//! ```text
//!   │ header page │ frame 0: header 48, records…, 0… │ frame 1 … │
//! ```
//! A *frame* is what one sync made durable. It begins on a page of its own, so no durable page is ever written again.
//! One checksum covers all its records, so a crash within a sync loses the whole frame or nothing. Sans-io. FORMAT.md
//! draws every field.

use std::ops::Range;

use bytes::Bytes;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::storage::LogEpoch;
use ultramarine_types::{ChainIdentity, Height};

use crate::format::{Fields, Lineage, PAGE_BYTES, STORE_VERSION, crc32c, open_header, whole_pages};

#[cfg(test)]
mod tests;

/// First eight bytes of a log file.
pub const LOG_MAGIC: [u8; 8] = *b"ULTRLOG\0";
/// First four bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"ULFR";
/// Where the first frame begins: behind the header page.
pub const LOG_FIRST_FRAME: u64 = PAGE_BYTES;
/// Bytes of a frame's header, checksum included.
pub const FRAME_HEADER_BYTES: usize = 48;
/// Zero bytes between a frame header's last field and its checksum.
const FRAME_RESERVED_BYTES: usize = FRAME_HEADER_BYTES - 4 - 40;

const _: () = assert!(
    FRAME_HEADER_BYTES <= PAGE_BYTES as usize,
    "a frame's header fits its page"
);

/// The first page of a log file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogHeader {
    /// Height and generation of every frame behind it.
    pub epoch: LogEpoch,
    /// Drawn when this use of the file began; every frame repeats it.
    pub salt: u64,
    /// The chain it belongs to.
    pub chain: ChainIdentity,
}

impl LogHeader {
    /// What its frames carry.
    pub const fn lineage(&self) -> Lineage {
        Lineage {
            generation: self.epoch.generation,
            salt: self.salt,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut page = Fields::default();
        page.bytes(&LOG_MAGIC)
            .u16(STORE_VERSION)
            .pad_to(16)
            .u64(self.epoch.generation)
            .u64(self.salt)
            .u64(self.epoch.height.0)
            .bytes(&self.chain.0);
        page.into_header_page()
    }

    /// Reads the page; `None` if it is no log header of this version or damaged.
    pub fn decode(page: &[u8]) -> Option<Self> {
        let (version, mut fields) = open_header(page, &LOG_MAGIC)?;
        if version != STORE_VERSION {
            return None;
        }
        fields.slice(6)?;
        let (generation, salt) = (fields.u64()?, fields.u64()?);
        let epoch = LogEpoch {
            generation,
            height: Height(fields.u64()?),
        };
        Some(Self {
            epoch,
            salt,
            chain: ChainIdentity(fields.array()?),
        })
    }
}

/// Lays records out as one frame in whole pages.
pub fn encode_frame(lineage: Lineage, sequence: u64, records: &[Bytes]) -> Vec<u8> {
    let body_bytes: usize = records.iter().map(|record| 4 + record.len()).sum();
    let mut frame = Fields(Vec::with_capacity(
        FRAME_HEADER_BYTES + body_bytes + PAGE_BYTES as usize,
    ));
    let count =
        |length: usize| u32::try_from(length).expect("log records are bounded by types/limits.rs, far below 4 GiB");
    frame
        .bytes(&FRAME_MAGIC)
        .u16(STORE_VERSION)
        .u16(0)
        .u64(lineage.generation)
        .u64(lineage.salt)
        .u64(sequence)
        .u32(count(records.len()))
        .u32(count(body_bytes))
        .pad_to(FRAME_HEADER_BYTES);
    for record in records {
        frame.u32(count(record.len())).bytes(record);
    }
    let mut frame = frame.0;
    assert_eq!(
        frame.len(),
        FRAME_HEADER_BYTES + body_bytes,
        "the body is as long as its header says"
    );
    let crc = frame_crc(&frame);
    frame[FRAME_HEADER_BYTES - 4..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let pages = whole_pages(frame.len() as u64);
    frame.resize(usize::try_from(pages).expect("a frame fits memory"), 0);
    frame
}

/// Covers header and body, the checksum's own field excepted.
fn frame_crc(frame: &[u8]) -> u32 {
    #[cfg(test)]
    tests::CHECKED_BYTES.with(|bytes| bytes.set(bytes.get() + frame.len() as u64));
    let mut covered = Vec::with_capacity(frame.len());
    covered.extend_from_slice(&frame[..FRAME_HEADER_BYTES - 4]);
    covered.extend_from_slice(&frame[FRAME_HEADER_BYTES..]);
    crc32c(&covered)
}

/// One frame as read back.
struct Frame {
    lineage: Lineage,
    sequence: u64,
    records: Vec<Bytes>,
    frame_bytes: u64,
}

/// A frame's header. Only the frame's checksum says whether it is whole.
struct FrameHeader {
    lineage: Lineage,
    sequence: u64,
    records_count: u32,
    body_bytes: u32,
    crc: u32,
}

impl FrameHeader {
    /// Reads what stands at a page; `None` if no frame of this version begins there.
    fn decode(file: &[u8], at: u64) -> Option<Self> {
        let mut fields = Cursor::new(file.get(usize::try_from(at).ok()?..)?);
        if fields.array()? != FRAME_MAGIC || fields.u16()? != STORE_VERSION {
            return None;
        }
        fields.u16()?;
        let lineage = Lineage {
            generation: fields.u64()?,
            salt: fields.u64()?,
        };
        let (sequence, records_count, body_bytes) = (fields.u64()?, fields.u32()?, fields.u32()?);
        fields.slice(FRAME_RESERVED_BYTES)?;
        Some(Self {
            lineage,
            sequence,
            records_count,
            body_bytes,
            crc: fields.u32()?,
        })
    }
}

/// Reads the frame at a page; `None` if there is no whole one.
fn decode_frame(file: &Bytes, at: u64) -> Option<Frame> {
    let header = FrameHeader::decode(file, at)?;
    let start = usize::try_from(at).ok()?;
    let end = start
        .checked_add(FRAME_HEADER_BYTES)?
        .checked_add(header.body_bytes as usize)?;
    if frame_crc(file.get(start..end)?) != header.crc {
        return None;
    }
    let mut at = start + FRAME_HEADER_BYTES;
    let mut records = Vec::new();
    for _ in 0..header.records_count {
        let length = Cursor::new(file.get(at..end)?).u32()? as usize;
        let (from, to) = (at + 4, at.checked_add(4)?.checked_add(length)?);
        if to > end {
            return None;
        }
        records.push(file.slice(from..to));
        at = to;
    }
    (at == end).then_some(Frame {
        lineage: header.lineage,
        sequence: header.sequence,
        records,
        frame_bytes: whole_pages((end - start) as u64),
    })
}

/// What a log file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FoundLog {
    /// Every frame is whole; at most a torn one was cut off the end.
    Whole(Vec<Bytes>),
    /// A frame is damaged, and a later one of the same generation was begun behind it.
    Corrupt,
    /// This is not the file of that epoch, or its header is damaged.
    Missing,
}

/// Reads back the log of an epoch from the content of a file that should be it.
pub fn read(file: &Bytes, epoch: LogEpoch, chain: ChainIdentity) -> FoundLog {
    let Some(walked) = Walked::through(file, epoch, chain) else {
        return FoundLog::Missing;
    };
    // Nobody else knows the salt. So whatever has it was begun by the writer, who begins no frame before the one before
    // it is durable: the one that is missing here was, be the later one whole or torn. Looking at headers alone also
    // takes no more steps than the file has pages, whatever lengths they claim.
    let pages = (walked.end + PAGE_BYTES..file.len() as u64).step_by(PAGE_BYTES as usize);
    let mut behind = pages.filter_map(|page| FrameHeader::decode(file, page));
    if behind.any(|frame| frame.lineage == walked.lineage && frame.sequence >= walked.sequence) {
        return FoundLog::Corrupt;
    }
    FoundLog::Whole(walked.records)
}

/// Where the frame behind the last whole one would lie. If a page there cannot be read, nobody knows whether one does.
/// `None` if this is not the file of that epoch.
pub fn next_frame(file: &Bytes, epoch: LogEpoch, chain: ChainIdentity) -> Option<Range<u64>> {
    let walked = Walked::through(file, epoch, chain)?;
    let header = FrameHeader::decode(file, walked.end)
        .filter(|header| header.lineage == walked.lineage && header.sequence == walked.sequence);
    let bytes = FRAME_HEADER_BYTES as u64 + header.map_or(0, |header| u64::from(header.body_bytes));
    Some(walked.end..walked.end + whole_pages(bytes))
}

/// The whole frames of an epoch's log, up to the first that is not whole.
struct Walked {
    lineage: Lineage,
    records: Vec<Bytes>,
    /// Behind the last of them.
    end: u64,
    sequence: u64,
}

impl Walked {
    fn through(file: &Bytes, epoch: LogEpoch, chain: ChainIdentity) -> Option<Self> {
        let header = LogHeader::decode(file).filter(|header| header.epoch == epoch && header.chain == chain);
        let mut walked = Self {
            lineage: header?.lineage(),
            records: Vec::new(),
            end: LOG_FIRST_FRAME,
            sequence: 0,
        };
        while let Some(frame) = decode_frame(file, walked.end)
            .filter(|frame| frame.lineage == walked.lineage && frame.sequence == walked.sequence)
        {
            assert!(frame.frame_bytes > 0, "every frame leads further");
            walked.records.extend(frame.records);
            walked.end += frame.frame_bytes;
            walked.sequence += 1;
        }
        Some(walked)
    }
}
