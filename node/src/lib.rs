//! The node binary's library: command line, configuration, tiles, execution client driver, HTTP, devnet.
// Those panic where an output is closed or full: `print` and `log` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod board;
pub mod cli;
pub mod config;
pub mod devnet;
pub mod embedded;
pub mod genesis;
pub mod home;
pub mod http;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod node;
pub mod program;
pub mod publish;
pub mod signals;
pub mod tiles;
pub mod topology;
