//! This file knows whether tiles still take turns: each beats as it works, and somebody looks once a second.
//!
//! A beat is one relaxed store by the tile's own thread. A tile that waits for work says so before it sleeps, so that no tile
//! has to wake for this; one that is an executor of many tasks beats by a timer, once a second.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::metrics::{Gauge, Registry};

/// How often an executor beats, and how often to look.
pub const BEAT: Duration = Duration::from_secs(1);

/// The tile waits for work, has not begun, or has ended.
const RESTS: u64 = 1;
/// One beat.
const STEP: u64 = 2;

/// A tile's pulse. Clones are of the same tile, on the same thread.
#[derive(Clone, Debug)]
pub struct Pulse {
    /// Beats times [`STEP`], and [`RESTS`].
    state: Arc<CachePadded<AtomicU64>>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            state: Arc::new(CachePadded::new(AtomicU64::new(RESTS))),
        }
    }
}

impl Pulse {
    /// A turn begins.
    pub fn beat(&self) {
        let state = self.state.load(Ordering::Relaxed);
        self.state.store((state & !RESTS).wrapping_add(STEP), Ordering::Relaxed);
    }

    /// The tile goes to sleep until there is work, however long that takes.
    pub fn rest(&self) {
        let state = self.state.load(Ordering::Relaxed);
        self.state.store(state | RESTS, Ordering::Relaxed);
    }

    /// Runs a tile that is an executor on tokio, and beats beside it as long as its thread takes turns.
    pub async fn beside<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let output = std::future::poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            while beats.poll_tick(context).is_ready() {
                self.beat();
            }
            Poll::Pending
        })
        .await;
        self.rest();
        output
    }
}

/// A tile that takes no turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Silence {
    /// Which.
    pub tile: &'static str,
    /// Looks since its last turn; the first of them is not counted, as it may have been just before.
    pub looks: u64,
}

/// Looks at all pulses of a registry.
///
/// It counts its own looks, not time: while the whole process is stopped nobody looks, so nobody is blamed for that.
#[derive(Debug, Default)]
pub struct Watch {
    tiles: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    tile: &'static str,
    pulse: Pulse,
    seen: u64,
    looks: u64,
    shown: Gauge,
}

impl Watch {
    /// One look, [`BEAT`] after the last; answers who has taken no turn since the one before, longest first.
    pub fn look(&mut self, registry: &Registry) -> Vec<Silence> {
        for (tile, pulse) in registry.pulses().into_iter().skip(self.tiles.len()) {
            let shown = registry.gauge(
                "ultramarine_tile_silent_seconds",
                "For how long the tile has had work and taken no turn; the time in which the whole process did not run is not counted.",
                &[("tile", tile)],
            );
            self.tiles.push(Watched {
                tile,
                pulse,
                seen: RESTS,
                looks: 0,
                shown,
            });
        }
        for watched in &mut self.tiles {
            let state = watched.pulse.state.load(Ordering::Relaxed);
            let is_silent = state & RESTS == 0 && state == watched.seen;
            watched.looks = if is_silent { watched.looks + 1 } else { 0 };
            watched.seen = state;
            watched.shown.set(i64::try_from(watched.looks).unwrap_or(i64::MAX));
        }
        let silent = self.tiles.iter().filter(|watched| watched.looks > 0);
        let mut silent: Vec<Silence> = silent
            .map(|watched| Silence {
                tile: watched.tile,
                looks: watched.looks,
            })
            .collect();
        silent.sort_by_key(|silence| std::cmp::Reverse(silence.looks));
        silent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::halt::{Halt, Reason};
    use crate::tile::Tile;
    use crate::topology::Seat;

    fn silence(tile: &'static str, looks: u64) -> Vec<Silence> {
        vec![Silence { tile, looks }]
    }

    #[test]
    fn a_tile_that_has_work_and_takes_no_turn_is_silent_until_it_does() {
        let (registry, mut watch) = (Registry::new(), Watch::default());
        let pulse = registry.pulse("busy");
        assert_eq!(watch.look(&registry), [], "it has not begun");
        pulse.beat();
        assert_eq!(watch.look(&registry), []);
        assert_eq!(watch.look(&registry), silence("busy", 1));
        assert_eq!(watch.look(&registry), silence("busy", 2));
        let text = registry.render();
        assert!(
            text.contains("ultramarine_tile_silent_seconds{tile=\"busy\"} 2"),
            "{text}"
        );
        pulse.beat();
        assert_eq!(watch.look(&registry), []);
        assert_eq!(watch.look(&registry), silence("busy", 1));
        pulse.rest();
        for _ in 0..100 {
            assert_eq!(watch.look(&registry), [], "who waits for work is not silent");
        }
    }

    #[test]
    fn who_is_silent_for_longest_stands_first() {
        let (registry, mut watch) = (Registry::new(), Watch::default());
        let [late, early] = ["late", "early"].map(|tile| registry.pulse(tile));
        early.beat();
        watch.look(&registry);
        watch.look(&registry);
        late.beat();
        watch.look(&registry);
        let silent = watch.look(&registry);
        assert_eq!(silent, [silence("early", 3), silence("late", 1)].concat());
    }

    #[test]
    fn an_executor_that_ends_is_not_silent() {
        let (registry, mut watch) = (Registry::new(), Watch::default());
        let pulse = registry.pulse("executor");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .expect("a runtime")
            .block_on(pulse.beside(async { pulse.beat() }));
        watch.look(&registry);
        assert_eq!(watch.look(&registry), []);
    }

    #[test]
    fn a_real_tile_that_blocks_is_named_and_one_that_ends_is_not() {
        let (halt, registry, mut watch) = (Halt::new(), Registry::new(), Watch::default());
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let blocked = Tile::spawn(&registry, "blocked", Seat::default(), &halt, move |context| {
            context.pulse.beat();
            begun.send(()).map_err(|error| error.to_string())?;
            // As a disk that does not answer.
            released.recv().map_err(|error| error.to_string())
        })
        .expect("a thread");
        has_begun.recv().expect("it begins");
        watch.look(&registry);
        assert_eq!(watch.look(&registry), silence("blocked", 1));
        release.send(()).expect("it waits");
        blocked.join();
        assert_eq!(watch.look(&registry), [], "it has ended");
        assert!(!halt.is_stopped());
    }

    #[test]
    fn an_executor_beats_while_its_thread_takes_turns_and_not_while_a_task_keeps_it() {
        let (halt, registry, mut watch) = (Halt::new(), Registry::new(), Watch::default());
        let (block, blocks) = mpsc::channel::<(mpsc::Sender<()>, mpsc::Receiver<()>)>();
        let tile = Tile::spawn(&registry, "executor", Seat::default(), &halt, move |context| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?;
            runtime.block_on(context.pulse.beside(async {
                while !context.halt.is_stopped() {
                    if let Ok((blocked, until)) = blocks.try_recv() {
                        let _ = blocked.send(());
                        let _ = until.recv();
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }));
            Ok(())
        })
        .expect("a thread");
        // It beats.
        let until = std::time::Instant::now() + Duration::from_secs(20);
        // Until its thread has begun there is none.
        let state = |registry: &Registry| {
            let pulses = registry.pulses();
            pulses
                .first()
                .map_or(0, |(_, pulse)| pulse.state.load(Ordering::Relaxed))
        };
        while state(&registry) < 2 * STEP {
            assert!(std::time::Instant::now() < until, "no beat");
            std::thread::sleep(Duration::from_millis(5));
        }
        let (release, held) = mpsc::channel();
        let (blocked, is_blocked) = mpsc::channel();
        block.send((blocked, held)).expect("it runs");
        is_blocked.recv().expect("its task takes it");
        watch.look(&registry);
        std::thread::sleep(BEAT + BEAT / 2);
        assert_eq!(watch.look(&registry), silence("executor", 1));
        release.send(()).expect("it waits");
        while !watch.look(&registry).is_empty() {
            assert!(std::time::Instant::now() < until, "it does not beat again");
            std::thread::sleep(Duration::from_millis(100));
        }
        halt.stop(Reason::Asked);
        tile.join();
    }
}
