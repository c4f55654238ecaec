//! This file knows how frames travel between nodes: how long they are under way, which are lost, sent twice or overtake
//! others, who is cut off from whom, and which connections stand.
//!
//! Small frames are single messages and may be lost, doubled and reordered. Parts of one stream keep their order, as in
//! QUIC; where one is lost, its stream breaks. How long a node's line takes for its frames is `uplink.rs`'s to know.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::Nanos;

use crate::dice::Dice;
use crate::lines::NodeLines;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Small frames lost, in a thousand.
    pub loss: u32,
    /// Small frames sent twice, in a thousand.
    pub duplicate: u32,
    /// Frames that take a detour of up to a second, in a thousand.
    pub detour: u32,
    /// Parts whose stream breaks, in a thousand.
    pub stream_break: u32,
    /// Typical time from node to node.
    pub latency: Nanos,
    /// Whether every frame takes exactly so long.
    pub is_steady: bool,
    /// Bytes per millisecond of one node's line, each way.
    pub bytes_per_ms: u64,
}

impl Weather {
    pub const CALM: Self = Self {
        loss: 0,
        duplicate: 0,
        detour: 0,
        stream_break: 0,
        latency: Nanos(500_000),
        is_steady: false,
        bytes_per_ms: 100_000,
    };
}

/// What becomes of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    Lost,
    /// It never arrives, and neither does anything after it on its stream.
    Broken,
    /// It arrives at this moment.
    Arrives(Nanos),
    /// It arrives twice.
    Twice(Nanos, Nanos),
}

/// One direction of a link.
#[derive(Clone, Copy, Default, Debug)]
struct Direction {
    /// When the last part arrives; the next arrives no earlier.
    parts_until: Nanos,
    /// When the latest small frame arrives.
    newest: Nanos,
}

pub struct Network {
    pub weather: Weather,
    pub lines: NodeLines,
    directions: BTreeMap<(usize, usize), Direction>,
    blocked: BTreeMap<(usize, usize), u32>,
    connections: BTreeMap<(usize, usize), u64>,
    down: BTreeSet<(usize, usize)>,
    /// Faults that happened, by name.
    pub faults: BTreeMap<&'static str, u64>,
    dice: Dice,
}

impl Network {
    /// A network in which nobody is connected yet.
    pub fn new(seed: u64, nodes: usize, weather: Weather, lines: NodeLines) -> Self {
        let mut down = BTreeSet::new();
        for a in 0..nodes {
            for b in a + 1..nodes {
                down.insert((a, b));
            }
        }
        Self {
            weather,
            lines,
            directions: BTreeMap::new(),
            blocked: BTreeMap::new(),
            connections: BTreeMap::new(),
            down,
            faults: BTreeMap::new(),
            dice: Dice::of(seed, "network"),
        }
    }

    /// Decides about one frame that leaves now. `part`: it belongs to a stream.
    pub fn route(&mut self, now: Nanos, from: usize, to: usize, part: bool) -> Route {
        if self.epoch(from, to).is_none() {
            return Route::Lost;
        }
        if self.is_blocked(from, to) {
            self.count("partition-drop");
            return if part { Route::Broken } else { Route::Lost };
        }
        let mut latency = self.latency(from, to);
        if self.dice.chance(self.weather.detour) {
            self.count("delay");
            latency = latency + self.dice.millis(50, 1000);
        }
        if part {
            if self.dice.chance(self.weather.stream_break) {
                self.count("stream-break");
                return Route::Broken;
            }
            let direction = self.directions.entry((from, to)).or_default();
            direction.parts_until = (now + latency).max(direction.parts_until);
            return Route::Arrives(direction.parts_until);
        }
        if self.dice.chance(self.weather.loss) {
            self.count("loss");
            return Route::Lost;
        }
        let direction = self.directions.entry((from, to)).or_default();
        let overtakes = now + latency < direction.newest;
        direction.newest = direction.newest.max(now + latency);
        if overtakes {
            self.count("reorder");
        }
        if self.dice.chance(self.weather.duplicate) {
            self.count("duplication");
            return Route::Twice(now + latency, now + latency + self.dice.millis(0, 200));
        }
        Route::Arrives(now + latency)
    }

    /// How long a frame is under way from node to node.
    fn latency(&mut self, from: usize, to: usize) -> Nanos {
        if self.weather.is_steady {
            return self.distance(from, to);
        }
        match self.lines.distance(from, to) {
            Some(distance) => distance + Nanos(self.dice.between(0, distance.0 / 10)),
            None => self.dice.latency(self.weather.latency),
        }
    }

    /// How long it takes at least, or typically.
    pub fn distance(&self, from: usize, to: usize) -> Nanos {
        self.lines.distance(from, to).unwrap_or(self.weather.latency)
    }

    /// The connection of two nodes, or `None` while there is none. What was sent on one does not arrive on the next.
    pub fn epoch(&self, a: usize, b: usize) -> Option<u64> {
        let pair = ordered(a, b);
        (!self.down.contains(&pair)).then(|| self.connections.get(&pair).copied().unwrap_or(0))
    }

    /// Connects two nodes; answers whether they were not.
    pub fn connect(&mut self, a: usize, b: usize) -> bool {
        let fresh = self.down.remove(&ordered(a, b));
        if fresh {
            *self.connections.entry(ordered(a, b)).or_default() += 1;
        }
        fresh
    }

    /// Cuts the connection; everything in flight is lost. Answers whether there was one.
    pub fn disconnect(&mut self, a: usize, b: usize) -> bool {
        self.down.insert(ordered(a, b))
    }

    /// Blocks one direction until [`unblock`](Self::unblock); blocks add up.
    pub fn block(&mut self, from: usize, to: usize) {
        *self.blocked.entry((from, to)).or_default() += 1;
    }

    /// Takes one block away.
    pub fn unblock(&mut self, from: usize, to: usize) {
        if let Some(count) = self.blocked.get_mut(&(from, to)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether a direction is blocked, or there is no link.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.lines.is_missing(from, to) || self.blocked.get(&(from, to)).is_some_and(|count| *count > 0)
    }

    /// Ends all faults of the network itself.
    pub fn calm(&mut self) {
        self.blocked.clear();
        self.weather = Weather {
            latency: self.weather.latency,
            is_steady: self.weather.is_steady,
            bytes_per_ms: self.weather.bytes_per_ms,
            ..Weather::CALM
        };
    }

    fn count(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }
}

fn ordered(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_stream_keep_their_order() {
        let weather = Weather {
            detour: 300,
            ..Weather::CALM
        };
        let mut network = Network::new(1, 2, weather, NodeLines::default());
        network.connect(0, 1);
        let mut last = Nanos::ZERO;
        for sent in 0..200 {
            let Route::Arrives(at) = network.route(Nanos(sent), 0, 1, true) else {
                panic!("nothing is lost")
            };
            assert!(at >= last);
            last = at;
        }
    }

    #[test]
    fn a_one_way_partition_cuts_one_way() {
        let mut network = Network::new(1, 2, Weather::CALM, NodeLines::default());
        network.connect(0, 1);
        network.block(0, 1);
        assert_eq!(network.route(Nanos::ZERO, 0, 1, false), Route::Lost);
        assert!(matches!(network.route(Nanos::ZERO, 1, 0, false), Route::Arrives(_)));
    }
}
