//! A node with an archive, and the commands by which an operator looks the archive over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ultramarine_node::genesis::Genesis;
use ultramarine_node::home::Home;
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Pwrite, ready};
use ultramarine_store::{OpenStore, StoreOptions, View, Writer, open};
use ultramarine_types::storage::{Absent, Blobs, Decision, Source, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height};

use crate::harness::network::Network;
use crate::harness::{fail, run, succeed, wait_for};

const PATIENCE: Duration = Duration::from_secs(100);
/// Heights of one object.
const SPAN: u64 = 8;

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// The objects of an archive, by name.
pub fn objects(archive: &Path) -> Vec<PathBuf> {
    let chains = std::fs::read_dir(archive).expect("a folder");
    let mut objects: Vec<PathBuf> = chains
        .flat_map(|chain| std::fs::read_dir(chain.expect("an entry").path()).expect("a folder"))
        .map(|object| object.expect("an entry").path())
        .collect();
    objects.sort();
    objects
}

/// The store of a node that does not run.
fn store(home: &Path, data: &str) -> OpenStore {
    let chain = Genesis::load(&Home::open(home).expect("a home"))
        .expect("a genesis")
        .chain;
    let options = StoreOptions::new(chain.params.limits(), chain.identity, Registry::new());
    open(&home.join(data), &options).expect("it opens")
}

/// Decides what another store decided, without the blobs, as a node does that comes too late for them.
fn decide_without_blobs(store: OpenStore, source: &View, through: u64) {
    let mut writer = Writer::new(Pwrite::new(None), store.state);
    for height in (1..=through).map(Height) {
        let (decided, assembly) = source.decided_value(height).expect("it is whole");
        let put = StoreRequest::Put {
            assembly: Assembly {
                blobs: Vec::new(),
                ..assembly
            },
            tag: Tag::Certified,
        };
        let commit = StoreRequest::Commit(Box::new(Decision {
            certificate: decided.certificate,
            init: decided.init,
            blobs: Blobs::NeverHeld,
        }));
        let done = ready(async {
            let mut replies = Vec::new();
            writer.handle(put, &mut replies).await?;
            writer.handle(commit, &mut replies).await?;
            writer.flush(&mut replies).await
        });
        done.expect("the store does not fail");
    }
}

#[test]
fn a_node_archives_as_it_goes_and_what_is_broken_or_missing_is_named() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let archive = temporary.path().join("archive");
    let url = format!("file://{}", text(&archive));
    let network = Network::lay_out(&temporary.path().join("net"), 1, 50);
    let node = &network.nodes[0];
    let settings = [format!("archive.url={url}"), format!("archive.span_heights={SPAN}")];
    let mut process = network.start(0, &["--set", &settings[0], "--set", &settings[1]]);
    let _load = network.load([0]);
    node.wait_for_height(60, PATIENCE);
    let archived = || node.status().and_then(|status| status["archive"]["through"].as_u64());
    wait_for("56 archived heights", PATIENCE, || {
        archived().filter(|through| *through >= 56)
    });
    let status = node.status().expect("it answers");
    assert_eq!(status["archive"]["url"], url);
    assert!(status["archive"]["trouble"].is_null(), "{status}");
    assert!(
        node.metric("ultramarine_archive_objects_total")
            .is_some_and(|count| count >= 7.0)
    );

    // It tells how far the archive must go, while it runs and when it does not.
    let look = ["archive", "gaps", "--home", text(&node.home), "--url", &url];
    let found = succeed(look);
    assert!(found.contains("objects, up to height"), "{found}");
    assert!(process.terminate(PATIENCE).success());
    succeed(look);
    let found = succeed(["archive", "verify", "--url", &url]);
    assert!(found.contains("(0 without their blobs)"), "{found}");

    // By hand, up to the newest height.
    let export = ["archive", "export", "--home", text(&node.home), "--url", &url];
    let found = succeed(export);
    assert!(found.contains("written, read back and verified"), "{found}");
    let found = succeed(export);
    assert!(found.contains("0 objects are new"), "{found}");

    // Heights that are here need not be brought back, and others cannot.
    let import = |to: &str| {
        let line = [
            "archive",
            "import",
            "--home",
            text(&node.home),
            "--url",
            &url,
            "--to",
            to,
        ];
        line.map(str::to_owned)
    };
    assert!(succeed(import("5")).contains("0 heights of 1-5"));
    assert!(fail(import("100000")).contains("height 100000 is not decided here"));

    // What the node never held is brought as well.
    let [data, whole] = ["data", "whole"].map(|name| node.home.join(name));
    std::fs::rename(&data, &whole).expect("ours");
    std::fs::create_dir(&data).expect("a folder");
    let source = store(&node.home, "whole").view;
    decide_without_blobs(store(&node.home, "data"), &source, 40);
    let view = store(&node.home, "data").view;
    let lacks = |height: &Height| view.decided_value(*height).err() == Some(Absent::NeverHeld);
    let lacking = (1..=40).map(Height).filter(lacks).count();
    assert!(lacking > 0, "some blocks have blobs");
    drop(view);
    let bare = format!("file://{}", text(&temporary.path().join("bare")));
    let output = run(["archive", "export", "--home", text(&node.home), "--url", &bare]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains(&format!("{lacking} of these heights are archived without their")),
        "{said}"
    );
    let found = succeed(import("40"));
    assert!(
        found.contains(&format!("{lacking} heights of 1-40 were brought back")),
        "{found}"
    );
    let view = store(&node.home, "data").view;
    for height in (1..=40).map(Height) {
        let blobs = |view: &View| view.decided_value(height).expect("it is whole").1.blobs;
        assert!(blobs(&view) == blobs(&source), "height {height}");
    }
    drop((view, source));
    std::fs::remove_dir_all(&data).expect("ours");
    std::fs::rename(&whole, &data).expect("ours");

    let broken = objects(&archive)[1].clone();
    let bytes = std::fs::read(&broken).expect("ours");
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&broken, &flipped).expect("ours");
    let output = run(["archive", "verify", "--url", &url]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let name = broken.file_name().and_then(|name| name.to_str()).expect("text");
    assert!(said.contains(name) && said.contains("height "), "{said}");
    std::fs::remove_file(&broken).expect("ours");
    let output = run(look);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("missing: 9-16"), "{said}");
    std::fs::write(&broken, bytes).expect("ours");
    succeed(["archive", "verify", "--url", &url]);

    // Another chain's node does not begin to write there.
    let other = temporary.path().join("other");
    succeed(["testnet", "--validators", "1", "--dir", text(&other)]);
    let home = other.join("node0");
    let refused = fail(["config", "check", "--home", text(&home), "--set", &settings[0]]);
    assert!(refused.contains("the archive of another chain"), "{refused}");
}

#[test]
fn a_wrong_address_of_an_archive_is_refused_with_what_is_wrong() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    succeed([
        "testnet",
        "--validators",
        "1",
        "--dir",
        text(&temporary.path().join("net")),
    ]);
    let home = temporary.path().join("net/node0");
    for (set, why) in [
        ("archive.url=/mnt/archive", "file://"),
        ("archive.url=s3://key:secret@bucket/x", "credentials"),
        ("archive.url=https://s3.example.org", "endpoint"),
        ("archive.endpoint=http://127.0.0.1:9", "archive"),
        ("archive.span_heights=0", "1 to 256"),
    ] {
        let refused = fail(["config", "check", "--home", text(&home), "--set", set]);
        assert!(refused.contains(why), "{set}: {refused}");
        assert!(!refused.contains("secret"), "no key is repeated: {refused}");
    }
    for look in [
        ["verify", "--url", "file:///no/such/folder"],
        ["gaps", "--url", "gs://bucket"],
    ] {
        let refused = fail(["archive"].into_iter().chain(look));
        assert!(refused.contains("no folder") || refused.contains("scheme"), "{refused}");
    }
}
