//! This file knows which faults of a home show only when configuration, genesis and keys are seen together.

use std::net::{IpAddr, SocketAddr};

use ultramarine_types::host::Host;
use ultramarine_types::url::HttpUrl;

use crate::archive::address::{self, ArchiveAddress};
use crate::archive::remote::Remote;
use crate::config::{Config, EngineEndpoint, Layers, PeerAddress};
use crate::genesis::Genesis;
use crate::keys::Keys;

/// Peers named in one message.
const NAMED_MAX: usize = 3;

/// Why a node does not start with these, one line for each reason.
pub fn misfits(config: &Config, layers: &Layers, genesis: &Genesis, keys: &Keys) -> Vec<String> {
    let origin = |name: &str| &layers.get(name).origin;
    let mut wrong = Vec::new();
    let least = genesis.chain.params.blob_retention_heights_min;
    if let Some(heights) = config.retention.blobs_heights.filter(|heights| *heights < least) {
        let name = "retention.blobs_heights";
        wrong.push(format!(
            "{}: {name} is {heights}, and every node of this chain keeps the blobs of at least {least} heights: raise \
             it, or set 0 to keep them for ever",
            origin(name)
        ));
    }
    wrong.extend(taken_twice(config, layers));
    wrong.extend(own_engine(config, layers));
    wrong.extend(data_elsewhere(config, layers, genesis));
    wrong.extend(archive_elsewhere(config, layers, genesis));
    let unreachable = Unreachable::find(config, layers, genesis, keys);
    wrong.extend(unreachable.filter(|found| found.is_all).map(|found| found.text));
    if let Some(address) = keys
        .address()
        .filter(|address| genesis.validators.get(address).is_none())
    {
        wrong.push(format!(
            "validator.key is of {address}, who is no validator of this chain. Remove the file to run a full node, or \
             use the genesis.json of the right chain"
        ));
    }
    wrong
}

/// What is doubtful, though the node starts with it. `now_s` is the Unix time in seconds.
pub fn warnings(config: &Config, layers: &Layers, genesis: &Genesis, keys: &Keys, now_s: u64) -> Vec<String> {
    let mut doubtful = genesis.warnings(now_s);
    let unreachable = Unreachable::find(config, layers, genesis, keys);
    doubtful.extend(unreachable.filter(|found| !found.is_all).map(|found| found.text));
    doubtful
}

/// Finds two listeners that want one address.
fn taken_twice(config: &Config, layers: &Layers) -> Vec<String> {
    let origin = |name: &str| &layers.get(name).origin;
    let embedded = config.engine.embedded;
    let listens = [
        ("http.listen", Some(config.http.listen)),
        ("engine.embedded_http", embedded.map(|el| el.http)),
        ("engine.embedded_auth", embedded.map(|el| el.auth)),
    ];
    let mut wrong = Vec::new();
    for (index, (name, address)) in listens.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        let taken = |other: &Option<SocketAddr>| other.is_some_and(|other| are_one(address, other));
        if let Some((before, _)) = listens[..index].iter().find(|(_, other)| taken(other)) {
            wrong.push(format!(
                "{}: {name} is {address}, as is {before} ({}); choose another port for one of them",
                origin(name),
                origin(before)
            ));
        }
    }
    wrong
}

/// Whether two TCP listeners exclude each other: they want the same port, on the same address or on all of them.
fn are_one(one: SocketAddr, other: SocketAddr) -> bool {
    let is_all = |address: SocketAddr| address.ip().is_unspecified();
    one.port() == other.port() && (one.ip() == other.ip() || is_all(one) || is_all(other))
}

/// Finds a data directory that cannot be where it is set, or is another chain's.
fn data_elsewhere(config: &Config, layers: &Layers, genesis: &Genesis) -> Option<String> {
    let error = ultramarine_store::look(&config.node.data_dir, genesis.chain.identity).err()?;
    Some(format!("{}: {error}", layers.get("node.data_dir").origin))
}

/// Finds an archive that cannot be where it is set, or is another chain's. A bucket is asked when the node runs.
fn archive_elsewhere(config: &Config, layers: &Layers, genesis: &Genesis) -> Option<String> {
    let origin = &layers.get("archive.url").origin;
    let archive = config.archive.as_ref()?;
    let error = match &archive.address {
        ArchiveAddress::Folder(path) => address::look(path, genesis.chain.identity).err()?,
        ArchiveAddress::Bucket { .. } => Remote::open(&archive.address, &archive.access, genesis.chain.identity, false)
            .err()?
            .to_string(),
    };
    Some(format!("{origin}: {error}"))
}

/// Finds an execution client's URL that leads to this very node.
fn own_engine(config: &Config, layers: &Layers) -> Option<String> {
    let EngineEndpoint::Http(url) = &config.engine.endpoint else {
        return None;
    };
    let url = url.parse::<HttpUrl>().ok()?;
    let address = SocketAddr::new(url.host.loopback()?, url.authority().port);
    let is_ours = config.engine.embedded.is_none() && are_one(address, config.http.listen);
    is_ours.then(|| {
        format!(
            "{}: engine.url is where this node itself serves its API ({}: http.listen); give the Engine API of the \
             execution client, usually port 8551",
            layers.get("engine.url").origin,
            layers.get("http.listen").origin
        )
    })
}

/// Peers that we cannot reach from where we listen: a node dials from there.
struct Unreachable {
    is_all: bool,
    text: String,
}

impl Unreachable {
    fn find(config: &Config, layers: &Layers, genesis: &Genesis, keys: &Keys) -> Option<Self> {
        let listen = config.network.listen;
        let (source, peers) = if config.network.peers.is_empty() {
            ("genesis.json".to_owned(), &genesis.peers)
        } else {
            (layers.get("network.peers").origin.to_string(), &config.network.peers)
        };
        let others: Vec<&PeerAddress> = peers
            .iter()
            .filter(|peer| peer.peer_id != Some(keys.peer_id()))
            .collect();
        let is_lost = |peer: &PeerAddress| match &peer.host_port.host {
            Host::Address(address) => !reaches(listen.ip(), *address),
            Host::Name(_) => false,
        };
        let lost: Vec<String> = others
            .iter()
            .filter(|peer| is_lost(peer))
            .map(|peer| peer.host_port.to_string())
            .collect();
        if lost.is_empty() {
            return None;
        }
        let is_all = lost.len() == others.len();
        let more = if lost.len() > NAMED_MAX { ", …" } else { "" };
        Some(Self {
            is_all,
            text: format!(
                "{}: network.listen is {listen}, from where {} of the {} peers in {source} cannot be reached: \
                 {}{more}. Listen on [::]:{port} for IPv6 and IPv4, or on 0.0.0.0:{port} for IPv4 alone",
                layers.get("network.listen").origin,
                lost.len(),
                others.len(),
                lost[..lost.len().min(NAMED_MAX)].join(", "),
                port = listen.port()
            ),
        })
    }
}

/// Whether a socket bound to `from` can send to `to`. Linux gives a socket on `[::]` both families.
fn reaches(from: IpAddr, to: IpAddr) -> bool {
    let from = from.to_canonical();
    let same_family = from.is_ipv4() == to.is_ipv4();
    let everywhere = from.is_unspecified();
    (same_family || (everywhere && from.is_ipv6())) && (!from.is_loopback() || to.is_loopback())
}

#[cfg(test)]
mod tests;
