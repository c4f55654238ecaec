//! This file knows how to do a medium's work on glommio's ring. Nothing else names glommio's files.
//!
//! Its traps, and what is done about each:
//! - It polls devices that cannot be polled, and its thread never sleeps meanwhile. So it polls none: [`never_poll`].
//! - More registered memory than RLIMIT_MEMLOCK fails quietly. With 2 MiB, four nodes of one user fit the usual 8 MiB.
//! - It panics where io_uring is forbidden. Callers probe first: see [`crate::ring`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::rc::Rc;

use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::{GlommioError, LocalExecutorBuilder, Placement, Task};
use tracing::subscriber::NoSubscriber;

use crate::affinity::roaming;
use crate::medium::{CHUNK_BYTES, Medium, MediumFile, check_aligned};
use crate::ring::RingOps;

/// Writes of one file in flight: enough for the device's bandwidth with [`CHUNK_BYTES`] each.
const WRITES_IN_FLIGHT: usize = 4;
/// Registered memory: the writes in flight of a segment and the one being filled, with room for the log's pages. The
/// four nodes of a devnet, all one user's, together fit the usual RLIMIT_MEMLOCK of 8 MiB.
const IO_MEMORY_BYTES: usize = 2 * 1024 * 1024;
const _: () = assert!((WRITES_IN_FLIGHT + 2) * CHUNK_BYTES <= IO_MEMORY_BYTES);
/// Entries of each ring.
const RING_ENTRIES: usize = 64;

/// Runs a future on a glommio executor of this thread. Pinning is the tile's business, so the executor floats, and the
/// thread it makes for blocking calls stays off the tile's core.
pub fn run_on_ring<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let builder = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_ENTRIES);
    let executor = roaming(|| builder.make()).map_err(|error| {
        io::Error::other(format!(
            "the storage ring cannot start: {error}; with node.io = \"fallback\" none is needed"
        ))
    })?;
    Ok(executor.run(future))
}

/// Starts a ring on a thread of its own and ends it; why it cannot be had, if not.
pub fn try_ring() -> Result<(), String> {
    let attempt = || {
        // With the least memory glommio takes: what a node registers is another question, and has a warning of its own.
        let builder = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(0)
            .ring_depth(RING_ENTRIES);
        let executor = builder.make().map_err(|error| error.to_string())?;
        executor.run(async {});
        Ok(())
    };
    let thread = std::thread::Builder::new().name("ring-probe".to_owned()).spawn(attempt);
    let outcome = thread.map_err(|error| format!("no thread for it: {error}"))?.join();
    outcome.unwrap_or_else(|_| Err("glommio panicked, as it says above".to_owned()))
}

/// glommio's direct I/O; used inside [`run_on_ring`] only.
#[derive(Debug)]
pub struct Uring {
    operations: Option<RingOps>,
}

impl Uring {
    /// A medium that counts what it submits to the ring in `operations`.
    pub fn new(operations: Option<RingOps>) -> Self {
        Self { operations }
    }
}

impl Medium for Uring {
    type File = UringFile;

    fn name(&self) -> &'static str {
        "io_uring"
    }

    async fn open(&self, path: &Path) -> io::Result<UringFile> {
        never_poll(path).await.map_err(into_io)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .dma_open(path)
            .await
            .map_err(into_io)?;
        Ok(UringFile {
            file: Rc::new(file),
            in_flight: RefCell::default(),
            operations: self.operations.clone(),
        })
    }
}

/// Has this thread's glommio send all I/O of the file's device through the ring in which the thread can sleep.
///
/// glommio 0.9 asks each device once a thread whether it can be polled: it reads the start of the first file that is
/// opened there, through a ring made for polling. If that read succeeds, the ring serves the device from then on. But
/// the start of a new log file is a hole, and the kernel reads a hole as zeros without asking the device. A thread with
/// I/O in that ring cannot sleep. It enters the kernel again and again until the device is done, and takes that time
/// from every other thread of its core. A device without queues for polling refuses reads through that ring, too.
///
/// glommio has no setting for it. So the first file is opened for writing only: it refuses the read, and the answer is
/// no. See `docs/decisions/0051-the-store-never-polls.md`.
async fn never_poll(path: &Path) -> Result<(), GlommioError<()>> {
    // glommio logs the refusal as an error. The thread's other tasks only move bytes, and have nothing to log.
    let _silence = tracing::subscriber::set_default(NoSubscriber::default());
    OpenOptions::new().write(true).dma_open(path).await?.close().await
}

/// A file of [`Uring`].
pub struct UringFile {
    file: Rc<DmaFile>,
    in_flight: RefCell<VecDeque<Task<io::Result<()>>>>,
    operations: Option<RingOps>,
}

impl UringFile {
    fn count(&self) {
        if let Some(operations) = &self.operations {
            operations.inc();
        }
    }

    /// Waits until at most `left` writes are in flight; the first failure among those that ended.
    async fn settle(&self, left: usize) -> io::Result<()> {
        let mut outcome = Ok(());
        loop {
            let oldest = {
                let mut in_flight = self.in_flight.borrow_mut();
                if in_flight.len() <= left {
                    return outcome;
                }
                in_flight.pop_front()
            };
            if let Some(write) = oldest {
                let ended = write.await;
                outcome = outcome.and(ended);
            }
        }
    }
}

impl MediumFile for UringFile {
    type Buffer = RingBuffer;

    async fn buffer(&self, bytes: usize) -> RingBuffer {
        assert!(bytes <= CHUNK_BYTES, "one write holds at most {CHUNK_BYTES} bytes");
        RingBuffer(self.file.alloc_dma_buffer(bytes))
    }

    async fn write(&self, at: u64, buffer: RingBuffer) -> io::Result<()> {
        check_aligned(at, buffer.len())?;
        self.settle(WRITES_IN_FLIGHT - 1).await?;
        self.count();
        let file = Rc::clone(&self.file);
        let write = glommio::spawn_local(async move {
            let bytes = buffer.len();
            match file.write_at(buffer.0, at).await.map_err(into_io)? {
                written if written == bytes => Ok(()),
                written => Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    format!("the device took {written} of {bytes} bytes at {at}"),
                )),
            }
        });
        self.in_flight.borrow_mut().push_back(write);
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        self.settle(0).await?;
        self.count();
        self.file.fdatasync().await.map_err(into_io)
    }

    async fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        check_aligned(at, bytes)?;
        let mut content = Vec::with_capacity(bytes);
        while content.len() < bytes {
            let wanted = (bytes - content.len()).min(CHUNK_BYTES);
            self.count();
            let read = self
                .file
                .read_at_aligned(at + content.len() as u64, wanted)
                .await
                .map_err(into_io)?;
            content.extend_from_slice(&read);
            if read.len() < wanted {
                break;
            }
        }
        Ok(content)
    }
}

/// Memory of the ring, registered with the kernel while some is free.
pub struct RingBuffer(DmaBuffer);

impl Deref for RingBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl DerefMut for RingBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_bytes_mut()
    }
}

/// The operating system's error inside glommio's, so that callers can tell a full disk from a broken one.
fn into_io(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}
