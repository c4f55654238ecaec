//! This file knows when each stage of the newest blocks began and ended here: a table that tiles write and all read.
//!
//! ```text
//!            round   offer   payload   build   stream  …  commit       one cell: height, began, ended
//!   h % 64   [    ]  [    ]  [    ]    [    ]  [    ]     [    ]
//! ```
//!
//! Keeps: a writer takes no lock and allocates nothing. A reader sees a whole cell or none. A height is never
//! overwritten by a lower one.
//!
//! Each mark has one writer: the core's tile all but `stream` and `verify`, which are net's, and `persist`, which is
//! the store's. The engine writes what calls took. Two writers of one mark could mix their moments, and do no other
//! harm.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use ultramarine_types::{Height, Nanos, Stage};

/// Heights that are remembered.
pub const STAGE_LOG_HEIGHTS: usize = 64;
/// Columns of the table.
const MARKS: usize = 3 + 2 * Stage::ALL.len();
/// How often a reader tries again while a writer is at work on the same cell: a write takes nanoseconds.
const READS_MAX: usize = 16;

/// What a moment is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// From the first round of the height to the newest one.
    Round,
    /// A stream of a proposed value began.
    Offer,
    /// A proposed value's payload was whole here.
    Payload,
    /// A stage that has ended.
    Stage(Stage),
    /// Calls to the execution client that a stage waited for: as long as they were open in sum, up to the last answer.
    Client(Stage),
}

impl Mark {
    const fn column(self) -> usize {
        match self {
            Self::Round => 0,
            Self::Offer => 1,
            Self::Payload => 2,
            Self::Stage(stage) => 3 + stage as usize,
            Self::Client(stage) => 3 + Stage::ALL.len() + stage as usize,
        }
    }
}

/// When something began and ended, by the process's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageTime {
    pub began: Nanos,
    pub ended: Nanos,
}

impl StageTime {
    /// What ended at `ended` and took so long.
    pub fn before(ended: Nanos, took: Nanos) -> Self {
        let began = Nanos(ended.0.saturating_sub(took.0));
        Self { began, ended }
    }

    pub fn took(&self) -> Nanos {
        self.ended.since(self.began)
    }

    /// How much of this lies within another.
    pub fn within(&self, other: &Self) -> Nanos {
        let (began, ended) = (self.began.max(other.began), self.ended.min(other.ended));
        Nanos(ended.0.saturating_sub(began.0))
    }
}

/// One mark of one height. `sequence` is odd while it is written.
#[derive(Default)]
struct Cell {
    sequence: AtomicU64,
    height: AtomicU64,
    began: AtomicU64,
    ended: AtomicU64,
}

impl Cell {
    fn write(&self, height: Height, moment: StageTime) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1) | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.height.store(height.0, Ordering::Relaxed);
        self.began.store(moment.began.0, Ordering::Relaxed);
        self.ended.store(moment.ended.0, Ordering::Relaxed);
        self.sequence
            .store((sequence.wrapping_add(1) | 1).wrapping_add(1), Ordering::Release);
    }

    fn read(&self) -> Option<(Height, StageTime)> {
        for _ in 0..READS_MAX {
            let before = self.sequence.load(Ordering::Acquire);
            let height = Height(self.height.load(Ordering::Relaxed));
            let moment = StageTime {
                began: Nanos(self.began.load(Ordering::Relaxed)),
                ended: Nanos(self.ended.load(Ordering::Relaxed)),
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.sequence.load(Ordering::Relaxed) {
                return (before > 0).then_some((height, moment));
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// The table of a node; tiles and readers share it by the [`Registry`](crate::Registry).
pub struct StageLog {
    rows: Vec<[Cell; MARKS]>,
}

impl Default for StageLog {
    fn default() -> Self {
        Self {
            rows: std::iter::repeat_with(<[Cell; MARKS]>::default)
                .take(STAGE_LOG_HEIGHTS)
                .collect(),
        }
    }
}

impl StageLog {
    /// Notes that something of a height took from `began` to `ended`. A later note of the same height replaces it.
    pub fn note(&self, mark: Mark, height: Height, moment: StageTime) {
        let Some(cell) = self.cell(mark, height) else { return };
        if cell.read().is_none_or(|(noted, _)| noted <= height) {
            cell.write(height, moment);
        }
    }

    /// Notes that something of a height happens at `now`: for the first time, or once more.
    pub fn happens(&self, mark: Mark, height: Height, now: Nanos) {
        let began = self.of(mark, height).map_or(now, |before| before.began);
        self.note(mark, height, StageTime { began, ended: now });
    }

    /// When it was; `None` if it was not, or is forgotten.
    pub fn of(&self, mark: Mark, height: Height) -> Option<StageTime> {
        let (noted, moment) = self.cell(mark, height)?.read()?;
        (noted == height).then_some(moment)
    }

    fn cell(&self, mark: Mark, height: Height) -> Option<&Cell> {
        let row = usize::try_from(height.0 % STAGE_LOG_HEIGHTS as u64).ok()?;
        self.rows.get(row)?.get(mark.column())
    }
}

impl fmt::Debug for StageLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageLog({} heights)", self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const VOTE: Mark = Mark::Stage(Stage::Vote);

    fn moment(began: u64, ended: u64) -> StageTime {
        StageTime {
            began: Nanos(began),
            ended: Nanos(ended),
        }
    }

    #[test]
    fn a_moment_is_found_by_its_height_and_mark_alone() {
        let log = StageLog::default();
        assert_eq!(log.of(VOTE, Height(0)), None, "nothing is noted yet");
        log.note(VOTE, Height(7), moment(1, 2));
        assert_eq!(log.of(VOTE, Height(7)), Some(moment(1, 2)));
        assert_eq!(log.of(VOTE, Height(7 + STAGE_LOG_HEIGHTS as u64)), None);
        for stage in Stage::ALL {
            assert_eq!(log.of(Mark::Client(stage), Height(7)), None);
        }
        for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Vote) {
            assert_eq!(log.of(Mark::Stage(stage), Height(7)), None);
        }
    }

    #[test]
    fn a_part_of_a_time_is_what_lies_within() {
        let whole = moment(10, 20);
        let parts = [(0, 5), (5, 12), (12, 15), (18, 30), (0, 30), (25, 30)];
        let within = parts.map(|(began, ended)| moment(began, ended).within(&whole).0);
        assert_eq!(within, [0, 2, 3, 2, 10, 0]);
        assert_eq!(StageTime::before(Nanos(20), Nanos(10)), whole);
        assert_eq!(whole.took(), Nanos(10));
        assert_eq!(StageTime::before(Nanos(5), Nanos(7)).began, Nanos(0));
    }

    #[test]
    fn a_lower_height_never_replaces_a_higher_one() {
        let log = StageLog::default();
        let high = Height(9 + STAGE_LOG_HEIGHTS as u64);
        log.note(VOTE, high, moment(5, 6));
        log.note(VOTE, Height(9), moment(7, 8));
        assert_eq!(log.of(VOTE, high), Some(moment(5, 6)));
        assert_eq!(log.of(VOTE, Height(9)), None);
    }

    #[test]
    fn what_happens_again_keeps_its_beginning() {
        let log = StageLog::default();
        log.happens(Mark::Round, Height(3), Nanos(10));
        log.happens(Mark::Round, Height(3), Nanos(30));
        assert_eq!(log.of(Mark::Round, Height(3)), Some(moment(10, 30)));
    }

    #[test]
    fn a_reader_sees_a_whole_moment_or_none() {
        let (log, done) = (StageLog::default(), AtomicBool::new(false));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for step in 0..200_000 {
                    log.note(VOTE, Height(1), moment(step, step + 1));
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                if let Some(seen) = log.of(VOTE, Height(1)) {
                    assert_eq!(seen.ended.0, seen.began.0 + 1, "a mix of two moments");
                }
            }
        });
    }
}
