//! This file knows how to bring the execution client to our decided head, and whether it is there.
//!
//! ```text
//!            FCU(head) VALID                        new decision
//!  Probing ───────────────────────────▶ Ready ──────────────────────▶ Importing
//!     │ anything else                     ▲  caught up                    │  │ import VALID: next height
//!     ▼                                   └───────────────────────────────┘  │
//!  Asking (newest number) ─▶ Searching (FCU on a stored block, going back) ──┘ found
//!     ▲                                                                      │ any other answer
//!     └──────────────── Waiting (retry) ◀────────────────────────────────────┘
//! ```
//!
//! The client is ready in `Ready` only: it answered `VALID` on exactly our head. `confirmed` alone leads there, and
//! takes that answer. Every turn begins with `forkchoiceUpdated` on the head, before any `newPayload`: a client that
//! lags never catches up without a target. Nothing here waits for consensus, so a full restart with in-memory clients
//! comes back by itself.
//!
//! What a client answers about one payload says nothing about our head. It is asked about the head once more, and stays
//! ready if it confirms it.
//!
//! Keeps:
//! - the client is ready only with the hash of our head as its latest answer;
//! - the client is asked about blocks up to our head, never beyond it;
//! - while something is left to import, the next block is being loaded or is on its way to the client;
//! - people are told that the client is ready only while it follows our head, and owes us no word on a newer block;
//! - payloads in memory are few, and of decided heights.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultramarine_types::execution::{EngineCall, PayloadStatus};
use ultramarine_types::{Hash, Height, Init, Nanos};

use crate::stop::DecidedFault;
use crate::values::Body;

/// Decided payloads kept in memory for the import; older ones are loaded from the store.
const RECENT_MAX: usize = 8;
/// How long to wait after an answer that helps no further.
pub const RETRY: Nanos = Nanos::from_millis(500);

/// What the execution module wants done.
#[derive(Clone, Debug)]
pub enum Want {
    Call(EngineCall),
    /// Load a decided height's payload.
    Load(Height),
    /// The client became ready, or is so no longer.
    Readiness {
        ready: bool,
        why: String,
    },
    /// The client's head is our block of this height.
    Executed(Height),
    /// The client imported a block.
    Imported(Height),
    /// The client calls a decided block invalid.
    Invalid(DecidedFault),
}

#[derive(Clone, Debug)]
enum State {
    /// Before the head is known.
    Idle,
    /// `forkchoiceUpdated` on the head was sent.
    Probing {
        head: Height,
        hash: Hash,
    },
    /// The client was asked for its newest block number.
    Asking,
    /// Looking for the newest stored block that the client knows, now at `at`. The stride back doubles each time.
    Searching {
        at: Height,
        stride: u64,
        hash: Option<Hash>,
    },
    /// The client's head is `executed`. The next block is being loaded, or on its way.
    Importing {
        executed: Height,
    },
    /// The client's head is our head: it said so with this hash.
    Ready {
        confirmed: Hash,
    },
    Waiting {
        until: Nanos,
    },
}

/// The execution client's progress.
#[derive(Debug)]
pub struct Execution {
    state: State,
    head: Height,
    head_hash: Hash,
    genesis_hash: Hash,
    recent: BTreeMap<Height, (Arc<Init>, Body)>,
    why: String,
    told_ready: bool,
    /// Whether the last turn failed, for the reason in `why`. The steps of the next turn leave that reason as it is.
    is_failing: bool,
    /// What kept the client from calling a block `VALID`, if it has called none so since. It may confirm our head all
    /// the while: consensus goes by that, and people hear of this.
    unjudged: Option<String>,
    /// The height whose payload could not be read when it was needed last.
    unread: Option<Height>,
    #[cfg(feature = "planted")]
    pub planted: Option<crate::Planted>,
}

impl Execution {
    pub fn new(genesis_hash: Hash) -> Self {
        Self {
            state: State::Idle,
            head: Height::GENESIS,
            head_hash: genesis_hash,
            genesis_hash,
            recent: BTreeMap::new(),
            why: "the node is starting".to_owned(),
            told_ready: false,
            is_failing: false,
            unjudged: None,
            unread: None,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// Takes the head found at start, and asks the client about it.
    pub fn begin(&mut self, head: Height, hash: Hash, wants: &mut Vec<Want>) {
        (self.head, self.head_hash) = (head, hash);
        self.probe(wants);
    }

    /// A height was committed.
    pub fn decided(&mut self, height: Height, init: Arc<Init>, body: Option<Body>, wants: &mut Vec<Want>) {
        let before = self.head;
        (self.head, self.head_hash) = (height, init.metadata.header.block_hash);
        if let Some(body) = body {
            self.recent.insert(height, (init, body));
            while self.recent.len() > RECENT_MAX {
                self.recent.pop_first();
            }
        }
        if self.is_ready() {
            self.import_next(before, wants);
        }
    }

    /// Whether the client has confirmed our decided head.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether the client failed at what it was asked last.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Whether the client has confirmed our head, or imports the newest blocks one after another.
    pub fn follows(&self) -> bool {
        self.is_ready() || self.told_ready
    }

    /// The client did not call a block `VALID` that it was given or built: asks whether it still confirms our head.
    pub fn doubt(&mut self, why: String, wants: &mut Vec<Want>) {
        self.unjudged = Some(why.clone());
        #[cfg(feature = "planted")]
        if self.is_ready() && self.planted == Some(crate::Planted::PayloadErrorCloses) {
            self.probe(wants);
            return self.tell_unready(why, wants);
        }
        if self.is_ready() {
            wants.push(self.question());
        }
        if self.is_ready() || self.told_ready {
            self.tell_unready(why, wants);
        }
    }

    /// The client called a block `VALID` that it was given or built.
    pub fn trust(&mut self, wants: &mut Vec<Want>) {
        self.unjudged = None;
        if self.is_ready() {
            self.tell(wants);
        }
    }

    /// Why people should not count on the client now, where that keeps the height from moving.
    pub fn unready(&self) -> Option<String> {
        if let Some(why) = &self.unjudged {
            return Some(why.clone());
        }
        let head = self.head;
        match self.state {
            State::Ready { .. } => None,
            _ if self.told_ready => Some(format!("the execution client has not confirmed block {head} yet")),
            _ => Some(format!(
                "the execution client has not confirmed block {head} yet: {}",
                self.why
            )),
        }
    }

    pub fn forkchoice(&mut self, now: Nanos, head: Hash, status: &PayloadStatus, wants: &mut Vec<Want>) {
        match self.state.clone() {
            State::Probing { head: height, hash } if hash == head => match status {
                PayloadStatus::Valid { latest } => self.confirmed(now, height, *latest, wants),
                status => self.unconfirmed(now, status, wants),
            },
            State::Ready { confirmed } if confirmed == head => match status {
                PayloadStatus::Valid { latest } if *latest == Some(confirmed) => {}
                PayloadStatus::Valid { latest } => self.wait(now, not_our_head(latest.as_ref()), wants),
                status => self.unconfirmed(now, status, wants),
            },
            State::Searching {
                at,
                stride,
                hash: Some(hash),
            } if hash == head => match status {
                PayloadStatus::Valid { .. } if at < self.head => self.import_next(at, wants),
                PayloadStatus::Valid { latest } => self.confirmed(now, at, *latest, wants),
                PayloadStatus::Unavailable { reason } => self.wait(now, reason.clone(), wants),
                PayloadStatus::Syncing | PayloadStatus::Accepted | PayloadStatus::Invalid { .. } => {
                    if at == Height::GENESIS {
                        let why = format!(
                            "the client does not know even the genesis block: it syncs, or is of another chain. It \
                             answers forkchoiceUpdated with {status}"
                        );
                        self.wait(now, why, wants);
                    } else {
                        let back = Height(at.0.saturating_sub(stride));
                        self.search(back, stride.saturating_mul(2), wants);
                    }
                }
            },
            _ => {}
        }
    }

    /// The client does not call our head `VALID`: looks for what it does have.
    fn unconfirmed(&mut self, now: Nanos, status: &PayloadStatus, wants: &mut Vec<Want>) {
        match status {
            PayloadStatus::Unavailable { reason } => self.wait(now, reason.clone(), wants),
            PayloadStatus::Invalid { reason, .. } => {
                self.go_on(format!("the client calls our head INVALID: {reason}"), wants);
            }
            PayloadStatus::Syncing | PayloadStatus::Accepted | PayloadStatus::Valid { .. } => {
                self.go_on("the client does not have our head".to_owned(), wants);
            }
        }
    }

    /// The client answered `forkchoiceUpdated` on our block of `height` with `VALID` and this `latestValidHash`. It is
    /// ready if the block is our head and the hash the head's. Nothing else makes it so.
    fn confirmed(&mut self, now: Nanos, height: Height, latest: Option<Hash>, wants: &mut Vec<Want>) {
        if height < self.head {
            return self.reached(height, wants);
        }
        let is_ours = latest == Some(self.head_hash);
        #[cfg(feature = "planted")]
        let is_ours = is_ours || self.planted == Some(crate::Planted::AnyValidHead);
        if !is_ours {
            return self.wait(now, not_our_head(latest.as_ref()), wants);
        }
        wants.push(Want::Executed(height));
        self.recent.clear();
        self.state = State::Ready {
            confirmed: self.head_hash,
        };
        self.is_failing = false;
        self.tell(wants);
    }

    pub fn newest(&mut self, now: Nanos, number: Option<u64>, wants: &mut Vec<Want>) {
        if !matches!(self.state, State::Asking) {
            return;
        }
        match number {
            None => self.wait(now, "the client did not answer".to_owned(), wants),
            // Only a hint. What decides is its answer about our block of that height.
            Some(number) => self.search(self.head.min(Height(number)), 1, wants),
        }
    }

    pub fn loaded(&mut self, now: Nanos, height: Height, value: Option<(Arc<Init>, Body)>, wants: &mut Vec<Want>) {
        let Some((init, body)) = value else {
            if matches!(self.state, State::Searching { .. } | State::Importing { .. }) {
                self.unread = Some(height);
                self.wait(now, not_loaded(height), wants);
            }
            return;
        };
        self.unread = None;
        match self.state {
            State::Searching { at, stride, hash: None } if at == height => {
                let hash = init.metadata.header.block_hash;
                self.state = State::Searching {
                    at,
                    stride,
                    hash: Some(hash),
                };
                wants.push(Want::Call(EngineCall::Forkchoice { head: hash, height }));
            }
            State::Importing { executed } if executed.next() == height => {
                wants.push(import(height, init, body));
            }
            _ => {}
        }
    }

    /// A height's payload can be read again. If the client waits for it, it waits no longer.
    pub fn readable(&mut self, height: Height, wants: &mut Vec<Want>) {
        if self.unread == Some(height) {
            self.unread = None;
            if matches!(self.state, State::Waiting { .. }) {
                self.probe(wants);
            }
        }
    }

    pub fn imported(
        &mut self,
        now: Nanos,
        height: Height,
        payload: &PayloadStatus,
        forkchoice: &PayloadStatus,
        wants: &mut Vec<Want>,
    ) {
        let State::Importing { executed } = self.state else {
            return;
        };
        if executed.next() != height {
            return;
        }
        match (payload, forkchoice) {
            (PayloadStatus::Invalid { reason, .. }, _) => {
                let reason = reason.clone();
                wants.push(Want::Invalid(DecidedFault::Block { height, reason }));
            }
            (PayloadStatus::Valid { .. }, PayloadStatus::Valid { latest }) => {
                self.unjudged = None;
                wants.push(Want::Imported(height));
                self.confirmed(now, height, *latest, wants);
            }
            (PayloadStatus::Valid { .. }, PayloadStatus::Invalid { reason, .. }) => {
                let reason = reason.clone();
                wants.push(Want::Invalid(DecidedFault::Head { height, reason }));
            }
            (PayloadStatus::Valid { .. }, status) => {
                self.unjudged = None;
                self.wait(now, short_of_valid("forkchoiceUpdated", status), wants);
            }
            (status, _) => {
                let why = short_of_valid("newPayload", status);
                self.unjudged = Some(why.clone());
                self.wait(now, why, wants);
            }
        }
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Nanos> {
        match self.state {
            State::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// Looks again when it is time.
    pub fn wake(&mut self, now: Nanos, wants: &mut Vec<Want>) {
        if let State::Waiting { until } = self.state
            && until <= now
        {
            self.probe(wants);
        }
    }

    /// Our newest decided height, and its block.
    pub fn head(&self) -> (Height, Hash) {
        (self.head, self.head_hash)
    }

    /// Asserts that the client is led to our head, never beyond, and that it is called ready only while it follows.
    pub fn check(&self) {
        match &self.state {
            State::Idle | State::Asking | State::Waiting { .. } => {}
            State::Probing { head, .. } => assert!(*head <= self.head, "the client is asked about a head to come"),
            State::Searching { at, stride, .. } => {
                assert!(*at <= self.head, "a block to come is searched for");
                assert!(*stride > 0, "the search stands still");
            }
            State::Importing { executed } => assert!(*executed < self.head, "nothing is left to import"),
            State::Ready { confirmed } => {
                assert_eq!(*confirmed, self.head_hash, "the client is ready with another head");
                assert_eq!(
                    self.told_ready,
                    self.unjudged.is_none(),
                    "people were told something else"
                );
            }
        }
        assert!(
            !self.told_ready || matches!(self.state, State::Ready { .. } | State::Importing { .. }),
            "the client does not follow our head, and nobody was told"
        );
        assert!(self.recent.len() <= RECENT_MAX, "too many payloads are kept in memory");
    }

    /// Asserts that the payloads in memory are of decided heights.
    pub fn check_whole(&self) {
        for (height, (init, _)) in &self.recent {
            assert!(
                *height <= self.head,
                "a payload of height {height} is kept, which is not decided"
            );
            assert_eq!(init.metadata.height, *height, "a payload stands at another height");
        }
    }

    fn probe(&mut self, wants: &mut Vec<Want>) {
        self.state = State::Probing {
            head: self.head,
            hash: self.head_hash,
        };
        wants.push(self.question());
    }

    /// Whether the client confirms our head.
    fn question(&self) -> Want {
        Want::Call(EngineCall::Forkchoice {
            head: self.head_hash,
            height: self.head,
        })
    }

    /// The head is not confirmed: looks for what the client does have.
    fn go_on(&mut self, why: String, wants: &mut Vec<Want>) {
        if !self.is_failing {
            self.tell_unready(why, wants);
        }
        self.state = State::Asking;
        wants.push(Want::Call(EngineCall::Newest));
    }

    fn search(&mut self, at: Height, stride: u64, wants: &mut Vec<Want>) {
        let hash = if at == Height::GENESIS {
            Some(self.genesis_hash)
        } else if at == self.head {
            Some(self.head_hash)
        } else {
            self.recent.get(&at).map(|(init, _)| init.metadata.header.block_hash)
        };
        self.state = State::Searching { at, stride, hash };
        match hash {
            Some(hash) => wants.push(Want::Call(EngineCall::Forkchoice { head: hash, height: at })),
            None => wants.push(Want::Load(at)),
        }
    }

    /// The client's head is our block of `height`, and we have decided more: imports the next one.
    fn reached(&mut self, height: Height, wants: &mut Vec<Want>) {
        assert!(height < self.head, "nothing is left to import");
        wants.push(Want::Executed(height));
        if std::mem::take(&mut self.is_failing) {
            self.tell_unready(
                "the client is behind our head and is given the blocks it lacks".to_owned(),
                wants,
            );
        }
        self.import_next(height, wants);
    }

    fn import_next(&mut self, executed: Height, wants: &mut Vec<Want>) {
        self.recent.retain(|height, _| *height > executed);
        self.state = State::Importing { executed };
        let height = executed.next();
        match self.recent.get(&height) {
            Some((init, body)) => wants.push(import(height, init.clone(), body.clone())),
            None => wants.push(Want::Load(height)),
        }
    }

    /// The client follows our head. People hear that it is ready, unless it owes us something.
    fn tell(&mut self, wants: &mut Vec<Want>) {
        if let Some(why) = self.unjudged.clone() {
            return self.tell_unready(why, wants);
        }
        // People read this at every later height, so it names none.
        self.why = "the execution client follows our head".to_owned();
        if !self.told_ready {
            self.told_ready = true;
            wants.push(Want::Readiness {
                ready: true,
                why: self.why.clone(),
            });
        }
    }

    fn wait(&mut self, now: Nanos, why: String, wants: &mut Vec<Want>) {
        self.is_failing = true;
        self.state = State::Waiting { until: now + RETRY };
        self.tell_unready(why, wants);
    }

    fn tell_unready(&mut self, why: String, wants: &mut Vec<Want>) {
        if self.told_ready || self.why != why {
            self.told_ready = false;
            self.why.clone_from(&why);
            wants.push(Want::Readiness { ready: false, why });
        }
    }
}

fn import(height: Height, init: Arc<Init>, body: Body) -> Want {
    let Body { lists, payload } = body;
    Want::Call(EngineCall::Import {
        height,
        init,
        lists,
        payload,
    })
}

fn not_our_head(latest: Option<&Hash>) -> String {
    match latest {
        Some(latest) => format!("the client answered VALID with latestValidHash {latest}, not our head"),
        None => "the client answered VALID without the latestValidHash that says for which block".to_owned(),
    }
}

/// Says of a call that the client answered it with something other than `VALID`.
pub fn short_of_valid(call: &str, status: &PayloadStatus) -> String {
    match status {
        PayloadStatus::Unavailable { reason } => reason.clone(),
        status => format!("the execution client answers {call} with {status}"),
    }
}

fn not_loaded(height: Height) -> String {
    format!(
        "block {height}, which the execution client lacks, cannot be read from the data directory: its record is \
         damaged (see the log). It is being fetched from the peers, and the client is given it then"
    )
}

#[cfg(test)]
#[path = "execution/tests.rs"]
mod tests;
