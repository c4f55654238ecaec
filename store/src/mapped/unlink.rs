//! This part of the map knows how to remove segment files while nobody waits for it: one thread, one bounded queue.
//!
//! Freeing the blocks of a large file takes up to half a second. Neither the storage core nor the reader that drops the
//! last lease should spend it. So a file's name goes at once, and a descriptor stays here until its leases end: this
//! thread makes the last close. A lease that never ends keeps its own blocks and delays nobody.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use ultramarine_runtime::affinity;

use super::Waiting;

/// Files that wait for the thread; a sweep that finds no room leaves them for the next one.
const QUEUE_FILES_MAX: usize = 64;
/// Descriptors kept for leases to end. Beyond this the oldest is closed, and the reader that ends its lease pays for
/// it.
const LINGERING_FILES_MAX: usize = 64;
/// How often leases are looked at while there are any.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The way to the thread, which begins with the first file and ends with this.
#[derive(Debug, Default)]
pub(super) struct Unlinker {
    queue: Option<SyncSender<Waiting>>,
}

impl Unlinker {
    /// Takes a file to be removed, or gives it back for another try.
    pub fn take(&mut self, waiting: Waiting) -> Result<(), Waiting> {
        let queue = match &self.queue {
            Some(queue) => queue,
            None => match begin() {
                Ok(queue) => self.queue.insert(queue),
                Err(error) => {
                    tracing::warn!("no thread to remove segment {} with: {error}", waiting.id);
                    return Err(waiting);
                }
            },
        };
        queue.try_send(waiting).map_err(|refused| match refused {
            TrySendError::Full(waiting) => waiting,
            TrySendError::Disconnected(waiting) => {
                self.queue = None;
                waiting
            }
        })
    }
}

fn begin() -> io::Result<SyncSender<Waiting>> {
    let (queue, files) = sync_channel(QUEUE_FILES_MAX);
    std::thread::Builder::new()
        .name("store-unlink".to_owned())
        .spawn(move || {
            // The storage core makes this thread in order to spare its own core.
            affinity::roam();
            run(&files);
        })?;
    Ok(queue)
}

fn run(files: &Receiver<Waiting>) {
    let mut lingering = Lingering::default();
    loop {
        let next = if lingering.files.is_empty() {
            files.recv().map_err(RecvTimeoutError::from)
        } else {
            files.recv_timeout(LOOK_EVERY)
        };
        match next {
            Ok(waiting) => lingering.unlink(waiting),
            Err(RecvTimeoutError::Timeout) => {}
            // The store is closed: the readers close what they still lease.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        lingering.close_ended();
    }
}

/// Files without a name that are leased still.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    files: VecDeque<(File, Waiting)>,
}

impl Lingering {
    /// Takes the name away.
    pub fn unlink(&mut self, waiting: Waiting) {
        let file = File::open(&waiting.segment.path);
        if let Err(error) = std::fs::remove_file(&waiting.segment.path) {
            tracing::warn!("segment {} could not be removed: {error}", waiting.id);
        }
        if let Ok(file) = file {
            self.files.push_back((file, waiting));
        }
    }

    /// Closes what nobody leases any more, and the oldest of what is too many.
    pub fn close_ended(&mut self) {
        self.files.retain(|(_, waiting)| waiting.is_leased());
        let surplus = self.files.len().saturating_sub(LINGERING_FILES_MAX);
        self.files.drain(..surplus);
    }

    #[cfg(test)]
    pub fn files_count(&self) -> usize {
        self.files.len()
    }
}
