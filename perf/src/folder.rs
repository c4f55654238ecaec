//! This file knows what of a report's folder is ours: it replaces what this program wrote before, and nothing else.
//!
//! ```text
//!   OUT/.ultramarine-perf               the names of the files that we wrote here; locked while we run
//!   OUT/report.html …                   replaced if it is named there
//!   OUT/net/made-by-ultramarine-perf    the mark of a net that the next run removes, with all that is in it
//!   OUT/net/devnet                      the network: homes, keys, logs
//! ```
//!
//! A file that is not on our list, and a `net` without our mark, are never written over nor removed: they are an error
//! before anything is written (`check`).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ultramarine_types::Stage;

/// The list of our files.
const LIST: &str = ".ultramarine-perf";
const LIST_HEAD: &str = "# ultramarine-perf wrote these files, and its next run with this folder replaces them.\n";
/// The folder of the network, and what makes it ours.
const NET: &str = "net";
const NET_MARK: &str = "made-by-ultramarine-perf";
const NET_MARK_TEXT: &str = "ultramarine-perf made this folder, and its next run removes it with all that is in it.\n";
/// What a devnet holds locked while it runs in a folder.
const DEVNET_LOCK: &str = "devnet.lock";

/// The distributions of one run's stages, as nodes tell theirs.
pub const HISTOGRAMS: &str = "histograms.json";
/// The page about two runs.
pub const COMPARISON: &str = "comparison.html";
/// The figures of all runs.
pub const FIGURES: &str = "figures.json";
/// The page about one run.
pub const REPORT: &str = "report.html";
/// What the devnet printed.
pub const PRINTED: &str = "devnet.out";
/// What the devnet said of itself.
pub const SAID: &str = "devnet.err";

/// What is going to be written into a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FolderUse {
    /// The figures of several runs.
    Figures,
    /// One of several runs.
    Run,
    /// The only run, and its figures.
    Whole,
    /// Two runs, side by side.
    Comparison,
}

/// A folder that this process alone writes to.
#[derive(Debug)]
pub struct ReportFolder {
    path: PathBuf,
    ours: BTreeSet<String>,
    /// Its lock is held for as long as this lives.
    list: File,
}

/// The folder of one run of so many, the first being 1.
pub fn of_run(path: &Path, number: usize, runs: usize) -> PathBuf {
    match runs {
        1 => path.to_owned(),
        _ => path.join(format!("run{number}")),
    }
}

/// Percentiles of one stage.
pub fn hgrm_name(stage: Stage) -> String {
    format!("{}.hgrm", stage.name())
}

impl FolderUse {
    const fn has_run(self) -> bool {
        matches!(self, Self::Run | Self::Whole)
    }

    fn names(self) -> Vec<String> {
        let mut names = Vec::new();
        if matches!(self, Self::Figures | Self::Whole) {
            names.push(FIGURES.to_owned());
        }
        if self == Self::Comparison {
            names.push(COMPARISON.to_owned());
        }
        if self.has_run() {
            names.extend([REPORT, HISTOGRAMS, PRINTED, SAID].map(str::to_owned));
            names.extend(Stage::ALL.into_iter().map(hgrm_name));
        }
        names
    }
}

/// Refuses a folder in which something of another hand is in the way. Changes nothing.
pub fn check(path: &Path, usage: FolderUse) -> Result<()> {
    let ours = read_list(path)?;
    for name in usage.names() {
        let path = path.join(&name);
        ensure!(
            ours.contains(&name) || !is_there(&path)?,
            "{} is there already, and not from an earlier run: move it away, or choose another --out",
            path.display()
        );
    }
    if usage.has_run() {
        is_ours(&path.join(NET))?;
    }
    Ok(())
}

impl ReportFolder {
    /// Makes the folder, or takes over that of an earlier run.
    pub fn claim(path: &Path, usage: FolderUse) -> Result<Self> {
        check(path, usage)?;
        fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        let list_path = path.join(LIST);
        let mut list = File::options()
            .create(true)
            .append(true)
            .open(&list_path)
            .with_context(|| format!("writing {}", list_path.display()))?;
        ensure!(
            !is_locked(&list).with_context(|| format!("locking {}", list_path.display()))?,
            "another ultramarine-perf runs in {}: wait for it, or choose another --out",
            path.display()
        );
        let ours = read_list(path)?;
        if list.metadata().is_ok_and(|list| list.len() == 0) {
            list.write_all(LIST_HEAD.as_bytes())
                .with_context(|| format!("writing {}", list_path.display()))?;
        }
        Ok(Self {
            path: path.to_owned(),
            ours,
            list,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file, in place of the one that an earlier run wrote.
    pub fn create(&mut self, name: &str) -> Result<(PathBuf, File)> {
        let path = self.path.join(name);
        let writing = || format!("writing {}", path.display());
        let is_listed = self.ours.contains(name);
        if is_listed && is_there(&path)? {
            fs::remove_file(&path).with_context(writing)?;
        }
        let file = File::create_new(&path).with_context(writing)?;
        // Listed once it is there and ours: listed before, it could be another's.
        if !is_listed {
            self.list
                .write_all(format!("{name}\n").as_bytes())
                .with_context(writing)?;
            self.ours.insert(name.to_owned());
        }
        Ok((path, file))
    }

    /// Writes a whole file.
    pub fn write(&mut self, name: &str, text: &str) -> Result<PathBuf> {
        let (path, mut file) = self.create(name)?;
        file.write_all(text.as_bytes())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// A folder for a new network. That of an earlier run is removed: a devnet would resume it, and mix the heights of
    /// two runs.
    pub fn fresh_net(&self) -> Result<PathBuf> {
        let net = self.path.join(NET);
        if is_ours(&net)? {
            fs::remove_dir_all(&net).with_context(|| format!("removing the last run's {}", net.display()))?;
        }
        fs::create_dir_all(&net).with_context(|| format!("creating {}", net.display()))?;
        let mark = net.join(NET_MARK);
        File::create_new(&mark)
            .and_then(|mut file| file.write_all(NET_MARK_TEXT.as_bytes()))
            .with_context(|| format!("writing {}", mark.display()))?;
        Ok(net_in(&self.path))
    }
}

/// Where the devnet of a run is.
fn net_in(path: &Path) -> PathBuf {
    path.join(NET).join("devnet")
}

/// Whether an earlier run made this network; an error if somebody else did, or if it still runs. One that is empty or
/// missing is nobody's.
fn is_ours(net: &Path) -> Result<bool> {
    let looking = || format!("looking at {}", net.display());
    if !is_there(net)? {
        return Ok(false);
    }
    let kind = fs::symlink_metadata(net).with_context(looking)?.file_type();
    ensure!(
        kind.is_dir(),
        "{} is no folder: move it away, or choose another --out",
        net.display()
    );
    let entries = fs::read_dir(net).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let names: Vec<_> = entries
        .with_context(looking)?
        .iter()
        .map(fs::DirEntry::file_name)
        .collect();
    let Some(first) = names.first() else {
        return Ok(false);
    };
    if !names.iter().any(|name| name == OsStr::new(NET_MARK)) {
        bail!(
            "{} holds files that no earlier run made ({}, …), and a run begins with a new one: move it away, or choose \
             another --out",
            net.display(),
            first.display()
        );
    }
    let lock = net.join("devnet").join(DEVNET_LOCK);
    let is_running = match File::open(&lock) {
        Ok(file) => is_locked(&file).with_context(looking)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("reading {}", lock.display())),
    };
    ensure!(
        !is_running,
        "a devnet still runs in {}: stop it, or choose another --out",
        net.display()
    );
    Ok(true)
}

/// Whether another process holds the lock; if not, we hold it now.
fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a name is taken, be it by a link to nowhere.
fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

fn read_list(path: &Path) -> Result<BTreeSet<String>> {
    let list = path.join(LIST);
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", list.display())),
    };
    let names = text.lines().filter(|line| !line.starts_with('#'));
    Ok(names.map(str::to_owned).collect())
}
