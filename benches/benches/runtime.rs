//! Links, histograms and buffers beside what one would use instead.
//!
//! `link`: one thread gives and takes, so only the queue's own cost shows. `hop`: a ball between two threads that
//! sleep while they wait, so the wake shows. `stream`: one thread gives as fast as another takes.
//! `record`: one duration into a histogram. `buffer`: 128 KiB, taken, written and let go.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hdrhistogram::Histogram;
use ultramarine_runtime::{BufferPool, Clock, Registry, link};
use ultramarine_types::Nanos;

const DEPTH: usize = 1024;
const BLOB_BYTES: usize = ultramarine_types::limits::BLOB_BYTES;

/// What a link carries at most by value: a descriptor, not the bytes.
type Descriptor = [u64; 6];
const DESCRIPTOR: Descriptor = [7; 6];

fn give_and_take(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("link");
    let (sender, mut receiver) = link::<Descriptor>("bench", DEPTH).expect("a link");
    group.bench_function("ultramarine", |bench| {
        bench.iter(|| {
            sender.try_send(black_box(DESCRIPTOR)).expect("room");
            receiver.try_recv()
        });
    });
    let (sender, receiver) = crossbeam::channel::bounded(DEPTH);
    group.bench_function("crossbeam-channel", |bench| {
        bench.iter(|| {
            sender.try_send(black_box(DESCRIPTOR)).expect("room");
            receiver.try_recv()
        });
    });
    let (sender, receiver) = mpsc::sync_channel(DEPTH);
    group.bench_function("std-mpsc", |bench| {
        bench.iter(|| {
            sender.try_send(black_box(DESCRIPTOR)).expect("room");
            receiver.try_recv()
        });
    });
    group.finish();
}

/// Times `rounds` there and back, with an echo on another thread that ends when the asker's end is dropped.
fn rounds_with(rounds: u64, echo: impl FnOnce() + Send + 'static, ask: impl FnOnce(u64)) -> Duration {
    let echo = thread::spawn(echo);
    let started = Instant::now();
    ask(rounds);
    let taken = started.elapsed();
    echo.join().expect("the echo does not panic");
    taken
}

fn hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hop");
    // Two hops a round.
    group.throughput(Throughput::Elements(2));
    group.bench_function("ultramarine", |bench| {
        bench.iter_custom(|rounds| {
            let (there, mut arrives) = link::<Descriptor>("there", DEPTH).expect("a link");
            let (back, mut returns) = link::<Descriptor>("back", DEPTH).expect("a link");
            let clock = Clock::start();
            let echo = move || {
                while let Some(ball) = arrives.recv_until(Some(Nanos::NEVER), &clock) {
                    back.send(ball).expect("the asker waits");
                }
            };
            rounds_with(rounds, echo, |rounds| {
                for _ in 0..rounds {
                    there.send(DESCRIPTOR).expect("the echo waits");
                    black_box(returns.recv_until(Some(Nanos::NEVER), &clock));
                }
                drop(there);
            })
        });
    });
    group.bench_function("crossbeam-channel", |bench| {
        bench.iter_custom(|rounds| {
            let (there, arrives) = crossbeam::channel::bounded::<Descriptor>(DEPTH);
            let (back, returns) = crossbeam::channel::bounded(DEPTH);
            let echo = move || {
                arrives
                    .iter()
                    .for_each(|ball| back.send(ball).expect("the asker waits"))
            };
            rounds_with(rounds, echo, |rounds| {
                for _ in 0..rounds {
                    there.send(DESCRIPTOR).expect("the echo waits");
                    black_box(returns.recv().expect("the echo answers"));
                }
                drop(there);
            })
        });
    });
    group.bench_function("std-mpsc", |bench| {
        bench.iter_custom(|rounds| {
            let (there, arrives) = mpsc::sync_channel::<Descriptor>(DEPTH);
            let (back, returns) = mpsc::sync_channel(DEPTH);
            let echo = move || {
                arrives
                    .iter()
                    .for_each(|ball| back.send(ball).expect("the asker waits"))
            };
            rounds_with(rounds, echo, |rounds| {
                for _ in 0..rounds {
                    there.send(DESCRIPTOR).expect("the echo waits");
                    black_box(returns.recv().expect("the echo answers"));
                }
                drop(there);
            })
        });
    });
    group.finish();
}

fn stream(criterion: &mut Criterion) {
    const ITEMS: u64 = 20_000;
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(ITEMS)).sample_size(20);
    group.bench_function("ultramarine", |bench| {
        bench.iter(|| {
            let (sender, mut receiver) = link::<Descriptor>("bench", DEPTH).expect("a link");
            let giver = thread::spawn(move || (0..ITEMS).for_each(|_| sender.send(DESCRIPTOR).expect("taken")));
            let clock = Clock::start();
            let mut taken = 0;
            while taken < ITEMS {
                taken += u64::from(receiver.recv_until(None, &clock).is_some());
            }
            giver.join().expect("the giver does not panic");
        });
    });
    group.bench_function("crossbeam-channel", |bench| {
        bench.iter(|| {
            let (sender, receiver) = crossbeam::channel::bounded(DEPTH);
            let giver = thread::spawn(move || (0..ITEMS).for_each(|_| sender.send(DESCRIPTOR).expect("taken")));
            assert_eq!(receiver.iter().count() as u64, ITEMS);
            giver.join().expect("the giver does not panic");
        });
    });
    group.bench_function("std-mpsc", |bench| {
        bench.iter(|| {
            let (sender, receiver) = mpsc::sync_channel(DEPTH);
            let giver = thread::spawn(move || (0..ITEMS).for_each(|_| sender.send(DESCRIPTOR).expect("taken")));
            assert_eq!(receiver.iter().count() as u64, ITEMS);
            giver.join().expect("the giver does not panic");
        });
    });
    group.finish();
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let registry = Registry::new();
    let histogram = registry.histogram("ultramarine_bench_seconds", "", &[]);
    let mut duration = 1_000_000u64;
    let mut next = move || {
        duration = duration
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        10_000 + (duration >> 40)
    };
    group.bench_function("ultramarine", |bench| bench.iter(|| histogram.record(Nanos(next()))));
    let mut plain = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds");
    group.bench_function("hdrhistogram", |bench| bench.iter(|| plain.saturating_record(next())));
    let counter = registry.counter("ultramarine_bench_total", "", &[]);
    group.bench_function("counter", |bench| bench.iter(|| counter.inc()));
    group.finish();
}

fn buffer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffer");
    group.throughput(Throughput::Bytes(BLOB_BYTES as u64));
    let pool = BufferPool::new(BLOB_BYTES, 16 * BLOB_BYTES, 16 * BLOB_BYTES);
    group.bench_function("pool", |bench| {
        bench.iter(|| {
            let mut buffer = pool.try_take().expect("room");
            buffer.fill(black_box(7));
            black_box(buffer.freeze())
        });
    });
    group.bench_function("vec", |bench| {
        bench.iter(|| {
            let buffer = vec![black_box(7u8); BLOB_BYTES];
            black_box(bytes::Bytes::from(buffer))
        });
    });
    group.finish();
}

criterion_group! {
    name = runtime;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = give_and_take, hop, stream, record, buffer
}
criterion_main!(runtime);
