//! This file knows what people hear of the execution client's readiness, and when that is worth a line in the log.
//!
//! Everybody who shows the state hears of each change. A client may change to and fro twice a second, so the log gets
//! a line at once only after a minute without one, and otherwise for what has lasted.
//!
//! Keeps: a line is about the state as it is, and says something else than the line before. Every line has its time.

use ultramarine_types::Nanos;

use super::Core;
use crate::io::Event;

/// A state that has lasted this long gets its line.
const LASTING: Nanos = Nanos::from_millis(10_000);
/// A change gets its line at once if the last line is this old.
const LINE: Nanos = Nanos::from_millis(60_000);

const _: () = assert!(LASTING.0 < LINE.0, "what lasts is told before a repetition");

/// Whether the client is ready, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
struct State {
    ready: bool,
    why: String,
}

#[derive(Debug, Default)]
pub(super) struct Readiness {
    state: Option<State>,
    /// Since when it is so.
    since: Nanos,
    /// What the last line said.
    told: Option<State>,
    told_at: Option<Nanos>,
    /// Whether the client was ever ready: the first time ends the start, and is told at once.
    was_ready: bool,
}

impl Readiness {
    fn change(&mut self, now: Nanos, state: State) {
        (self.state, self.since) = (Some(state), now);
    }

    /// Whether the log should get a line about the state now.
    fn is_news(&mut self, now: Nanos) -> bool {
        let Some(state) = &self.state else { return false };
        let is_first = state.ready && !self.was_ready;
        self.was_ready |= state.ready;
        let is_due =
            is_first || now.since(self.since) >= LASTING || self.told_at.is_none_or(|at| now.since(at) >= LINE);
        let is_news = is_due && self.told.as_ref() != Some(state);
        if is_news {
            let before = self.told.replace(state.clone());
            assert!(before != self.told, "a line says something else than the line before");
            assert_eq!(self.told, self.state, "a line is about the state as it is");
            self.told_at = Some(now);
        }
        is_news
    }

    /// Asserts that what was told was told at some time, and is not about the future.
    pub(super) fn check(&self, now: Nanos) {
        assert!(self.since <= now, "the state began in the past");
        assert_eq!(self.told.is_some(), self.told_at.is_some(), "a line has its time");
        assert!(
            self.told.is_none() || self.state.is_some(),
            "a line was about a state that nobody knows"
        );
    }
}

impl Core {
    /// The client became ready, or is so no longer, or for another reason.
    pub(super) fn tell_readiness(&mut self, ready: bool, why: String) {
        let state = State { ready, why };
        self.readiness.change(self.now, state.clone());
        let is_news = self.readiness.is_news(self.now);
        self.event(Event::Readiness {
            ready: state.ready,
            why: state.why,
            is_news,
        });
    }

    /// Looks whether a line is due that was held back; called once a second.
    pub(super) fn watch_readiness(&mut self) {
        if self.readiness.is_news(self.now)
            && let Some(State { ready, why }) = self.readiness.state.clone()
        {
            self.event(Event::Readiness {
                ready,
                why,
                is_news: true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: u64) -> Nanos {
        Nanos::from_millis(1000 * seconds)
    }

    fn state(ready: bool) -> State {
        State {
            ready,
            why: String::new(),
        }
    }

    #[test]
    fn a_readiness_that_flaps_gets_a_line_a_minute() {
        let mut readiness = Readiness::default();
        let mut lines = 0;
        for tick in 0..600 {
            readiness.change(Nanos::from_millis(500 * tick), state(tick % 2 == 1));
            lines += u32::from(readiness.is_news(Nanos::from_millis(500 * tick)));
            readiness.check(Nanos::from_millis(500 * tick));
        }
        assert!((3..=7).contains(&lines), "{lines} in five minutes");
    }

    #[test]
    fn what_lasts_is_told_once_and_soon() {
        let mut readiness = Readiness::default();
        let mut told = |at: u64, to: Option<bool>| {
            if let Some(ready) = to {
                readiness.change(second(at), state(ready));
            }
            readiness.is_news(second(at))
        };
        assert!(told(1, Some(false)), "the first");
        assert!(told(3, Some(true)), "the start is over");
        assert!(!told(5, Some(false)) && !told(14, None));
        assert!(told(15, None), "it lasts");
        assert!(!told(16, None) && !told(200, None), "nothing new");
        assert!(told(201, Some(true)), "after a quiet minute, at once");
    }
}
