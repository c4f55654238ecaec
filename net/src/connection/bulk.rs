//! This file knows the value streams under way to one peer, and which give way to a newer one.
//!
//! Keeps: at most [`BULK_PER_PEER_MAX`] streams are under way.

use std::collections::VecDeque;

use crate::bounds::BULK_PER_PEER_MAX;

/// Value streams to one peer, oldest first, with the bytes of each.
#[derive(Debug)]
pub struct Bulk<T> {
    streams: VecDeque<(T, u64)>,
}

impl<T> Default for Bulk<T> {
    fn default() -> Self {
        Self {
            streams: VecDeque::new(),
        }
    }
}

impl<T> Bulk<T> {
    /// Adds a stream. Older ones give way if there are too many, or if all have more than `bytes_max` bytes. Returns
    /// those.
    pub fn add(&mut self, stream: T, bytes: u64, bytes_max: u64, is_done: impl Fn(&T) -> bool) -> Vec<T> {
        self.streams.retain(|(stream, _)| !is_done(stream));
        let mut gone = Vec::new();
        loop {
            let waiting: u64 = self.streams.iter().map(|(_, bytes)| bytes).sum();
            if self.streams.len() < BULK_PER_PEER_MAX && waiting.saturating_add(bytes) <= bytes_max {
                break;
            }
            let Some((oldest, _)) = self.streams.pop_front() else {
                break;
            };
            gone.push(oldest);
        }
        self.streams.push_back((stream, bytes));
        assert!(
            self.streams.len() <= BULK_PER_PEER_MAX,
            "value streams to one peer are bounded"
        );
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_streams_give_way_and_those_that_are_done_count_for_nothing() {
        let mut bulk = Bulk::default();
        for stream in 0..BULK_PER_PEER_MAX {
            assert_eq!(bulk.add(stream, 10, 1_000, |_| false), []);
        }
        assert_eq!(bulk.add(100, 10, 1_000, |_| false), [0], "too many");
        assert_eq!(bulk.add(101, 970, 1_000, |_| false), [1, 2, 3], "too many bytes");
        assert_eq!(bulk.add(102, 900, 1_000, |stream| *stream == 101), [], "one was done");
        assert_eq!(
            bulk.add(103, 5_000, 1_000, |_| false),
            [4, 5, 100, 102],
            "as large as it may be alone"
        );
    }
}
