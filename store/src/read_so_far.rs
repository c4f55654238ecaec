//! This file knows how far an opening has read, for whoever waits for it.

use std::sync::Arc;

use crate::mapped::FoundFile;

/// Told how many bytes an opening has read, and of how many.
#[derive(Clone)]
pub struct TellRead(Arc<dyn Fn(u64, u64) + Send + Sync>);

impl TellRead {
    pub fn new(tell: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl Default for TellRead {
    /// Tells nobody.
    fn default() -> Self {
        Self::new(|_, _| ())
    }
}

impl std::fmt::Debug for TellRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TellRead")
    }
}

/// How far an opening has read some files, one after the other.
pub(crate) struct ReadSoFar<'a> {
    tell: &'a TellRead,
    before_bytes: u64,
    all_bytes: u64,
}

impl<'a> ReadSoFar<'a> {
    pub fn new<'f>(tell: &'a TellRead, files: impl Iterator<Item = &'f FoundFile>) -> Self {
        Self {
            tell,
            before_bytes: 0,
            all_bytes: files.map(|file| file.file_bytes).sum(),
        }
    }

    /// So many bytes of the file under way are read.
    pub fn within(&self, bytes: u64) {
        let read = self.before_bytes.saturating_add(bytes).min(self.all_bytes);
        (self.tell.0)(read, self.all_bytes);
    }

    pub fn past(&mut self, file: &FoundFile) {
        self.before_bytes += file.file_bytes;
        self.within(0);
    }
}
