//! A network of real nodes that is begun again with the same keys and parameters, and hears all that its validators
//! signed before.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use ultramarine_net::frame::{FrameKind, read_frame};
use ultramarine_net::hello::Goodbye;
use ultramarine_net::message::{message_frame, read_init, status_frame};
use ultramarine_node::genesis::Genesis;
use ultramarine_node::home::Home;
use ultramarine_node::keys::Keys;
use ultramarine_types::consensus::{
    CertificateSignature, RoundCertificate, RoundCertificateKind, RoundSignature, SignedMessage,
};
use ultramarine_types::network::Status;
use ultramarine_types::{Address, ConsensusMessage, Hash, Height, PolkaCertificate, Vote, VoteKind, fixtures};

use crate::harness::network::{Network, charges};
use crate::harness::rogue::{Guise, Packages, Rogue, hello, runtime};
use crate::harness::{Node, wait_for};

const PATIENCE: Duration = Duration::from_secs(90);
/// Heights of the past that are played in.
const HEIGHTS: u64 = 5;
/// Real nodes. The last validator's key is in our hands.
const NODES: usize = 3;

/// Everything that the rogue knows of one life of the chain.
#[derive(Default)]
struct Past {
    messages: Vec<ConsensusMessage>,
    /// Streams of values, with their heights.
    streams: Vec<(Height, Bytes)>,
    packages: Packages,
}

impl Past {
    fn votes(&self, height: Height, kind: VoteKind) -> impl Iterator<Item = &Vote> {
        self.messages.iter().filter_map(move |message| match message {
            ConsensusMessage::Vote(vote) if vote.height == height && vote.kind == kind => Some(vote),
            _ => None,
        })
    }

    /// Certificates of a height, as a node makes them of these votes.
    fn certificates(&self, height: Height) -> Vec<ConsensusMessage> {
        let first = self
            .votes(height, VoteKind::Prevote)
            .find(|vote| vote.value_id.is_some());
        let prevote = first.expect("a prevote of each height");
        let (round, value_id) = (prevote.round, prevote.value_id.expect("as found"));
        let alike = |kind| {
            let votes = self.votes(height, kind);
            votes.filter(move |vote| vote.round == round && vote.value_id == Some(value_id))
        };
        let polka = PolkaCertificate {
            height,
            round,
            value_id,
            signatures: alike(VoteKind::Prevote)
                .map(|vote| CertificateSignature {
                    address: vote.voter,
                    signature: vote.signature,
                })
                .collect(),
        };
        let of_round = |kind, votes| RoundCertificate {
            height,
            round,
            kind,
            signatures: alike(votes)
                .map(|vote| RoundSignature {
                    kind: vote.kind,
                    value_id: vote.value_id,
                    address: vote.voter,
                    signature: vote.signature,
                })
                .collect(),
        };
        vec![
            ConsensusMessage::Polka(polka),
            ConsensusMessage::Round(of_round(RoundCertificateKind::Precommit, VoteKind::Precommit)),
            ConsensusMessage::Round(of_round(RoundCertificateKind::Skip, VoteKind::Prevote)),
        ]
    }

    /// All messages of a height: those that were sent, and certificates.
    fn of(&self, height: Height) -> Vec<ConsensusMessage> {
        let sent = self
            .messages
            .iter()
            .filter(|message| message.height() == height)
            .cloned();
        let mut all: Vec<_> = sent.collect();
        for certificate in self.certificates(height) {
            if !all.contains(&certificate) {
                all.push(certificate);
            }
        }
        all
    }
}

/// A life of the chain, and the validator whose key is ours.
struct Life<'a> {
    runtime: &'a Arc<Runtime>,
    network: &'a Network,
    genesis: Genesis,
    ours: Keys,
}

impl<'a> Life<'a> {
    fn of(runtime: &'a Arc<Runtime>, network: &'a Network) -> Self {
        let home = Home::open(&network.nodes[NODES].home).expect("a home");
        Self {
            runtime,
            network,
            genesis: Genesis::load(&home).expect("a genesis"),
            ours: home.keys().expect("keys"),
        }
    }

    /// Our node, as its validator attests it on this chain.
    fn validator(&self) -> Guise {
        let key = self.ours.validator.as_ref().expect("a validator");
        Guise::validator(&self.genesis, &self.ours.node, key)
    }

    fn meet(&self, id: usize, guise: &Guise) -> Rogue {
        Rogue::meet(self.runtime, self.network.addresses[id].quic, &self.genesis, guise)
    }

    /// Starts the other nodes, and plays our validator's until they have decided enough. Keeps all that it is sent.
    fn record(&self) -> Past {
        let guise = self.validator();
        let _processes: Vec<_> = (0..NODES).map(|id| self.network.start(id, &[])).collect();
        // The first height waits a while for those who do not say yet that they are ready.
        let meet = |id: usize| {
            wait_for("answer", PATIENCE, || self.network.nodes[id].status());
            self.meet(id, &guise)
        };
        let mut rogues: Vec<Rogue> = (0..NODES).map(meet).collect();
        let _load = self.network.load(0..NODES);
        let mut past = Past::default();
        wait_for("a few heights", PATIENCE, || {
            let mut is_enough = true;
            for rogue in &mut rogues {
                let status = rogue.heard().status.clone();
                // As far as the other is, so that it sends what we might have missed.
                if let Some(Status { tip, .. }) = status {
                    is_enough &= tip.0 > HEIGHTS;
                    rogue.say(&status_frame(&fixtures::status(tip)));
                }
            }
            is_enough.then_some(())
        });
        for height in (1..=HEIGHTS).map(Height) {
            past.packages.insert(height, rogues[0].package(height));
        }
        for rogue in &rogues {
            let mut heard = rogue.heard();
            for message in heard.messages.drain(..) {
                if !past.messages.contains(&message) {
                    past.messages.push(message);
                }
            }
            past.streams.extend(
                heard
                    .streams
                    .drain(..)
                    .map(|stream| (height_of(self.runtime, &stream), stream)),
            );
        }
        past
    }
}

/// The height of a value that was streamed.
fn height_of(runtime: &Runtime, stream: &Bytes) -> Height {
    let mut bytes = stream.as_ref();
    let body = runtime
        .block_on(read_frame(&mut bytes, FrameKind::Init))
        .expect("a frame")
        .expect("not the end");
    read_init(&body).expect("an Init").metadata.height
}

/// Empties the directories, and draws another salt. Everything else of the chain stays.
fn begin_again(network: &Network) {
    for node in &network.nodes {
        let _ = std::fs::remove_dir_all(node.home.join("data"));
    }
    network.change_genesis(|genesis| genesis.salt = Hash([0x5a; 32]));
}

/// Strangers of one machine each, so that none pays for another.
struct Strangers(u16);

impl Strangers {
    fn next(&mut self) -> Guise {
        self.0 += 1;
        let [high, low] = self.0.to_be_bytes();
        Guise::full_node(IpAddr::from([127, 2, high, low]))
    }
}

/// Faults that a node has charged, of these kinds.
fn faults(node: &Node, kinds: &[&str]) -> f64 {
    let counted = |kind: &&str| node.metric(&format!("ultramarine_net_faults_total{{fault=\"{kind}\"}}"));
    kinds.iter().map(|kind| counted(kind).expect("the node answers")).sum()
}

/// Those that a signature, or what it should be under, may cost.
const SIGNED: &[&str] = &["signature", "certificate", "protocol"];
const OTHERS: &[&str] = &["part", "proof", "rule", "execution", "withheld", "flood"];

/// Plays something to a node, and waits until that is charged.
fn charged_once(node: &Node, what: &str, play: impl FnOnce()) {
    let before = faults(node, SIGNED);
    play();
    let what = format!("charge for {what}");
    wait_for(&what, PATIENCE, || (faults(node, SIGNED) > before).then_some(()));
    assert_eq!(faults(node, SIGNED), before + 1.0, "one {what}");
}

#[test]
fn what_was_signed_before_a_chain_was_begun_again_costs_whoever_plays_it_in_and_nobody_else() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), NODES + 1, 250);
    let runtime = runtime();
    let before = Life::of(&runtime, &network);
    let past = {
        let _processes: Vec<_> = (0..NODES).map(|id| network.start(id, &[])).collect();
        wait_for("answers of all", PATIENCE, || {
            (0..NODES).all(|id| network.nodes[id].status().is_some()).then_some(())
        });
        let _load = network.load(0..NODES);
        before.record()
    };

    begin_again(&network);
    let after = Life::of(&runtime, &network);
    assert_ne!(before.genesis.chain.identity, after.genesis.chain.identity);
    assert_eq!(before.genesis.chain.params, after.genesis.chain.params);
    assert_eq!(before.genesis.validators, after.genesis.validators);

    // Two of four decide nothing: they stand at the first height while its past is played in.
    let mut processes: Vec<_> = (0..2).map(|id| network.start(id, &[])).collect();
    let victim = &network.nodes[0];
    wait_for("a peer", PATIENCE, || {
        victim.status().filter(|status| status["peers"].as_u64() == Some(1))
    });
    stand_and_hear(&after, &before, &past);

    processes.push(network.start(2, &[]));
    let mut strangers = Strangers(0x8000);
    for height in (1..=HEIGHTS).map(Height) {
        for node in &network.nodes[..NODES] {
            node.wait_for_height(height.0, PATIENCE);
            // The height that it is at, and the next one.
            for message in [height.next(), height.next().next()].into_iter().flat_map(|height| {
                past.messages
                    .iter()
                    .filter(move |message| message.height() == height)
                    .take(3)
            }) {
                after.meet(node.id, &strangers.next()).say(&message_frame(message));
            }
        }
    }
    let nodes = &network.nodes[..NODES];
    for node in nodes {
        node.wait_for_height(HEIGHTS + 3, PATIENCE);
    }
    let honest: Vec<String> = (0..NODES).map(|id| peer_id(&network.nodes[id])).collect();
    let shortest = nodes.iter().map(|node| node.decided().len()).min().expect("some");
    let decided = nodes[0].decided();
    for node in nodes {
        assert_eq!(node.decided()[..shortest], decided[..shortest], "node{}", node.id);
        let status = node.status().expect("answers");
        assert_eq!(status["signing"]["on"], true, "{status}");
        assert_eq!(status["evidence"], 0, "{status}");
        let (_, evidence) = node.get("/ultramarine/v1/evidence").expect("answers");
        assert_eq!(evidence["evidence"], serde_json::json!([]), "nobody is convicted");
        assert!(faults(node, SIGNED) > 0.0, "node{} was spared", node.id);
        assert_eq!(faults(node, OTHERS), 0.0, "of another kind");
        for peer in &honest {
            assert_eq!(charges(node, peer), [""; 0], "a node of the chain was charged");
        }
    }
    for process in &mut processes {
        assert_eq!(process.0.try_wait().expect("a child of ours"), None, "it runs");
    }
}

fn peer_id(node: &Node) -> String {
    node.status().expect("answers")["peer_id"]
        .as_str()
        .expect("text")
        .to_owned()
}

/// Plays the past in to a node that stands at the first height. Each piece costs its bringer one charge.
fn stand_and_hear(after: &Life<'_>, before: &Life<'_>, past: &Past) {
    let (network, runtime) = (after.network, after.runtime);
    let (victim, address) = (&network.nodes[0], network.addresses[0].quic);
    let mut strangers = Strangers(0);

    // The chain's old name, and a validator's old word for its node.
    let ours = after.validator();
    let old_word = before.validator().attestation;
    for (words, why) in [
        (hello(&before.genesis, old_word), Goodbye::Chain),
        (hello(&after.genesis, old_word), Goodbye::Attestation),
    ] {
        let rogue = Rogue::meet_saying(runtime, address, &ours, &words, Packages::new());
        assert_eq!(rogue.farewell(), Some(why));
    }

    // A validator of the chain pays for votes of others until it is banned.
    let address_of = |id: usize| {
        Home::open(&network.nodes[id].home)
            .expect("a home")
            .keys()
            .expect("keys")
            .address()
    };
    let told: Address = address_of(0).expect("a validator");
    let mut old: Vec<_> = [Height(1), Height(2)]
        .into_iter()
        .flat_map(|height| past.of(height))
        .collect();
    let kinds: BTreeSet<_> = old
        .iter()
        .map(std::mem::discriminant)
        .map(|kind| format!("{kind:?}"))
        .collect();
    assert_eq!(kinds.len(), 4, "votes, proposals and both kinds of certificates");
    let mut rogue = after.meet(0, &ours);
    for message in old.drain(..2) {
        charged_once(victim, "an old message", || rogue.say(&message_frame(&message)));
    }
    assert_eq!(rogue.farewell(), Some(Goodbye::Banned));
    for message in old {
        let mut rogue = after.meet(0, &strangers.next());
        charged_once(victim, "an old message", || rogue.say(&message_frame(&message)));
    }

    // What the node itself signed: it must not take it for another process's.
    let its_own = past.messages.iter().filter_map(|message| match message {
        ConsensusMessage::Vote(vote) if vote.voter == told => Some(SignedMessage::Vote(vote.clone())),
        ConsensusMessage::Proposal(proposal) if proposal.proposer == told => {
            Some(SignedMessage::Proposal(proposal.clone()))
        }
        _ => None,
    });
    let its_own: Vec<_> = its_own.collect();
    assert!(its_own.len() > 4, "it signed {} messages", its_own.len());
    for seen in its_own {
        let mut rogue = after.meet(0, &strangers.next());
        let status = Status {
            seen_signed: Some(seen),
            ..fixtures::status(Height(0))
        };
        charged_once(victim, "a claim that it signed", || rogue.say(&status_frame(&status)));
    }

    let first = past.streams.iter().filter(|(height, _)| height.0 <= 2);
    assert!(first.clone().count() > 0);
    for (_, stream) in first {
        let rogue = after.meet(0, &strangers.next());
        charged_once(victim, "an old value", || rogue.stream(stream));
    }

    // It asks for what we claim to have decided.
    let guise = strangers.next();
    let words = hello(&after.genesis, None);
    let mut rogue = Rogue::meet_saying(runtime, address, &guise, &words, past.packages.clone());
    rogue.say(&status_frame(&fixtures::status(Height(HEIGHTS))));
    wait_for("charge for an old package", PATIENCE, || {
        (faults(victim, &["package"]) > 0.0).then_some(())
    });
    assert!(rogue.heard().packages_sent > 0);
    assert_eq!(victim.height(), Some(0), "nothing was decided");
}
