//! The devnet as the README promises it: for long, on the fallback, with larger blocks, for any user.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{EMBEDDED_CLIENT_KB, devnet_json, nodes, report_of};
use serde_json::Value;

/// Files whose blobs fill blocks of any size.
fn content(dir: &Path, files: u8, bytes: u32) {
    std::fs::create_dir_all(dir).expect("the folder is writable");
    for file in 0..files {
        let bytes: Vec<u8> = (0..bytes)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ file)
            .collect();
        std::fs::write(dir.join(format!("{file}.bin")), bytes).expect("the folder is writable");
    }
}

fn all_agree_at(report: &Value, height: u64) {
    assert_eq!(report["agreement"], true, "{report}");
    let nodes = report["nodes"].as_array().expect("a list");
    assert!(
        nodes.iter().all(|node| node["height"].as_u64() >= Some(height)),
        "{report}"
    );
}

/// Forty heights under load: decided in round zero, full of blobs, by small nodes. `run` runs the devnet with these
/// flags. What was seen of each node last.
fn forty_heights(temporary: &Path, run: impl FnOnce(&[&str]) -> Value + Send) -> Vec<Seen> {
    let (blobs, dir) = (temporary.join("blobs"), temporary.join("net"));
    content(&blobs, 4, 300_000);
    let (blobs, folder) = (blobs.to_str().expect("UTF-8"), dir.to_str().expect("UTF-8"));
    let flags = ["--until-height", "40", "--blobs", blobs, "--dir", folder];
    let (report, seen) = watched(&dir, || run(&flags));
    seen.iter().for_each(is_full_of_blobs);
    all_agree_at(&report, 40);
    let heights = report["heights"].as_u64().expect("a number");
    assert!(report["blobs"].as_u64() >= Some(3 * heights), "{report}");
    assert!(report["rounds_above_zero"].as_u64() <= Some(1), "{report}");
    seen
}

/// What a running node said of itself.
struct Seen {
    /// Calls of the store into the system, where it has no ring.
    system_calls: Option<f64>,
    /// Operations of the store's and of the network's ring.
    rings: [Option<f64>; 2],
    /// What it had decided at every height.
    decided: Vec<Value>,
}

/// Looks at a devnet's nodes again and again while `run` runs it, each time at how small they are. What was seen last,
/// of each.
fn watched(dir: &Path, run: impl FnOnce() -> Value + Send) -> (Value, Vec<Seen>) {
    std::thread::scope(|scope| {
        let devnet = scope.spawn(run);
        let mut seen = BTreeMap::new();
        while !devnet.is_finished() {
            for node in nodes(dir).into_iter().flatten() {
                let rings = ["store", "net"]
                    .map(|ring| node.metric(&format!("ultramarine_ring_operations_total{{ring=\"{ring}\"}}")));
                let system_calls = node.metric("ultramarine_store_system_calls_total");
                // A node that is ending answers no more.
                if let Some(decided) = node.decided_if_it_answers()
                    && decided.len() > 30
                    && node.stays_small(EMBEDDED_CLIENT_KB)
                {
                    let last = Seen {
                        system_calls,
                        rings,
                        decided,
                    };
                    seen.insert(node.id, last);
                }
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        let report = devnet.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(seen.len(), 4, "nodes seen above height 30");
        (report, seen.into_values().collect())
    })
}

/// At least nine of ten heights above 3 hold blobs.
fn is_full_of_blobs(seen: &Seen) {
    let above_three = seen.decided.iter().skip(3);
    let (full, empty): (Vec<_>, Vec<_>) = above_three.partition(|decision| decision["blobs"].as_u64() > Some(0));
    assert!(full.len() >= 9 * empty.len(), "without blobs: {empty:?}");
}

/// Whether this machine has io_uring, by another library than the nodes ask. Panics where it must and has not.
fn has_io_uring() -> bool {
    let has = io_uring::IoUring::new(8).is_ok();
    if !has {
        let is_required = std::env::var("ULTRAMARINE_REQUIRE_URING").is_ok_and(|value| value == "1");
        assert!(
            !is_required,
            "ULTRAMARINE_REQUIRE_URING is 1 and this machine refuses io_uring"
        );
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED that nodes use io_uring: this machine refuses it"
        );
    }
    has
}

#[test]
fn forty_heights_are_decided_in_round_zero_and_full_of_blobs() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    for seen in forty_heights(temporary.path(), devnet_json) {
        if has_io_uring() {
            // The network's ring reads what is not in memory: in a young network, nothing.
            let [store, net] = seen.rings;
            assert!(store > Some(100.0) && net.is_some(), "{store:?}, {net:?}");
        }
    }
}

#[test]
fn without_io_uring_the_network_decides_the_same_way() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let fallback = |flags: &[&str]| devnet_json(&[flags, &["--io", "fallback"]].concat());
    for seen in forty_heights(temporary.path(), fallback) {
        assert!(
            seen.rings.iter().all(|operations| operations.unwrap_or(0.0) == 0.0),
            "{:?}",
            seen.rings
        );
        assert!(seen.system_calls > Some(100.0), "{:?}", seen.system_calls);
    }
}

#[test]
fn blocks_carry_more_than_six_blobs_where_the_chain_allows_it() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let (blobs, dir) = (temporary.path().join("blobs"), temporary.path().join("net"));
    content(&blobs, 4, 740_000);
    let flags = [
        "--until-height",
        "20",
        "--blobs-per-block",
        "24",
        "--blobs",
        blobs.to_str().expect("UTF-8"),
        "--dir",
        dir.to_str().expect("UTF-8"),
    ];
    let report = devnet_json(&flags);
    all_agree_at(&report, 20);
    // Twenty heights of at most six could not hold so many.
    assert!(report["blobs"].as_u64() > Some(150), "{report}");
    // A client has longer to write larger blocks.
    let log = std::fs::read_to_string(dir.join("node0.log")).expect("it is kept");
    assert!(log.contains("; a call may take 8.72s"), "{log}");
}

/// `.ci/run` and `.ci/full` have 1,024 blobs a block.
#[test]
fn blocks_of_256_blobs_do_not_stand_still() {
    let report = devnet_json(&["--until-height", "4", "--blobs-per-block", "256"]);
    all_agree_at(&report, 4);
    assert!(report["blobs"].as_u64() > Some(256), "{report}");
    // A slow machine may need a second round for a block, but not for each.
    assert!(report["rounds_above_zero"].as_u64() < Some(4), "{report}");
}

#[test]
fn a_user_without_privileges_can_run_it() {
    if !rustix::process::geteuid().is_root() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the other tests run without privileges already"
        );
        return;
    }
    let temporary = tempfile::tempdir().expect("temporary directory");
    // Where the binary was built another user may not look.
    let binary = temporary.path().join("ultramarine");
    std::fs::copy(env!("CARGO_BIN_EXE_ultramarine"), &binary).expect("the folder is writable");
    let everybody = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    everybody(temporary.path(), 0o777);
    everybody(&binary, 0o755);
    forty_heights(temporary.path(), |flags| {
        // The limits of a login on Debian.
        let mut command = Command::new("prlimit");
        command
            .args(["--memlock=8388608:8388608", "--nofile=1024:", "--", "setpriv"])
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&binary)
            .args(["devnet", "--json"])
            .args(flags)
            .env_remove("ULTRAMARINE_ETHEREUMJS_DIR");
        report_of(&mut command)
    });
    let log = std::fs::read_to_string(temporary.path().join("net/node0.log")).expect("a node has a log");
    assert!(log.contains("memlock (RLIMIT_MEMLOCK, bytes) is 8388608"), "{log}");
}
