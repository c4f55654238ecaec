//! What a node and a devnet do in poor surroundings: outputs that are full, closed or never read, signals that nobody
//! asked for, and a system that grants little.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::network::Network;
use crate::harness::turn::Turn;
use crate::harness::{Node, Process, is_running, nodes, ultramarine, wait_for};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(120);
/// Service managers kill what has not ended by then.
const STOP: Duration = Duration::from_secs(10);
const LOST: &str = "ultramarine_log_lines_lost_total";

/// Takes every write and fails it.
fn full() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

/// A pipe with no room, as one has that nobody reads.
fn stuck() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("descriptors");
    // The capacity of a pipe that nobody changed.
    writer.write_all(&[b'\n'; 65_536]).expect("a fresh pipe has room");
    (reader, writer)
}

/// The command as a shell runs it after `preparation`.
fn after(preparation: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{preparation}; exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

fn start(node: &Node, flags: &[&str]) -> Command {
    let mut command = ultramarine(["start", "--home"]);
    command.arg(&node.home).args(flags);
    command
}

fn spawn(command: &mut Command) -> Process {
    Process(command.stdout(Stdio::null()).spawn().expect("the binary runs"))
}

#[test]
fn no_node_waits_for_its_log_or_ends_with_it() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 250);
    let [fine, in_full, left, never_read] = &network.nodes[..] else {
        panic!("four nodes");
    };
    let log = temporary.path().join("fine.log");
    let (reader, writer) = pipe().expect("descriptors");
    drop(reader);
    let (mut late_reader, stuck) = stuck();
    let mut processes = [
        spawn(start(fine, &[]).stderr(File::create(&log).expect("the folder is writable"))),
        spawn(start(in_full, &[]).stderr(full())),
        spawn(start(left, &[]).stderr(writer)),
        spawn(start(never_read, &["--log", "trace"]).stderr(stuck)),
    ];
    fine.wait_for_height(12, PATIENCE);
    for node in [in_full, left, never_read] {
        node.wait_for_height(10, PATIENCE);
    }
    for node in [in_full, left] {
        wait_for("lost lines", PATIENCE, || {
            (node.metric(LOST) > Some(10.0)).then_some(())
        });
    }
    assert_eq!(fine.metric(LOST), Some(0.0));
    for process in &mut processes[1..3] {
        assert!(process.terminate(STOP).success());
    }
    assert!(
        processes[3].terminate(STOP).success(),
        "although its log's thread is stuck"
    );
    assert!(processes[0].terminate(STOP).success());
    drop(processes);
    let mut text = String::new();
    late_reader.read_to_string(&mut text).expect("text");
    assert_eq!(text.trim(), "", "what the pipe had room for was there before");

    let log = std::fs::read_to_string(log).expect("it was written");
    assert!(!log.contains("INFO arc_malachite"), "{log}");
    let of_height = |height: u64| {
        let name = format!("height={height} ");
        log.lines().filter(|line| line.contains(&name)).count()
    };
    for height in 6..10 {
        assert_eq!(of_height(height), 1, "a height is one line:\n{log}");
    }
}

#[test]
fn a_log_that_is_read_again_says_what_it_lost() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let node = &network.nodes[0];
    let path = temporary.path().join("log");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("it is there").success());
    // A named pipe: its reader leaves, and another comes.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag");
    let reader = File::options().read(true).custom_flags(nonblocking).open(&path);
    let writer = File::options().write(true).open(&path).expect("there is a reader");
    let mut process = spawn(start(node, &[]).stderr(writer));
    drop(reader.expect("it does not wait for a writer"));
    wait_for("lost lines", PATIENCE, || (node.metric(LOST) > Some(5.0)).then_some(()));
    let mut reader = File::open(&path).expect("there is a writer");
    let height = node.height().expect("it answers");
    node.wait_for_height(height + 2, PATIENCE);
    assert!(process.terminate(STOP).success());
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    let about: Vec<&str> = text.lines().filter(|line| line.contains("lost")).collect();
    assert!(
        about.len() == 1 && about[0].contains(" log lines were lost here"),
        "{text}"
    );
    assert!(text.contains("asked to terminate"), "{text}");
}

#[test]
fn signals_stop_a_node_in_order_or_are_ignored_with_a_line() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let node = &network.nodes[0];
    let log = temporary.path().join("log");
    let run = |command: &mut Command, until| {
        let process = spawn(command.stderr(File::create(&log).expect("the folder is writable")));
        node.wait_for_height(until, PATIENCE);
        process
    };
    let text = || std::fs::read_to_string(&log).expect("it is there");

    let mut process = run(&mut start(node, &[]), 2);
    process.signal(Signal::USR1);
    process.signal(Signal::USR2);
    for name in ["SIGUSR1", "SIGUSR2"] {
        wait_for(name, PATIENCE, || text().contains(name).then_some(()));
    }
    let height = node.height().expect("it answers");
    node.wait_for_height(height + 2, PATIENCE);
    process.signal(Signal::HUP);
    assert!(process.ended(STOP).success(), "{}", text());
    assert!(text().contains("SIGHUP"), "{}", text());

    // As `nohup` and a shell's background jobs ask for.
    let mut ignoring = after("trap '' HUP INT", &start(node, &[]));
    let mut process = run(&mut ignoring, height + 4);
    process.signal(Signal::HUP);
    process.signal(Signal::INT);
    node.wait_for_height(height + 7, PATIENCE);
    assert!(process.terminate(STOP).success(), "{}", text());
    assert!(!text().contains("SIGHUP") && !text().contains("SIGINT"), "{}", text());
}

#[test]
fn a_stop_that_is_asked_for_during_a_slow_start_is_an_orderly_one() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let node = &network.nodes[0];
    let log = temporary.path().join("log");
    let text = || std::fs::read_to_string(&log).expect("it is there");
    let data = node.home.join("data");
    std::fs::create_dir_all(&data).expect("the folder is writable");
    // The node asks for it again and again, for a second.
    let lock = File::create(data.join("LOCK")).expect("the folder is writable");
    lock.lock().expect("nobody has it");
    let mut process = spawn(start(node, &[]).stderr(File::create(&log).expect("the folder is writable")));
    let opened = format!("/proc/{}/fd", process.0.id());
    wait_for("the lock being asked for", PATIENCE, || {
        let mut files = std::fs::read_dir(&opened).ok()?;
        files.find_map(|file| {
            std::fs::read_link(file.ok()?.path())
                .ok()
                .filter(|path| path.ends_with("LOCK"))
        })
    });
    process.interrupt();
    drop(lock);
    assert!(process.ended(STOP).success(), "{}", text());
    assert!(text().contains("interrupted (SIGINT)"), "{}", text());
}

#[test]
fn little_locked_memory_is_a_warning_unless_the_ring_is_demanded() {
    if ultramarine_runtime::skip::without_ring("a ring without locked memory") {
        return;
    }
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let node = &network.nodes[0];
    let little = |flags: &[&str]| after("ulimit -l 64", &start(node, flags));
    let log = temporary.path().join("log");
    let mut process = spawn(little(&[]).stderr(File::create(&log).expect("the folder is writable")));
    node.wait_for_height(2, PATIENCE);
    assert!(process.terminate(STOP).success());
    let text = std::fs::read_to_string(&log).expect("it was written");
    let about: Vec<&str> = text.lines().filter(|line| line.contains("memlock")).collect();
    assert_eq!(about.len(), 1, "{text}");
    for part in ["WARN", "65536", "ulimit -l", "LimitMEMLOCK="] {
        assert!(about[0].contains(part), "{part}: {}", about[0]);
    }
    let output = little(&["--io", "uring"]).output().expect("the shell runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("memlock") && error.contains("ulimit -l"), "{error}");
}

/// A devnet whose temporary folder would be in `folder`.
fn devnet(folder: &Path, flags: &[&str]) -> Command {
    std::fs::create_dir(folder).expect("it is new");
    let mut command = ultramarine(["devnet", "--validators", "2"]);
    command.args(flags).env("TMPDIR", folder);
    command
}

/// Panics if a devnet left a folder, or the processes of its nodes.
fn nothing_is_left(folder: &Path) {
    let left: Vec<OsString> = std::fs::read_dir(folder)
        .expect("it was made")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let folder = folder.to_str().expect("UTF-8");
    let processes = std::fs::read_dir("/proc").expect("Linux has it").flatten();
    let ours = processes.filter(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(folder))
    });
    assert_eq!(ours.count(), 0, "nodes of {folder} still run");
}

#[test]
fn a_devnet_ends_in_order_when_nobody_can_read_it() {
    let _turn = Turn::alone();
    let temporary = tempfile::tempdir().expect("temporary directory");
    // `devnet | head -1`
    let folder = temporary.path().join("closed");
    let mut process = Process(
        devnet(&folder, &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs"),
    );
    let mut first = String::new();
    let mut reader = BufReader::new(process.0.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a line comes");
    assert!(first.contains("starting 2 validators"), "{first}");
    drop(reader);
    let status = process.ended(Duration::from_secs(30));
    let mut said = String::new();
    process
        .0
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("text");
    assert!(status.success() && said.is_empty(), "{status}: {said}");
    nothing_is_left(&folder);

    let folder = temporary.path().join("full");
    let output = devnet(&folder, &["--until-height", "2"]).stdout(full()).output();
    let output = output.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("standard output") && said.contains("before height 2"),
        "{said}"
    );
    nothing_is_left(&folder);

    let folder = temporary.path().join("stuck");
    let (_reader, writer) = stuck();
    let mut process = Process(
        devnet(&folder, &["--until-height", "2"])
            .stdout(writer)
            .stderr(full())
            .spawn()
            .expect("the binary runs"),
    );
    assert!(
        process.ended(PATIENCE).success(),
        "a reader who is busy holds no network up"
    );
    nothing_is_left(&folder);
}

#[test]
fn a_devnet_started_by_nohup_goes_on_at_a_hang_up() {
    let _turn = Turn::alone();
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("net");
    let mut command = ultramarine(["devnet", "--validators", "2", "--dir"]);
    command.arg(&dir);
    let mut process = spawn(after("trap '' HUP", &command).stderr(Stdio::null()));
    let nodes = wait_for("devnet.json", PATIENCE, || nodes(&dir));
    process.signal(Signal::HUP);
    process.signal(Signal::USR1);
    let height = nodes[0].height().expect("it answers");
    nodes[0].wait_for_height(height + 3, PATIENCE);
    assert!(process.terminate(STOP).success());
    assert!(nodes.iter().all(|node| !is_running(node.pid)));
}

#[test]
fn a_node_that_dies_at_its_start_is_told_of_with_its_reason_and_nothing_else() {
    let _turn = Turn::alone();
    let temporary = tempfile::tempdir().expect("temporary directory");
    let dir = temporary.path().join("net");
    let mut command = ultramarine(["devnet", "--validators", "2", "--until-height", "1", "--dir"]);
    command.arg(&dir);
    assert!(command.output().expect("the binary runs").status.success());
    // Only the node itself reads it.
    std::fs::remove_file(dir.join("node1/jwt.hex")).expect("it is ours");
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: node1 ended while starting (exit status: 1): ") && said.contains("jwt.hex"),
        "{said}"
    );
    assert!(!said.contains("histograms"), "{said}");
}
