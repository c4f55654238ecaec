//! This file knows how to bring a value's bytes from disk into the page cache before its map is touched. It reads
//! through the ring, because a page fault stops a thread and a ring read stops nobody.
//!
//! Segments are written around the page cache, so the first reader after the hot window finds them cold. Without a
//! ring, a thread of the blocking pool reads them. The source reads what it hands out once more, and waits no more.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use rustix::io::{ReadWriteFlags, preadv2};
use ultramarine_runtime::RingOps;

use super::held::Places;

/// Bytes of one ring read, and the step in which we probe what is in memory: the kernel reads ahead at least this far.
const STEP_BYTES: u64 = 512 * 1024;

/// Parts of a file that are not in memory.
#[derive(Debug)]
pub(crate) struct Cold {
    file: File,
    /// Offsets and lengths, at most [`STEP_BYTES`] each.
    steps: Vec<(u64, usize)>,
}

impl Cold {
    /// Finds what of these places is not in memory; `None` if all is, or if the kernel cannot tell.
    pub fn find(places: &Places) -> Option<Self> {
        let file = File::open(&places.path).ok()?;
        let mut steps = Vec::new();
        for range in &places.ranges {
            let mut offset = range.start;
            while offset < range.end {
                let bytes = (range.end - offset).min(STEP_BYTES);
                // One byte at each end of the step is enough: a step that was read once is in memory as a whole or not
                // at all.
                if !is_resident(&file, offset) || !is_resident(&file, offset + bytes - 1) {
                    steps.push((offset, usize::try_from(bytes).ok()?));
                }
                offset += bytes;
            }
        }
        (!steps.is_empty()).then_some(Self { file, steps })
    }

    /// Reads them on this thread, which waits for the disk. Errors are dropped: the next reader of the bytes meets and
    /// reports them.
    pub fn read_here(&self) {
        let mut buffer = Vec::new();
        for (offset, bytes) in &self.steps {
            buffer.resize(*bytes, 0);
            if self.file.read_exact_at(&mut buffer, *offset).is_err() {
                break;
            }
        }
    }

    /// Reads them through the ring. Call it on the ring's runtime. Errors are dropped: the source meets them
    /// again, and reports them.
    pub async fn read(self, operations: &RingOps) {
        let file = tokio_uring::fs::File::from_std(self.file);
        let mut buffer = Vec::new();
        for (offset, bytes) in self.steps {
            if buffer.len() != bytes {
                buffer = vec![0; bytes];
            }
            operations.inc();
            let (outcome, back) = file.read_at(buffer, offset).await;
            buffer = back;
            if outcome.is_err() {
                break;
            }
        }
        operations.inc();
        let _ = file.close().await;
    }
}

/// Whether a read at `offset` would not wait for the disk.
fn is_resident(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let probe = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    // If the kernel or file system does not know this probe, a second read gains nothing.
    probe != Err(rustix::io::Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ultramarine_runtime::{Io, Registry, block_on_net, skip};

    use super::*;

    #[test]
    fn what_is_read_here_is_cold_no_more() {
        let path = std::env::temp_dir().join(format!("ultramarine-cold-here-{}", std::process::id()));
        let bytes = 4 * STEP_BYTES;
        let mut file = File::create(&path).expect("a file");
        file.write_all(&vec![7; usize::try_from(bytes).expect("small")])
            .expect("written");
        file.sync_all().expect("synced");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advised");
        let all = 0..bytes;
        let range = Places {
            path: path.clone(),
            ranges: vec![all],
        };
        // Where the file system keeps it, or does not say, there is nothing to see.
        if let Some(cold) = Cold::find(&range) {
            assert!(!cold.steps.is_empty());
            cold.read_here();
            // Between the steps' ends, which the search itself has read.
            assert!(is_resident(&cold.file, STEP_BYTES / 2), "brought in");
            assert!(Cold::find(&range).is_none());
        }
        std::fs::remove_file(&path).expect("there");
    }

    #[test]
    fn what_was_just_written_is_not_cold_and_a_missing_file_is_nobodys_trouble() {
        let path = std::env::temp_dir().join(format!("ultramarine-cold-{}", std::process::id()));
        let bytes = 3 * STEP_BYTES + 100;
        let mut file = File::create(&path).expect("a file");
        file.write_all(&vec![7; usize::try_from(bytes).expect("small")])
            .expect("written");
        let all = 4096..bytes;
        let range = Places {
            path: path.clone(),
            ranges: vec![all],
        };
        assert!(Cold::find(&range).is_none());

        if !skip::without_ring("reads through the ring") {
            let operations = RingOps::new(&Registry::new(), "net");
            let cold = Cold {
                file: File::open(&path).expect("there"),
                steps: vec![(0, 4096), (8192, 512)],
            };
            block_on_net(Io::Uring, |_| cold.read(&operations));
            assert_eq!(operations.get(), 3, "two reads and the close");
        }
        std::fs::remove_file(&path).expect("there");
        assert!(Cold::find(&range).is_none());
    }
}
