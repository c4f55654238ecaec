use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

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
    if !crate::skip::without_ring(name) {
        run_on_ring(on_ring(Uring::new(None), path)).expect("glommio starts where the probe passes");
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
fn a_thread_with_a_ring_can_sleep_while_the_device_works() {
    if crate::skip::without_ring("the ring that reads and writes go through") {
        return;
    }
    let path = std::env::temp_dir().join(format!("ultramarine-medium-polling-{}", std::process::id()));
    // As a new log file: the kernel reads its pages as zeros without asking the device.
    let empty = File::create(&path).expect("a file");
    empty.set_len(8 * CHUNK_BYTES as u64).expect("a hole");
    let hole = path.clone();
    let rings = run_on_ring(async move {
        let file = Uring::new(None).open(&hole).await.expect("it opens");
        for index in 0..8 {
            let at = index * CHUNK_BYTES as u64;
            write(&file, at, CHUNK_BYTES, 1).await.expect("it writes");
        }
        file.sync().await.expect("it syncs");
        let read = file.read(0, CHUNK_BYTES).await;
        (glommio::executor().io_stats(), read)
    });
    std::fs::remove_file(&path).expect("the file goes");
    let (rings, read) = rings.expect("glommio starts where the probe passes");
    // With one operation in this ring, the thread takes turn after turn until the device is done.
    assert_eq!(rings.poll_ring.file_writes().0, 0, "writes to a device that is polled");
    assert_eq!(rings.main_ring.file_writes().0, 8);
    // A device without queues for polling refuses a polled read.
    assert_eq!(read.expect("it reads").len(), CHUNK_BYTES);
}

fn opening_by(open_direct: fn(&Path) -> io::Result<File>) -> Pwrite {
    let mut medium = Pwrite::new(None);
    medium.open_direct = open_direct;
    medium
}

/// A medium on a file system without O_DIRECT; see open(2).
fn buffered() -> Pwrite {
    opening_by(|_| Err(io::Error::from_raw_os_error(libc::EINVAL)))
}

#[test]
fn where_direct_io_is_refused_everything_works_through_the_page_cache() {
    let path = std::env::temp_dir().join(format!("ultramarine-medium-buffered-{}", std::process::id()));
    for claim in [0, 1, 2, 3, 4] {
        std::fs::write(&path, vec![0; 4 * PAGE_BYTES]).expect("a file");
        let path = path.clone();
        ready(async {
            match claim {
                0 => reads_back(buffered(), path).await,
                1 => many_land(buffered(), path).await,
                2 => refuses_part_pages(buffered(), path).await,
                3 => short_reads(buffered(), path).await,
                _ => missing(buffered(), path).await,
            }
        });
    }
    std::fs::remove_file(&path).expect("the file goes");
}

#[test]
fn the_operator_is_told_once_what_the_page_cache_costs_and_how_to_avoid_it() {
    let medium = buffered();
    let path = std::env::temp_dir().join(format!("ultramarine-medium-warning-{}", std::process::id()));
    std::fs::write(&path, vec![0; PAGE_BYTES]).expect("a file");
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        for _ in 0..2 {
            ready(medium.open(&path)).expect("it opens");
        }
    });
    let said = warnings.0.lock().expect("no panic").clone();
    assert_eq!(said.len(), 1, "{said:?}");
    for word in [path.to_str().expect("plain"), "O_DIRECT", "ext4 or xfs"] {
        assert!(said[0].contains(word), "{word} in {said:?}");
    }
    std::fs::remove_file(&path).expect("the file goes");
}

#[test]
fn another_refusal_than_of_direct_io_is_an_error() {
    let medium = opening_by(|_| Err(io::Error::from_raw_os_error(libc::EACCES)));
    let refused = ready(medium.open(&std::env::temp_dir())).expect_err("it is not opened otherwise");
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
}

/// Keeps the text of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 = format!("{value:?}");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().expect("no panic").push(text.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
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
