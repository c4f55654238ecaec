//! This file knows `ultramarine testnet`: homes for the validators of a new network.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use ultramarine_runtime::print;
use ultramarine_types::limits;

use crate::home::network::{Addresses, CHAIN_ID, NodePlan, Plan, is_loopback, lay_out, node_directory};

/// Ports of the first node on a machine, as in `default.toml`; the next one on the same machine is 100 above.
const PORT_QUIC: u16 = 26_650;
const PORT_HTTP: u16 = 8580;
const PORT_ENGINE_HTTP: u16 = 8545;
const PORT_ENGINE_AUTH: u16 = 8551;
const PORT_STEP: u16 = 100;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many validators
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=limits::VALIDATORS_MAX as i64))]
    validators: u16,
    /// Where they will run: host names or addresses, one per validator; without it, all on this machine
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Directory to write node0, node1, … into
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Most blobs a block may carry
    #[arg(long, value_name = "N", default_value_t = limits::BLOBS_PER_BLOCK_MIN)]
    blobs_per_block: u32,
    /// EIP-155 chain id
    #[arg(long, value_name = "ID", default_value_t = CHAIN_ID)]
    chain_id: u64,
    /// Time between a commit and the start of the next height, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    block_interval_ms: u64,
    /// Unix time in seconds from which Prague's rules hold (Engine API V4); without it, Cancun's hold for ever
    #[arg(long, value_name = "SECONDS")]
    prague_time: Option<u64>,
    /// Let each node run the embedded development client in place of an execution client of its own
    #[arg(long)]
    embedded: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let plan = Plan {
        chain_id: args.chain_id,
        blobs_per_block: args.blobs_per_block,
        block_interval_ms: args.block_interval_ms,
        prague_time: args.prague_time,
        nodes: nodes(usize::from(args.validators), &args.hosts)?,
        embedded: args.embedded,
    };
    lay_out(&args.dir, &plan)?;
    let mut text = String::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        text.push_str(&format!(
            "{}: {} QUIC on {}\n",
            node_directory(&args.dir, index).display(),
            node.host,
            node.addresses.quic
        ));
    }
    text.push_str(
        "\nCopy each directory to its machine, start an execution client there with its execution-genesis.json and jwt.hex,\n\
         and run `ultramarine start --home DIR`. Whoever holds a validator.key can sign for that validator.\n",
    );
    print::text(text).with_context(|| {
        let dir = args.dir.display();
        format!("the homes in {dir} are made and whole; only this was not printed")
    })
}

/// Addresses for each validator; those on one machine get ports of their own.
fn nodes(count: usize, hosts: &[String]) -> anyhow::Result<Vec<NodePlan>> {
    ensure!(
        hosts.is_empty() || hosts.len() == count,
        "--hosts lists {} hosts for {count} validators; list one each",
        hosts.len()
    );
    let mut on_host: HashMap<&str, u16> = HashMap::new();
    let local = "127.0.0.1".to_owned();
    let mut nodes = Vec::with_capacity(count);
    for index in 0..count {
        let host = hosts.get(index).unwrap_or(&local);
        let machine = if is_loopback(host) { &local } else { host };
        let before = on_host.entry(machine).or_default();
        let port = |first: u16| {
            before
                .checked_mul(PORT_STEP)
                .and_then(|offset| first.checked_add(offset))
        };
        let ports = [PORT_QUIC, PORT_HTTP, PORT_ENGINE_HTTP, PORT_ENGINE_AUTH].map(port);
        let [Some(quic), Some(http), Some(engine_http), Some(engine_auth)] = ports else {
            return Err(anyhow::anyhow!("too many validators on {host}")).context("ports run out");
        };
        let quic_ip = if is_loopback(host) {
            Ipv4Addr::LOCALHOST
        } else {
            Ipv4Addr::UNSPECIFIED
        };
        let on_loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addresses = Addresses {
            quic: SocketAddr::from((quic_ip, quic)),
            http: on_loopback(http),
            engine_http: on_loopback(engine_http),
            engine_auth: on_loopback(engine_auth),
        };
        *before += 1;
        nodes.push(NodePlan {
            host: host.clone(),
            addresses,
        });
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_machine_share_no_port() {
        let hosts = ["a", "b", "a", "a"].map(str::to_owned);
        let nodes = nodes(4, &hosts).expect("four hosts for four validators");
        assert_eq!(
            nodes[1].addresses, nodes[0].addresses,
            "the first on each machine has the default ports"
        );
        assert_eq!(nodes[2].addresses.quic.port(), 26_750);
        assert_eq!(nodes[3].addresses.http.port(), 8780);
        assert!(
            nodes[0].addresses.quic.ip().is_unspecified(),
            "other machines must reach it"
        );
        assert!(nodes[0].addresses.http.ip().is_loopback());
    }

    #[test]
    fn without_hosts_all_run_here() {
        let nodes = nodes(256, &[]).expect("as many as a chain allows");
        assert!(
            nodes
                .iter()
                .all(|node| node.host == "127.0.0.1" && node.addresses.quic.ip().is_loopback())
        );
        let mut tcp: Vec<u16> = nodes
            .iter()
            .flat_map(|node| {
                [
                    node.addresses.http,
                    node.addresses.engine_http,
                    node.addresses.engine_auth,
                ]
            })
            .map(|address| address.port())
            .collect();
        tcp.sort_unstable();
        tcp.dedup();
        assert_eq!(tcp.len(), 3 * 256, "no TCP port twice");
    }

    #[test]
    fn as_many_hosts_as_validators() {
        assert!(nodes(4, &["a".to_owned()]).is_err());
    }
}
