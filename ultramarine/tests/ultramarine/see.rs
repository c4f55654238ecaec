//! A network as people see it: `ultramarine top` in a terminal, and the page `/dashboard` in a browser.
//!
//! The terminal is one of util-linux's `script`. The browser is Chromium, headless, from Debian's package; where there
//! is none its test is skipped, unless `ULTRAMARINE_REQUIRE_CHROMIUM` is 1.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::browser::{Browser, chromium, size_and_brightness};
use crate::harness::{Devnet, Node, Process, fail, run, succeed, ultramarine, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
/// What goes wrong is seen within this time.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
/// For how long `top` is measured, at least.
const MEASURED: Duration = Duration::from_secs(20);
/// What `top` may take of a core.
const TOP_SHARE_MAX: f64 = 0.005;
/// A tick of `/proc`, on Linux on x86_64.
const TICK_MS: u64 = 10;
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// A terminal as far as `top` uses one: places, erasure, and text (ECMA-48).
struct Terminal {
    cells: Vec<[char; COLUMNS]>,
    at: (usize, usize),
    pending: Vec<u8>,
    /// Whether the alternate screen is shown.
    is_alternate: bool,
    has_color: bool,
}

impl Terminal {
    fn new() -> Self {
        Self {
            cells: vec![[' '; COLUMNS]; ROWS],
            at: (0, 0),
            pending: Vec::new(),
            is_alternate: false,
            has_color: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8_lossy(&self.pending[..whole]).into_owned();
        let mut rest = text.as_str();
        while let Some(character) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let Some(end) = sequence.find(|end: char| end.is_ascii_alphabetic()) else {
                    break;
                };
                self.control(&sequence[..end], sequence.as_bytes()[end]);
                rest = &sequence[end + 1..];
                continue;
            }
            if character == '\x1b' && rest.len() < 2 {
                break;
            }
            self.put(character);
            rest = &rest[character.len_utf8()..];
        }
        let taken = whole - rest.len();
        self.pending.drain(..taken);
    }

    fn control(&mut self, arguments: &str, what: u8) {
        match what {
            b'H' => {
                let mut numbers = arguments.split(';').map(|number| number.parse().unwrap_or(1));
                let mut next = || numbers.next().unwrap_or(1usize) - 1;
                self.at = (next(), next());
            }
            b'J' => self.cells = vec![[' '; COLUMNS]; ROWS],
            b'h' | b'l' if arguments == "?1049" => self.is_alternate = what == b'h',
            b'm' => {
                self.has_color |= arguments
                    .split(';')
                    .any(|code| code.len() == 2 && code.starts_with('3'))
            }
            _ => {}
        }
    }

    fn put(&mut self, character: char) {
        let (row, column) = self.at;
        if let Some(cell) = self.cells.get_mut(row).and_then(|row| row.get_mut(column)) {
            *cell = character;
        }
        self.at.1 += 1;
    }

    fn text(&self) -> String {
        let lines = self.cells.iter().map(|row| row.iter().collect::<String>());
        lines.map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// `top` in a terminal.
struct Top {
    process: Process,
    keyboard: ChildStdin,
    terminal: Arc<Mutex<Terminal>>,
}

impl Top {
    fn start(arguments: &str, environment: &[(&str, &str)]) -> Self {
        let program = env!("CARGO_BIN_EXE_ultramarine");
        let line = format!("stty rows {ROWS} cols {COLUMNS}; exec {program} top {arguments}");
        let mut child: Child = Command::new("script")
            .args(["-qfec", &line, "/dev/null"])
            .env("LC_ALL", "C.UTF-8")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has `script`");
        let (keyboard, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let terminal = Arc::new(Mutex::new(Terminal::new()));
        let shown = Arc::clone(&terminal);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("no panic").write(&bytes[..count]);
            }
        });
        Self {
            process: Process(child),
            keyboard,
            terminal,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("it reads");
    }

    /// What the program under `script` has used of a CPU since its start.
    fn cpu(&self) -> Duration {
        let of_script = self.process.0.id().to_string();
        let stats = std::fs::read_dir("/proc").expect("Linux has it").filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let (_, after) = stat.rsplit_once(") ")?;
            Some(after.split(' ').map(str::to_owned).collect::<Vec<String>>())
        });
        // proc_pid_stat(5): what follows the name is state, parent, …, and as 12th and 13th the ticks in user and
        // kernel.
        let mut of_program = stats.filter(|fields| fields[1] == of_script);
        let fields = of_program.next().expect("`script` has a child");
        let ticks: u64 = fields[11..13]
            .iter()
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * TICK_MS)
    }

    /// Waits until the screen is as wanted.
    fn until(&self, what: &str, within: Duration, is_so: impl Fn(&str) -> bool) -> String {
        let shown = || self.terminal.lock().expect("no panic").text();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(what, within, || Some(shown()).filter(|text| is_so(text)))
        }));
        found.unwrap_or_else(|_| panic!("no {what}; the screen is\n{}", shown()))
    }
}

fn height_of(screen: &str) -> Option<u64> {
    let (_, after) = screen.split_once(" height ")?;
    after.split(' ').next()?.parse().ok()
}

#[test]
fn top_shows_a_network_live_and_says_which_node_is_gone() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("net");
    let devnet = Devnet::start(&dir, &[]);
    devnet.wait_for_height(3, PATIENCE);

    let mut top = Top::start(&format!("--node {}", devnet.nodes[0].http), &[]);
    let first = top.until("round, tiles and peers", PATIENCE, |screen| {
        ["commit", "core", "engine", "client  ready", "available", " val "]
            .iter()
            .all(|word| screen.contains(word))
    });
    let (began, cpu) = (Instant::now(), top.cpu());
    let height = height_of(&first).unwrap_or_else(|| panic!("no height:\n{first}"));
    top.until("a later height", PATIENCE, |screen| height_of(screen) > Some(height));
    assert!(
        top.terminal.lock().expect("no panic").has_color,
        "a terminal has colours"
    );
    top.press("?");
    top.until("the help", PATIENCE, |screen| {
        screen.contains("points of a peer's faults")
    });
    top.press("?");
    top.until("its second page", PATIENCE, |screen| screen.contains("page 2 of 2"));
    top.press("?");
    top.until("the node again", PATIENCE, |screen| height_of(screen).is_some());
    let all = Top::start(&format!("--dir {}", dir.display()), &[("NO_COLOR", "1")]);
    all.until("four nodes side by side", PATIENCE, |screen| {
        screen.contains("4 nodes, 4 answer") && (0..4).all(|node| screen.contains(&format!("node{node}")))
    });
    devnet.nodes[3].kill();
    let gone = all.until("the node that is gone", SEEN_WITHIN, |screen| {
        screen.contains("UNREACHABLE")
    });
    assert!(
        gone.contains("node3: unreachable: cannot connect to 127.0.0.1:"),
        "{gone}"
    );
    assert!(!all.terminal.lock().expect("no panic").has_color, "NO_COLOR is heeded");

    let once = run(["top", "--dir", dir.to_str().expect("UTF-8"), "--once"]);
    let text = String::from_utf8(once.stdout).expect("text");
    assert!(once.status.success(), "three nodes answer: {text}");
    assert!(text.contains("4 nodes, 3 answer") && !text.contains('\x1b'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    let refusal = fail(["top", "--once", "--node", &devnet.nodes[3].http]);
    assert!(refusal.contains("no node answers: cannot connect to"), "{refusal}");

    // The first one ran beside all this. A process's own time hardly depends on what else the machine does.
    std::thread::sleep(MEASURED.saturating_sub(began.elapsed()));
    let (used, over) = (top.cpu() - cpu, began.elapsed());
    let share = used.as_secs_f64() / over.as_secs_f64();
    eprintln!("top: {used:?} of a CPU in {over:?}");
    assert!(share < TOP_SHARE_MAX, "`top` takes {:.2} % of a core", 100.0 * share);
    top.press(" ");
    let paused = top.until("the pause", PATIENCE, |screen| screen.contains("PAUSED"));
    top.press("q");
    assert!(top.process.ended(PATIENCE).success(), "q ends it well");
    assert!(
        !top.terminal.lock().expect("no panic").is_alternate,
        "the terminal is as it was:\n{paused}"
    );
}

/// Holds every view of a node whose client is away to saying so, why, and for how long.
pub fn a_closed_gate_is_told(node: &Node, closed_after_unix_s: u64, folder: &Path) {
    let (_, live) = node.get("/ultramarine/v1/live").expect("it answers");
    let gate = &live["client"]["gate"];
    let (_, status) = node.get("/status").expect("it answers");
    assert_eq!(&status["gate"]["since_unix_s"], &gate["since_unix_s"], "{status}");
    let since = gate["since_unix_s"].as_u64().expect("a number");
    let now = live["unix_ms"].as_u64().expect("a number") / 1_000;
    assert!((closed_after_unix_s..=now).contains(&since), "{live}");
    let why = gate["why"].as_str().expect("a reason");
    assert!(!why.is_empty() && gate["on"] == false, "{live}");
    // The reason may be another a moment later, as the node asks again; its beginning is enough.
    let screen = succeed(["top", "--once", "--node", &node.http]);
    assert!(screen.contains("client  NOT READY for "), "{screen}");
    let Some(browser) = chromium() else { return };
    let url = format!("{}/dashboard", node.http);
    let browser = Browser::start(browser, folder);
    let page = browser.open(&url, 1440);
    wait_for("the gate on the page", PATIENCE, || {
        let gate = page.text("gate");
        (gate.starts_with("Not ready for ") && gate.contains(" s: ")).then_some(())
    });
}

#[test]
fn top_without_a_terminal_says_what_to_do() {
    let output = ultramarine(["top"]).output().expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("`--once` prints one frame"), "{stderr}");
}

/// Of each canvas of the page, how many of its dots are of a heatmap: more blue than its lines and words.
const HEAT: &str = r"Array.from(document.querySelectorAll('canvas'), canvas => {
    const bytes = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let at = 0; at < bytes.length; at += 4) count += bytes[at + 3] > 60 && bytes[at + 2] - bytes[at] > 60;
    return count;
})";

#[test]
fn the_dashboard_shows_a_node_live_in_a_browser_at_two_sizes_in_the_light_and_in_the_dark() {
    let Some(program) = chromium() else { return };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let devnet = Devnet::start(&temporary.path().join("net"), &[]);
    devnet.wait_for_height(3, PATIENCE);
    let browser = Browser::start(program, temporary.path());
    let page = browser.open(&format!("{}/dashboard", devnet.nodes[0].http), 1440);
    let height = || {
        let titled = page.value("document.title");
        titled.as_str()?.rsplit_once("height ")?.1.parse::<u64>().ok()
    };
    let first = wait_for("height on the page", PATIENCE, height);
    wait_for("later height on the same page", PATIENCE, || {
        height().filter(|later| *later > first)
    });
    for id in ["round", "heights", "heat", "tiles", "peers", "calls", "disk", "wrong"] {
        assert_ne!(page.text(id).trim(), "", "{id} is empty");
    }
    let text = page.value("document.body.innerText");
    let text = text.as_str().expect("text");
    for word in ["kzg-0", "engine_newPayload", "validator", "node0", "p99"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    assert_eq!(page.text("lost"), "", "the node answers");

    for scheme in ["light", "dark"] {
        page.prefer(scheme);
        for width in [1440, 390] {
            page.resize(width);
            // A heatmap for each stage, once this node has proposed a block of its own too.
            wait_for("heat of eight stages", PATIENCE, || {
                let heat = page.value(HEAT);
                let heat: Vec<u64> = heat.as_array()?.iter().filter_map(serde_json::Value::as_u64).collect();
                (heat.len() == 8 && heat.iter().all(|dots| *dots > 0)).then_some(())
            });
            let widths = page.value("[innerWidth, document.documentElement.scrollWidth]");
            assert_eq!(
                widths,
                serde_json::json!([width, width]),
                "nothing stands out at the side"
            );
            let (wide, high, brightness) = size_and_brightness(&browser, &page.picture());
            assert_eq!((wide, high), (width.into(), 2400));
            let is_dark = brightness < 64.0;
            assert!(is_dark || brightness > 192.0, "{scheme} at {width}: {brightness}");
            assert_eq!(is_dark, scheme == "dark", "{scheme} at {width}: {brightness}");
        }
    }
    let complaints = browser.complaints();
    for wrong in ["Content Security Policy", "Uncaught", "Refused to"] {
        assert!(!complaints.contains(wrong), "{complaints}");
    }
}
