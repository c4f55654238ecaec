//! This file knows how to lay any bytes out in blobs, and how to get them back from the blobs in any order.
//!
//! A blob is 4096 field elements of 32 bytes. An element must stay below the field's modulus, and with a zero top byte
//! it does: 31 bytes of each are ours. In those, a piece is:
//!
//! ```text
//!   magic    4   "UMF1"
//!   index    4   LE, position of this piece
//!   count    4   LE, pieces of the file
//!   length   8   LE, bytes of the whole file
//!   content 32   SHA-256 of the whole file
//!   data     …   zeros behind the last byte
//! ```

use bytes::Bytes;
use sha2::{Digest, Sha256};
use ultramarine_types::limits::BLOB_BYTES;

/// Bytes of a field element.
const ELEMENT_BYTES: usize = 32;
/// Bytes of an element that are ours.
const ELEMENT_DATA: usize = 31;
/// Bytes of a blob that are ours.
const ROOM: usize = BLOB_BYTES / ELEMENT_BYTES * ELEMENT_DATA;
const MAGIC: [u8; 4] = *b"UMF1";
const HEAD_BYTES: usize = 4 + 4 + 4 + 8 + 32;
/// Bytes of a file that one blob carries.
pub const PIECE_BYTES: usize = ROOM - HEAD_BYTES;
/// Most pieces of one file: 2 GB. What is larger is no blob's business.
pub const PIECES_MAX: usize = 16 * 1024;

/// Why blobs are no file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// No blob was given.
    #[error("no blobs to restore a file from")]
    Empty,
    /// Not 131,072 bytes.
    #[error("blob {0} is not {BLOB_BYTES} bytes")]
    Length(usize),
    /// Not ours.
    #[error("blob {0} was not written by `blob put`")]
    Foreign(usize),
    /// Pieces of two files.
    #[error("blob {0} belongs to another file than blob 0")]
    Mixed(usize),
    /// A piece is missing or there twice.
    #[error("the file has {count} pieces; piece {missing} is missing")]
    Incomplete {
        count: usize,
        /// The first that is missing.
        missing: usize,
    },
    /// Everything fits and the content does not.
    #[error("the restored bytes do not have the content hash they were published with")]
    Content,
}

/// Why bytes cannot become blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{bytes} bytes are more than {PIECES_MAX} blobs carry")]
pub struct TooLarge {
    pub bytes: usize,
}

/// Lays a file out in blobs; an empty file takes one.
pub fn encode(file: &[u8]) -> Result<Vec<Bytes>, TooLarge> {
    let count = file.len().div_ceil(PIECE_BYTES).max(1);
    if count > PIECES_MAX {
        return Err(TooLarge { bytes: file.len() });
    }
    let content: [u8; 32] = Sha256::digest(file).into();
    let piece = |index: usize| {
        let from = index * PIECE_BYTES;
        let data = &file[from..file.len().min(from + PIECE_BYTES)];
        let mut head = Vec::with_capacity(HEAD_BYTES + data.len());
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&(index as u32).to_le_bytes());
        head.extend_from_slice(&(count as u32).to_le_bytes());
        head.extend_from_slice(&(file.len() as u64).to_le_bytes());
        head.extend_from_slice(&content);
        head.extend_from_slice(data);
        fill(&head)
    };
    Ok((0..count).map(piece).collect())
}

/// Spreads bytes over the elements of a blob.
fn fill(bytes: &[u8]) -> Bytes {
    let mut blob = vec![0; BLOB_BYTES];
    for (element, chunk) in blob.chunks_exact_mut(ELEMENT_BYTES).zip(bytes.chunks(ELEMENT_DATA)) {
        element[1..=chunk.len()].copy_from_slice(chunk);
    }
    blob.into()
}

/// What a piece says of its file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileHead {
    count: usize,
    length: usize,
    content: [u8; 32],
}

/// Restores the file that `blobs` hold, whatever their order; a piece may be given twice.
pub fn decode(blobs: &[Bytes]) -> Result<Vec<u8>, DecodeError> {
    let mut first: Option<FileHead> = None;
    let mut pieces: Vec<Option<Vec<u8>>> = Vec::new();
    for (position, blob) in blobs.iter().enumerate() {
        let room = collect(blob).ok_or(DecodeError::Length(position))?;
        let (index, head) = read_head(&room).ok_or(DecodeError::Foreign(position))?;
        match &first {
            None => {
                pieces = vec![None; head.count];
                first = Some(head);
            }
            Some(first) if *first != head => return Err(DecodeError::Mixed(position)),
            Some(_) => {}
        }
        let piece = pieces.get_mut(index).ok_or(DecodeError::Foreign(position))?;
        *piece = Some(room);
    }
    let head = first.ok_or(DecodeError::Empty)?;
    if let Some(missing) = pieces.iter().position(Option::is_none) {
        return Err(DecodeError::Incomplete {
            count: head.count,
            missing,
        });
    }
    let mut file: Vec<u8> = Vec::with_capacity(head.count * PIECE_BYTES);
    for piece in pieces.iter().flatten() {
        file.extend_from_slice(&piece[HEAD_BYTES..]);
    }
    file.truncate(head.length);
    let content: [u8; 32] = Sha256::digest(&file).into();
    if content == head.content {
        Ok(file)
    } else {
        Err(DecodeError::Content)
    }
}

/// Our bytes of a blob; `None` if it has another size.
fn collect(blob: &[u8]) -> Option<Vec<u8>> {
    if blob.len() != BLOB_BYTES {
        return None;
    }
    let mut room = Vec::with_capacity(ROOM);
    for element in blob.chunks_exact(ELEMENT_BYTES) {
        room.extend_from_slice(&element[1..]);
    }
    Some(room)
}

/// The index of a piece and what it says of its file; `None` if it is not ours or contradicts itself.
fn read_head(room: &[u8]) -> Option<(usize, FileHead)> {
    let (magic, rest) = room.split_first_chunk::<4>()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (content, _) = rest.split_first_chunk::<32>()?;
    let index = usize::try_from(u32::from_le_bytes(*index)).ok()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let fits = *magic == MAGIC
        && (1..=PIECES_MAX).contains(&count)
        && index < count
        && length.div_ceil(PIECE_BYTES).max(1) == count;
    fits.then_some((
        index,
        FileHead {
            count,
            length,
            content: *content,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: usize) -> Vec<u8> {
        (0..bytes)
            .map(|index| (index.wrapping_mul(2_654_435_761) >> 7) as u8)
            .collect()
    }

    #[test]
    fn a_file_of_any_size_comes_back_byte_for_byte() {
        for bytes in [
            0,
            1,
            30,
            31,
            32,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3 * PIECE_BYTES,
            1_000_000,
        ] {
            let file = file(bytes);
            let blobs = encode(&file).expect("small enough");
            assert_eq!(blobs.len(), bytes.div_ceil(PIECE_BYTES).max(1));
            assert_eq!(decode(&blobs).expect("whole"), file, "{bytes} bytes");
        }
    }

    #[test]
    fn the_order_of_blobs_does_not_matter_and_each_is_needed() {
        let file = file(4 * PIECE_BYTES - 7);
        let mut blobs = encode(&file).expect("small enough");
        blobs.reverse();
        blobs.push(blobs[1].clone());
        assert_eq!(decode(&blobs).expect("whole"), file);
        blobs.retain(|blob| *blob != blobs_of(&file)[2]);
        assert_eq!(decode(&blobs), Err(DecodeError::Incomplete { count: 4, missing: 2 }));
        assert_eq!(decode(&[]), Err(DecodeError::Empty));
    }

    fn blobs_of(file: &[u8]) -> Vec<Bytes> {
        encode(file).expect("small enough")
    }

    #[test]
    fn every_element_is_below_the_modulus() {
        let blobs = encode(&vec![0xff; 2 * PIECE_BYTES]).expect("small enough");
        assert!(
            blobs
                .iter()
                .all(|blob| blob.chunks(ELEMENT_BYTES).all(|element| element[0] == 0))
        );
    }

    #[test]
    fn blobs_of_two_files_are_told_apart() {
        let blobs = [blobs_of(&file(2 * PIECE_BYTES)), blobs_of(&file(2 * PIECE_BYTES - 1))].concat();
        assert_eq!(decode(&blobs), Err(DecodeError::Mixed(2)));
        assert_eq!(
            decode(&[Bytes::from(vec![0; BLOB_BYTES])]),
            Err(DecodeError::Foreign(0))
        );
        assert_eq!(decode(&[Bytes::from(vec![0; 31])]), Err(DecodeError::Length(0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn a_changed_byte_never_gives_another_file(position in 0..BLOB_BYTES, change in 1u8..) {
            let file = file(1000);
            let mut blob = blobs_of(&file)[0].to_vec();
            blob[position] ^= change;
            // The top bytes and the padding carry nothing, so a change there may pass unseen.
            if let Ok(decoded) = decode(&[blob.into()]) {
                prop_assert_eq!(decoded, file);
                prop_assert!(position % ELEMENT_BYTES == 0 || position > 1000);
            }
        }
    }
}
