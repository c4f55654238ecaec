//! This file knows which charges are worth a line in the log: one a second for each peer and fault, with the number of
//! charges that had none.

use std::collections::BTreeMap;

use ultramarine_types::limits::PEERS_MAX;
use ultramarine_types::network::Fault;
use ultramarine_types::{Nanos, PeerId};

/// At most one line for one peer and fault in this time.
const PAUSE: Nanos = Nanos::from_millis(1_000);
/// Peers and faults remembered: several times as many as can be connected. A peer that keeps coming with new keys makes
/// neither memory nor log grow without bound.
const REMEMBERED_MAX: usize = 4 * PEERS_MAX;

#[derive(Clone, Copy, Debug)]
struct Said {
    at: Nanos,
    unsaid: u64,
}

/// Remembers which charges were logged, and when.
#[derive(Debug, Default)]
pub struct ChargeLog {
    said: BTreeMap<(PeerId, Fault), Said>,
}

impl ChargeLog {
    /// Decides whether to log a charge. Returns how many like it were not logged, or `None` if this one is not either.
    pub fn say(&mut self, now: Nanos, peer: PeerId, fault: Fault) -> Option<u64> {
        if let Some(said) = self.said.get_mut(&(peer, fault)) {
            if now.since(said.at) < PAUSE {
                said.unsaid += 1;
                return None;
            }
            let unsaid = said.unsaid;
            *said = Said { at: now, unsaid: 0 };
            return Some(unsaid);
        }
        if self.said.len() >= REMEMBERED_MAX {
            self.said.retain(|_, said| now.since(said.at) < PAUSE);
        }
        if self.said.len() >= REMEMBERED_MAX {
            return None;
        }
        self.said.insert((peer, fault), Said { at: now, unsaid: 0 });
        assert!(self.said.len() <= REMEMBERED_MAX, "memory for lines is bounded");
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_faults_is_one_line_a_second() {
        let mut log = ChargeLog::default();
        let peer = PeerId([1; 32]);
        let mut say = |ms, fault| log.say(Nanos::from_millis(ms), peer, fault);
        assert_eq!(say(0, Fault::Part), Some(0));
        assert!((1..=500).all(|ms| say(ms, Fault::Part).is_none()));
        assert_eq!(say(600, Fault::Protocol), Some(0), "another fault");
        assert_eq!(say(1_000, Fault::Part), Some(500));
        assert_eq!(say(2_000, Fault::Part), Some(0));
    }

    #[test]
    fn memory_for_lines_is_bounded() {
        let mut log = ChargeLog::default();
        for name in 0..3 * REMEMBERED_MAX as u64 {
            let mut peer = PeerId([1; 32]);
            peer.0[..8].copy_from_slice(&name.to_le_bytes());
            log.say(Nanos::ZERO, peer, Fault::Withheld);
            assert!(log.said.len() <= REMEMBERED_MAX);
        }
        assert_eq!(
            log.say(PAUSE, PeerId([2; 32]), Fault::Withheld),
            Some(0),
            "and there is room again"
        );
    }
}
