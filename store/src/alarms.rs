//! This file knows when damage gets a line in the log: readers may meet the same damage many times a second.
//!
//! Keeps: within a minute, lines are few, and no two say the same.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same damage gets another line after this long.
const PAUSE: Duration = Duration::from_secs(60);
/// Most lines in that time. The metric counts every reading that failed.
const LINES_MAX: usize = 16;

/// The lines of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    said: Mutex<VecDeque<(Instant, String)>>,
}

impl Alarms {
    /// Whether this deserves a line now.
    pub fn is_news(&self, now: Instant, what: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        while said.front().is_some_and(|(at, _)| now.duration_since(*at) >= PAUSE) {
            said.pop_front();
        }
        let is_news = said.len() < LINES_MAX && said.iter().all(|(_, before)| before != what);
        if is_news {
            said.push_back((now, what.to_owned()));
        }
        check(&said);
        is_news
    }
}

fn check(said: &VecDeque<(Instant, String)>) {
    assert!(said.len() <= LINES_MAX, "the lines of a minute are few");
    let mut before = said.iter().map(|(_, what)| what);
    if let Some(newest) = before.next_back() {
        assert!(
            before.all(|what| what != newest),
            "no two lines of a minute say the same"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_damage_has_a_line_a_minute_and_all_damage_a_few() {
        let alarms = Alarms::default();
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let lines = (0..240)
            .filter(|turn| alarms.is_news(at(turn * 500), "a record"))
            .count();
        assert_eq!(lines, 2, "two minutes, twice a second");
        let lines = (0..1000).filter(|turn| alarms.is_news(at(200_000 + turn), &turn.to_string()));
        assert_eq!(lines.count(), LINES_MAX);
    }
}
