//! What a disk does to a node's files: bits flip, files end early or are gone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Bytes of a page, of a record's header and of a blob, as `store/FORMAT.md` has them.
const PAGE: usize = 4096;
const HEADER: u64 = 128;
const BLOB: u64 = 131_072;

/// Where a record of a decided height lies.
#[derive(Clone, Debug)]
pub struct Record {
    pub path: PathBuf,
    pub offset: u64,
    pub height: u64,
    pub blobs: u64,
    /// Where the payload ends, from the record's start.
    payload_end: u64,
}

/// A part of a record.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Header,
    /// Checksums, lists, the `Init`.
    Table,
    Payload,
    /// The last one.
    Blob,
}

impl Record {
    /// Flips a bit of a part.
    pub fn flip(&self, part: Part) {
        let at = match part {
            Part::Header => 40,
            Part::Table => HEADER + 60,
            Part::Payload => self.payload_end - 10,
            Part::Blob => {
                assert!(self.blobs > 0, "height {} has blobs", self.height);
                self.payload_end.next_multiple_of(PAGE as u64) + BLOB * self.blobs - 1000
            }
        };
        flip(&self.path, self.offset + at);
    }
}

/// The records of a node's decided heights, in whatever segment: a height may have left dead ones behind.
pub fn records(home: &Path, decided: &[Value]) -> Vec<Record> {
    let mut records = Vec::new();
    for path in segments(home, "") {
        // It may be moved while we look.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for (page, header) in bytes.chunks_exact(PAGE).enumerate().skip(1) {
            let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
            // Generation and salt are those of the file's header: what was there before it was recycled is no record.
            if !header.starts_with(b"UREC") || header[8..24] != bytes[16..32] {
                continue;
            }
            let height = u64::from_le_bytes(header[32..40].try_into().expect("eight bytes"));
            let id = format!("0x{}", hex::encode(&header[40..72]));
            let place = usize::try_from(height).ok().and_then(|height| height.checked_sub(1));
            if place
                .and_then(|place| decided.get(place))
                .is_none_or(|decision| decision["value_id"] != id.as_str())
            {
                continue;
            }
            records.push(Record {
                path: path.clone(),
                offset: (page * PAGE) as u64,
                height,
                blobs: number(72).into(),
                payload_end: HEADER + u64::from(4 * number(72) + number(76) + number(80) + number(84)),
            });
        }
    }
    records
}

/// A node's segments whose names begin so, oldest first.
pub fn segments(home: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.join("data/segments")).expect("the folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<_> = names.filter(|found| found.starts_with(name)).collect();
    names.sort();
    names
        .into_iter()
        .map(|name| home.join("data/segments").join(name))
        .collect()
}

/// Flips one bit of a file.
pub fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path);
    flip_in(&file.unwrap_or_else(|error| panic!("{}: {error}", path.display())), at);
}

fn flip_in(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is that long");
    file.write_all_at(&[byte[0] ^ 16], at).expect("a writable file");
}

/// Flips a bit wherever a file has these bytes. How often that was.
pub fn flip_each(path: &Path, bytes: &[u8]) -> usize {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file");
    let content = std::fs::read(path).expect("it can be read");
    let places = content.windows(bytes.len()).enumerate();
    let places = places.filter(|(_, found)| *found == bytes).map(|(at, _)| at as u64);
    places.map(|at| flip_in(&file, at)).count()
}

/// Ends a file early.
pub fn cut(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("the file");
    file.set_len(bytes).expect("shortened");
}
