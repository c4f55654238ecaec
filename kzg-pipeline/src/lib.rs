//! Judges whether blobs are what their commitments say, in batches, on cores of its own.
//!
//! ```text
//!   VerifyJob ─link─▶ Foreman ──task──▶ lane ──▶ Verifier ──▶ Finding ──▶ Verdict ─link─▶ the client that sent the job
//!                     which claims,     tile     fast or
//!                     when                       c-kzg
//! ```
//!
//! - A *claim* is a blob, a commitment and a proof: "this commitment is to this blob" (EIP-4844).
//! - A *finding* is the answer: the claim holds, or it is wrong, or a part of it is malformed.
//! - A *lane* is a core that verifies. The *foreman* decides what a free lane does next, the *former* which claims it
//!   opens.
//! - An *inquiry* finds out which claims are wrong where not all hold, a few questions at a time.
//!
//! What holds of the whole, and where it is held:
//!
//! - Every job gets exactly one verdict (`lane.rs`).
//! - What is found of a claim does not depend on its company, and no input makes a verifier panic (`verifier.rs`). A
//!   convicted peer's claims may stay unjudged: see [`inquiry`].
//! - Memory does not grow with the number of batches: `lane.rs` bounds the jobs that wait, and `account.rs` the claims.
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
mod evaluate;
mod fast;
mod field;
pub mod foreman;
pub mod former;
pub mod fresh;
#[allow(unsafe_code)]
mod group;
pub mod inquiry;
pub mod lane;
pub mod measure;
mod memo;
pub mod opening;
mod setup;
mod simd;
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
pub use lane::{LaneClientEnd, LaneOptions, Lanes};
pub use verifier::Verifier;
