//! The node's own tiles and their helpers. The other tiles live in the crates that own their I/O: `net`,
//! `kzg-pipeline`, `store`, and [`ultramarine_engine`].

pub mod backlog;
pub mod core;
pub mod height_line;
pub mod recorder;
pub mod watchdog;
