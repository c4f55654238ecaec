//! What every tile stands on: threads, links, clock, metrics, buffers, the way to stop, and the choice of I/O.
//!
//! ```text
//!   ┌─ Tile ────────┐   Sender    link (bounded, named)    Receiver  ┌─ Tile ────────┐
//!   │ Machine + I/O │ ─────────▶  ArrayQueue + Bell        ────────▶ │ Machine + I/O │
//!   └──────┬────────┘                                                └──────┬────────┘
//!          │ Counter, Gauge, Histogram ──▶ Registry ──▶ /metrics            │
//!          └───────────────── first failure ──▶ Halt ◀────────────────────┘
//! ```
//!
//! - A *tile* is one thread that owns its I/O.
//! - A *link* is a bounded queue into one tile; a *bell* wakes the tile that sleeps on it.
//! - A *halt* is the flag that stops every tile; it keeps the first reason.
//! - A *ring* is an io_uring instance; where the kernel refuses one, the same work runs on epoll, `pwrite` and
//!   `fdatasync`.
//! - An *outlet* is an output with a bounded queue and a thread of its own: nobody waits for standard error.
//! - The *topology* is the table of all tiles and links; *placement* is what this machine's cores make of it.
//!
//! What holds of the whole, and where it is held:
//! - A wake is never lost: `bell.rs` under loom, and the tests of `link.rs` on every kind of executor.
//! - A link never holds more than its depth (`link.rs`), nor a pool more than its bytes (`buffer.rs`).
//! - A tile's failure stops the node (`tile.rs`), and every tile ends within two seconds of a stop. The program's tests
//!   with real processes hold the second.
#![deny(unsafe_code)]

pub mod affinity;
pub mod bell;
pub mod buffer;
pub mod clock;
pub mod halt;
pub mod limits;
pub mod link;
pub mod medium;
pub mod metrics;
pub mod outlet;
pub mod print;
pub mod progress;
pub mod pulse;
pub mod ring;
pub mod rotating;
pub mod signals;
pub mod skip;
pub mod stage_log;
pub mod tile;
pub mod topology;
pub mod watch;

pub use buffer::{AlignedBuffer, BufferPool};
pub use clock::{Clock, Moment};
pub use halt::{Halt, Reason};
pub use link::{Closed, Receiver, Sender, link};
pub use metrics::{Counter, Gauge, Histogram, MetricFamily, Registry};
pub use pulse::Pulse;
pub use ring::{Io, IoMode, RingOps, block_on_net};
pub use stage_log::{Mark, StageLog, StageTime};
pub use tile::{Busy, JoinHandle, Tile, TileContext};
