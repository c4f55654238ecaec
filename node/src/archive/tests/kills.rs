//! A process that archives and prunes is killed at twenty moments; whatever was freed is in the archive.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ultramarine_types::Height;
use ultramarine_types::storage::Source;

use super::rig::*;
use crate::archive::address::BucketAccess;

/// Names the folder of the process that is to be killed.
const CHILD: &str = "ULTRAMARINE_TEST_ARCHIVE_CHILD";
const MOMENTS: u64 = 20;
const BLOBS: usize = 2;
const SPAN: u32 = 3;
/// Newest heights whose blobs stay.
const RETENTION: u64 = 5;

/// Decides, archives and prunes until it is killed. Without its variable it is no test.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let mut rig = Rig::open(&dir.join("data"));
    let _uploading = rig.upload(&folder_address(&dir.join("archive")), &BucketAccess::default(), SPAN);
    loop {
        let height = rig.view.head().0 + 1;
        rig.grow(height..=height, BLOBS);
        rig.retire(height.saturating_sub(RETENTION));
    }
}

fn live_and_die(dir: &Path, moment: Duration) {
    let program = std::env::current_exe().expect("it runs");
    let mut child = Command::new(program)
        .args(["--exact", "archive::tests::kills::child", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    std::thread::sleep(moment);
    assert!(child.try_wait().expect("ours").is_none(), "it ended by itself");
    child.kill().expect("ours");
    child.wait().expect("ours");
}

#[test]
fn a_kill_at_any_of_twenty_moments_leaves_no_height_that_is_neither_here_nor_archived() {
    let dir = tempfile::tempdir().expect("a folder");
    let address = folder_address(&dir.path().join("archive"));
    let access = BucketAccess::default();
    let (mut checked, mut pruned_total) = (0, 0);
    for moment in 0..MOMENTS {
        // Different moments of the work, 230 ms to 1 s after the start.
        live_and_die(dir.path(), Duration::from_millis(230 + moment * 7_919 % 770));
        let rig = Rig::open(&dir.path().join("data"));
        let (head, through) = (rig.view.head(), rig.view.archived_through());
        let archive = covered_or_nothing(&address, &access, through);
        assert!(
            archive.missing.is_empty() && archive.without_blobs.is_empty() && archive.broken.is_empty(),
            "archived through {through}: {archive:?}"
        );
        for height in 1..=head.0 {
            match rig.view.decided_value(Height(height)) {
                Ok((_, held)) if height > checked => assert_same(&held, &value(height, BLOBS)),
                Ok(_) => {}
                Err(absent) => {
                    assert!(
                        Height(height) <= through,
                        "height {height} is {absent:?}, archived through {through}"
                    );
                    if height > checked {
                        let found = archived(&address, &access, height);
                        let found = found.unwrap_or_else(|| panic!("height {height} is neither here nor archived"));
                        assert_same(&found, &value(height, BLOBS));
                        (checked, pruned_total) = (height, pruned_total + 1);
                    }
                }
            }
        }
    }
    assert!(
        pruned_total > MOMENTS,
        "{pruned_total} heights were pruned: it was killed at its work"
    );
}

/// Before the first object there may be no folder.
fn covered_or_nothing(
    address: &crate::archive::address::ArchiveAddress,
    access: &BucketAccess,
    through: Height,
) -> crate::archive::audit::Coverage {
    if through == Height::GENESIS {
        return crate::archive::audit::Coverage::default();
    }
    covered(address, access, through)
}
