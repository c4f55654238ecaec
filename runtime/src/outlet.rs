//! This file knows how to hand lines to an output that may be slow, full, closed or stuck, so that nobody waits for it.
//!
//! ```text
//!   any thread ──line──▶ queue, bounded ──▶ a thread of the output's own ──write──▶ standard error, standard output
//!                          └ full: the line is lost, and counted           └ fails: the line is lost, and counted
//! ```
//!
//! Where lines were lost, a line in their place says how many, as soon as the output works again. Nobody joins the
//! thread: if its output is stuck, the process ends without it.
//!
//! [`push`](Outlet::push) never waits and never fails: it takes no lock, and has no result.
//!
//! Keeps:
//! - the queue never holds more than [`LINES_MAX`] lines or [`BYTES_MAX`] bytes;
//! - every line is written or counted as lost, once.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::metrics::Registry;
use crate::signals;

/// Lines that may wait: some seconds of the most talkative filter.
pub const LINES_MAX: usize = 8192;
/// Bytes that may wait.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Room for last words, which are taken although the queue is full.
const URGENT_MAX: usize = 16;
/// How often a flush looks whether all is written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

/// Makes the line that says in the output itself how many lines were lost.
pub type LossNotice = fn(u64) -> String;

/// The process's standard error. Its thread is started by the first call.
pub fn stderr() -> &'static Outlet {
    static STDERR: OnceLock<Outlet> = OnceLock::new();
    STDERR.get_or_init(|| Outlet::start("stderr", Descriptor::Stderr, Some(notice)))
}

/// Shows how many lines standard error has lost.
pub fn count_losses(registry: &Registry) {
    registry.probe_counter(
        "ultramarine_log_lines_lost_total",
        "Log lines that standard error did not take: it was full, closed, or read too slowly.",
        &[],
        || Some(stderr().lost()),
    );
}

/// How the process words what it says of lost lines on standard error.
static WORDED: OnceLock<fn(&str) -> String> = OnceLock::new();

/// Has lines be worded by `line`, which ends each as a log's line ends. The first call of a process holds.
pub fn word_notices(line: fn(&str) -> String) {
    let _ = WORDED.set(line);
}

fn notice(lost: u64) -> String {
    notice_as(lost, WORDED.get())
}

fn notice_as(lost: u64, line: Option<&fn(&str) -> String>) -> String {
    let text = format!("{lost} log lines were lost here: standard error was full, closed, or read too slowly");
    line.map_or_else(|| format!(" WARN {text}\n"), |line| line(&text))
}

/// An output with a queue and a thread of its own.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
    /// Absent where the system gave us no thread.
    writer: Option<Thread>,
    descriptor: Option<Descriptor>,
}

#[derive(Debug)]
struct Shared {
    lines: ArrayQueue<Line>,
    urgent: ArrayQueue<Line>,
    /// Bytes in `lines`, and of lines that are about to enter it.
    bytes: AtomicUsize,
    /// Lines that somebody wanted written.
    handed: AtomicU64,
    written: AtomicU64,
    accepted: AtomicU64,
    /// Of the accepted ones, those that were written or lost.
    settled: AtomicU64,
    lost: AtomicU64,
    /// Error number of the last write; 0 if it went well.
    errno: AtomicI32,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    /// Lines lost before it.
    lost_before: u64,
}

impl Outlet {
    /// Starts the thread, named `name`. With a `notice`, a line in the output says what it lost.
    pub fn start(name: &str, to: Descriptor, notice: Option<LossNotice>) -> Self {
        Self::with_sink(name, Some(to), to, notice)
    }

    /// The same for something else that is written, such as a file. Nothing tells it what was lost, and where the
    /// system has no thread to give everything is.
    pub fn onto(name: &str, to: impl Write + Send + 'static) -> Self {
        Self::with_sink(name, None, to, None)
    }

    fn with_sink(
        name: &str,
        descriptor: Option<Descriptor>,
        to: impl Write + Send + 'static,
        notice: Option<LossNotice>,
    ) -> Self {
        let shared = Arc::new(Shared {
            lines: ArrayQueue::new(LINES_MAX),
            urgent: ArrayQueue::new(URGENT_MAX),
            bytes: AtomicUsize::new(0),
            handed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            errno: AtomicI32::new(0),
        });
        let pen = Pen {
            to,
            shared: Arc::clone(&shared),
            notice,
            told: 0,
            is_torn: false,
        };
        // Signals are for threads that can do something about them.
        let deferred = signals::defer();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(|| pen.write_for_ever());
        drop(deferred);
        Self {
            shared,
            writer: thread.ok().map(|thread| thread.thread().clone()),
            descriptor,
        }
    }

    /// Hands over a line, or counts it as lost if the queue is full.
    pub fn push(&self, line: Vec<u8>) {
        self.shared.handed.fetch_add(1, Ordering::Relaxed);
        let Some(writer) = &self.writer else {
            return self.write_unless_it_blocks(&line);
        };
        if self.offer(line).is_ok() {
            writer.unpark();
        } else {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same for last words: they are taken although the queue is full, unless there are too many of them too.
    pub fn push_urgent(&self, line: Vec<u8>) {
        self.shared.handed.fetch_add(1, Ordering::Relaxed);
        let Some(writer) = &self.writer else {
            return self.write_unless_it_blocks(&line);
        };
        let taken = self.offer(line).or_else(|line| {
            let lost_before = self.lost();
            let line = Line {
                bytes: line,
                lost_before,
            };
            self.enter(&self.shared.urgent, line)
        });
        match taken {
            Ok(()) => writer.unpark(),
            Err(_) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The line back if there is no room.
    fn offer(&self, bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        let length = bytes.len();
        let waiting = self.shared.bytes.fetch_add(length, Ordering::Relaxed);
        let line = Line {
            bytes,
            lost_before: self.lost(),
        };
        let outcome = if waiting + length > BYTES_MAX {
            Err(line)
        } else {
            let entered = self.enter(&self.shared.lines, line);
            assert!(
                entered.is_err() || waiting + length <= BYTES_MAX,
                "the queue's bytes are bounded"
            );
            entered
        };
        outcome.map_err(|line| {
            self.shared.bytes.fetch_sub(length, Ordering::Relaxed);
            line.bytes
        })
    }

    /// Counted before it is there: a line that its thread has written, and nobody has counted, would stand for another
    /// one.
    fn enter(&self, queue: &ArrayQueue<Line>, line: Line) -> Result<(), Line> {
        self.shared.accepted.fetch_add(1, Ordering::Release);
        queue.push(line).inspect_err(|_| {
            self.shared.settled.fetch_add(1, Ordering::Release);
        })
    }

    /// Waits until everything handed over before is written or lost; `false` if that takes longer than `within`.
    pub fn flush(&self, within: Duration) -> bool {
        let Some(writer) = &self.writer else { return true };
        let (accepted, until) = (self.shared.accepted.load(Ordering::Acquire), Instant::now() + within);
        loop {
            if self.shared.settled.load(Ordering::Acquire) >= accepted {
                return true;
            }
            // The output's own thread would wait for itself.
            if Instant::now() >= until || thread::current().id() == writer.id() {
                return false;
            }
            thread::sleep(FLUSH_INTERVAL);
        }
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Why the last write failed, if it did.
    pub fn trouble(&self) -> Option<io::Error> {
        let errno = self.shared.errno.load(Ordering::Relaxed);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }

    /// Without a thread, the caller writes, if the system says that it need not wait.
    fn write_unless_it_blocks(&self, line: &[u8]) {
        let output = self.descriptor.filter(|output| output.is_writable());
        let count = if output.is_none_or(|mut output| output.write_all(line).is_err()) {
            &self.shared.lost
        } else {
            &self.shared.written
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Asserts that every line was written or counted as lost. To be called while nobody pushes, after a flush.
    #[cfg(test)]
    fn check_whole(&self) {
        self.shared.check();
        let handed = self.shared.handed.load(Ordering::Acquire);
        let written = self.shared.written.load(Ordering::Acquire);
        assert_eq!(
            handed,
            written + self.lost(),
            "every line is written or counted as lost"
        );
        assert_eq!(
            self.shared.bytes.load(Ordering::Acquire),
            0,
            "an empty queue has no bytes"
        );
    }
}

impl Shared {
    /// Asserts what holds at every moment, for the thread that writes.
    fn check(&self) {
        assert!(self.lines.len() <= LINES_MAX, "the queue's lines are bounded");
        // Each line is settled after it was accepted. Read in this order, the counts tell so.
        let settled = self.settled.load(Ordering::Acquire);
        let accepted = self.accepted.load(Ordering::Acquire);
        assert!(settled <= accepted, "a line is settled once");
    }
}

/// The side of the queue that writes, on a thread of its own.
struct Pen<W> {
    to: W,
    shared: Arc<Shared>,
    notice: Option<LossNotice>,
    /// Lost lines that a notice has counted.
    told: u64,
    /// The last line was written in part.
    is_torn: bool,
}

impl<W: Write> Pen<W> {
    fn write_for_ever(mut self) {
        loop {
            while let Some(line) = self.next() {
                self.tell(line.lost_before);
                let count = if self.write(&line.bytes).is_err() {
                    &self.shared.lost
                } else {
                    &self.shared.written
                };
                count.fetch_add(1, Ordering::Relaxed);
                self.shared.settled.fetch_add(1, Ordering::Release);
                self.shared.check();
            }
            self.tell(self.shared.lost.load(Ordering::Relaxed));
            // A push since then has left a token, and this returns at once.
            thread::park();
        }
    }

    fn next(&self) -> Option<Line> {
        let line = self.shared.urgent.pop();
        line.or_else(|| {
            let line = self.shared.lines.pop()?;
            let held = self.shared.bytes.fetch_sub(line.bytes.len(), Ordering::Relaxed);
            assert!(
                held >= line.bytes.len(),
                "the bytes of a line are counted while it waits"
            );
            Some(line)
        })
    }

    /// Says that lines were lost, up to this count of all.
    fn tell(&mut self, lost: u64) {
        let Some(notice) = self.notice.filter(|_| lost > self.told) else {
            return;
        };
        if self.write(notice(lost - self.told).as_bytes()).is_ok() {
            self.told = lost;
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let outcome = self.try_write(line);
        let errno = outcome.as_ref().err().map_or(0, errno_of);
        self.shared.errno.store(errno, Ordering::Relaxed);
        outcome
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.to.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// An output of this process, written past the locks and buffers of the standard library: a thread that is stuck in a
/// write must hold nothing that another waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descriptor {
    Stdout,
    Stderr,
}

impl Descriptor {
    fn with<R>(self, what: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
        match self {
            Self::Stdout => what(io::stdout().as_fd()),
            Self::Stderr => what(io::stderr().as_fd()),
        }
    }

    /// Whether a small write would not block now.
    fn is_writable(self) -> bool {
        self.polled(PollFlags::OUT, Some(Duration::ZERO))
            .is_ok_and(|ready| ready.contains(PollFlags::OUT))
    }

    /// Whether it is a pipe or socket whose reader has gone.
    pub fn is_abandoned(self) -> bool {
        self.polled(PollFlags::empty(), Some(Duration::ZERO))
            .is_ok_and(|ready| ready.contains(PollFlags::ERR))
    }

    fn polled(self, wanted: PollFlags, within: Option<Duration>) -> Result<PollFlags, Errno> {
        let within = within.and_then(|within| Timespec::try_from(within).ok());
        self.with(|fd| {
            let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
            poll(&mut fds, within.as_ref())?;
            Ok(fds[0].revents())
        })
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.with(|fd| rustix::io::write(fd, bytes)) {
                Err(Errno::INTR) => {}
                // Another process that shares the output made it non-blocking.
                Err(Errno::AGAIN) => drop(self.polled(PollFlags::OUT, None)),
                outcome => return Ok(outcome?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
