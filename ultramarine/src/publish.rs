//! Files as blobs: encodes them, publishes them through an execution client, and restores them from a node.
//!
//! ```text
//!   file ──encode──▶ blobs ──prove──▶ sidecars ──transaction──▶ eth_sendRawTransaction ─▶ EL ─▶ … ─▶ decided
//!   file ◀─decode─── blobs ◀──check── versioned hashes ◀─────── /eth/v1/beacon/blobs/{slot} ◀─── any node
//! ```
//!
//! - A *piece* is what one blob carries of a file.
//! - A *versioned hash* names a blob on chain (EIP-4844).
//! - *Fresh* blobs carry nothing and were never seen before: load that costs a network what other blobs cost it.
//!
//! What is restored has the content hash that was published, or it is an error (`get.rs`).

pub mod content;
pub mod encode;
pub mod file;
pub mod fresh;
pub mod get;
pub mod prove;
pub mod publisher;
pub mod put;
pub mod rpc;
pub mod transaction;

pub use content::Content;
pub use get::{BlobName, GetOptions, get};
pub use prove::Prover;
pub use publisher::{PublisherOptions, publish};
pub use put::{DecidedBlock, FILE_BYTES_MAX, News, Progress, PutBlob, PutOptions, PutOutcome, Step, put};
