//! What people watch a node by: rules, alerts and dashboards, judged by Debian's Prometheus over a live network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use ultramarine_node::conditions::{CATALOGUE, CatalogueEntry};
use ultramarine_node::metrics::reference;

use crate::harness::prometheus::{JOB, Prometheus, folder, program};
use crate::harness::{Devnet, Node, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
/// From a cause to the alert and the words of `/health`.
const TOLD: Duration = Duration::from_secs(15);

#[test]
fn promtool_accepts_rules_and_alerts_and_every_alert_fires_when_it_should() {
    let Some(promtool) = program("promtool") else { return };
    for arguments in [
        &["check", "rules", "rules.yml", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
    ] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(folder())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "promtool {arguments:?}: {text}");
    }
}

#[test]
fn every_expression_gives_data_on_a_live_network_and_each_event_its_alert() {
    let Some(program) = program("prometheus") else { return };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let (dir, archive) = (temporary.path().join("net"), temporary.path().join("archive"));
    let archive = archive.to_str().expect("text");
    let devnet = Devnet::start(&dir, &["--separate-clients", "--archive", archive]);
    let prometheus = Prometheus::start(&program, &temporary.path().join("prometheus"), &devnet.nodes);
    devnet.wait_for_height(3, PATIENCE);
    the_reference_has_every_name(&devnet.nodes[0]);

    let (recorded, alerts) = prometheus.rules();
    let mut expressions = dashboards();
    expressions.extend(recorded.into_iter().map(|(_, query)| query));
    expressions.extend(alerts.iter().map(|(_, query)| watched(query).to_owned()));
    let until = Instant::now() + PATIENCE;
    loop {
        let missing = without_data(&prometheus, &expressions);
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "no data for {missing:#?}");
        std::thread::sleep(Duration::from_secs(1));
    }

    let known: BTreeSet<String> = alerts.into_iter().map(|(name, _)| name).collect();
    let waiting = waiting();
    assert!(waiting.keys().all(|name| known.contains(name)), "{waiting:?}");
    let cause = |event: &str| -> Vec<&str> {
        let of_event = waiting.iter().filter(|(_, waits_for)| *waits_for == event);
        of_event.map(|(name, _)| name.as_str()).collect()
    };
    let [first, second, .., last] = &devnet.nodes[..] else {
        panic!("four nodes");
    };
    let client = client_pid(&dir, second.id);
    kill_process(client, Signal::STOP).expect("it runs");
    for alert in cause("a client is stopped") {
        is_told(&prometheus, alert, second);
    }
    kill_process(client, Signal::CONT).expect("it runs");
    last.kill();
    for alert in cause("a node is killed") {
        let of = if alert == "UltramarineNodeDown" { last } else { first };
        is_told(&prometheus, alert, of);
    }
    let events: BTreeSet<&str> = waiting.values().map(String::as_str).collect();
    assert_eq!(
        events,
        BTreeSet::from(["a client is stopped", "a node is killed"]),
        "each event is caused above"
    );
}

/// Waits for the alert, and for the same words under `/health`.
fn is_told(prometheus: &Prometheus, name: &str, node: &Node) {
    let alert = wait_for(name, TOLD, || prometheus.firing(name, node));
    let Some(entry) = condition_of(&alert) else {
        return;
    };
    assert_eq!(alert["annotations"]["summary"], entry.words);
    assert_eq!(alert["annotations"]["action"], entry.action);
    let what = wait_for("the same under /health", TOLD, || {
        let (_, health) = node.get("/health").ok()?;
        let conditions = health["conditions"].as_array()?.iter();
        let found = conditions.filter(|one| one["id"] == entry.id);
        found.map(|one| one["what"].as_str().expect("text").to_owned()).next()
    });
    assert!(entry.fits(&what), "{what} is not in the words {}", entry.words);
}

/// The catalogue's entry that an alert is about.
fn condition_of(alert: &Value) -> Option<&'static CatalogueEntry> {
    CATALOGUE.iter().find(|entry| alert["labels"]["condition"] == entry.id)
}

/// Alerts of the list, each with the event that it waits for.
fn waiting() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("events.txt")).expect("the list is there");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, event) = line.split_once(": ").expect("NAME: event");
            (name.to_owned(), event.to_owned())
        })
        .collect()
}

/// Of an alert's expression, what is compared: that gives data while all is well.
fn watched(query: &str) -> &str {
    let comparisons = [" == ", " > ", " < "];
    let at = comparisons
        .iter()
        .filter_map(|comparison| query.rfind(comparison))
        .max();
    at.map_or(query, |at| &query[..at])
}

/// The expressions of all dashboards, as Grafana would fill them in.
fn dashboards() -> Vec<String> {
    let mut expressions = Vec::new();
    for entry in std::fs::read_dir(folder().join("../grafana")).expect("dashboards are in the tree") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            let targets = panel["targets"].as_array().into_iter().flatten();
            expressions.extend(targets.map(|target| {
                let expression = target["expr"].as_str().expect("an expression");
                let filled = expression.replace("$__rate_interval", "1m").replace("$job", JOB);
                filled.replace("$instance", ".*")
            }));
        }
    }
    expressions
}

/// Expressions that give no number, with what is wrong.
fn without_data<'a>(prometheus: &Prometheus, expressions: &'a [String]) -> Vec<(&'a str, String)> {
    let judged = expressions.iter().filter_map(|expression| {
        let why = match prometheus.query(expression) {
            Ok(numbers) if numbers.is_empty() => "nothing".to_owned(),
            Ok(numbers) if numbers.iter().all(|number| number.is_nan()) => "no number".to_owned(),
            Ok(_) => return None,
            Err(error) => error,
        };
        Some((expression.as_str(), why))
    });
    judged.collect()
}

/// Every name that a live node shows stands in the reference with its type.
fn the_reference_has_every_name(node: &Node) {
    let families = reference::registry().families();
    let known: BTreeMap<&str, &str> = families.iter().map(|family| (family.name, family.kind)).collect();
    let text = node.text("/metrics").expect("it answers");
    let mut count = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        assert_eq!(known.get(name), Some(&kind), "{name}");
        count += 1;
    }
    assert!(count > 50, "{text}");
}

/// The process of a node's execution client.
fn client_pid(dir: &Path, id: usize) -> Pid {
    let text = std::fs::read_to_string(dir.join("devnet.json")).expect("the devnet runs");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let pid = file["nodes"][id]["client_pid"].as_i64().expect("clients of their own");
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}
