//! A full disk refuses values and still records decisions. Needs the right to mount a small tmpfs; says so without it.

use std::path::{Path, PathBuf};
use std::process::Command;

use ultramarine_types::Height;
use ultramarine_types::storage::{Source, StoreReply, StoreRequest, Tag};

use super::support::*;

struct SmallDisk {
    folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("disk");
        std::fs::create_dir(&folder).expect("a folder");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "ultramarine-test"])
            .arg(&folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self {
                folder,
                _parent: parent,
            }),
            Ok(_) | Err(_) => {
                println!("skipped: mounting a small tmpfs is not permitted here");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

#[test]
fn a_full_disk_refuses_values_and_still_records_decisions() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    store.begin(1);
    let mut height = 0;
    let refused = loop {
        let value = value(height + 1, height as u8, 6);
        let replies = store.ask([StoreRequest::Put {
            assembly: value.clone(),
            tag: Tag::Streamed,
        }]);
        match &replies[..] {
            [StoreReply::Stored { .. }] => {
                store.commit(&value);
                height += 1;
            }
            [StoreReply::Refused { reason, .. }] => break reason.clone(),
            other => panic!("{other:?}"),
        }
        assert!(height < 200, "64 MiB cannot hold 150 MiB");
    };
    assert!(refused.contains("free disk space"), "{refused}");
    assert!(height > 10, "most of the disk was used: {height}");
    // Log and commits go on: a value without blobs still fits in the growing segment.
    store.begin(height + 1);
    store.log(&[b"still signing"]);
    let small = value(height + 1, 200, 0);
    store.put(&small, Tag::Streamed);
    store.commit(&small);
    // Something else fills what is left: the reserve is given up, and the decision recorded.
    std::fs::write(disk.path().join("filler"), vec![0; 200 << 20]).expect_err("the disk is full now");
    let next = value(height + 2, 201, 0);
    store.put(&next, Tag::Streamed);
    store.commit(&next);
    drop(store);
    std::fs::remove_file(disk.path().join("filler")).expect("room again");
    let store = Store::open(disk.path());
    assert_eq!(store.reader.head(), Height(height + 2));
    assert_same(&store.reader.decided_value(Height(height + 1)).expect("held").1, &small);
}

#[test]
fn a_value_acknowledged_before_the_disk_filled_up_survives_a_restart() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    let acknowledged = value(1, 1, 6);
    store.put(&acknowledged, Tag::Streamed);
    drop(store);
    let available = rustix::fs::statvfs(disk.path())
        .map(|status| status.f_bavail * status.f_frsize)
        .expect("a status");
    let filler = vec![0; usize::try_from(available).expect("a small disk") - (10 << 20)];
    std::fs::write(disk.path().join("filler"), filler).expect("it fits");
    for _ in 0..2 {
        let store = Store::open(disk.path());
        assert_same(&store.recovered.undecided[0].0, &acknowledged);
        assert_same(&store.reader.value(&acknowledged.key).expect("served"), &acknowledged);
    }
    let mut store = Store::open(disk.path());
    store.commit(&acknowledged);
    drop(store);
    let store = Store::open(disk.path());
    assert_same(&store.reader.decided_value(Height(1)).expect("held").1, &acknowledged);
}
