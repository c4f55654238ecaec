//! This file knows how to write lines to a file that never takes more than its share of the disk.
//!
//! ```text
//!   node.log ──full──▶ node.log.1 ──▶ node.log.2 ──▶ … the last one is removed
//! ```
//!
//! A file that cannot be written loses lines and ends nothing. It is told once when that begins, and once when it is over.
//! If somebody moves or removes the file or its folder, the next line makes them anew.
//!
//! Keeps: files of `files_max` names, each of `file_bytes_max` at most, or of one line that is longer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How large a log may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogShare {
    pub file_bytes_max: u64,
    /// The one that is written, and those before it. At least 1.
    pub files_max: u64,
}

/// A file for an [`Outlet`](crate::outlet::Outlet), which writes it on a thread of its own.
pub struct RotatingFile {
    path: PathBuf,
    share: LogShare,
    open: Option<Open>,
    /// Writes that failed since the last one that did not.
    failed_count: u64,
    /// Tells an operator, elsewhere, what is wrong.
    say: Box<dyn FnMut(String) + Send>,
}

struct Open {
    file: File,
    /// Device and number of the file, by which we know whether it is still the one of our name.
    identity: (u64, u64),
    bytes: u64,
    /// Whether the next byte begins a line.
    begins_line: bool,
}

impl RotatingFile {
    /// Opens nothing yet. `say` is handed one line at a time.
    pub fn new(path: PathBuf, share: LogShare, say: impl FnMut(String) + Send + 'static) -> Self {
        let mut file = Self {
            path,
            share,
            open: None,
            failed_count: 0,
            say: Box::new(say),
        };
        file.remove_surplus();
        file
    }

    fn numbered(&self, number: u64) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Removes files of an earlier setting that allowed more of them.
    fn remove_surplus(&mut self) {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return;
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let prefix = format!("{}.", name.to_string_lossy());
        for entry in entries {
            let found = entry.file_name();
            let number = found
                .to_str()
                .and_then(|found| found.strip_prefix(&prefix)?.parse::<u64>().ok());
            if number.is_some_and(|number| number >= self.share.files_max) {
                // One that stays is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_ours = self
            .open
            .as_ref()
            .is_some_and(|open| identity_of(&self.path) == Some(open.identity));
        if !is_ours {
            self.open = None;
            self.open = Some(Open::of(&self.path)?);
        }
        let is_full = self.open.as_ref().is_some_and(|open| {
            let grown = open.bytes.saturating_add(bytes.len() as u64);
            open.begins_line && open.bytes > 0 && grown > self.share.file_bytes_max
        });
        if is_full {
            self.rotate()?;
        }
        let Some(open) = &mut self.open else {
            return Err(ErrorKind::NotFound.into());
        };
        let count = open.file.write(bytes)?;
        open.bytes += count as u64;
        if let Some(last) = bytes[..count].last() {
            open.begins_line = *last == b'\n';
        }
        Ok(count)
    }

    /// Makes room for a new file. If that fails halfway, the next call goes on.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.share.files_max.saturating_sub(1)).rev() {
            move_if_there(&self.numbered(number), &self.numbered(number + 1))?;
        }
        if self.share.files_max > 1 {
            move_if_there(&self.path, &self.numbered(1))?;
        } else {
            fs::remove_file(&self.path)?;
        }
        self.open = None;
        self.open = Some(Open::of(&self.path)?);
        Ok(())
    }
}

impl Open {
    fn of(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Without O_NONBLOCK, a named pipe would keep us until somebody reads it.
        let flags = libc::O_NONBLOCK;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(flags)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no plain file"));
        }
        Ok(Self {
            file,
            identity: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            begins_line: true,
        })
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.try_write(bytes);
        let path = self.path.display();
        match &outcome {
            Err(error) => {
                self.failed_count += 1;
                if self.failed_count == 1 {
                    let words = format!("cannot write the log file {path}: {error}; the node goes on without it");
                    (self.say)(words);
                }
            }
            Ok(_) if self.failed_count > 0 => {
                let count = std::mem::take(&mut self.failed_count);
                (self.say)(format!(
                    "the log file {path} is written again; {count} lines are not in it"
                ));
            }
            Ok(_) => {}
        }
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Said = Arc<Mutex<Vec<String>>>;

    fn file(path: &Path, file_bytes_max: u64, files_max: u64) -> (RotatingFile, Said) {
        let said = Said::default();
        let words = Arc::clone(&said);
        let share = LogShare {
            file_bytes_max,
            files_max,
        };
        let say = move |line| words.lock().expect("one thread").push(line);
        (RotatingFile::new(path.to_owned(), share, say), said)
    }

    fn line(number: usize) -> Vec<u8> {
        format!("line {number:04}\n").into_bytes()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_lines_are_kept_and_the_disk_is_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/node.log");
        // Ten lines of ten bytes a file.
        let (mut log, said) = file(&path, 100, 3);
        for number in 0..95 {
            log.write_all(&line(number)).expect("there is room");
            let bytes = |name: String| fs::metadata(path.with_file_name(name)).expect("a file").len();
            let all: u64 = names(path.parent().expect("a folder")).into_iter().map(bytes).sum();
            assert!(all <= 300, "{all}");
        }
        assert_eq!(
            names(path.parent().expect("a folder")),
            ["node.log", "node.log.1", "node.log.2"]
        );
        let read = |name: &str| fs::read(path.with_file_name(name)).expect("a file");
        let text = [read("node.log.2"), read("node.log.1"), read("node.log")].concat();
        assert_eq!(text, (70..95).flat_map(line).collect::<Vec<u8>>());
        assert!(said.lock().expect("one thread").is_empty());
        // A restart goes on in the same file, with fewer files if so many are allowed now.
        let (mut log, _) = file(&path, 100, 2);
        log.write_all(&line(95)).expect("there is room");
        assert_eq!(names(path.parent().expect("a folder")), ["node.log", "node.log.1"]);
        assert_eq!(read("node.log"), (90..96).flat_map(line).collect::<Vec<u8>>());
        let (mut log, _) = file(&path, 100, 1);
        for number in 96..101 {
            log.write_all(&line(number)).expect("there is room");
        }
        assert_eq!(names(path.parent().expect("a folder")), ["node.log"]);
        assert_eq!(read("node.log"), line(100));
    }

    #[test]
    fn a_line_that_is_written_in_pieces_stays_in_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("node.log");
        let (mut log, _) = file(&path, 10, 2);
        for piece in ["line", " 0001", " and more\n", "line 0002\n"] {
            log.write_all(piece.as_bytes()).expect("there is room");
        }
        assert_eq!(
            fs::read(folder.path().join("node.log.1")).expect("a file"),
            b"line 0001 and more\n"
        );
        assert_eq!(fs::read(&path).expect("a file"), b"line 0002\n");
    }

    #[test]
    fn a_folder_that_is_gone_comes_back_and_a_file_that_was_moved_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/node.log");
        let (mut log, said) = file(&path, 1000, 2);
        log.write_all(&line(1)).expect("there is room");
        fs::rename(&path, folder.path().join("moved")).expect("it is there");
        log.write_all(&line(2)).expect("there is room");
        assert_eq!(fs::read(folder.path().join("moved")).expect("a file"), line(1));
        fs::remove_dir_all(folder.path().join("logs")).expect("it is there");
        log.write_all(&line(3)).expect("there is room");
        assert_eq!(fs::read(&path).expect("a file"), line(3));
        assert!(said.lock().expect("one thread").is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_told_once_and_so_is_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        // A plain file where the folder should be.
        let in_the_way = folder.path().join("logs");
        fs::write(&in_the_way, "").expect("there is room");
        let (mut log, said) = file(&in_the_way.join("node.log"), 1000, 2);
        for number in 0..5 {
            assert!(log.write_all(&line(number)).is_err());
        }
        fs::remove_file(&in_the_way).expect("it is there");
        for number in 5..8 {
            log.write_all(&line(number)).expect("there is room");
        }
        let said = said.lock().expect("one thread");
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("cannot write the log file") && said[0].contains("goes on"),
            "{said:?}"
        );
        assert!(said[1].contains("5 lines are not in it"), "{said:?}");
    }

    #[test]
    fn a_disk_that_is_full_and_a_pipe_fail_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, why) in [
            (PathBuf::from("/dev/full"), "plain file"),
            (folder.path().to_owned(), "directory"),
        ] {
            let (mut log, said) = file(&path, 1000, 2);
            assert!(log.write_all(&line(0)).is_err());
            assert!(said.lock().expect("one thread")[0].contains(why), "{said:?}");
        }
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        let (mut log, _) = file(&pipe, 1000, 2);
        assert!(log.write_all(&line(0)).is_err(), "nobody waits for a reader");
    }
}
