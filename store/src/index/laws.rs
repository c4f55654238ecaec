//! This file knows what the index's decoders owe to any bytes; `tests/laws.rs` says it of the others.

use std::fmt::Debug;

use ultramarine_types::storage::{Blobs, LogEpoch};
use ultramarine_types::{CommitCertificate, Evidence, Height, Init};

use super::MARK_HEAD;
use super::rows::{
    decode_epoch, decode_evidence, decode_floor, decode_head, decode_location, decode_row, decode_segment,
    encode_epoch, encode_evidence, encode_floor, encode_head, encode_location, encode_row, encode_segment, seal_mark,
};
use super::tallies::RowTallies;
use crate::index::{DecidedRow, LocationRow};
use crate::ledger::SegmentRow;
use crate::segment::{Class, Location, Position, SegmentId};

/// Kinds of rows.
pub(crate) const KINDS: u8 = 8;

/// The position in a row of the `floor` mark.
pub(crate) fn floor(bytes: &[u8]) -> Option<Position> {
    decode_floor(bytes)
}

/// The keys of the rows.
const HEIGHT: Height = Height(7);
const SEGMENT: SegmentId = SegmentId(3);

/// A row of one of the kinds: whether it is taken, as it is or without its checksum.
pub(crate) fn row(kind: u8, bytes: &[u8]) -> bool {
    let taken = read_row(kind, bytes);
    without_checksum(kind, bytes).is_some_and(|bytes| read_row(kind, &bytes)) || taken
}

/// The row as it would be from before rows had checksums.
fn without_checksum(kind: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let (row, _) = bytes.split_last_chunk::<4>()?;
    let mut row = row.to_vec();
    if kind % KINDS == 3 {
        *row.get_mut(1)? = 0;
    }
    Some(row)
}

fn read_row(kind: u8, bytes: &[u8]) -> bool {
    match kind % KINDS {
        0 => comes_back(
            bytes,
            |bytes| decode_location(HEIGHT, bytes),
            |row| encode_location(HEIGHT, row),
        ),
        1 => comes_back(bytes, decode_epoch, |epoch| encode_epoch(*epoch)),
        2 => comes_back(bytes, decode_floor, |floor| encode_floor(*floor)),
        3 => comes_back(
            bytes,
            |bytes| decode_row(HEIGHT, bytes).map(|found| found.row),
            encode_row,
        ),
        4 => comes_back(bytes, |bytes| decode_evidence(&[], bytes), encode_evidence),
        5 => comes_back(
            bytes,
            |bytes| RowTallies::decode(bytes, &RowTallies::default()),
            RowTallies::encode,
        ),
        7 => comes_back(bytes, decode_head, |(certificate, init)| head_row(certificate, init)),
        _ => comes_back(
            bytes,
            |bytes| decode_segment(SEGMENT, bytes),
            |row| encode_segment(SEGMENT, row),
        ),
    }
}

fn comes_back<T: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Option<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let row = decode(bytes);
    if let Some(row) = &row {
        assert_eq!(decode(&encode(row)).as_ref(), Some(row));
    }
    row.is_some()
}

fn head_row(certificate: &CommitCertificate, init: &Init) -> Vec<u8> {
    seal_mark(MARK_HEAD, encode_head(certificate, init))
}

/// Rows of one of the kinds, as a store writes them.
#[cfg_attr(fuzzing, allow(dead_code, reason = "a test writes the seeds"))]
pub(crate) fn samples(kind: u8, certificate: &CommitCertificate, init: &Init, evidence: &Evidence) -> Vec<Vec<u8>> {
    let (segment, offset, bytes) = (SEGMENT, 4096, 8192);
    match kind % KINDS {
        0 => [Blobs::Held, Blobs::Pruned, Blobs::NeverHeld]
            .map(|blobs| {
                let location = Location { segment, offset, bytes };
                let row = LocationRow {
                    location,
                    blobs,
                    since: 1_700_000_000,
                };
                encode_location(HEIGHT, &row)
            })
            .into(),
        1 => {
            let height = Height(8);
            vec![encode_epoch(LogEpoch { height, generation: 3 })]
        }
        2 => vec![encode_floor(Position {
            segment,
            offset: 2 * offset,
            sequence: 1,
        })],
        3 => vec![encode_row(&DecidedRow::new(certificate.clone(), init))],
        4 => vec![encode_evidence(evidence)],
        5 => vec![RowTallies::default().encode()],
        7 => vec![head_row(certificate, init)],
        _ => [Class::Values, Class::Payloads]
            .map(|class| {
                let row = SegmentRow {
                    class,
                    sealed: class == Class::Values,
                    lowest: Height(3),
                    highest: Height(7),
                    heights_count: 4,
                    live_bytes: 4 * bytes,
                    end: offset + 5 * bytes,
                    untried: Height(5),
                };
                encode_segment(SEGMENT, &row)
            })
            .into(),
    }
}
