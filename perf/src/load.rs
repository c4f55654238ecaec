//! This file knows how to make the files that are published as blobs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Bytes of a file: six blobs of 4096 field elements with 31 free bytes each, less room for the encoding's own header.
/// One blob transaction carries it whole.
const FILE_BYTES: usize = 6 * 4096 * 31 - 1024;

/// Files for a chain of this many blobs a block: enough distinct content for two full blocks. Proofs cost about
/// 100 ms a blob and are remembered per content, so there are at most 96 distinct blobs.
pub fn files_for(blobs_per_block: u32) -> u32 {
    (2 * blobs_per_block).div_ceil(6).clamp(2, 16)
}

/// Writes `files` files of pseudo-random bytes into `dir`; their total size.
pub fn write(dir: &Path, files: u32, seed: u64) -> Result<u64> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut total = 0;
    for file in 0..files {
        let content = noise(seed.wrapping_add(u64::from(file)));
        let path = dir.join(format!("load-{file:02}.bin"));
        fs::write(&path, &content).with_context(|| format!("writing {}", path.display()))?;
        total += content.len() as u64;
    }
    Ok(total)
}

/// Incompressible bytes, the same for the same seed (splitmix64).
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(FILE_BYTES + 8);
    while bytes.len() < FILE_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(FILE_BYTES);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_file_differs_and_a_seed_repeats_itself() {
        let dir = tempfile::tempdir().expect("a folder");
        let total = write(dir.path(), 3, 7).expect("written");
        assert_eq!(total, 3 * FILE_BYTES as u64);
        let contents: HashSet<Vec<u8>> = fs::read_dir(dir.path())
            .expect("listed")
            .map(|entry| fs::read(entry.expect("an entry").path()).expect("read"))
            .collect();
        assert_eq!(contents.len(), 3);
        assert!(contents.contains(&noise(8)));
    }

    #[test]
    fn the_load_fills_two_blocks_within_bounds() {
        assert_eq!(files_for(6), 2);
        assert_eq!(files_for(24), 8);
        assert_eq!(files_for(1024), 16);
    }
}
