//! This file knows how the join starts and stops the task that reads a stream.

use std::cell::RefCell;

use tokio::sync::Notify;

use crate::streaming::StopReason;

#[derive(Debug, Default)]
enum State {
    #[default]
    Waiting,
    Started,
    /// Started, and the reader must wait.
    Paused,
    Stopped(StopReason),
}

/// The join sets it, and one reading task obeys.
#[derive(Debug, Default)]
pub(crate) struct StreamSwitch {
    state: RefCell<State>,
    news: Notify,
}

impl StreamSwitch {
    pub fn start(&self) {
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Waiting | State::Paused) {
            *state = State::Started;
            self.news.notify_one();
        }
    }

    /// Makes the reader wait after the part that it reads now, until it is started again.
    pub fn pause(&self) {
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Started) {
            *state = State::Paused;
        }
    }

    pub fn stop(&self, why: StopReason) {
        *self.state.borrow_mut() = State::Stopped(why);
        self.news.notify_one();
    }

    /// Waits until the stream is started and not paused; `Err` if it is stopped instead.
    pub async fn started(&self) -> Result<(), StopReason> {
        loop {
            match &*self.state.borrow() {
                State::Started => return Ok(()),
                State::Stopped(why) => return Err(why.clone()),
                State::Waiting | State::Paused => {}
            }
            self.news.notified().await;
        }
    }

    /// Waits until the stream is stopped.
    pub async fn stopped(&self) -> StopReason {
        loop {
            if let State::Stopped(why) = &*self.state.borrow() {
                return why.clone();
            }
            self.news.notified().await;
        }
    }
}
