//! This file knows where an archive can be: a folder, or a bucket of an S3-compatible store.

use std::fmt;
use std::path::{Path, PathBuf};

use ultramarine_types::ChainIdentity;

/// Where an archive is. Each chain has a folder of its own below, named by the chain's identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArchiveAddress {
    Folder(PathBuf),
    Bucket {
        bucket: String,
        /// Path within the bucket, without slashes at its ends.
        prefix: String,
    },
}

/// How the store of a bucket is reached. What is not set follows the environment (`AWS_REGION` and the like).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BucketAccess {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// File with the keys.
    pub credentials_file: Option<PathBuf>,
}

impl ArchiveAddress {
    /// What an address looks like, for messages.
    pub const EXPECTED: &'static str = "\"file:///folder\" or \"s3://bucket/folder\"";

    /// Reads an address; the error ends a sentence that begins with the text.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("does not begin with file:// or s3://")?;
        if text.chars().any(|letter| letter.is_control() || letter == '\\') {
            return Err("has a character that no address has");
        }
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Folder(read_folder(rest)?)),
            "file" => Err("names no absolute path: file:// is followed by a path that begins with a slash"),
            "s3" => read_bucket(rest),
            "http" | "https" => Err("is a web address: give s3://bucket/folder, and the store's address as `endpoint`"),
            _ => Err("has another scheme than file or s3"),
        }
    }
}

fn read_folder(path: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(path);
    if path.components().any(|part| part.as_os_str() == "..") {
        return Err("has .. in its path");
    }
    if path == Path::new("/") {
        return Err("is the root of the file system: name a folder of its own");
    }
    Ok(path.to_owned())
}

fn read_bucket(rest: &str) -> Result<ArchiveAddress, &'static str> {
    if rest.contains('@') {
        return Err("has a name or a key before an @: keys belong into the credentials file or the environment");
    }
    if rest.contains(['?', '#', ' ']) {
        return Err("has a query, a fragment or white space");
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_letter) {
        return Err("names no bucket: 3 to 63 small letters, digits, dots and hyphens");
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
        return Err("has an empty part, . or .. in its path");
    }
    Ok(ArchiveAddress::Bucket {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

/// Reads the address of an S3-compatible store; the error ends a sentence that begins with the text.
pub fn read_endpoint(text: &str) -> Result<String, &'static str> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("does not begin with https:// or http://")?;
    if !matches!(scheme, "http" | "https") {
        return Err("has another scheme than https or http");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has a name or a key before an @: keys belong into the credentials file or the environment");
    }
    if authority.is_empty() || rest.contains(['?', '#', ' ']) {
        return Err("has no host, or a query, a fragment or white space");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

impl fmt::Display for ArchiveAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Looks at a folder without changing it: whether an archive of this chain can be there. The error says why not.
pub fn look(folder: &Path, chain: ChainIdentity) -> Result<(), String> {
    for part in folder.ancestors() {
        match std::fs::metadata(part) {
            Ok(metadata) if metadata.is_dir() => break,
            Ok(_) => return Err(format!("{} is a file, and a folder is needed there", part.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(format!("{}: {error}", part.display())),
        }
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    match other_chain(names, chain) {
        None => Ok(()),
        Some(other) => Err(of_another_chain(&format!("file://{}", folder.display()), other)),
    }
}

/// The name of a chain's folder in an archive.
pub fn chain_folder(chain: ChainIdentity) -> String {
    chain.to_string().trim_start_matches("0x").to_owned()
}

/// The chain whose folder has this name, if any has.
pub fn chain_of_folder(name: &str) -> Option<ChainIdentity> {
    let chain = name.parse::<ChainIdentity>().ok()?;
    (chain_folder(chain) == name).then_some(chain)
}

/// The first other chain that has a folder among these names.
pub fn other_chain(names: impl IntoIterator<Item = String>, chain: ChainIdentity) -> Option<ChainIdentity> {
    let mut chains = names.into_iter().filter_map(|name| chain_of_folder(&name));
    chains.find(|found| *found != chain)
}

/// Words for an archive that another chain has.
pub fn of_another_chain(archive: &str, other: ChainIdentity) -> String {
    format!(
        "{archive} is the archive of another chain, with identity {other}: give each chain a folder of its own, by \
         archive.url"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_a_folder_or_a_bucket() {
        for (text, shown) in [
            ("file:///mnt/archive", "file:///mnt/archive"),
            ("s3://bucket", "s3://bucket"),
            ("s3://my-bucket.x/a/b/", "s3://my-bucket.x/a/b"),
        ] {
            assert_eq!(ArchiveAddress::read(text).expect(text).to_string(), shown);
        }
        for (text, why) in [
            ("/mnt/archive", "file://"),
            ("archive", "file://"),
            ("file://mnt", "absolute"),
            ("file:///", "root"),
            ("file:///a/../b", ".."),
            ("s3://", "bucket"),
            ("s3://AB", "bucket"),
            ("s3://key:secret@bucket/x", "credentials"),
            ("s3://bucket/a//b", "empty part"),
            ("s3://bucket/../b", ".."),
            ("s3://bucket/a?x=1", "query"),
            ("https://bucket.s3.amazonaws.com", "endpoint"),
            ("gs://bucket", "scheme"),
            ("file:///a\nb", "character"),
        ] {
            let error = ArchiveAddress::read(text).expect_err(text);
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert_eq!(
            read_endpoint("http://127.0.0.1:9000/"),
            Ok("http://127.0.0.1:9000".to_owned())
        );
        for text in ["127.0.0.1:9000", "ftp://h", "http://", "https://a:b@h", "http://h?x"] {
            assert!(read_endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_folder_of_another_chain_is_refused_and_a_missing_one_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let (ours, other) = (ChainIdentity([1; 32]), ChainIdentity([2; 32]));
        assert_eq!(look(&dir.path().join("not/there"), ours), Ok(()));
        std::fs::create_dir(dir.path().join(chain_folder(ours))).expect("ours");
        std::fs::create_dir(dir.path().join("lost+found")).expect("nobody's");
        assert_eq!(look(dir.path(), ours), Ok(()));
        let refused = look(dir.path(), other).expect_err("another chain's");
        assert!(
            refused.contains(&ours.to_string()) && refused.contains("archive.url"),
            "{refused}"
        );
        std::fs::write(dir.path().join("file"), "").expect("a file");
        let refused = look(&dir.path().join("file/below"), ours).expect_err("a file");
        assert!(refused.contains("is a file"), "{refused}");
    }
}
