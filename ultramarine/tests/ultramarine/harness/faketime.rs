//! Runs a node by a wall clock of its own, which a file sets: libfaketime, as Debian's package `faketime` has it.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The library, in its folder among the system's. If it is nowhere, that is said (past libtest, which swallows the
/// output of tests that pass), and an error if `ULTRAMARINE_REQUIRE_FAKETIME` is 1.
pub fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let found = folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file());
    if found.is_none() {
        let missing = "no libfaketime.so.1; install the package faketime";
        let required = std::env::var("ULTRAMARINE_REQUIRE_FAKETIME").is_ok_and(|value| value == "1");
        assert!(!required, "libfaketime is required: {missing}");
        let _ = writeln!(std::io::stderr(), "SKIPPED a test of clocks: {missing}");
    }
    found
}

/// The environment that gives a process a wall clock of its own: ahead by what the file says, such as `-60` or `+3600`.
/// Its monotonic clock stays right, as that of any machine whose clock is set.
pub fn environment<'a>(library: &'a Path, file: &'a Path) -> [(&'static str, &'a Path); 4] {
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", Path::new("1")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
    ]
}

/// The file that sets such a clock.
#[derive(Debug)]
pub struct SetClock {
    file: PathBuf,
}

impl SetClock {
    /// A clock that is right.
    pub fn new(file: PathBuf) -> Self {
        let clock = Self { file };
        clock.set("+0");
        clock
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Sets it ahead by this much. The file is whole at any time: the library reads it at every look at the clock.
    pub fn set(&self, offset: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{offset}\n")).expect("the folder is writable");
        std::fs::rename(&next, &self.file).expect("the folder is writable");
    }
}
