//! The node binary's library: command line, configuration, tiles, execution client driver, HTTP, devnet.

pub mod board;
pub mod cli;
pub mod config;
pub mod devnet;
pub mod engine;
pub mod genesis;
pub mod home;
pub mod http;
pub mod keys;
pub mod metrics;
pub mod node;
pub mod program;
pub mod publish;
pub mod tiles;
pub mod topology;
