//! This file knows every value above our head: what is known of it, who is sending it, and how it was judged.
//!
//! A value's key is its height and id, never its round: a value streamed in one round may be decided in another.
//!
//! Keeps:
//! - every value is above the head;
//! - a value was judged only with what its judgement takes: metadata, payload, durable bytes;
//! - a value whose bytes are durable is neither streamed nor searched for, and has its payload until it is valid;
//! - a value that was judged is not to be judged again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::storage::Blobs;
use ultramarine_types::{Address, Height, Init, Lists, Nanos, PeerId, Round, ValueId, ValueKey};

/// Rounds behind ours whose values are kept for their proposals alone.
pub const ROUNDS_KEPT: u32 = 4;

/// Values that are kept, however old their rounds are, because they are being sent to us or executed. A slow link or
/// client would have its work thrown away otherwise, round after round.
pub const AT_WORK_MAX: usize = 8;

/// Senders remembered of a named value: enough to ask for its bytes.
const NAMERS_MAX: usize = 8;

/// Whether round `of` is long past in round `now`.
pub fn is_past(of: Round, now: Round) -> bool {
    of.0.saturating_add(ROUNDS_KEPT) < now.0
}

/// How far the judgement of a value has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Judgement {
    /// Not begun, or withheld for a local reason.
    #[default]
    Open,
    /// Our execution client is executing it.
    Executing { since: Nanos },
    /// It keeps every rule and our client executed it, but its bytes are not durable yet.
    Executed,
    /// The driver is checking its bytes. A certificate vouches for the rest.
    Inspecting,
    /// Its bytes are what the metadata says and a certificate vouches for it. Our client has not executed it.
    Vouched,
    /// It keeps every rule and our client executed it.
    Valid,
    /// It breaks a rule, its own blob refutes it, or our client calls it invalid.
    Invalid(String),
}

/// All bytes of a value but its blobs.
#[derive(Clone, Debug)]
pub struct Body {
    /// The lists that the metadata binds.
    pub lists: Arc<Lists>,
    pub payload: Bytes,
}

/// A search for the missing bytes of a value.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The peers that are asked now, and until when another one is not.
    pub asked: BTreeMap<PeerId, Nanos>,
    /// When each peer was asked that has not ended its answer.
    pub asked_at: BTreeMap<PeerId, Nanos>,
    /// When to ask the next one.
    pub next_at: Nanos,
    /// The peers that we asked in this turn.
    pub tried: BTreeSet<PeerId>,
}

/// What is known of one value.
#[derive(Clone, Debug, Default)]
pub struct KnownValue {
    /// Its metadata, once an `Init` was admitted.
    pub init: Option<Arc<Init>>,
    /// The peers whose streams were admitted and have not ended, and when each stream began.
    pub streams: BTreeMap<PeerId, Nanos>,
    /// When the first stream was admitted.
    pub first_seen: Option<Nanos>,
    /// Its lists and payload once they are whole, which may be before its blobs are. They are dropped once the value is
    /// valid and its rounds are long past.
    pub body: Option<Body>,
    /// Once its bytes are durable: whether its blobs are among them.
    pub stored: Option<Blobs>,
    /// How it was judged.
    pub judgement: Judgement,
    /// When it became `Valid` here.
    pub valid_at: Option<Nanos>,
    /// When a withheld verdict is looked at again.
    pub retry_at: Option<Nanos>,
    /// How often our execution client gave no verdict on its payload.
    pub failures: u32,
    /// The newest round of a verified proposal that names it.
    pub proposed_in: Option<Round>,
    /// Whether a polka names it.
    pub polka: bool,
    /// Peers that sent a message that names it, newest last.
    pub namers: Vec<PeerId>,
    /// While its bytes are wanted.
    pub search: Option<Search>,
}

impl KnownValue {
    /// Whether its bytes are durable.
    pub fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// Remembers a peer that sent a message that names it.
    pub fn note_namer(&mut self, peer: PeerId) {
        if self.namers.contains(&peer) {
            return;
        }
        if self.namers.len() >= NAMERS_MAX {
            self.namers.remove(0);
        }
        self.namers.push(peer);
    }

    fn check(&self, key: &ValueKey) {
        if let Some(init) = &self.init {
            assert_eq!(init.metadata.height, key.height, "{key} has metadata of another height");
        }
        let has_bytes = self.init.is_some() && self.body.is_some();
        let is_judged = match &self.judgement {
            Judgement::Open | Judgement::Invalid(_) => true,
            Judgement::Executing { .. } | Judgement::Executed => has_bytes,
            Judgement::Inspecting | Judgement::Vouched => has_bytes && self.is_stored(),
            Judgement::Valid => self.init.is_some() && self.valid_at.is_some(),
        };
        assert!(is_judged, "{key} is {:?} without what that takes", self.judgement);
        assert!(
            self.retry_at.is_none() || self.judgement == Judgement::Open,
            "{key} is to be judged again though it was judged"
        );
        if self.is_stored() {
            assert!(self.init.is_some(), "{key} is stored without its metadata");
            assert!(
                self.streams.is_empty(),
                "{key} is stored, and a stream of it is awaited"
            );
            assert!(self.search.is_none(), "{key} is stored, and searched for");
            assert!(
                self.body.is_some() || self.judgement == Judgement::Valid,
                "{key} lost its payload before it was judged"
            );
        }
        if !self.streams.is_empty() {
            assert!(
                self.init.is_some(),
                "a stream of {key} was admitted without its metadata"
            );
            assert!(self.first_seen.is_some(), "a stream of {key} was admitted at no time");
        }
        if let Some(search) = &self.search {
            let is_noted = search.asked.keys().all(|asked| search.tried.contains(asked));
            assert!(is_noted, "a peer that was asked for {key} may be asked again");
        }
        assert!(
            self.namers.len() <= NAMERS_MAX,
            "too many peers are remembered that named {key}"
        );
    }

    /// Whether its bytes are on their way, or our client executes it.
    fn is_at_work(&self) -> bool {
        let executes = matches!(self.judgement, Judgement::Executing { .. } | Judgement::Executed);
        executes || !self.streams.is_empty() && !self.is_stored()
    }

    /// Whether every round that speaks for it is long past.
    fn is_past(&self, now: Round) -> bool {
        let origin = self.init.as_ref().map(|init| init.metadata.origin_round);
        origin.max(self.proposed_in).is_some_and(|newest| is_past(newest, now))
    }
}

/// All values above the head.
#[derive(Debug, Default)]
pub struct Values {
    values: BTreeMap<ValueKey, KnownValue>,
    /// Whose false values are evidence already, and at which height.
    refuted: BTreeSet<(Height, Address)>,
}

impl Values {
    pub fn get(&self, key: &ValueKey) -> Option<&KnownValue> {
        self.values.get(key)
    }

    /// A value, to change.
    pub fn get_mut(&mut self, key: &ValueKey) -> Option<&mut KnownValue> {
        self.values.get_mut(key)
    }

    /// A value to change, made if it is new.
    pub fn entry(&mut self, key: ValueKey) -> &mut KnownValue {
        self.values.entry(key).or_default()
    }

    /// Values of a height.
    pub fn at(&self, height: Height) -> impl Iterator<Item = (&ValueKey, &KnownValue)> {
        let from = ValueKey {
            height,
            id: ValueId::ZERO,
        };
        let to = ValueKey {
            height,
            id: ValueId([0xff; 32]),
        };
        self.values.range(from..=to)
    }

    /// Keys of a height.
    pub fn keys_at(&self, height: Height) -> Vec<ValueKey> {
        self.at(height).map(|(key, _)| *key).collect()
    }

    /// Values admitted in an origin round that no polka names.
    pub fn uncertified_in_round(&self, height: Height, round: Round) -> usize {
        self.at(height)
            .filter(|(_, value)| !value.polka)
            .filter(|(_, value)| {
                value
                    .init
                    .as_ref()
                    .is_some_and(|init| init.metadata.origin_round == round)
            })
            .count()
    }

    /// The values of a height whose bytes are durable, for the status.
    pub fn held(&self, height: Height) -> Vec<ValueId> {
        self.at(height)
            .filter(|(_, value)| value.is_stored())
            .map(|(key, _)| key.id)
            .collect()
    }

    /// When to look at the values of the height again.
    pub fn deadline(&self, height: Height) -> Option<Nanos> {
        let retries = self.at(height).filter_map(|(_, value)| value.retry_at);
        retries.chain(self.search_deadline(height)).min()
    }

    /// When to ask the next peer for a value of the height.
    pub fn search_deadline(&self, height: Height) -> Option<Nanos> {
        self.at(height)
            .filter(|(_, value)| !value.is_stored())
            .filter_map(|(_, value)| value.search.as_ref().map(|search| search.next_at))
            .min()
    }

    /// Forgets streams of a peer that is gone.
    pub fn lose(&mut self, peer: &PeerId) {
        for value in self.values.values_mut() {
            value.streams.remove(peer);
            if let Some(search) = &mut value.search {
                search.asked.remove(peer);
                search.asked_at.remove(peer);
            }
        }
    }

    /// Lets go of values that matter only to rounds long past. A value judged `Valid` loses its payload: the store has
    /// it. Any other value goes altogether, unless a polka names it, or it is to be `kept`, or it is one of the newest
    /// that are being sent or executed: consensus cannot decide it as it is. If a polka or certificate names it later,
    /// it is fetched as if it had never come.
    pub fn slim(&mut self, height: Height, now: Round, kept: impl Fn(&ValueId) -> bool) {
        let past = |value: &KnownValue| value.is_past(now);
        let mut at_work: Vec<(Round, ValueId)> = self
            .at(height)
            .filter(|(_, value)| past(value) && value.is_at_work() && !value.polka)
            .filter_map(|(key, value)| Some((value.init.as_ref()?.metadata.origin_round, key.id)))
            .collect();
        at_work.sort_unstable();
        let at_work = at_work.split_off(at_work.len().saturating_sub(AT_WORK_MAX));
        self.values.retain(|key, value| {
            if key.height != height || !past(value) {
                return true;
            }
            if value.judgement == Judgement::Valid {
                value.body = None;
                return true;
            }
            value.polka || kept(&key.id) || at_work.iter().any(|(_, id)| *id == key.id)
        });
    }

    /// Asserts that every value is above the head.
    pub fn check(&self, head: Height) {
        if let Some(lowest) = self.lowest() {
            assert!(lowest > head, "a value of height {lowest} outlived its height");
        }
        assert!(
            self.refuted.first().is_none_or(|(height, _)| *height > head),
            "a conviction outlived its height"
        );
    }

    /// Asserts that what is known of each value fits together.
    pub fn check_whole(&self) {
        for (key, value) in &self.values {
            value.check(key);
        }
    }

    /// How many have their payloads in memory.
    pub fn payloads_len(&self) -> usize {
        self.values.values().filter(|value| value.body.is_some()).count()
    }

    /// Notes that a validator signed a false value; `false` if one of that height was noted before.
    pub fn refute(&mut self, height: Height, validator: Address) -> bool {
        self.refuted.insert((height, validator))
    }

    /// How many such notes there are.
    pub fn refuted_len(&self) -> usize {
        self.refuted.len()
    }

    /// A height was committed: takes the decided value, and drops all others up to that height.
    pub fn commit(&mut self, key: &ValueKey) -> Option<KnownValue> {
        let decided = self.values.remove(key);
        self.values.retain(|other, _| other.height > key.height);
        self.refuted.retain(|(height, _)| *height > key.height);
        decided
    }

    /// The lowest height with a value.
    pub fn lowest(&self) -> Option<Height> {
        self.values.keys().next().map(|key| key.height)
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }
}
