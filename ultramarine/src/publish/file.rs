//! This file knows how to read a file whole, unless it is larger than it may be.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The content of a file, or of whatever else can be read to an end. What is larger than `bytes_max` is refused by its
/// size, or where it has none, such as a pipe or a device, as soon as more than that was read.
pub fn load(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let reading = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(reading)?;
    let metadata = file.metadata().with_context(reading)?;
    let known = if metadata.is_file() { metadata.len() } else { 0 };
    ensure!(
        known <= bytes_max,
        "{} has {known} bytes; publish files of at most {bytes_max}",
        path.display()
    );
    let mut bytes = Vec::with_capacity(usize::try_from(known).unwrap_or_default());
    file.take(bytes_max + 1).read_to_end(&mut bytes).with_context(reading)?;
    ensure!(
        bytes.len() as u64 <= bytes_max,
        "{} has more than {bytes_max} bytes, and no file to publish may",
        path.display()
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_up_to_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 100]).expect("written");
        assert_eq!(load(&path, 100).expect("it fits"), [7; 100]);
        let error = load(&path, 99).expect_err("too large").to_string();
        assert!(error.contains("100 bytes") && error.contains("at most 99"), "{error}");
        // Read whole, this one would not fit in memory.
        let file = File::create(&path).expect("ours");
        file.set_len(1 << 40).expect("a hole takes no room");
        load(&path, 1 << 20).expect_err("too large");
        let error = load("/dev/zero".as_ref(), 1 << 20)
            .expect_err("without end")
            .to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        assert!(load("/dev/null".as_ref(), 0).expect("it has an end").is_empty());
    }
}
