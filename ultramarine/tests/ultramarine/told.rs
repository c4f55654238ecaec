//! What goes wrong on a live network is told by all that people watch it with: the alert, `/health`, `ultramarine top`
//! and the page `/dashboard` have the same words within 15 s.
//!
//! `ULTRAMARINE_PICTURES=DIR` keeps what the page and `top` showed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use ultramarine_node::conditions::{CATALOGUE, CatalogueEntry};

use crate::harness::browser::{browse, chromium};
use crate::harness::faketime::{self, SetClock};
use crate::harness::network::{Network, start_with};
use crate::harness::prometheus::{Prometheus, folder, program};
use crate::harness::small_disk::OnSmallDisk;
use crate::harness::{Node, run, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
/// From a cause until all tell it.
const TOLD: Duration = Duration::from_secs(15);
/// A disk that holds what a node of four stores in some minutes.
const DISK_MEBIBYTES: u32 = 1024;

/// All that people watch a network with.
struct Watchers {
    prometheus: Prometheus,
    browser: &'static str,
    folder: PathBuf,
    pictures: Option<PathBuf>,
    /// Alerts that wait for an event, by the event.
    alerts: BTreeMap<String, Vec<String>>,
    told: BTreeSet<String>,
    /// What was not told as it should be, after all.
    untold: Vec<String>,
}

impl Watchers {
    /// Holds that every alert of this event is told by all, about the node that `of` chooses.
    fn tell<'a>(&mut self, event: &str, cause: Instant, of: impl Fn(&str) -> &'a Node) {
        let told = AssertUnwindSafe(|| self.tells(event, cause, of));
        if catch_unwind(told).is_err() {
            self.untold.push(event.to_owned());
        }
        self.told.insert(event.to_owned());
    }

    fn tells<'a>(&self, event: &str, cause: Instant, of: impl Fn(&str) -> &'a Node) {
        let after = || format!("{:.1} s", cause.elapsed().as_secs_f64());
        let mut entries = Vec::new();
        for name in &self.alerts[event] {
            let node = of(name);
            let Some(entry) = self.is_alert(cause, name, node) else {
                // What is gone cannot tell of itself.
                wait_for("`top` without the node", left(cause), || {
                    top(node).contains("no node answers").then_some(())
                });
                eprintln!("{event}: {name} and `top` after {}", after());
                continue;
            };
            let alerted = after();
            let what = wait_for("the same under /health", left(cause), || condition(node, entry));
            assert!(entry.fits(&what), "{what} is not in the words {}", entry.words);
            wait_for("the same in `top`", left(cause), || {
                Some(top(node)).filter(|screen| has_words(screen, entry))
            });
            eprintln!("{event}: {name} after {alerted}, /health and `top` after {}", after());
            entries.push((name, node, entry));
        }
        // Opened now, and not later: how long a browser takes to start is not the node's time.
        let node = entries.first().expect("something tells of itself").1;
        let url = format!("{}/dashboard", node.http);
        let (page, _) = browse(self.browser, &self.folder, &url, 1440, &["--dump-dom"]);
        let wrong = under_what_is_wrong(&page);
        for (name, _, entry) in &entries {
            assert!(has_words(&wrong, entry), "the page does not tell {name}: {wrong}");
        }
        eprintln!("{event}: the page after {}", after());
        if let Some(pictures) = &self.pictures {
            std::fs::create_dir_all(pictures).expect("the folder is writable");
            let file = |suffix: &str| pictures.join(event.replace(' ', "-") + suffix);
            let flag = format!("--screenshot={}", file(".png").display());
            browse(self.browser, &self.folder, &url, 1440, &[&flag]);
            std::fs::write(file(".txt"), top(node)).expect("the folder is writable");
        }
    }

    /// Waits for the alert; the entry whose words it has, if it is about a condition.
    fn is_alert(&self, cause: Instant, name: &str, node: &Node) -> Option<&'static CatalogueEntry> {
        let alert = wait_for(name, left(cause), || self.prometheus.firing(name, node));
        let entry = CATALOGUE
            .iter()
            .find(|entry| alert["labels"]["condition"] == entry.id)?;
        assert_eq!(alert["annotations"]["summary"], entry.words);
        assert_eq!(alert["annotations"]["action"], entry.action);
        Some(entry)
    }
}

/// What is left of the time in which a cause must be told.
fn left(cause: Instant) -> Duration {
    (cause + TOLD).saturating_duration_since(Instant::now())
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

/// What a page says under "What is wrong", without its marks.
fn under_what_is_wrong(page: &str) -> String {
    let (_, page) = page
        .split_once("id=\"wrong\"")
        .unwrap_or_else(|| panic!("another page: {page}"));
    let (page, _) = page
        .split_once("</ul>")
        .unwrap_or_else(|| panic!("another page: {page}"));
    let mut text = String::new();
    let mut is_mark = true;
    for character in page.chars() {
        match character {
            '<' => is_mark = true,
            '>' if is_mark => {
                is_mark = false;
                text.push(' ');
            }
            _ if !is_mark => text.push(character),
            _ => {}
        }
    }
    text
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
    let client = network.external_client(stopped.id);
    let engine = format!("http://{}", network.addresses[stopped.id].engine_auth);
    let _with_client = network.start(stopped.id, &["--engine", &engine]);
    let mut to_kill = network.start(killed.id, &[]);
    let Some(disk) = OnSmallDisk::start(&filled.home, DISK_MEBIBYTES) else {
        return;
    };
    let clock = SetClock::new(temporary.path().join("clock"));
    let _with_clock = start_with(&stepped.home, &[], &faketime::environment(&library, clock.file()));
    let _load = network.load(0..4);
    let mut watchers = Watchers {
        prometheus: Prometheus::start(&program, &temporary.path().join("prometheus"), &network.nodes),
        browser,
        folder: temporary.path().to_owned(),
        pictures: std::env::var_os("ULTRAMARINE_PICTURES").map(PathBuf::from),
        alerts: waiting(),
        told: BTreeSet::new(),
        untold: Vec::new(),
    };
    let known: BTreeSet<String> = watchers
        .prometheus
        .rules()
        .1
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(watchers.alerts.values().flatten().all(|name| known.contains(name)));
    for node in &network.nodes {
        node.wait_for_height(5, PATIENCE);
        wait_for("readiness", PATIENCE, || {
            let (status, _) = node.get("/health").ok()?;
            (status == 200).then_some(())
        });
    }

    let cause = Instant::now();
    client.signal(Signal::STOP);
    watchers.tell("a client is stopped", cause, |_| stopped);
    client.signal(Signal::CONT);
    is_over(stopped, "client-silent");

    let cause = Instant::now();
    clock.set("+60");
    watchers.tell("a clock steps", cause, |_| stepped);
    clock.set("+0");
    is_over(stepped, "clock-wrong");

    let cause = Instant::now();
    disk.fill();
    watchers.tell("a disk is filled", cause, |_| filled);
    disk.free();
    is_over(filled, "disk-full");

    let cause = Instant::now();
    to_kill.kill();
    watchers.tell("a node is killed", cause, |alert| {
        if alert == "UltramarineNodeDown" { killed } else { filled }
    });
    let events: BTreeSet<String> = watchers.alerts.keys().cloned().collect();
    assert_eq!(events, watchers.told, "each event is caused above");
    assert_eq!(watchers.untold, [""; 0], "what failed stands above");
}
