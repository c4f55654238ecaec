//! This file knows how to give ethrex the peer-to-peer parts its API asks for, with no peer and no socket behind them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use ethrex_blockchain::Blockchain;
use ethrex_common::H512;
use ethrex_p2p::network::P2PContext;
use ethrex_p2p::peer_handler::PeerHandler;
use ethrex_p2p::peer_table::{PeerTableServer, TARGET_PEERS};
use ethrex_p2p::rlpx::initiator::RLPxInitiator;
use ethrex_p2p::sync::SyncMode;
use ethrex_p2p::sync_manager::SyncManager;
use ethrex_p2p::types::{NetworkConfig, Node, NodeRecord};
use ethrex_storage::Store;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often transactions would be told to peers.
const BROADCAST_INTERVAL_MS: u64 = 60_000;
/// Lookups of peers a second would be made at this rate if discovery were started, which it is not.
const LOOKUP_INTERVAL: f64 = 1.0;

/// The parts, which stay idle.
pub struct Peerless {
    /// What the client calls itself.
    pub node: Node,
    pub record: NodeRecord,
    /// Would fetch blocks from peers; without any it answers `SYNCING` for a head it does not know.
    pub syncer: SyncManager,
    pub peers: PeerHandler,
}

impl Peerless {
    /// Makes them for a client that serves on `http`.
    pub async fn new(
        store: &Store,
        blockchain: &Arc<Blockchain>,
        http: SocketAddr,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        // Any key will do: nobody ever connects.
        let signer = SecretKey::from_byte_array(&[1; 32]).context("making a node key")?;
        let public = PublicKey::from_secret_key(SECP256K1, &signer).serialize_uncompressed();
        let node = Node::new(http.ip(), 0, 0, H512::from_slice(&public[1..]));
        let record = NodeRecord::from_node(&node, 1, &signer).context("signing the node record")?;
        let table = PeerTableServer::spawn(node.node_id(), TARGET_PEERS, store.clone());
        let context = P2PContext::new(
            node.clone(),
            NetworkConfig::from_node(&node),
            TaskTracker::new(),
            signer,
            table.clone(),
            store.clone(),
            Arc::clone(blockchain),
            "ultramarine-dev-el".to_owned(),
            None,
            BROADCAST_INTERVAL_MS,
            LOOKUP_INTERVAL,
        )
        .context("making the peer-to-peer context")?;
        let peers = PeerHandler::new(table, RLPxInitiator::spawn(context));
        let syncer = SyncManager::new(
            peers.clone(),
            &SyncMode::Full,
            cancel.clone(),
            Arc::clone(blockchain),
            store.clone(),
            PathBuf::from("."),
        )
        .await;
        Ok(Self {
            node,
            record,
            syncer,
            peers,
        })
    }
}
