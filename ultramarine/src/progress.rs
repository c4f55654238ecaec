//! This file knows how a command shows how far it has come: a bar on a terminal, lines where there is none.
//!
//! Both go to standard error, and nobody waits for them. What is shown is the [`Estimator`]'s word, as in a node's log
//! and its `/status`.
//!
//! [`Estimator`]: ultramarine_runtime::progress::Estimator

use std::io::{self, IsTerminal};

use ultramarine_runtime::outlet;
use ultramarine_runtime::progress::{Estimate, Meter, Unit};
use ultramarine_runtime::{Clock, print};
use ultramarine_types::Nanos;

use crate::terminal::{can_move, columns, cut};

/// Who hears of each estimate.
type Say = Box<dyn FnMut(&Estimate) + Send>;

/// How often a bar moves.
const BAR_EVERY: Nanos = Nanos::from_millis(200);
/// How often a line is said.
const LINE_EVERY: Nanos = Nanos::from_millis(5_000);
/// Cells of a bar, where the row has room for them, and the fewest that are worth it.
const BAR_CELLS: usize = 24;
const BAR_CELLS_MIN: usize = 4;
/// To the first column, and away with what stands in the row.
const CLEAR: &str = "\r\x1b[2K";

/// Shows one work until it is dropped.
pub struct ShownProgress {
    meter: Meter<Say>,
    clock: Clock,
    is_live: bool,
}

impl ShownProgress {
    /// Shows a work that is called `what`, such as "checking".
    pub fn new(what: &'static str, unit: Unit) -> Self {
        let is_live = io::stderr().is_terminal() && can_move(std::env::var_os("TERM").as_deref());
        let clock = Clock::start();
        let (every, say): (Nanos, Say) = if is_live {
            (BAR_EVERY, Box::new(move |estimate| draw(what, unit, estimate)))
        } else {
            let say = move |estimate: &Estimate| print::note(format_args!("{what}: {}", estimate.words(unit)));
            (LINE_EVERY, Box::new(say))
        };
        Self {
            meter: Meter::new(clock.now(), every, say),
            clock,
            is_live,
        }
    }

    /// The work is this far.
    pub fn at(&mut self, done: u64, total: Option<u64>) {
        self.meter.observe(self.clock.now(), done, total);
    }

    /// Takes the bar away, for a line of a result in its place. The bar comes back with the next look.
    pub fn clear(&self) {
        if self.is_live {
            outlet::stderr().push(CLEAR.as_bytes().to_vec());
            outlet::stderr().flush(CLEAR_WAIT);
        }
    }
}

impl Drop for ShownProgress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How long a result waits until the bar is away: a terminal takes it at once.
const CLEAR_WAIT: std::time::Duration = std::time::Duration::from_millis(50);

fn draw(what: &str, unit: Unit, estimate: &Estimate) {
    let columns = columns(io::stderr());
    let row = cut(&bar(what, unit, estimate, columns), columns);
    outlet::stderr().push(format!("{CLEAR}{row}").into_bytes());
}

/// `checking [######··········] 40 %, 812 of 2000 heights, 43.1/s, 28 s left`; without a total, no bar. The bar takes
/// what the words leave of the row, as the time left must be seen.
fn bar(what: &str, unit: Unit, estimate: &Estimate, columns: usize) -> String {
    let words = estimate.words(unit);
    let Some(share) = estimate.share() else {
        return format!("{what}: {words}");
    };
    let words = format!("{} %, {words}", whole(share * 100.0));
    let beside = format!("{what} [] {words}").chars().count();
    // The last column of a row stays free.
    let room = columns.saturating_sub(beside + 1);
    if room < BAR_CELLS_MIN {
        return format!("{what}: {words}");
    }
    let cells = room.min(BAR_CELLS);
    let full = whole(share * cells as f64);
    format!("{what} [{}{}] {words}", "#".repeat(full), "·".repeat(cells - full))
}

/// What is whole of it: nothing is full before it is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share lies between 0 and 1"
)]
fn whole(share: f64) -> usize {
    share as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(done: u64, total: Option<u64>, columns: usize) -> String {
        let estimate = Estimate {
            done,
            total,
            per_second: Some(2.0),
            seconds_left: total.map(|_| 3),
        };
        bar("checking", Unit::Heights, &estimate, columns)
    }

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        let drawn = |done, total| drawn(done, total, 80);
        let half = format!(
            "checking [{}{}] 50 %, 6 of 12 heights, 2.0/s, 3 s left",
            "#".repeat(12),
            "·".repeat(12)
        );
        assert_eq!(drawn(6, Some(12)), half);
        assert!(drawn(12, Some(12)).contains(&"#".repeat(24)));
        assert!(drawn(0, Some(12)).contains(&"·".repeat(24)));
        assert!(drawn(1_999, Some(2_000)).contains("·] 99 %,"), "not done before it is");
        assert!(
            drawn(20, Some(12)).contains(&"#".repeat(24)),
            "more than there was to do"
        );
        assert!(drawn(0, Some(0)).contains(&"#".repeat(24)), "nothing to do");
        assert_eq!(drawn(7, None), "checking: 7 heights, 2.0/s, time left unknown");
    }

    #[test]
    fn the_time_left_is_seen_in_any_row_that_has_room_for_it() {
        let words = "50 %, 600000000 of 1200000000 heights, 2.0/s, 3 s left";
        let narrow = format!("checking: {words}").chars().count() + 1;
        for columns in narrow..=132 {
            let row = drawn(600_000_000, Some(1_200_000_000), columns);
            assert!(
                row.ends_with(words) && row.chars().count() < columns,
                "{columns}: {row}"
            );
            assert_eq!(
                row.contains('#'),
                columns >= narrow + 2 + BAR_CELLS_MIN,
                "{columns}: {row}"
            );
        }
    }
}
