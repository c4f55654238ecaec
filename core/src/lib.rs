//! The node's logic, with no I/O: consensus, proposals, verdicts, execution policy, sync, retention.
//!
//! ```text
//!              io::Input                                    io::Output
//!   net   ───▶ messages, offers, status ─┐               ┌─▶ sends, admits, streams, fetches, sync requests
//!   store ───▶ receipts, log positions ──┼──▶  Core  ────┼─▶ puts, log appends and syncs, commits
//!   engine ──▶ statuses, built blocks ───┘  (a Machine)  └─▶ forkchoice, build, execute, inspect, import
//!                                              │
//!                                   host: Malachite's core-consensus
//! ```
//!
//! [`Core`] is a [`Machine`](ultramarine_types::Machine): it takes the time and one input, and pushes what it wants
//! done. The same core runs in the node and in the simulator.
//!
//! Terms:
//! - The *head* is the newest committed height. The *current* height follows it, and its *contest* is what lasts as
//!   long as that height.
//! - A *judgement* is what we found out about a value. A *verdict* is what consensus heard about it. A verdict is
//!   *withheld* while only something local is in the way.
//! - A commit certificate *vouches for* a value.
//! - The *gate* holds messages back until the log is durable.
//! - The execution client is *ready* while it confirms our head.
//!
//! What holds of the whole, and where it is held:
//! - Nothing signed leaves before its record is durable (`gate.rs`), and nothing signed is contradicted (`guard.rs`).
//! - No value is decided before it is stored: the simulator looks at every commit (I3).
//! - No value gets its first verdict without the execution client, unless a certificate vouches for it: the simulator
//!   looks at every verdict (I9, I13).
//! - The core has no clock, no randomness and no unordered map: a seed gives the same trace again.
//!
//! `machine/check.rs` asserts after every input what the core's parts keep together, and asks each part for its own.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod admission;
mod boot;
pub mod certificate;
pub mod clocks;
mod config;
mod context;
mod convert;
mod early;
mod execution;
mod gate;
mod guard;
mod healing;
mod hearing;
pub mod held;
mod host;
pub mod io;
mod line;
pub mod log;
mod machine;
mod pace;
mod peers;
#[cfg(feature = "planted")]
mod planted;
mod proposal;
mod relay;
mod reputation;
mod rules;
pub mod signing;
mod stop;
mod sync;
mod timers;
mod values;

pub use crate::config::CoreConfig;
pub use crate::io::{Event, Input, Output};
pub use crate::machine::{Core, room, waits};
#[cfg(feature = "planted")]
pub use crate::planted::Planted;
pub use crate::stop::Stop;
