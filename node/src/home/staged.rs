//! This file knows how to make a folder whole or not at all, and to touch nothing that was there before.
//!
//! ```text
//!   wanted folder     we fill                and then
//!   ───────────────   ────────────────────   ───────────────────────────────────────────────────────
//!   not there         a folder beside it     that folder gets its name
//!   there, empty      a folder inside it     each file moves up (the folder may be a mounted volume)
//!   anything else     nothing: it is refused
//! ```
//! A folder to fill has a name such as `.node0.new-1a2b3c4d`. A process that is killed may leave one behind. It is in
//! nobody's way, and may be removed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::home::{HomeError, sync_directory};

/// The mark in the name of a folder that is being filled.
const MARK: &str = ".new-";

/// A folder that is being filled. It disappears again unless it is kept.
#[derive(Debug)]
pub struct Staged {
    target: PathBuf,
    stage: PathBuf,
    /// Whether the target is to be the stage itself.
    is_whole: bool,
    /// What we moved: from the stage, to its place.
    placed: Vec<(PathBuf, PathBuf)>,
    parents: MadeFolders,
    is_kept: bool,
}

/// Folders that we made on the way to a target, outermost first. Those still empty are removed when this is dropped,
/// unless it is kept.
#[derive(Debug, Default)]
pub struct MadeFolders(Vec<PathBuf>);

impl Staged {
    /// Begins a folder that does not exist yet, or is empty.
    pub fn begin(target: &Path) -> Result<Self, HomeError> {
        let is_whole = !exists(target)?;
        if !is_whole && !is_empty(target)? {
            return Err(HomeError::Exists {
                path: target.to_owned(),
            });
        }
        let write_error = |error| HomeError::Write {
            path: target.to_owned(),
            error,
        };
        let random = crate::keys::random_secret().map_err(write_error)?;
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!("{MARK}{}", hex::encode(&random[..4])));
        let (parents, stage) = if is_whole {
            let parent = parent(target);
            (MadeFolders::all_of(parent).map_err(write_error)?, parent.join(name))
        } else {
            (MadeFolders::default(), target.join(name))
        };
        // 0700: keys are inside.
        fs::DirBuilder::new().mode(0o700).create(&stage).map_err(write_error)?;
        Ok(Self {
            target: target.to_owned(),
            stage,
            is_whole,
            placed: Vec::new(),
            parents,
            is_kept: false,
        })
    }

    /// The folder to fill. Its content must be durable before it is placed.
    pub fn path(&self) -> &Path {
        &self.stage
    }

    /// Moves the content to its place. Dropping this takes it back, until it is kept.
    pub fn place(&mut self) -> Result<(), HomeError> {
        let place = |from: &Path, to: &Path| {
            rename_new(from, to).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => HomeError::Exists { path: to.to_owned() },
                _ => HomeError::Write {
                    path: to.to_owned(),
                    error,
                },
            })
        };
        let write_error = |error| HomeError::Write {
            path: self.target.clone(),
            error,
        };
        if self.is_whole {
            place(&self.stage, &self.target)?;
            self.placed.push((self.stage.clone(), self.target.clone()));
            return sync_directory(parent(&self.target)).map_err(write_error);
        }
        let entries = fs::read_dir(&self.stage).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut names: Vec<OsString> = entries
            .map_err(write_error)?
            .into_iter()
            .map(|entry| entry.file_name())
            .collect();
        // Backwards, so that config.toml, without which a folder is no home, comes last.
        names.sort_by(|one, other| other.cmp(one));
        for name in names {
            let (from, to) = (self.stage.join(&name), self.target.join(&name));
            place(&from, &to)?;
            self.placed.push((from, to));
        }
        sync_directory(&self.target).map_err(write_error)
    }

    /// Moves the content to its place, for good.
    pub fn finish(mut self) -> Result<(), HomeError> {
        self.place()?;
        self.keep();
        Ok(())
    }

    /// From here on nothing is taken back.
    pub fn keep(mut self) {
        self.is_kept = true;
        std::mem::take(&mut self.parents).keep();
        if !self.is_whole {
            // It is empty now.
            let _ = fs::remove_dir(&self.stage);
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // We remove only what we made, and only from our own folder. What cannot be taken back stays.
        for (from, to) in self.placed.drain(..).rev() {
            let _ = rename_new(&to, &from);
        }
        let _ = fs::remove_dir_all(&self.stage);
    }
}

impl MadeFolders {
    /// Makes a folder, and those of its parents that are missing. Only we may enter them.
    pub fn all_of(path: &Path) -> io::Result<Self> {
        let mut made = Self::default();
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect();
        for folder in missing.into_iter().rev() {
            match fs::DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => made.0.push(folder.to_owned()),
                // Another process made it first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    /// Leaves them where they are.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in self.0.drain(..).rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Whether a folder is there; an error if there can be none.
pub fn exists(path: &Path) -> Result<bool, HomeError> {
    let wrong = |error| HomeError::Write {
        path: path.to_owned(),
        error,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.file_name().is_some() => Ok(false),
        Err(error) => Err(wrong(error)),
        Ok(_) => match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(true),
            Ok(_) => Err(HomeError::File { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HomeError::DeadLink { path: path.to_owned() }),
            Err(error) => Err(wrong(error)),
        },
    }
}

/// Whether a folder holds nothing but what a killed process left there.
fn is_empty(folder: &Path) -> Result<bool, HomeError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| HomeError::Write {
        path: folder.to_owned(),
        error,
    })?;
    Ok(entries.iter().all(|entry| is_leftover(&entry.file_name())))
}

/// Whether this is the name of a folder that was being filled.
pub fn is_leftover(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    let random = name.rsplit_once(MARK).filter(|_| name.starts_with('.'));
    random.is_some_and(|(_, random)| random.len() == 8 && random.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Moves without replacing anything.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // This file system cannot promise that.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)
        }
        outcome => Ok(outcome?),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Everything below a folder, by its path from there.
    fn tree(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(&next).expect("lists") {
                let path = entry.expect("lists").path();
                let name = path.strip_prefix(folder).expect("below it").display().to_string();
                found.push(name);
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }

    fn fill(staged: &Staged) {
        for name in ["a", "b"] {
            fs::write(staged.path().join(name), name).expect("writes");
        }
    }

    #[test]
    fn the_file_without_which_a_folder_is_no_home_comes_last() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut staged = Staged::begin(dir.path()).expect("it is empty");
        for name in ["node.key", "config.toml", "genesis.json"] {
            fs::write(staged.path().join(name), name).expect("writes");
        }
        staged.place().expect("nothing is in the way");
        let names = staged.placed.iter().filter_map(|(_, to)| to.file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["node.key", "genesis.json", "config.toml"]);
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let target = dir.path().join("x/y/z");
        let mut staged = Staged::begin(&target).expect("nothing is there");
        fill(&staged);
        assert!(!target.exists(), "not before it is whole");
        for folder in [staged.path(), &dir.path().join("x"), &dir.path().join("x/y")] {
            let mode = fs::metadata(folder).expect("it is made").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "for us alone: {folder:?}");
        }
        staged.place().expect("nothing is in the way");
        assert_eq!(tree(&target), ["a", "b"]);
        drop(staged);
        assert!(
            tree(dir.path()).is_empty(),
            "what is not kept goes, with the folders made for it"
        );

        let mut staged = Staged::begin(&target).expect("nothing is there");
        fill(&staged);
        staged.place().expect("nothing is in the way");
        staged.keep();
        assert_eq!(tree(dir.path()), ["x", "x/y", "x/y/z", "x/y/z/a", "x/y/z/b"]);
        assert!(matches!(Staged::begin(&target), Err(HomeError::Exists { .. })));
    }

    #[test]
    fn an_empty_folder_is_filled_and_stays_the_same_folder() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("temporary directory");
        let target = dir.path().join("mounted");
        fs::create_dir(&target).expect("makes");
        let inode = || fs::metadata(&target).expect("it is there").ino();
        let before = inode();
        // What a killed process left.
        fs::create_dir(target.join(".mounted.new-0a1b2c3d")).expect("makes");
        for is_kept in [false, true] {
            let mut staged = Staged::begin(&target).expect("it is empty");
            fill(&staged);
            staged.place().expect("nothing is in the way");
            if is_kept {
                staged.keep();
            }
        }
        assert_eq!(tree(&target), [".mounted.new-0a1b2c3d", "a", "b"]);
        assert_eq!(inode(), before);
    }

    #[test]
    fn what_came_meanwhile_is_not_replaced_and_the_rest_is_taken_back() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (whole, empty) = (dir.path().join("whole"), dir.path().join("empty"));
        fs::create_dir(&empty).expect("makes");
        let mut staged = [&whole, &empty].map(|target| {
            let staged = Staged::begin(target).expect("nothing is there");
            fill(&staged);
            staged
        });
        fs::create_dir(&whole).expect("makes");
        fs::write(empty.join("a"), "another's").expect("writes");
        for staged in &mut staged {
            assert!(matches!(staged.place(), Err(HomeError::Exists { .. })));
        }
        drop(staged);
        assert_eq!(tree(dir.path()), ["empty", "empty/a", "whole"]);
        assert_eq!(fs::read_to_string(empty.join("a")).expect("reads"), "another's");
    }

    #[test]
    fn what_is_no_folder_is_said() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("file");
        fs::write(&file, "text").expect("writes");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nothing"), &link).expect("links");
        for (target, part) in [
            (file.clone(), "is a file"),
            (file.join("below"), "cannot write"),
            (link, "points to nothing"),
            (dir.path().join("none/.."), "cannot write"),
        ] {
            let error = Staged::begin(&target).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(tree(dir.path()), ["file", "link"]);
    }

    #[test]
    fn a_link_to_an_empty_folder_is_that_folder() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).expect("makes");
        std::os::unix::fs::symlink(&real, &link).expect("links");
        let mut staged = Staged::begin(&link).expect("it is empty");
        fill(&staged);
        staged.place().expect("nothing is in the way");
        staged.keep();
        assert_eq!(tree(&real), ["a", "b"]);
    }
}
