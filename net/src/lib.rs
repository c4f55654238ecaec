//! The network: who our peers are, what they say, and the bytes of values on their way.
//!
//! ```text
//!                 ┌────────────────────── one core: tile ───────────────────────┐
//!   UDP ◀─ quinn ─┤ connection ─ frames ─▶ hub ─▶ Join (a Machine) ─▶ Complete ──┼─▶ store
//!                 │   control stream: Hello, messages, status     │  └─▶ Verify ─┼─▶ kzg-pipeline
//!                 │   uni stream per value: Init, chunks, blobs   └─ events ─────┼─▶ core
//!                 │   bidi stream per request: parts, heights  ◀── Source (maps) │
//!                 └─────────────────────────────────────────────────────────────-┘
//! ```
//!
//! A *stream* carries the parts of one value from one peer. An *offer* is a stream the core was asked about. A *part*
//! is an `Init`, a payload chunk or a blob. A *holder* is a peer that has a whole value and serves its parts. A *fault*
//! is what costs a peer its score: proven by hashes or signatures, or measured by ourselves.
//!
//! Keeps: I7 (a package that cannot be used is never sent, and one received costs its sender), I11 (every ceiling of
//! [`bounds`] and of `ultramarine_types::limits` holds under any peer's behaviour), and that blob bytes are put into
//! memory once, where lanes and store read them (the store copies them once more, into what it writes), and never pass
//! the core.
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

pub mod bounds;
mod budgets;
pub mod buffers;
mod charges;
mod cold;
mod connection;
mod delivery;
mod dial;
mod doors;
pub mod endpoint;
pub mod frame;
pub mod hello;
mod hub;
pub mod identity;
mod incoming;
pub mod lapse;
mod link;
pub mod message;
mod metrics;
mod outlet;
pub mod pace;
pub mod peers;
pub mod queue;
mod reader;
mod request;
mod serve;
pub mod streaming;
pub mod sync;
mod tile;
mod turns;
mod watched;

pub use identity::{Attestation, Attester, Identity};
pub use peers::PeerConfig;
pub use tile::{NetLinks, NetOptions, run};
