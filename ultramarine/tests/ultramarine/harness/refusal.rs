//! A disk that refuses to read files of a running process: strace puts the error in the place of each answer.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use ultramarine_runtime::skip;

use super::{Process, signal};

/// While it lives, `pread` of these files is an input/output error for the process.
pub struct Refusal {
    tracer: Child,
    told: PathBuf,
}

impl Refusal {
    /// `None`, with a word of it, where there is no strace or it may not trace.
    pub fn begin(process: &Process, files: &[PathBuf], told: &Path) -> Option<Self> {
        let mut command = Command::new("strace");
        command
            .args([
                "-f",
                "-qq",
                "-e",
                "trace=pread64",
                "-e",
                "inject=pread64:error=EIO",
                "-o",
            ])
            .arg(told)
            .args(["-p", &process.0.id().to_string()]);
        for file in files {
            command.arg("-P").arg(file);
        }
        let tracer = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(mut tracer) = tracer else {
            skip::say("a disk that refuses to read: there is no strace");
            return None;
        };
        std::thread::sleep(Duration::from_millis(500));
        if tracer.try_wait().expect("a child of ours").is_some() {
            skip::say("a disk that refuses to read: strace may not trace here");
            return None;
        }
        Some(Self {
            tracer,
            told: told.to_owned(),
        })
    }

    /// Reads that were refused.
    pub fn count(&self) -> usize {
        let told = std::fs::read_to_string(&self.told).unwrap_or_default();
        told.matches("(INJECTED)").count()
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        // It lets go of the process first.
        signal(self.tracer.id(), Signal::INT);
        let _ = self.tracer.wait();
    }
}
