//! Values on disk: appended once, made durable in groups, served from maps without a copy.
//!
//! ```text
//!              StoreRequest                  ┌────────────── data directory ───────────────┐
//!   net ──┐   ┌──────────────┐  append, sync │ segments/values-*.seg    values, with blobs │◀─ map ─┐
//!   core ─┴──▶│ tile: Writer │──────────────▶│ log-0, log-1, log-2      consensus log      │        │
//!             └──────┬───────┘  transaction  │ index.redb               what was decided   │        │
//!    core ◀──────────┘──────────────────────▶│ segments/payloads-*.seg  payloads, for ever │     ┌──┴───┐
//!          StoreReply                        └─────────────────────────────────────────────┘     │ View │─▶ net, http,
//!                                                                                                └──────┘   core
//! ```
//!
//! - A *record* is one value in a segment.
//! - A *segment* is an append-only file; its number is the *generation* of its records.
//! - The *index* says which value each height decided and where its record lies; a value is *undecided* until then.
//! - A *promotion* is the decision's transaction: an entry in the index, no byte moved.
//! - An *epoch* is the log of one height; its *mark* in the index says which file is to be believed.
//! - A *lease* is what a slice of a map holds on its segment; a leased segment is not recycled.
//! - The *floor* is where recovery begins to look for undecided values.
//!
//! What holds of the whole, and where it is held:
//! - No answer leaves before its bytes are durable, the index names only synced bytes, and nothing is acknowledged
//!   after a failed sync (`writer.rs`).
//! - Once a height is decided, no entry of its other values remains (I10, `view.rs`). Their bytes are counted dead
//!   (`ledger.rs`).
//! - A decided height has its payload (I1). It has its blobs as well, unless it is recorded as pruned or never held
//!   (I2, I6). `tests/decide.rs` and `tests/retention.rs` hold that.
//! - What a map shows never changes while a slice of it lives (`mapped.rs`).
//!
//! [`record`], [`segment`], [`scan`], [`log`] and [`archive`] are sans-io: a simulated disk uses them as they are.
//! FORMAT.md and ARCHIVE.md draw the bytes.
#![deny(unsafe_code)]

mod account;
mod alarms;
mod append;
pub mod archive;
mod archived;
mod birth;
mod check;
mod damage;
mod device;
mod error;
mod failure;
mod file_pages;
mod files;
mod folder;
mod format;
mod hot;
pub mod index;
pub mod journal;
mod ledger;
mod lock;
pub mod log;
pub mod mapped;
mod metrics;
mod open;
mod places;
mod read_so_far;
mod reader;
mod rebuild;
pub mod record;
mod recovery;
mod reserve;
pub mod scan;
pub mod scrub;
pub mod segment;
pub mod tile;
mod view;
mod writer;

#[cfg(test)]
mod tests;
#[cfg(all(fuzzing, not(test)))]
#[path = "tests/fuzzing.rs"]
mod tests;

pub use check::{CheckProgress, check, stats};
pub use damage::{DAMAGED_MAX, DamageFound};
pub use error::{IndexFlaw, OpenError};
pub use failure::{Failure, Misdecision};
pub use folder::look;
pub use format::{Lineage, PAGE_BYTES, STORE_VERSION, crc32c, whole_pages};
pub use metrics::register_metrics;
pub use open::{OpenStore, StoreOptions, open};
pub use read_so_far::TellRead;
#[cfg(all(fuzzing, not(test)))]
pub use tests::{images, laws};
pub use view::View;
pub use writer::{State, Writer};
