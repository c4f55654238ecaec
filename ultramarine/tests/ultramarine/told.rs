//! What goes wrong on a live network is told by all that people watch it with: the alert, `/health`, `ultramarine top`
//! and the page `/dashboard` have the same words within 15 s. Prometheus runs with the README's configuration, and the
//! page of each node is open all the time.
//!
//! `ULTRAMARINE_PICTURES=DIR` keeps what the page and `top` showed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use ultramarine_node::conditions::{CATALOGUE, CatalogueEntry};

use crate::harness::browser::{Browser, Page, chromium};
use crate::harness::faketime::{self, SetClock};
use crate::harness::network::{Network, start_with};
use crate::harness::prometheus::{NamedExpression, Prometheus, folder, program};
use crate::harness::small_disk::OnSmallDisk;
use crate::harness::{Node, run, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
/// From a cause until all tell it.
const TOLD: Duration = Duration::from_secs(15);
/// How often all are looked at.
const LOOKS_EVERY: Duration = Duration::from_millis(100);
/// For how long a node is paused: it tells of pauses of 5 s and more, and takes note of them once a second.
const PAUSE: Duration = Duration::from_millis(6_500);
/// The alert about a node that is gone.
const NODE_DOWN: &str = "UltramarineNodeDown";
/// A disk that holds what a node of four stores in some minutes.
const DISK_MEBIBYTES: u32 = 1024;

/// All that people watch a network with.
struct Watchers<'a> {
    prometheus: Prometheus,
    /// The page of each node, open all the time.
    pages: Vec<Page<'a>>,
    pictures: Option<PathBuf>,
    /// Alerts that wait for an event, by the event.
    alerts: BTreeMap<String, Vec<String>>,
    /// The condition of each alert that is about one.
    conditions: BTreeMap<String, &'static CatalogueEntry>,
    told: BTreeSet<String>,
    /// What was not told as it should be, after all.
    untold: Vec<String>,
}

/// One place where an event is to be seen.
struct Sight<'a> {
    place: String,
    look: Box<dyn Fn() -> bool + 'a>,
}

impl Watchers<'_> {
    /// Holds that every alert of this event is told by all, about the node that `of` chooses.
    fn tell<'a>(&mut self, event: &str, cause: Instant, of: impl Fn(&str) -> &'a Node) {
        let told = AssertUnwindSafe(|| self.tells(event, cause, of));
        if catch_unwind(told).is_err() {
            self.untold.push(event.to_owned());
        }
        self.told.insert(event.to_owned());
    }

    fn tells<'a>(&self, event: &str, cause: Instant, of: impl Fn(&str) -> &'a Node) {
        let of_event = self.alerts[event].iter().map(|name| (name, of(name)));
        let of_event: Vec<(&String, &Node)> = of_event.collect();
        let mut unseen: Vec<Sight<'_>> = of_event
            .iter()
            .flat_map(|(name, node)| self.sights(name, node))
            .collect();
        while !unseen.is_empty() {
            unseen.retain(|sight| {
                let is_seen = (sight.look)();
                let after = cause.elapsed();
                // What is seen late was not told in time, however it came.
                if is_seen && after <= TOLD {
                    eprintln!("{event}: {} after {:.1} s", sight.place, after.as_secs_f64());
                }
                !(is_seen && after <= TOLD)
            });
            let places: Vec<&str> = unseen.iter().map(|sight| sight.place.as_str()).collect();
            assert!(
                unseen.is_empty() || cause.elapsed() <= TOLD,
                "{event}: not told within {TOLD:?} by {places:?}"
            );
            std::thread::sleep(LOOKS_EVERY);
        }
        if let Some(pictures) = &self.pictures {
            let node = of_event.last().expect("each event has an alert").1;
            let file = |suffix: &str| pictures.join(event.replace(' ', "-") + suffix);
            std::fs::create_dir_all(pictures).expect("the folder is writable");
            std::fs::write(file(".png"), self.pages[node.id].picture()).expect("the folder is writable");
            std::fs::write(file(".txt"), top(node)).expect("the folder is writable");
        }
    }

    /// Where an alert about a node is to be seen.
    fn sights<'a>(&'a self, name: &'a str, node: &'a Node) -> Vec<Sight<'a>> {
        let sight = |place: &str, look: Box<dyn Fn() -> bool + 'a>| Sight {
            place: format!("{name} of node{} by {place}", node.id),
            look,
        };
        let page = &self.pages[node.id];
        let entry = self.conditions.get(name).copied();
        let mut sights = vec![sight(
            "the alert",
            Box::new(move || {
                let Some(alert) = self.prometheus.firing(name, node) else {
                    return false;
                };
                if let Some(entry) = entry {
                    assert_eq!(alert["annotations"]["summary"], entry.words);
                    assert_eq!(alert["annotations"]["action"], entry.action);
                }
                true
            }),
        )];
        if let Some(entry) = entry {
            let health = move || {
                let what = condition(node, entry);
                if let Some(what) = &what {
                    assert!(entry.fits(what), "{what} is not in the words {}", entry.words);
                }
                what.is_some()
            };
            sights.push(sight("/health", Box::new(health)));
            sights.push(sight("`top`", Box::new(move || has_words(&top(node), entry))));
            sights.push(sight(
                "its page",
                Box::new(move || has_words(&page.text("wrong"), entry)),
            ));
        } else if name == NODE_DOWN {
            // What is gone cannot tell of itself; those that watch it say so.
            sights.push(sight("`top`", Box::new(move || top(node).contains("no node answers"))));
            let says_so = move || page.text("lost").starts_with("The node is lost: it cannot be reached.");
            sights.push(sight("its page", Box::new(says_so)));
        }
        sights
    }
}

/// What a node's `/health` says of a condition, if it holds.
fn condition(node: &Node, entry: &CatalogueEntry) -> Option<String> {
    let (_, health) = node.get("/health").ok()?;
    let mut conditions = health["conditions"].as_array()?.iter();
    let found = conditions.find(|one| one["id"] == entry.id)?;
    found["what"].as_str().map(str::to_owned)
}

/// Waits until a condition is no longer told.
fn is_over(node: &Node, id: &str) {
    let entry = CATALOGUE
        .iter()
        .find(|entry| entry.id == id)
        .expect("it is in the catalogue");
    wait_for("the end of a condition", PATIENCE, || {
        condition(node, entry).is_none().then_some(())
    });
}

/// One frame of `top`, and what it complains of.
fn top(node: &Node) -> String {
    let output = run(["top", "--once", "--node", &node.http]);
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Whether a text has the words of an entry, in their order, however it breaks its lines.
fn has_words(text: &str, entry: &CatalogueEntry) -> bool {
    let text = words(text);
    let mut rest = text.as_str();
    entry.words.split('…').all(|piece| {
        let piece = words(piece);
        let found = rest.find(&piece);
        rest = found.map_or("", |at| &rest[at + piece.len()..]);
        found.is_some()
    })
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// Alerts that wait for an event, by the event.
fn waiting() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(folder().join("events.txt")).expect("the list is there");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut waiting: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let (name, event) = line.split_once(": ").expect("NAME: event");
        waiting.entry(event.to_owned()).or_default().push(name.to_owned());
    }
    waiting
}

/// The condition of each alert that is about one, by what its expression asks.
fn conditions(alerts: Vec<NamedExpression>) -> BTreeMap<String, &'static CatalogueEntry> {
    let of_alert = |(name, query): NamedExpression| {
        let (_, after) = query.split_once("ultramarine_condition{condition=\"")?;
        let (id, _) = after.split_once('"')?;
        let entry = CATALOGUE.iter().find(|entry| entry.id == id);
        Some((name, entry.expect("it is in the catalogue")))
    };
    alerts.into_iter().filter_map(of_alert).collect()
}

#[test]
fn whatever_goes_wrong_is_told_by_all_in_the_same_words_within_15_s() {
    let (Some(program), Some(browser), Some(library)) = (program("prometheus"), chromium(), faketime::library()) else {
        return;
    };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 1_000);
    let [stopped, killed, filled, stepped] = &network.nodes[..] else {
        panic!("four nodes");
    };
    let mut client = network.external_client(stopped.id);
    let engine = format!("http://{}", network.addresses[stopped.id].engine_auth);
    let _with_client = network.start(stopped.id, &["--engine", &engine, "--set", "log.file=logs/node.log"]);
    let mut to_kill = network.start(killed.id, &[]);
    // Where nothing can be mounted, that event alone is left out, and said so.
    let disk = OnSmallDisk::start(&filled.home, DISK_MEBIBYTES);
    let _on_the_same_disk = disk.is_none().then(|| network.start(filled.id, &[]));
    let clock = SetClock::new(temporary.path().join("clock"));
    let _with_clock = start_with(&stepped.home, &[], &faketime::environment(&library, clock.file()));
    let _load = network.load(0..4);
    let prometheus = Prometheus::start(&program, &temporary.path().join("prometheus"), &network.nodes);
    let (_, alerts) = prometheus.rules();
    let known: BTreeSet<String> = alerts.iter().map(|(name, _)| name.clone()).collect();
    let waiting = waiting();
    assert!(waiting.values().flatten().all(|name| known.contains(name)));
    for node in &network.nodes {
        node.wait_for_height(5, PATIENCE);
        wait_for("readiness", PATIENCE, || {
            let (status, _) = node.get("/health").ok()?;
            (status == 200).then_some(())
        });
    }
    let browser = Browser::start(browser, temporary.path());
    let nodes = network.nodes.iter();
    let mut watchers = Watchers {
        prometheus,
        pages: nodes
            .map(|node| browser.open(&format!("{}/dashboard", node.http), 1440))
            .collect(),
        pictures: std::env::var_os("ULTRAMARINE_PICTURES").map(PathBuf::from),
        alerts: waiting,
        conditions: conditions(alerts),
        told: BTreeSet::new(),
        untold: Vec::new(),
    };

    let cause = Instant::now();
    client.signal(Signal::STOP);
    watchers.tell("a client is stopped", cause, |_| stopped);
    let cause = Instant::now();
    client.signal(Signal::CONT);
    watchers.tell("a client goes on", cause, |_| stopped);
    is_over(stopped, "client-silent");

    let cause = Instant::now();
    clock.set("+60");
    watchers.tell("a clock steps", cause, |_| stepped);
    clock.set("+0");
    is_over(stepped, "clock-wrong");

    if let Some(disk) = &disk {
        let cause = Instant::now();
        disk.fill();
        watchers.tell("a disk is filled", cause, |_| filled);
        disk.free();
        is_over(filled, "disk-full");
    } else {
        watchers.alerts.remove("a disk is filled");
    }

    let cause = Instant::now();
    let logs = stopped.home.join("logs");
    std::fs::rename(&logs, stopped.home.join("logs-before")).expect("it logs there");
    std::fs::write(&logs, "no folder").expect("there is room");
    watchers.tell("a log file cannot be written", cause, |_| stopped);

    to_kill.signal(Signal::STOP);
    std::thread::sleep(PAUSE);
    let cause = Instant::now();
    to_kill.signal(Signal::CONT);
    watchers.tell("a node goes on after a pause", cause, |_| killed);

    let cause = Instant::now();
    to_kill.kill();
    watchers.tell("a node is killed", cause, |alert| {
        if alert == NODE_DOWN { killed } else { filled }
    });

    let cause = Instant::now();
    client.kill();
    watchers.tell("a client is killed", cause, |_| stopped);
    let events: BTreeSet<String> = watchers.alerts.keys().cloned().collect();
    assert_eq!(events, watchers.told, "each event is caused above");
    assert_eq!(watchers.untold, [""; 0], "what failed stands above");
}
