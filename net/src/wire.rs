//! What goes over the wire: frames, and what is in them.

pub mod frame;
pub mod hello;
pub mod lapse;
pub mod message;
pub mod sync;
