//! This file knows how to run a local network: real validator processes, each with its own execution client, under load.
//!
//! ```text
//!   DIR/devnet.json      where everything is, written when all nodes are ready
//!   DIR/node0/ …         homes
//!   DIR/node0.log …      what each node says
//!
//!   devnet ──spawns──▶ ultramarine start --home DIR/node0 …     one process a node; they end when devnet ends
//!          ──feeds───▶ each node's execution client             blob transactions, from an account per node
//!          ──watches─▶ each node's /status, /histograms         by URL: a node restarted by hand is seen again
//! ```

pub mod child;
pub mod client;
pub mod layout;
pub mod load;
pub mod ports;
pub mod report;
pub mod watch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::home::replace_file;
use crate::program;
use child::{Child, Spawn};
use client::Client;
use layout::Layout;
use load::Load;
use watch::{Ending, Watch};

/// How long nodes may stand still until all are ready. A resumed network replays its blocks to empty execution clients first.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a starting network is looked at.
const READY_INTERVAL: Duration = Duration::from_millis(100);
/// Lines of a failed node's log that are shown.
const LOG_TAIL_LINES: usize = 15;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of validators of a new network; `None`: four, or as many as the resumed network has.
    pub validators: Option<u16>,
    /// Where to keep it, and from where to resume it; `None`: a fresh folder, removed at the end.
    pub dir: Option<PathBuf>,
    /// File or folder to publish, round and round; `None`: fresh blobs.
    pub blobs: Option<PathBuf>,
    /// What makes fresh blobs; the same makes the same. `None`: a random one.
    pub seed: Option<u64>,
    /// Run each node's execution client in a process of its own.
    pub separate_clients: bool,
    /// Most blobs a block may carry in a new network; `None`: six, or what the resumed network has.
    pub blobs_per_block: Option<u32>,
    /// End when every node has decided this height.
    pub until_height: Option<u64>,
    /// Print one JSON object at the end.
    pub json: bool,
    /// `node.io` of every node, if not as configured.
    pub io: Option<String>,
    /// `log.filter` of every node, if not as configured.
    pub log: Option<String>,
}

/// Runs a network until it is told to stop or has reached its height.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // Children are bound to the thread that starts them, so that is this one, which lives as long as the process.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let layout = Layout::prepare(options)?;
    let result = runtime.block_on(network(options, &layout));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match &result {
        Ok(()) => layout.finish(),
        Err(_) => say(
            options,
            &format!("the network's files and logs are kept in {}", layout.dir().display()),
        ),
    }
    result
}

async fn network(options: &Options, layout: &Layout) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let client = Client::new();
    let load = load::Description::of(options)?;
    let mut clients = Vec::new();
    let mut children = Vec::with_capacity(layout.nodes().len());
    for node in layout.nodes() {
        if options.separate_clients {
            clients.push(Child::spawn_client(node)?);
        }
        children.push(Child::spawn(&Spawn {
            home: &node.home,
            log: &node.log,
            io: options.io.as_deref(),
            filter: options.log.as_deref(),
            engine: options.separate_clients.then(|| node.engine()).transpose()?,
        })?);
    }
    say(
        options,
        &format!(
            "starting {} validators in {}",
            layout.nodes().len(),
            layout.dir().display()
        ),
    );
    let publishers = Load::start(&load, layout);

    let ended = tokio::select! {
        () = stop.asked() => Ok(Ending::Asked),
        ended = operate(options, layout, &load, &client, &mut children, &clients) => ended,
    };
    publishers.stop().await;
    let outcome = match ended {
        Ok(Ending::Asked) if !options.json => Ok(()),
        ended => finish(options, layout, &load, &client, ended).await,
    };
    child::stop_all(&mut children).await;
    child::stop_all(&mut clients).await;
    outcome
}

/// Waits until the network is ready, tells where everything is, and watches it until its end.
async fn operate(
    options: &Options,
    layout: &Layout,
    load: &load::Description,
    client: &Client,
    children: &mut [Child],
    clients: &[Child],
) -> anyhow::Result<Ending> {
    wait_ready(layout, client, children).await?;
    write_directory(layout, children, clients)?;
    introduce(options, layout, load);
    Watch::new(options, layout, client, children).run().await
}

async fn finish(
    options: &Options,
    layout: &Layout,
    load: &load::Description,
    client: &Client,
    ended: anyhow::Result<Ending>,
) -> anyhow::Result<()> {
    let report = report::gather(layout.nodes(), load, client).await;
    if options.json {
        println!(
            "{}",
            serde_json::to_string(&report).context("a report has a JSON form")?
        );
    }
    match ended? {
        Ending::Asked => Ok(()),
        Ending::Stalled(reason) => bail!("{reason}"),
        Ending::Reached(height) => {
            if !report.agreement {
                bail!("the nodes do not agree: {}", report.disagreement.join("; "));
            }
            say(
                options,
                &format!("every node has decided height {height}, and all agree on every height"),
            );
            Ok(())
        }
    }
}

async fn wait_ready(layout: &Layout, client: &Client, children: &mut [Child]) -> anyhow::Result<()> {
    let nodes = layout.nodes();
    let patience = watch::patience(READY_TIMEOUT, layout.blobs_per_block());
    let (mut moved, mut fewest, mut most) = (Instant::now(), usize::MAX, 0);
    loop {
        let (mut unready, mut executed) = (Vec::new(), 0);
        for (node, child) in nodes.iter().zip(children.iter_mut()) {
            if let Some(status) = child.ended()? {
                bail!(
                    "node{} ended while starting ({status}). Its last words, from {}:\n{}",
                    node.id,
                    node.log.display(),
                    tail(&node.log)
                );
            }
            match client.status(&node.http()).await {
                // A network that decides is under way, whatever one node still waits for.
                Ok(snapshot) if snapshot.decided_total > 0 => {}
                Ok(snapshot) => {
                    let reasons = snapshot.unready();
                    unready.extend(reasons.iter().map(|why| format!("node{}: {why}", node.id)));
                    executed += snapshot.executed_height.0;
                }
                Err(error) => unready.push(format!("node{}: {}", node.id, program::causes(&error))),
            }
        }
        if unready.is_empty() {
            return Ok(());
        }
        // Less to wait for than ever, or more replayed: a node that comes and goes is no progress.
        if unready.len() < fewest || executed > most {
            moved = Instant::now();
            (fewest, most) = (fewest.min(unready.len()), most.max(executed));
        }
        if moved.elapsed() > patience {
            bail!("nothing moved for {} s: {}", patience.as_secs(), unready.join("; "));
        }
        tokio::time::sleep(READY_INTERVAL).await;
    }
}

/// `clients` are the execution clients' processes, if they have any of their own.
fn write_directory(layout: &Layout, children: &[Child], clients: &[Child]) -> anyhow::Result<()> {
    let nodes: Vec<_> = layout
        .nodes()
        .iter()
        .zip(children)
        .enumerate()
        .map(|(index, (node, child))| {
            let mut entry = json!({
                "id": node.id,
                "home": node.home,
                "pid": child.pid(),
                "http": node.http(),
                "rpc": node.rpc(),
                "quic": node.addresses.quic.to_string(),
            });
            if let Some(client) = clients.get(index) {
                entry["client_pid"] = json!(client.pid());
            }
            entry
        })
        .collect();
    let path = layout.dir().join("devnet.json");
    let text = serde_json::to_string_pretty(&json!({ "nodes": nodes }))? + "\n";
    replace_file(&path, &text).with_context(|| format!("cannot write {}", path.display()))
}

fn introduce(options: &Options, layout: &Layout, load: &load::Description) {
    let mut text = String::from("\n  node   status, metrics, blobs           execution client (JSON-RPC)\n");
    for node in layout.nodes() {
        text.push_str(&format!(
            "  {:<5}  {:<31}  {}\n",
            format!("node{}", node.id),
            node.http(),
            node.rpc()
        ));
    }
    let (first, last) = (&layout.nodes()[0], &layout.nodes()[layout.nodes().len() - 1]);
    text.push_str(&format!(
        "\nTry next, in another terminal:\n  \
         curl {first_http}/status\n  \
         curl {last_http}/eth/v1/beacon/blob_sidecars/head\n  \
         {program} blob put README.md --rpc {first_rpc}\n  \
         {program} blob get --node {last_http} --out copy.md HASH…\n\
         Logs are in {dir}/node*.log. Now {load}. Ctrl-C stops everything.\n",
        load = load.line(),
        program = program::name(),
        first_http = first.http(),
        last_http = last.http(),
        first_rpc = first.rpc(),
        dir = layout.dir().display(),
    ));
    say(options, &text);
}

/// Tells people; standard output belongs to the JSON object when that is asked for.
fn say(options: &Options, text: &str) {
    if options.json {
        eprintln!("{text}")
    } else {
        println!("{text}")
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..]
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect()
}

/// Ctrl-C, or the system's wish that we end.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
