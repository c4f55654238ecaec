//! This file knows who is connected, what each connection is doing, and which one gives way to a new caller.
//!
//! ```text
//!   Idle ──first byte──▶ Head ──whole──▶ Making ──answer begins──▶ Sending ──last byte handed over──▶ Idle …
//!   evictable            evictable                                 evictable once it has stood still
//!                                                                   ▲     │ an event stream has told all
//!                                                          an event └─────▼
//!                                                                   Listening
//! ```
//!
//! An answer of many blobs is a *download*, and few are under way at a time. A *stream* of events lasts as long as its
//! caller likes, and a quarter of the seats at most are streams. So most connections wait for their caller, and a new
//! caller always finds one that can go. One address gets at most three quarters of the seats, of the downloads and of
//! the streams. A reverse proxy is one address and loses little; a single greedy caller leaves the rest to others.
//!
//! Keeps: seats, downloads and streams stay within their bounds, and an address within its share of each.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A caller that read nothing for this long gives its seat to a new caller.
const STANDING_STILL: Duration = Duration::from_secs(1);
/// The more of an answer was read, the longer it may take: a caller that reads at this pace is never cut off.
const READ_BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

/// How long we wait for a caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// From the end of one answer to the first byte of the next request.
    pub idle: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Without taking a byte of its answer.
    pub stall: Duration,
    /// For a whole answer, if the caller reads slower than [`READ_BYTES_PER_SECOND_MIN`].
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            head: Duration::from_secs(5),
            stall: Duration::from_secs(10),
            answer: Duration::from_secs(120),
        }
    }
}

impl Patience {
    /// How often we must look at all connections, so that none stays much too long.
    pub fn sweep_interval(&self) -> Duration {
        let shortest = self.idle.min(self.head).min(self.stall).min(self.answer);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// We sent our last word, and throw away what the caller still sends.
    Parting,
    /// No byte of a request has come, or none since the last answer.
    Idle,
    /// A request's head is arriving.
    Head,
    /// The answer is being sent.
    Sending,
    /// The answer is being made.
    Making,
    /// A stream has told all that there is, and the caller has taken it.
    Listening,
}

/// Why a connection must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leave {
    /// What it was doing.
    pub phase: Phase,
    /// Whether a new caller wanted its seat; otherwise it took too long.
    pub wanted: bool,
}

/// Why there is no seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// This address has its full share.
    Address,
    /// All connections are at work.
    All,
}

/// An answer that is bounded in number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    Download,
    /// A stream of events.
    Stream,
}

/// How many there may be at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeatLimits {
    pub seats_max: usize,
    pub downloads_max: usize,
    pub streams_max: usize,
}

impl SeatLimits {
    const fn work_max(&self, work: Work) -> usize {
        match work {
            Work::Download => self.downloads_max,
            Work::Stream => self.streams_max,
        }
    }
}

/// The seats of all connections, and the downloads and streams under way.
#[derive(Debug)]
pub struct Seats {
    limits: SeatLimits,
    patience: Patience,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    taken: HashMap<u64, Connection>,
    downloads: Shares,
    streams: Shares,
}

/// Work under way, by address; an address without any has no entry.
#[derive(Debug, Default)]
struct Shares(HashMap<IpAddr, usize>);

impl Shares {
    fn all(&self) -> usize {
        self.0.values().sum()
    }

    /// One more for an address, unless there are `max`, or it has its share of them.
    fn take(&mut self, who: IpAddr, max: usize) -> bool {
        let own = self.0.get(&who).copied().unwrap_or_default();
        if self.all() >= max || own >= share(max) {
            return false;
        }
        self.0.insert(who, own + 1);
        true
    }

    fn give_back(&mut self, who: IpAddr) {
        if let Some(own) = self.0.get_mut(&who) {
            *own -= 1;
            if *own == 0 {
                self.0.remove(&who);
            }
        }
    }
}

#[derive(Debug)]
struct Connection {
    who: IpAddr,
    phase: Phase,
    /// When this phase began.
    since: Instant,
    /// When its caller last took a byte.
    moved: Instant,
    sent_bytes: u64,
    leave: oneshot::Sender<Leave>,
}

/// Three quarters, and at least one.
const fn share(all: usize) -> usize {
    all - all / 4
}

/// Names a caller: an IPv4 address, or an IPv6 network of 64 bits, as one host has many addresses of it.
fn caller(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Seats {
    pub fn new(limits: SeatLimits, patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            limits,
            patience,
            table: Mutex::default(),
        })
    }

    /// Takes a seat. If none is free, takes that of a connection that can go.
    pub fn enter(
        self: &Arc<Self>,
        peer: IpAddr,
        now: Instant,
    ) -> Result<(Arc<CallerSeat>, oneshot::Receiver<Leave>), Full> {
        let who = caller(peer);
        let mut table = self.lock();
        if table.taken.values().filter(|connection| connection.who == who).count() >= share(self.limits.seats_max) {
            table
                .evict(now, |connection| connection.who == who)
                .ok_or(Full::Address)?;
        }
        if table.taken.len() >= self.limits.seats_max {
            table.evict(now, |_| true).ok_or(Full::All)?;
        }
        let (leave, left) = oneshot::channel();
        let id = table.next;
        table.next += 1;
        table.taken.insert(
            id,
            Connection {
                who,
                phase: Phase::Idle,
                since: now,
                moved: now,
                sent_bytes: 0,
                leave,
            },
        );
        table.check(self);
        drop(table);
        let seats = Arc::clone(self);
        Ok((Arc::new(CallerSeat { id, who, seats }), left))
    }

    /// Ends connections whose caller took too long.
    pub fn sweep(&self, now: Instant) {
        let mut table = self.lock();
        let late: Vec<u64> = table
            .taken
            .iter()
            .filter(|(_, connection)| connection.is_late(&self.patience, now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            table.send_away(id, false);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn shares(&mut self, work: Work) -> &mut Shares {
        match work {
            Work::Download => &mut self.downloads,
            Work::Stream => &mut self.streams,
        }
    }

    /// Seats, downloads and streams stay within their bounds. Called where one is taken.
    fn check(&self, seats: &Seats) {
        let limits = &seats.limits;
        assert!(self.taken.len() <= limits.seats_max, "connections are bounded");
        assert!(self.downloads.all() <= limits.downloads_max, "downloads are bounded");
        assert!(self.streams.all() <= limits.streams_max, "streams are bounded");
    }

    /// Checks the rest too: what one address holds, and that nothing is left of work that is over.
    #[cfg(test)]
    fn check_whole(&self, seats: &Seats) {
        self.check(seats);
        let limits = &seats.limits;
        for (shares, max) in [
            (&self.downloads, limits.downloads_max),
            (&self.streams, limits.streams_max),
        ] {
            for own in shares.0.values() {
                assert!((1..=share(max)).contains(own), "one address has its share");
            }
        }
        let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.taken.values() {
            *of_address.entry(connection.who).or_default() += 1;
        }
        let most = of_address.values().max().copied().unwrap_or_default();
        assert!(
            most <= share(limits.seats_max),
            "one address has its share of the seats"
        );
    }

    /// Sends away the connection that nobody will miss: one of the address that has most connections. Among those it
    /// takes one that waits for its caller before one that is at work, and the one that has done so longest. A
    /// connection that has just come only looks idle: its request may be there, unread.
    fn evict(&mut self, now: Instant, among: impl Fn(&Connection) -> bool) -> Option<()> {
        let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
        for connection in self.taken.values() {
            *of_address.entry(connection.who).or_default() += 1;
        }
        let can_go = self
            .taken
            .iter()
            .filter(|(_, connection)| among(connection) && connection.can_go(now));
        let (id, _) = can_go.min_by_key(|(_, connection)| {
            let others = of_address.get(&connection.who).copied().unwrap_or_default();
            let class = match connection.phase {
                Phase::Parting => 0,
                Phase::Idle | Phase::Head => 1,
                Phase::Sending | Phase::Making | Phase::Listening => 2,
            };
            (std::cmp::Reverse(others), class, connection.since)
        })?;
        let id = *id;
        self.send_away(id, true);
        Some(())
    }

    fn send_away(&mut self, id: u64, wanted: bool) {
        if let Some(connection) = self.taken.remove(&id) {
            // The connection may have just ended by itself.
            let _ = connection.leave.send(Leave {
                phase: connection.phase,
                wanted,
            });
        }
    }
}

impl Connection {
    fn can_go(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Parting | Phase::Idle | Phase::Head => true,
            Phase::Sending => now.saturating_duration_since(self.moved) >= STANDING_STILL,
            Phase::Making | Phase::Listening => false,
        }
    }

    fn is_late(&self, patience: &Patience, now: Instant) -> bool {
        let at_it = now.saturating_duration_since(self.since);
        match self.phase {
            Phase::Idle => at_it >= patience.idle,
            Phase::Head => at_it >= patience.head,
            Phase::Sending => {
                let earned = Duration::from_secs(self.sent_bytes / READ_BYTES_PER_SECOND_MIN);
                now.saturating_duration_since(self.moved) >= patience.stall || at_it >= patience.answer + earned
            }
            // The server bounds the first two in time. Nothing waits for the caller while it listens.
            Phase::Parting | Phase::Making | Phase::Listening => false,
        }
    }
}

/// One connection's seat. Dropping it gives the seat back.
#[derive(Debug)]
pub struct CallerSeat {
    id: u64,
    who: IpAddr,
    seats: Arc<Seats>,
}

impl CallerSeat {
    /// What the connection is doing; `Parting` once it was sent away.
    pub fn phase(&self) -> Phase {
        let table = self.seats.lock();
        table
            .taken
            .get(&self.id)
            .map_or(Phase::Parting, |connection| connection.phase)
    }

    /// The connection begins a new phase.
    pub fn turn_to(&self, phase: Phase, now: Instant) {
        self.change(|connection| {
            connection.phase = phase;
            connection.since = now;
            connection.moved = now;
            connection.sent_bytes = 0;
        });
    }

    /// The caller sent something.
    pub fn heard(&self, now: Instant) {
        if self.phase() == Phase::Idle {
            self.turn_to(Phase::Head, now);
        }
    }

    /// The caller took this much of its answer.
    pub fn took(&self, bytes: usize, now: Instant) {
        self.change(|connection| {
            connection.moved = now;
            connection.sent_bytes += bytes as u64;
        });
    }

    /// Makes room for an answer; `None` while there are as many as may be, or this caller has its share.
    pub fn begin(&self, work: Work) -> Option<Place> {
        let mut table = self.seats.lock();
        if !table.shares(work).take(self.who, self.seats.limits.work_max(work)) {
            return None;
        }
        table.check(&self.seats);
        Some(Place {
            who: self.who,
            work,
            seats: Arc::clone(&self.seats),
        })
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        self.seats.lock().taken.get_mut(&self.id).map(change);
    }
}

impl Drop for CallerSeat {
    fn drop(&mut self) {
        self.seats.lock().taken.remove(&self.id);
    }
}

/// An answer under way. It is over when this is dropped.
#[derive(Debug)]
pub struct Place {
    who: IpAddr,
    work: Work,
    seats: Arc<Seats>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.lock().shares(self.work).give_back(self.who);
    }
}

#[cfg(test)]
mod tests;
