//! This file knows what a node asks of an execution client inside its own process, for development networks.
//!
//! This crate knows no such client: the program brings one. The node talks to it over loopback, exactly as to a client
//! in another process.

use std::net::SocketAddr;

use serde_json::Value;
use ultramarine_runtime::TileContext;
use ultramarine_types::Hash;

use crate::config::{Config, Layers};
use crate::genesis::Genesis;

/// An execution client that the program has inside.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedClient {
    /// Hash of the block that an execution genesis stands for, as this client reads it; an error says why it cannot.
    pub genesis_hash: fn(&Value) -> Result<Hash, String>,
    /// Runs the client on a tile of its own until the node halts.
    pub run: fn(&TileContext, EmbeddedOptions) -> Result<(), String>,
}

/// What the client is started with.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The chain's execution genesis.
    pub genesis: Value,
    /// Address of the public JSON-RPC.
    pub http: SocketAddr,
    /// Address of the Engine API.
    pub auth: SocketAddr,
    /// Secret of the Engine API's tokens.
    pub jwt: [u8; 32],
    /// Whether to load the trusted setup before the first answer: a new chain then begins with blobs.
    pub wait_for_setup: bool,
}

impl EmbeddedClient {
    /// Why a node with these settings cannot run the client inside; `None` if it can, or need not.
    ///
    /// A genesis that could not be read is told elsewhere. A build without a client is told here all the same.
    pub fn misfit(client: Option<Self>, config: &Config, layers: &Layers, genesis: Option<&Genesis>) -> Option<String> {
        config.engine.embedded?;
        match client {
            Some(client) => client.misread(genesis?),
            None => Some(format!(
                "{}: engine.embedded is true, and this build has no embedded client: build with the feature `dev-el`, \
                 or set it to false and engine.url to a client's Engine API",
                layers.get("engine.embedded").origin
            )),
        }
    }

    /// Why the client would not begin with the block that the chain begins with.
    fn misread(self, genesis: &Genesis) -> Option<String> {
        let expected = genesis.genesis_block.hash;
        match (self.genesis_hash)(&genesis.execution) {
            Ok(found) if found == expected => None,
            Ok(found) => Some(format!(
                "execution-genesis.json has the block hash {found}, as the embedded client reads it, and {expected}, \
                 as the chain does: give it the form that `ultramarine testnet` writes, or run another client"
            )),
            Err(error) => Some(format!(
                "the embedded client cannot read execution-genesis.json ({error}): give it the form that `ultramarine \
                 testnet` writes, or run another client"
            )),
        }
    }
}
