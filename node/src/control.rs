//! This file knows what an operator may change in a running node: which lines it logs.
//!
//! ```text
//!   ultramarine log-level ──"log FILTER\n"──▶ data/control.sock ──▶ LogSwitch
//!                         ◀─"ok FILTER\n", or "error WHY\n"
//! ```
//!
//! The socket belongs to whoever runs the node: others, whatever the file's mode says, are refused. It is not on any
//! network, and HTTP stays read-only.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use ultramarine_runtime::Halt;

use crate::node::on_tokio;

/// Its name in the data directory.
const SOCKET: &str = "control.sock";
/// Bytes of a request, and of an answer.
const LINE_BYTES_MAX: u64 = 4096;
/// A caller has this long for its request, as others wait for their turn.
const CALLER_PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for the node's answer, behind some callers that are slow.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What this process logs, and how that is changed.
#[derive(Clone)]
pub struct LogSwitch {
    turn: Turn,
    filter: Arc<Mutex<String>>,
}

/// Makes a filter the one that holds, or says what is wrong with it.
type Turn = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

impl LogSwitch {
    /// The switch of a log that begins with `filter`.
    pub fn new(filter: &str, turn: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self {
            turn: Arc::new(turn),
            filter: Arc::new(Mutex::new(filter.to_owned())),
        }
    }

    /// Logs by this filter from now on. The error says what is wrong with it; nothing is changed then.
    pub fn turn_to(&self, filter: &str) -> Result<(), String> {
        let mut held = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        (self.turn)(filter)?;
        let before = std::mem::replace(&mut *held, filter.to_owned());
        drop(held);
        // A warning, so that most filters show it.
        tracing::warn!(
            before,
            now = filter,
            "the log's filter is changed, until the next start"
        );
        Ok(())
    }

    pub fn filter(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for LogSwitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogSwitch({:?})", self.filter())
    }
}

/// A path to the socket that fits the 108 bytes of an address, wherever the folder is. It holds while the folder is open.
fn address(folder: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()).into()
}

/// The socket of a node that runs. It disappears with this.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens in the data directory, of which the process has the lock. Call this inside a tokio runtime.
    pub fn listen(folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let open = File::open(folder)?;
        let listener = UnixListener::bind(address(&open))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Answers for ever, one caller after the other.
    pub async fn serve(self, log: LogSwitch) {
        loop {
            match self.listener.accept().await {
                Ok((mut stream, _)) => {
                    // A caller that is slow or gone loses its answer.
                    let _ = tokio::time::timeout(CALLER_PATIENCE, answer(&mut stream, &log)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of {}", self.path.display());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Takes an operator's wishes, in a thread of its own, until the node halts. A node that cannot goes on without.
pub fn start(halt: &Halt, folder: &Path, log: LogSwitch) {
    let (halt, folder) = (halt.clone(), folder.to_owned());
    let listening = move || {
        on_tokio(async move {
            match ControlSocket::listen(&folder) {
                Ok(socket) => drop(halt.unless_stopped(socket.serve(log)).await),
                Err(error) => tracing::warn!(
                    "cannot listen at {}: {error}; `ultramarine log-level` will not reach this node",
                    folder.join(SOCKET).display()
                ),
            }
        });
    };
    let thread = std::thread::Builder::new().name("control".to_owned());
    if let Err(error) = thread.spawn(listening) {
        tracing::warn!("no thread for {SOCKET}: {error}; `ultramarine log-level` will not reach this node");
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(stream: &mut UnixStream, log: &LogSwitch) -> io::Result<()> {
    let caller = stream.peer_cred()?.uid();
    let outcome = if caller == 0 || caller == rustix::process::geteuid().as_raw() {
        let mut line = String::new();
        let mut lines = tokio::io::BufReader::new(&mut *stream).take(LINE_BYTES_MAX);
        lines.read_line(&mut line).await?;
        obey(&line, log)
    } else {
        Err("only the user that runs the node, and root, may change it".to_owned())
    };
    let text = match outcome {
        Ok(filter) => format!("ok {filter}\n"),
        Err(why) => format!("error {}\n", why.replace('\n', " ")),
    };
    stream.write_all(text.as_bytes()).await
}

/// Does what a line asks for, and tells the filter that holds then.
fn obey(line: &str, log: &LogSwitch) -> Result<String, String> {
    let line = line
        .strip_suffix('\n')
        .ok_or("the request is no whole line, or too long")?;
    match line.split_once(' ') {
        Some(("log", "")) => {}
        Some(("log", filter)) => log.turn_to(filter)?,
        _ => return Err("the request is none that this version knows".to_owned()),
    }
    Ok(log.filter())
}

/// Why a running node was not asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no node runs with this data directory ({path}): start one, or give the home of one that runs")]
    NotRunning { path: PathBuf },
    #[error("asking the node at {path}: {error}")]
    Unanswered { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Refused(String),
}

/// Asks the node that has this data directory what it logs, or has it log by another filter. Answers the filter that
/// holds.
pub fn log_filter(folder: &Path, wanted: Option<&str>) -> Result<String, ControlError> {
    let path = folder.join(SOCKET);
    if let Some(wanted) = wanted.filter(|wanted| wanted.trim().is_empty() || wanted.contains('\n')) {
        return Err(ControlError::Refused(format!("{wanted:?} is no log filter")));
    }
    let ask = || -> io::Result<String> {
        let open = File::open(folder)?;
        let mut stream = BlockingStream::connect(address(&open))?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
        stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
        stream.write_all(format!("log {}\n", wanted.unwrap_or_default()).as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut line)?;
        Ok(line)
    };
    let line = ask().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning {
            path: folder.to_owned(),
        },
        _ => ControlError::Unanswered {
            path: path.clone(),
            error,
        },
    })?;
    match line.trim_end().split_once(' ') {
        Some(("ok", filter)) => Ok(filter.to_owned()),
        Some(("error", why)) => Err(ControlError::Refused(why.to_owned())),
        _ => Err(ControlError::Unanswered {
            path,
            error: io::Error::other(format!("it answered {line:?}")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes any filter but `loud`.
    fn switch() -> LogSwitch {
        LogSwitch::new("info", |filter| match filter {
            "loud" => Err("there is no\nsuch level".to_owned()),
            _ => Ok(()),
        })
    }

    #[tokio::test]
    async fn a_running_node_is_told_what_to_log_and_says_what_holds() {
        let temporary = tempfile::tempdir().expect("a folder");
        // Longer than an address of a socket.
        let folder = temporary.path().join("a-long-name".repeat(20));
        fs::create_dir(&folder).expect("a folder");
        let error = log_filter(&folder, None).expect_err("nobody listens");
        assert!(error.to_string().contains("no node runs"), "{error}");
        let log = switch();
        let socket = ControlSocket::listen(&folder).expect("a socket");
        let mode = fs::metadata(folder.join(SOCKET))
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let serving = tokio::spawn(socket.serve(log.clone()));
        let ask = async |wanted: Option<&str>| {
            let (folder, wanted) = (folder.clone(), wanted.map(str::to_owned));
            let asking = tokio::task::spawn_blocking(move || log_filter(&folder, wanted.as_deref()));
            asking.await.expect("no panic").map_err(|error| error.to_string())
        };
        assert_eq!(ask(None).await, Ok("info".to_owned()));
        assert_eq!(
            ask(Some("info,ultramarine_net=debug")).await,
            Ok("info,ultramarine_net=debug".to_owned())
        );
        assert_eq!(log.filter(), "info,ultramarine_net=debug");
        assert_eq!(ask(Some("loud")).await, Err("there is no such level".to_owned()));
        assert_eq!(ask(Some("a\nb")).await, Err("\"a\\nb\" is no log filter".to_owned()));
        assert!(
            ask(Some(&"x".repeat(5000)))
                .await
                .expect_err("too long")
                .contains("too long")
        );
        assert_eq!(ask(None).await, Ok("info,ultramarine_net=debug".to_owned()));
        serving.abort();
        let _ = serving.await;
        assert!(!folder.join(SOCKET).exists(), "it disappears with the node");
    }

    #[tokio::test]
    async fn a_socket_that_a_crash_left_is_in_nobodys_way_and_a_slow_caller_neither() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = ControlSocket::listen(folder.path()).expect("a socket");
        std::mem::forget(left);
        let socket = ControlSocket::listen(folder.path()).expect("a socket again");
        tokio::spawn(socket.serve(switch()));
        let _mute = BlockingStream::connect(folder.path().join(SOCKET)).expect("it listens");
        let path = folder.path().to_owned();
        let asked = tokio::task::spawn_blocking(move || log_filter(&path, None))
            .await
            .expect("no panic");
        assert_eq!(asked.expect("its turn comes"), "info");
    }

    #[test]
    fn what_is_no_request_changes_nothing() {
        let log = switch();
        for line in ["", "log debug", "stop\n", "LOG debug\n"] {
            assert!(obey(line, &log).is_err(), "{line:?}");
        }
        assert_eq!(log.filter(), "info");
    }
}
