//! Runs Debian's Prometheus over a network, and its `promtool` over our rules.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::program::missing;
use super::{Node, Process, get, wait_for};

/// Where `.ci/run` unpacks the package, from the root of the repository.
const UNPACKED: &str = "target/prometheus/usr/bin";
/// The job that rules, alerts and dashboards expect.
pub const JOB: &str = "ultramarine";

/// Rules and alerts, in the tree.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../perf/prometheus")
}

/// A program of the package, unpacked or installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(UNPACKED);
    let folders = std::env::var_os("ULTRAMARINE_PROMETHEUS_DIR").map_or(unpacked, PathBuf::from);
    let installed = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::iter::once(folders).chain(std::env::split_paths(&installed));
    let found = candidates.find_map(|folder| Some(folder.join(name)).filter(|program| program.is_file()));
    found.or_else(|| missing("Prometheus", "ULTRAMARINE_REQUIRE_PROMETHEUS", Path::new(name)))
}

/// A name, and the expression that it stands for.
pub type NamedExpression = (String, String);

/// What the README's configuration has in the place of the nodes.
const TARGET: &str = "\"127.0.0.1:8580\"";

/// The configuration that the README gives to operators, word for word, over these nodes.
fn configuration(nodes: &[Node]) -> String {
    let readme = include_str!("../../../../README.md");
    let (_, block) = readme
        .split_once("```yaml\n# prometheus.yml")
        .expect("the README has it");
    let (block, _) = block.split_once("```").expect("it ends");
    assert_eq!(block.matches(TARGET).count(), 1, "{block}");
    assert!(block.contains(&format!("job_name: {JOB}\n")), "{block}");
    let targets: Vec<String> = nodes
        .iter()
        .map(|node| format!("\"{}\"", node.http.trim_start_matches("http://")))
        .collect();
    format!("# prometheus.yml{}", block.replace(TARGET, &targets.join(", ")))
}

/// A Prometheus as the README configures it.
#[derive(Debug)]
pub struct Prometheus {
    base: String,
    _process: Process,
}

impl Prometheus {
    /// Starts it over these nodes, with our rules and alerts, and waits until it answers.
    pub fn start(program: &Path, dir: &Path, nodes: &[Node]) -> Self {
        std::fs::create_dir_all(dir).expect("the folder is writable");
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let listen = held.local_addr().expect("it is bound").to_string();
        drop(held);
        // Beside it lies what the README says.
        for name in ["rules.yml", "alerts.yml"] {
            std::fs::copy(folder().join(name), dir.join(name)).expect("the rules are in the tree");
        }
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, configuration(nodes)).expect("the folder is writable");
        let log = std::fs::File::create(dir.join("prometheus.log")).expect("the folder is writable");
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        let started = Self {
            base: format!("http://{listen}"),
            _process: Process(child),
        };
        wait_for("answer of Prometheus", Duration::from_secs(30), || {
            started.api("query?query=1").ok()
        });
        started
    }

    /// What its API answers under `data`.
    fn api(&self, path: &str) -> std::io::Result<Value> {
        let (status, answer) = get(&self.base, &format!("/api/v1/{path}"))?;
        if status != 200 {
            return Err(std::io::Error::other(format!("{status}: {answer}")));
        }
        Ok(answer["data"].clone())
    }

    /// The numbers that an expression gives now, or why it is none.
    pub fn query(&self, expression: &str) -> Result<Vec<f64>, String> {
        let path = format!("query?query={}", percent_encoded(expression));
        let data = self.api(&path).map_err(|error| error.to_string())?;
        let numbers = data["result"].as_array().into_iter().flatten();
        Ok(numbers
            .filter_map(|one| one["value"][1].as_str()?.parse().ok())
            .collect())
    }

    /// What it complains of in rules that it has evaluated; `None`: it has not evaluated all of them yet.
    pub fn complaints(&self) -> Option<Vec<String>> {
        let data = self.api("rules").ok()?;
        let groups = data["groups"].as_array()?.iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let mut complaints = Vec::new();
        for rule in rules {
            match rule["health"].as_str() {
                Some("ok") => {}
                Some("err") => complaints.push(format!("{}: {}", rule["name"], rule["lastError"])),
                _ => return None,
            }
        }
        Some(complaints)
    }

    /// Names and expressions of the rules that it has loaded: recorded ones, and alerts.
    pub fn rules(&self) -> (Vec<NamedExpression>, Vec<NamedExpression>) {
        let data = self.api("rules").expect("it answers");
        let groups = data["groups"].as_array().expect("groups").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (alerts, recorded): (Vec<_>, Vec<_>) = rules.partition(|rule| rule["type"] == "alerting");
        let named = |rules: Vec<&Value>| {
            let rules = rules.into_iter();
            rules.map(|rule| (text(&rule["name"]), text(&rule["query"]))).collect()
        };
        (named(recorded), named(alerts))
    }

    /// An alert that fires of this instance.
    pub fn firing(&self, name: &str, node: &Node) -> Option<Value> {
        let instance = node.http.trim_start_matches("http://");
        let data = self.api("alerts").ok()?;
        let mut alerts = data["alerts"].as_array()?.iter();
        let of_node = |alert: &&Value| {
            let labels = &alert["labels"];
            labels["alertname"] == name && labels["instance"] == instance && alert["state"] == "firing"
        };
        alerts.find(of_node).cloned()
    }
}

fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
