//! The command line as an operator meets it: what it writes, and what it says to wrong input.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{fail, run, succeed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// The first home of a fresh network.
fn home(dir: &Path) -> PathBuf {
    succeed(["testnet", "--validators", "4", "--dir", text(dir)]);
    dir.join("node0")
}

#[test]
fn a_fresh_home_is_fine() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let home = home(dir.path());
    for index in 0..4 {
        let home = dir.path().join(format!("node{index}"));
        assert!(succeed(["config", "check", "--home", text(&home)]).contains("validator 0x"));
    }
    let shown = succeed(["config", "show", "--home", text(&home), "--io", "fallback"]);
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("io ") && line.contains("\"fallback\"") && line.ends_with("# flag --io"))
    );
    assert!(shown.contains("config.toml:"), "{shown}");
}

#[test]
fn a_wrong_key_names_file_line_and_the_nearest() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let home = home(dir.path());
    let path = home.join("config.toml");
    let config = std::fs::read_to_string(&path).expect("written");
    let line = config.lines().count() + 2;
    std::fs::write(
        &path,
        format!("{config}\n[retention]\nblobs_hights = 5\n").replacen("\n\n[retention]", "\n[retention]", 1),
    )
    .expect("writes");
    for command in [
        ["config", "check"].as_slice(),
        ["config", "show"].as_slice(),
        ["start"].as_slice(),
    ] {
        let error = fail(command.iter().copied().chain(["--home", text(&home)]));
        assert!(
            error.contains(&format!("config.toml:{line}: unknown key `blobs_hights`")),
            "{error}"
        );
        assert!(error.contains("Did you mean `blobs_heights`?"), "{error}");
    }
}

#[test]
fn a_key_others_can_read_stops_the_start() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let home = home(dir.path());
    for name in ["validator.key", "node.key", "jwt.hex"] {
        let path = home.join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        let error = fail(["start", "--home", text(&home)]);
        assert!(
            error.contains(name) && error.contains("0640") && error.contains("chmod 600"),
            "{error}"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    }
}

#[test]
fn a_genesis_of_another_chain_stops_the_start() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let home = home(&dir.path().join("a"));
    let path = home.join("execution-genesis.json");
    let text_before = std::fs::read_to_string(&path).expect("written");
    std::fs::write(&path, text_before.replace("0x2255100", "0x2255101")).expect("writes");
    let error = fail(["start", "--home", text(&home)]);
    assert!(error.contains("is not the execution genesis of this chain"), "{error}");
}

#[test]
fn files_that_disagree_stop_the_check_and_the_start_alike() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let net = dir.path().join("net");
    succeed([
        "testnet",
        "--validators",
        "1",
        "--prague-time",
        "4000000000",
        "--dir",
        text(&net),
        "--embedded",
    ]);
    let home = net.join("node0");
    let path = home.join("execution-genesis.json");
    let before: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("written")).expect("JSON");
    let mut after = before.clone();
    after["config"]["pragueTime"] = 4_000_003_600u64.into();
    after["config"]["blobSchedule"]["cancun"]["max"] = 12.into();
    std::fs::write(&path, after.to_string()).expect("writes");
    let said = [["config", "check"].as_slice(), ["start"].as_slice()]
        .map(|command| fail(command.iter().copied().chain(["--home", text(&home)])));
    assert_eq!(said[0], said[1], "both run the same checks");
    assert_eq!(said[0].lines().count(), 2, "all is told at once: {}", said[0]);
    for part in [
        "genesis.json and",
        "execution-genesis.json",
        "4000000000",
        "4000003600",
        "is 6",
        "is 12",
    ] {
        assert!(said[0].contains(part), "{part}: {}", said[0]);
    }
    // A full node is not made from such files either.
    let full = dir.path().join("full");
    let error = fail([
        "init",
        "--home",
        text(&full),
        "--genesis",
        text(&home.join("genesis.json")),
    ]);
    assert!(error.contains("4000003600") && !full.exists(), "{error}");
    std::fs::write(&path, before.to_string()).expect("writes");
    succeed(["config", "check", "--home", text(&home)]);
}

#[test]
fn a_chain_faster_than_its_clock_is_refused_to_users_and_named_where_it_is() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let new = dir.path().join("new");
    let error = fail([
        "testnet",
        "--validators",
        "1",
        "--block-interval-ms",
        "200",
        "--dir",
        text(&new),
    ]);
    assert!(
        error.contains("whole seconds") && error.contains("1000") && !new.exists(),
        "{error}"
    );
    let home = home(&dir.path().join("net"));
    let path = home.join("genesis.json");
    let genesis = std::fs::read_to_string(&path).expect("written");
    let fast = genesis.replace("\"block_interval_ms\": 1000", "\"block_interval_ms\": 200");
    std::fs::write(&path, fast).expect("writes");
    let output = run(["config", "check", "--home", text(&home)]);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{warning}");
    assert!(
        warning.contains("warning: genesis.json: block_interval_ms is 200"),
        "{warning}"
    );
}

#[test]
fn a_validator_of_no_chain_is_told_so() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (first, second) = (home(&dir.path().join("a")), home(&dir.path().join("b")));
    for file in ["genesis.json", "execution-genesis.json"] {
        std::fs::copy(second.join(file), first.join(file)).expect("copies");
    }
    let error = fail(["start", "--home", text(&first)]);
    assert!(error.contains("is no validator of this chain"), "{error}");
}

#[test]
fn what_is_no_home_is_said() {
    let dir = tempfile::tempdir().expect("temporary directory");
    assert!(fail(["start", "--home", text(dir.path())]).contains("is no home directory"));
}

#[test]
fn a_network_is_not_written_over_another() {
    let dir = tempfile::tempdir().expect("temporary directory");
    home(dir.path());
    let error = fail(["testnet", "--validators", "4", "--dir", text(dir.path())]);
    assert!(error.contains("exists already; nothing was changed"), "{error}");
}

#[test]
fn names_that_no_node_could_use_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let net = dir.path().join("net");
    for hosts in [
        "a:26650,b:26650",
        "http://a,http://b",
        "a,",
        ",,",
        "a b,c",
        "0.0.0.0,::",
    ] {
        let error = fail(["testnet", "--validators", "2", "--hosts", hosts, "--dir", text(&net)]);
        assert!(error.contains("--hosts: host ") && !net.exists(), "{hosts}: {error}");
    }
    for (hosts, listener) in [
        ("a, b", "listen = \"0.0.0.0:26650\""),
        ("::1,[::1]", "listen = \"[::1]:26650\""),
    ] {
        let net = dir.path().join(hosts);
        succeed(["testnet", "--validators", "2", "--hosts", hosts, "--dir", text(&net)]);
        for index in 0..2 {
            succeed(["config", "check", "--home", text(&net.join(format!("node{index}")))]);
        }
        let config = std::fs::read_to_string(net.join("node0/config.toml")).expect("written");
        assert!(config.contains(listener), "{config}");
        // A full node of such a network looks for it where it is.
        let full = net.join("full");
        let genesis = net.join("node0/genesis.json");
        succeed(["init", "--home", text(&full), "--genesis", text(&genesis)]);
        succeed(["config", "check", "--home", text(&full)]);
    }
    let full = dir.path().join("full");
    let genesis = dir.path().join("a, b/node0/genesis.json");
    for (flag, value) in [
        ("--peers", "a:1,"),
        ("--peers", "http://a:1"),
        ("--name", ""),
        ("--name", "a\nb"),
    ] {
        let error = fail(["init", "--home", text(&full), "--genesis", text(&genesis), flag, value]);
        assert!(
            error.contains(&format!("flag {flag}: ")) && !full.exists(),
            "{value}: {error}"
        );
    }
}

#[test]
fn a_network_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("lists").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let taken = dir.path().join("taken");
    std::fs::create_dir_all(taken.join("node2")).expect("makes");
    std::fs::write(taken.join("node2/x"), "").expect("writes");
    let error = fail(["testnet", "--validators", "4", "--dir", text(&taken)]);
    assert!(error.contains("node2 exists already; nothing was changed"), "{error}");
    assert_eq!(names(&taken), ["node2"]);

    // Killed at any moment, it leaves all homes or none.
    for (index, delay_ms) in [5, 10, 20, 40].into_iter().enumerate() {
        let net = dir.path().join(format!("killed{index}"));
        let mut command = crate::harness::ultramarine(["testnet", "--validators", "16", "--dir", text(&net)]);
        let mut child = command
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the binary runs");
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
        let found = names(&net);
        let mut all: Vec<_> = (0..16).map(|index| format!("node{index}")).collect();
        all.sort();
        assert!(found.is_empty() || found == all, "{found:?} after {delay_ms} ms");
        if found.is_empty() {
            succeed(["testnet", "--validators", "16", "--dir", text(&net)]);
        }
    }
    // Interrupted, it leaves no keys in hidden folders either.
    let here = dir.path().join("interrupted");
    std::fs::create_dir_all(&here).expect("makes");
    for (index, signal) in [Signal::INT, Signal::TERM, Signal::HUP].into_iter().enumerate() {
        let net = here.join(format!("net{index}"));
        let mut command = crate::harness::ultramarine(["testnet", "--validators", "60", "--dir", text(&net)]);
        let mut child = command
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the binary runs");
        // While it writes, or when it has written all.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while names(&here).len() == index && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
        kill_process(pid, signal).expect("a child of ours");
        child.wait().expect("a child of ours");
        let found: Vec<_> = names(&here);
        assert!(found.iter().all(|name| name.starts_with("net")), "{found:?}");
        assert_eq!(names(&net).len(), 60);
    }
}

#[test]
fn a_full_node_is_made_from_a_genesis() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let genesis = home(&dir.path().join("net")).join("genesis.json");
    let full = dir.path().join("full");
    succeed([
        "init",
        "--home",
        text(&full),
        "--genesis",
        text(&genesis),
        "--peers",
        "10.0.0.1:26650",
    ]);
    assert!(!full.join("validator.key").exists());
    assert!(succeed(["config", "check", "--home", text(&full)]).contains("full node beside 4 validators"));
    assert!(fail(["init", "--home", text(&full), "--genesis", text(&genesis)]).contains("exists already"));
}

#[test]
fn the_topology_names_every_tile() {
    let table = succeed(["topology", "--set", "node.lanes=2"]);
    for tile in ["core", "net", "store", "engine", "http", "kzg-0", "kzg-1"] {
        assert!(table.contains(tile), "{table}");
    }
    for part in ["net-core", "core, net → store", "kzg-engine", " 7 tiles"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    assert!(fail(["topology", "--set", "node.lanes=999"]).contains("expected a whole number from 0 to"));
}

#[test]
fn the_manual_is_printed_as_it_is() {
    assert_eq!(
        succeed(["config", "default"]),
        include_str!("../../../node/default.toml")
    );
}

#[test]
fn what_a_benchmark_finds_is_one_object() {
    let printed = succeed(["bench", "kzg", "--seconds", "0", "--json"]);
    let report: Value = serde_json::from_str(&printed).expect("one object, and nothing else");
    for text in ["cpu", "as_processor", "path"] {
        assert!(
            report[text].as_str().is_some_and(|text| !text.is_empty()),
            "{text}: {report}"
        );
    }
    let rows = report["rows"].as_array().expect("a list");
    let sizes: Vec<u64> = rows.iter().filter_map(|row| row["blobs"].as_u64()).collect();
    assert_eq!(sizes, [1, 6, 16, 64, 128, 512, 1024]);
    for (row, figure) in rows
        .iter()
        .flat_map(|row| ["ours_us", "ckzg_us", "ckzg_single_us", "eip4844_us", "ratio"].map(|figure| (row, figure)))
    {
        assert!(row[figure].as_f64() > Some(0.0), "{figure}: {row}");
    }
    for list in ["stages", "lanes", "paced"] {
        assert!(
            report[list].as_array().is_some_and(|list| !list.is_empty()),
            "{list}: {report}"
        );
    }
}

#[test]
fn what_cannot_be_printed_is_a_reason_and_a_reader_who_left_is_a_quiet_end() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let home = home(&dir.path().join("net"));
    let (home, genesis) = (text(&home), home.join("genesis.json"));
    let fresh = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let commands = |turn: &str| {
        let new = [fresh(&format!("testnet-{turn}")), fresh(&format!("init-{turn}"))];
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        [
            words(&["--help"]),
            words(&["--version"]),
            words(&["config", "default"]),
            words(&["config", "show", "--home", home]),
            words(&["config", "check", "--home", home]),
            words(&["topology"]),
            words(&["testnet", "--validators", "1", "--dir", &new[0]]),
            words(&["init", "--home", &new[1], "--genesis", text(&genesis)]),
        ]
    };
    for arguments in commands("full") {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = crate::harness::ultramarine(&arguments)
            .stdout(full.expect("Linux has it"))
            .output()
            .expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.contains("cannot write to standard output: No space left"),
            "{arguments:?}: {error}"
        );
    }
    for arguments in commands("closed") {
        let (reader, writer) = std::io::pipe().expect("descriptors");
        drop(reader);
        let output = crate::harness::ultramarine(&arguments)
            .stdout(writer)
            .output()
            .expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}: {error}", output.status);
        assert!(!error.contains("error"), "{arguments:?}: {error}");
    }
    assert!(
        dir.path().join("testnet-full/node0").is_dir(),
        "what was asked for is done"
    );
    // A reason that nobody hears is still an exit code.
    let output = crate::harness::ultramarine(["config", "check", "--home", "nowhere"])
        .stderr(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .expect("Linux has it"),
        )
        .status();
    assert_eq!(output.expect("the binary runs").code(), Some(1));
}

#[test]
fn variables_of_a_service_are_no_settings() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let home = home(dir.path());
    let check = |name: &str, value: &std::ffi::OsStr| {
        let mut command = crate::harness::ultramarine(["config", "check", "--home", text(&home)]);
        let output = command.env(name, value).output().expect("the binary runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (name, value) in [
        ("ULTRAMARINE_NODE_SERVICE_HOST", "10.0.0.1"),
        ("ULTRAMARINE_NODE0_PORT", "tcp://10.0.0.1:8580"),
    ] {
        assert_eq!(check(name, value.as_ref()), (Some(0), String::new()), "{name}");
    }
    let no_text = std::os::unix::ffi::OsStrExt::from_bytes(b"a\xff");
    let (code, error) = check("ULTRAMARINE_NODE_NAME", no_text);
    assert!(code == Some(1) && error.contains("not UTF-8"), "{error}");
}

#[test]
fn wrong_usage_is_exit_code_two() {
    assert_eq!(run(["devnet", "--validators", "0"]).status.code(), Some(2));
    assert_eq!(run(["no-such-command"]).status.code(), Some(2));
}

#[test]
fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let home = home(dir.path());
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = held.local_addr().expect("bound").to_string();
    let error = fail([
        "start",
        "--home",
        text(&home),
        "--set",
        &format!("http.listen={address}"),
    ]);
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
}
