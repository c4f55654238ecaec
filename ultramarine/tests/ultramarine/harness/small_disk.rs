//! A disk that others fill: the data directory of a node lies on a file system of its own, which only the node's mount
//! namespace has. The kernel takes both back when the node has ended, however that comes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Process;

/// If this variable is 1, a test fails where it could make no namespaces.
const REQUIRED: &str = "ULTRAMARINE_REQUIRE_NETNS";

/// A node that has its data on a small disk.
#[derive(Debug)]
pub struct OnSmallDisk {
    filler: PathBuf,
    _process: Process,
}

impl OnSmallDisk {
    /// Starts the node of a home on a disk of so many MiB, in memory. `None`, said past libtest, if this user may mount
    /// nothing.
    pub fn start(home: &Path, mebibytes: u32) -> Option<Self> {
        let can_mount = Command::new("unshare")
            .args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .stdin(Stdio::null())
            .output()
            .expect("util-linux has `unshare`");
        if !can_mount.status.success() {
            let why = String::from_utf8_lossy(&can_mount.stderr).into_owned();
            let is_required = std::env::var(REQUIRED).is_ok_and(|value| value == "1");
            assert!(!is_required, "{REQUIRED} is 1: {why}");
            let _ = writeln!(std::io::stderr(), "SKIPPED a disk that is filled: {why}");
            return None;
        }
        let data = home.join("data");
        std::fs::create_dir(&data).expect("the home is new");
        let log = std::fs::File::create(home.with_extension("log")).expect("the folder is writable");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(format!(
                "mount -t tmpfs -o size={mebibytes}m tmpfs \"$1\" && shift && exec \"$@\""
            ))
            .arg("sh")
            .arg(&data)
            .args([env!("CARGO_BIN_EXE_ultramarine"), "start", "--home"])
            .arg(home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("ULTRAMARINE_")) {
                command.env_remove(name);
            }
        }
        let process = Process(command.spawn().expect("util-linux has `unshare`"));
        // The shell became the node, so its view of the file system is the node's.
        let inside = PathBuf::from(format!("/proc/{}/root", process.0.id()));
        let seen = data.strip_prefix("/").expect("homes have whole paths");
        let filler = inside.join(seen).join("filler");
        Some(Self {
            filler,
            _process: process,
        })
    }

    /// Fills the disk with a file of somebody else.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(&self.filler).expect("the node runs");
        let block = vec![0xF1; 1 << 20];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => panic!("the filler: {error}"),
            }
        }
    }

    /// Takes that file away.
    pub fn free(&self) {
        std::fs::remove_file(&self.filler).expect("it was filled");
    }
}
