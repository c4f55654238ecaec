//! An honest network: everything arrives, a little later, unless a test says otherwise.

use ultramarine_types::network::{NetCommand, NetEvent, OfferId, OfferKind, Recipients, SyncEnd, SyncWant};
use ultramarine_types::storage::Decided;
use ultramarine_types::{Assembly, ConsensusMessage, Nanos, ValueKey};

use super::{Happening, World, peer_id};
use crate::log::LogRecord;
use crate::{Core, Input};

impl World {
    pub(super) fn net(&mut self, from: usize, command: NetCommand) {
        match command {
            NetCommand::Send { to, message } => {
                self.assert_durable(from, &message);
                for to in self.recipients(from, to) {
                    let round = self.nodes[to].core.as_ref().and_then(Core::round);
                    if !(self.drop)(from, to, &message, round) {
                        let message = message.clone();
                        self.deliver(
                            to,
                            1000,
                            Input::Net(NetEvent::Message {
                                peer: peer_id(from),
                                message,
                            }),
                        );
                    }
                }
            }
            NetCommand::Status { to, status } => {
                for to in self.recipients(from, Recipients::One(to)) {
                    let status = status.clone();
                    self.deliver(
                        to,
                        1000,
                        Input::Net(NetEvent::Status {
                            peer: peer_id(from),
                            status,
                        }),
                    );
                }
            }
            NetCommand::Hearing { to, hearing } => {
                for to in self.recipients(from, Recipients::One(to)) {
                    let (peer, hearing) = (peer_id(from), hearing.clone());
                    self.deliver(to, 1000, Input::Net(NetEvent::Hearing { peer, hearing }));
                }
            }
            NetCommand::Stream { key, to } => {
                let Some(assembly) = self.held(from, &key) else { return };
                for to in self.recipients(from, to) {
                    if !(self.lose_stream)(from, to, &key) {
                        self.offer(from, to, assembly.clone(), OfferKind::Proposal, None);
                    }
                }
            }
            NetCommand::Admit { offer, tag } => {
                let (_, assembly) = self.offers.remove(&offer.0).unwrap();
                let (life, at) = (self.nodes[from].life, self.now + Nanos::from_millis(2));
                self.schedule(
                    at,
                    Happening::Put {
                        to: from,
                        life,
                        assembly: Box::new(assembly),
                        tag,
                    },
                );
            }
            NetCommand::Refuse { offer, .. } => {
                self.offers.remove(&offer.0);
            }
            NetCommand::Fetch { key, peer } => {
                let holder = peer.0[0] as usize;
                if self.nodes[from].connected.contains(&holder)
                    && self.nodes[holder].core.is_some()
                    && let Some(assembly) = self.held(holder, &key)
                {
                    self.offer(holder, from, assembly, OfferKind::Proposal, None);
                }
            }
            NetCommand::Sync { peer, height, want } => {
                let server = peer.0[0] as usize;
                if !self.nodes[from].connected.contains(&server) {
                    return;
                }
                let without_blobs = want == SyncWant::Payload || height < self.pruned_below;
                match self.nodes[server].disk.decided.get(&height).cloned() {
                    Some(_) if self.nodes[server].disk.rotten.contains(&height) => {
                        let end = SyncEnd::Unavailable;
                        self.deliver(from, 1500, Input::Net(NetEvent::SyncEnded { peer, height, end }));
                    }
                    Some((decided, assembly)) if want != SyncWant::Certificate && without_blobs => {
                        let bare = Assembly {
                            blobs: Vec::new(),
                            ..assembly
                        };
                        self.offer(server, from, bare, OfferKind::MetadataOnly, Some(decided));
                    }
                    Some((decided, assembly)) if want != SyncWant::Certificate => {
                        self.offer(server, from, assembly, OfferKind::Full, Some(decided));
                    }
                    Some((decided, _)) => {
                        let end = SyncEnd::Certificate(decided.certificate);
                        self.deliver(from, 1500, Input::Net(NetEvent::SyncEnded { peer, height, end }));
                    }
                    None => {
                        let end = SyncEnd::NotDecided { tip: self.head(server) };
                        self.deliver(from, 1500, Input::Net(NetEvent::SyncEnded { peer, height, end }));
                    }
                }
            }
            NetCommand::Forget { .. } | NetCommand::Rejudge { .. } => {}
            NetCommand::Charge { peer, fault } => self.charges.push((from, peer.0[0] as usize, fault)),
        }
    }

    fn recipients(&self, from: usize, to: Recipients) -> Vec<usize> {
        match to {
            Recipients::All => self.nodes[from].connected.iter().copied().collect(),
            Recipients::One(peer) => {
                let to = peer.0[0] as usize;
                self.nodes[from]
                    .connected
                    .iter()
                    .copied()
                    .filter(|other| *other == to)
                    .collect()
            }
        }
    }

    /// A peer offers a node a stream.
    pub fn offer(&mut self, from: usize, to: usize, assembly: Assembly, kind: OfferKind, decided: Option<Decided>) {
        self.sequence += 1;
        let offer = OfferId(self.sequence);
        let (key, init) = (assembly.key, assembly.init.clone());
        self.offers.insert(offer.0, (from, assembly));
        let certificate = decided.map(|decided| decided.certificate);
        self.deliver(
            to,
            1500,
            Input::Net(NetEvent::Offer {
                offer,
                peer: peer_id(from),
                key,
                init,
                kind,
                certificate,
            }),
        );
    }

    fn held(&self, node: usize, key: &ValueKey) -> Option<Assembly> {
        let disk = &self.nodes[node].disk;
        disk.undecided
            .get(key)
            .map(|(assembly, _)| assembly.clone())
            .or_else(|| {
                let (decided, assembly) = disk.decided.get(&key.height)?;
                (decided.certificate.value_id == key.id).then(|| assembly.clone())
            })
    }

    /// I8: what leaves was logged, and the log synced, before.
    fn assert_durable(&self, node: usize, message: &ConsensusMessage) {
        let record = match message {
            ConsensusMessage::Vote(vote) if vote.voter == self.address(node) => LogRecord::Vote(vote.clone()),
            ConsensusMessage::Proposal(proposal) if proposal.proposer == self.address(node) => {
                LogRecord::Proposal(proposal.clone())
            }
            _ => return,
        };
        let disk = &self.nodes[node].disk;
        assert!(
            disk.records.contains(&record.encode()),
            "node {node} sent {record:?} before it was durable"
        );
    }
}
