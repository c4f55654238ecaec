//! What an operator who starts a node wrongly is told, by the process itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ultramarine_node::home::network::{Addresses, NodePlan};
use ultramarine_types::host::Host;

use crate::harness::network::Network;
use crate::harness::{Process, fail, succeed, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn log(network: &Network, id: usize) -> String {
    std::fs::read_to_string(network.nodes[id].home.with_extension("log")).unwrap_or_default()
}

/// The flags that start a second process from the same home on other ports.
fn elsewhere(home: &Path) -> Vec<String> {
    let addresses: Addresses = ultramarine::devnet::ports::free(1).expect("loopback has ports")[0];
    let settings = [
        format!("http.listen={}", addresses.http),
        format!("network.listen={}", addresses.quic),
        format!("engine.embedded_http={}", addresses.engine_http),
        format!("engine.embedded_auth={}", addresses.engine_auth),
    ];
    let flags = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
    ["start".to_owned(), "--home".to_owned(), text(home).to_owned()]
        .into_iter()
        .chain(flags)
        .collect()
}

/// A network of one validator that has decided something, and its running node.
fn running(dir: &Path) -> (Network, Process) {
    let network = Network::lay_out(dir, 1, 250);
    let node = network.start(0, &[]);
    network.nodes[0].wait_for_height(2, PATIENCE);
    (network, node)
}

fn data_of(network: &Network) -> PathBuf {
    network.nodes[0].home.join("data")
}

#[test]
fn a_data_directory_serves_one_process_and_one_chain() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let (network, mut node) = running(&temporary.path().join("one"));
    let lines = log(&network, 0);
    assert!(lines.contains("block_interval_ms is 250"), "its pace is named: {lines}");
    let data = data_of(&network);
    let error = fail(elsewhere(&network.nodes[0].home));
    assert!(
        error.contains(text(&data)) && error.contains("another process"),
        "{error}"
    );
    succeed(["config", "check", "--home", text(&network.nodes[0].home)]);
    assert!(node.terminate(Duration::from_secs(20)).success());
    drop((node, network));

    // The same directory under another chain's genesis. Two networks would wait for each other's turn.
    let other = Network::lay_out(&temporary.path().join("two"), 1, 250);
    let home = &other.nodes[0].home;
    let setting = format!("node.data_dir={}", text(&data));
    let found = fail(["config", "check", "--home", text(home), "--set", &setting]);
    assert!(
        found.contains("belongs to the chain") && found.contains("flag --set"),
        "{found}"
    );
    let error = fail(["start", "--home", text(home), "--set", &setting]);
    assert_eq!(error, found, "a start says the same");
}

#[test]
fn a_start_that_fails_names_what_is_in_the_way_and_not_that_somebody_asked() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let home = text(&network.nodes[0].home);
    let lock = data_of(&network).join("LOCK");
    std::fs::create_dir_all(&lock).expect("the folder is writable");
    let error = fail(["start", "--home", home]);
    assert!(error.contains(text(&lock)) && error.contains("move it away"), "{error}");
    for wrong in ["asked to stop", "check the disk"] {
        assert!(!error.contains(wrong), "{error}");
    }
    let link = temporary.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).expect("the folder is writable");
    let setting = format!("node.data_dir={}", text(&link));
    for command in [&["start"][..], &["config", "check"]] {
        let line = command.iter().copied().chain(["--home", home, "--set", &setting]);
        let error = fail(line);
        assert!(error.contains("points to nothing"), "{error}");
    }
}

#[test]
fn a_taken_port_for_peers_is_named() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let held = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    let address = held.local_addr().expect("bound").to_string();
    let setting = format!("network.listen={address}");
    let error = fail(["start", "--home", text(&network.nodes[0].home), "--set", &setting]);
    assert!(
        error.contains(&address) && error.contains("in use") && error.contains("network.listen"),
        "{error}"
    );
}

#[test]
fn a_client_that_is_not_there_is_waited_for_with_one_line() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let engine = format!("http://{}", network.addresses[0].engine_auth);
    let _node = network.start(0, &["--engine", &engine]);
    wait_for("a line about the client", PATIENCE, || {
        log(&network, 0).contains(&engine).then_some(())
    });
    // It has asked many times by now, and says so once.
    std::thread::sleep(Duration::from_secs(4));
    let lines = log(&network, 0);
    let waiting = "waiting for the execution client";
    let about: Vec<&str> = lines.lines().filter(|line| line.contains(waiting)).collect();
    assert_eq!(about.len(), 1, "{lines}");
    let _client = network.external_client(0);
    network.nodes[0].wait_for_height(2, PATIENCE);
}

#[test]
fn a_client_with_another_secret_stops_the_start_and_the_secret_is_named() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let _client = network.external_client(0);
    wait_for("the client", PATIENCE, || {
        std::net::TcpStream::connect(network.addresses[0].engine_auth).ok()
    });
    let secret = temporary.path().join("other.hex");
    std::fs::write(&secret, "11".repeat(32)).expect("the folder is writable");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let engine = format!("http://{}", network.addresses[0].engine_auth);
    let home = text(&network.nodes[0].home);
    let error = fail([
        "start",
        "--home",
        home,
        "--engine",
        &engine,
        "--jwt-secret",
        text(&secret),
    ]);
    assert!(
        error.contains("secret") && error.contains("engine.jwt_secret"),
        "{error}"
    );
}

#[test]
fn a_client_of_another_genesis_stops_the_start() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let home = &network.nodes[0].home;
    let genesis = home.join("execution-genesis.json");
    let kept = std::fs::read_to_string(&genesis).expect("it was laid out");
    let mut other: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    other["timestamp"] = "0x5".into();
    std::fs::write(&genesis, other.to_string()).expect("the folder is writable");
    let _client = network.external_client(0);
    wait_for("the client", PATIENCE, || {
        std::net::TcpStream::connect(network.addresses[0].engine_auth).ok()
    });
    std::fs::write(&genesis, kept).expect("the folder is writable");
    let engine = format!("http://{}", network.addresses[0].engine_auth);
    let error = fail(["start", "--home", text(home), "--engine", &engine]);
    assert!(error.contains("genesis"), "{error}");
}

/// Nodes of IPv4 and of IPv6 reach each other from sockets for both.
#[test]
fn nodes_of_both_families_find_each_other() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let loopbacks: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut nodes = Vec::new();
    for loopback in loopbacks {
        let Ok(found) = ultramarine::devnet::ports::free_on(loopback, 1) else {
            eprintln!("skipped: this machine has no {loopback}");
            return;
        };
        let mut addresses = found[0];
        addresses.quic.set_ip(Ipv6Addr::UNSPECIFIED.into());
        nodes.push(NodePlan {
            host: Host::Address(loopback),
            addresses,
        });
    }
    let network = Network::of(&temporary.path().join("net"), nodes, 250);
    let _processes = network.start_all();
    for node in &network.nodes {
        node.wait_for_height(2, PATIENCE);
    }
}

/// Operators change their clients one after another. Who lags behind is named, and nobody parts.
#[test]
fn a_peer_whose_client_has_another_schedule_of_forks_is_named_and_stays() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 2, 250);
    let path = network.nodes[1].home.join("execution-genesis.json");
    let genesis = std::fs::read_to_string(&path).expect("a home has one");
    let mut genesis: serde_json::Value = serde_json::from_str(&genesis).expect("JSON");
    genesis["config"]["muirGlacierBlock"] = 0.into();
    std::fs::write(&path, genesis.to_string()).expect("the folder is writable");
    let _processes = network.start_all();
    for (id, node) in network.nodes.iter().enumerate() {
        node.wait_for_height(2, PATIENCE);
        let differing = ["fork_schedule", "upgrades"]
            .map(|what| node.metric(&format!("ultramarine_net_peers_differing_items{{what=\"{what}\"}}")));
        assert_eq!(differing, [Some(1.0), Some(0.0)], "node {id}");
        let said = log(&network, id);
        assert!(
            said.contains("its execution client's fork schedule is not ours"),
            "{said}"
        );
    }
}

#[test]
fn a_devnet_that_cannot_be_is_refused_before_it_begins() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let temporary = tempfile::tempdir().expect("temporary directory");
    let (empty, net) = (temporary.path().join("empty"), temporary.path().join("net"));
    std::fs::create_dir(&empty).expect("made");
    let no_text = temporary.path().join(OsStr::from_bytes(b"n\xff"));
    let devnet = |flags: [&OsStr; 4]| {
        let words = ["devnet", "--until-height", "1"].map(OsStr::new);
        fail(words.into_iter().chain(flags))
    };
    let (dir, blobs) = (OsStr::new("--dir"), OsStr::new("--blobs"));
    let said = devnet([dir, no_text.as_os_str(), OsStr::new("--seed"), OsStr::new("1")]);
    assert!(said.contains("not UTF-8") && said.contains("--dir"), "{said}");
    for nothing in [empty.as_os_str(), OsStr::new("/dev/zero")] {
        let said = devnet([dir, net.as_os_str(), blobs, nothing]);
        assert!(said.contains("cannot publish"), "{said}");
    }
    let mut names = std::fs::read_dir(temporary.path()).expect("it is there");
    let only = names.next().expect("one").expect("it lists").file_name();
    assert!(only == "empty" && names.next().is_none(), "nothing was made");
}

#[test]
fn a_client_alone_names_its_own_flags() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let home = &network.nodes[0].home;
    let (genesis, secret) = (home.join("execution-genesis.json"), home.join("jwt.hex"));
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let taken = held.local_addr().expect("bound").port().to_string();
    let refused = |http: &str, auth: &str| {
        let files = ["dev-el", "--genesis", text(&genesis), "--jwt-secret", text(&secret)];
        fail(files.into_iter().chain(["--http-port", http, "--auth-port", auth]))
    };
    for (http, auth, flag) in [
        (taken.as_str(), "0", "--http-port"),
        ("0", taken.as_str(), "--auth-port"),
    ] {
        let said = refused(http, auth);
        assert!(
            said.contains(&format!("127.0.0.1:{taken}")) && said.contains(flag),
            "{said}"
        );
        assert_eq!(said.matches("in use").count(), 1, "{said}");
        assert!(!said.contains("authrpc") && !said.contains("--http.port"), "{said}");
    }
    let said = refused(&taken, &taken);
    assert!(said.contains("--http-port and --auth-port are both"), "{said}");
}

#[test]
fn a_flag_that_is_empty_or_left_out_is_named() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 1, 250);
    let home = &network.nodes[0].home;
    for engine in ["", " "] {
        let said = fail(["start", "--home", text(home), "--engine", engine]);
        assert!(said.contains("--engine is empty"), "{said}");
    }
    let genesis = temporary.path().join("g.json");
    std::fs::copy(home.join("genesis.json"), &genesis).expect("copied");
    let full = temporary.path().join("full");
    let said = fail(["init", "--home", text(&full), "--genesis", text(&genesis)]);
    assert!(
        said.contains("execution-genesis.json") && said.contains("--execution-genesis"),
        "{said}"
    );
}
