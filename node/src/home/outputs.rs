//! This file knows whether the files that a node appends to stand in the way of those that it lives on.
//!
//! A path is followed as the system would follow it: link by link, `..` after that. So no spelling of a path, no link
//! and no second name of a file gets past.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::archive::address::ArchiveAddress;
use crate::config::{Config, EngineEndpoint, Layers};
use crate::home::Home;

/// Links that one path may lead through; Linux follows as many.
const LINKS_MAX: usize = 40;
/// How many bytes tell whether a file is a log of ours.
const HEAD_BYTES: usize = 11;

/// Why the node must not write where these settings say, one line for each reason.
pub fn misplaced(home: &Home, config: &Config, layers: &Layers) -> Vec<String> {
    let needed = Needed::of(home, config);
    let mut wrong = Vec::new();
    let mut note = |name: &str, path: &Path, why: Option<String>| {
        let why = why.map(|why| {
            let origin = &layers.get(name).origin;
            format!("{origin}: {name} is {}, {why}", path.display())
        });
        wrong.extend(why);
    };
    let log = config.log.file.as_ref().map(|file| file.path.as_path());
    if let Some(path) = log {
        let why = needed.hit(path).or_else(|| needed.rotated_onto(path));
        note("log.file", path, why.or_else(|| unfit_for_a_log(path)));
    }
    if let Some(path) = config.log.messages_file.as_deref() {
        let is_log = || {
            let why = "as is log.file: each needs a file of its own";
            log.is_some_and(|log| is_one(log, path)).then(|| why.to_owned())
        };
        note(
            "log.messages_file",
            path,
            needed.hit(path).or_else(|| folder(path)).or_else(is_log),
        );
    }
    if let Some(ArchiveAddress::Folder(path)) = config.archive.as_ref().map(|archive| &archive.address) {
        let is_inside = real(path).starts_with(&needed.data);
        let why = "which is in the data directory (node.data_dir): give the archive a folder outside it";
        note("archive.url", path, is_inside.then(|| why.to_owned()));
    }
    wrong
}

/// What a node lives on.
struct Needed {
    /// Each file, and what it is.
    files: Vec<(PathBuf, &'static str)>,
    /// The data directory, as the system finds it.
    data: PathBuf,
}

impl Needed {
    fn of(home: &Home, config: &Config) -> Self {
        let mut files = vec![
            (home.validator_key(), "the validator's key"),
            (home.node_key(), "the node's key"),
            (home.config(), "the configuration"),
            (home.genesis(), "the genesis"),
            (home.execution_genesis(), "the execution client's genesis"),
            (home.jwt_secret(), "the Engine API's secret"),
            (config.engine.jwt_secret.clone(), "the Engine API's secret"),
        ];
        if let EngineEndpoint::Ipc(path) = &config.engine.endpoint {
            files.push((path.clone(), "the execution client's socket"));
        }
        let archive = config.archive.as_ref();
        if let Some(path) = archive.and_then(|archive| archive.access.credentials_file.clone()) {
            files.push((path, "the archive's keys"));
        }
        Self {
            files,
            data: real(&config.node.data_dir),
        }
    }

    /// Why nothing is written to `path`, if it is one of these or among them.
    fn hit(&self, path: &Path) -> Option<String> {
        if let Some((_, what)) = self.files.iter().find(|(file, _)| is_one(file, path)) {
            return Some(format!("which is {what}: name a file of its own"));
        }
        let is_inside = real(path).starts_with(&self.data);
        is_inside.then(|| "which is in the data directory (node.data_dir): name a file outside it".to_owned())
    }

    /// Why a log is not written to `path`: it becomes `path.1`, and a file of such a name is removed.
    fn rotated_onto(&self, path: &Path) -> Option<String> {
        // A link is renamed itself.
        let (folder, name) = (real(path.parent()?), path.file_name()?.as_encoded_bytes());
        let is_turn = |file: &Path| {
            let end = file.file_name().map(OsStr::as_encoded_bytes);
            let number = end.and_then(|end| end.strip_prefix(name)?.strip_prefix(b"."));
            file.parent() == Some(&folder) && number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
        };
        let (file, what) = self.files.iter().find(|(file, _)| is_turn(&real(file)))?;
        Some(format!(
            "and when it is full it would become {}, which is {what}: choose another name",
            file.display()
        ))
    }
}

/// Why an existing file is no place for a log: only a log is appended to.
fn unfit_for_a_log(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() {
        return folder(path)
            .or_else(|| Some("which is no plain file: a log can be written to nothing else".to_owned()));
    }
    let mut head = [0; HEAD_BYTES];
    let mut file = File::open(path).ok()?;
    let mut count = 0;
    while let Ok(more @ 1..) = file.read(&mut head[count..]) {
        count += more;
    }
    (!begins_like_a_log(&head[..count])).then(|| {
        "which exists and is no log of a node: nothing is appended to it; move it away or name another file".to_owned()
    })
}

/// Whether a file with this beginning may be a log: it has an object or a date there, or as much as a full disk took. A
/// file that the power was cut from may begin with zeros.
fn begins_like_a_log(head: &[u8]) -> bool {
    let shape = b"0000-00-00T";
    let is_dated = head.iter().zip(shape).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    is_dated || head.starts_with(b"{\"") || head == b"{" || head.starts_with(&[0])
}

fn folder(path: &Path) -> Option<String> {
    let is_folder = fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
    is_folder.then(|| "which is a folder: name a file in it".to_owned())
}

/// Whether two paths lead to one file.
fn is_one(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|metadata: Metadata| (metadata.dev(), metadata.ino()));
    let same_file = matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other);
    same_file || real(one) == real(other)
}

/// Where a path leads, whether anything is there or not.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut found = PathBuf::from("/");
    // Last first.
    let mut rest: Vec<PathBuf> = steps(&path);
    let mut links = 0;
    while let Some(step) = rest.pop() {
        match step.components().next() {
            Some(Component::RootDir) => found = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                found.pop();
            }
            Some(Component::Normal(name)) => {
                let there = found.join(name);
                match fs::read_link(&there) {
                    Ok(to) if links < LINKS_MAX => {
                        links += 1;
                        rest.extend(steps(&to));
                    }
                    _ => found = there,
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    found
}

/// The parts of a path, the last one first.
fn steps(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

#[cfg(test)]
mod tests;
