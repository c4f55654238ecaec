//! Runs the real binary: single commands to their end, and whole devnets while they run.

pub mod browser;
pub mod cells;
pub mod faketime;
pub mod mesh;
pub mod network;
pub mod program;
pub mod prometheus;
pub mod refusal;
pub mod rogue;
pub mod rot;
pub mod sidecars;
pub mod small_disk;
pub mod stranger;
pub mod turn;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};

use turn::Turn;

/// How often something awaited is looked at.
const POLL: Duration = Duration::from_millis(50);

/// The binary under test, with none of the caller's settings in its environment.
pub fn ultramarine<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ultramarine"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ULTRAMARINE_")) {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    ultramarine(arguments).output().expect("the binary runs")
}

/// Runs a command that must succeed; its standard output.
pub fn succeed<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output is text")
}

/// Runs a command that must fail with exit code 1; its standard error.
pub fn fail<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr
}

/// Waits until `look` finds something; panics with `what` when it does not come in time.
pub fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "no {what} within {} s", timeout.as_secs());
        std::thread::sleep(POLL);
    }
}

/// One entry of `devnet.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub id: usize,
    pub home: PathBuf,
    pub pid: u32,
    pub http: String,
    pub rpc: String,
}

impl Node {
    /// Asks one of its URLs; the status code and the JSON of the answer.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, Value)> {
        get(&self.http, path)
    }

    /// Its `/status`, if its data directory is open and it answers.
    pub fn status(&self) -> Option<Value> {
        let (code, status) = self.get("/status").ok()?;
        (code == 200).then_some(status)
    }

    /// Its newest decided height, if it answers.
    pub fn height(&self) -> Option<u64> {
        self.status()?["height"].as_u64()
    }

    /// What it decided at every height.
    pub fn decided(&self) -> Vec<Value> {
        self.decided_if_it_answers().expect("the node answers")
    }

    /// The same of a node that may be gone.
    pub fn decided_if_it_answers(&self) -> Option<Vec<Value>> {
        let (code, page) = self.get("/ultramarine/v1/decided").ok()?;
        // While its data directory is opened, it refuses.
        (code == 200).then(|| page.as_array().expect("a list").clone())
    }

    /// The text that one of its URLs answers.
    pub fn text(&self, path: &str) -> std::io::Result<String> {
        Ok(request(&self.http, path, None)?.1)
    }

    /// A number from its `/metrics`, by name and labels as they are written there.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = request(&self.http, "/metrics", None).ok()?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        value.trim().parse().ok()
    }

    /// Holds it to 400 MB of memory besides its execution client, if that is inside, and 1 GB of disk, as preallocated.
    /// Whether it is still there to be looked at.
    pub fn stays_small(&self, client_kb: u64) -> bool {
        let Some(peak_kb) = peak_kb(self.pid) else {
            return false;
        };
        assert!(
            peak_kb < 400_000 + client_kb,
            "node{} needs {peak_kb} kB of memory",
            self.id
        );
        let bytes = on_disk(&self.home.join("data"));
        assert!(
            bytes > 0 && bytes < 1_000_000_000,
            "node{} takes {bytes} bytes of disk",
            self.id
        );
        true
    }

    /// The most memory that its process has held, in kB, if it is there.
    pub fn peak_kb(&self) -> Option<u64> {
        peak_kb(self.pid)
    }

    /// The hash of the block of this number, by its execution client.
    pub fn block_hash(&self, number: u64) -> Option<Value> {
        let block = self.call("eth_getBlockByNumber", &json!([format!("{number:#x}"), false]))?;
        Some(block["hash"].clone())
    }

    /// The result of a call to its execution client, if that answers.
    pub fn call(&self, method: &str, params: &Value) -> Option<Value> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, answer) = request(&self.rpc, "/", Some(&call)).ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        Some(answer["result"].clone())
    }

    /// The slot of a height that it has decided.
    pub fn slot(&self, height: u64) -> u64 {
        let (status, value) = self.get(&format!("/ultramarine/v1/value/{height}")).expect("answers");
        assert_eq!(status, 200, "node{} at height {height}: {value}", self.id);
        value["slot"].as_u64().expect("a number")
    }

    /// Ends its process at once, as a power cut would.
    pub fn kill(&self) {
        signal(self.pid, Signal::KILL);
    }

    /// Starts it again by hand, as an operator would; the process is killed when the answer is dropped.
    pub fn restart(&self) -> Process {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.with_extension("restarted.log"))
            .expect("the folder is writable");
        let mut command = ultramarine(["start", "--home"]);
        command
            .arg(&self.home)
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        Process(command.spawn().expect("the binary runs"))
    }

    /// Waits until it has decided `height`.
    pub fn wait_for_height(&self, height: u64, timeout: Duration) {
        let what = format!("height {height} on node{}", self.id);
        wait_for(&what, timeout, || self.height().filter(|found| *found >= height));
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // It may be gone already.
    let _ = kill_process(pid, signal);
}

/// What the embedded execution client takes of a node's memory, by itself.
pub const EMBEDDED_CLIENT_KB: u64 = 133_000;

/// The most memory that a process has held, as the kernel counts it.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Bytes that a folder's files take on disk.
pub fn on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).expect("a folder of ours");
    let bytes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => on_disk(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // A file may go while we look.
        Err(_) => 0,
    });
    bytes.sum()
}

/// A process that ends with the test.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    /// Asks it to end, as Ctrl-C or a service manager would, and waits for it.
    pub fn terminate(&mut self, timeout: Duration) -> std::process::ExitStatus {
        signal(self.0.id(), Signal::TERM);
        self.ended(timeout)
    }

    /// Waits until it has ended.
    pub fn ended(&mut self, timeout: Duration) -> std::process::ExitStatus {
        wait_for("end of the process", timeout, || {
            self.0.try_wait().expect("a child of ours")
        })
    }

    /// Asks it to end as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends it a signal.
    pub fn signal(&self, which: Signal) {
        signal(self.0.id(), which);
    }

    /// Ends it at once, and does not wait for it.
    pub fn kill_unwaited(&self) {
        signal(self.0.id(), Signal::KILL);
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A devnet in a folder of its own.
#[derive(Debug)]
pub struct Devnet {
    pub process: Process,
    pub nodes: Vec<Node>,
    _turn: Turn,
}

impl Devnet {
    /// Starts one and waits until all its nodes are ready.
    pub fn start(dir: &Path, flags: &[&str]) -> Self {
        let turn = Turn::alone();
        let log = std::fs::File::create(dir.with_extension("devnet.log")).expect("the folder is writable");
        let mut command = ultramarine(["devnet", "--dir"]);
        command
            .arg(dir)
            .args(flags)
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let _ = std::fs::remove_file(dir.join("devnet.json"));
        let mut process = Process(command.spawn().expect("the binary runs"));
        let nodes = wait_for("devnet.json", Duration::from_secs(120), || {
            if let Some(status) = process.0.try_wait().expect("a child of ours") {
                let log = std::fs::read_to_string(dir.with_extension("devnet.log")).unwrap_or_default();
                panic!("the devnet ended ({status}):\n{log}");
            }
            nodes(dir)
        });
        Self {
            process,
            nodes,
            _turn: turn,
        }
    }

    /// Waits until every node has decided `height`.
    pub fn wait_for_height(&self, height: u64, timeout: Duration) {
        for node in &self.nodes {
            node.wait_for_height(height, timeout);
        }
    }
}

/// `devnet.json` of a folder, once it is there.
pub fn nodes(dir: &Path) -> Option<Vec<Node>> {
    #[derive(Deserialize)]
    struct File {
        nodes: Vec<Node>,
    }
    let text = std::fs::read(dir.join("devnet.json")).ok()?;
    Some(
        serde_json::from_slice::<File>(&text)
            .expect("devnet.json is replaced in one step")
            .nodes,
    )
}

/// Whether a process still exists (and is no zombie).
pub fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

/// Runs a devnet to its end with `--json`; the object it prints.
pub fn devnet_json(flags: &[&str]) -> Value {
    report_of(ultramarine(["devnet", "--json"]).args(flags))
}

/// Runs a command that runs a devnet to its end; the object it prints.
pub fn report_of(command: &mut Command) -> Value {
    let _turn = Turn::alone();
    let output = command.output().expect("the command runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// One GET over a connection of its own; the status code and the JSON of the answer.
pub fn get(base: &str, path: &str) -> std::io::Result<(u16, Value)> {
    let (status, body) = request(base, path, None)?;
    Ok((status, serde_json::from_str(&body).map_err(std::io::Error::other)?))
}

/// One request over a connection of its own: a POST of `body`, or a GET.
fn request(base: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, String)> {
    let answer = exchange(base, path, &[("Content-Type", "application/json")], body)?;
    let text = String::from_utf8(answer.body).map_err(std::io::Error::other)?;
    Ok((answer.status, text))
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", text()))
    }
}

/// One GET with headers over a connection of its own.
pub fn ask(base: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
    exchange(base, path, headers, None)
}

fn exchange(base: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> std::io::Result<Answer> {
    use std::io::{Error, Read, Write};
    let authority = base.strip_prefix("http://").unwrap_or(base);
    let mut stream = std::net::TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (method, body) = body.map_or(("GET", String::new()), |body| ("POST", body.to_string()));
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {authority}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let body = answer.split_off(end.ok_or_else(|| Error::other("no head"))? + 4);
    let head = String::from_utf8(answer).map_err(Error::other)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(|| Error::other("no status"))?,
        head,
        body,
    })
}
