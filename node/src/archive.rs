//! This file knows the parts of a node's archive: where it is, how its objects are reached, and who fills it.
//!
//! ```text
//!   Source ──▶ uploader ── object ──▶ remote ──▶ folder or bucket
//!                  │  ◀── read back ───┘
//!                  └── Archived, Put ──▶ store          progress ──▶ /health, /status, metrics
//! ```
//!
//! What an object is stands in [`ultramarine_store::archive`].

pub mod address;
pub mod audit;
mod connector;
pub mod progress;
pub mod remote;
mod schedule;
pub mod spans;
pub mod uploader;

#[cfg(test)]
mod tests;
