//! The network: it knows our peers, carries messages, and moves the bytes of values.
//!
//! ```text
//!                 ┌────────────────────── one core: tile ────────────────────────┐
//!   UDP ◀─ quinn ─┤ connection ─▶ conductor ─▶ Join (a Machine) ────▶ Complete ──┼─▶ store
//!                 │   control stream: Hello, messages, status     │  └─▶ Verify ─┼─▶ kzg-pipeline
//!                 │   uni stream per value: Init, lists, chunks…  └─ events ─────┼─▶ core
//!                 │   bidi stream per request: parts, heights  ◀── Source (maps) │
//!                 └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! - A *session* is a live connection to a peer that has said who it is.
//! - A *part* is an `Init`, a list, a payload chunk or a blob; its *place* is its position in the value. Each has a
//!   hash that the value binds, so it is right or wrong by itself, whoever sent it.
//! - A *stream* carries the parts of one value from one peer.
//! - An *offer* is a stream that the core is asked about.
//! - A *holder* is a peer that has a whole value and serves its parts.
//! - A *fault* costs a peer points of its score. Hashes or signatures prove it, or we measure it ourselves.
//!
//! What holds of the whole, and where it is held:
//! - A package that cannot be used is never sent, and one received costs its sender (I7, `wire/sync.rs`).
//! - Every ceiling of [`bounds`] and of `ultramarine_types::limits` holds under any peer's behaviour (I11). Each module
//!   with a ceiling asserts it.
//! - Blob bytes are put into memory once, where lanes and store read them, and never pass the core. The store copies
//!   them once more, into what it writes. Parts are `Bytes`, which are shared and not copied.
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod backlog;
mod book;
pub mod bounds;
pub mod buffers;
mod conductor;
mod connection;
mod hub;
mod incoming;
mod metrics;
mod order;
mod patience;
mod peers;
mod request;
mod serve;
pub mod streaming;
mod switch;
mod tile;
mod watched;
mod wire;

pub use book::{PeerBook, PeerView};
pub use connection::bulk::Bulk;
pub use connection::dial::PeerConfig;
pub use connection::endpoint;
pub use connection::queue::{MessageName, Queue};
pub use metrics::register_metrics;
pub use patience::AnswerPatience;
pub use peers::bans::Bans;
pub use peers::budgets::{Budgets, Payer, Spend, Spender};
pub use peers::identity::{Attestation, Attester, Identity};
pub use peers::origin::{PeerOrigin, Site};
pub use peers::roster::{FullNodes, Guest, Roster};
pub use peers::statuses::Statuses;
pub use serve::answers::AnswerClass;
pub use serve::queue::{Portion, Rank, ServingQueue, TurnId};
pub use serve::reply;
pub use tile::{NetLinks, NetOptions, run};
pub use wire::{frame, hello, lapse, message, sync, versions};
