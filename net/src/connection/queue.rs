//! This file knows the small messages that wait for one peer: consensus messages, and the newest status only. If there
//! is no room, messages of lower heights give way.
//!
//! Keeps: at most [`QUEUE_MESSAGES_MAX`] messages wait, and a message of the newest height never gives way.

use std::collections::VecDeque;

use bytes::Bytes;
use ultramarine_types::Height;

use crate::bounds::QUEUE_MESSAGES_MAX;

/// Control messages waiting for one peer.
#[derive(Debug, Default)]
pub struct Queue {
    messages: VecDeque<(Height, Bytes)>,
    status: Option<Bytes>,
}

/// The queue is full of messages of the newest height: the peer does not keep up. It catches up by sync when it comes
/// back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooSlow;

impl Queue {
    /// Queues a consensus message. If there is no room, the oldest message of a lower height gives way.
    pub fn push(&mut self, height: Height, frame: Bytes) -> Result<(), TooSlow> {
        if self.messages.len() >= QUEUE_MESSAGES_MAX {
            let newest = self
                .messages
                .iter()
                .map(|(height, _)| *height)
                .max()
                .unwrap_or(height)
                .max(height);
            let stale = self.messages.iter().position(|(height, _)| *height < newest);
            match stale {
                Some(position) => {
                    let gone = self.messages.remove(position).map(|(height, _)| height);
                    assert!(gone < Some(newest), "a message of the newest height never gives way");
                }
                None if height < newest => return Ok(()),
                None => return Err(TooSlow),
            }
        }
        self.messages.push_back((height, frame));
        self.check();
        Ok(())
    }

    /// Queues a status. It replaces one that was not sent yet.
    pub fn push_status(&mut self, frame: Bytes) {
        self.status = Some(frame);
    }

    /// Takes the frame that goes out next.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.messages
            .pop_front()
            .map(|(_, frame)| frame)
            .or_else(|| self.status.take())
    }

    /// Whether something waits.
    pub fn has_news(&self) -> bool {
        !self.messages.is_empty() || self.status.is_some()
    }

    fn check(&self) {
        assert!(
            self.messages.len() <= QUEUE_MESSAGES_MAX,
            "the queue stays within its ceiling"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8) -> Bytes {
        Bytes::copy_from_slice(&[byte])
    }

    #[test]
    fn a_message_of_the_newest_height_is_never_dropped_for_an_older_one() {
        let mut queue = Queue::default();
        for _ in 0..QUEUE_MESSAGES_MAX {
            assert_eq!(queue.push(Height(4), frame(4)), Ok(()));
        }
        for _ in 0..QUEUE_MESSAGES_MAX {
            assert_eq!(queue.push(Height(5), frame(5)), Ok(()), "an older one gave way");
        }
        assert_eq!(
            queue.push(Height(4), frame(4)),
            Ok(()),
            "dropped, and that is no reason to part"
        );
        assert_eq!(queue.push(Height(5), frame(5)), Err(TooSlow));
        assert_eq!(queue.messages.len(), QUEUE_MESSAGES_MAX);
        while let Some(frame) = queue.pop() {
            assert_eq!(&frame[..], &[5]);
        }
    }

    #[test]
    fn only_the_newest_status_is_sent_behind_all_messages() {
        let mut queue = Queue::default();
        queue.push_status(frame(1));
        queue.push_status(frame(2));
        assert_eq!(queue.push(Height(1), frame(9)), Ok(()));
        let sent: Vec<u8> = std::iter::from_fn(|| queue.pop()).map(|frame| frame[0]).collect();
        assert_eq!(sent, [9, 2]);
    }
}
