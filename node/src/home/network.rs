//! This file knows how to lay out the homes of a whole new network: keys, genesis files and configurations that fit
//! together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ultramarine_types::chain::ChainParamsError;
use ultramarine_types::host::{Host, HostPort};
use ultramarine_types::{ChainParams, Hash, PeerId, Validator};

use crate::config::value::SettingValue;
use crate::config::{Config, ConfigError, PeerAddress, Sources, write};
use crate::embedded::EmbeddedClient;
use crate::genesis::execution::{FieldError, GenesisOptions, execution_genesis, genesis_hash};
use crate::genesis::{Genesis, GenesisErrors, GenesisFile};
use crate::home::{Contents, Home, HomeError};
use crate::home::{fit, outputs};
use crate::keys::{self, Keys};

/// Chain id of a network unless its maker chooses another.
pub const CHAIN_ID: u64 = 20_250;
/// Gas limit of the first block.
const GAS_LIMIT: u64 = 36_000_000;
/// Bounds between which execution clients may move the gas limit. The highest is far above what any of them aims at by
/// itself: a client above it could propose nothing more. What bounds a block is `limits::PAYLOAD_BYTES_MAX`.
const GAS_LIMITS: (u64, u64) = (5_000_000, 1_000_000_000);
/// Heights for which every node of a network keeps blobs unless its maker chose: over an hour of one-second blocks.
const BLOB_RETENTION_HEIGHTS: u64 = 4096;
/// The shortest retention of a new network. With less, a node that is a few heights behind would take them without
/// their blobs. Nodes free blobs eight heights at a time.
pub const RETENTION_HEIGHTS_MIN: u64 = 10;
/// The longest one: the largest number that `config.toml` can hold.
pub const RETENTION_HEIGHTS_MAX: u64 = i64::MAX as u64;

/// A network to lay out.
#[derive(Clone, Debug)]
pub struct Plan {
    pub chain_id: u64,
    /// Most blobs a block may carry; also written to the execution genesis.
    pub blobs_per_block: u32,
    /// Time between a commit and the next height, in milliseconds.
    pub block_interval_ms: u64,
    /// Unix time of the execution genesis block, in seconds: when the network is made.
    pub genesis_time: u64,
    /// Unix time from which Prague's rules hold; `None`: never.
    pub prague_time: Option<u64>,
    /// For how many heights every node keeps blobs before it frees them. `None`: nodes keep all, and the chain asks for
    /// 4,096.
    pub retention: Option<u64>,
    /// One node for each validator.
    pub nodes: Vec<NodePlan>,
    /// The client that each node runs inside; `None`: each has one in a process of its own.
    pub embedded: Option<EmbeddedClient>,
}

/// One validator of a [`Plan`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePlan {
    /// Where the others reach it.
    pub host: Host,
    pub addresses: Addresses,
}

/// Everything a node listens on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// QUIC between nodes, over UDP.
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
    Execution(FieldError),
    /// The random source failed.
    #[error("cannot make a key: {0}")]
    Random(std::io::Error),
    /// A home cannot be made.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A node would not take this genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisErrors),
    /// A node would not take its configuration.
    #[error("nothing was written, as a node would not start with it:\n{0}")]
    Config(#[from] ConfigError),
    /// A node would not start with what is in its home.
    #[error("nothing was written, as a node would not start with it:\n{}", .0.join("\n"))]
    Misfits(Vec<String>),
}

/// The directory of the `index`-th node of a network.
pub fn node_directory(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("node{index}"))
}

/// Writes `dir/node0`, `dir/node1`, …: all of them, or none. Each must be new, or an empty folder.
pub fn lay_out(dir: &Path, plan: &Plan) -> Result<Vec<Home>, LayOutError> {
    let execution = execution_genesis(&GenesisOptions {
        chain_id: plan.chain_id,
        blobs_per_block: plan.blobs_per_block,
        gas_limit: GAS_LIMIT,
        genesis_time: plan.genesis_time,
        prague_time: plan.prague_time,
        accounts: plan.nodes.len(),
    });
    let chain = chain_params(plan, &execution)?;
    let nodes = plan.nodes.len();
    let keys = (0..nodes)
        .map(|_| new_keys())
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(LayOutError::Random)?;
    let peers: Vec<String> = plan
        .nodes
        .iter()
        .zip(&keys)
        .map(|(node, keys)| peer(node, &keys.node).to_string())
        .collect();
    let validators = keys.iter().filter_map(Keys::public_key);
    let salt = keys::random_secret().map_err(LayOutError::Random)?;
    let genesis = pretty(&GenesisFile {
        chain,
        validators: validators
            .map(|public_key| Validator { public_key, power: 1 })
            .collect(),
        salt: Hash(salt),
        upgrades: Vec::new(),
        peers: peers.clone(),
    });
    let execution = pretty(&execution);
    let configs: Vec<String> = (0..nodes)
        .map(|index| {
            let mut others = peers.clone();
            others.remove(index);
            write::new_file(&settings(index, plan, others))
        })
        .collect();
    check(dir, &genesis, &execution, &configs, &keys, plan.embedded)?;
    let secrets = (0..nodes)
        .map(|_| keys::random_secret())
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(LayOutError::Random)?;
    let contents: Vec<Contents<'_>> = (configs.iter().zip(&keys).zip(&secrets))
        .map(|((config, keys), secret)| Contents {
            config,
            genesis: &genesis,
            execution_genesis: &execution,
            node_key: &keys.node,
            validator_key: keys.validator.as_ref(),
            jwt_secret: secret,
        })
        .collect();
    Ok(Home::create_all(dir, &contents)?)
}

fn chain_params(plan: &Plan, execution: &serde_json::Value) -> Result<ChainParams, LayOutError> {
    let chain = ChainParams {
        chain_id: plan.chain_id,
        execution_genesis_hash: genesis_hash(execution).map_err(LayOutError::Execution)?,
        blobs_per_block_max: plan.blobs_per_block,
        block_interval_ms: plan.block_interval_ms,
        blob_retention_heights_min: plan.retention.unwrap_or(BLOB_RETENTION_HEIGHTS),
        gas_limit_min: GAS_LIMITS.0,
        gas_limit_max: GAS_LIMITS.1,
        genesis_time: plan.genesis_time,
        prague_time: plan.prague_time,
    };
    chain.check()?;
    Ok(chain)
}

fn new_keys() -> std::io::Result<Keys> {
    Ok(Keys {
        node: keys::generate()?,
        validator: Some(keys::generate()?),
    })
}

/// Checks what we are about to write, as the nodes will.
fn check(
    dir: &Path,
    genesis: &str,
    execution: &str,
    configs: &[String],
    keys: &[Keys],
    embedded: Option<EmbeddedClient>,
) -> Result<(), LayOutError> {
    let home = |index| Home {
        root: node_directory(dir, index),
    };
    let genesis = Genesis::check(&home(0).genesis(), genesis, &home(0).execution_genesis(), execution)?;
    let mut wrong = Vec::new();
    for (index, (config, keys)) in configs.iter().zip(keys).enumerate() {
        let sources = Sources {
            file: Some((home(index).config(), config.clone())),
            ..Sources::default()
        };
        let (config, layers) = Config::load(home(index).root(), &sources)?;
        wrong.extend(fit::misfits(&config, &layers, &genesis, keys));
        wrong.extend(outputs::misplaced(&home(index), &config, &layers));
        // The answer is the same for each node.
        let misfit = EmbeddedClient::misfit(embedded, &config, &layers, Some(&genesis));
        wrong.extend(misfit.filter(|_| index == 0));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(LayOutError::Misfits(wrong))
    }
}

fn peer(node: &NodePlan, key: &SigningKey) -> PeerAddress {
    PeerAddress {
        peer_id: Some(PeerId(key.verifying_key().to_bytes())),
        host_port: HostPort {
            host: node.host.clone(),
            port: node.addresses.quic.port(),
        },
    }
}

fn settings(index: usize, plan: &Plan, peers: Vec<String>) -> Vec<(&'static str, SettingValue)> {
    let node = &plan.nodes[index];
    let mut settings = vec![("node.name", SettingValue::Text(format!("node{index}")))];
    // Each process counts the machine's cores for itself, so several would pin their tiles to the same cores.
    if plan
        .nodes
        .iter()
        .filter(|other| other.host.is_beside(&node.host))
        .count()
        > 1
    {
        settings.push(("node.pin", SettingValue::Boolean(false)));
    }
    settings.extend(addresses(&node.addresses, plan.embedded.is_some()));
    settings.push(("network.peers", SettingValue::List(peers)));
    settings.push(("engine.embedded", SettingValue::Boolean(plan.embedded.is_some())));
    if let Some(heights) = plan.retention {
        settings.push(("retention.blobs_heights", SettingValue::Number(heights)));
    }
    settings
}

/// The settings that hold a node's addresses.
pub fn addresses(addresses: &Addresses, embedded: bool) -> Vec<(&'static str, SettingValue)> {
    let text = |address: SocketAddr| SettingValue::Text(address.to_string());
    let mut settings = vec![
        ("network.listen", text(addresses.quic)),
        ("http.listen", text(addresses.http)),
    ];
    if embedded {
        settings.push(("engine.embedded_http", text(addresses.engine_http)));
        settings.push(("engine.embedded_auth", text(addresses.engine_auth)));
    } else {
        settings.push((
            "engine.url",
            SettingValue::Text(format!("http://{}", addresses.engine_auth)),
        ));
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

    fn plan() -> Plan {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let nodes = (0..4u16).map(|index| NodePlan {
            host: "127.0.0.1".parse().expect("a host"),
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
            genesis_time: 1_700_000_000,
            prague_time: None,
            retention: None,
            nodes: nodes.collect(),
            embedded: None,
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
        let homes = lay_out(dir.path(), &plan()).expect("lays out");
        let loaded: Vec<(Genesis, Keys, Config)> = homes
            .iter()
            .map(|home| {
                (
                    Genesis::load(home).expect("valid"),
                    home.keys().expect("private"),
                    config(home),
                )
            })
            .collect();
        for (index, (genesis, keys, config)) in loaded.iter().enumerate() {
            assert_eq!(genesis.chain, loaded[0].0.chain, "one chain");
            assert_eq!(genesis.chain.params.blobs_per_block_max, 9);
            assert_eq!(genesis.genesis_block.timestamp, 1_700_000_000);
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
    fn a_retention_is_the_chains_minimum_and_every_nodes_setting() {
        for (retention, least) in [
            (None, 4096),
            (Some(50), 50),
            (Some(RETENTION_HEIGHTS_MAX), i64::MAX as u64),
        ] {
            let dir = tempfile::tempdir().expect("temporary directory");
            let homes = lay_out(dir.path(), &Plan { retention, ..plan() }).expect("lays out");
            for home in &homes {
                let genesis = Genesis::load(home).expect("valid");
                assert_eq!(genesis.chain.params.blob_retention_heights_min, least);
                assert_eq!(config(home).retention.blobs_heights, retention);
            }
        }
    }

    #[test]
    fn a_network_that_is_made_again_is_another_chain() {
        let identity = || {
            let dir = tempfile::tempdir().expect("temporary directory");
            let homes = lay_out(dir.path(), &plan()).expect("lays out");
            let read = |path| std::fs::read_to_string(path).expect("written");
            let mut file: GenesisFile = serde_json::from_str(&read(homes[0].genesis())).expect("valid");
            // The same validators, so that the salt alone differs.
            let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]).verifying_key();
            file.validators = vec![Validator {
                public_key: ultramarine_types::PublicKey(key.to_bytes()),
                power: 1,
            }];
            let execution = read(homes[0].execution_genesis());
            let (path, text) = (homes[0].genesis(), pretty(&file));
            Genesis::check(&path, &text, &path, &execution)
                .expect("valid")
                .chain
                .identity
        };
        assert_ne!(identity(), identity());
    }

    #[test]
    fn nodes_that_share_a_host_do_not_pin() {
        let pins = |hosts: [&str; 4]| {
            let dir = tempfile::tempdir().expect("temporary directory");
            let mut plan = plan();
            for (node, host) in plan.nodes.iter_mut().zip(hosts) {
                node.host = host.parse().expect("a host");
            }
            let homes = lay_out(dir.path(), &plan).expect("lays out");
            homes.iter().map(|home| config(home).node.pin).collect::<Vec<_>>()
        };
        assert_eq!(pins(["127.0.0.1"; 4]), [false; 4]);
        assert_eq!(pins(["a", "b", "a", "c"]), [false, true, false, true]);
        assert_eq!(
            pins(["a", "localhost", "127.0.0.2", "127.0.0.1"]),
            [true, false, false, false]
        );
    }

    #[test]
    fn a_network_is_never_laid_out_over_another() {
        let dir = tempfile::tempdir().expect("temporary directory");
        lay_out(dir.path(), &plan()).expect("lays out");
        assert!(matches!(
            lay_out(dir.path(), &plan()),
            Err(LayOutError::Home(HomeError::Exists { .. }))
        ));
    }

    #[test]
    fn parameters_no_chain_may_have_are_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let plan = Plan {
            blobs_per_block: 5000,
            ..plan()
        };
        assert!(matches!(lay_out(dir.path(), &plan), Err(LayOutError::Params(_))));
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("lists").count(),
            0,
            "and nothing is written"
        );
    }

    #[test]
    fn what_is_in_the_way_of_one_node_is_in_the_way_of_all_and_stays() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (empty, taken) = (dir.path().join("node1"), dir.path().join("node2"));
        std::fs::create_dir(&empty).expect("makes");
        std::fs::create_dir(&taken).expect("makes");
        std::fs::write(taken.join("x"), "kept").expect("writes");
        let names = || {
            let entries = std::fs::read_dir(dir.path()).expect("lists");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("lists").file_name()).collect();
            names.sort();
            names
        };
        let error = lay_out(dir.path(), &plan()).expect_err("taken").to_string();
        assert!(
            error.contains("node2") && error.contains("nothing was changed"),
            "{error}"
        );
        assert_eq!(names(), ["node1", "node2"]);
        assert_eq!(std::fs::read_dir(&empty).expect("lists").count(), 0);
        std::fs::remove_dir_all(&taken).expect("removes");
        std::fs::write(&taken, "a file").expect("writes");
        assert!(lay_out(dir.path(), &plan()).is_err());
        assert_eq!(names(), ["node1", "node2"]);
        std::fs::remove_file(&taken).expect("removes");
        lay_out(dir.path(), &plan()).expect("the next try is not in its own way");
        assert_eq!(names(), ["node0", "node1", "node2", "node3"]);
    }

    #[test]
    fn what_a_node_would_refuse_is_not_written() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let net = dir.path().join("net");
        let mut deaf = plan();
        for node in &mut deaf.nodes {
            node.host = "::1".parse().expect("a host");
        }
        let error = lay_out(&net, &deaf).expect_err("they listen on 127.0.0.1").to_string();
        assert!(error.contains("network.listen") && error.contains("[::1]"), "{error}");
        assert!(!net.exists());
    }
}
