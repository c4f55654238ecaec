//! The deterministic simulator: real machines, simulated tiles, and a checker for each invariant.
//!
//! ```text
//!   seed ─▶ RunConfig ─▶ World ── faults ──▶ target height ── calm ──▶ everybody at the target ─▶ RunReport
//!                          │                                                                       (hash, faults,
//!                          └─ every event: one line of the trace, every deed: past the checks        violation)
//! ```
//!
//! A *world* is a network in one thread. An *adversary* is a node with a validator key that changes what leaves it. A
//! *mood* is a way an execution client is wrong for a while. A *scenario* is a run with a script. A *violation* is a
//! broken invariant, found by a *checker*, and printed with the command that replays it.
//!
//! The same seed gives the same trace: `tests/seeds.rs` runs some twice. Nothing here reads a clock, a file or a hash
//! map's order.
#![forbid(unsafe_code)]

pub mod adversaries;
pub mod blobs;
pub mod block;
pub mod checks;
pub mod clock;
pub mod config;
pub mod curves;
pub mod dice;
pub mod disk;
pub mod engine;
pub mod faults;
pub mod lines;
pub mod liveness;
pub mod network;
#[cfg(feature = "planted")]
pub mod planted;
pub mod queue;
pub mod run;
pub mod scenarios;
pub mod shown;
pub mod trace;
pub mod uplink;
pub mod wire;
pub mod world;

pub use checks::Violation;
pub use config::RunConfig;
pub use run::{RunReport, run};
pub use world::World;
