//! This file knows the folder of a local network: made anew, or found and resumed.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ultramarine_node::archive::address::ArchiveAddress;
use ultramarine_node::config::value::SettingValue;
use ultramarine_node::config::{Config, Layers, PeerAddress, Sources, write};
use ultramarine_node::genesis::{Genesis, GenesisFile};
use ultramarine_node::home::network::{self, Addresses, CHAIN_ID, NodePlan, Plan};
use ultramarine_node::home::staged::{self, MadeFolders};
use ultramarine_node::home::{Home, replace_file};
use ultramarine_runtime::Clock;
use ultramarine_types::PeerId;
use ultramarine_types::host::{Host, HostPort};

use crate::devnet::{DevnetOptions, ports};
use crate::embedded;
use crate::publish::content;

/// Validators of a network whose maker did not choose.
const VALIDATORS: u16 = 4;
/// Time between a commit and the next height.
const BLOCK_INTERVAL_MS: u64 = 1000;

/// Held while a devnet runs in the folder.
const LOCK: &str = "devnet.lock";

/// One node of the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeHome {
    pub id: usize,
    /// Its home directory, absolute.
    pub home: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// What it listens on.
    pub addresses: Addresses,
}

impl NodeHome {
    pub fn http(&self) -> String {
        format!("http://{}", self.addresses.http)
    }

    /// Its execution client's Engine API, and the secret for it.
    pub fn engine(&self) -> anyhow::Result<(String, PathBuf)> {
        let secret = Home::open(&self.home)?.jwt_secret();
        Ok((format!("http://{}", self.addresses.engine_auth), secret))
    }

    /// Its execution client's JSON-RPC.
    pub fn rpc(&self) -> String {
        format!("http://{}", self.addresses.engine_http)
    }
}

/// The folder, held for as long as this lives.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    nodes: Vec<NodeHome>,
    temporary: bool,
    blobs_per_block: u32,
    _lock: File,
}

impl Layout {
    /// Makes or resumes the folder. When it cannot be made, what was there before is as it was, and nothing else is
    /// there.
    pub fn prepare(options: &DevnetOptions) -> anyhow::Result<Self> {
        if let Some(blobs) = &options.blobs {
            content::check(blobs)?;
        }
        let (dir, temporary) = match &options.dir {
            Some(dir) => (std::path::absolute(dir)?, false),
            None => (fresh_path()?, true),
        };
        ensure!(
            dir.to_str().is_some(),
            "the path {} is not UTF-8, and devnet.json could not say it; choose another {}",
            dir.display(),
            if temporary {
                "TMPDIR, or name a folder with --dir"
            } else {
                "--dir"
            }
        );
        if temporary {
            make_fresh(&dir)?;
        }
        let made = MadeFolders::all_of(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let had_lock = dir.join(LOCK).exists();
        let lock = lock(&dir)?;
        match Self::in_folder(&dir, options) {
            Ok((nodes, blobs_per_block)) => {
                made.keep();
                // Of an earlier run; whoever waits for it waits for this run's.
                let _ = fs::remove_file(dir.join("devnet.json"));
                Ok(Self {
                    dir,
                    nodes,
                    temporary,
                    blobs_per_block,
                    _lock: lock,
                })
            }
            Err(error) => {
                if !had_lock {
                    let _ = fs::remove_file(dir.join(LOCK));
                }
                if temporary {
                    // A half-made folder tells nothing that the error does not.
                    let _ = fs::remove_dir_all(&dir);
                }
                Err(error)
            }
        }
    }

    fn in_folder(dir: &Path, options: &DevnetOptions) -> anyhow::Result<(Vec<NodeHome>, u32)> {
        let nodes = if network::node_directory(dir, 0).exists() {
            resume(dir, options)?
        } else {
            create(dir, options)?
        };
        if let Some(archive) = &options.archive {
            archive_into(&nodes, &std::path::absolute(archive)?)?;
        }
        let genesis = Genesis::load(&Home::open(&nodes[0].home)?)?;
        Ok((nodes, genesis.chain.params.blobs_per_block_max))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its nodes, at least one.
    pub fn nodes(&self) -> &[NodeHome] {
        &self.nodes
    }

    /// Most blobs a block of its chain may carry.
    pub fn blobs_per_block(&self) -> u32 {
        self.blobs_per_block
    }

    /// Removes a folder nobody asked to keep.
    pub fn finish(&self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Where nobody could have made a folder before us.
fn fresh_path() -> anyhow::Result<PathBuf> {
    let random = hex::encode(&ultramarine_node::keys::random_secret().context("no random name for a folder")?[..8]);
    Ok(std::env::temp_dir().join(format!("ultramarine-devnet-{random}")))
}

/// Makes a folder that nobody else may look into.
fn make_fresh(dir: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(dir);
    made.with_context(|| format!("cannot make {}; name a folder with --dir, or set TMPDIR", dir.display()))
}

/// Two devnets on one folder would start every node twice.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    // As it is: another file of that name keeps its content.
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).with_context(|| {
        format!(
            "another devnet runs in {}; stop it or choose another --dir",
            dir.display()
        )
    })?;
    Ok(file)
}

fn create(dir: &Path, options: &DevnetOptions) -> anyhow::Result<Vec<NodeHome>> {
    let strangers: Vec<_> = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name != LOCK && !staged::is_leftover(name))
        .collect();
    // The homes are moved in backwards, node0 last.
    let is_node = |name: &str| {
        let number = name.strip_prefix("node");
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let is_cut_off = strangers.iter().any(|name| is_node(&name.to_string_lossy()));
    ensure!(
        !is_cut_off,
        "{} holds nodes of a network and no node0: its making was cut off, or node0 was removed. Remove all of its \
         nodes if you do \
         not need their keys, or choose another --dir",
        dir.display()
    );
    ensure!(
        strangers.is_empty(),
        "{} holds other files ({}, …) and no node0; choose an empty or new --dir",
        dir.display(),
        strangers.first().map(|name| name.to_string_lossy()).unwrap_or_default()
    );
    let count = usize::from(options.validators.unwrap_or(VALIDATORS));
    let addresses = ports::free(count).context("no free ports on loopback")?;
    let node = |addresses: &Addresses| NodePlan {
        host: Host::Address(addresses.quic.ip()),
        addresses: *addresses,
    };
    let plan = Plan {
        chain_id: CHAIN_ID,
        blobs_per_block: options
            .blobs_per_block
            .unwrap_or(ultramarine_types::limits::BLOBS_PER_BLOCK_MIN),
        block_interval_ms: BLOCK_INTERVAL_MS,
        genesis_time: Clock::unix_ns() / 1_000_000_000,
        prague_time: None,
        retention: options.retention,
        nodes: addresses.iter().map(node).collect(),
        embedded: Some(embedded::required()?),
    };
    network::lay_out(dir, &plan)?;
    Ok(addresses
        .into_iter()
        .enumerate()
        .map(|(id, addresses)| node_home(dir, id, addresses))
        .collect())
}

fn resume(dir: &Path, options: &DevnetOptions) -> anyhow::Result<Vec<NodeHome>> {
    let homes: Vec<Home> = (0..)
        .map(|id| network::node_directory(dir, id))
        .take_while(|path| path.exists())
        .map(|path| Home::open(&path))
        .collect::<Result<_, _>>()?;
    let genesis = Genesis::load(&homes[0])?;
    let params = &genesis.chain.params;
    let (found, limit, least) = (
        genesis.validators.len(),
        params.blobs_per_block_max,
        params.blob_retention_heights_min,
    );
    ensure!(
        homes.len() >= found,
        "{} has no home of node{}, and its network has {found} validators: put it back, or choose another --dir for a \
         new network",
        dir.display(),
        homes.len()
    );
    if options.validators.is_some_and(|wanted| usize::from(wanted) != found) {
        bail!(
            "the network in {} has {found} validators; leave --validators out to resume it",
            dir.display()
        );
    }
    if options.blobs_per_block.is_some_and(|wanted| wanted != limit) {
        bail!(
            "the chain in {} allows {limit} blobs a block; leave --blobs-per-block out to resume it",
            dir.display()
        );
    }
    if let Some(wanted) = options.retention {
        ensure!(
            wanted == least && keep_blobs_for(&homes, wanted)?,
            "the network in {} was made with another retention: its genesis asks for {least} heights, and each node \
             has its own in config.toml, which may be changed; leave --retention out to resume it",
            dir.display()
        );
    }
    let mut addresses = homes.iter().map(configured).collect::<anyhow::Result<Vec<_>>>()?;
    let are_free = addresses.iter().all(ports::are_free);
    if !are_free {
        addresses = ports::free(homes.len()).context("no free ports on loopback")?;
    }
    if !are_free || !know_each_other(&homes, &addresses)? {
        readdress(&homes, &addresses)?;
    }
    Ok(addresses
        .into_iter()
        .enumerate()
        .map(|(id, addresses)| node_home(dir, id, addresses))
        .collect())
}

/// Whether each home is set to free blobs after so many heights.
fn keep_blobs_for(homes: &[Home], heights: u64) -> anyhow::Result<bool> {
    for home in homes {
        let (config, _, _) = load(home)?;
        if config.retention.blobs_heights != Some(heights) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Has each node archive into a folder of its own below `archive`, from now on.
fn archive_into(nodes: &[NodeHome], archive: &Path) -> anyhow::Result<()> {
    for node in nodes {
        let home = Home::open(&node.home)?;
        let (config, _, text) = load(&home)?;
        let folder = ArchiveAddress::Folder(archive.join(format!("node{}", node.id)));
        match config.archive {
            Some(before) => ensure!(
                before.address == folder,
                "{} archives into {} already; leave --archive out to resume it",
                node.home.display(),
                before.address
            ),
            None => {
                let url = SettingValue::Text(folder.to_string());
                replace_file(&home.config(), &write::with_settings(&text, &[("archive.url", url)])?)?;
                // It has the whole of the settings' checks: what is written is what a node takes.
                load(&home)?;
            }
        }
    }
    Ok(())
}

fn node_home(dir: &Path, id: usize, addresses: Addresses) -> NodeHome {
    NodeHome {
        id,
        home: network::node_directory(dir, id),
        log: dir.join(format!("node{id}.log")),
        addresses,
    }
}

fn load(home: &Home) -> anyhow::Result<(Config, Layers, String)> {
    let path = home.config();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let sources = Sources {
        file: Some((path, text.clone())),
        ..Sources::default()
    };
    let (config, layers) = Config::load(home.root(), &sources)?;
    Ok((config, layers, text))
}

fn configured(home: &Home) -> anyhow::Result<Addresses> {
    let (config, layers, _) = load(home)?;
    let address = |name: &str| -> anyhow::Result<SocketAddr> {
        match &layers.get(name).value {
            SettingValue::Text(text) => Ok(text.parse()?),
            other => bail!("{name} is {other}"),
        }
    };
    // Read from the settings, as a node of a devnet may have been given an execution client of its own.
    let (engine_http, engine_auth) = (address("engine.embedded_http")?, address("engine.embedded_auth")?);
    Ok(Addresses {
        quic: config.network.listen,
        http: config.http.listen,
        engine_http,
        engine_auth,
    })
}

/// Each home as its peers are told of it.
fn peers(homes: &[Home], addresses: &[Addresses]) -> anyhow::Result<Vec<PeerAddress>> {
    let peer = |(home, addresses): (&Home, &Addresses)| -> anyhow::Result<PeerAddress> {
        let key = ultramarine_node::keys::read_key(&home.node_key())?;
        Ok(PeerAddress {
            peer_id: Some(PeerId(key.verifying_key().to_bytes())),
            host_port: HostPort {
                host: Host::Address(addresses.quic.ip()),
                port: addresses.quic.port(),
            },
        })
    };
    homes.iter().zip(addresses).map(peer).collect()
}

/// Whether no home looks for another one at a wrong address, as they do when giving them new ones was cut off.
fn know_each_other(homes: &[Home], addresses: &[Addresses]) -> anyhow::Result<bool> {
    let peers = peers(homes, addresses)?;
    for home in homes {
        let (config, _, _) = load(home)?;
        let is_lost = |known: &PeerAddress| {
            let now = peers.iter().find(|peer| peer.peer_id == known.peer_id);
            now.is_some_and(|peer| peer.host_port.port != known.host_port.port)
        };
        if config.network.peers.iter().any(is_lost) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives resumed homes new ports, and tells each about the others'.
fn readdress(homes: &[Home], addresses: &[Addresses]) -> anyhow::Result<()> {
    let peers: Vec<String> = peers(homes, addresses)?.iter().map(PeerAddress::to_string).collect();
    for (index, (home, addresses)) in homes.iter().zip(addresses).enumerate() {
        let (_, _, text) = load(home)?;
        let others = peers
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, peer)| peer.clone());
        let mut settings = network::addresses(addresses, true);
        settings.push(("network.peers", SettingValue::List(others.collect())));
        replace_file(&home.config(), &write::with_settings(&text, &settings)?)?;
        // A full node made from this genesis later should find the others too; peers are no part of the chain's
        // identity.
        let text = fs::read_to_string(home.genesis())?;
        let genesis = GenesisFile {
            peers: peers.clone(),
            ..serde_json::from_str(&text)?
        };
        replace_file(&home.genesis(), &(serde_json::to_string_pretty(&genesis)? + "\n"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
