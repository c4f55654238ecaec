//! This file knows how bytes leave for a peer that has to keep taking them: one deadline for each step, and one for
//! all.
//!
//! These bytes are slices of mapped segments, each with a lease. A peer that reads nothing, or a byte now and then, or
//! that acknowledges nothing, must not hold the leases: we reset its stream, which drops them.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::connection::session::Session;
use crate::hub::Hub;
use crate::patience::{self, TimedOut};
use crate::serve::queue::Rank;

/// QUIC's error code for a stream that we reset: the peer took too long, or something newer went first.
const GIVEN_UP: quinn::VarInt = quinn::VarInt::from_u32(2);

/// On a fast line a portion leaves as soon as QUIC's own task has run.
const QUICK_LOOKS: u32 = 4;
/// How often we look whether a portion has left, after that.
const LOOK: Duration = Duration::from_millis(1);

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// How long it may take no byte.
    pub stall: Duration,
    /// When it must have all bytes.
    pub until: Instant,
}

/// Why some bytes were not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Undelivered {
    /// The peer wanted no more, or the connection ended. That is nobody's fault.
    #[error("nobody wants it any more")]
    Gone,
    /// The peer took nothing for too long.
    #[error("nothing was taken for too long")]
    Stalled,
    /// The peer took bytes now and then, and not all of them in time.
    #[error("too little was taken in the time there was")]
    Slow,
}

/// A stream to a peer. If it is dropped before all was delivered, it is reset: otherwise quinn would keep the bytes it
/// was given, and their leases, until the peer acknowledged them.
#[derive(Debug)]
pub(crate) struct Outgoing {
    send: quinn::SendStream,
    delivered: bool,
}

impl Outgoing {
    pub const fn new(send: quinn::SendStream) -> Self {
        Self { send, delivered: false }
    }

    /// Opens a unidirectional stream, once the peer allows one more.
    pub async fn open(connection: &quinn::Connection, deadlines: Deadlines) -> Result<Self, Undelivered> {
        let opened = in_time(deadlines, connection.open_uni()).await?;
        opened.map(Self::new).map_err(|_| Undelivered::Gone)
    }

    /// Sets the stream's rank on its connection: the highest goes first.
    pub fn set_priority(&self, priority: i32) {
        let _ = self.send.set_priority(priority);
    }

    /// Writes all pieces, ends the stream and waits until the peer has acknowledged all. A piece is dropped once it is
    /// sent.
    pub async fn deliver(mut self, mut pieces: Vec<Bytes>, deadlines: Deadlines) -> Result<(), Undelivered> {
        self.write(&mut pieces, deadlines).await?;
        drop(pieces);
        self.finish(deadlines).await
    }

    /// The same in portions, each when it has its turn over all connections. The time until then is none of the peer's.
    pub async fn deliver_in_turn(
        mut self,
        hub: &Hub,
        session: &Session,
        pieces: Vec<Bytes>,
        mut deadlines: Deadlines,
    ) -> Result<(), Undelivered> {
        let origin = session.origin();
        let mut pieces = pieces.into_iter().peekable();
        while pieces.peek().is_some() {
            let mut portion = portion(&mut pieces, Rank::of(&origin).portion_bytes());
            let bytes = portion.iter().map(Bytes::len).sum::<usize>() as u64;
            let asked = Instant::now();
            let turn = tokio::select! {
                biased;
                // It may want no more meanwhile.
                _ = self.send.stopped() => return Err(Undelivered::Gone),
                turn = hub.serving.turn(hub.now(), origin, bytes) => turn,
            };
            deadlines.until += asked.elapsed();
            let before = session.connection.stats().udp_tx.bytes;
            self.write(&mut portion, deadlines).await?;
            drop(portion);
            // QUIC has it. It has left when as much has gone to this peer.
            let left = async {
                let mut looks = 0;
                while session.connection.stats().udp_tx.bytes < before + bytes {
                    looks += 1;
                    if looks <= QUICK_LOOKS {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(LOOK).await;
                    }
                }
            };
            in_time(deadlines, left).await?;
            drop(turn);
        }
        self.finish(deadlines).await
    }

    async fn write(&mut self, pieces: &mut [Bytes], deadlines: Deadlines) -> Result<(), Undelivered> {
        let mut rest = pieces;
        while !rest.is_empty() {
            let written = in_time(deadlines, self.send.write_chunks(rest)).await?;
            let taken = written.map_err(|_| Undelivered::Gone)?.chunks;
            rest = std::mem::take(&mut rest).get_mut(taken..).unwrap_or_default();
        }
        Ok(())
    }

    async fn finish(mut self, deadlines: Deadlines) -> Result<(), Undelivered> {
        let _ = self.send.finish();
        // Megabytes may be on their way, and we do not see them arrive: from here on only the deadline for all counts.
        let left = deadlines.until.saturating_duration_since(Instant::now());
        let whole = Deadlines {
            stall: left + Duration::from_millis(1),
            ..deadlines
        };
        in_time(whole, self.send.stopped())
            .await?
            .map_err(|_| Undelivered::Gone)?;
        self.delivered = true;
        Ok(())
    }
}

/// Takes as many bytes from the front, or what is there.
fn portion(pieces: &mut std::iter::Peekable<std::vec::IntoIter<Bytes>>, bytes_max: usize) -> Vec<Bytes> {
    let (mut portion, mut room) = (Vec::new(), bytes_max);
    while room > 0
        && let Some(piece) = pieces.peek_mut()
    {
        let taken = piece.split_to(piece.len().min(room));
        room -= taken.len();
        portion.push(taken);
        if piece.is_empty() {
            pieces.next();
        }
    }
    portion
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.delivered {
            let _ = self.send.reset(GIVEN_UP);
        }
    }
}

async fn in_time<T>(deadlines: Deadlines, step: impl Future<Output = T>) -> Result<T, Undelivered> {
    let left = deadlines.until.saturating_duration_since(Instant::now());
    match patience::in_time(deadlines.stall.min(left), step).await {
        Ok(done) => Ok(done),
        // Our own process slept: the peer owes nothing.
        Err(TimedOut { we_slept: true }) => Err(Undelivered::Gone),
        Err(TimedOut { we_slept: false }) if deadlines.stall <= left => Err(Undelivered::Stalled),
        Err(TimedOut { we_slept: false }) => Err(Undelivered::Slow),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::bounds;
    use crate::connection::endpoint;
    use crate::peers::identity::Identity;

    /// More than the windows of a connection that was not raised.
    const BYTES: usize = 4 * bounds::STRANGER_WINDOW_BYTES as usize;

    fn deadlines(stall_ms: u64, whole_ms: u64) -> Deadlines {
        Deadlines {
            stall: Duration::from_millis(stall_ms),
            until: Instant::now() + Duration::from_millis(whole_ms),
        }
    }

    /// Two ends of a connection; endpoints live as long as they do.
    async fn pair() -> (quinn::Connection, quinn::Connection) {
        let open = |secret| {
            let socket = endpoint::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
            endpoint::open(socket, &Identity::from_secret(&[secret; 32])).expect("an endpoint")
        };
        let (one, two) = (open(1), open(2));
        let address = two.local_addr().expect("bound");
        let dialed = one.connect(address, "x").expect("dials");
        let accept = async { two.accept().await.expect("open").await.expect("connects") };
        let (dialed, accepted) = tokio::join!(dialed, accept);
        (dialed.expect("connects"), accepted)
    }

    /// Sends to a peer that reads as it likes; how that ends.
    fn send_to<F: Future<Output = ()>>(
        deadlines: impl FnOnce() -> Deadlines,
        read: impl FnOnce(quinn::RecvStream) -> F,
    ) -> Result<(), Undelivered> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (ours, theirs) = pair().await;
            let deadlines = deadlines();
            let outgoing = Outgoing::open(&ours, deadlines).await?;
            let deliver = outgoing.deliver(vec![Bytes::from(vec![7; BYTES])], deadlines);
            let reading = async { read(theirs.accept_uni().await.expect("a stream")).await };
            tokio::join!(deliver, reading).0
        })
    }

    #[test]
    fn portions_are_cut_at_their_size_and_nothing_is_lost() {
        let all = Bytes::from((0..100).collect::<Vec<u8>>());
        let mut pieces = vec![all.slice(..7), all.slice(7..7), all.slice(7..60), all.slice(60..)];
        pieces.push(Bytes::new());
        let mut pieces = pieces.into_iter().peekable();
        let mut found = Vec::new();
        while pieces.peek().is_some() {
            let portion = portion(&mut pieces, 16).concat();
            assert!(portion.len() <= 16);
            found.extend(portion);
        }
        assert_eq!(found, all);
    }

    #[test]
    fn a_peer_that_reads_gets_it_all() {
        let sent = send_to(
            || deadlines(10_000, 20_000),
            async |mut receive| {
                assert_eq!(receive.read_to_end(BYTES).await.expect("it comes").len(), BYTES);
            },
        );
        assert_eq!(sent, Ok(()));
    }

    #[test]
    fn a_peer_that_reads_nothing_is_cut_off() {
        let sent = send_to(
            || deadlines(300, 20_000),
            async |mut receive| {
                let _ = receive.received_reset().await;
            },
        );
        assert_eq!(sent, Err(Undelivered::Stalled));
    }

    #[test]
    fn a_peer_that_reads_a_little_now_and_then_is_cut_off() {
        let sent = send_to(
            || deadlines(10_000, 600),
            async |mut receive| {
                let mut sip = vec![0; 8 * 1024];
                while receive.read(&mut sip).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        );
        assert_eq!(sent, Err(Undelivered::Slow));
    }

    #[test]
    fn a_peer_that_wants_no_more_is_nobodys_fault() {
        let sent = send_to(
            || deadlines(10_000, 20_000),
            async |mut receive| {
                let _ = receive.stop(GIVEN_UP);
            },
        );
        assert_eq!(sent, Err(Undelivered::Gone));
    }
}
