//! This file knows the small messages that wait for one peer: consensus messages, each once, and the newest status
//! only. If there is no room, the message of the lowest height and round gives way.
//!
//! Keeps: at most [`QUEUE_MESSAGES_MAX`] messages wait, each under a name of its own, and none gives way to one of a
//! lower height or round.

use std::collections::BTreeMap;

use bytes::Bytes;
use ultramarine_types::hearing::{Call, Heard, Hearing};
use ultramarine_types::{Address, ConsensusMessage, Height, Nonce, Round, ValueId, VoteKind};

use crate::bounds::QUEUE_MESSAGES_MAX;

/// What a message says and who says it. Of two messages with one name, a peer needs the newer one only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MessageName {
    height: Height,
    round: Round,
    kind: MessageKind,
    value_id: Option<ValueId>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum MessageKind {
    Proposal {
        proposer: Address,
        valid_round: Option<Round>,
    },
    Vote {
        kind: VoteKind,
        voter: Address,
    },
    Polka,
    RoundCertificate,
    /// Each start of a listener has a call of its own: an older one that waits keeps the place of no newer one.
    Call {
        listener: Address,
        nonce: Nonce,
    },
    Heard {
        by: Address,
        listener: Address,
        nonce: Nonce,
    },
}

impl MessageName {
    /// Calls and their answers are made again, so they are the first to give way.
    pub fn of_hearing(hearing: &Hearing) -> Self {
        let kind = match hearing {
            Hearing::Call(Call { listener, nonce, .. }) => {
                let (listener, nonce) = (*listener, *nonce);
                MessageKind::Call { listener, nonce }
            }
            Hearing::Heard(heard) => {
                let Heard {
                    by, listener, nonce, ..
                } = *heard;
                MessageKind::Heard { by, listener, nonce }
            }
        };
        Self {
            height: Height::GENESIS,
            round: Round(0),
            kind,
            value_id: None,
        }
    }

    pub fn of(message: &ConsensusMessage) -> Self {
        let (kind, value_id) = match message {
            ConsensusMessage::Vote(vote) => {
                let (kind, voter) = (vote.kind, vote.voter);
                (MessageKind::Vote { kind, voter }, vote.value_id)
            }
            ConsensusMessage::Proposal(proposal) => {
                let (proposer, valid_round) = (proposal.proposer, proposal.valid_round);
                (MessageKind::Proposal { proposer, valid_round }, Some(proposal.value_id))
            }
            ConsensusMessage::Polka(polka) => (MessageKind::Polka, Some(polka.value_id)),
            ConsensusMessage::Round(_) => (MessageKind::RoundCertificate, None),
        };
        Self {
            height: message.height(),
            round: message.round(),
            kind,
            value_id,
        }
    }
}

/// Control messages waiting for one peer.
#[derive(Debug, Default)]
pub struct Queue {
    /// In the order in which they go out.
    messages: BTreeMap<u64, (MessageName, Bytes)>,
    /// Where each stands.
    places: BTreeMap<MessageName, u64>,
    next: u64,
    status: Option<Bytes>,
}

impl Queue {
    /// Queues a consensus message. One with the same name that waits already is replaced. If there is no room, a
    /// message of the lowest height and round is dropped, which may be this one: a peer that misses it says so by its
    /// status, and is sent again what it needs by then.
    pub fn push(&mut self, name: MessageName, frame: Bytes) {
        if let Some(place) = self.places.get(&name) {
            self.messages.insert(*place, (name, frame));
            return;
        }
        if self.messages.len() >= QUEUE_MESSAGES_MAX {
            let lowest = self.places.first_key_value().map(|(lowest, place)| (lowest, *place));
            match lowest {
                Some((lowest, place)) if (lowest.height, lowest.round) <= (name.height, name.round) => {
                    if let Some((gone, _)) = self.messages.remove(&place) {
                        self.places.remove(&gone);
                    }
                }
                _ => return,
            }
        }
        self.messages.insert(self.next, (name.clone(), frame));
        self.places.insert(name, self.next);
        self.next += 1;
        self.check();
    }

    /// Queues a status. It replaces one that was not sent yet.
    pub fn push_status(&mut self, frame: Bytes) {
        self.status = Some(frame);
    }

    /// Takes the frame that goes out next.
    pub fn pop(&mut self) -> Option<Bytes> {
        match self.messages.pop_first() {
            Some((_, (name, frame))) => {
                self.places.remove(&name);
                Some(frame)
            }
            None => self.status.take(),
        }
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
        assert_eq!(
            self.messages.len(),
            self.places.len(),
            "each message has a name of its own"
        );
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_types::{Signature, Vote};

    use super::*;

    fn frame(byte: u8) -> Bytes {
        Bytes::copy_from_slice(&[byte])
    }

    /// The name of one of many votes of a round.
    fn vote(height: u64, round: u32, voter: usize) -> MessageName {
        let mut address = [0; 20];
        address[..8].copy_from_slice(&(voter as u64).to_le_bytes());
        MessageName::of(&ConsensusMessage::Vote(Vote {
            kind: VoteKind::Prevote,
            height: Height(height),
            round: Round(round),
            value_id: None,
            voter: Address(address),
            signature: Signature([0; 64]),
        }))
    }

    fn sent(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop()).map(|frame| frame[0]).collect()
    }

    #[test]
    fn a_full_queue_keeps_the_newest_and_never_parts() {
        let mut queue = Queue::default();
        for voter in 0..QUEUE_MESSAGES_MAX {
            queue.push(vote(4, 7, voter), frame(4));
        }
        for voter in 0..QUEUE_MESSAGES_MAX {
            queue.push(vote(5, 0, voter), frame(5));
        }
        queue.push(vote(4, 9, 0), frame(4));
        assert_eq!(queue.messages.len(), QUEUE_MESSAGES_MAX);
        for voter in 0..3 {
            queue.push(vote(5, 1, voter), frame(6));
        }
        let sent = sent(&mut queue);
        assert_eq!(sent.iter().filter(|byte| **byte == 6).count(), 3, "the newest round");
        assert!(sent.iter().all(|byte| *byte != 4), "the lower height gave way");
    }

    #[test]
    fn what_is_sent_again_waits_once_in_its_place() {
        let mut queue = Queue::default();
        queue.push(vote(1, 0, 1), frame(1));
        queue.push(vote(1, 0, 2), frame(2));
        for _ in 0..3 * QUEUE_MESSAGES_MAX {
            queue.push(vote(1, 0, 1), frame(3));
        }
        assert_eq!(sent(&mut queue), [3, 2]);
        queue.push(vote(1, 0, 1), frame(4));
        assert_eq!(sent(&mut queue), [4], "what was sent may be sent again");
    }

    #[test]
    fn calls_and_answers_of_one_listener_replace_none_of_another_start() {
        let mut queue = Queue::default();
        let listener = Address([7; 20]);
        let call = |start: u8| {
            MessageName::of_hearing(&Hearing::Call(Call {
                listener,
                nonce: Nonce([start; 32]),
                signature: Signature([0; 64]),
            }))
        };
        let heard = |by: u8, start: u8| {
            MessageName::of_hearing(&Hearing::Heard(Heard {
                by: Address([by; 20]),
                listener,
                nonce: Nonce([start; 32]),
                tip: Height(1),
                seen: None,
                signature: Signature([0; 64]),
            }))
        };
        queue.push(call(2), frame(2));
        queue.push(heard(5, 2), frame(12));
        // What others repeat of an earlier start comes later.
        queue.push(call(1), frame(1));
        queue.push(heard(5, 1), frame(11));
        queue.push(heard(6, 2), frame(13));
        queue.push(call(2), frame(3));
        assert_eq!(
            sent(&mut queue),
            [3, 12, 1, 11, 13],
            "and a call that is made again waits once"
        );
    }

    #[test]
    fn only_the_newest_status_is_sent_behind_all_messages() {
        let mut queue = Queue::default();
        queue.push_status(frame(1));
        queue.push_status(frame(2));
        queue.push(vote(1, 0, 1), frame(9));
        assert_eq!(sent(&mut queue), [9, 2]);
    }
}
