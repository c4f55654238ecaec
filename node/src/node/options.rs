//! This file knows what each tile is told at its start, from configuration, genesis and keys.

use std::net::UdpSocket;
use std::sync::Arc;

use ultramarine_core::CoreConfig;
use ultramarine_engine::{Endpoint, EngineOptions, Secret, Waiting};
use ultramarine_net::{Attester, NetOptions, PeerBook, PeerConfig};
use ultramarine_runtime::{Io, Registry};
use ultramarine_store::{StoreOptions, TellRead};
use ultramarine_types::{Nanos, Nonce, PeerId};

use crate::archive::uploader::UploaderOptions;
use crate::board::ConfiguredPeer;
use crate::config::peer::PeerAddress;
use crate::config::{ArchiveConfig, Config, EmbeddedEngine, EngineEndpoint, HttpConfig};
use crate::embedded::EmbeddedOptions;
use crate::genesis::Genesis;
use crate::http;
use crate::keys::Keys;
use crate::node::{NodeError, start_error};
use crate::opening::DirectoryOpening;

/// How long a validator on an empty or doubtful directory listens before it signs.
const LISTEN: Nanos = Nanos::from_millis(3_000);

/// `opening` is told how far the store has read.
pub fn store_options(
    config: &Config,
    genesis: &Genesis,
    registry: &Arc<Registry>,
    opening: DirectoryOpening,
) -> StoreOptions {
    let chain = &genesis.chain;
    StoreOptions {
        retention: config.retention.blobs_heights,
        archives: config.archive.is_some(),
        tell_read: TellRead::new(move |bytes, all_bytes| opening.observe(bytes, all_bytes)),
        ..StoreOptions::new(chain.params.limits(), chain.identity, Arc::clone(registry))
    }
}

pub fn uploader_options(config: &Config, archive: &ArchiveConfig, genesis: &Genesis) -> UploaderOptions {
    UploaderOptions {
        chain: genesis.chain.identity,
        address: archive.address.clone(),
        access: archive.access.clone(),
        span_heights: archive.span_heights,
        retention: config.retention.blobs_heights,
        data_dir: config.node.data_dir.clone(),
    }
}

/// `is_new`: a validator has decided nothing yet, so the chain may begin when its client can take blobs.
pub fn embedded_options(
    config: &Config,
    embedded: EmbeddedEngine,
    genesis: &Genesis,
    is_new: bool,
) -> Result<EmbeddedOptions, NodeError> {
    Ok(EmbeddedOptions {
        genesis: genesis.execution.as_ref().clone(),
        http: embedded.http,
        auth: embedded.auth,
        jwt: *secret(config)?.as_bytes(),
        wait_for_setup: is_new,
    })
}

fn secret(config: &Config) -> Result<Secret, NodeError> {
    Secret::read(&config.engine.jwt_secret).map_err(start_error("reading the JWT secret"))
}

pub fn engine_options(
    config: &Config,
    genesis: &Genesis,
    io: Io,
    waiting: Waiting,
) -> Result<EngineOptions, NodeError> {
    let endpoint = match &config.engine.endpoint {
        EngineEndpoint::Http(url) => Endpoint::Http {
            url: url.clone(),
            secret: secret(config)?,
        },
        EngineEndpoint::Ipc(path) => Endpoint::Ipc { path: path.clone() },
    };
    let params = &genesis.chain.params;
    Ok(EngineOptions {
        endpoint,
        io,
        timeout: config.engine.timeout_on(&params.limits()),
        waiting,
        build_wait: config.engine.build_wait,
        fee_recipient: config.engine.fee_recipient,
        chain_id: params.chain_id,
        genesis_hash: params.execution_genesis_hash,
        prague_time: params.prague_time,
        limits: params.limits(),
    })
}

pub fn http_limits(config: &HttpConfig) -> http::server::ServerLimits {
    http::server::ServerLimits {
        requests_max: config.requests_max,
        timeout: config.timeout,
        ..http::server::ServerLimits::default()
    }
}

/// The peers that are dialled; this node may be among them.
fn configured_peers<'a>(config: &'a Config, genesis: &'a Genesis) -> &'a [PeerAddress] {
    if config.network.peers.is_empty() {
        &genesis.peers
    } else {
        &config.network.peers
    }
}

/// The peers whose connections people expect to see: those that are known by their keys.
pub fn expected_peers(config: &Config, genesis: &Genesis, own: PeerId) -> Vec<ConfiguredPeer> {
    let known = configured_peers(config, genesis).iter().filter_map(|named| {
        Some(ConfiguredPeer {
            peer: named.peer_id?,
            address: named.host_port.to_string(),
            connected: false,
        })
    });
    known.filter(|named| named.peer != own).collect()
}

pub fn net_options(config: &Config, genesis: &Genesis, keys: &Keys, socket: UdpSocket, io: Io) -> NetOptions {
    let identity = ultramarine_net::Identity::from_secret(&keys.node.to_bytes());
    let attester = keys
        .validator
        .as_ref()
        .map(|validator| Attester::new(validator.clone(), genesis.chain.identity, identity.peer()));
    let peers = configured_peers(config, genesis)
        .iter()
        .filter(|peer| peer.peer_id != Some(identity.peer()))
        .map(|peer| PeerConfig {
            address: peer.host_port.to_string(),
            peer: peer.peer_id,
        })
        .collect();
    NetOptions {
        socket,
        identity,
        attester,
        peers,
        full_nodes: config.network.full_nodes,
        serving_bytes_per_second: config.network.serving_bytes_per_second,
        chain: genesis.chain.clone(),
        validators: Arc::clone(&genesis.validators),
        versions: ultramarine_net::bounds::WIRE_VERSIONS,
        upgrades_hash: genesis.upgrades_hash,
        fork_schedule_hash: genesis.fork_schedule_hash,
        io,
        book: PeerBook::default(),
    }
}

pub fn core_config(config: &Config, genesis: &Genesis, keys: &Keys) -> CoreConfig {
    CoreConfig {
        chain: genesis.chain.clone(),
        validators: Arc::clone(&genesis.validators),
        key: keys.validator.as_ref().map(|key| key.to_bytes()),
        genesis_block: genesis.genesis_block,
        retention: config.retention.blobs_heights,
        fresh_directory_listen: LISTEN,
        nonce: Nonce(rand::random()),
    }
}
