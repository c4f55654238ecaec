//! What happens on a disk that does not give back what was written: a loop device whose file was cut short.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

use ultramarine_types::Height;
use ultramarine_types::storage::{Absent, Source, StoreReply, StoreRequest};

use super::damage::{living, read_all};

/// A file system on a file that loses its end: what lies there is EIO to whoever reads it.
struct LostEnd {
    folder: PathBuf,
    image: PathBuf,
    device: String,
    /// Where the image ends from now on.
    end: std::cell::Cell<u64>,
    _parent: tempfile::TempDir,
}

impl LostEnd {
    fn mount() -> Option<Self> {
        let parent = tempfile::tempdir().expect("a folder");
        let (folder, image) = (parent.path().join("disk"), parent.path().join("image"));
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::File::create(&image)
            .expect("a file")
            .set_len(256 << 20)
            .expect("sparse");
        let run = |command: &str, arguments: &[&str]| {
            let output = Command::new(command).args(arguments).output().ok()?;
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            output.status.success().then_some(said)
        };
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let device = run("mkfs.ext4", &["-q", "-F", &path(&image)])
            .and_then(|_| run("losetup", &["-f", "--show", &path(&image)]));
        let Some(device) = device else {
            ultramarine_runtime::skip::say("a disk that loses sectors: no loop device and ext4 here");
            return None;
        };
        let disk = Self {
            folder,
            image,
            device,
            end: std::cell::Cell::new(256 << 20),
            _parent: parent,
        };
        if run(
            "mount",
            &["-t", "ext4", "-o", "noatime", &disk.device, &path(&disk.folder)],
        )
        .is_none()
        {
            ultramarine_runtime::skip::say("a disk that loses sectors: mounting is not permitted here");
            return None;
        }
        Some(disk)
    }

    /// Every sector of a part of a file is gone, whatever the page cache has of it.
    fn lose(&self, path: &Path, from: u64) {
        let file = OpenOptions::new().read(true).open(path).expect("the file");
        let output = Command::new("filefrag")
            .args(["-v", path.to_str().expect("UTF-8")])
            .output();
        let output = output.expect("filefrag comes with mkfs.ext4");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let block = bytes_of_block(&text);
        let mut lowest = u64::MAX;
        for line in text.lines().map(str::trim_start) {
            if !line.starts_with(|letter: char| letter.is_ascii_digit()) {
                continue;
            }
            // ext: logical from..to: physical from..to: …, in blocks.
            let numbers = line.split(|letter: char| !letter.is_ascii_digit());
            let numbers: Vec<u64> = numbers.filter_map(|digits| digits.parse().ok()).collect();
            let [_, logical, end, physical, ..] = numbers[..] else {
                continue;
            };
            if (end + 1) * block > from {
                lowest = lowest.min((physical + from.saturating_sub(logical * block) / block) * block);
            }
        }
        assert!(lowest < 256 << 20, "{text}");
        self.end.set(lowest);
        self.shorten();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advised");
    }

    /// A write behind the end makes the image longer, and what lies there is zeros and no error.
    fn shorten(&self) {
        let image = OpenOptions::new().write(true).open(&self.image).expect("the image");
        image.set_len(self.end.get()).expect("shortened");
    }
}

fn bytes_of_block(text: &str) -> u64 {
    // "… blocks of 4096 bytes)"
    let block = text.split("blocks of ").nth(1).and_then(|rest| rest.split(' ').next());
    block.and_then(|block| block.parse().ok()).expect("filefrag says it")
}

impl Drop for LostEnd {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
    }
}

#[test]
fn a_disk_that_loses_sectors_costs_the_heights_that_lie_there() {
    let Some(disk) = LostEnd::mount() else { return };
    let folder = disk.folder.join("data");
    let (mut store, values) = living(&folder);
    let held = store.view.on_disk(&values[18].key).expect("it is held");
    // From the middle of the second blob of height 19 on, with whatever else lies there.
    disk.lose(&held.path, held.offset + held.bytes - 5 * 131_072 + 65_536);
    let damaged = read_all(&store, &values, "sectors are gone");
    assert!(damaged > 0 && store.view.is_damaged(Height(19)));
    assert_eq!(store.view.blob(&values[18].key, 5), Err(Absent::Damaged));
    let reason = store.view.damage_of(Height(19)).expect("damaged").reason;
    assert!(reason.contains("Input/output error"), "{reason}");
    let loaded = store.ask([StoreRequest::Load { height: Height(19) }]);
    assert!(
        matches!(loaded[..], [StoreReply::Loaded { value: Some(_), .. }]),
        "its payload is whole: {loaded:?}"
    );
    // What a start reads is the device's, and it reads around what is lost.
    let files = std::fs::read_dir(folder.join("segments")).expect("the folder");
    let paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    for path in &paths {
        crate::device::forget_cached(path).expect("synced");
    }
    disk.shorten();
    let medium = ultramarine_runtime::medium::Pwrite::new(None);
    let lost = paths
        .iter()
        .map(|path| crate::recovery::lost_pages(&medium, path).expect("it is read around"));
    let lost: usize = lost.sum();
    assert!(lost > 100, "{lost} pages");
}
