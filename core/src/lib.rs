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
//! [`Core`] is a [`Machine`](ultramarine_types::Machine): it is told the time and one input, and pushes what it wants
//! done. The same core runs in the node and in the simulator.
//!
//! Terms: the *head* is the newest committed height; the *current* height follows it. A *judgement* is what we found
//! out about a value, a *verdict* what consensus was told of it. A verdict is *withheld* while only something local is
//! in the way. A value is *vouched for* by a commit certificate. The *gate* ([`gate`]) holds messages back until the
//! log is durable; the *execution gate* ([`execution`]) is open while the execution client confirms our head.
//!
//! Keeps (design, section 8): nothing signed leaves before its record is durable and nothing signed is contradicted
//! ([`gate`], [`guard`]); no value is decided before it is stored; no first verdict without the execution client,
//! except for vouched values; no clock, no randomness, no unordered map.
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
pub mod held;
mod host;
pub mod io;
pub mod log;
mod machine;
mod peers;
#[cfg(feature = "planted")]
mod planted;
mod proposal;
mod rules;
pub mod signing;
mod stop;
mod sync;
mod timers;
mod values;

pub use crate::config::CoreConfig;
pub use crate::io::{Event, Input, Output};
pub use crate::machine::Core;
#[cfg(feature = "planted")]
pub use crate::planted::Planted;
pub use crate::stop::Stop;
