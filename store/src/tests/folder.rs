//! Where a data directory can lie, and what an operator is told where it cannot.

use std::os::unix::fs::symlink;
use std::path::Path;

use ultramarine_types::ChainIdentity;

use super::support::*;
use crate::{OpenError, look};

/// What is said of a directory that does not open, and, in front of it, by a look.
fn refusal(folder: &Path) -> String {
    let looked = look(folder, CHAIN).err().map(|error| error.to_string());
    let refused = Store::try_open(folder, &options()).err().map(|error| error.to_string());
    let refused = refused.expect("it does not open");
    assert!(
        looked.is_none() || looked.as_ref() == Some(&refused),
        "{looked:?} and {refused}"
    );
    assert!(
        !refused.contains("check the disk"),
        "nothing is wrong with the disk: {refused}"
    );
    refused
}

#[test]
fn a_path_that_can_be_no_data_directory_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let [link, file, locked] = ["link", "file", "locked"].map(|name| folder.path().join(name));
    symlink("nowhere", &link).expect("a link");
    std::fs::write(&file, "x").expect("a file");
    std::fs::create_dir_all(locked.join("LOCK")).expect("a folder");
    for (path, named, part) in [
        (link.clone(), link.as_path(), "points to nothing"),
        (link.join("data"), &link, "points to nothing"),
        (file.clone(), &file, "no folder"),
        (file.join("data"), &file, "no folder"),
        ("/dev/null".into(), Path::new("/dev/null"), "no folder"),
        ("/proc".into(), Path::new("/proc"), "node.data_dir"),
        (locked.clone(), &locked.join("LOCK"), "move it away"),
    ] {
        let text = refusal(&path);
        assert!(text.contains(named.to_str().expect("UTF-8")), "{text}");
        assert!(text.contains(part), "{text}");
    }
    std::fs::create_dir(folder.path().join("nowhere")).expect("its folder");
    drop(Store::open(&link));
}

#[test]
fn a_look_at_another_chains_directory_finds_it_while_it_is_in_use_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (CHAIN, ChainIdentity([5; 32]));
    let data = folder.path().join("data");
    look(&data, ours).expect("it can be made");
    assert!(!data.exists(), "it is not made");
    let mut store = Store::open(&data);
    look(&data, other).expect("nothing names a chain yet");
    store.begin(1);
    store.grow(1..=2, 1);
    look(&data, ours).expect("it is ours");
    let refused = look(&data, other).expect_err("it is not theirs");
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("belongs to the chain"), "{refused}");
}
