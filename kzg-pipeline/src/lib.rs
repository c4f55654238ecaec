//! Judges whether blobs are what their commitments say, in batches, on cores of its own.
//!
//! ```text
//!   VerifyRequest ─link─▶ Foreman ──task──▶ lane ──▶ Verifier ──▶ Verdict ─link─▶ the client that sent the request
//!                         which claims,     tile     fast or
//!                         when                       c-kzg
//! ```
//!
//! - A *claim* is a blob, a commitment and a proof: "this commitment is to this blob" (EIP-4844).
//! - A *digest* says whether a blob's bytes are those that its value names. Each job is answered by it at once.
//! - A *lane* is a core that verifies. The *foreman* decides what a free lane does next, the *former* which claims it
//!   opens.
//! - An *account* holds a value's opened claims and its blobs until the value is settled, by one pairing.
//! - A *doubt* is about a value that seems to fail. It is confirmed before anybody is blamed.
//!
//! Keeps:
//!
//! - Every job gets exactly one verdict, by its digest alone, whatever came for the same place before.
//! - A value whose places are all filled with right bytes gets one verdict. It does not depend on the value's company.
//! - A value fails only by a blob that has its digest and of which `c-kzg` says no.
//! - On the good path, each blob is hashed once.
//! - No claim makes it panic.
//! - Memory does not grow with the number of values that passed through.
//!
//! `unsafe` stands only in these files:
//!
//! - `group.rs`, `challenge/blst.rs` and, for tests, `fixtures/by_blst.rs` call blst's C functions;
//! - `simd/{avx2,avx512}.rs`, `challenge/{extension,avx2,avx512}.rs` and `field/mulx.rs` hold a processor's
//!   instructions.
#![deny(unsafe_code)]

pub mod account;
mod back_end;
mod challenge;
mod check;
mod ckzg;
pub mod claim;
mod cpu_time;
#[cfg(any(test, fuzzing))]
pub mod differential;
pub mod doubt;
mod evaluate;
mod fast;
mod field;
pub mod foreman;
pub mod former;
pub mod fresh;
#[allow(unsafe_code)]
mod group;
pub mod lane;
pub mod measure;
pub mod opening;
mod setup;
mod simd;
pub mod ticket;
pub mod verifier;
mod wellformed;

#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))]
mod fixtures;
#[cfg(test)]
mod suite;

pub use back_end::{BackEnd, UnknownBackEnd, verifier};
pub use claim::Claim;
pub use foreman::{Foreman, Policy};
pub use lane::{LaneClientEnd, LaneOptions, Lanes, register_metrics};
pub use verifier::Verifier;
