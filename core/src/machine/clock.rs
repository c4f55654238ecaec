//! This file knows how the core compares its wall clock with the others', and what it tells people about that.

use ultramarine_types::network::{ClockReading, Status};
use ultramarine_types::{Nanos, PeerId};

use super::Core;
use crate::clocks::News;
use crate::io::Event;

impl Core {
    /// The host's wall clock; called once a second.
    pub(super) fn on_wall_clock(&mut self, unix_ns: u64) {
        if self.wall.is_some() {
            let step = i128::from(unix_ns) - i128::from(self.unix_ns());
            let step = i64::try_from(step).unwrap_or(if step < 0 { i64::MIN } else { i64::MAX });
            self.peers.shift_clock(step);
        }
        self.wall = Some((self.now, unix_ns));
        self.compare_clocks();
        self.watch_height();
        self.watch_readiness();
    }

    fn compare_clocks(&mut self) {
        let ahead = self.peers.clock_offsets(self.now);
        for news in self
            .clocks
            .look(self.now, &self.config.validators, &self.address, &ahead)
        {
            self.event(match news {
                News::Ours { offset_ns, grade } => Event::Clock {
                    offset_ns,
                    grade,
                    peers_off: self.clocks.peers_off(),
                },
                News::Peer {
                    validator,
                    offset_ns,
                    grade,
                } => Event::PeerClock {
                    validator,
                    offset_ns,
                    grade,
                },
            });
        }
    }

    /// What a status to a peer says about our clocks.
    pub(super) fn clock_reading(&self, peer: &PeerId) -> ClockReading {
        ClockReading {
            unix_ns: self.unix_ns(),
            token: self.now.0,
            echo: self.peers.get(peer).and_then(|peer| peer.clock.echo(self.now)),
        }
    }

    /// Takes the clock reading of a peer's status.
    pub(super) fn hear_clock(&mut self, peer: &PeerId, status: &Status) {
        let (now, unix_ns): (Nanos, u64) = (self.now, self.unix_ns());
        if let Some(known) = self.peers.get_mut(peer) {
            known.clock.hear(now, unix_ns, &status.clock);
        }
    }
}
