//! This file knows how bytes that get hashed or signed are laid out: fixed widths, little-endian, every list behind
//! its length. It also has the cursor that reads such fields back, for every format of ours.
//!
//! Never rkyv: an archive's layout may change between versions, a signature's input may not. Golden tests
//! (`canonical/tests.rs`) pin the bytes.

use sha2::{Digest, Sha256};

use crate::ids::{Address, Hash, Height, Round};

/// The version of every format of ours that is signed, sent or stored. Domain tags end with it.
pub const FORMAT_VERSION: u32 = 2;

/// Bytes to be hashed or signed, field after field.
#[derive(Debug, Default)]
pub struct Canonical {
    bytes: Vec<u8>,
}

impl Canonical {
    /// Starts with a domain tag: its length as one byte, then its ASCII bytes. No two kinds of message share a tag.
    pub fn new(domain: &str) -> Self {
        let length = u8::try_from(domain.len()).expect("domain tags are short");
        let mut bytes = Vec::with_capacity(1024);
        bytes.push(length);
        bytes.extend_from_slice(domain.as_bytes());
        Self { bytes }
    }

    /// Appends bytes whose width is fixed by the format.
    #[must_use]
    pub fn fixed<const N: usize>(mut self, bytes: &[u8; N]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.bytes.push(value);
        self
    }

    /// Appends four bytes, little-endian.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.fixed(&value.to_le_bytes())
    }

    /// Appends eight bytes, little-endian.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.fixed(&value.to_le_bytes())
    }

    /// Appends a height as a `u64`.
    #[must_use]
    pub fn height(self, height: Height) -> Self {
        self.u64(height.0)
    }

    /// Appends a round as a `u32`.
    #[must_use]
    pub fn round(self, round: Round) -> Self {
        self.u32(round.0)
    }

    /// Appends a validator's 20 bytes.
    #[must_use]
    pub fn address(self, address: &Address) -> Self {
        self.fixed(&address.0)
    }

    #[must_use]
    pub fn hash(self, hash: &Hash) -> Self {
        self.fixed(&hash.0)
    }

    /// Appends a `u8` that tells presence, then the bytes if present.
    #[must_use]
    pub fn optional<const N: usize>(self, bytes: Option<&[u8; N]>) -> Self {
        match bytes {
            None => self.u8(0),
            Some(bytes) => self.u8(1).fixed(bytes),
        }
    }

    /// Appends a byte string behind its `u32` length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let length =
            u32::try_from(bytes.len()).expect("hashed byte strings are bounded by types/limits.rs, far below 4 GiB");
        let mut this = self.u32(length);
        this.bytes.extend_from_slice(bytes);
        this
    }

    /// Appends a list of fixed-width items behind its `u32` count.
    #[must_use]
    pub fn list<'a, const N: usize>(self, items: impl ExactSizeIterator<Item = &'a [u8; N]>) -> Self {
        let count = u32::try_from(items.len()).expect("hashed lists are bounded by types/limits.rs");
        let mut this = self.u32(count);
        for item in items {
            this.bytes.extend_from_slice(item);
        }
        this
    }

    /// The bytes, for signing.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// SHA-256 of the bytes.
    pub fn sha256(self) -> Hash {
        sha256(&self.bytes)
    }
}

/// Reads little-endian fields of fixed width one after the other. `None` if too few bytes are left; nothing is taken
/// then.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Begins at the first of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes bytes whose width is fixed by the format.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Takes two bytes, little-endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes four bytes, little-endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes eight bytes, little-endian.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes `bytes_count` bytes as they lie.
    pub fn slice(&mut self, bytes_count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(bytes_count)?;
        self.rest = rest;
        Some(head)
    }

    /// What is left to read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests;
