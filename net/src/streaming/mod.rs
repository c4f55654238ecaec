//! Values in pieces: [`split`] turns a whole one into frames, [`join`] turns parts from anywhere into a whole one.

pub mod bits;
pub mod init;
pub mod join;
pub mod split;
mod value;

pub use bits::Bits;
pub use init::{CheckedInit, InitFault};
pub use join::{Begin, Brings, Completed, Input, Join, JoinConfig, Missing, Output, StopReason};
