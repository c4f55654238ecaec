//! This part of the index knows the bytes of its rows. FORMAT.md lists them.

use ultramarine_types::canonical::Cursor;
use ultramarine_types::storage::{Blobs, LogEpoch};
use ultramarine_types::{CommitCertificate, Evidence, Hash, Height, Init, ValueKey};

use super::{LocationRow, MARK_HEAD};
use crate::format::{Fields, PAGE_BYTES, STORE_VERSION, crc32c};
use crate::ledger::SegmentRow;
use crate::record::RECORD_BYTES_MAX;
use crate::segment::{Class, Location, Position, SegmentId};

/// A row of `decided`: what is asked of a height without its record. The `Init` lies in the record alone.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct DecidedRow {
    pub certificate: CommitCertificate,
    /// The execution block's.
    pub block_hash: Hash,
    /// The block's time in unix seconds.
    pub timestamp: u64,
    /// Blobs that its metadata names.
    pub blobs_count: u32,
}

impl DecidedRow {
    pub fn new(certificate: CommitCertificate, init: &Init) -> Self {
        let metadata = &init.metadata;
        Self {
            certificate,
            block_hash: metadata.header.block_hash,
            timestamp: metadata.header.timestamp,
            blobs_count: metadata.blobs_count,
        }
    }

    /// Whether it is the row of a value with this `Init`.
    pub fn is_of(&self, init: &Init) -> bool {
        let metadata = &init.metadata;
        self.block_hash == metadata.header.block_hash
            && self.timestamp == metadata.header.timestamp
            && self.blobs_count == metadata.blobs_count
    }

    pub const fn key(&self) -> ValueKey {
        ValueKey {
            height: self.certificate.height,
            id: self.certificate.value_id,
        }
    }
}

/// A row as it was when it had the `Init` as well, and the `head` mark.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct RowWithInit {
    certificate: CommitCertificate,
    init: Init,
}

/// What a row of `decided` says.
pub(super) struct FoundRow {
    pub row: DecidedRow,
    /// Only an older row has it.
    pub init: Option<Init>,
}

pub(super) fn encode_row(row: &DecidedRow) -> Vec<u8> {
    let archive = rkyv::to_bytes::<rkyv::rancor::Error>(row).expect("an archive in memory cannot fail to be written");
    sealed(&row.certificate.height.0.to_le_bytes(), versioned(ROW_LEAN, &archive))
}

/// A row as version 2 of the index wrote it.
#[cfg(test)]
pub(crate) fn encode_row_with_init(certificate: &CommitCertificate, init: &Init) -> Vec<u8> {
    let archive = archive_with_init(certificate, init);
    sealed(&certificate.height.0.to_le_bytes(), versioned(ROW_CHECKED, &archive))
}

pub(super) fn decode_row(height: Height, bytes: &[u8]) -> Option<FoundRow> {
    let key = height.0.to_le_bytes();
    let found = if bytes.starts_with(&ROW_LEAN.to_le_bytes()) {
        let archive = aligned(unsealed(&key, bytes)?.get(2..)?);
        let row = rkyv::from_bytes::<DecidedRow, rkyv::rancor::Error>(&archive).ok()?;
        FoundRow { row, init: None }
    } else {
        let archive = archive_of(&key, bytes)?;
        let RowWithInit { certificate, init } = rkyv::from_bytes::<_, rkyv::rancor::Error>(&archive).ok()?;
        let row = DecidedRow::new(certificate, &init);
        FoundRow { row, init: Some(init) }
    };
    (found.row.certificate.height == height).then_some(found)
}

/// The same of a row that says by a checksum that it is whole.
pub(super) fn decode_checked_row(height: Height, bytes: &[u8]) -> Option<FoundRow> {
    let is_checked = [ROW_CHECKED, ROW_LEAN]
        .iter()
        .any(|version| bytes.starts_with(&version.to_le_bytes()));
    is_checked.then(|| decode_row(height, bytes))?
}

/// A row whose key is a digest of it needs no other checksum.
pub(super) fn encode_evidence(evidence: &Evidence) -> Vec<u8> {
    versioned(ROW_PLAIN, &archive_of_evidence(evidence))
}

/// A row of a false value, which has another key. A stranger chose its blob, so a mask stands before it and is in every
/// byte behind: no page of the index has bytes that somebody else chose.
pub(super) fn encode_false_value(key: &[u8], evidence: &Evidence, mask: u64) -> Vec<u8> {
    let mut masked = mask.to_le_bytes().to_vec();
    masked.extend_from_slice(&archive_of_evidence(evidence));
    unmask(&mut masked);
    sealed(key, versioned(ROW_CHECKED, &masked))
}

/// A false value out of its row.
pub(super) fn decode_false_value(key: &[u8], row: &[u8]) -> Option<Evidence> {
    if !row.starts_with(&ROW_CHECKED.to_le_bytes()) {
        return decode_evidence(key, row);
    }
    let mut masked = unsealed(key, row)?.get(2..)?.to_vec();
    unmask(&mut masked);
    rkyv::from_bytes::<Evidence, rkyv::rancor::Error>(&aligned(masked.get(MASK_BYTES..)?)).ok()
}

/// Bytes of a mask.
const MASK_BYTES: usize = 8;

/// Takes the mask in front out of what follows it, or puts it in.
fn unmask(bytes: &mut [u8]) {
    if let Some((mask, bytes)) = bytes.split_first_chunk_mut::<MASK_BYTES>() {
        for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
}

fn archive_of_evidence(evidence: &Evidence) -> rkyv::util::AlignedVec {
    rkyv::to_bytes::<rkyv::rancor::Error>(evidence).expect("an archive in memory cannot fail to be written")
}

pub(super) fn decode_evidence(key: &[u8], bytes: &[u8]) -> Option<Evidence> {
    rkyv::from_bytes::<Evidence, rkyv::rancor::Error>(&archive_of(key, bytes)?).ok()
}

/// A row as it was before rows had checksums.
const ROW_PLAIN: u16 = STORE_VERSION;
/// A row that ends with its checksum.
const ROW_CHECKED: u16 = STORE_VERSION | 0x0100;
/// A row of `decided` that ends with its checksum and has no `Init`.
const ROW_LEAN: u16 = STORE_VERSION | 0x0300;
const _: () = assert!(STORE_VERSION < 0x0100, "the upper byte of a row's version is our own");

fn versioned(version: u16, archive: &[u8]) -> Vec<u8> {
    let mut fields = Fields(Vec::with_capacity(2 + archive.len() + 4));
    fields.u16(version).bytes(archive);
    fields.0
}

/// The archive in a row of this version. Rows lie where redb puts them; an archive is read where it is aligned.
fn archive_of(key: &[u8], row: &[u8]) -> Option<rkyv::util::AlignedVec<16>> {
    let row = match Cursor::new(row).u16()? {
        ROW_PLAIN => row,
        ROW_CHECKED => unsealed(key, row)?,
        _ => return None,
    };
    row.get(2..).map(aligned)
}

fn aligned(archive: &[u8]) -> rkyv::util::AlignedVec<16> {
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(archive.len());
    aligned.extend_from_slice(archive);
    aligned
}

/// Ends a row with a checksum over its key and itself.
fn sealed(key: &[u8], row: Vec<u8>) -> Vec<u8> {
    let crc = row_crc(key, &row);
    let mut fields = Fields(row);
    fields.u32(crc);
    fields.0
}

/// A row without its checksum, which holds.
pub(super) fn unsealed<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (row, crc) = row.split_last_chunk()?;
    (u32::from_le_bytes(*crc) == row_crc(key, row)).then_some(row)
}

fn row_crc(key: &[u8], row: &[u8]) -> u32 {
    crc32c(&[key, row].concat())
}

/// The row of a mark.
pub(super) fn seal_mark(name: &str, mark: Vec<u8>) -> Vec<u8> {
    sealed(name.as_bytes(), mark)
}

/// A mark out of its row. One that is as long as the mark itself is from before rows had checksums.
pub(super) fn open_mark<'a>(name: &str, row: &'a [u8], mark_bytes: usize) -> Option<&'a [u8]> {
    if row.len() == mark_bytes {
        return Some(row);
    }
    unsealed(name.as_bytes(), row).filter(|mark| mark.len() == mark_bytes)
}

/// The `head` mark.
pub(super) fn encode_head(certificate: &CommitCertificate, init: &Init) -> Vec<u8> {
    archive_with_init(certificate, init).to_vec()
}

/// Certificate and `Init` out of the row of the `head` mark, if they are of one value.
pub(super) fn decode_head(row: &[u8]) -> Option<(CommitCertificate, Init)> {
    let archive = aligned(unsealed(MARK_HEAD.as_bytes(), row)?);
    let RowWithInit { certificate, init } = rkyv::from_bytes::<_, rkyv::rancor::Error>(&archive).ok()?;
    let key = ValueKey {
        height: certificate.height,
        id: certificate.value_id,
    };
    (init.key() == key).then_some((certificate, init))
}

fn archive_with_init(certificate: &CommitCertificate, init: &Init) -> rkyv::util::AlignedVec {
    let row = RowWithInit {
        certificate: certificate.clone(),
        init: init.clone(),
    };
    rkyv::to_bytes::<rkyv::rancor::Error>(&row).expect("an archive in memory cannot fail to be written")
}

/// Bytes of a location with the time of its last change, and of one from before that was kept.
const LOCATION_BYTES: usize = 1 + 4 * 8;
const LOCATION_BYTES_WITHOUT_TIME: usize = 1 + 3 * 8;

pub(super) fn encode_location(height: Height, row: &LocationRow) -> Vec<u8> {
    let mut fields = Fields::default();
    fields
        .u8(match row.blobs {
            Blobs::Held => 1,
            Blobs::Pruned => 2,
            Blobs::NeverHeld => 3,
        })
        .u64(row.location.segment.0)
        .u64(row.location.offset)
        .u64(row.location.bytes)
        .u64(row.since);
    assert_eq!(fields.0.len(), LOCATION_BYTES, "the fields of a location");
    sealed(&height.0.to_le_bytes(), fields.0)
}

pub(super) fn decode_location(height: Height, bytes: &[u8]) -> Option<LocationRow> {
    // Rows from before they had checksums are shorter.
    let bytes = match bytes.len() {
        LOCATION_BYTES | LOCATION_BYTES_WITHOUT_TIME => bytes,
        _ => unsealed(&height.0.to_le_bytes(), bytes)?,
    };
    let mut fields = Cursor::new(bytes);
    let blobs = match fields.u8()? {
        1 => Blobs::Held,
        2 => Blobs::Pruned,
        3 => Blobs::NeverHeld,
        _ => return None,
    };
    let location = Location {
        segment: SegmentId(fields.u64()?),
        offset: fields.u64()?,
        bytes: fields.u64()?,
    };
    // A file is no longer than the kernel can say.
    let is_record = location.offset.is_multiple_of(PAGE_BYTES)
        && location.bytes.is_multiple_of(PAGE_BYTES)
        && location.bytes <= RECORD_BYTES_MAX
        && i64::try_from(location.offset.checked_add(location.bytes)?).is_ok()
        && location.segment.is_counted();
    is_record.then_some(())?;
    let since = if fields.rest().is_empty() { 0 } else { fields.u64()? };
    Some(LocationRow { location, blobs, since })
}

pub(super) fn encode_epoch(epoch: LogEpoch) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.u64(epoch.height.0).u64(epoch.generation);
    fields.0
}

pub(super) fn decode_epoch(bytes: &[u8]) -> Option<LogEpoch> {
    let mut fields = Cursor::new(bytes);
    Some(LogEpoch {
        height: Height(fields.u64()?),
        generation: fields.u64()?,
    })
}

pub(super) fn encode_floor(floor: Position) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.u64(floor.segment.0).u64(floor.offset).u64(floor.sequence);
    fields.0
}

pub(super) fn decode_floor(bytes: &[u8]) -> Option<Position> {
    let mut fields = Cursor::new(bytes);
    let floor = Position {
        segment: SegmentId(fields.u64()?),
        offset: fields.u64()?,
        sequence: fields.u64()?,
    };
    // A record begins on a page behind the header, and each before it takes a page at least.
    let is_sound = floor.offset.is_multiple_of(PAGE_BYTES)
        && i64::try_from(floor.offset).is_ok()
        && floor.sequence < floor.offset / PAGE_BYTES
        && floor.segment.is_counted();
    is_sound.then_some(floor)
}

pub(super) fn encode_archived(through: Height, from: Height) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.u64(through.0).u64(from.0);
    fields.0
}

/// Through which height the archive has everything, and from which on it has blobs.
pub(super) fn decode_archived(bytes: &[u8]) -> Option<(Height, Height)> {
    let mut fields = Cursor::new(bytes);
    Some((Height(fields.u64()?), Height(fields.u64()?)))
}

/// Bytes of what is said of a segment.
const SEGMENT_BYTES: usize = 2 + 6 * 8;

pub(super) fn encode_segment(id: SegmentId, row: &SegmentRow) -> Vec<u8> {
    let mut fields = Fields::default();
    fields
        .u8(match row.class {
            Class::Values => 1,
            Class::Payloads => 2,
        })
        .u8(if row.sealed { 2 } else { 1 })
        .u64(row.lowest.0)
        .u64(row.highest.0)
        .u64(row.heights_count)
        .u64(row.live_bytes)
        .u64(row.end)
        .u64(row.untried.0);
    assert_eq!(fields.0.len(), SEGMENT_BYTES, "the fields of a segment");
    sealed(&id.0.to_le_bytes(), fields.0)
}

pub(super) fn decode_segment(id: SegmentId, bytes: &[u8]) -> Option<SegmentRow> {
    // Rows from before they had checksums are shorter.
    let bytes = match bytes.len() {
        SEGMENT_BYTES => bytes,
        _ => unsealed(&id.0.to_le_bytes(), bytes)?,
    };
    let mut fields = Cursor::new(bytes);
    let class = match fields.u8()? {
        1 => Class::Values,
        2 => Class::Payloads,
        _ => return None,
    };
    let is_sealed = match fields.u8()? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let row = SegmentRow {
        class,
        sealed: is_sealed,
        lowest: Height(fields.u64()?),
        highest: Height(fields.u64()?),
        heights_count: fields.u64()?,
        live_bytes: fields.u64()?,
        end: fields.u64()?,
        untried: Height(fields.u64()?),
    };
    // Sums of them are taken, and the next height is counted from the highest.
    let is_sound = row.lowest <= row.highest
        && row.highest.0 < u64::MAX
        && row.live_bytes.is_multiple_of(PAGE_BYTES)
        && row.live_bytes <= row.end
        && row.end < 1 << 48;
    is_sound.then_some(row)
}

#[cfg(test)]
mod tests {
    use ultramarine_types::storage::BlobState;

    use super::*;
    use crate::index::tallies::RowTallies;

    #[track_caller]
    fn assert_row(row: &[u8], golden: &[&str]) {
        assert_eq!(hex::encode(row), golden.concat());
    }

    #[test]
    fn rows_of_numbers_have_these_bytes() {
        let location = Location {
            segment: SegmentId(0x0102),
            offset: 0x3000,
            bytes: 0x4000,
        };
        for (blobs, code, crc) in [
            (Blobs::Held, "01", "83d31a60"),
            (Blobs::Pruned, "02", "f2ae518e"),
            (Blobs::NeverHeld, "03", "dd8568d4"),
        ] {
            let since = 0x0506;
            let row = encode_location(Height(7), &LocationRow { location, blobs, since });
            let numbers = ["0201000000000000", "0030000000000000", "0040000000000000"].concat();
            assert_row(&row, &[code, &numbers, "0605000000000000", crc]);
        }
        let epoch = LogEpoch {
            height: Height(0x0102),
            generation: 0x0304,
        };
        assert_row(&encode_epoch(epoch), &["0201000000000000", "0403000000000000"]);
        let floor = Position {
            segment: SegmentId(0x0102),
            offset: 0x3000,
            sequence: 2,
        };
        assert_row(
            &encode_floor(floor),
            &["0201000000000000", "0030000000000000", "0200000000000000"],
        );
        let row = SegmentRow {
            class: Class::Values,
            sealed: true,
            lowest: Height(0x0102),
            highest: Height(0x0304),
            heights_count: 0x0506,
            live_bytes: 0x7000,
            end: 0x9000,
            untried: Height(0x0a0b),
        };
        let numbers = [
            "0201000000000000",
            "0403000000000000",
            "0605000000000000",
            "0070000000000000",
            "0090000000000000",
            "0b0a000000000000",
        ]
        .concat();
        let id = SegmentId(0x0102);
        assert_row(&encode_segment(id, &row), &["01", "02", &numbers, "73ed96fa"]);
        let growing = SegmentRow {
            class: Class::Payloads,
            sealed: false,
            ..row
        };
        assert_row(&encode_segment(id, &growing), &["02", "01", &numbers, "ae351890"]);
        let mut tallies = RowTallies::default();
        let states = [
            BlobState::Decided,
            BlobState::Archived,
            BlobState::Pruned,
            BlobState::NeverHeld,
        ];
        for (number, state) in (1..).zip(states) {
            let tally = tallies.states.of_mut(state);
            (tally.heights, tally.bytes) = (number, number << 12);
        }
        let tally = |number: u8| format!("0{number}0000000000000000{number}0000000000000");
        assert_row(&tallies.encode(), &[&tally(1), &tally(2), &tally(3), &tally(4)]);
    }
}
