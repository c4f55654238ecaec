//! The devnet as the README promises it: for long, on the fallback, with larger blocks, for any user.

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{devnet_json, nodes, report_of, wait_for};
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

/// Forty heights under load: decided, full of blobs, in round zero. `run` runs the devnet with these flags.
fn forty_heights(temporary: &Path, run: impl FnOnce(&[&str]) -> Value) {
    let (blobs, dir) = (temporary.join("blobs"), temporary.join("net"));
    content(&blobs, 4, 300_000);
    let (blobs, folder) = (blobs.to_str().expect("UTF-8"), dir.to_str().expect("UTF-8"));
    let report = run(&["--until-height", "40", "--blobs", blobs, "--dir", folder]);
    all_agree_at(&report, 40);
    assert!(report["blobs"].as_u64() >= Some(120), "{report}");
    assert!(report["rounds_above_zero"].as_u64() <= Some(1), "{report}");
}

/// At least nine of ten heights above 3 hold blobs.
fn is_full_of_blobs(temporary: &Path) {
    let dir = temporary.join("net");
    // What each height held, from one of its nodes.
    let node = &nodes(&dir).expect("devnet.json stays")[0];
    let _node = node.restart();
    wait_for("status", Duration::from_secs(60), || node.status());
    let decided = node.decided();
    let above_three = decided.iter().filter(|decision| decision["height"].as_u64() > Some(3));
    let (full, empty): (Vec<_>, Vec<_>) = above_three.partition(|decision| decision["blobs"].as_u64() > Some(0));
    assert!(full.len() + empty.len() >= 37, "{decided:?}");
    assert!(full.len() >= 9 * empty.len(), "without blobs: {empty:?}");
}

#[test]
fn forty_heights_are_decided_in_round_zero_and_full_of_blobs() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    forty_heights(temporary.path(), devnet_json);
    is_full_of_blobs(temporary.path());
}

#[test]
fn without_io_uring_the_network_decides_the_same_way() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    forty_heights(temporary.path(), |flags| {
        devnet_json(&[flags, &["--io", "fallback"]].concat())
    });
}

#[test]
fn blocks_carry_more_than_six_blobs_where_the_chain_allows_it() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let blobs = temporary.path().join("blobs");
    content(&blobs, 4, 740_000);
    let flags = [
        "--until-height",
        "20",
        "--blobs-per-block",
        "24",
        "--blobs",
        blobs.to_str().expect("UTF-8"),
    ];
    let report = devnet_json(&flags);
    all_agree_at(&report, 20);
    // Twenty heights of at most six could not hold so many.
    assert!(report["blobs"].as_u64() > Some(150), "{report}");
}

#[test]
fn a_user_without_privileges_can_run_it() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the other tests run without privileges already");
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
}
