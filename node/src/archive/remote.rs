//! This file knows how the objects of an archive are listed, written and read, in a folder or in a bucket.
//!
//! An object is durable when it is written. Every call has a deadline that fits the bytes it moves.

use std::fmt;
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use ultramarine_store::archive::object::{INDEX_END_MAX, decode_row};
use ultramarine_store::archive::{ArchiveIndex, ArchivedHeight, HeightSpan, OBJECT_BYTES_MAX, ObjectError, SpanObject};
use ultramarine_types::{ChainIdentity, Height};

use super::address::{
    ArchiveAddress, BucketAccess, chain_folder, chain_of_folder, look, of_another_chain, other_chain,
};
use super::connector::{NO_CONNECTION, PlainClients, TlsClients};
use crate::keys::{KeyError, read_secret_text};

/// A call may take this long, and a second more for each [`BYTES_PER_SECOND_MIN`] that it moves.
const CALL_WAIT: Duration = Duration::from_secs(30);
/// Slower than this is no archive for blobs.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;
/// Words of a failed call that are shown.
const REASON_CHARS_MAX: usize = 300;
/// What an upload that was cut short left behind is removed after this time. A younger one may be another node's.
const LEFTOVER_AGE: Duration = Duration::from_secs(3_600);

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Credentials(#[from] KeyError),
    #[error("{archive}: {what}")]
    Away { archive: String, what: String },
    #[error("{archive} has no object {name}")]
    Missing { archive: String, name: String },
    #[error("object {name} of {archive}: {flaw}")]
    Flawed {
        archive: String,
        name: String,
        flaw: ObjectError,
    },
}

/// An object as the archive lists it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ListedObject {
    pub span: HeightSpan,
    pub bytes: u64,
}

/// A store, the path of all chains' folders in it, if that is not the top, and the path of one of them.
type Reached = (Box<dyn ObjectStore>, Option<Path>, Path);

/// The archive of one chain.
pub struct Remote {
    store: Box<dyn ObjectStore>,
    shown: String,
    chain: ChainIdentity,
    /// Path of all chains' folders; `None`: the top.
    root: Option<Path>,
    /// Path of our chain's.
    folder: Path,
}

impl Remote {
    /// Opens an archive. `make`: a folder is made if it is not there. A bucket is not asked yet.
    pub fn open(
        address: &ArchiveAddress,
        access: &BucketAccess,
        chain: ChainIdentity,
        make: bool,
    ) -> Result<Self, ArchiveError> {
        let name = chain_folder(chain);
        if let ArchiveAddress::Folder(path) = address {
            look(path, chain).map_err(ArchiveError::Refused)?;
            if make {
                make_folder(&path.join(&name)).map_err(|error| ArchiveError::Away {
                    archive: address.to_string(),
                    what: format!("cannot make a folder: {error}"),
                })?;
                remove_leftovers(&path.join(&name));
            }
        }
        let (store, root, folder) = Self::reach(address, access, &name)?;
        Ok(Self {
            store,
            shown: address.to_string(),
            chain,
            root,
            folder,
        })
    }

    /// The store of an address, and the paths in it; `name` is the folder's.
    fn reach(address: &ArchiveAddress, access: &BucketAccess, name: &str) -> Result<Reached, ArchiveError> {
        let away = |what: String| ArchiveError::Away {
            archive: address.to_string(),
            what,
        };
        let parse = |path: &str| Path::parse(path).map_err(|error| away(error.to_string()));
        match address {
            ArchiveAddress::Folder(path) => {
                let local = LocalFileSystem::new_with_prefix(path);
                let local = local.map_err(|error| away(words(&error)))?.with_fsync(true);
                Ok((Box::new(local), None, parse(name)?))
            }
            ArchiveAddress::Bucket { bucket, prefix } => {
                let store = open_bucket(bucket, access, &away)?;
                let root = if prefix.is_empty() { None } else { Some(parse(prefix)?) };
                let folder = if prefix.is_empty() {
                    name.to_owned()
                } else {
                    format!("{prefix}/{name}")
                };
                Ok((store, root, parse(folder.trim_end_matches('/'))?))
            }
        }
    }

    /// The chains that have an archive there.
    pub async fn chains(address: &ArchiveAddress, access: &BucketAccess) -> Result<Vec<ChainIdentity>, ArchiveError> {
        if let ArchiveAddress::Folder(path) = address
            && !path.is_dir()
        {
            return Err(ArchiveError::Refused(format!("{address} is no folder")));
        }
        let (store, root, _) = Self::reach(address, access, "")?;
        let remote = Self {
            store,
            shown: address.to_string(),
            chain: ChainIdentity::ZERO,
            folder: root.clone().unwrap_or_default(),
            root,
        };
        let mut chains = Vec::new();
        for name in remote.folders().await? {
            chains.extend(chain_of_folder(&name));
        }
        Ok(chains)
    }

    pub fn chain(&self) -> ChainIdentity {
        self.chain
    }

    /// Refuses an archive that another chain has.
    pub async fn check_chain(&self) -> Result<(), ArchiveError> {
        let listed = self
            .within(0, self.store.list_with_delimiter(self.root.as_ref()))
            .await?;
        let names = listed
            .common_prefixes
            .iter()
            .filter_map(|path| Some(path.filename()?.to_owned()));
        match other_chain(names, self.chain) {
            None => Ok(()),
            Some(other) => Err(ArchiveError::Refused(of_another_chain(&self.shown, other))),
        }
    }

    /// Names of the folders beside our chain's.
    async fn folders(&self) -> Result<Vec<String>, ArchiveError> {
        let listed = self
            .within(0, self.store.list_with_delimiter(self.root.as_ref()))
            .await?;
        let names = listed.common_prefixes.iter();
        Ok(names.filter_map(|path| Some(path.filename()?.to_owned())).collect())
    }

    /// Its objects, in order of height. Files of other names are none of its own.
    pub async fn list(&self) -> Result<Vec<ListedObject>, ArchiveError> {
        let listed = self
            .within(0, self.store.list_with_delimiter(Some(&self.folder)))
            .await?;
        let mut objects: Vec<ListedObject> = listed
            .objects
            .iter()
            .filter_map(|meta| {
                Some(ListedObject {
                    span: HeightSpan::of_name(meta.location.filename()?)?,
                    bytes: meta.size,
                })
            })
            .collect();
        objects.sort_unstable();
        Ok(objects)
    }

    /// Whether there is an object with exactly these heights.
    pub async fn find(&self, span: HeightSpan) -> Result<Option<ListedObject>, ArchiveError> {
        let path = self.path_of(span)?;
        match self.within(0, self.store.head(&path)).await {
            Ok(meta) => Ok(Some(ListedObject { span, bytes: meta.size })),
            Err(ArchiveError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object, in the place of one of the same name.
    pub async fn put(&self, object: &SpanObject) -> Result<(), ArchiveError> {
        let path = self.path_of(object.index.span())?;
        let payload: PutPayload = object.parts.iter().cloned().collect();
        self.within(object.index.object_bytes, self.store.put(&path, payload))
            .await
            .map(drop)
    }

    /// An object's bytes.
    pub async fn get(&self, object: ListedObject) -> Result<Bytes, ArchiveError> {
        self.range(object, 0, object.bytes).await
    }

    /// Header and index of an object, checked.
    pub async fn index(&self, object: ListedObject) -> Result<ArchiveIndex, ArchiveError> {
        let bytes = self.range(object, 0, object.bytes.min(INDEX_END_MAX as u64)).await?;
        ArchiveIndex::decode(&bytes, object.bytes, self.chain).map_err(|flaw| self.flawed(object.span, flaw))
    }

    /// One height of an object, checked whole.
    pub async fn height(&self, object: ListedObject, height: Height) -> Result<ArchivedHeight, ArchiveError> {
        let index = self.index(object).await?;
        let row = index.row(height).map_err(|flaw| self.flawed(object.span, flaw))?;
        let bytes = self.range(object, row.offset, row.offset + row.bytes).await?;
        decode_row(row, &bytes).map_err(|flaw| self.flawed(object.span, flaw))
    }

    /// Says which object has a flaw.
    pub fn flawed(&self, span: HeightSpan, flaw: ObjectError) -> ArchiveError {
        ArchiveError::Flawed {
            archive: self.shown.clone(),
            name: span.object_name(),
            flaw,
        }
    }

    async fn range(&self, object: ListedObject, from: u64, to: u64) -> Result<Bytes, ArchiveError> {
        if object.bytes > OBJECT_BYTES_MAX || to > object.bytes || from >= to {
            let expected = OBJECT_BYTES_MAX.min(to);
            let found = object.bytes;
            return Err(self.flawed(object.span, ObjectError::Length { found, expected }));
        }
        let path = self.path_of(object.span)?;
        let bytes = self.within(to - from, self.store.get_range(&path, from..to)).await?;
        if bytes.len() as u64 != to - from {
            let (found, expected) = (bytes.len() as u64, to - from);
            return Err(self.flawed(object.span, ObjectError::Length { found, expected }));
        }
        Ok(bytes)
    }

    fn path_of(&self, span: HeightSpan) -> Result<Path, ArchiveError> {
        Path::parse(format!("{}/{}", self.folder, span.object_name())).map_err(|error| self.away(error.to_string()))
    }

    /// Waits for a call that moves so many bytes, but not for ever.
    async fn within<T>(
        &self,
        bytes: u64,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ArchiveError> {
        let wait = CALL_WAIT + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
        match tokio::time::timeout(wait, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(object_store::Error::NotFound { path, .. })) => Err(ArchiveError::Missing {
                archive: self.shown.clone(),
                name: path,
            }),
            Ok(Err(error)) => Err(self.away(words(&error))),
            Err(_) => Err(self.away(format!("it has not answered for {} s", wait.as_secs()))),
        }
    }

    fn away(&self, what: String) -> ArchiveError {
        ArchiveError::Away {
            archive: self.shown.clone(),
            what,
        }
    }
}

// The store inside knows keys.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({self})")
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn open_bucket(
    bucket: &str,
    access: &BucketAccess,
    away: &dyn Fn(String) -> ArchiveError,
) -> Result<Box<dyn ObjectStore>, ArchiveError> {
    let retry = RetryConfig {
        max_retries: 1,
        retry_timeout: CALL_WAIT / 2,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &access.region {
        builder = builder.with_region(region);
    }
    if let Some(path) = &access.credentials_file {
        let text = read_secret_text(path)?;
        let (key, secret) = read_keys(&text).ok_or_else(|| {
            ArchiveError::Refused(format!(
                "{} lacks aws_access_key_id or aws_secret_access_key, each on a line of its own",
                path.display()
            ))
        })?;
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let builder = if is_plain {
        builder.with_allow_http(true).with_http_connector(PlainClients)
    } else {
        builder.with_http_connector(TlsClients)
    };
    let store = builder.build().map_err(|error| away(words(&error)))?;
    Ok(Box::new(store))
}

/// Key and secret of a file in the form of `~/.aws/credentials`: the first of each.
fn read_keys(text: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    };
    Some((value("aws_access_key_id")?, value("aws_secret_access_key")?))
}

fn make_folder(path: &FilePath) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path);
    made?;
    // The names must be durable before an object below them is called so.
    for folder in [Some(path), path.parent()].into_iter().flatten() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Removes what uploads left behind that a crash cut short: `NAME.uarc#1` and the like. Nobody reads them.
fn remove_leftovers(folder: &FilePath) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_leftover = name
            .to_str()
            .and_then(|name| name.split_once('#'))
            .is_some_and(|(name, _)| HeightSpan::of_name(name).is_some());
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if is_leftover && age.is_some_and(|age| age >= LEFTOVER_AGE) {
            // It only takes room.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// An error's words in one line of bounded length. They name addresses and answers, and never a key.
fn words(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    // Those around it say which request it was, and how often it was tried.
    if let Some(at) = text.find(NO_CONNECTION) {
        text.drain(..at);
    }
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_a_file_as_other_tools_write_it() {
        let text = "[default]\naws_access_key_id = AKIA\n# more\naws_secret_access_key=s/e=cret \n";
        assert_eq!(read_keys(text), Some(("AKIA".to_owned(), "s/e=cret".to_owned())));
        for text in [
            "",
            "aws_access_key_id = A",
            "aws_access_key_id =\naws_secret_access_key = b",
        ] {
            assert_eq!(read_keys(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_credentials_file_that_others_can_read_is_refused_and_nothing_shows_what_is_in_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keys");
        std::fs::write(&path, "aws_access_key_id = AKIA\naws_secret_access_key = VERYSECRET\n").expect("written");
        let access = BucketAccess {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            credentials_file: Some(path.clone()),
            ..BucketAccess::default()
        };
        let address = ArchiveAddress::read("s3://bucket/x").expect("an address");
        let open = || Remote::open(&address, &access, ChainIdentity([1; 32]), false);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("ours");
        let refused = open().expect_err("anybody may read it").to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
        let remote = open().expect("it is not asked yet");
        assert!(!format!("{remote} {access:?}").contains("VERYSECRET"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let error = runtime
            .expect("a runtime")
            .block_on(remote.list())
            .expect_err("nobody listens");
        let error = error.to_string();
        assert!(error.contains("cannot connect") && error.contains("refused"), "{error}");
        assert!(!error.contains("VERYSECRET"), "{error}");
    }
}
