//! An execution client inside this process, for development networks: ethrex with its state in memory.
//!
//! ```text
//!   node ──Engine API, JWT──▶ auth port ─┐
//!                                        ├─ ethrex: pool, builder, EVM, state in memory
//!   people, publishers ─────▶ http port ─┘
//! ```
//!
//! The node talks to it exactly as to any other execution client, over loopback and with a secret; nothing here is a
//! short cut. It has no peers: transactions reach the blocks of the node they were sent to. Its state goes with the
//! process, and the node replays its stored payloads to the next one.
#![forbid(unsafe_code)]

mod client;
mod peerless;

pub use client::{DevElOptions, ListenError, Running, Service, genesis_hash, run};

/// Directives for a `tracing` filter under which ethrex says only what is wrong with itself. Its warnings are about
/// peers it cannot have and blocks the node is about to send.
pub const LOG_DIRECTIVES: &str = "ethrex_rpc=error,ethrex_blockchain=error,ethrex_p2p=error,ethrex_storage=error,\
     ethrex_common=error,ethrex_vm=error,ethrex_levm=error,ethrex_trie=error,spawned_concurrency=error";
