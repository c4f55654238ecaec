//! This file knows what the index's decoders owe to any bytes; `tests/laws.rs` says it of the others.

use std::fmt::Debug;

use ultramarine_types::storage::{Blobs, LogEpoch};
use ultramarine_types::{CommitCertificate, Evidence, Height, Init};

use super::rows::{
    decode_epoch, decode_evidence, decode_floor, decode_location, decode_row, decode_segment, encode_epoch,
    encode_evidence, encode_floor, encode_location, encode_row, encode_segment,
};
use super::tallies::RowTallies;
use crate::index::LocationRow;
use crate::ledger::SegmentRow;
use crate::segment::{Class, Location, Position, SegmentId};

/// Kinds of rows.
pub(crate) const KINDS: u8 = 7;

/// The position in a row of the `floor` mark.
pub(crate) fn floor(bytes: &[u8]) -> Option<Position> {
    decode_floor(bytes)
}

/// A row of one of the kinds: whether it is taken.
pub(crate) fn row(kind: u8, bytes: &[u8]) -> bool {
    match kind % KINDS {
        0 => comes_back(bytes, decode_location, encode_location),
        1 => comes_back(bytes, decode_epoch, |epoch| encode_epoch(*epoch)),
        2 => comes_back(bytes, decode_floor, |floor| encode_floor(*floor)),
        3 => comes_back(
            bytes,
            |bytes| decode_row(bytes).map(|row| (row.certificate, row.init)),
            |(certificate, init)| encode_row(certificate, init),
        ),
        4 => comes_back(bytes, decode_evidence, encode_evidence),
        5 => comes_back(
            bytes,
            |bytes| RowTallies::decode(bytes, &RowTallies::default()),
            RowTallies::encode,
        ),
        _ => comes_back(bytes, decode_segment, encode_segment),
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

/// Rows of one of the kinds, as a store writes them.
#[cfg_attr(fuzzing, allow(dead_code, reason = "a test writes the seeds"))]
pub(crate) fn samples(kind: u8, certificate: &CommitCertificate, init: &Init, evidence: &Evidence) -> Vec<Vec<u8>> {
    let (segment, offset, bytes) = (SegmentId(3), 4096, 8192);
    match kind % KINDS {
        0 => [Blobs::Held, Blobs::Pruned, Blobs::NeverHeld]
            .map(|blobs| {
                let location = Location { segment, offset, bytes };
                encode_location(&LocationRow {
                    location,
                    blobs,
                    since: 1_700_000_000,
                })
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
        3 => vec![encode_row(certificate, init)],
        4 => vec![encode_evidence(evidence)],
        5 => vec![RowTallies::default().encode()],
        _ => [Class::Values, Class::Payloads]
            .map(|class| {
                encode_segment(&SegmentRow {
                    class,
                    sealed: class == Class::Values,
                    lowest: Height(5),
                    highest: Height(8),
                    heights_count: 4,
                    live_bytes: bytes,
                    end: offset + 2 * bytes,
                    untried: Height(6),
                })
            })
            .into(),
    }
}
