//! This part of the record knows the `Init` in it, which is read by itself as well.

use ultramarine_types::Init;

use super::{RecordError, RecordHeader};
use crate::format::crc32c;

/// Reads an `Init` out of the bytes that its record's header names. They are checked by the checksum of them alone.
pub fn decode_init(header: &RecordHeader, bytes: &[u8]) -> Result<Init, RecordError> {
    let is_sound = header.init_crc.is_some_and(|crc| crc.get() == crc32c(bytes));
    let init = read_init(bytes).filter(|_| is_sound).ok_or(RecordError::Body)?;
    if init.key() == header.key {
        Ok(init)
    } else {
        Err(RecordError::Foreign)
    }
}

/// An archive is read where it is aligned; this one is small, so it is copied there.
pub(crate) fn read_init(bytes: &[u8]) -> Option<Init> {
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::from_bytes::<Init, rkyv::rancor::Error>(&aligned).ok()
}

/// The archive of an `Init`.
pub(super) fn archive_init(init: &Init) -> rkyv::util::AlignedVec {
    rkyv::to_bytes::<rkyv::rancor::Error>(init).expect("an archive in memory cannot fail to be written")
}
