//! This file knows how to do a medium's work with plain system calls on the calling thread.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use crate::medium::{CHUNK_BYTES, Medium, MediumFile, PAGE_BYTES, check_aligned};
use crate::metrics::Counter;

/// O_DIRECT `pwrite` and `fdatasync`; buffered, after one warning, where the file system refuses O_DIRECT.
#[derive(Debug)]
pub struct Pwrite {
    operations: Option<Counter>,
    spare: Rc<RefCell<Vec<Aligned>>>,
    has_warned: Cell<bool>,
    /// Opens a file for O_DIRECT; a test has it refused.
    pub(super) open_direct: fn(&Path) -> io::Result<File>,
}

impl Pwrite {
    /// A medium that counts its system calls in `operations`.
    pub fn new(operations: Option<Counter>) -> Self {
        Self {
            operations,
            spare: Rc::default(),
            has_warned: Cell::new(false),
            open_direct: |path| for_both().custom_flags(libc::O_DIRECT).open(path),
        }
    }
}

impl Medium for Pwrite {
    type File = PwriteFile;

    fn name(&self) -> &'static str {
        "pwrite"
    }

    async fn open(&self, path: &Path) -> io::Result<PwriteFile> {
        let file = match (self.open_direct)(path) {
            Ok(file) => file,
            // open(2): EINVAL where the file system has no O_DIRECT.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                if !self.has_warned.replace(true) {
                    warn(path);
                }
                for_both().open(path)?
            }
            Err(error) => return Err(error),
        };
        Ok(PwriteFile {
            file,
            operations: self.operations.clone(),
            spare: Rc::clone(&self.spare),
        })
    }
}

/// Whether the file system of a folder takes O_DIRECT; found out with a file that is gone at once. Where it does not,
/// [`Pwrite`] is the medium that works.
pub fn takes_direct_io(folder: &Path) -> io::Result<bool> {
    let path = folder.join(".direct-io");
    File::create(&path)?;
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
    std::fs::remove_file(&path)?;
    match opened {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// For reading and writing.
fn for_both() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

fn warn(path: &Path) {
    tracing::warn!(
        "the file system of {} refuses O_DIRECT: the store writes through the page cache, which costs memory and CPU; \
         set node.data_dir to a directory on ext4 or xfs to avoid it",
        path.display()
    );
}

/// A file of [`Pwrite`].
#[derive(Debug)]
pub struct PwriteFile {
    file: File,
    operations: Option<Counter>,
    spare: Rc<RefCell<Vec<Aligned>>>,
}

impl PwriteFile {
    fn count(&self) {
        if let Some(operations) = &self.operations {
            operations.inc();
        }
    }
}

impl MediumFile for PwriteFile {
    type Buffer = Aligned;

    async fn buffer(&self, bytes: usize) -> Aligned {
        assert!(bytes <= CHUNK_BYTES, "one write holds at most {CHUNK_BYTES} bytes");
        let mut buffer = self
            .spare
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Aligned::new(CHUNK_BYTES));
        buffer.bytes = bytes;
        buffer
    }

    async fn write(&self, at: u64, buffer: Aligned) -> io::Result<()> {
        check_aligned(at, buffer.len())?;
        self.count();
        let outcome = self.file.write_all_at(&buffer, at);
        self.spare.borrow_mut().push(buffer);
        outcome
    }

    async fn sync(&self) -> io::Result<()> {
        self.count();
        self.file.sync_data()
    }

    async fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        check_aligned(at, bytes)?;
        let mut buffer = Aligned::new(bytes.min(CHUNK_BYTES));
        let mut content = Vec::with_capacity(bytes);
        while content.len() < bytes {
            buffer.bytes = (bytes - content.len()).min(CHUNK_BYTES);
            self.count();
            let read = self.file.read_at(&mut buffer, at + content.len() as u64)?;
            content.extend_from_slice(&buffer[..read]);
            if read < buffer.bytes {
                break;
            }
        }
        Ok(content)
    }
}

/// Memory whose first byte lies on a page boundary, cut out of a larger vector so that it needs no unsafe code.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Aligned {
    fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes + PAGE_BYTES];
        // The allocation never moves: `memory` is not grown again.
        let start = memory.as_ptr().align_offset(PAGE_BYTES);
        assert!(start < PAGE_BYTES, "a byte pointer can always be aligned");
        Self { memory, start, bytes }
    }
}

impl Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}
