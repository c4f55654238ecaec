//! This file knows the primitives every format of the store shares: pages, checksums, fixed-width fields.

use std::hash::{BuildHasher, RandomState};

use crc_fast::{CrcAlgorithm, checksum};
use ultramarine_runtime::medium;
use ultramarine_types::canonical::{Cursor, FORMAT_VERSION};

/// Everything on disk begins at a multiple of this: the unit of O_DIRECT and of the map.
pub const PAGE_BYTES: u64 = medium::PAGE_BYTES as u64;
// What is on disk was laid out for this page, whatever a medium may want one day.
const _: () = assert!(PAGE_BYTES == 4096, "the page is part of the format: see FORMAT.md");

/// CRC32C (Castagnoli): 5 µs for 128 KiB with the CPU's carry-less multiply.
pub fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm yields 32 bits in the low half of a u64.
    (checksum(CrcAlgorithm::Crc32Iscsi, bytes) & u64::from(u32::MAX)) as u32
}

/// Rounds a byte count up to whole pages.
pub const fn whole_pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES
}

/// Tells the records of one use of a file from everything else its pages may hold.
///
/// Files are recycled and blobs are page-aligned, so a stale page may hold bytes that a stranger chose, a whole record
/// of a later generation among them. The salt is drawn when a file is begun and leaves the machine in no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lineage {
    /// Counts uses of files.
    pub generation: u64,
    /// Drawn from the operating system's randomness.
    pub salt: u64,
}

impl Lineage {
    /// A new use of a file.
    pub fn begin(generation: u64) -> Self {
        // The standard library seeds each `RandomState` from the operating system's randomness.
        let salt = RandomState::new().hash_one(generation);
        Self { generation, salt }
    }
}

/// The version of every header, row and record of the store.
pub const STORE_VERSION: u16 = 2;
const _: () = assert!(
    STORE_VERSION as u32 == FORMAT_VERSION,
    "all formats of ours have one version"
);
/// Bytes of a file's header page that its checksum covers, and behind which the checksum stands. They were as many in
/// version 1, so a header of that version is told from a damaged one.
pub(crate) const FILE_HEADER_BYTES: usize = 80;
const _: () = assert!(
    FILE_HEADER_BYTES + 4 <= PAGE_BYTES as usize,
    "a file's header fits its page"
);

/// The version in a file's header page and the fields behind it; `None` if the page has another magic or is damaged.
pub(crate) fn open_header<'a>(page: &'a [u8], magic: &[u8; 8]) -> Option<(u16, Cursor<'a>)> {
    let covered = page.get(..FILE_HEADER_BYTES)?;
    if Cursor::new(page.get(FILE_HEADER_BYTES..)?).u32()? != crc32c(covered) {
        return None;
    }
    let mut fields = Cursor::new(covered);
    if fields.array()? != *magic {
        return None;
    }
    Some((fields.u16()?, fields))
}

/// Writes little-endian fields one after the other.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub Vec<u8>);

impl Fields {
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub fn pad_to(&mut self, bytes: usize) -> &mut Self {
        assert!(bytes >= self.0.len(), "padding cuts nothing off");
        self.0.resize(bytes, 0);
        self
    }
    /// Ends a file's header: its checksum, and zeros to the end of the page.
    pub fn into_header_page(mut self) -> Vec<u8> {
        self.pad_to(FILE_HEADER_BYTES);
        let crc = crc32c(&self.0);
        self.u32(crc).pad_to(PAGE_BYTES as usize);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32/ISCSI in every catalogue of CRCs.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn pages_are_rounded_up() {
        assert_eq!([0, 1, 4095, 4096, 4097].map(whole_pages), [0, 4096, 4096, 4096, 8192]);
    }
}
