//! A node put together: configuration, home, keys and genesis, the tiles and their wiring, HTTP.
// Those panic where an output is closed or full: `print` and the program's log do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod archive;
pub mod board;
pub mod catch_up;
pub mod conditions;
pub mod config;
pub mod control;
pub mod disk;
pub mod embedded;
#[cfg(test)]
mod foreign;
pub mod genesis;
pub mod home;
pub mod http;
pub mod keys;
pub mod metrics;
pub mod node;
mod opening;
pub mod signals;
pub mod tiles;
pub mod topology;
