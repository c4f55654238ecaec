//! What an archive in a folder promises.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ultramarine_types::Height;
use ultramarine_types::storage::{Absent, Source};

use super::rig::*;
use crate::archive::address::{BucketAccess, chain_folder};

fn nobody() -> BucketAccess {
    BucketAccess::default()
}

fn objects_folder(archive: &Path) -> PathBuf {
    archive.join(chain_folder(ultramarine_types::fixtures::CHAIN))
}

fn names(archive: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(objects_folder(archive)).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_is_pruned_before_it_is_archived_and_all_of_it_comes_back_byte_for_byte() {
    let dir = tempfile::tempdir().expect("a folder");
    let address = folder_address(&dir.path().join("archive"));
    let mut rig = Rig::open(&dir.path().join("data"));
    let values = rig.grow(1..=20, 3);
    rig.retire(19);
    for value in &values {
        let held = rig.view.decided_value(value.key.height);
        assert_same(&held.expect("nothing is archived, so nothing is freed").1, value);
    }
    let uploading = rig.upload(&address, &nobody(), 4);
    rig.wait_archived(&uploading, 20);
    let oldest = rig.retire(19);
    assert!(oldest > Height(10), "{oldest}");
    for value in &values {
        let height = value.key.height;
        assert!(rig.view.is_archived(height));
        let found = archived(&address, &nobody(), height.0).expect("it is in the archive");
        assert_same(&found, value);
        if height < oldest {
            let here = rig.view.decided_value(height).err();
            assert_eq!(here, Some(Absent::Pruned { oldest }));
        }
    }
    let found = covered(&address, &nobody(), Height(20));
    assert_eq!((found.objects_count, found.last), (5, Height(20)));
    assert!(found.missing.is_empty() && found.without_blobs.is_empty() && found.broken.is_empty());
    // A gap is named, and so is an object that is broken.
    let lost = objects_folder(&dir.path().join("archive")).join(span(5, 8).object_name());
    std::fs::remove_file(lost).expect("it was there");
    let torn = objects_folder(&dir.path().join("archive")).join(span(13, 16).object_name());
    std::fs::write(torn, "torn").expect("written");
    let found = covered(&address, &nobody(), Height(22));
    assert_eq!(found.missing, [span(5, 8), span(13, 16), span(21, 22)]);
    assert_eq!(found.broken.len(), 1, "{:?}", found.broken);
}

#[test]
fn what_an_earlier_life_wrote_is_taken_over_and_what_it_left_broken_is_written_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("archive");
    let address = folder_address(&archive);
    let values = {
        let mut rig = Rig::open(&dir.path().join("first"));
        let values = rig.grow(1..=12, 2);
        let uploading = rig.upload(&address, &nobody(), 4);
        rig.wait_archived(&uploading, 12);
        values
    };
    let path = |first, last| objects_folder(&archive).join(span(first, last).object_name());
    let modified = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|found| found.modified())
            .expect("it is there")
    };
    let damaged = path(5, 8);
    let mut bytes = std::fs::read(&damaged).expect("read");
    let at = bytes.len() - 9;
    bytes[at] ^= 1;
    std::fs::write(&damaged, &bytes).expect("written");
    std::fs::write(objects_folder(&archive).join("notes.txt"), "not ours").expect("written");
    let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let half = objects_folder(&archive).join(format!("{}#1", span(13, 16).object_name()));
    std::fs::write(&half, "half").expect("written");
    std::fs::File::open(&half)
        .and_then(|file| file.set_modified(long_ago))
        .expect("ours");
    let before = [path(1, 4), path(9, 12)].map(|path| modified(&path));

    // The same blocks in a new directory, as after a loss of the disk.
    let mut rig = Rig::open(&dir.path().join("second"));
    rig.grow(1..=12, 2);
    let uploading = rig.upload(&address, &nobody(), 4);
    rig.wait_archived(&uploading, 12);
    assert_eq!(
        [path(1, 4), path(9, 12)].map(|path| modified(&path)),
        before,
        "they were whole"
    );
    for value in &values {
        let found = archived(&address, &nobody(), value.key.height.0).expect("it is in the archive");
        assert_same(&found, value);
    }
    let expected = [span(1, 4), span(5, 8), span(9, 12)].map(|span| span.object_name());
    let mut left = names(&archive);
    left.retain(|name| name != "notes.txt");
    // The last blob of the damaged object is height 8's: heights 5 to 7 were whole, and 8 lies in an object of its own.
    assert!(expected.iter().all(|name| left.contains(name)), "{left:?}");
    assert!(!half.exists(), "nobody needs it");
    let found = covered(&address, &nobody(), Height(12));
    assert!(found.missing.is_empty() && found.without_blobs.is_empty(), "{found:?}");
}

#[test]
fn an_archive_that_is_away_is_said_so_with_what_waits_and_gone_on_with_when_it_is_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("archive");
    std::fs::write(&archive, "a file").expect("in the way");
    let mut rig = Rig::open(&dir.path().join("data"));
    rig.grow(1..=12, 1);
    let address = folder_address(&archive);
    let uploading = rig.upload(&address, &nobody(), 4);
    uploading.wait_trouble("is a file");
    let status = uploading.progress.status();
    assert_eq!((status.through, status.waiting_heights), (Height(0), 12));
    assert!(
        status.waiting_bytes > 12 * 131_072 && status.disk_hours.is_some(),
        "{status:?}"
    );
    rig.retire(12);
    assert!(rig.view.decided_value(Height(1)).is_ok(), "nothing is freed");
    std::fs::remove_file(&archive).expect("ours");
    rig.wait_archived(&uploading, 12);
    until(
        || uploading.progress.status().trouble.is_none(),
        || "no trouble is left".to_owned(),
    );
    until(
        || uploading.progress.status().waiting_heights == 0,
        || "nothing waits".to_owned(),
    );
    drop(uploading);

    // Another folder in its place, as a disk that is not mounted leaves it.
    std::fs::rename(&archive, dir.path().join("elsewhere")).expect("ours");
    rig.grow(13..=16, 1);
    let uploading = rig.upload(&address, &nobody(), 4);
    uploading.wait_trouble("has no object with height 12");
    assert_eq!(rig.view.archived_through(), Height(12));
    std::fs::remove_dir_all(&archive).expect("ours");
    std::fs::rename(dir.path().join("elsewhere"), &archive).expect("ours");
    rig.wait_archived(&uploading, 16);
    let found = covered(&address, &nobody(), Height(16));
    assert!(found.missing.is_empty(), "{found:?}");
}

#[test]
fn a_damaged_height_is_waited_for_and_nothing_above_it_is_called_archived() {
    let dir = tempfile::tempdir().expect("a folder");
    let address = folder_address(&dir.path().join("archive"));
    let mut rig = Rig::open(&dir.path().join("data"));
    let values = rig.grow(1..=8, 1);
    rig.damage(&values[5]);
    let uploading = rig.upload(&address, &nobody(), 8);
    uploading.wait_trouble("height 6 is damaged here");
    rig.wait_archived(&uploading, 5);
    rig.retire(8);
    assert_eq!(rig.view.archived_through(), Height(5));
    assert!(rig.view.decided_value(Height(7)).is_ok(), "it is not archived");
}

/// Runs `docs/formats/archive.py` on an object; `None`: there is no Python here.
///
/// # Panics
/// If there is none where `ULTRAMARINE_REQUIRE_PYTHON` is 1.
fn stranger(object: &Path) -> Option<(bool, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats/archive.py");
    match std::process::Command::new("python3").arg(script).arg(object).output() {
        Ok(output) => Some((
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )),
        Err(error) => {
            let required = std::env::var("ULTRAMARINE_REQUIRE_PYTHON").is_ok_and(|value| value == "1");
            assert!(!required, "Python is required: {error}");
            ultramarine_runtime::skip::say("a stranger reads an archive: no python3 here");
            None
        }
    }
}

#[test]
fn a_stranger_reads_an_archive_from_its_description_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("archive");
    let mut rig = Rig::open(&dir.path().join("data"));
    rig.grow(1..=2, 0);
    rig.grow(3..=4, 3);
    let uploading = rig.upload(&folder_address(&archive), &nobody(), 4);
    rig.wait_archived(&uploading, 4);
    let object = objects_folder(&archive).join(span(1, 4).object_name());
    let Some((is_whole, said)) = stranger(&object) else {
        return;
    };
    assert!(
        is_whole && said.contains("height 4: 3 of 3 blobs") && said.contains("height 1: 0 of 0 blobs"),
        "{said}"
    );
    let bytes = std::fs::read(&object).expect("ours");
    for (at, expected) in [(20, "header"), (100, "index"), (bytes.len() - 5, "height 4: blob 2")] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&object, flipped).expect("ours");
        let (is_whole, said) = stranger(&object).expect("it was there");
        assert!(!is_whole && said.contains(expected), "{said}");
    }
}

#[test]
fn the_archive_of_another_chain_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("archive");
    let other = ultramarine_types::ChainIdentity([3; 32]);
    std::fs::create_dir_all(archive.join(chain_folder(other))).expect("a folder");
    let mut rig = Rig::open(&dir.path().join("data"));
    rig.grow(1..=4, 1);
    let uploading = rig.upload(&folder_address(&archive), &nobody(), 4);
    uploading.wait_trouble("another chain");
    assert!(!objects_folder(&archive).exists(), "nothing of ours is written there");
}
