//! This file knows the thread that works on files for the storage core: what takes a folder's sync, a cold read or the
//! freeing of blocks is done here.
//!
//! ```text
//!                  jobs, 8 at most                 next segment: begun, its header and name durable
//!   storage core ───────────────────▶ store-files  payloads: read, checked, appended, synced
//!        ▲         done, 8 at most         │       tails, holes, retired files: given back
//!        └─────────────────────────────────┘
//! ```
//! The storage core only ever tries: a job that finds no room is asked for again later. The thread waits for the core
//! to take what is done. It names nothing in the index: a file or a record it made counts for nothing before the core's
//! next transaction.
//!
//! Keeps: what is reported as moved is synced.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use ultramarine_runtime::affinity;
use ultramarine_runtime::medium::Pwrite;

use self::mover::{Mover, Stopped};
use crate::index::{Index, IndexError, LocationRow};
use crate::ledger::Due;
use crate::lock::DirectoryLock;
use crate::mapped::{Begun, Segments};
use crate::segment::{Class, Location, Position, SegmentId};
use ultramarine_types::{Height, ValueKey};

mod mover;
#[cfg(test)]
mod watched;

/// Jobs that wait, and answers that wait.
const QUEUE_MAX: usize = 8;
/// How often leases are looked at while something waits for their end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the thread is asked to do. Each job has one answer in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    /// Begin a values segment under a number that was taken for it.
    Begin { id: SegmentId, capacity_bytes: u64 },
    /// Move the payloads of heights out of a segment.
    Move(Due),
    /// Give back what nobody needs.
    Sweep,
}

/// A record that lies in a payloads segment, synced, beside its place of before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MovedRow {
    pub key: ValueKey,
    pub from: Location,
    pub to: LocationRow,
}

/// How a [`Job::Move`] ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All heights were moved but these, which are damaged.
    Whole { damaged: Vec<(Height, String)> },
    /// There was no room for so many bytes.
    NoRoom { bytes: u64 },
}

/// What the thread did.
#[derive(Debug)]
pub(crate) enum Done {
    Begun(Begun),
    NotBegun(SegmentId),
    /// Some of the heights of a job were moved; more may follow.
    Moved {
        rows: Vec<MovedRow>,
        /// Where the growing payloads segment ends.
        end: Position,
    },
    Ended {
        due: Due,
        ended: Ended,
    },
    Swept,
    /// The disk or the index failed: nothing can be relied on any more.
    Failed(Broken),
    /// The thread is gone, and with it what it was asked for.
    Lost,
}

/// What failed.
#[derive(Debug)]
pub(crate) enum Broken {
    Write(io::Error),
    Index(IndexError),
}

/// What the thread works on.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub folder: PathBuf,
    pub segments: Arc<Segments>,
    pub index: Arc<Index>,
    /// Nobody else opens the directory before the thread has ended.
    pub _lock: Arc<DirectoryLock>,
}

/// The way to the thread, which begins with the first job and ends with this.
#[derive(Debug)]
pub(crate) struct Files {
    desk: Desk,
    /// Where the payloads segment ends that another life left to be appended to.
    payloads: Option<Position>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    thread: JoinHandle<()>,
    /// Jobs without an answer yet.
    open_count: usize,
}

impl Files {
    /// No thread yet.
    pub const fn new(desk: Desk, payloads: Option<Position>) -> Self {
        Self {
            desk,
            payloads,
            running: None,
        }
    }

    /// Asks for a job; `false`: not now.
    pub fn ask(&mut self, job: Job) -> bool {
        let running = match &mut self.running {
            Some(running) => running,
            None => match begin(&self.desk, self.payloads.take()) {
                Ok(running) => self.running.insert(running),
                Err(error) => {
                    tracing::warn!("no thread to work on files with: {error}");
                    return false;
                }
            },
        };
        let is_asked = running.jobs.try_send(job).is_ok();
        if is_asked {
            running.open_count += 1;
        }
        is_asked
    }

    /// What was done since, one thing at a time.
    pub fn take_done(&mut self) -> Option<Done> {
        let running = self.running.as_mut()?;
        match running.done.try_recv() {
            Ok(done) => {
                if !matches!(done, Done::Moved { .. } | Done::Failed(_)) {
                    running.open_count -= 1;
                }
                Some(done)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.running = None;
                Some(Done::Lost)
            }
        }
    }

    /// Whether a job has no answer yet.
    #[cfg(any(test, fuzzing))]
    pub fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.open_count > 0)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let Some(Running { jobs, done, thread, .. }) = self.running.take() else {
            return;
        };
        drop((jobs, done));
        // A panic of the thread is reported already, and what it did counted for nothing.
        let _ = thread.join();
    }
}

fn begin(desk: &Desk, payloads: Option<Position>) -> io::Result<Running> {
    let (jobs, asked) = bounded(QUEUE_MAX);
    let (answers, done) = bounded(QUEUE_MAX);
    let desk = desk.clone();
    let thread = std::thread::Builder::new()
        .name("store-files".to_owned())
        .spawn(move || {
            // The storage core makes this thread in order to spare its own core.
            affinity::roam();
            run(desk, payloads, &asked, &answers);
        })?;
    Ok(Running {
        jobs,
        done,
        thread,
        open_count: 0,
    })
}

fn run(desk: Desk, payloads: Option<Position>, jobs: &Receiver<Job>, answers: &Sender<Done>) {
    let segments = Arc::clone(&desk.segments);
    let medium = Pwrite::new(None);
    #[cfg(test)]
    let medium = watched::Watched {
        disk: medium,
        segments: Arc::clone(&segments),
    };
    let mut mover = Mover::new(desk, medium, payloads);
    loop {
        let next = if segments.wants_sweep() {
            jobs.recv_timeout(LOOK_EVERY)
        } else {
            jobs.recv().map_err(RecvTimeoutError::from)
        };
        let done = match next {
            Ok(Job::Begin { id, capacity_bytes }) => match segments.begin(id, Class::Values, capacity_bytes) {
                Ok(begun) => Some(Done::Begun(begun)),
                Err(error) => {
                    tracing::debug!("segment {id} is not begun ahead: {error}");
                    Some(Done::NotBegun(id))
                }
            },
            Ok(Job::Move(due)) => match mover.move_out(&due, answers) {
                Ok(ended) => Some(Done::Ended { due, ended }),
                Err(Stopped::Broken(broken)) => Some(Done::Failed(broken)),
                Err(Stopped::Closed) => return,
            },
            Ok(Job::Sweep) => {
                segments.sweep();
                Some(Done::Swept)
            }
            Err(RecvTimeoutError::Timeout) => {
                segments.sweep();
                None
            }
            // The store is closed: the readers close what they still lease.
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if done.is_some_and(|done| answers.send(done).is_err()) {
            return;
        }
    }
}
