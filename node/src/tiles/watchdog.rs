//! This file knows how to watch the process itself: tiles that take no turn, times in which nothing here ran, the room
//! on its disk, and what is wrong now.
//!
//! It never ends anything: a disk may stall, and a machine may be paused. The reader of `/health` decides what to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ultramarine_runtime::pulse::BEAT;
use ultramarine_runtime::watch::{Hang, Watch};
use ultramarine_runtime::{Clock, Halt, Moment, Registry};
use ultramarine_types::Nanos;

use crate::board::{Board, DisturbanceKind, HUNG_SECONDS, HungTile};
use crate::conditions::Conditions;
use crate::disk::{self, DiskTrend, available_bytes};

/// If a look comes this much later than it should, that is worth a line.
const PAUSE: Nanos = Nanos::from_millis(5_000);

/// What the watchdog looks at, and where it tells of it.
#[derive(Debug)]
pub struct Watchdog {
    pub registry: Arc<Registry>,
    pub board: Arc<Board>,
    pub conditions: Arc<Conditions>,
    /// Whose disk it looks at.
    pub data_dir: PathBuf,
}

/// Looks at everything once a second, in a thread of its own, until the node halts.
pub fn start(halt: &Halt, watchdog: Watchdog) -> io::Result<()> {
    let halt = halt.clone();
    let Watchdog {
        registry,
        board,
        conditions,
        data_dir,
    } = watchdog;
    let shown_disk = Arc::clone(&board);
    disk::show(&registry, move || shown_disk.disk());
    let watching = move || {
        let (mut watch, mut lines, clock) = (Watch::default(), Lines::default(), Clock::start());
        let mut trend = DiskTrend::default();
        let mut before = (clock.now(), Clock::unix_ns());
        while !halt.wait(BEAT) {
            let now = (clock.now(), Clock::unix_ns());
            if let Some((kind, what)) = disturbance(before, now) {
                tracing::warn!("{what}");
                let seen = Moment {
                    at: now.0,
                    unix_s: now.1 / 1_000_000_000,
                };
                board.disturbed(kind, what, seen);
            }
            before = now;
            let hung = watch.look(&registry);
            for line in lines.of(&hung) {
                tracing::warn!("{line}");
            }
            board.hung(hung.iter().map(shown).collect());
            if let Some(available) = available_bytes(&data_dir) {
                board.show_disk(trend.look(now.0, available));
            }
            // A condition's spell begins here, whether anybody asks or not.
            conditions.look();
        }
    };
    let thread = std::thread::Builder::new().name("watchdog".to_owned());
    thread.spawn(watching).map(drop)
}

fn shown(hang: &Hang) -> HungTile {
    HungTile {
        tile: hang.tile.to_owned(),
        seconds: hang.looks,
    }
}

/// Compares two looks, each at a monotonic and a wall clock: the line that is worth saying, if any.
pub(crate) fn disturbance(before: (Nanos, u64), now: (Nanos, u64)) -> Option<(DisturbanceKind, String)> {
    let passed = now.0.since(before.0);
    let late = passed.since(BEAT.into());
    let stepped = i128::from(now.1) - i128::from(before.1) - i128::from(passed.0);
    let seconds = |ns: u128| Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)).as_secs_f64();
    if late >= PAUSE {
        let what = format!(
            "nothing in this process ran for {:.1} s: it was stopped, or the machine has too little CPU",
            seconds(late.0.into())
        );
        return Some((DisturbanceKind::Pause, what));
    }
    if stepped.unsigned_abs() < u128::from(PAUSE.0) {
        return None;
    }
    let size = seconds(stepped.unsigned_abs());
    let what = if stepped > 0 {
        format!("the wall clock stepped {size:.1} s forward: it was set, or the machine slept")
    } else {
        format!("the wall clock stepped {size:.1} s back: it was set")
    };
    Some((DisturbanceKind::ClockStep, what))
}

/// Remembers which tiles the log called hung.
#[derive(Debug, Default)]
struct Lines {
    said: Vec<&'static str>,
}

impl Lines {
    /// One line when a tile has hung for long enough, and one when it hangs no longer.
    fn of(&mut self, hung: &[Hang]) -> Vec<String> {
        let long = |hang: &&Hang| hang.looks >= HUNG_SECONDS;
        let now: Vec<&Hang> = hung.iter().filter(long).collect();
        let begun = now.iter().filter(|hang| !self.said.contains(&hang.tile));
        let mut lines: Vec<String> = begun
            .map(|hang| format!("tile {} has taken no turn for {} s", hang.tile, hang.looks))
            .collect();
        let ended = self
            .said
            .iter()
            .filter(|tile| now.iter().all(|hang| hang.tile != **tile));
        lines.extend(ended.map(|tile| format!("tile {tile} takes its turns again")));
        self.said = now.into_iter().map(|hang| hang.tile).collect();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_hung_tile_is_said_once_and_its_end_once() {
        let mut lines = Lines::default();
        let hang = |looks| [Hang { tile: "store", looks }];
        assert_eq!(lines.of(&hang(HUNG_SECONDS - 1)), [""; 0]);
        assert_eq!(lines.of(&hang(HUNG_SECONDS)), ["tile store has taken no turn for 5 s"]);
        assert_eq!(lines.of(&hang(HUNG_SECONDS + 1)), [""; 0]);
        assert_eq!(lines.of(&[]), ["tile store takes its turns again"]);
        assert_eq!(lines.of(&[]), [""; 0]);
    }

    #[test]
    fn a_pause_a_sleep_and_a_set_clock_are_told_apart() {
        let line = |passed: u64, wall: i64| {
            let unix = 1_800_000_000 * SECOND;
            let told = disturbance(
                (Nanos(SECOND), unix),
                (
                    Nanos((1 + passed) * SECOND),
                    unix.saturating_add_signed(wall * SECOND as i64),
                ),
            );
            told.map(|(_, what)| what)
        };
        assert_eq!(line(1, 1), None);
        assert_eq!(line(3, 3), None, "a busy machine");
        assert!(line(61, 61).is_some_and(|line| line.contains("ran for 60.0 s")));
        assert!(line(1, 3601).is_some_and(|line| line.contains("3600.0 s forward")));
        assert!(line(1, -3599).is_some_and(|line| line.contains("3600.0 s back")));
        assert!(line(1, -1_800_000_000).is_some(), "to 1970");
    }
}
