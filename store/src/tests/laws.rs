//! This file knows what every decoder of the store owes to any bytes: a refusal, or an answer that holds together. The
//! fuzz targets and the tests run the same functions.
//!
//! A checksum would keep nearly every input from what stands behind it, so each law also mends the checksums and looks
//! again. Each function says whether anything was taken, and panics where a law is broken.

use std::num::NonZeroU32;

use bytes::Bytes;
use ultramarine_types::Height;
use ultramarine_types::limits::BLOB_BYTES;

use crate::format::{FILE_HEADER_BYTES, Lineage, PAGE_BYTES, crc32c};
use crate::log::{self, FRAME_HEADER_BYTES, FRAME_MAGIC, FoundLog, LogHeader, encode_frame};
use crate::record::{self, CheckDepth, RECORD_HEADER_BYTES, RECORD_MAGIC, RecordContent, RecordError, RecordHeader};
use crate::scan::{Image, scan};
use crate::segment::{Class, FileName, Location, Position, SegmentHeader, SegmentId, free_file_name};

/// What the records and frames of the seeds carry.
pub const LINEAGE: Lineage = Lineage {
    generation: 3,
    salt: 0x1122_3344_5566_7788,
};
const PAGE: usize = PAGE_BYTES as usize;

/// Any bytes, as a record: refused, or a value of which the same record is written.
pub fn record(bytes: &[u8]) -> bool {
    let taken = read_record(bytes);
    mended_record(bytes).is_some_and(|mended| read_record(&mended)) || taken
}

fn read_record(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(header) = RecordHeader::decode(&bytes) {
        assert_eq!(RecordHeader::decode(&header.encode()), Ok(header));
        assert!(
            header.blobs_offset() > header.body_bytes(),
            "the blobs stand behind header and body"
        );
    }
    let body = record::decode(&bytes, CheckDepth::Body);
    let Ok(found) = record::decode(&bytes, CheckDepth::All) else {
        return false;
    };
    let body = body.expect("what is whole has a body");
    assert_eq!(body.header, found.header);
    assert_eq!(body.assembly.init, found.assembly.init);
    assert_eq!(body.assembly.payload, found.assembly.payload);
    let header = found.header;
    let init = bytes.slice(header.init_at() as usize..header.init_end() as usize);
    if header.init_crc.is_some_and(|crc| crc.get() == crc32c(&init)) {
        let init = record::decode_init(&header, &init).expect("the init by itself");
        assert_eq!(init, *found.assembly.init);
    }
    for (index, blob) in (0..).zip(&found.assembly.blobs) {
        assert_eq!(header.blob_crc(&bytes, index), Ok(crc32c(blob)), "one blob by itself");
    }
    let again = record::encode(&found.assembly, header.tag, header.content);
    let mut again = again.expect("what was read can be written");
    again.stamp(header.lineage, header.sequence);
    let again = Bytes::from(again.parts().collect::<Vec<_>>().concat());
    let again = record::decode(&again, CheckDepth::All).expect("what is written is read");
    super::support::assert_same(&again.assembly, &found.assembly);
    true
}

/// The bytes with the checksums and the key that a writer would have given them; `None` if no header is there.
pub(super) fn mended_record(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let header = bytes.get_mut(..RECORD_HEADER_BYTES)?;
    header[..RECORD_MAGIC.len()].copy_from_slice(&RECORD_MAGIC);
    let (covered, crc) = header.split_at_mut(RECORD_HEADER_BYTES - 4);
    crc.copy_from_slice(&crc32c(covered).to_le_bytes());
    let header = RecordHeader::decode(header).ok()?;
    // Blobs that a fuzzer would have to write in full are zeros.
    if header.content == RecordContent::Whole && header.blobs_count <= 2 {
        let record_bytes = usize::try_from(header.record_bytes()).ok()?;
        bytes.resize(bytes.len().max(record_bytes), 0);
    }
    for index in 0..header.blobs_count as usize {
        let at = usize::try_from(header.blobs_offset()).ok()? + index * BLOB_BYTES;
        let crc = crc32c(bytes.get(at..at + BLOB_BYTES)?).to_le_bytes();
        let entry = RECORD_HEADER_BYTES + index * crc.len();
        bytes.get_mut(entry..entry + crc.len())?.copy_from_slice(&crc);
    }
    let end = |bytes: u64| usize::try_from(bytes).ok();
    let body_end = RECORD_HEADER_BYTES + end(header.body_bytes())?;
    let body = bytes.get(RECORD_HEADER_BYTES..body_end)?;
    let table = &body[..end(header.table_end())? - RECORD_HEADER_BYTES];
    let init = bytes.get(end(header.init_at())?..end(header.init_end())?)?;
    let init_crc = header.init_crc.and_then(|_| NonZeroU32::new(crc32c(init)));
    let init = record::read_init(init);
    let header = RecordHeader {
        body_crc: crc32c(body),
        table_crc: NonZeroU32::new(crc32c(table)),
        init_crc,
        key: init.map_or(header.key, |init| init.key()),
        ..header
    };
    bytes[..RECORD_HEADER_BYTES].copy_from_slice(&header.encode());
    Some(bytes)
}

/// Makes the checksum of a file's header page right.
pub(super) fn mend_header_page(page: &mut [u8]) {
    if page.len() >= FILE_HEADER_BYTES + 4 {
        let crc = crc32c(&page[..FILE_HEADER_BYTES]);
        page[FILE_HEADER_BYTES..FILE_HEADER_BYTES + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Any bytes, as the header page of a segment: refused, or a header that reads the same from its own page.
pub fn segment_header(bytes: &[u8]) -> bool {
    let mut mended = bytes.to_vec();
    mend_header_page(&mut mended);
    [bytes, &mended].iter().any(|page| {
        let header = SegmentHeader::decode(page);
        if let Some(header) = &header {
            assert_eq!(SegmentHeader::decode(&header.encode()).as_ref(), Some(header));
        }
        header.is_some()
    })
}

/// Any bytes, as a log file: another's, damaged, or records that read the same from a log that is written of them.
pub fn log_file(bytes: &[u8]) -> bool {
    read_log(bytes) | read_log(&mended_log(bytes))
}

fn read_log(bytes: &[u8]) -> bool {
    let file = Bytes::copy_from_slice(bytes);
    let Some(header) = LogHeader::decode(&file) else {
        return false;
    };
    assert_eq!(LogHeader::decode(&header.encode()), Some(header));
    let next = log::next_frame(&file, header.epoch, header.chain);
    assert!(next.is_none_or(|next| next.start < next.end), "a frame has bytes");
    let records = match log::read(&file, header.epoch, header.chain) {
        FoundLog::Whole(records) => records,
        FoundLog::Corrupt => return false,
        FoundLog::Missing => panic!("it is the log of its own header"),
    };
    let bytes_count: usize = records.iter().map(Bytes::len).sum();
    assert!(bytes_count <= file.len(), "no byte is read twice");
    let mut again = header.encode();
    again.extend(encode_frame(header.lineage(), 0, &records));
    let again = log::read(&again.into(), header.epoch, header.chain);
    assert_eq!(again, FoundLog::Whole(records.clone()));
    !records.is_empty()
}

fn mended_log(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    mend_header_page(&mut file);
    for at in (PAGE..file.len()).step_by(PAGE) {
        mend_frame(&mut file[at..]);
    }
    file
}

/// Makes the checksum of a frame right, if one begins here and is there in full.
pub(super) fn mend_frame(bytes: &mut [u8]) {
    const LENGTH_AT: usize = 36;
    const CRC_AT: usize = FRAME_HEADER_BYTES - 4;
    let Some(length) = bytes.get(LENGTH_AT..LENGTH_AT + 4) else {
        return;
    };
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    if let Some(body) = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length)
        && bytes.starts_with(&FRAME_MAGIC)
    {
        let crc = crc32c(&[&bytes[..CRC_AT], body].concat());
        bytes[CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Any bytes, as a segment file behind a position: a scan ends, and what it finds lies in the file, in order.
///
/// The first byte is the head's height. The next 16 are a position's offset and sequence, as a row of the index has
/// them.
pub fn segment_scan(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_first() else {
        return false;
    };
    let Some((position, image)) = rest.split_first_chunk::<16>() else {
        return false;
    };
    let mut mended = image.to_vec();
    for at in (PAGE..image.len()).step_by(PAGE) {
        if image[at..].starts_with(&RECORD_MAGIC)
            && let Some(record) = mended_record(&image[at..])
        {
            let bytes = record.len().min(mended.len() - at);
            mended[at..at + bytes].copy_from_slice(&record[..bytes]);
        }
    }
    let floor = [&LINEAGE.generation.to_le_bytes()[..], position].concat();
    let floor = crate::index::laws::floor(&floor);
    let mut found = 0;
    for image in [image, &mended] {
        for from in floor
            .into_iter()
            .chain([Position::start_of(SegmentId(LINEAGE.generation))])
        {
            found += scan_from(image, from, Height(u64::from(*head)));
        }
    }
    found > 0
}

fn scan_from(image: &[u8], from: Position, above: Height) -> usize {
    let mut found = Vec::new();
    let mut pages = Image(Bytes::copy_from_slice(image));
    let ended = scan(&mut pages, LINEAGE, from, above, |location, record| {
        assert_eq!(record.header.record_bytes(), location.bytes);
        assert!(record.header.key.height > above);
        found.push(location);
        Ok(())
    });
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            let version = error.downcast::<RecordError>();
            assert!(
                matches!(version, Ok(RecordError::Version { .. })),
                "an image in memory can be read"
            );
            return found.len();
        }
    };
    assert!(found.windows(2).all(|pair| pair[0].end() <= pair[1].offset), "in order");
    let end = found.last().map_or(from.offset, Location::end);
    assert!(end <= ended.at.offset && (found.is_empty() || end <= image.len() as u64));
    for gap in &ended.gaps {
        assert!(gap.from.offset < gap.to.offset && gap.from.sequence < gap.to.sequence);
        assert!(gap.to.offset < ended.at.offset, "a gap ends at a whole record");
    }
    found.len()
}

/// Any text, as the name of a file in the folder of segments: a stranger's, or the one name of its kind and number.
pub fn file_name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Some(name) = FileName::parse(text) else {
        return false;
    };
    let ours = match name {
        FileName::Used(class @ (Class::Values | Class::Payloads), id) => class.file_name(id),
        FileName::Free(id) => free_file_name(id),
    };
    assert_eq!(ours, text, "no file has two names");
    true
}

/// Any bytes behind a number, as a row of the index of that kind: refused, or a row that reads the same from its own
/// bytes.
pub fn index_row(bytes: &[u8]) -> bool {
    bytes
        .split_first()
        .is_some_and(|(kind, row)| crate::index::laws::row(*kind, row))
}
