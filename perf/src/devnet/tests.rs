use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;
use crate::http::tests::serve;
use crate::stages::tests::{document, histogram};

/// One of these tests runs at a time. A child forked by one while another writes its script would hold that file open
/// for writing, and the kernel refuses to run such a file.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that behaves as the devnet does towards its watcher: writes `devnet.json`, runs a while, prints a result.
fn stand_in(dir: &Path, http: &str, agreement: bool, status: u8) -> PathBuf {
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != --dir ]; do [ $# -gt 0 ] || {{ echo stand-in 1.2; exit 0; }}; shift; done\n\
         mkdir -p \"$2\"\n\
         echo '{{\"nodes\": [{{\"id\": 0, \"pid\": '$$', \"http\": \"{http}\"}}]}}' > \"$2/devnet.json\"\n\
         sleep 1.5\necho 'why it ended' >&2\n\
         echo '{{\"agreement\": {agreement}, \"heights\": 3, \"blobs\": 12, \"bytes\": 1572864, \
         \"rounds_above_zero\": 0, \"load\": {{\"repeats\": false, \"seed\": 5}}, \"nodes\": [{{\"id\": 0, \
         \"height\": 3, \"head\": \"0xaa\", \"blobs\": 12}}], \"latency_ms\": {{}}}}'\n\
         exit {status}\n"
    );
    let path = dir.join("stand-in");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    path
}

fn options(dir: &Path, binary: PathBuf) -> PerfOptions {
    PerfOptions {
        validators: 4,
        until_height: 3,
        blobs_per_block: 6,
        blobs: None,
        seed: None,
        runs: 1,
        io: "auto".to_owned(),
        out: dir.join("out"),
        binary: Some(binary),
    }
}

fn node() -> String {
    let documents = [
        (
            "/histograms".to_owned(),
            document(&[
                ("vote", histogram([4_000_000, 5_000_000])),
                ("commit", histogram([60_000_000])),
            ]),
        ),
        ("/metrics".to_owned(), String::new()),
        ("/status".to_owned(), "{\"height\": 3, \"blobs_total\": 12}".to_owned()),
    ];
    serve(documents.into())
}

#[test]
fn a_run_leaves_a_report_and_a_percentile_file_per_stage() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let binary = stand_in(dir.path(), &node(), true, 0);
    run(&options(dir.path(), binary)).expect("the run is reported");
    let report = fs::read_to_string(dir.path().join("out/report.html")).expect("a report");
    assert!(report.contains("4 validators, 6 blobs a block"));
    assert!(report.contains("--until-height 3"), "the command is shown");
    assert!(report.contains("stand-in 1.2"), "the version is shown");
    for stage in ["vote", "commit"] {
        let text = fs::read_to_string(dir.path().join(format!("out/{stage}.hgrm"))).expect("a percentile file");
        assert!(text.contains("#[Mean"));
    }
    assert!(
        !dir.path().join("out/build.hgrm").exists(),
        "a stage nobody recorded has no file"
    );
    assert!(report.contains("seed 5"), "the load is told");
}

#[test]
fn three_runs_leave_a_report_each_and_figures_of_all() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let binary = stand_in(dir.path(), &node(), true, 0);
    let files = dir.path().join("files");
    fs::create_dir(&files).expect("made");
    let options = PerfOptions {
        runs: 3,
        blobs: Some(files),
        ..options(dir.path(), binary)
    };
    run(&options).expect("all runs are reported");
    let report = |number| fs::read_to_string(dir.path().join(format!("out/run{number}/report.html")));
    for number in 1..=3 {
        let report = report(number).expect("a report");
        assert!(report.contains(&format!("run {number} of 3")) && report.contains("--blobs"));
    }
    let figures = fs::read_to_string(dir.path().join("out/figures.json")).expect("figures");
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(figures.as_array().map(Vec::len), Some(3));
    assert_eq!(figures[2]["blobs"], 12);
    assert_eq!(
        figures[2]["stages_ms"]["vote"]["p50"].as_f64().map(f64::round),
        Some(4.0)
    );
}

#[test]
fn disagreement_fails_the_run_after_its_report_is_written() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let binary = stand_in(dir.path(), &node(), false, 0);
    let error = run(&options(dir.path(), binary)).expect_err("nodes disagreed");
    assert!(error.to_string().contains("did not agree"));
    assert!(dir.path().join("out/report.html").exists());
}

#[test]
fn a_devnet_that_fails_is_quoted() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let binary = stand_in(dir.path(), &node(), true, 1);
    let error = run(&options(dir.path(), binary)).expect_err("it failed");
    assert!(format!("{error:#}").contains("why it ended"));
}

#[test]
fn a_devnet_without_a_result_has_the_last_word() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let binary = dir.path().join("stand-in");
    fs::write(&binary, "#!/bin/sh\necho 'why it ended' >&2\nexit 2\n").expect("written");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("made executable");
    let error = run(&options(dir.path(), binary)).expect_err("it failed");
    let said = format!("{error:#}");
    assert!(
        said.contains("exit status: 2 and without a result") && said.ends_with("\nwhy it ended"),
        "{said}"
    );
}

/// Every name below a folder, with the bytes of files.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("it lists").path();
        found.push((path.clone(), fs::read(&path).unwrap_or_default()));
        found.extend(everything(&path));
    }
    found.sort();
    found
}

#[test]
fn what_another_hand_made_stops_a_run_before_it_begins_and_is_left_alone() {
    let _alone = alone();
    for (runs, name) in [
        (1, "net/node0/validator.key"),
        (1, "report.html"),
        (1, "figures.json"),
        (1, "vote.hgrm"),
        (1, "devnet.out"),
        (1, "devnet.err"),
        (2, "figures.json"),
        (2, "run2/net/node0/validator.key"),
        (2, "run1/report.html"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let binary = stand_in(dir.path(), &node(), true, 0);
        let theirs = dir.path().join("out").join(name);
        fs::create_dir_all(theirs.parent().expect("it has one")).expect("made");
        fs::write(&theirs, "years of work").expect("written");
        let before = everything(&dir.path().join("out"));
        let options = PerfOptions {
            runs,
            ..options(dir.path(), binary)
        };
        let error = run(&options).expect_err("it would be lost").to_string();
        let named = name.split("/node0").next().expect("a part");
        assert!(error.contains(named) && error.contains("--out"), "{name}: {error}");
        assert_eq!(everything(&dir.path().join("out")), before, "{name}");
    }
}

#[test]
fn a_run_replaces_what_an_earlier_one_wrote_and_nothing_that_came_since() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let binary = stand_in(dir.path(), &node(), true, 0);
    let (options, out) = (options(dir.path(), binary), dir.path().join("out"));
    fs::create_dir_all(out.join("net")).expect("made");
    fs::write(out.join("notes.txt"), "mine").expect("written");
    run(&options).expect("an empty net is nobody's");
    fs::write(out.join("report.html"), "old").expect("written");
    fs::write(out.join("net/devnet/old"), "old").expect("written");
    run(&options).expect("all of it is ours");
    let report = fs::read_to_string(out.join("report.html")).expect("a report");
    assert!(report.contains("4 validators"), "{report}");
    assert!(!out.join("net/devnet/old").exists() && out.join("net/devnet/devnet.json").exists());
    assert_eq!(fs::read(out.join("notes.txt")).expect("it is there"), b"mine");
    // Its network is removed by hand, and another one is made in its place.
    fs::remove_dir_all(out.join("net")).expect("removed");
    fs::create_dir_all(out.join("net/node0")).expect("made");
    run(&options).expect_err("that one is not ours");
    assert!(out.join("net/node0").is_dir());
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let binary = stand_in(dir.path(), &node(), true, 0);
    let (options, out) = (options(dir.path(), binary), dir.path().join("out"));
    let first = ReportFolder::claim(&out, FolderUse::Whole).expect("it is new");
    let error = run(&options).expect_err("it is ours").to_string();
    assert!(error.contains("another ultramarine-perf"), "{error}");
    let net = first.fresh_net().expect("made");
    drop(first);
    fs::create_dir(&net).expect("made");
    let lock = fs::File::create_new(net.join("devnet.lock")).expect("made");
    lock.lock().expect("a lock");
    let error = run(&options).expect_err("a devnet runs there").to_string();
    assert!(error.contains("still runs") && net.is_dir(), "{error}");
    drop(lock);
    run(&options).expect("nobody is there any more");
}

#[test]
fn a_path_that_no_devnet_can_write_down_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(
        b"d\xff".to_vec(),
    ));
    let options = PerfOptions {
        out: out.clone(),
        ..options(dir.path(), dir.path().join("none"))
    };
    let error = run(&options).expect_err("no text").to_string();
    assert!(error.contains("not UTF-8") && !out.exists(), "{error}");
}

#[test]
fn a_missing_node_says_what_to_do() {
    let missing = Path::new("/nonexistent/ultramarine");
    let error = find_binary(Some(missing), None, Path::new("/")).expect_err("it is not there");
    assert!(format!("{error:#}").contains("/nonexistent/ultramarine"));
    let error = find_binary(None, None, missing)
        .expect_err("it is not there")
        .to_string();
    assert!(
        error.contains("cargo build --release") && error.contains("--binary"),
        "{error}"
    );
}

#[test]
fn run_by_cargo_the_node_beside_is_built_anew_unless_one_is_named() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let beside = dir.path().join("release/ultramarine");
    fs::create_dir(dir.path().join("release")).expect("made");
    fs::write(&beside, "old").expect("written");
    let cargo = dir.path().join("cargo");
    let script = format!(
        "#!/bin/sh\necho \"$@$CARGO_PKG_NAME$CARGO_MANIFEST_DIR\" > {}\n",
        beside.display()
    );
    fs::write(&cargo, script).expect("written");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("made executable");
    let cargo = Some(cargo.into_os_string());

    let found = find_binary(Some(&beside), cargo.clone(), &beside).expect("it is there");
    assert_eq!(fs::read_to_string(found).expect("text"), "old");
    let found = find_binary(None, cargo, &beside).expect("it is built");
    let built = fs::read_to_string(found).expect("text");
    assert!(
        built.starts_with("build --bin ultramarine") && built.ends_with("--profile release\n"),
        "{built}"
    );
    let failing = Some(OsString::from("false"));
    assert!(
        find_binary(None, failing, &beside).is_err(),
        "an old one is not taken for the new"
    );
}
