//! This file knows how the core sends without ever waiting: what a full link refuses waits here, in order.
//!
//! The core must keep reading while a neighbour is slow, or two tiles could wait for each other for ever.

use std::collections::VecDeque;

use ultramarine_runtime::link::Sender;

/// If more than this waits for one neighbour, it is stuck, not slow.
pub const BACKLOG_ITEMS_MAX: usize = 65_536;

/// A link's sending end with a queue in front of it.
#[derive(Debug)]
pub struct Backlog<T> {
    sender: Sender<T>,
    waiting: VecDeque<T>,
}

/// A neighbour stopped reading.
#[derive(Debug, thiserror::Error)]
#[error("link {link} has {BACKLOG_ITEMS_MAX} items waiting: its reader is stuck; see the reader's last log lines")]
pub struct Stuck {
    pub link: &'static str,
}

impl<T: Send> Backlog<T> {
    /// Puts a queue in front of a link.
    pub fn new(sender: Sender<T>) -> Self {
        Self {
            sender,
            waiting: VecDeque::new(),
        }
    }

    /// Sends in order, now or when [`flush`](Self::flush) finds room.
    pub fn push(&mut self, item: T) -> Result<(), Stuck> {
        if self.waiting.is_empty() {
            match self.sender.try_send(item) {
                Ok(()) => return Ok(()),
                Err(item) => self.waiting.push_back(item),
            }
        } else {
            self.waiting.push_back(item);
        }
        if self.waiting.len() > BACKLOG_ITEMS_MAX {
            return Err(Stuck {
                link: self.sender.name(),
            });
        }
        Ok(())
    }

    /// Sends what waits, as far as there is room. Returns whether anything still waits.
    pub fn flush(&mut self) -> bool {
        while let Some(item) = self.waiting.pop_front() {
            if let Err(item) = self.sender.try_send(item) {
                self.waiting.push_front(item);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_runtime::link::link;

    use super::*;

    #[test]
    fn order_is_kept_across_a_full_link() {
        let (sender, mut receiver) = link::<u32>("test", 2).expect("eventfd");
        let mut backlog = Backlog::new(sender);
        for item in 0..5 {
            backlog.push(item).expect("far below the bound");
        }
        let mut seen = Vec::new();
        loop {
            while let Some(item) = receiver.try_recv() {
                seen.push(item);
            }
            if !backlog.flush() {
                break;
            }
        }
        while let Some(item) = receiver.try_recv() {
            seen.push(item);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_stuck_reader_is_reported() {
        let (sender, _receiver) = link::<u32>("test", 1).expect("eventfd");
        let mut backlog = Backlog::new(sender);
        let refused = (0..=BACKLOG_ITEMS_MAX as u32 + 1).find(|item| backlog.push(*item).is_err());
        assert_eq!(refused, Some(BACKLOG_ITEMS_MAX as u32 + 1));
    }
}
