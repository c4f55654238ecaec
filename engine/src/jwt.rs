//! This file knows the secret shared with the execution client, and signs a fresh token for each call.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes of the secret (execution-apis, authentication.md).
pub const SECRET_BYTES: usize = 32;
/// A secret file holds 64 hex digits, perhaps a prefix and a line end. A longer file is some other file.
const FILE_BYTES_MAX: u64 = 256;

/// The secret shared with the execution client.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

/// Why a secret file is not used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read the JWT secret {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Others may read or write it.
    #[error(
        "the JWT secret {} has mode {mode:04o}: others may read it; run `chmod 600 {}`",
        path.display(),
        path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    /// Not 32 bytes of hex.
    #[error("the JWT secret {} must hold 32 bytes as 64 hex digits: {what}", path.display())]
    Format { path: PathBuf, what: String },
}

impl Secret {
    /// A secret from its bytes.
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads a secret file: mode 0600 or stricter, 64 hex digits with or without `0x`.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let read = |source| SecretError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(read)?;
        // We ask the open file, not the path, so that nobody can swap it in between.
        let mode = file.metadata().map_err(read)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(read)?;
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|error| SecretError::Format {
            path: path.to_owned(),
            what: error.to_string(),
        })?;
        Ok(Self(bytes))
    }

    /// The bytes, for the client that shares them.
    pub const fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// A token issued at `unix_seconds` (HS256). The client takes it within 60 seconds of its own clock.
    pub fn token(&self, unix_seconds: u64) -> String {
        let head = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":{unix_seconds}}}"#));
        let signed = format!("{head}.{claims}");
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("{signed}.{signature}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("mode set");
        file
    }

    #[test]
    fn a_token_is_what_an_independent_signer_makes() {
        // Computed with Python's hmac and base64 for the key 00 01 … 1f.
        let secret = Secret::new(std::array::from_fn(|i| i as u8));
        assert_eq!(
            secret.token(1_700_000_000),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDB9.uAxdaUtr1_HpYPtNDLNlQ_sHMiP5eBV-ra8EjL3ScS8"
        );
    }

    #[test]
    fn a_secret_reads_with_and_without_prefix_and_line_end() {
        let hex = "0b".repeat(32);
        for text in [hex.clone(), format!("0x{hex}\n")] {
            assert_eq!(
                Secret::read(file(&text, 0o600).path()).expect("valid"),
                Secret::new([11; 32])
            );
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o660] {
            let error = Secret::read(file(&"0b".repeat(32), mode).path()).expect_err("too open");
            assert!(matches!(error, SecretError::Open { .. }) && error.to_string().contains("chmod 600"));
        }
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        for text in ["", "0x", "0b0b", &"0b".repeat(33), &"zz".repeat(32)] {
            assert!(matches!(
                Secret::read(file(text, 0o400).path()),
                Err(SecretError::Format { .. })
            ));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert!(!format!("{:?}", Secret::new([7; 32])).contains('7'));
    }
}
