//! This file knows how to run a local network: real validator processes, each with its own execution client, under
//! load.
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
pub mod voice;
pub mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use ultramarine_node::conditions;
use ultramarine_node::home::replace_file;
use ultramarine_node::signals::Signals;
use ultramarine_runtime::print;

use crate::program;
use child::{Child, Spawn};
use client::NodeClient;
use layout::Layout;
use load::Load;
use report::DevnetReport;
use voice::Voice;
use watch::{Ending, NetworkWatch};

/// How long nodes may stand still until all are ready. A resumed network replays its blocks to empty execution clients
/// first.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a starting network is looked at.
const READY_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct DevnetOptions {
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
    /// Heights for which nodes of a new network keep blobs; `None`: for ever, or as the resumed network does.
    pub retention: Option<u64>,
    /// Folder below which each node archives; `None`: as configured.
    pub archive: Option<PathBuf>,
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
pub fn run(options: &DevnetOptions) -> anyhow::Result<()> {
    // Children are bound to the thread that starts them, so that is this one, which lives as long as the process.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // From here on there is something to tidy up.
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let layout = Layout::prepare(options)?;
    let voice = Voice::new(options.json);
    let run = runtime.block_on(network(options, &layout, &voice, signals));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if run.is_kept {
        let kept = layout.dir().display();
        voice.line(format_args!("the network's files and logs are kept in {kept}"));
    } else {
        layout.finish();
    }
    voice.finish();
    // Last, as its reader may be slow, and a signal ends the process then: nothing is left to be tidied up.
    let printed = run.report.map_or(Ok(()), |report| print_report(&report));
    // What became of the network is the better reason.
    run.outcome.and(printed)
}

/// What a network came to.
struct Run {
    outcome: anyhow::Result<()>,
    /// Whether a reader of the outcome may want to look at a folder that nobody asked to keep.
    is_kept: bool,
    report: Option<DevnetReport>,
}

/// A network under way.
struct Running {
    signals: Signals,
    nodes: Vec<Child>,
    /// Execution clients with processes of their own; empty where the nodes embed them.
    clients: Vec<Child>,
    description: load::Description,
    load: Load,
}

fn print_report(report: &DevnetReport) -> anyhow::Result<()> {
    let text = serde_json::to_string(report).context("a report has a JSON form")?;
    Ok(print::line(text)?)
}

async fn network(options: &DevnetOptions, layout: &Layout, voice: &Voice, signals: Signals) -> Run {
    match start(options, layout, voice, signals).await {
        Ok(running) => run_to_the_end(options, layout, voice, running).await,
        // No node has said anything yet that somebody would look for.
        Err(error) => Run {
            outcome: Err(error),
            is_kept: false,
            report: None,
        },
    }
}

async fn start(options: &DevnetOptions, layout: &Layout, voice: &Voice, signals: Signals) -> anyhow::Result<Running> {
    let description = load::Description::of(options);
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
    voice.line(format_args!(
        "starting {} validators in {}",
        layout.nodes().len(),
        layout.dir().display()
    ));
    let load = Load::start(&description, options.blobs.as_deref(), layout);
    Ok(Running {
        signals,
        nodes: children,
        clients,
        description,
        load,
    })
}

async fn run_to_the_end(options: &DevnetOptions, layout: &Layout, voice: &Voice, mut running: Running) -> Run {
    let client = NodeClient::new();
    let (nodes, clients) = (&mut running.nodes, &running.clients);
    let work = operate(options, layout, voice, &running.description, &client, nodes, clients);
    let ended = tokio::select! {
        _ = running.signals.asked() => Ok(Ending::Asked),
        unprinted = voice.unheard() => Ok(Ending::Unheard(unprinted)),
        ended = work => ended,
    };
    running.signals.let_another_end_it();
    running.load.stop().await;
    let run = finish(options, layout, voice, &running.description, &client, ended).await;
    child::stop_all(&mut running.nodes).await;
    child::stop_all(&mut running.clients).await;
    run
}

/// Waits until the network is ready, tells where everything is, and watches it until its end.
async fn operate(
    options: &DevnetOptions,
    layout: &Layout,
    voice: &Voice,
    load: &load::Description,
    client: &NodeClient,
    children: &mut [Child],
    clients: &[Child],
) -> anyhow::Result<Ending> {
    wait_ready(layout, client, children).await?;
    write_directory(layout, children, clients)?;
    introduce(voice, layout, load);
    NetworkWatch::new(options, voice, layout, client, children).run().await
}

async fn finish(
    options: &DevnetOptions,
    layout: &Layout,
    voice: &Voice,
    load: &load::Description,
    client: &NodeClient,
    ended: anyhow::Result<Ending>,
) -> Run {
    let is_goal = matches!(ended, Ok(Ending::Reached(_)));
    let report = if is_goal || options.json {
        Some(report::gather(layout.nodes(), load, client).await)
    } else {
        None
    };
    let is_unheard = matches!(ended, Ok(Ending::Unheard(_)));
    let outcome = ended.and_then(|ending| judge(options, voice, ending, report.as_ref()));
    Run {
        is_kept: outcome.is_err() && !is_unheard,
        outcome,
        report: report.filter(|_| options.json),
    }
}

fn judge(options: &DevnetOptions, voice: &Voice, ending: Ending, report: Option<&DevnetReport>) -> anyhow::Result<()> {
    match ending {
        Ending::Asked => Ok(()),
        Ending::Unheard(unprinted) => match options.until_height {
            // Who waits for a height must not take this for it.
            Some(height) => bail!("the network was stopped before height {height}: {unprinted}"),
            None => Err(unprinted.into()),
        },
        Ending::Stalled(reason) => bail!("{reason}"),
        Ending::Reached(height) => {
            let disagreement = report.map_or(&[][..], |report| &report.disagreement);
            if !disagreement.is_empty() {
                bail!("the nodes do not agree: {}", disagreement.join("; "));
            }
            voice.line(format_args!(
                "every node has decided height {height}, and all agree on every height"
            ));
            Ok(())
        }
    }
}

async fn wait_ready(layout: &Layout, client: &NodeClient, children: &mut [Child]) -> anyhow::Result<()> {
    let nodes = layout.nodes();
    let patience = watch::patience(READY_TIMEOUT, layout.blobs_per_block());
    let (mut moved, mut fewest, mut most) = (Instant::now(), usize::MAX, 0);
    loop {
        let (mut unready, mut executed) = (Vec::new(), 0);
        for (node, child) in nodes.iter().zip(children.iter_mut()) {
            if let Some(status) = child.ended()? {
                bail!("node{} ended while starting ({status}){}", node.id, child.last_words());
            }
            match client.status(&node.http()).await {
                // A network that decides is under way, whatever one node still waits for.
                Ok(snapshot) if snapshot.decided_total > 0 => {}
                Ok(snapshot) => {
                    let reasons = conditions::unready(&snapshot);
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

fn introduce(voice: &Voice, layout: &Layout, load: &load::Description) {
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
    voice.line(text);
}
