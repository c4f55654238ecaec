//! This file knows the sync package: what a lagging node receives for one decided height.

use rkyv::{Archive, Deserialize, Serialize};

use crate::consensus::CommitCertificate;
use crate::lists::Lists;
use crate::value::Init;

/// Everything of a decided height but the blob bytes, as one rkyv archive. The blobs of a `Full` package follow
/// the archive on the same stream, 131,072 bytes each in block order, as they lie in the segment.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum SyncedValuePackage {
    /// The server holds the blobs and sends those that were asked for behind the archive.
    Full { value: PackagedValue },
    /// Retention has dropped the blobs.
    MetadataOnly { value: PackagedValue },
}

/// The part both kinds of package have.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct PackagedValue {
    /// Proof of the decision.
    pub certificate: CommitCertificate,
    /// Metadata and origin signatures; the metadata hashes to the certificate's value id.
    pub init: Init,
    /// The lists that the metadata binds.
    pub lists: Lists,
    /// In the canonical encoding: see [`crate::execution`].
    pub payload: Vec<u8>,
}
