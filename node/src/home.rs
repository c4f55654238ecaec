//! This file knows the files of a home directory: their names and how they are created, but not their content.
//!
//! ```text
//!   HOME/config.toml              what differs from the defaults
//!   HOME/genesis.json             chain parameters, validators, salt, first peers
//!   HOME/execution-genesis.json   the execution client's genesis
//!   HOME/node.key                 QUIC identity             (0600)
//!   HOME/validator.key            consensus signing key     (0600; absent in a full node)
//!   HOME/jwt.hex                  Engine API secret         (0600)
//!   HOME/data/                    blocks, blobs, log
//! ```

pub mod fit;
pub mod network;
pub mod outputs;
pub mod staged;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::home::staged::Staged;
use crate::keys::{self, KeyError, Keys};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    root: PathBuf,
}

/// Why a home cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(
        "{path} is no home directory: it has no {missing}. Make one with `ultramarine init` or `ultramarine testnet`"
    )]
    Missing {
        path: PathBuf,
        /// The file it lacks.
        missing: &'static str,
    },
    /// We would overwrite a file or folder.
    #[error(
        "{path} exists already; nothing was changed. Choose another directory, or remove it if you mean to start anew"
    )]
    Exists {
        /// What is in the way.
        path: PathBuf,
    },
    /// A file is where we need a folder.
    #[error("{path} is a file, and a folder is needed there; nothing was changed. Choose another directory")]
    File {
        /// What is in the way.
        path: PathBuf,
    },
    /// A link to nothing is where we need a folder.
    #[error(
        "{path} is a symbolic link that points to nothing; nothing was changed. Make its folder, or remove the link"
    )]
    DeadLink { path: PathBuf },
    /// The file system refused.
    #[error("cannot write {path}: {error}; what had been written for it is removed again")]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What a new home is filled with.
pub struct Contents<'a> {
    /// The text of `config.toml`.
    pub config: &'a str,
    /// The text of `genesis.json`.
    pub genesis: &'a str,
    /// The text of `execution-genesis.json`.
    pub execution_genesis: &'a str,
    pub node_key: &'a SigningKey,
    /// Consensus signing key, of a validator.
    pub validator_key: Option<&'a SigningKey>,
    pub jwt_secret: &'a [u8; 32],
}

impl Home {
    /// Opens an existing home: one that has a configuration and a genesis.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let home = Self { root: root.to_owned() };
        for (path, missing) in [(home.config(), "config.toml"), (home.genesis(), "genesis.json")] {
            if !path.is_file() {
                return Err(HomeError::Missing {
                    path: root.to_owned(),
                    missing,
                });
            }
        }
        Ok(home)
    }

    /// Makes a home in a directory that does not exist or is empty. When this returns, all of it is durable. When it
    /// fails, nothing has changed.
    pub fn create(root: &Path, contents: &Contents<'_>) -> Result<Self, HomeError> {
        let staged = Staged::begin(root)?;
        Self::fill(staged.path(), contents)?;
        staged.finish()?;
        Ok(Self { root: root.to_owned() })
    }

    /// Makes homes `dir/node0`, `dir/node1`, … in the same way: all of them, or none.
    pub fn create_all(dir: &Path, contents: &[Contents<'_>]) -> Result<Vec<Self>, HomeError> {
        let roots: Vec<PathBuf> = (0..contents.len())
            .map(|index| network::node_directory(dir, index))
            .collect();
        if !staged::exists(dir)? {
            let staged = Staged::begin(dir)?;
            for (index, contents) in contents.iter().enumerate() {
                let root = network::node_directory(staged.path(), index);
                let made = fs::DirBuilder::new().mode(0o700).create(&root);
                made.map_err(|error| HomeError::Write {
                    path: root.clone(),
                    error,
                })?;
                Self::fill(&root, contents)?;
            }
            sync_directory(staged.path()).map_err(|error| HomeError::Write {
                path: dir.to_owned(),
                error,
            })?;
            staged.finish()?;
        } else {
            let mut staged = roots
                .iter()
                .map(|root| Staged::begin(root))
                .collect::<Result<Vec<_>, _>>()?;
            for (staged, contents) in staged.iter().zip(contents) {
                Self::fill(staged.path(), contents)?;
            }
            // Backwards: if node0 is there, all are.
            staged.iter_mut().rev().try_for_each(Staged::place)?;
            staged.into_iter().for_each(Staged::keep);
        }
        Ok(roots.into_iter().map(|root| Self { root }).collect())
    }

    /// Writes a home's files. They are durable; the folder's own name is not yet.
    fn fill(root: &Path, contents: &Contents<'_>) -> Result<(), HomeError> {
        let home = Self { root: root.to_owned() };
        keys::write_secret(&home.node_key(), &contents.node_key.to_bytes())?;
        if let Some(key) = contents.validator_key {
            keys::write_secret(&home.validator_key(), &key.to_bytes())?;
        }
        keys::write_secret(&home.jwt_secret(), contents.jwt_secret)?;
        write_new(&home.execution_genesis(), contents.execution_genesis)?;
        write_new(&home.genesis(), contents.genesis)?;
        write_new(&home.config(), contents.config)?;
        sync_directory(root).map_err(|error| HomeError::Write {
            path: root.to_owned(),
            error,
        })
    }

    /// Reads the keys. A home without a `validator.key` is a full node's.
    pub fn keys(&self) -> Result<Keys, KeyError> {
        Keys::load(&self.node_key(), &self.validator_key())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What differs from the defaults.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// Chain parameters and validators.
    pub fn genesis(&self) -> PathBuf {
        self.root.join("genesis.json")
    }

    /// The execution client's genesis.
    pub fn execution_genesis(&self) -> PathBuf {
        self.root.join("execution-genesis.json")
    }

    pub fn node_key(&self) -> PathBuf {
        self.root.join("node.key")
    }

    pub fn validator_key(&self) -> PathBuf {
        self.root.join("validator.key")
    }

    /// Engine API secret, unless the configuration names another file.
    pub fn jwt_secret(&self) -> PathBuf {
        self.root.join("jwt.hex")
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), HomeError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => HomeError::Exists { path: path.to_owned() },
        _ => HomeError::Write {
            path: path.to_owned(),
            error,
        },
    })
}

/// Replaces a file's content in one step: after a crash the old or the new content is there.
pub fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn contents<'a>(key: &'a SigningKey, validator: bool) -> Contents<'a> {
        Contents {
            config: "[node]\n",
            genesis: "{}",
            execution_genesis: "{}",
            node_key: key,
            validator_key: validator.then_some(key),
            jwt_secret: &[1; 32],
        }
    }

    #[test]
    fn a_home_is_private_and_opens_again() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().join("a/b");
        let key = keys::generate().expect("random");
        Home::create(&root, &contents(&key, true)).expect("creates");
        assert_eq!(fs::metadata(&root).expect("exists").permissions().mode() & 0o777, 0o700);
        let home = Home::open(&root).expect("opens");
        let keys = home.keys().expect("keys are there");
        assert_eq!(keys.public_key(), Some(keys::public_key(&key)));
        assert_eq!(
            keys.address(),
            keys.public_key().as_ref().map(ultramarine_types::chain::address_of)
        );
    }

    #[test]
    fn a_home_without_a_validator_key_is_a_full_node() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let key = keys::generate().expect("random");
        let home = Home::create(&dir.path().join("home"), &contents(&key, false)).expect("creates");
        assert!(home.keys().expect("node key is there").validator.is_none());
    }

    #[test]
    fn an_existing_home_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let key = keys::generate().expect("random");
        let root = dir.path().join("home");
        Home::create(&root, &contents(&key, true)).expect("creates");
        assert!(matches!(
            Home::create(&root, &contents(&key, true)),
            Err(HomeError::Exists { .. })
        ));
    }

    #[test]
    fn where_the_first_home_of_a_network_is_all_are() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let homes = 50;
        let [first, last] = [0, homes - 1].map(|index| network::node_directory(dir.path(), index));
        let watcher = std::thread::spawn(move || {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while !first.exists() && std::time::Instant::now() < until {
                std::thread::yield_now();
            }
            last.exists()
        });
        let key = keys::generate().expect("random");
        let contents: Vec<_> = (0..homes).map(|_| contents(&key, true)).collect();
        Home::create_all(dir.path(), &contents).expect("creates");
        assert!(watcher.join().expect("no panic"), "the first was there before the last");
    }

    #[test]
    fn what_is_no_home_says_which_file_is_missing() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let error = Home::open(dir.path()).expect_err("empty").to_string();
        assert!(
            error.contains("config.toml") && error.contains("ultramarine init"),
            "{error}"
        );
    }

    #[test]
    fn a_replaced_file_has_the_new_content_only() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("x.toml");
        replace_file(&path, "long old text").expect("writes");
        replace_file(&path, "new").expect("writes");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "new");
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1, "no leftover");
    }
}
