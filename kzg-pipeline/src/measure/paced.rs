//! This file knows how to measure lanes: how much they take, and how long the last blob of a block waits for its
//! verdict.
//!
//! To measure how much lanes take, all blobs wait at once. To measure how long the last blob waits, blobs arrive at
//! nine tenths of that pace, and the clock runs from the last arrival to the verdict. A core's speed changes with
//! what its neighbours do. So the pace of each block is nine tenths of what the lanes took just before it. Both are
//! measured twice: *replayed*, as if each lane had a core to itself (`replay.rs`), and on real lanes by the wall clock,
//! with the caller as their client. On a machine that does other things, the best of the real repeats tells what the
//! system adds, and the median what the machine was like.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use ultramarine_runtime::{Clock, Halt, Reason, Receiver, Registry, Sender, TileContext, link};
use ultramarine_types::Nanos;
use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::verify::{ValueOutcome, Verdict, VerifyRequest};

use super::replay::replay;
use super::{SampleClaim, Shared};
use crate::lane::{LaneClientEnd, LaneOptions, Lanes};
use crate::verifier::Verifier;

/// The block sizes that reports show.
pub const SIZES: [usize; 4] = [6, 64, 256, 1024];
/// Blobs behind a figure of how much lanes take.
const FLOOD_BLOBS: usize = 512;
/// Blobs behind the pace of the block that follows.
const PACE_BLOBS: usize = 256;
/// The share of what the lanes take at which blobs arrive.
const LOAD: f64 = 0.9;

/// How much a number of lanes takes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct LanesRow {
    pub lanes: usize,
    /// Blobs a second by the wall clock, in the best repeat.
    pub blobs_per_second: f64,
    /// Blobs a second if each lane had a core to itself.
    pub replayed_per_second: f64,
}

/// How long the last blob of a block waits for its verdict.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct PacedRow {
    /// Blobs of the block.
    pub blobs: usize,
    pub lanes: usize,
    /// The pace at which blobs arrived when replayed: the middle of the repeats.
    pub replayed_per_second: f64,
    /// From the last blob to the verdict, in microseconds, if each lane had a core to itself: the middle of the
    /// repeats.
    pub replayed_us: f64,
    /// The pace at which blobs arrived at real lanes.
    pub blobs_per_second: f64,
    /// From the last blob to the verdict on real lanes, in microseconds: the best repeat.
    pub best_us: f64,
    /// From the last blob to the verdict on real lanes, in microseconds: the middle repeat.
    pub median_us: f64,
    pub repeats: usize,
}

/// How much `lanes` lanes take, within a budget or a little more.
pub fn throughput(verifier: &Arc<dyn Verifier>, lanes: usize, samples: &[SampleClaim], budget: Duration) -> LanesRow {
    let shared = Shared::all(samples);
    LanesRow {
        lanes,
        blobs_per_second: with_lanes(verifier, lanes, samples, |client| {
            let floods = repeat(budget / 2, || client.flood(FLOOD_BLOBS));
            floods.into_iter().fold(0.0, f64::max)
        }),
        replayed_per_second: median(repeat(budget / 2, || {
            replayed_flood(&**verifier, lanes, &shared, FLOOD_BLOBS)
        })),
    }
}

/// The wait of the last blob on `lanes` lanes for each size, within a budget or a little more.
pub fn paced(
    verifier: &Arc<dyn Verifier>,
    lanes: usize,
    samples: &[SampleClaim],
    sizes: &[usize],
    budget: Duration,
) -> Vec<PacedRow> {
    let share = budget / u32::try_from(2 * sizes.len().max(1)).unwrap_or(u32::MAX);
    let shared = Shared::all(samples);
    with_lanes(verifier, lanes, samples, |client| {
        let row = |&blobs: &usize| {
            let real = repeat(share, || {
                let pace = LOAD * client.flood(PACE_BLOBS);
                (pace, client.block(blobs, pause(pace)).waited.as_secs_f64() * 1e6)
            });
            let replayed = repeat(share, || {
                let pace = LOAD * replayed_flood(&**verifier, lanes, &shared, PACE_BLOBS);
                let block = replay(&**verifier, lanes, &shared, blobs, Nanos::from(pause(pace)));
                (pace, block.waited * 1e6)
            });
            let (paces, waits): (Vec<f64>, Vec<f64>) = real.into_iter().unzip();
            let (replayed_paces, replayed_waits) = replayed.into_iter().unzip();
            PacedRow {
                blobs,
                lanes,
                repeats: waits.len(),
                replayed_per_second: median(replayed_paces),
                replayed_us: median(replayed_waits),
                blobs_per_second: median(paces),
                best_us: waits.iter().copied().fold(f64::INFINITY, f64::min),
                median_us: median(waits),
            }
        };
        sizes.iter().map(row).collect()
    })
}

/// What `work` gave each time, at least three times and at most a hundred, until the budget is spent.
fn repeat<T>(budget: Duration, mut work: impl FnMut() -> T) -> Vec<T> {
    let began = Instant::now();
    let mut all = Vec::new();
    while all.len() < 3 || (began.elapsed() < budget && all.len() < 100) {
        all.push(work());
    }
    all
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn pause(blobs_per_second: f64) -> Duration {
    Duration::from_secs_f64(1.0 / blobs_per_second)
}

/// Blobs a second when all wait at once, if each lane had a core to itself.
fn replayed_flood(verifier: &dyn Verifier, lanes: usize, samples: &[Shared], blobs: usize) -> f64 {
    blobs as f64 / replay(verifier, lanes, samples, blobs, Nanos::ZERO).whole
}

struct Client {
    requests: Sender<VerifyRequest>,
    verdicts: Receiver<Verdict>,
    samples: Vec<Shared>,
    clock: Clock,
}

struct Took {
    /// From the first blob to the verdict.
    whole: Duration,
    /// From the last blob to the verdict.
    waited: Duration,
}

impl Client {
    /// Blobs a second when all wait at once.
    fn flood(&mut self, blobs: usize) -> f64 {
        blobs as f64 / self.block(blobs, Duration::ZERO).whole.as_secs_f64()
    }

    /// Sends a block, a blob every `pause`, and waits for its verdict.
    fn block(&mut self, blobs: usize, pause: Duration) -> Took {
        let began = Instant::now();
        let mut sent_last = began;
        for (index, sample) in self.samples.iter().cycle().take(blobs).enumerate() {
            let arrival = pause * u32::try_from(index).unwrap_or(u32::MAX);
            std::thread::sleep(arrival.saturating_sub(began.elapsed()));
            let request = VerifyRequest::Job(sample.job(index, blobs));
            // The clock is read before the request is sent, as this thread may lose its core to the lane at once.
            sent_last = Instant::now();
            self.requests.send(request).expect("the lanes live");
        }
        loop {
            match self.verdict() {
                Verdict::Part { is_right, .. } => assert!(is_right, "the samples have their digests"),
                Verdict::Value { outcome, .. } => {
                    assert_eq!(outcome, ValueOutcome::Holds, "the samples are true claims");
                    break;
                }
            }
        }
        Took {
            whole: began.elapsed(),
            waited: sent_last.elapsed(),
        }
    }

    fn verdict(&mut self) -> Verdict {
        let until = self.clock.now() + Nanos::from_millis(60_000);
        while self.clock.now() < until {
            if let Some(verdict) = self.verdicts.recv_until(Some(until), &self.clock) {
                return verdict;
            }
        }
        panic!("a verdict is missing");
    }
}

fn with_lanes<R>(
    verifier: &Arc<dyn Verifier>,
    lanes: usize,
    samples: &[SampleClaim],
    work: impl FnOnce(&mut Client) -> R,
) -> R {
    let depth = 2 * BLOBS_PER_BLOCK_MAX as usize;
    let (requests, requests_end) = link("measure-kzg", depth).expect("a descriptor is left");
    let (verdicts_end, verdicts) = link("kzg-measure", depth).expect("a descriptor is left");
    let end = LaneClientEnd {
        requests: requests_end,
        verdicts: verdicts_end,
    };
    let mut client = Client {
        requests,
        verdicts,
        samples: Shared::all(samples),
        clock: Clock::start(),
    };
    let shared = Lanes::new(vec![end], Arc::clone(verifier), LaneOptions::default());
    let (halt, registry) = (Halt::new(), Registry::new());
    std::thread::scope(|scope| {
        let _stops = Stops(&halt);
        for _ in 0..lanes {
            let (shared, halt, registry) = (Arc::clone(&shared), halt.clone(), Arc::clone(&registry));
            scope.spawn(move || shared.run(&TileContext::new("kzg-measure", &halt, &registry)));
        }
        work(&mut client)
    })
}

/// Stops the lanes when the measuring is done or has failed.
struct Stops<'a>(&'a Halt);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.stop(Reason::Asked);
    }
}
