//! This file knows which tiles take no turn: the watchdog looks at every pulse once a second.

use crate::metrics::{Gauge, Registry};
use crate::pulse::{Pulse, Reading};

/// A tile that takes no turn, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hang {
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
    seen: Reading,
    looks: u64,
    shown: Gauge,
}

impl Watch {
    /// One look, to be made a [`BEAT`](crate::pulse::BEAT) after the last one. Answers the tiles that took no turn
    /// since then, longest first.
    pub fn look(&mut self, registry: &Registry) -> Vec<Hang> {
        for (tile, pulse) in registry.pulses().into_iter().skip(self.tiles.len()) {
            let shown = registry.gauge(
                "ultramarine_tile_silent_seconds",
                "For how long the tile has had work and taken no turn; the time in which the whole process did not run \
                 is not counted.",
                &[("tile", tile)],
            );
            self.tiles.push(Watched {
                tile,
                pulse,
                seen: Reading::RESTING,
                looks: 0,
                shown,
            });
        }
        for watched in &mut self.tiles {
            let now = watched.pulse.read();
            let is_hung = watched.seen.is_hang_until(now);
            watched.looks = if is_hung { watched.looks + 1 } else { 0 };
            watched.seen = now;
            watched.shown.set(i64::try_from(watched.looks).unwrap_or(i64::MAX));
        }
        let hung = self.tiles.iter().filter(|watched| watched.looks > 0);
        let mut hung: Vec<Hang> = hung
            .map(|watched| Hang {
                tile: watched.tile,
                looks: watched.looks,
            })
            .collect();
        hung.sort_by_key(|hang| std::cmp::Reverse(hang.looks));
        hung
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::halt::{Halt, Reason};
    use crate::pulse::BEAT;
    use crate::tile::Tile;
    use crate::topology::Seat;

    fn hang(tile: &'static str, looks: u64) -> Vec<Hang> {
        vec![Hang { tile, looks }]
    }

    #[test]
    fn a_tile_that_has_work_and_takes_no_turn_hangs_until_it_does() {
        let (registry, mut watch) = (Registry::new(), Watch::default());
        let pulse = registry.pulse("busy");
        assert_eq!(watch.look(&registry), [], "it has not begun");
        pulse.beat();
        assert_eq!(watch.look(&registry), []);
        assert_eq!(watch.look(&registry), hang("busy", 1));
        assert_eq!(watch.look(&registry), hang("busy", 2));
        let text = registry.render();
        assert!(
            text.contains("ultramarine_tile_silent_seconds{tile=\"busy\"} 2"),
            "{text}"
        );
        pulse.beat();
        assert_eq!(watch.look(&registry), []);
        assert_eq!(watch.look(&registry), hang("busy", 1));
        pulse.rest();
        for _ in 0..100 {
            assert_eq!(watch.look(&registry), [], "who waits for work does not hang");
        }
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
        assert_eq!(watch.look(&registry), hang("blocked", 1));
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
        let beats = |registry: &Registry| {
            let pulses = registry.pulses();
            pulses.first().map_or(0, |(_, pulse)| pulse.read().beats())
        };
        while beats(&registry) < 2 {
            assert!(std::time::Instant::now() < until, "no beat");
            std::thread::sleep(Duration::from_millis(5));
        }
        let (release, held) = mpsc::channel();
        let (blocked, is_blocked) = mpsc::channel();
        block.send((blocked, held)).expect("it runs");
        is_blocked.recv().expect("its task takes it");
        watch.look(&registry);
        std::thread::sleep(BEAT + BEAT / 2);
        assert_eq!(watch.look(&registry), hang("executor", 1));
        release.send(()).expect("it waits");
        while !watch.look(&registry).is_empty() {
            assert!(std::time::Instant::now() < until, "it does not beat again");
            std::thread::sleep(Duration::from_millis(100));
        }
        halt.stop(Reason::Asked);
        tile.join();
    }

    #[test]
    fn who_hangs_for_longest_stands_first() {
        let (registry, mut watch) = (Registry::new(), Watch::default());
        let [late, early] = ["late", "early"].map(|tile| registry.pulse(tile));
        early.beat();
        watch.look(&registry);
        watch.look(&registry);
        late.beat();
        watch.look(&registry);
        let hung = watch.look(&registry);
        assert_eq!(hung, [hang("early", 3), hang("late", 1)].concat());
    }

    #[test]
    fn an_executor_that_ends_does_not_hang() {
        let (registry, mut watch) = (Registry::new(), Watch::default());
        let pulse = registry.pulse("executor");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .expect("a runtime")
            .block_on(pulse.beside(async { pulse.beat() }));
        watch.look(&registry);
        assert_eq!(watch.look(&registry), []);
    }
}
