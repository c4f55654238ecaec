//! This file knows how to lay out the homes of a whole new network: keys, genesis files and configurations that fit together.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ultramarine_types::chain::ChainParamsError;
use ultramarine_types::{ChainParams, PeerId, Validator};

use crate::config::PeerAddress;
use crate::config::value::Value;
use crate::config::write;
use crate::engine::genesis::{GenesisOptions, execution_genesis, genesis_hash};
use crate::genesis::GenesisFile;
use crate::home::{Contents, Home, HomeError};
use crate::keys;

/// Chain id of networks whose maker did not choose one.
pub const CHAIN_ID: u64 = 20_250;
/// Gas limit of the first block.
const GAS_LIMIT: u64 = 36_000_000;
/// Bounds between which execution clients may move the gas limit. 60 M gas of zero calldata bytes (4 gas each) is 15 MB,
/// inside `limits::PAYLOAD_BYTES_MAX`.
const GAS_LIMITS: (u64, u64) = (5_000_000, 60_000_000);
/// Heights for which every node keeps blobs: over an hour of one-second blocks.
const BLOB_RETENTION_HEIGHTS: u64 = 4096;

/// A network to lay out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Most blobs a block may carry; also written to the execution genesis.
    pub blobs_per_block: u32,
    /// Time between a commit and the next height, in milliseconds.
    pub block_interval_ms: u64,
    /// Unix time from which Prague's rules hold; `None`: never.
    pub prague_time: Option<u64>,
    /// One per validator.
    pub nodes: Vec<NodePlan>,
    /// Whether each node runs the embedded development client.
    pub embedded: bool,
}

/// One validator of a [`Plan`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePlan {
    /// Host name or address under which the others reach it.
    pub host: String,
    /// Its addresses.
    pub addresses: Addresses,
}

impl NodePlan {
    /// Whether both are on one machine, as far as their hosts' names tell.
    fn is_beside(&self, other: &Self) -> bool {
        self.host == other.host || (is_loopback(&self.host) && is_loopback(&other.host))
    }
}

/// Whether a host is reached from its own machine only.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Everything a node listens on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// QUIC (UDP).
    pub quic: SocketAddr,
    /// Metrics, status, blob API.
    pub http: SocketAddr,
    /// Execution client's public JSON-RPC.
    pub engine_http: SocketAddr,
    /// Execution client's Engine API.
    pub engine_auth: SocketAddr,
}

/// Why a network cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayOutError {
    /// No chain may have these parameters.
    #[error(transparent)]
    Params(#[from] ChainParamsError),
    /// The execution genesis cannot be made.
    #[error("execution genesis: {0}")]
    Execution(String),
    /// The random source failed.
    #[error("cannot make a key: {0}")]
    Random(std::io::Error),
    /// A home cannot be made.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// The directory of the `index`-th node of a network.
pub fn node_directory(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("node{index}"))
}

/// Writes `dir/node0`, `dir/node1`, …; none of them may exist.
pub fn lay_out(dir: &Path, plan: &Plan) -> Result<Vec<Home>, LayOutError> {
    let execution = execution_genesis(&GenesisOptions {
        chain_id: plan.chain_id,
        blobs_per_block: plan.blobs_per_block,
        gas_limit: GAS_LIMIT,
        prague_time: plan.prague_time,
        accounts: plan.nodes.len(),
    });
    let chain = ChainParams {
        chain_id: plan.chain_id,
        execution_genesis_hash: genesis_hash(&execution).map_err(|error| LayOutError::Execution(error.to_string()))?,
        blobs_per_block_max: plan.blobs_per_block,
        block_interval_ms: plan.block_interval_ms,
        blob_retention_heights_min: BLOB_RETENTION_HEIGHTS,
        gas_limit_min: GAS_LIMITS.0,
        gas_limit_max: GAS_LIMITS.1,
        prague_time: plan.prague_time,
    };
    chain.check()?;
    let generate = || -> Result<Vec<SigningKey>, LayOutError> {
        (0..plan.nodes.len())
            .map(|_| keys::generate().map_err(LayOutError::Random))
            .collect()
    };
    let (node_keys, validator_keys) = (generate()?, generate()?);
    let peers: Vec<String> = plan
        .nodes
        .iter()
        .zip(&node_keys)
        .map(|(node, key)| peer(node, key).to_string())
        .collect();
    let validators = validator_keys
        .iter()
        .map(|key| Validator {
            public_key: keys::public_key(key),
            power: 1,
        })
        .collect();
    let genesis = pretty(&GenesisFile {
        chain,
        validators,
        peers: peers.clone(),
    });
    let execution = pretty(&execution);

    let mut homes = Vec::with_capacity(plan.nodes.len());
    for index in 0..plan.nodes.len() {
        let others = peers
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, peer)| peer.clone())
            .collect();
        homes.push(Home::create(
            &node_directory(dir, index),
            &Contents {
                config: &write::new_file(&settings(index, plan, others)),
                genesis: &genesis,
                execution_genesis: &execution,
                node_key: &node_keys[index],
                validator_key: Some(&validator_keys[index]),
                jwt_secret: &keys::random_secret().map_err(LayOutError::Random)?,
            },
        )?);
    }
    Ok(homes)
}

fn peer(node: &NodePlan, key: &SigningKey) -> PeerAddress {
    let host = match node.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => node.host.clone(),
    };
    let peer_id = Some(PeerId(key.verifying_key().to_bytes()));
    PeerAddress {
        peer_id,
        host_port: format!("{host}:{}", node.addresses.quic.port()),
    }
}

fn settings(index: usize, plan: &Plan, peers: Vec<String>) -> Vec<(&'static str, Value)> {
    let node = &plan.nodes[index];
    let mut settings = vec![("node.name", Value::Text(format!("node{index}")))];
    // Each process counts the machine's cores for itself: several would pin their tiles to the same ones.
    if plan.nodes.iter().filter(|other| other.is_beside(node)).count() > 1 {
        settings.push(("node.pin", Value::Switch(false)));
    }
    settings.extend(addresses(&node.addresses, plan.embedded));
    settings.push(("network.peers", Value::List(peers)));
    settings.push(("engine.embedded", Value::Switch(plan.embedded)));
    settings
}

/// The settings that hold a node's addresses.
pub fn addresses(addresses: &Addresses, embedded: bool) -> Vec<(&'static str, Value)> {
    let text = |address: SocketAddr| Value::Text(address.to_string());
    let mut settings = vec![
        ("network.listen", text(addresses.quic)),
        ("http.listen", text(addresses.http)),
    ];
    if embedded {
        settings.push(("engine.embedded_http", text(addresses.engine_http)));
        settings.push(("engine.embedded_auth", text(addresses.engine_auth)));
    } else {
        settings.push(("engine.url", Value::Text(format!("http://{}", addresses.engine_auth))));
    }
    settings
}

fn pretty(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain data has a JSON form");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};
    use crate::genesis::Genesis;
    use crate::keys::Keys;

    fn plan(embedded: bool) -> Plan {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let nodes = (0..4u16).map(|index| NodePlan {
            host: "127.0.0.1".to_owned(),
            addresses: Addresses {
                quic: address(1000 + index),
                http: address(2000 + index),
                engine_http: address(3000 + index),
                engine_auth: address(4000 + index),
            },
        });
        Plan {
            chain_id: CHAIN_ID,
            blobs_per_block: 9,
            block_interval_ms: 1000,
            prague_time: None,
            nodes: nodes.collect(),
            embedded,
        }
    }

    fn config(home: &Home) -> Config {
        let text = std::fs::read_to_string(home.config()).expect("written");
        let sources = Sources {
            file: Some((home.config(), text)),
            ..Sources::default()
        };
        Config::load(home.root(), &sources).expect("valid").0
    }

    #[test]
    fn the_homes_of_a_network_fit_together() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let homes = lay_out(dir.path(), &plan(cfg!(feature = "dev-el"))).expect("lays out");
        let loaded: Vec<(Genesis, Keys, Config)> = homes
            .iter()
            .map(|home| {
                (
                    Genesis::load(home).expect("valid"),
                    Keys::load(home).expect("private"),
                    config(home),
                )
            })
            .collect();
        for (index, (genesis, keys, config)) in loaded.iter().enumerate() {
            assert_eq!(genesis.hash, loaded[0].0.hash, "one chain");
            assert_eq!(genesis.params.blobs_per_block_max, 9);
            let address = keys.address().expect("a validator");
            assert!(genesis.validators.get(&address).is_some(), "its key is in the set");
            let expected: Vec<_> = (0..4)
                .filter(|other| *other != index)
                .map(|other| Some(loaded[other].1.peer_id()))
                .collect();
            let peers: Vec<_> = config.network.peers.iter().map(|peer| peer.peer_id).collect();
            assert_eq!(peers, expected, "everybody else, by key");
        }
    }

    #[test]
    fn nodes_that_share_a_host_do_not_pin() {
        let pins = |hosts: [&str; 4]| {
            let dir = tempfile::tempdir().expect("temporary directory");
            let mut plan = plan(false);
            for (node, host) in plan.nodes.iter_mut().zip(hosts) {
                node.host = host.to_owned();
            }
            let homes = lay_out(dir.path(), &plan).expect("lays out");
            homes.iter().map(|home| config(home).node.pin).collect::<Vec<_>>()
        };
        assert_eq!(pins(["127.0.0.1"; 4]), [false; 4]);
        assert_eq!(pins(["a", "b", "a", "c"]), [false, true, false, true]);
        assert_eq!(
            pins(["a", "localhost", "127.0.0.2", "::1"]),
            [true, false, false, false]
        );
    }

    #[test]
    fn a_network_is_never_laid_out_over_another() {
        let dir = tempfile::tempdir().expect("temporary directory");
        lay_out(dir.path(), &plan(false)).expect("lays out");
        assert!(matches!(
            lay_out(dir.path(), &plan(false)),
            Err(LayOutError::Home(HomeError::Exists { .. }))
        ));
    }

    #[test]
    fn parameters_no_chain_may_have_are_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let plan = Plan {
            blobs_per_block: 5000,
            ..plan(false)
        };
        assert!(matches!(lay_out(dir.path(), &plan), Err(LayOutError::Params(_))));
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("lists").count(),
            0,
            "and nothing is written"
        );
    }
}
