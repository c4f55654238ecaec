//! This file knows `ultramarine store`: what a node's store holds, and what is wrong with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hyper::StatusCode;
use serde_json::Value;
use ultramarine_engine::foreign::quoted;
use ultramarine_engine::http::HttpClient;
use ultramarine_node::genesis::Genesis;
use ultramarine_node::http::store::show_account;
use ultramarine_runtime::print;
use ultramarine_runtime::progress::Unit;
use ultramarine_store::{CheckProgress, OpenError};

use crate::cli::home::HomeArgs;
use crate::cli::{Misused, client_runtime};
use crate::progress::ShownProgress;

/// Longest wait for the node's answer, and the most bytes of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Where a node tells what its store holds.
const URL: &str = "/ultramarine/v1/store";

#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Print how many heights are in which state and what takes how many bytes; a running node answers over its HTTP
    Stats(Stats),
    /// Read all that a stopped node has stored, and print everything that is wrong with it (then the exit code is 1)
    Check(HomeArgs),
}

#[derive(Debug, clap::Args)]
pub struct Stats {
    #[command(flatten)]
    home: HomeArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(action: &Action) -> anyhow::Result<()> {
    crate::log::start("warn")?;
    match action {
        Action::Stats(args) => stats(args),
        Action::Check(args) => check(args),
    }
}

fn stats(args: &Stats) -> anyhow::Result<()> {
    let (home, config, _) = args.home.load()?;
    let genesis = Genesis::load(&home)?;
    let account = match ultramarine_store::stats(&config.node.data_dir, genesis.chain.identity) {
        Ok(account) => show_account(&account),
        Err(OpenError::Locked { .. }) => client_runtime()?.block_on(ask(config.http.listen))?,
        Err(error) => return Err(error.into()),
    };
    if args.json {
        print::line(&account)?;
    } else {
        print::text(table(&account))?;
    }
    Ok(())
}

/// Asks the node that has the directory.
async fn ask(listen: SocketAddr) -> anyhow::Result<Value> {
    let node = format!("http://{}", reached(listen));
    let asking = || format!("a node has this directory, and {node}{URL} (http.listen) should tell what it holds");
    let client = HttpClient::new(&node, ANSWER_BYTES_MAX).with_context(asking)?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.get(URL));
    let answer = answer.await.with_context(asking)?.with_context(asking)?;
    ensure!(
        answer.status == StatusCode::OK,
        "{}: it answered {}: {}",
        asking(),
        answer.status,
        quoted(&answer.body)
    );
    serde_json::from_slice(&answer.body).with_context(asking)
}

/// Where a server that listens there is reached on this machine.
pub(super) fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, listen.port())
}

/// One number a line.
fn table(account: &Value) -> String {
    let mut text = String::new();
    for (section, unit) in [("heights", ""), ("bytes", " bytes")] {
        for (name, number) in account[section].as_object().into_iter().flatten() {
            text.push_str(&format!("{name:12} {number:>16}{unit}\n"));
        }
    }
    text.push_str(&format!("{:12} {:>16}\n", "segments", account["segments"]));
    text
}

fn check(args: &HomeArgs) -> anyhow::Result<()> {
    let (home, config, _) = args.load()?;
    let genesis = Genesis::load(&home)?;
    let mut shown = ShownProgress::new("checking", Unit::Heights);
    let mut show = |progress: CheckProgress| shown.at(progress.height.0, Some(progress.head.0));
    let outcome = ultramarine_store::check(&config.node.data_dir, genesis.chain.identity, &mut show);
    drop(shown);
    let wrong = match outcome {
        Ok(wrong) => wrong,
        Err(error @ OpenError::Locked { .. }) => {
            let reason = "stop the node first: only what nobody changes can be checked whole";
            return Err(Misused(anyhow::Error::from(error).context(reason)).into());
        }
        Err(error) => return Err(error.into()),
    };
    if wrong.is_empty() {
        print::line("all that is stored is whole")?;
        return Ok(());
    }
    for line in &wrong {
        print::line(line)?;
    }
    bail!(
        "{} things are wrong with {}",
        wrong.len(),
        config.node.data_dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:8580", "127.0.0.1:8580"),
            ("[::]:8580", "[::1]:8580"),
            ("10.0.0.7:1", "10.0.0.7:1"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reached(listen).to_string(), expected);
        }
    }
}
