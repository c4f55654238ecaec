//! This file knows how to read a file from its device, around what the device does not give back.

use std::io;
use std::path::Path;

use bytes::Bytes;
use ultramarine_runtime::medium::{Medium, MediumFile, Pwrite, PwriteFile, ready};

use crate::device::{forget_cached, is_lost};
use crate::format::{Lineage, PAGE_BYTES, STORE_VERSION, open_header};
use crate::mapped::FoundFile;
use crate::record::{RecordError, RecordHeader};
use crate::scan::Pages;
use crate::segment::{SEGMENT_FIRST_RECORD, SEGMENT_MAGIC, SegmentHeader};

/// A file read from its device. Pages that the device does not give back are zeros, and no checksum takes them for what
/// they were.
pub(crate) struct FilePages {
    file: PwriteFile,
    pub file_bytes: u64,
    pub lost_pages: usize,
}

impl FilePages {
    pub fn open(medium: &Pwrite, path: &Path, file_bytes: u64) -> io::Result<Self> {
        forget_cached(path)?;
        Ok(Self {
            file: ready(medium.open(path))?,
            file_bytes,
            lost_pages: 0,
        })
    }

    /// What the records of a segment carry. If its header page is damaged, its first record says so too: no page that a
    /// stranger filled ever stood there.
    pub fn lineage(&mut self, file: &FoundFile) -> io::Result<Option<Lineage>> {
        let page = self.read(0, PAGE_BYTES as usize)?;
        refuse_other_version(&page, &SEGMENT_MAGIC)?;
        let header = SegmentHeader::decode(&page).filter(|header| header.id == file.id && header.class == file.class);
        if let Some(header) = header {
            return Ok(Some(header.lineage()));
        }
        let first = RecordHeader::decode(&self.read(SEGMENT_FIRST_RECORD, PAGE_BYTES as usize)?);
        let first = first
            .ok()
            .filter(|first| first.lineage.generation == file.id.0 && first.sequence == 0);
        if first.is_some() {
            tracing::error!(
                "the header of segment {} is damaged: its records are believed without it",
                file.id
            );
        }
        Ok(first.map(|first| first.lineage))
    }

    /// Reads, and tells which pages are lost.
    pub fn read_around(&self, at: u64, bytes: usize) -> io::Result<(Bytes, Vec<u64>)> {
        let read = |at, bytes| ready(self.file.read(at, bytes));
        let end = self.file_bytes.min(at.saturating_add(bytes as u64));
        match read(at, bytes) {
            Ok(whole) if whole.len() as u64 >= end.saturating_sub(at) => return Ok((whole.into(), Vec::new())),
            // A direct read that meets a lost sector behind good ones is short, and no error.
            Ok(_) => {}
            Err(error) if is_lost(&error) => {}
            Err(error) => return Err(error),
        }
        let (mut content, mut lost_pages) = (Vec::with_capacity(bytes), Vec::new());
        for page in (at..end).step_by(PAGE_BYTES as usize) {
            let wanted = end.min(page + PAGE_BYTES) - page;
            match read(page, PAGE_BYTES as usize) {
                Ok(read) if read.len() as u64 >= wanted => content.extend(read),
                Ok(_) => lost_pages.push(page),
                Err(error) if is_lost(&error) => lost_pages.push(page),
                Err(error) => return Err(error),
            }
            let behind = usize::try_from(end.min(page + PAGE_BYTES) - at).map_err(io::Error::other)?;
            content.resize(behind, 0);
        }
        Ok((content.into(), lost_pages))
    }
}

impl Pages for FilePages {
    fn length(&self) -> u64 {
        self.file_bytes
    }

    fn read(&mut self, at: u64, bytes: usize) -> io::Result<Bytes> {
        let (content, lost_pages) = self.read_around(at, bytes)?;
        self.lost_pages += lost_pages.len();
        Ok(content)
    }
}

/// An error if a header page is whole and of another version.
pub(crate) fn refuse_other_version(page: &[u8], magic: &[u8; 8]) -> io::Result<()> {
    match open_header(page, magic) {
        Some((found, _)) if found != STORE_VERSION => Err(io::Error::other(RecordError::Version { found })),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
