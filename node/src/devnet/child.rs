//! This file knows how to start a node's process, to see it end, and to end it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::devnet::layout::NodeHome;
use crate::home::Home;

/// How long nodes may take to end when asked to.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an ending node is looked at.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Clone, Debug)]
pub struct Spawn<'a> {
    /// The node's home.
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

    fn start(arguments: &[OsString], log: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find our own executable")?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--parent")
            .arg(std::process::id().to_string());
        // What the operator set for one node must not reach all of them.
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with(crate::config::layers::ENVIRONMENT_PREFIX))
            {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A process group of its own: Ctrl-C reaches us, and we end the nodes in order.
        command.process_group(0);
        let process = command.spawn()?;
        Ok(Self { process, ended: None })
    }

    /// Its process id.
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
