//! This file knows `ultramarine testnet`: homes for the validators of a new network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use ultramarine_node::genesis::{BLOCK_INTERVAL_MS_MIN, TIME_S_MAX};
use ultramarine_node::home::network::{Addresses, CHAIN_ID, NodePlan, Plan, lay_out, node_directory};
use ultramarine_node::home::network::{RETENTION_HEIGHTS_MAX, RETENTION_HEIGHTS_MIN};
use ultramarine_runtime::{Clock, print, signals};
use ultramarine_types::host::Host;
use ultramarine_types::limits;

use crate::embedded;
use crate::program;

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
    /// Time between a commit and the start of the next height, in milliseconds, 1000 or more
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    block_interval_ms: u64,
    /// Unix time in seconds from which Prague's rules hold (Engine API V4); without it, Cancun's hold for ever
    #[arg(long, value_name = "SECONDS")]
    prague_time: Option<u64>,
    /// Heights for which every node keeps blobs, 10 or more; written to the genesis and to each config.toml. Without
    /// it, nodes keep them for ever, and the genesis asks for 4096
    #[arg(
        long,
        value_name = "H",
        value_parser = clap::value_parser!(u64).range(RETENTION_HEIGHTS_MIN..=RETENTION_HEIGHTS_MAX)
    )]
    retention: Option<u64>,
    /// Let each node run the embedded development client in place of an execution client of its own
    #[arg(long)]
    embedded: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.block_interval_ms >= BLOCK_INTERVAL_MS_MIN,
        "--block-interval-ms {}: the times of execution blocks are whole seconds, each later than its parent's, so a \
         faster chain \
         would run ahead of the clock and then wait for it; give {BLOCK_INTERVAL_MS_MIN} or more",
        args.block_interval_ms
    );
    if let Some(time) = args.prague_time.filter(|time| *time >= TIME_S_MAX) {
        bail!(
            "--prague-time {time}: that many seconds are thousands of years; give the time in seconds, not milliseconds"
        );
    }
    let hosts = hosts(&args.hosts)?;
    let plan = Plan {
        chain_id: args.chain_id,
        blobs_per_block: args.blobs_per_block,
        block_interval_ms: args.block_interval_ms,
        genesis_time: Clock::unix_ns() / 1_000_000_000,
        prague_time: args.prague_time,
        retention: args.retention,
        nodes: nodes(usize::from(args.validators), &hosts)?,
        embedded: args.embedded.then(embedded::required).transpose()?,
    };
    // Whoever interrupts it finds all of it, or nothing.
    let deferred = signals::defer();
    lay_out(&args.dir, &plan)?;
    drop(deferred);
    let mut text = String::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        text.push_str(&format!(
            "{}: {} QUIC on {}\n",
            node_directory(&args.dir, index).display(),
            node.host,
            node.addresses.quic
        ));
    }
    text.push_str(&format!("\n{}\n", next_steps(args, &plan)));
    print::text(text).with_context(|| {
        let dir = args.dir.display();
        format!("the homes in {dir} are made and whole; only this was not printed")
    })
}

/// What to do with the homes, by where they will run and with what execution client.
fn next_steps(args: &Args, plan: &Plan) -> String {
    let program = program::name();
    let is_here = plan.nodes.iter().all(|node| node.host.loopback().is_some());
    let start = if is_here {
        let first = node_directory(&args.dir, 0);
        let first = format!("`{program} start --home {}`", first.display());
        match plan.nodes.len() {
            1 => format!("run {first}"),
            _ => format!("run {first}, and the others in the same way, each in a terminal of its own"),
        }
    } else {
        format!("run `{program} start --home DIR`")
    };
    let copy = if is_here {
        ""
    } else {
        "Copy each directory to its machine; there, "
    };
    let client = if args.embedded {
        ""
    } else if is_here {
        "For each node start an execution client with the execution-genesis.json and jwt.hex of its directory, its \
         Engine API at \
         the engine.url in config.toml; then "
    } else {
        "start an execution client with its execution-genesis.json and jwt.hex, and "
    };
    let mut steps = format!("{copy}{client}{start}.");
    steps[..1].make_ascii_uppercase();
    if args.embedded {
        steps.push_str(
            "\nThe execution client is inside each node and keeps its state in memory: for trials, not for a chain of \
             worth.",
        );
    }
    steps.push_str("\nWhoever holds a validator.key can sign for that validator.");
    steps
}

/// Reads every host, and says everything that is wrong with any.
fn hosts(texts: &[String]) -> anyhow::Result<Vec<Host>> {
    let (mut hosts, mut wrong) = (Vec::with_capacity(texts.len()), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<Host>() {
            Ok(host) => hosts.push(host),
            Err(error) => wrong.push(format!("--hosts: host {} of {}: {error}", index + 1, texts.len())),
        }
    }
    ensure!(
        wrong.is_empty(),
        "{}\nA host is a name or an IP address, such as a.example, 10.0.0.1 or ::1; ports are chosen for it",
        wrong.join("\n")
    );
    let loopbacks: Vec<IpAddr> = hosts.iter().filter_map(Host::loopback).collect();
    if let Some(one) = loopbacks.first() {
        ensure!(
            loopbacks.len() == hosts.len(),
            "--hosts: {one} is reached from its own machine only, and other hosts are not on it; give the address \
             under which \
             they reach it"
        );
        ensure!(
            loopbacks.iter().all(|other| other.is_ipv4() == one.is_ipv4()),
            "--hosts: nodes on 127.0.0.1 and nodes on ::1 do not reach each other; give one of them for all"
        );
    }
    Ok(hosts)
}

/// Addresses for each validator; those on one machine get ports of their own.
fn nodes(count: usize, hosts: &[Host]) -> anyhow::Result<Vec<NodePlan>> {
    ensure!(
        hosts.is_empty() || hosts.len() == count,
        "--hosts lists {} hosts for {count} validators; list one each",
        hosts.len()
    );
    let local = Host::Address(Ipv4Addr::LOCALHOST.into());
    // One socket for both families, as soon as one host is known to have IPv6.
    let everywhere = if hosts.iter().any(Host::is_version_6) {
        IpAddr::from(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    };
    let mut nodes: Vec<NodePlan> = Vec::with_capacity(count);
    for index in 0..count {
        let host = hosts.get(index).unwrap_or(&local);
        let before = nodes.iter().filter(|node| node.host.is_beside(host)).count();
        let port = |first: u16| {
            u16::try_from(before)
                .ok()
                .and_then(|before| before.checked_mul(PORT_STEP))
                .and_then(|offset| first.checked_add(offset))
        };
        let ports = [PORT_QUIC, PORT_HTTP, PORT_ENGINE_HTTP, PORT_ENGINE_AUTH].map(port);
        let [Some(quic), Some(http), Some(engine_http), Some(engine_auth)] = ports else {
            return Err(anyhow::anyhow!("too many validators on {host}")).context("ports run out");
        };
        // What is for its own machine alone is on the loopback that the host names, if it is one.
        let loopback = host.loopback();
        let on_loopback = |port| SocketAddr::new(loopback.unwrap_or(Ipv4Addr::LOCALHOST.into()), port);
        let addresses = Addresses {
            quic: SocketAddr::new(loopback.unwrap_or(everywhere), quic),
            http: on_loopback(http),
            engine_http: on_loopback(engine_http),
            engine_auth: on_loopback(engine_auth),
        };
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
        let nodes = nodes(4, &read("a,b,A.,a")).expect("four hosts for four validators");
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
                .all(|node| node.host.to_string() == "127.0.0.1" && node.addresses.quic.ip().is_loopback())
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
        assert!(nodes(4, &read("a")).is_err());
    }

    fn read(list: &str) -> Vec<Host> {
        let texts: Vec<String> = list.split(',').map(str::to_owned).collect();
        hosts(&texts).expect(list)
    }

    #[test]
    fn a_node_listens_where_its_host_is_and_where_the_others_reach_it() {
        for (list, quic, http) in [
            ("a,b", "0.0.0.0:26650", "127.0.0.1:8580"),
            ("10.0.0.1,::ffff:10.0.0.2", "0.0.0.0:26650", "127.0.0.1:8580"),
            ("::1,::1", "[::1]:26650", "[::1]:8580"),
            ("localhost,127.0.0.1", "127.0.0.1:26650", "127.0.0.1:8580"),
            ("127.0.0.2,127.0.0.3", "127.0.0.2:26650", "127.0.0.2:8580"),
            ("[2001:db8::1],2001:db8::2", "[::]:26650", "127.0.0.1:8580"),
            ("10.0.0.1,2001:db8::2", "[::]:26650", "127.0.0.1:8580"),
        ] {
            let first = nodes(2, &read(list)).expect("two for two")[0].addresses;
            assert_eq!(first.quic.to_string(), quic, "{list}");
            assert_eq!(first.http.to_string(), http, "{list}");
            assert_eq!(first.engine_http.ip(), first.http.ip(), "{list}");
            assert_eq!(first.engine_auth.ip(), first.http.ip(), "{list}");
        }
    }

    /// Runs it into a new folder; what it says, and whether the folder is there.
    fn try_out(flags: &[&str]) -> (Result<(), String>, bool) {
        use clap::Parser;
        let dir = tempfile::tempdir().expect("temporary directory");
        let net = dir.path().join("net");
        let line = ["ultramarine", "testnet", "--dir", net.to_str().expect("UTF-8")];
        let line = line.iter().chain(flags);
        let crate::cli::Command::Testnet(args) = crate::cli::Cli::try_parse_from(line).expect("parses").command else {
            panic!("another command");
        };
        let outcome = run(&args).map_err(|error| format!("{error:#}"));
        (outcome, net.exists())
    }

    #[test]
    fn what_no_node_could_use_is_refused_before_anything_is_written() {
        for (flags, part) in [
            (["--hosts", "a:26650,b:26650"], "has a port"),
            (["--hosts", "http://a,http://b"], "has a scheme"),
            (["--hosts", "a,"], "host 2 of 2: `` is empty"),
            (["--hosts", ",,"], "host 1 of 3: `` is empty"),
            (["--hosts", ""], "is empty"),
            (["--hosts", "a b,c"], "white space"),
            (["--hosts", "a,0.0.0.0"], "no address to dial"),
            (["--hosts", "a,b,c"], "3 hosts for 2 validators"),
            (["--hosts", "a,localhost"], "reached from its own machine only"),
            (["--hosts", "127.0.0.1,::1"], "do not reach each other"),
            (["--block-interval-ms", "200"], "whole seconds"),
            (["--block-interval-ms", "999"], "1000 or more"),
            (["--block-interval-ms", "60001"], "60000"),
            (["--prague-time", "1790000000000"], "milliseconds"),
            (["--blobs-per-block", "5"], "blobs_per_block_max"),
        ] {
            let (outcome, exists) = try_out(&["--validators", "2", flags[0], flags[1]]);
            let error = outcome.expect_err(flags[1]);
            assert!(error.contains(part), "{flags:?}: {error}");
            assert!(!exists, "{flags:?}");
        }
        let (outcome, _) = try_out(&["--validators", "2", "--hosts", "a:1,http://b"]);
        assert_eq!(
            outcome.expect_err("both").lines().count(),
            3,
            "all that is wrong at once"
        );
    }

    #[test]
    fn what_is_written_is_what_nodes_start_with() {
        for flags in [
            ["--hosts", "a, b"],
            ["--hosts", " ::1 ,[::1]"],
            ["--hosts", "10.0.0.1,2001:db8::1"],
            ["--hosts", "a,A."],
            ["--block-interval-ms", "1000"],
            ["--prague-time", "1790000000"],
            ["--prague-time", "0"],
            ["--blobs-per-block", "1024"],
            ["--retention", "10"],
        ] {
            // It has looked at all of it as a node would.
            let (outcome, exists) = try_out(&["--validators", "2", flags[0], flags[1]]);
            outcome.expect(flags[1]);
            assert!(exists);
        }
    }

    #[test]
    fn the_next_steps_are_those_of_this_network() {
        let steps = |list: &str, embedded| {
            let hosts = read(list);
            let plan = Plan {
                chain_id: CHAIN_ID,
                blobs_per_block: 6,
                block_interval_ms: 1000,
                genesis_time: 1_700_000_000,
                prague_time: None,
                retention: None,
                nodes: nodes(hosts.len(), &hosts).expect("one each"),
                embedded: None,
            };
            let args = Args {
                validators: 2,
                hosts: Vec::new(),
                dir: "net".into(),
                blobs_per_block: 6,
                chain_id: CHAIN_ID,
                block_interval_ms: 1000,
                prague_time: None,
                retention: None,
                embedded,
            };
            next_steps(&args, &plan)
        };
        for (list, embedded, parts, others) in [
            (
                "::1,::1",
                true,
                ["start --home net/node0", "for trials"],
                ["Copy", "start an execution"],
            ),
            (
                "a,b",
                true,
                ["Copy each directory", "start --home DIR"],
                ["jwt.hex", "start an execution"],
            ),
            (
                "a,b",
                false,
                ["start an execution client", "jwt.hex"],
                ["for trials", "node0"],
            ),
            (
                "::1",
                false,
                ["start an execution client", "start --home net/node0"],
                ["Copy", "others"],
            ),
        ] {
            let text = steps(list, embedded);
            assert!(
                parts.iter().all(|part| text.contains(part)),
                "{list} {embedded}: {text}"
            );
            assert!(
                others.iter().all(|part| !text.contains(part)),
                "{list} {embedded}: {text}"
            );
        }
    }
}
