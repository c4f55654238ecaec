//! A medium that tells tests which file was synced, when it is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ultramarine_runtime::medium::{Medium, MediumFile, Pwrite, PwriteFile};

use crate::mapped::Segments;

pub(super) struct Watched {
    pub disk: Pwrite,
    pub segments: Arc<Segments>,
}

pub(super) struct WatchedFile {
    file: PwriteFile,
    name: String,
    segments: Arc<Segments>,
}

impl Medium for Watched {
    type File = WatchedFile;

    fn name(&self) -> &'static str {
        "watched"
    }

    async fn open(&self, path: &Path) -> io::Result<WatchedFile> {
        Ok(WatchedFile {
            file: self.disk.open(path).await?,
            name: path.file_name().unwrap_or_default().display().to_string(),
            segments: Arc::clone(&self.segments),
        })
    }
}

impl MediumFile for WatchedFile {
    type Buffer = <PwriteFile as MediumFile>::Buffer;

    async fn buffer(&self, bytes: usize) -> Self::Buffer {
        self.file.buffer(bytes).await
    }

    async fn write(&self, at: u64, buffer: Self::Buffer) -> io::Result<()> {
        self.file.write(at, buffer).await
    }

    async fn sync(&self) -> io::Result<()> {
        self.file.sync().await?;
        self.segments.step(&format!("synced {}", self.name));
        Ok(())
    }

    async fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.file.read(at, bytes).await
    }
}
