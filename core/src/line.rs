//! This file knows what our own line takes: how fast the bytes of decided heights come while peers bring some.
//!
//! If our line is slow, every peer is. A second one that sends the same bytes makes all of them slower. So what peers
//! are asked for has the time that our line needs for it.
//!
//! A peer that is slow on purpose does not choose that time, unless nobody else brings anything: the best of the last
//! measurements counts.

use std::collections::VecDeque;

use ultramarine_types::Nanos;

/// How long a measurement lasts at least, if more is on its way.
const WINDOW: Nanos = Nanos::from_millis(250);
/// Measurements that count.
const WINDOWS: usize = 8;

/// See the file's words.
#[derive(Debug, Default)]
pub struct OwnLine {
    /// The measurement that goes on while something is on its way.
    open: Option<Measurement>,
    /// Bytes in a millisecond, the newest first. That of the open measurement is among them once a height has come.
    paces: VecDeque<u64>,
    /// What a height has, about.
    height_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Measurement {
    since: Nanos,
    /// When a height last came, and what has come by then.
    came_at: Nanos,
    came_bytes: u64,
}

impl OwnLine {
    /// An answer begins to bring a height.
    pub fn begins(&mut self, now: Nanos) {
        self.open.get_or_insert(Measurement::since(now));
    }

    /// A height is here.
    pub fn came(&mut self, now: Nanos, bytes: u64) {
        let Some(open) = &mut self.open else { return };
        self.height_bytes = bytes.max(self.height_bytes - self.height_bytes / 4);
        // What comes together belongs together.
        if open.came_at.since(open.since) >= WINDOW && now > open.came_at {
            *open = Measurement::since(open.came_at);
        }
        if open.came_bytes == 0 {
            self.paces.truncate(WINDOWS - 1);
            self.paces.push_front(0);
        }
        (open.came_at, open.came_bytes) = (now, open.came_bytes + bytes);
        if let Some(pace) = self.paces.front_mut() {
            *pace = open.came_bytes / (now.since(open.since).0 / 1_000_000).max(1);
        }
    }

    /// Nothing is on its way any more.
    pub fn rests(&mut self) {
        self.open = None;
    }

    /// Whether it was measured.
    pub fn is_known(&self) -> bool {
        !self.paces.is_empty()
    }

    /// How long the line needs for so many heights; nothing if it was never measured.
    pub fn time_for(&self, heights: usize) -> Nanos {
        let best = self.paces.iter().max().copied().unwrap_or(u64::MAX);
        Nanos::from_millis(self.height_bytes.saturating_mul(heights as u64) / best.max(1))
    }
}

impl Measurement {
    const fn since(now: Nanos) -> Self {
        Self {
            since: now,
            came_at: now,
            came_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEIGHT: u64 = 100_000;

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    /// A line of 400 bytes a millisecond, over which eight heights have come one after the other.
    fn slow() -> OwnLine {
        let mut line = OwnLine::default();
        line.begins(at(0));
        (1..=8).for_each(|height| line.came(at(250 * height), HEIGHT));
        line.rests();
        line
    }

    #[test]
    fn a_line_has_the_time_that_it_took_before() {
        assert!(!OwnLine::default().is_known());
        assert_eq!(OwnLine::default().time_for(8), Nanos::ZERO);
        assert_eq!(slow().time_for(4), at(1_000));
    }

    #[test]
    fn time_in_which_nothing_is_on_its_way_is_not_counted() {
        let mut line = OwnLine::default();
        for began in [0, 60_000, 99_000] {
            line.begins(at(began));
            line.came(at(began + 250), HEIGHT);
            line.rests();
        }
        assert_eq!(line.paces, [400; 3]);
    }

    #[test]
    fn heights_that_come_together_were_on_the_line_together() {
        let mut line = OwnLine::default();
        line.begins(at(0));
        (0..8).for_each(|_| line.came(at(2_000), HEIGHT));
        assert_eq!(line.paces, [400]);
    }

    #[test]
    fn one_that_is_slow_on_purpose_does_not_choose_the_time() {
        let mut line = slow();
        line.begins(at(10_000));
        (0..WINDOWS as u64 - 1).for_each(|turn| line.came(at(20_000 + 10_000 * turn), HEIGHT));
        assert_eq!(line.time_for(4), at(1_000));
        line.came(at(90_000), HEIGHT);
        assert!(
            line.time_for(4) > at(1_000),
            "it is forgotten, as a line may become slower"
        );
    }
}
