//! This file knows the flags of `ultramarine top`, and which nodes they name.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use ultramarine_node::config::{Config, Sources, environment};
use ultramarine_node::home::Home;

use crate::cli::store::reached;
use crate::cli::{Misused, client_runtime};
use crate::top::watch::NodeAddress;
use crate::top::{self, TopOptions};

/// Nodes that one screen can be of.
const NODES_MAX: usize = 64;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A node to watch, by the URL of its HTTP interface; may be repeated, or name several by commas
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    node: Vec<String>,
    /// Watch every node of the devnet in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    dir: Option<PathBuf>,
    /// Watch the node with this home, at its http.listen [default: a node on this machine at the default address]
    #[arg(long, value_name = "DIR", env = HOME)]
    home: Option<PathBuf>,
    /// Print one frame as plain text and end; exit code 1 if no node answers
    #[arg(long)]
    once: bool,
    /// Seconds between two looks at each node
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Draw without colour; so does a variable NO_COLOR that is not empty
    #[arg(long)]
    no_color: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let nodes = nodes(args)?;
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !args.once && !is_terminal {
        let reason = anyhow::anyhow!("standard input and output are no terminal: `--once` prints one frame as text");
        return Err(Misused(reason).into());
    }
    // The convention of no-color.org.
    let is_colorless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    client_runtime()?.block_on(top::run(TopOptions {
        nodes,
        every: Duration::from_secs(args.every),
        once: args.once,
        color: !(args.no_color || is_colorless),
    }))
}

/// The variable whose home is watched where no flag names a node.
const HOME: &str = "ULTRAMARINE_HOME";

/// Refuses a home beside nodes that other flags name. One from the environment gives way: it may stand there for good.
fn choose_one(args: &Args, home_of_environment: Option<&Path>) -> Result<(), Misused> {
    let other = if args.dir.is_some() { "--dir" } else { "--node" };
    let is_named_elsewhere = args.dir.is_some() || !args.node.is_empty();
    let is_flag = args.home.is_some() && args.home.as_deref() != home_of_environment;
    if is_named_elsewhere && is_flag {
        let reason = anyhow::anyhow!("--home and {other} name different nodes: give one of them");
        return Err(Misused(reason));
    }
    Ok(())
}

fn nodes(args: &Args) -> anyhow::Result<Vec<NodeAddress>> {
    choose_one(args, std::env::var_os(HOME).map(PathBuf::from).as_deref())?;
    let nodes = if let Some(dir) = &args.dir {
        of_devnet(dir)?
    } else if args.node.is_empty() {
        vec![of_home(args.home.as_deref())?]
    } else {
        args.node.iter().map(|url| of_url(url)).collect()
    };
    ensure!(!nodes.is_empty(), "there is no node to watch");
    ensure!(
        nodes.len() <= NODES_MAX,
        "{} nodes are named, and at most {NODES_MAX} fit: name some of them by --node",
        nodes.len()
    );
    Ok(nodes)
}

/// A URL, or a host and port as people write them.
fn of_url(url: &str) -> NodeAddress {
    let url = url.trim().trim_end_matches('/');
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    NodeAddress {
        name: url.strip_prefix("http://").unwrap_or(&url).to_owned(),
        url,
    }
}

/// The node of a home, or of the defaults.
fn of_home(home: Option<&Path>) -> anyhow::Result<NodeAddress> {
    let mut sources = Sources {
        file: None,
        environment: environment::of_this_process(),
        flags: Vec::new(),
    };
    let root = match home {
        Some(home) => {
            let home = Home::open(home)?;
            let path = home.config();
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sources.file = Some((path, text));
            home.root().to_owned()
        }
        None => PathBuf::from("."),
    };
    let (config, _) = Config::load(&root, &sources)?;
    let listen: SocketAddr = config.http.listen;
    Ok(of_url(&reached(listen).to_string()))
}

/// What `devnet.json` says of a node.
#[derive(Deserialize)]
struct DevnetNode {
    id: u64,
    http: String,
}

#[derive(Deserialize)]
struct DevnetFile {
    nodes: Vec<DevnetNode>,
}

fn of_devnet(dir: &Path) -> anyhow::Result<Vec<NodeAddress>> {
    let path = dir.join("devnet.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}: is a devnet running with --dir {}?",
            path.display(),
            dir.display()
        )
    })?;
    let file: DevnetFile =
        serde_json::from_str(&text).with_context(|| format!("{} is not what a devnet writes", path.display()))?;
    let node = |node: DevnetNode| NodeAddress {
        name: format!("node{}", node.id),
        ..of_url(&node.http)
    };
    Ok(file.nodes.into_iter().map(node).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(node: &[&str], dir: Option<PathBuf>) -> Args {
        Args {
            node: node.iter().map(|url| (*url).to_owned()).collect(),
            dir,
            home: None,
            once: true,
            every: 1,
            no_color: false,
        }
    }

    #[test]
    fn a_node_is_named_by_url_or_by_host_and_port() {
        for url in ["http://a:1", "http://a:1/", "a:1"] {
            let [node] = &nodes(&args(&[url], None)).expect("a node")[..] else {
                panic!("one node")
            };
            assert_eq!((node.name.as_str(), node.url.as_str()), ("a:1", "http://a:1"));
        }
        let many = vec!["a:1"; NODES_MAX + 1];
        let refusal = nodes(&args(&many, None)).expect_err("too many");
        assert!(refusal.to_string().contains("at most 64"), "{refusal}");
    }

    #[test]
    fn a_home_beside_other_nodes_is_refused_unless_the_environment_names_it() {
        let home = |args| Args {
            home: Some("h".into()),
            ..args
        };
        for (given, other) in [(args(&["a:1"], None), "--node"), (args(&[], Some("d".into())), "--dir")] {
            let given = home(given);
            let refusal = choose_one(&given, None).expect_err("two are named").to_string();
            assert!(refusal.contains("--home") && refusal.contains(other), "{refusal}");
            choose_one(&given, Some("other".as_ref())).expect_err("another is in the environment");
            choose_one(&given, Some("h".as_ref())).expect("the environment's gives way");
        }
        choose_one(&home(args(&[], None)), None).expect("one alone");
        choose_one(&args(&["a:1"], None), Some("h".as_ref())).expect("one alone");
    }

    #[test]
    fn without_a_name_it_is_the_node_of_this_machine() {
        let [node] = &nodes(&args(&[], None)).expect("the defaults are whole")[..] else {
            panic!("one node")
        };
        assert!(node.url.starts_with("http://127.0.0.1:"), "{}", node.url);
    }

    #[test]
    fn a_devnets_nodes_stand_in_its_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let refusal = nodes(&args(&[], Some(dir.path().to_owned()))).expect_err("there is none");
        assert!(refusal.to_string().contains("is a devnet running"), "{refusal}");
        let file = dir.path().join("devnet.json");
        std::fs::write(&file, r#"{"nodes":[{"id":3,"http":"http://127.0.0.1:5","pid":1}]}"#).expect("writable");
        let found = nodes(&args(&[], Some(dir.path().to_owned()))).expect("it is one");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), found[0].url.as_str()),
            ("node3", "http://127.0.0.1:5")
        );
        std::fs::write(&file, "{}").expect("writable");
        let refusal = nodes(&args(&[], Some(dir.path().to_owned()))).expect_err("it is none");
        assert!(refusal.to_string().contains("not what a devnet writes"), "{refusal}");
    }
}
