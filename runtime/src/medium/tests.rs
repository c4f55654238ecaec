use std::future::Future;
use std::path::PathBuf;

use super::*;
use crate::metrics::Registry;

/// Runs the same claim on every medium this machine allows; each gets its own file of four pages.
fn on_every_medium<F1, F2>(
    name: &str,
    on_pwrite: impl FnOnce(Pwrite, PathBuf) -> F1,
    on_ring: impl FnOnce(Uring, PathBuf) -> F2,
) where
    F1: Future<Output = ()>,
    F2: Future<Output = ()>,
{
    let folder = std::env::temp_dir().join(format!("ultramarine-medium-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("pwrite");
    std::fs::write(&path, vec![0; 4 * PAGE_BYTES]).expect("a file");
    ready(on_pwrite(Pwrite::new(None), path));
    let path = folder.join("ring");
    std::fs::write(&path, vec![0; 4 * PAGE_BYTES]).expect("a file");
    match crate::ring::probe() {
        Ok(()) => run_on_ring(on_ring(Uring::new(None), path)).expect("glommio starts where the probe passes"),
        Err(refusal) => println!("skipped on io_uring: {refusal}"),
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

/// One claim for both media; a macro because an async closure cannot be generic over the medium.
macro_rules! claim {
    ($name:ident, $check:ident) => {
        #[test]
        fn $name() {
            on_every_medium(
                stringify!($name),
                |medium, path| $check(medium, path),
                |medium, path| $check(medium, path),
            );
        }
    };
}

async fn write<F: MediumFile>(file: &F, at: u64, bytes: usize, fill: u8) -> io::Result<()> {
    let mut buffer = file.buffer(bytes).await;
    buffer.fill(fill);
    file.write(at, buffer).await
}

claim!(what_was_written_and_synced_is_read_back, reads_back);
async fn reads_back(medium: impl Medium, path: PathBuf) {
    let file = medium.open(&path).await.expect("it opens");
    write(&file, PAGE_BYTES as u64, 2 * PAGE_BYTES, 7)
        .await
        .expect("it writes");
    file.sync().await.expect("it syncs");
    let read = file.read(0, 4 * PAGE_BYTES).await.expect("it reads");
    assert_eq!(read.len(), 4 * PAGE_BYTES);
    assert!(read[..PAGE_BYTES].iter().all(|byte| *byte == 0));
    assert!(read[PAGE_BYTES..3 * PAGE_BYTES].iter().all(|byte| *byte == 7));
    assert!(read[3 * PAGE_BYTES..].iter().all(|byte| *byte == 0));
}

claim!(many_writes_in_flight_all_land_before_the_sync_returns, many_land);
async fn many_land(medium: impl Medium, path: PathBuf) {
    let file = medium.open(&path).await.expect("it opens");
    for index in 0..40u8 {
        write(&file, u64::from(index) * CHUNK_BYTES as u64, CHUNK_BYTES, index + 1)
            .await
            .expect("it writes");
    }
    file.sync().await.expect("it syncs");
    let content = std::fs::read(&path).expect("the file is there");
    assert_eq!(content.len(), 40 * CHUNK_BYTES);
    for (index, chunk) in content.chunks(CHUNK_BYTES).enumerate() {
        assert!(
            chunk.iter().all(|byte| usize::from(*byte) == index + 1),
            "chunk {index}"
        );
    }
}

claim!(a_write_that_is_not_whole_pages_is_refused, refuses_part_pages);
async fn refuses_part_pages(medium: impl Medium, path: PathBuf) {
    let file = medium.open(&path).await.expect("it opens");
    let refused = write(&file, 512, PAGE_BYTES, 1)
        .await
        .expect_err("the position is not aligned");
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    let refused = file.read(0, 100).await.expect_err("the length is not aligned");
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

claim!(a_read_past_the_end_is_short, short_reads);
async fn short_reads(medium: impl Medium, path: PathBuf) {
    let file = medium.open(&path).await.expect("it opens");
    assert_eq!(
        file.read(3 * PAGE_BYTES as u64, 4 * PAGE_BYTES)
            .await
            .expect("it reads")
            .len(),
        PAGE_BYTES
    );
    assert!(
        file.read(8 * PAGE_BYTES as u64, PAGE_BYTES)
            .await
            .expect("it reads")
            .is_empty()
    );
}

claim!(a_missing_file_is_an_error_that_says_so, missing);
async fn missing(medium: impl Medium, path: PathBuf) {
    let error = medium
        .open(&path.with_extension("missing"))
        .await
        .err()
        .expect("nothing is there");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn operations_are_counted() {
    let registry = Registry::new();
    let counter = registry.counter("ultramarine_test_operations_total", "Operations.", &[]);
    let path = std::env::temp_dir().join(format!("ultramarine-medium-count-{}", std::process::id()));
    std::fs::write(&path, vec![0; PAGE_BYTES]).expect("a file");
    ready(async {
        let file = Pwrite::new(Some(counter.clone())).open(&path).await.expect("it opens");
        write(&file, 0, PAGE_BYTES, 1).await.expect("it writes");
        file.sync().await.expect("it syncs");
    });
    assert_eq!(counter.get(), 2);
    std::fs::remove_file(&path).expect("the file goes");
}
