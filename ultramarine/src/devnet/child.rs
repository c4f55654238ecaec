//! This file knows how to start a node's process, to see it end, and to end it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use ultramarine_node::home::Home;

use crate::devnet::layout::NodeHome;

/// How long nodes may take to end when asked to.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an ending node is looked at.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// Lines of a failed node's log that are shown where it gives no reason.
const LOG_TAIL_LINES: usize = 15;
/// What begins the reason with which every command ends that fails.
const REASON: &str = "error: ";

#[derive(Clone, Debug)]
pub struct Spawn<'a> {
    pub home: &'a Path,
    /// File its output is appended to.
    pub log: &'a Path,
    /// `node.io`, if not as configured.
    pub io: Option<&'a str>,
    /// `log.filter`, if not as configured.
    pub filter: Option<&'a str>,
    /// Engine API of its execution client and the secret shared with it, if not as configured.
    pub engine: Option<(String, PathBuf)>,
}

/// A node's process. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    ended: Option<ExitStatus>,
    log: PathBuf,
    /// Bytes of the log that earlier lives wrote.
    log_before: u64,
}

impl Child {
    /// Starts a node. The thread that calls this must live as long as the node should: the kernel ends it with us.
    pub fn spawn(spawn: &Spawn<'_>) -> anyhow::Result<Self> {
        let mut arguments: Vec<OsString> = vec!["start".into(), "--home".into(), spawn.home.into()];
        if let Some(io) = spawn.io {
            arguments.extend(["--io".into(), io.into()]);
        }
        if let Some(filter) = spawn.filter {
            arguments.extend(["--log".into(), filter.into()]);
        }
        if let Some((url, secret)) = &spawn.engine {
            arguments.extend(["--engine".into(), url.into(), "--jwt-secret".into(), secret.into()]);
        }
        Self::start(&arguments, spawn.log).context("cannot start a node's process")
    }

    /// Starts a node's execution client by itself, under the same condition.
    pub fn spawn_client(node: &NodeHome) -> anyhow::Result<Self> {
        let home = Home::open(&node.home)?;
        let arguments: Vec<OsString> = vec![
            "dev-el".into(),
            "--genesis".into(),
            home.execution_genesis().into(),
            "--jwt-secret".into(),
            home.jwt_secret().into(),
            "--http-port".into(),
            node.addresses.engine_http.port().to_string().into(),
            "--auth-port".into(),
            node.addresses.engine_auth.port().to_string().into(),
        ];
        let log = node.log.with_extension("client.log");
        Self::start(&arguments, &log).context("cannot start an execution client's process")
    }

    fn start(arguments: &[OsString], log_path: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find our own executable")?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        let log_before = log.metadata().map_or(0, |log| log.len());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--parent")
            .arg(std::process::id().to_string());
        // What the operator set for one node must not reach all of them.
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with(ultramarine_node::config::environment::PREFIX))
            {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A process group of its own: Ctrl-C reaches us, and we end the nodes in order.
        command.process_group(0);
        let process = command.spawn()?;
        Ok(Self {
            process,
            ended: None,
            log: log_path.to_owned(),
            log_before,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Why it ended, as far as its log says so, for the end of a sentence.
    pub fn last_words(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.log_before))?;
            log.read_to_end(&mut text)
        });
        match read {
            Ok(_) => last_words(&String::from_utf8_lossy(&text), &self.log),
            Err(error) => format!("; its log {} cannot be read: {error}", self.log.display()),
        }
    }

    fn signal(&self, signal: Signal) {
        // A process that was waited for has no id any more; one that was not still owns it.
        if self.ended.is_none() {
            let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, signal));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Asks all nodes to end, and insists after [`END_TIMEOUT`].
pub async fn stop_all(children: &mut [Child]) {
    for child in children.iter_mut() {
        let _ = child.ended();
        child.signal(Signal::TERM);
    }
    let until = Instant::now() + END_TIMEOUT;
    while Instant::now() < until && children.iter_mut().any(|child| matches!(child.ended(), Ok(None))) {
        tokio::time::sleep(END_INTERVAL).await;
    }
    for child in children.iter_mut() {
        if matches!(child.ended(), Ok(None)) {
            tracing::warn!(pid = child.pid(), "a node did not end when asked; killing it");
            child.signal(Signal::KILL);
            let _ = child.process.wait();
        }
    }
}

/// The reason in a log, and where more is to be read; or its last lines if there is none.
fn last_words(log: &str, path: &Path) -> String {
    let path = path.display();
    let starts = log.match_indices(REASON).map(|(at, _)| at);
    let reason = starts
        .filter(|at| log[..*at].is_empty() || log[..*at].ends_with('\n'))
        .last();
    if let Some(reason) = reason.map(|at| log[at + REASON.len()..].trim_end()) {
        return format!(": {reason}\nMore is in its log, {path}");
    }
    let lines: Vec<&str> = log.lines().collect();
    let tail: String = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..]
        .iter()
        .map(|line| format!("\n  {line}"))
        .collect();
    format!(". Its last words, from {path}:{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_comes_before_everything_else_that_was_logged() {
        let words = |log: &str| last_words(log, Path::new("node1.log"));
        let log = "INFO starting\nWARN error: not this\nerror: the key is gone\nlook for it\n";
        assert_eq!(
            words(log),
            ": the key is gone\nlook for it\nMore is in its log, node1.log"
        );
        assert_eq!(words("error: at once"), ": at once\nMore is in its log, node1.log");
        let long: String = (0..20).map(|line| format!("line {line}\n")).collect();
        let said = words(&long);
        assert!(
            said.starts_with(". Its last words, from node1.log:\n  line 5\n") && said.ends_with("  line 19"),
            "{said}"
        );
    }
}
