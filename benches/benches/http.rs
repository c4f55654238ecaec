//! Six blobs in SSZ from a node's HTTP under load, beside nginx serving a file of the same bytes by `sendfile`.
//!
//! Callers ask again as soon as they have an answer, on connections that stay open: that fills the machine. Or they ask
//! at a pace, all together so often a second. The time of an answer is from its request, or from when it was due, to
//! its last byte. The server's CPU time is what the kernel counts of its threads.
//!
//! ```text
//! cargo bench --bench http                       # without nginx (Debian: nginx-light), the node alone
//! cargo bench --bench http -- --at-most-ms 5     # fails if p99 at a pace takes longer, and longer than nginx
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use ultramarine_node::board::{Board, NodeIdentity};
use ultramarine_node::http::server::ServerLimits;
use ultramarine_node::http::{self, HttpState};
use ultramarine_runtime::medium::{Pwrite, ready};
use ultramarine_runtime::{Halt, Reason, Registry};
use ultramarine_store::{OpenStore, StoreOptions, Writer, open};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, Decision, StoreRequest, Tag};
use ultramarine_types::{Chain, ChainParams, Hash, Height, PeerId, Round, fixtures};

const BLOBS: usize = 6;
const BYTES: usize = BLOBS * BLOB_BYTES;
/// How many ask, and how often all together in a second; `None`: as often as they can.
const LOADS: [(usize, Option<u32>); 5] = [(1, None), (4, None), (16, None), (16, Some(500)), (16, Some(1000))];
/// The name of the callers' threads.
const CALLER: &str = "caller";
const SECONDS: u64 = 5;
/// What is promised of the node, as long as callers leave it time between their questions.
const P99_MAX: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut at_most = None;
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), &mut arguments) {
            // `cargo bench` and `cargo test` pass flags of their own.
            ("--test", _) => return ExitCode::SUCCESS,
            ("--bench", _) => {}
            ("--at-most-ms", rest) => match rest.next().and_then(|value| value.parse().ok()) {
                Some(value) => at_most = Some(Duration::from_millis(value)),
                None => return refuse("--at-most-ms needs a number of milliseconds"),
            },
            (other, _) => return refuse(&format!("{other} is unknown: there is --at-most-ms alone")),
        }
    }
    let p99_max = at_most.unwrap_or(P99_MAX);
    let folder = tempfile::tempdir().expect("a folder");
    let node = Served::start(&folder.path().join("data"));
    let file: Vec<u8> = (0..BLOBS).flat_map(|_| blob()).collect();
    std::fs::write(folder.path().join("blobs.ssz"), &file).expect("there is room");
    let nginx = Nginx::start(folder.path());
    println!("six blobs in SSZ, {BYTES} bytes an answer, {SECONDS} s each\n");
    println!("| callers | server | answers/s | MB/s | p50 ms | p99 ms | max ms | CPU us an answer |");
    println!("|---|---|---|---|---|---|---|---|");
    let (mut slow, mut is_late) = (Vec::new(), false);
    for load in LOADS {
        let ours = measure(node.address, "/eth/v1/beacon/blobs/head", load, own_cpu);
        show(load, "ultramarine", &ours);
        let theirs = nginx
            .as_ref()
            .map(|nginx| measure(nginx.address, "/blobs.ssz", load, || nginx.cpu()));
        if let Some(theirs) = &theirs {
            show(load, "nginx", theirs);
        }
        if ours.p99() > p99_max {
            slow.push(named(load));
            // Seconds in which a file server needs longer are the machine's.
            is_late |= load.1.is_some() && theirs.is_none_or(|theirs| ours.p99() > theirs.p99());
        }
    }
    if nginx.is_none() {
        println!("\nnginx is not here: nothing to compare with (Debian: apt install nginx)");
    }
    if !slow.is_empty() {
        let (slow, bound) = (slow.join("; "), p99_max.as_millis());
        println!("\nan answer of ours in a hundred took longer than {bound} ms of callers: {slow}");
    }
    if is_late && at_most.is_some() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// What was seen of a server under a load.
struct Measured {
    times: Histogram<u64>,
    /// Nanoseconds that the server's threads had a CPU.
    cpu_ns: u64,
}

impl Measured {
    fn p99(&self) -> Duration {
        Duration::from_nanos(self.times.value_at_quantile(0.99))
    }
}

fn named((callers, pace): (usize, Option<u32>)) -> String {
    pace.map_or_else(|| callers.to_string(), |pace| format!("{callers}, {pace} a second"))
}

fn show(load: (usize, Option<u32>), server: &str, measured: &Measured) {
    let times = &measured.times;
    let per_second = times.len() as f64 / SECONDS as f64;
    let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    println!(
        "| {} | {server} | {per_second:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} |",
        named(load),
        per_second * BYTES as f64 / 1e6,
        milliseconds(times.value_at_quantile(0.5)),
        milliseconds(times.value_at_quantile(0.99)),
        milliseconds(times.max()),
        measured.cpu_ns as f64 / 1e3 / times.len() as f64,
    );
}

/// How long answers take while so many callers ask, and what they cost the server.
fn measure(
    address: SocketAddr,
    path: &str,
    (callers, pace): (usize, Option<u32>),
    cpu: impl Fn() -> BTreeMap<u64, u64>,
) -> Measured {
    let before = cpu();
    let begun = Instant::now();
    let every = pace.map(|pace| Duration::from_secs(callers as u64) / pace);
    let threads: Vec<_> = (0..callers)
        .map(|at| {
            let path = path.to_owned();
            // Their turns are spread over the pace.
            let first = begun + every.unwrap_or_default() * u32::try_from(at).unwrap_or(0) / callers as u32;
            let thread = std::thread::Builder::new().name(CALLER.to_owned());
            thread
                .spawn(move || call(address, &path, (first, every), begun + Duration::from_secs(SECONDS)))
                .expect("a thread")
        })
        .collect();
    let mut times = histogram();
    for thread in threads {
        times.add(thread.join().expect("no panic")).expect("of one shape");
    }
    // A thread that has ended meanwhile had nothing to do for seconds.
    let spent = cpu().into_iter();
    let cpu_ns = spent.map(|(thread, ns)| ns.saturating_sub(before.get(&thread).copied().unwrap_or_default()));
    Measured {
        times,
        cpu_ns: cpu_ns.sum(),
    }
}

/// Nanoseconds on a CPU of each thread of a process, but the callers'.
fn cpu_of(process: &str) -> BTreeMap<u64, u64> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let threads = threads.filter_map(|entry| {
        let folder = entry.ok()?.path();
        let name = std::fs::read_to_string(folder.join("comm")).ok()?;
        let counted = std::fs::read_to_string(folder.join("schedstat")).ok()?;
        let ns = counted.split(' ').next()?.parse().ok()?;
        let thread = folder.file_name()?.to_str()?.parse().ok()?;
        (name.trim() != CALLER).then_some((thread, ns))
    });
    threads.collect()
}

fn own_cpu() -> BTreeMap<u64, u64> {
    cpu_of("self")
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn call(
    address: SocketAddr,
    path: &str,
    (first, every): (Instant, Option<Duration>),
    until: Instant,
) -> Histogram<u64> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/octet-stream\r\n\r\n");
    let (mut times, mut answer) = (histogram(), vec![0; BYTES + 4096]);
    let mut due = first;
    while Instant::now() < until {
        // A caller that is late has its next question late as well, and that counts.
        let asked = if every.is_some() { due } else { Instant::now() };
        std::thread::sleep(asked.saturating_duration_since(Instant::now()));
        due += every.unwrap_or_default();
        stream.write_all(request.as_bytes()).expect("sends");
        let mut read = 0;
        let end = loop {
            read += stream.read(&mut answer[read..]).expect("answers");
            let head = answer[..read.min(2048)]
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            if let Some(head) = head {
                break head + 4 + BYTES;
            }
        };
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{:?}",
            String::from_utf8_lossy(&answer[..200])
        );
        stream.read_exact(&mut answer[read..end]).expect("the rest");
        let took = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
        times.record(took).expect("it grows");
    }
    times
}

/// A node's HTTP over a real store, as its tile runs it: one thread, and tokio's for reads.
struct Served {
    address: SocketAddr,
    halt: Halt,
}

impl Served {
    fn start(folder: &Path) -> Self {
        let limits = Limits { blobs_per_block: 6 };
        // Nothing is kept in memory: blobs come from the map.
        let options = StoreOptions {
            hot_bytes: 0,
            ..StoreOptions::new(limits, fixtures::CHAIN, Registry::new())
        };
        let OpenStore { state, view, .. } = open(folder, &options).expect("it opens");
        let block = fixtures::at_height(
            &fixtures::uniform(Bytes::from(vec![1; 2000]), blob().into(), BLOBS),
            Height(1),
        );
        let mut writer = Writer::new(Pwrite::new(None), state);
        ready(async {
            let mut replies = Vec::new();
            let put = StoreRequest::Put {
                assembly: block.clone(),
                tag: Tag::Streamed,
            };
            writer.handle(put, &mut replies).await.expect("stored");
            writer.flush(&mut replies).await.expect("synced");
            let commit = StoreRequest::Commit(Box::new(Decision {
                certificate: fixtures::certificate(block.key, Round(0)),
                init: Arc::clone(&block.init),
                blobs: Blobs::Held,
            }));
            writer.handle(commit, &mut replies).await.expect("decided");
            writer.flush(&mut replies).await.expect("synced");
        });
        let board = Board::new(NodeIdentity {
            name: "bench".to_owned(),
            version: "0".to_owned(),
            chain_id: 1,
            genesis_hash: fixtures::CHAIN,
            address: None,
            peer_id: PeerId::ZERO,
            validators: 1,
        });
        let state = HttpState::new(chain(), view, Arc::new(board), Registry::new());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let halt = Halt::new();
        let stop = halt.clone();
        let thread = std::thread::Builder::new().name("http".to_owned());
        let serving = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                http::server::serve(listener, state, ServerLimits::default(), stop).await;
            });
        });
        serving.expect("a thread");
        Self { address, halt }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.halt.stop(Reason::Asked);
    }
}

fn chain() -> Chain {
    Chain {
        identity: fixtures::CHAIN,
        params: ChainParams {
            chain_id: 1,
            execution_genesis_hash: Hash::ZERO,
            blobs_per_block_max: 6,
            block_interval_ms: 1000,
            blob_retention_heights_min: 100,
            gas_limit_min: 0,
            gas_limit_max: 1,
            genesis_time: 0,
            prague_time: None,
        },
    }
}

fn blob() -> Vec<u8> {
    (0..BLOB_BYTES).map(|at| (at * 31 % 251) as u8).collect()
}

/// The peer: one worker, as our HTTP has one thread.
struct Nginx {
    address: SocketAddr,
    config: PathBuf,
    process: Child,
}

impl Nginx {
    fn start(folder: &Path) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("bound")
            .port();
        let root = folder.display();
        let config = format!(
            "daemon off; pid {root}/pid; error_log stderr; worker_processes 1; events {{}} \
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; \
             client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; \
             uwsgi_temp_path {root}/d; scgi_temp_path {root}/e; \
             server {{ listen 127.0.0.1:{port}; root {root}; }} }}"
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, config).expect("there is room");
        // Its worker may be another user, and the folder is ours alone.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder, mode).expect("it is ours");
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            address,
            config: path,
            process,
        })
    }
}

impl Nginx {
    /// What its worker had of the CPUs.
    fn cpu(&self) -> BTreeMap<u64, u64> {
        let master = self.process.id();
        let workers = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let workers = workers.unwrap_or_default();
        workers.split_whitespace().flat_map(cpu_of).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, it would leave its worker behind.
        let stop = Command::new("nginx")
            .arg("-c")
            .arg(&self.config)
            .args(["-s", "stop"])
            .status();
        if !stop.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
