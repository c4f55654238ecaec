//! This file knows when the reader of a stream waits: while too many of its blobs, or too many bytes of all streams,
//! wait for a verdict. So nothing that came is dropped for want of judgement, and the sender is made to wait by QUIC.

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::{OfferId, OfferKind};
use ultramarine_types::{Nanos, Outbox, PeerId};

use super::{Join, State, Stream};
use crate::bounds;
use crate::streaming::contract::Output;

impl Join {
    /// Makes readers wait, if the blob that a stream just brought was the last for now.
    pub(super) fn hold_back(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        if self.unjudged.bytes() >= bounds::UNJUDGED_BYTES_MAX {
            let all: Vec<OfferId> = self.streams.keys().copied().collect();
            all.into_iter().for_each(|name| self.pause(now, name, out));
        } else if self.unjudged.count_of(name) >= bounds::UNJUDGED_PER_STREAM_MAX {
            self.pause(now, name, out);
        }
    }

    /// A stream that was just started waits at once if there is no room for its blobs. Otherwise a sender could bring
    /// one blob more than its share with every new stream.
    pub(super) fn hold_back_newcomer(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        if self.unjudged.bytes() >= bounds::UNJUDGED_BYTES_MAX {
            self.pause(now, name, out);
        }
    }

    fn pause(&mut self, now: Nanos, name: OfferId, out: &mut Outbox<Output>) {
        if let Some(stream) = self.streams.get_mut(&name)
            && stream.state == State::Active
            && stream.paused.is_none()
        {
            stream.paused = Some(now);
            out.push(Output::Pause { stream: name });
        }
    }

    /// Lets readers go on for which there is room again: those that waited longest first, and no more of them than
    /// blobs fit in.
    pub(super) fn read_on(&mut self, now: Nanos, out: &mut Outbox<Output>) {
        let room = bounds::UNJUDGED_BYTES_MAX.saturating_sub(self.unjudged.bytes()) / BLOB_BYTES;
        let mut waiting: Vec<(Nanos, OfferId)> = self
            .streams
            .iter()
            .filter_map(|(name, stream)| Some((stream.paused?, *name)))
            .filter(|(_, name)| self.unjudged.count_of(*name) < bounds::UNJUDGED_PER_STREAM_MAX)
            .collect();
        waiting.sort_unstable();
        for (since, name) in waiting.into_iter().take(room) {
            if let Some(stream) = self.streams.get_mut(&name) {
                // The time in which it waited is not its sender's.
                stream.paused = None;
                stream.since = stream.since + now.since(since);
                stream.progress = now;
                out.push(Output::Resume { stream: name });
            }
        }
    }

    /// When a stream is overdue; `None` while its reader waits for us.
    pub(super) fn deadline_of(&self, stream: &Stream) -> Option<Nanos> {
        if stream.paused.is_some() {
            return None;
        }
        Some(match stream.state {
            State::Requested => stream.since + bounds::REQUEST_WAIT,
            State::Asked { .. } | State::Waiting | State::Queued => stream.since + bounds::OFFER_WAIT,
            State::Active => {
                // Packages that we asked one peer for share its line.
                let shared = match stream.kind {
                    OfferKind::Proposal => 1,
                    OfferKind::Full | OfferKind::MetadataOnly => self.packages_of(stream.peer),
                };
                let stall = Nanos(bounds::STREAM_STALL.0 * shared);
                // Whoever brings bytes at the pace of the slowest line is not late.
                let brought = stream.brought_bytes() * shared / bounds::DRIBBLE_BYTES_PER_MS;
                let whole = self.config.limits.sync_timeout() + Nanos::from_millis(brought);
                (stream.progress + stall).min(stream.since + whole)
            }
        })
    }

    fn packages_of(&self, peer: PeerId) -> u64 {
        let is_package = |stream: &&Stream| {
            stream.peer == peer && stream.state == State::Active && stream.kind != OfferKind::Proposal
        };
        self.streams.values().filter(is_package).count().max(1) as u64
    }
}
