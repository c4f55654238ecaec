//! This file knows how to make secret keys, keep them in files that nobody else may read, and refuse other files.
//!
//! A key file holds the 32-byte ed25519 seed as 64 hex digits and a newline, with permissions 0600.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use rand::TryRngCore;
use ultramarine_types::chain::address_of;
use ultramarine_types::{Address, PeerId, PublicKey};

/// Longest secret file we read: a key or a JWT secret with some white space.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// The keys of a node. `Debug` shows public keys only.
#[derive(Clone, Debug)]
pub struct Keys {
    pub node: SigningKey,
    /// Signs its consensus messages; `None`: a full node.
    pub validator: Option<SigningKey>,
}

/// Why a secret file is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read secret file {path}: {error}")]
    Read {
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "secret file {path} has permissions {mode:04o}: others could read or change it. Run `chmod 600 {path}`, and \
         make a new key if somebody may have read this one"
    )]
    Open { path: PathBuf, mode: u32 },
    /// Not a regular file.
    #[error("secret file {path} is not a regular file")]
    Kind { path: PathBuf },
    /// Another user owns it, and could change it while we run.
    #[error(
        "secret file {path} belongs to user {owner}, this process runs as user {user}: run as its owner, or \
         `chown {user} {path}`"
    )]
    Owner {
        path: PathBuf,
        owner: u32,
        /// The process's effective user.
        user: u32,
    },
    /// Not 64 hex digits.
    #[error("secret file {path} does not hold 32 bytes as 64 hex digits")]
    Content { path: PathBuf },
    /// Could not be made.
    #[error("cannot write secret file {path}: {error}")]
    Write {
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Keys {
    /// Reads the keys of a node. Without a file at `validator_key` the node is a full node.
    pub fn load(node_key: &Path, validator_key: &Path) -> Result<Self, KeyError> {
        let validator = match read_key(validator_key) {
            Ok(key) => Some(key),
            Err(KeyError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            node: read_key(node_key)?,
            validator,
        })
    }

    /// The name under which peers know this node.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.node.verifying_key().to_bytes())
    }

    /// The validator's public key.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.validator.as_ref().map(public_key)
    }

    pub fn address(&self) -> Option<Address> {
        self.public_key().as_ref().map(address_of)
    }
}

/// A signing key's public half.
pub fn public_key(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

/// A new key from the operating system's random source.
pub fn generate() -> io::Result<SigningKey> {
    random_secret().map(|seed| SigningKey::from_bytes(&seed))
}

/// 32 new bytes from the operating system's random source.
pub fn random_secret() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut secret)
        .map_err(io::Error::other)?;
    Ok(secret)
}

/// Reads a key file.
pub fn read_key(path: &Path) -> Result<SigningKey, KeyError> {
    read_secret(path).map(|seed| SigningKey::from_bytes(&seed))
}

/// Reads 32 bytes from a file that we own and that nobody else may read.
pub fn read_secret(path: &Path) -> Result<[u8; 32], KeyError> {
    let text = read_secret_text(path)?;
    let mut secret = [0; 32];
    hex::decode_to_slice(text.trim(), &mut secret).map_err(|_| KeyError::Content { path: path.to_owned() })?;
    Ok(secret)
}

/// Reads the text of a file that we own and that nobody else may read.
pub fn read_secret_text(path: &Path) -> Result<String, KeyError> {
    let read_error = |error| KeyError::Read {
        path: path.to_owned(),
        error,
    };
    // We check the open file, so that nobody can swap it between check and use. O_NONBLOCK keeps a pipe in its place
    // from hanging us.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("open flags fit an int");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(KeyError::Kind { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(KeyError::Owner {
            path: path.to_owned(),
            owner,
            user,
        });
    }
    let mut text = String::new();
    let content_error = || KeyError::Content { path: path.to_owned() };
    file.take(SECRET_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => content_error(),
            _ => read_error(error),
        })?;
    Ok(text)
}

/// Writes 32 bytes to a new file that only we may read. They are durable once the directory is synced.
pub fn write_secret(path: &Path, secret: &[u8; 32]) -> Result<(), KeyError> {
    let write = || -> io::Result<()> {
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", hex::encode(secret))?;
        file.sync_all()
    };
    write().map_err(|error| KeyError::Write {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_written_secret_reads_back_and_is_private() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("a.key");
        write_secret(&path, &[7; 32]).expect("writes");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(read_secret(&path).expect("reads"), [7; 32]);
        assert!(
            matches!(write_secret(&path, &[8; 32]), Err(KeyError::Write { .. })),
            "a key is never overwritten"
        );
    }

    #[test]
    fn a_key_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("a.key");
        write_secret(&path, &[7; 32]).expect("writes");
        for mode in [0o644, 0o640, 0o620, 0o604, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let error = read_secret(&path).expect_err("refused").to_string();
            assert!(
                error.contains("chmod 600") && error.contains(&format!("{mode:04o}")),
                "{error}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("chmod");
        assert!(read_secret(&path).is_ok(), "stricter than 0600 is fine");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("a.key");
        for content in ["", "12", "zz", &"0".repeat(66), &"0".repeat(63)] {
            fs::write(&path, content).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
            assert!(
                matches!(read_secret(&path), Err(KeyError::Content { .. })),
                "{content:?}"
            );
        }
        fs::write(&path, format!("0x{}\n", "ab".repeat(32))).expect("writes");
        assert_eq!(read_secret(&path).expect("0x and a newline are allowed"), [0xab; 32]);
        assert!(matches!(read_secret(dir.path()), Err(KeyError::Kind { .. })));
        assert!(matches!(
            read_secret(&dir.path().join("none")),
            Err(KeyError::Read { .. })
        ));
    }
}
