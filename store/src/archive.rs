//! This file knows what an archive is: objects, each with a span of decided heights, named by what they hold.
//!
//! ```text
//!   CHAIN IDENTITY/00000000000000000001-00000000000000000064.uarc
//!   ┌────────┬──────────────┬──────────┬──────────┬───
//!   │ header │ index: a row │ height 1 │ height 2 │ …     object.rs: header, index
//!   │ 96     │ a height     │          │          │        height.rs: what stands of one height
//!   └────────┴──────────────┴──────────┴──────────┴───
//! ```
//!
//! - A *span* is the heights of one object, one after the other.
//! - The *manifest* is the list of the objects' names: nothing is ever changed in place, so nothing can go out of date.
//!
//! Objects may overlap: two nodes may share an archive, and an upload may be cut short and begun again. Any whole
//! object that has a height will do. ARCHIVE.md draws the bytes.
//!
//! Sans-io: whoever uses it says where the bytes come from. It believes nothing that it reads: every byte is under a
//! checksum, and every byte of a value under the hashes that its certificate binds.

pub mod builder;
pub mod height;
pub mod object;
pub mod span;

#[cfg(test)]
mod tests;

pub use builder::{SpanBuilder, SpanObject};
pub use height::{ArchivedHeight, HeightFlaw};
pub use object::{ArchiveIndex, ArchiveRow, ObjectError};
pub use span::HeightSpan;

use ultramarine_types::limits::{
    BLOB_BYTES, BLOBS_PER_BLOCK_MAX, INIT_BYTES_MAX, LISTS_BYTES_MAX, PAYLOAD_BYTES_MAX, VALIDATORS_MAX,
};

/// Most heights of one object. Its index is 16 KiB then.
pub const SPAN_HEIGHTS_MAX: u32 = 256;
/// An object takes no further height that would make it larger than this. One height alone may.
pub const SPAN_BYTES_MAX: u64 = 64 << 20;
/// The largest height: its blobs with their checksums, lists, payload, metadata and certificate.
pub const HEIGHT_BYTES_MAX: u64 = BLOBS_PER_BLOCK_MAX as u64 * (BLOB_BYTES as u64 + 4)
    + (LISTS_BYTES_MAX + PAYLOAD_BYTES_MAX + INIT_BYTES_MAX) as u64
    + VALIDATORS_MAX as u64 * 84
    + 1024;
/// The largest object. Who lists a larger one does not fetch it.
pub const OBJECT_BYTES_MAX: u64 = if SPAN_BYTES_MAX > HEIGHT_BYTES_MAX {
    SPAN_BYTES_MAX
} else {
    HEIGHT_BYTES_MAX
} + object::HEADER_BYTES as u64
    + SPAN_HEIGHTS_MAX as u64 * object::ROW_BYTES as u64;
