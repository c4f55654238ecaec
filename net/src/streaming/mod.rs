//! Values in pieces: [`split`] turns a whole one into frames, [`join`] turns parts from anywhere into a whole one.

pub mod bits;
mod contract;
pub mod init;
pub mod join;
pub mod listset;
mod pace;
#[cfg(feature = "planted")]
mod planted;
pub mod ranges;
pub mod split;
mod unjudged;
mod value;

pub use bits::Bits;
pub use contract::{Begin, Brings, Completed, Input, JoinConfig, Missing, Output, StopReason};
pub use init::{CheckedInit, InitFault};
pub use join::Join;
pub use listset::ListSet;
#[cfg(feature = "planted")]
pub use planted::JoinBug;
pub use ranges::Ranges;
pub(crate) use split::Parts;
