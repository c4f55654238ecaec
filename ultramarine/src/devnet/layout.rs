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
    let (found, limit) = (genesis.validators.len(), genesis.chain.params.blobs_per_block_max);
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
mod tests {
    use super::*;

    fn options(dir: &Path) -> DevnetOptions {
        DevnetOptions {
            validators: None,
            dir: Some(dir.to_owned()),
            blobs: None,
            seed: None,
            separate_clients: false,
            blobs_per_block: None,
            archive: None,
            until_height: None,
            json: false,
            io: None,
            log: None,
        }
    }

    #[test]
    fn a_kept_folder_is_resumed_as_it_was() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("net");
        let first = Layout::prepare(&DevnetOptions {
            blobs_per_block: Some(24),
            ..options(&path)
        })
        .expect("made");
        let nodes = first.nodes().to_vec();
        assert_eq!(nodes.len(), 4);
        for node in &nodes {
            let (config, _, _) = load(&Home::open(&node.home).expect("a home")).expect("valid");
            assert!(!config.node.pin, "they share this machine's cores");
        }
        drop(first);
        let again = Layout::prepare(&options(&path)).expect("resumed");
        assert_eq!(again.nodes(), nodes);
        drop(again);
        for wrong in [
            DevnetOptions {
                validators: Some(5),
                ..options(&path)
            },
            DevnetOptions {
                blobs_per_block: Some(6),
                ..options(&path)
            },
        ] {
            assert!(Layout::prepare(&wrong).is_err());
        }
    }

    #[test]
    fn each_node_archives_into_a_folder_of_its_own_and_goes_on_to_when_resumed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, archive) = (dir.path().join("net"), dir.path().join("archive"));
        let with = |archive: &Path| DevnetOptions {
            archive: Some(archive.to_owned()),
            ..options(&path)
        };
        let nodes = Layout::prepare(&with(&archive)).expect("made").nodes().to_vec();
        for options in [options(&path), with(&archive)] {
            drop(Layout::prepare(&options).expect("resumed"));
            for node in &nodes {
                let (config, _, _) = load(&Home::open(&node.home).expect("a home")).expect("valid");
                let expected = ArchiveAddress::Folder(archive.join(format!("node{}", node.id)));
                assert_eq!(config.archive.expect("it archives").address, expected);
            }
        }
        let error = Layout::prepare(&with(&dir.path().join("other"))).expect_err("another folder");
        assert!(error.to_string().contains("leave --archive out"), "{error}");
    }

    #[test]
    fn a_resumed_network_moves_off_ports_that_were_taken() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("net");
        let before = Layout::prepare(&options(&path)).expect("made").nodes().to_vec();
        let _held = std::net::TcpListener::bind(before[2].addresses.http).expect("was free");
        let after = Layout::prepare(&options(&path)).expect("resumed").nodes().to_vec();
        assert_ne!(after[2].addresses.http, before[2].addresses.http);
        let (config, _, _) = load(&Home::open(&after[0].home).expect("a home")).expect("valid");
        let peers: Vec<String> = config
            .network
            .peers
            .iter()
            .map(|peer| peer.host_port.to_string())
            .collect();
        let expected: Vec<String> = after[1..].iter().map(|node| node.addresses.quic.to_string()).collect();
        assert_eq!(peers, expected, "each knows the others' new addresses");
        let genesis = Genesis::load(&Home::open(&after[1].home).expect("a home")).expect("valid");
        let first = genesis.peers[0].host_port.to_string();
        assert_eq!(
            first,
            after[0].addresses.quic.to_string(),
            "and so does whoever joins later"
        );
    }

    #[test]
    fn a_fresh_folder_is_new_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let (one, other) = (fresh_path().expect("random"), fresh_path().expect("random"));
        assert_ne!(one, other);
        make_fresh(&one).expect("it is new");
        make_fresh(&one).expect_err("another could have made it");
        let mode = fs::metadata(&one).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::remove_dir(one).expect("it is empty");
    }

    #[test]
    fn two_devnets_do_not_share_a_folder() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let _first = Layout::prepare(&options(&dir.path().join("net"))).expect("made");
        let error = Layout::prepare(&options(&dir.path().join("net")))
            .expect_err("held")
            .to_string();
        assert!(error.contains("another devnet runs"), "{error}");
    }

    #[test]
    fn a_folder_of_other_things_is_left_alone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("thesis.txt"), "years of work").expect("writes");
        let error = Layout::prepare(&options(dir.path())).expect_err("not ours").to_string();
        assert!(error.contains("thesis.txt"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_used_is_as_it_was() {
        use std::os::unix::ffi::OsStringExt;
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("devnet.json"), "another program's").expect("writes");
        assert!(Layout::prepare(&options(dir.path())).is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1, "no lock stays");
        fs::write(dir.path().join("devnet.lock"), "another program's too").expect("writes");
        assert!(Layout::prepare(&options(dir.path())).is_err());
        let lock = fs::read(dir.path().join("devnet.lock")).expect("it stays");
        assert_eq!(lock, b"another program's too");
        let (new, empty) = (dir.path().join("new/net"), dir.path().join("empty"));
        fs::create_dir(&empty).expect("makes");
        let no_text: PathBuf = std::ffi::OsString::from_vec(b"new/n\xffet".to_vec()).into();
        let wrong = [
            DevnetOptions {
                blobs_per_block: Some(5000),
                ..options(&new)
            },
            DevnetOptions {
                blobs: Some(dir.path().join("none")),
                ..options(&new)
            },
            DevnetOptions {
                blobs: Some(empty),
                ..options(&new)
            },
            DevnetOptions {
                blobs: Some("/dev/zero".into()),
                ..options(&new)
            },
            options(&dir.path().join(no_text)),
        ];
        for wrong in wrong {
            assert!(Layout::prepare(&wrong).is_err());
            assert!(!dir.path().join("new").exists(), "nor does a folder made for it");
        }
        // What a killed run leaves is in nobody's way.
        fs::create_dir_all(new.join(".node0.new-01234567")).expect("makes");
        Layout::prepare(&options(&new)).expect("made");
    }

    #[test]
    fn a_network_that_lacks_a_home_is_not_started() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("net");
        drop(Layout::prepare(&options(&path)).expect("made"));
        fs::rename(path.join("node2"), dir.path().join("kept")).expect("moves");
        let error = Layout::prepare(&options(&path)).expect_err("three of four").to_string();
        assert!(error.contains("no home of node2"), "{error}");
        fs::rename(dir.path().join("kept"), path.join("node2")).expect("moves");
        drop(Layout::prepare(&options(&path)).expect("whole again"));
        fs::rename(path.join("node0"), dir.path().join("kept")).expect("moves");
        let error = Layout::prepare(&options(&path)).expect_err("no node0").to_string();
        assert!(error.contains("cut off"), "{error}");
    }

    #[test]
    fn nodes_that_were_half_readdressed_find_each_other_again() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("net");
        let nodes = Layout::prepare(&options(&path)).expect("made").nodes().to_vec();
        let moved = ports::free(1).expect("loopback has ports")[0];
        let home = Home::open(&nodes[0].home).expect("a home");
        let (_, _, text) = load(&home).expect("valid");
        let text = write::with_settings(&text, &network::addresses(&moved, true)).expect("valid");
        replace_file(&home.config(), &text).expect("writes");
        let after = Layout::prepare(&options(&path)).expect("resumed").nodes().to_vec();
        assert_eq!(after[0].addresses, moved);
        let (config, _, _) = load(&Home::open(&after[1].home).expect("a home")).expect("valid");
        assert_eq!(config.network.peers[0].host_port.port, moved.quic.port());
    }
}
