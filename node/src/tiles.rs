//! The node's own tiles: threads that carry out what the machines ask. The other tiles stand in the crates that own
//! their I/O: `net`, `kzg-pipeline`, `store`, and [`ultramarine_engine`].

pub mod backlog;
pub mod core;
pub mod recorder;
pub mod watchdog;
