//! Any bytes, as changes of a data directory: it opens and works, or says why it does not open.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use ultramarine_store::images::Image;

/// In memory, where there is any: a directory is written afresh for each input.
static IMAGE: LazyLock<Image> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    Image::new(&folder.join(format!("ultramarine-fuzz-{}", std::process::id())))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    IMAGE.open(bytes);
});
