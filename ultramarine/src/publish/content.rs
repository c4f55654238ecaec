//! This file knows where a publisher's blobs come from: files, round and round, or made fresh without end.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::encode::encode;
use super::file;
use super::fresh::Fresh;
use super::prove::{ProvenBlob, Prover};

/// Files are read whole, one at a time.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
pub enum Content {
    /// The same content again and again.
    Files {
        /// A file, or a folder whose files are taken in order of name.
        path: PathBuf,
        /// Shared by all publishers of a process, so that each blob is proven once.
        prover: Prover,
    },
    /// Blobs that were never seen before.
    Fresh {
        /// The same seed makes the same blobs.
        seed: u64,
        /// Publishers of one seed share no blob.
        publisher: u64,
    },
}

/// Whether a file, or a folder's files, can be published round and round; an error says why not.
pub fn check(path: &Path) -> Result<()> {
    let opened = Files::open(path).map(drop);
    opened.with_context(|| format!("cannot publish {}", path.display()))
}

impl Content {
    /// Looks whether all can be read.
    pub(super) fn open(&self) -> Result<Supply> {
        Ok(match self {
            Self::Files { path, prover } => Supply::Files(Files::open(path)?, prover.clone()),
            Self::Fresh { seed, publisher } => Supply::Fresh(Fresh::new(*seed, *publisher)),
        })
    }
}

pub(super) enum Supply {
    Files(Files, Prover),
    Fresh(Fresh),
}

impl Supply {
    /// The next blobs, proven.
    pub async fn next(&mut self, blobs: usize) -> Result<Vec<ProvenBlob>> {
        match self {
            Self::Files(files, prover) => prover.prove(&files.next(blobs).await?).await,
            Self::Fresh(fresh) => fresh.next(blobs).await,
        }
    }
}

/// The blobs of some files, for ever.
pub(super) struct Files {
    files: Vec<PathBuf>,
    next_file: usize,
    blobs: std::vec::IntoIter<Bytes>,
}

impl Files {
    fn open(path: &Path) -> Result<Self> {
        let mut files = Vec::new();
        if path.is_dir() {
            for entry in std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
                let entry = entry.with_context(|| format!("reading {}", path.display()))?;
                if entry.file_type()?.is_file() {
                    files.push(entry.path());
                }
            }
        } else {
            files.push(path.to_owned());
        }
        files.sort();
        ensure!(!files.is_empty(), "{} has no files to publish", path.display());
        for file in &files {
            let metadata = std::fs::metadata(file).with_context(|| format!("reading {}", file.display()))?;
            // A device or a pipe may have no end.
            ensure!(metadata.is_file(), "{} is no file", file.display());
            let bytes = metadata.len();
            ensure!(
                bytes <= FILE_BYTES_MAX,
                "{} is {bytes} bytes; publish files of at most {FILE_BYTES_MAX}",
                file.display()
            );
        }
        Ok(Self {
            files,
            next_file: 0,
            blobs: Vec::new().into_iter(),
        })
    }

    /// As many as are wanted, from as many files as it takes, so that small files make as much load as large ones.
    async fn next(&mut self, wanted: usize) -> Result<Vec<Bytes>> {
        let mut blobs: Vec<Bytes> = Vec::with_capacity(wanted);
        while blobs.len() < wanted {
            if self.blobs.len() == 0 {
                let file = self.files[self.next_file].clone();
                self.next_file = (self.next_file + 1) % self.files.len();
                let bytes = tokio::task::spawn_blocking(move || file::load(&file, FILE_BYTES_MAX))
                    .await
                    .context("reading a file panicked")??;
                self.blobs = encode(&bytes)?.into_iter();
            }
            blobs.extend(self.blobs.by_ref().take(wanted - blobs.len()));
        }
        Ok(blobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::encode::PIECE_BYTES;

    #[tokio::test]
    async fn files_are_published_in_order_of_name_and_round_and_round() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("b"), vec![2; 10]).expect("written");
        std::fs::write(folder.path().join("a"), vec![1; 7 * PIECE_BYTES]).expect("written");
        let content = Content::Files {
            path: folder.path().to_owned(),
            prover: Prover::new(2),
        };
        let mut supply = content.open().expect("two files");
        let mut names = Vec::new();
        for _ in 0..3 {
            let blobs = supply.next(6).await.expect("proven");
            assert_eq!(blobs.len(), 6, "small files fill a transaction together");
            names.extend(blobs.iter().map(ProvenBlob::versioned_hash));
        }
        let once: std::collections::BTreeSet<_> = names[..8].iter().collect();
        assert_eq!(once.len(), 8, "seven pieces of the first file, one of the second");
        assert_eq!(names[8..16], names[..8], "and again");
    }

    #[test]
    fn an_empty_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Files::open(folder.path()).is_err());
        assert!(Files::open(&folder.path().join("missing")).is_err());
        let error = check("/dev/zero".as_ref()).expect_err("it has no end");
        assert!(format!("{error:#}").contains("no file"), "{error:#}");
    }
}
