//! This file knows why the height does not move while it should: since when, and what it waits for.
//!
//! The core looks once a second; it costs nothing more. A height that takes a few rounds is no stall: proposers may be
//! away.
//!
//! Keeps: a line in the log is about a stall that people see, and has its time.

use malachitebft_core_types::{Round as MRound, Timeout, TimeoutKind};
use ultramarine_types::{Address, Height, Nanos, ValueId, ValueKey, VoteKind};

use super::{Core, Phase, gather};
use crate::io::Event;
use crate::rules;
use crate::values::{Judgement, KnownValue};

/// Rounds that a height may take before we tell people: two proposers in a row may be away.
const ROUNDS: u32 = 3;
/// We report a data directory that takes no block this long after one was due.
const REFUSED: Nanos = Nanos::from_millis(3_000);
/// Looks come once a second. If more than this lies between two of them, this process did not run meanwhile.
const LOOK_MAX: Nanos = Nanos::from_millis(2_000);
/// The same stall gets another line after this long.
const LINE: Nanos = Nanos::from_millis(60_000);
/// Two lines are at least this far apart, whatever changes: a connection that flaps must not fill the log.
const LINE_LEAST: Nanos = Nanos::from_millis(10_000);
/// Most values, and most peers, that a line names.
const NAMED_MAX: usize = 4;

/// What a height waits for, as coarsely as people would say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    Execution,
    Peers,
    Disk,
    Start,
    Votes,
}

#[derive(Debug, Default)]
pub(super) struct Stall {
    /// When the head moved, or the process started; moved on by every span in which this process did not run.
    moved_at: Nanos,
    looked_at: Nanos,
    /// Whether people see a stall.
    is_shown: bool,
    /// The cause that the last line about this stall named.
    told: Option<Cause>,
    line_at: Option<Nanos>,
    /// Why the store had no room for the newest value.
    refused: Option<String>,
    refused_line_at: Option<Nanos>,
    /// Why no block of ours was built, as the last line had it, and when that was.
    unbuilt: Option<(String, Nanos)>,
}

const _: () = assert!(LINE_LEAST.0 < LINE.0, "news comes sooner than a repetition");
const _: () = assert!(LOOK_MAX.0 > 1_000_000_000, "looks come once a second");
const _: () = assert!(ROUNDS > 1, "a round that fails is no stall");

impl Stall {
    /// Asserts that what was told fits what is shown.
    pub(super) fn check(&self, now: Nanos) {
        assert!(self.looked_at <= now, "the last look is in the past");
        assert!(
            self.told.is_none() || self.is_shown,
            "a line was told of a stall that is not shown"
        );
        assert!(
            self.told.is_none() || self.line_at.is_some(),
            "a line was told at no time"
        );
    }

    /// The stall is over. Returns whether people saw one.
    fn end(&mut self) -> bool {
        self.told = None;
        std::mem::take(&mut self.is_shown)
    }

    /// Whether the log should get a line now: soon for a new cause, seldom for the same one.
    fn is_news(&self, now: Nanos, cause: Cause) -> bool {
        let least = if self.told == Some(cause) { LINE } else { LINE_LEAST };
        self.line_at.is_none_or(|at| now.since(at) >= least)
    }
}

impl Core {
    /// The process has started.
    pub(super) fn note_started(&mut self) {
        (self.stall.moved_at, self.stall.looked_at) = (self.now, self.now);
    }

    /// The head has moved.
    pub(super) fn note_moved(&mut self) {
        self.stall.moved_at = self.now;
        if self.stall.end() {
            let height = self.current();
            self.event(Event::Moving { height });
        }
    }

    /// Looks whether the height moves; called once a second.
    pub(super) fn watch_height(&mut self) {
        if self.phase == Phase::Off || self.stopped {
            return;
        }
        // While the whole process is stopped, no height can move.
        let unseen = self.now.since(self.stall.looked_at).since(LOOK_MAX);
        self.stall.looked_at = self.now;
        self.stall.moved_at = self.stall.moved_at + unseen;
        let still = self.now.since(self.stall.moved_at);
        let Some((cause, why)) = self.stall_after(still) else {
            if self.stall.end() {
                let height = self.current();
                self.event(Event::Moving { height });
            }
            return;
        };
        let is_news = self.stall.is_news(self.now, cause);
        if is_news {
            (self.stall.told, self.stall.line_at) = (Some(cause), Some(self.now));
        }
        self.stall.is_shown = true;
        let height = self.current();
        self.event(Event::Stalled {
            height,
            still,
            why,
            is_news,
        });
    }

    /// How long a height may stand before that is a stall: its interval and the timeouts of a few rounds.
    fn patience(&self) -> Nanos {
        let propose = self.contest.propose.max(self.limits.propose_timeout());
        let rounds = (0..ROUNDS).map(|round| {
            let of = |kind| Timeout::new(MRound::new(round), kind);
            let steps = [TimeoutKind::Propose, TimeoutKind::Prevote, TimeoutKind::Precommit];
            let waits = steps.map(|kind| self.durations.duration(of(kind), propose));
            waits.into_iter().fold(Nanos::ZERO, |sum, wait| sum + wait)
        });
        // The first height waits for others to start, and for their clients.
        let start = if self.is_gathering() {
            gather::LONGEST
        } else {
            Nanos::ZERO
        };
        rounds.fold(start + self.interval(), |sum, round| sum + round)
    }

    fn interval(&self) -> Nanos {
        Nanos::from_millis(self.config.chain.params.block_interval_ms)
    }

    fn stall_after(&self, still: Nanos) -> Option<(Cause, String)> {
        if let Some(why) = &self.stall.refused
            && still >= self.interval() + REFUSED
        {
            return Some((Cause::Disk, format!("the data directory takes no block: {why}")));
        }
        (still >= self.patience()).then(|| self.describe_wait())
    }

    /// The store took a value.
    pub(super) fn note_stored(&mut self) {
        self.stall.refused = None;
    }

    /// The store had no room for a value, for this reason. Returns whether that is worth a line.
    pub(super) fn note_refused(&mut self, why: &str) -> bool {
        self.stall.refused = Some(why.to_owned());
        let is_news = self.stall.refused_line_at.is_none_or(|at| self.now.since(at) >= LINE);
        if is_news {
            self.stall.refused_line_at = Some(self.now);
        }
        is_news
    }

    /// No block of ours could be built, or none to propose, for this reason. Returns whether that is worth a line.
    pub(super) fn note_unbuilt(&mut self, why: &str) -> bool {
        let now = self.now;
        let is_news = self.stall.unbuilt.as_ref().is_none_or(|(told, at)| {
            let least = if told == why { LINE } else { LINE_LEAST };
            now.since(*at) >= least
        });
        if is_news {
            self.stall.unbuilt = Some((why.to_owned(), now));
        }
        is_news
    }

    /// The wait for the others before the first height is over. Only now should the height move.
    pub(super) fn note_gathered(&mut self) {
        self.stall.moved_at = self.now;
    }

    fn describe_wait(&self) -> (Cause, String) {
        let set = &self.config.validators;
        match &self.phase {
            Phase::Off => (Cause::Start, "the node is starting".to_owned()),
            Phase::Listening => (
                Cause::Peers,
                format!(
                    "the other validators are listened to before anything is signed: {}",
                    self.describe_heard()
                ),
            ),
            Phase::Recovering { wanted, .. } => {
                if let Some(waits) = self.describe_gathering() {
                    return (Cause::Start, waits);
                }
                let height = self.current();
                let is_back = |id: &ValueId| {
                    let value = self.values.get(&ValueKey { height, id: *id });
                    value.is_some_and(KnownValue::is_stored)
                };
                let missing: Vec<&ValueId> = wanted.iter().filter(|id| !is_back(id)).collect();
                // If our disk lost them and nobody else has them, only a decision of the others ends the wait.
                let nowhere = missing.iter().filter(|id| self.peers.holders(height, id).is_empty());
                (
                    Cause::Peers,
                    format!(
                        "the consensus log waits for its replay: {} of its values are missing, {} of them no \
                         connected peer says it has; {}",
                        missing.len(),
                        nowhere.count(),
                        self.describe_heard()
                    ),
                )
            }
            Phase::Committing => (
                Cause::Disk,
                format!(
                    "it is decided and waits for the disk to commit it ({})",
                    self.describe_disk()
                ),
            ),
            Phase::Between {
                logged: true,
                begun: false,
                ..
            } => (Cause::Disk, "its log waits for the disk to open it".to_owned()),
            Phase::Between { .. } => match self.describe_gathering() {
                Some(waits) => (Cause::Start, waits),
                None if self.listening_until.is_none() => (Cause::Start, "it is about to begin".to_owned()),
                None => (
                    Cause::Peers,
                    format!(
                        "the other validators are listened to before anything is signed: {}",
                        self.describe_heard()
                    ),
                ),
            },
            Phase::Running => {
                let round = self.describe_round();
                let connected = self.connected_power();
                if !set.is_quorum(connected) {
                    let what = format!(
                        "validators with {connected} of {} power are connected, ours included, and more than two \
                         thirds are needed",
                        set.total_power()
                    );
                    (Cause::Peers, format!("{what}; {round}"))
                } else if let Some(why) = self.execution.unready() {
                    (Cause::Execution, format!("{why}; {round}"))
                } else {
                    (Cause::Votes, round)
                }
            }
        }
    }

    /// The round, its proposer, what we have of each value, votes, and peers.
    fn describe_round(&self) -> String {
        let (set, height) = (&self.config.validators, self.current());
        let round = self.host_round();
        let proposer = set.proposer(height, round);
        let who = if *proposer == self.address {
            "ourselves".to_owned()
        } else if self.peers.is_connected(proposer) {
            proposer.to_string()
        } else {
            format!("{proposer}, who is not connected")
        };
        let values: Vec<String> = self
            .values
            .at(height)
            .take(NAMED_MAX)
            .map(|(key, value)| format!("{} {}", key.id, self.describe_value(value)))
            .collect();
        let values = if values.is_empty() {
            "no proposal is known".to_owned()
        } else {
            format!("proposals: {}", values.join(", "))
        };
        let votes = self.host.votes(round);
        let power = |kind: VoteKind| {
            let voters = votes.iter().filter(|vote| vote.kind == kind);
            let voters: std::collections::BTreeSet<Address> = voters.map(|vote| vote.voter).collect();
            let powers = voters.iter().filter_map(|voter| set.get(voter));
            powers.fold(0u64, |sum, validator| sum.saturating_add(validator.power))
        };
        format!(
            "round {round}, its proposer is {who}; {values}; prevotes of {} and precommits of {} power out of {}; {}",
            power(VoteKind::Prevote),
            power(VoteKind::Precommit),
            set.total_power(),
            self.describe_tips(),
        )
    }

    fn describe_value(&self, value: &KnownValue) -> String {
        let text = match &value.judgement {
            Judgement::Valid if !value.is_stored() => "is valid, and waits for the disk",
            Judgement::Valid => "is valid",
            Judgement::Vouched | Judgement::Inspecting => "is decided elsewhere",
            Judgement::Invalid(why) => return format!("is invalid ({why})"),
            Judgement::Executing { .. } => "is with the execution client",
            Judgement::Executed => "waits for the disk, or for blobs",
            Judgement::Open => {
                let timestamp = value.init.as_ref().map(|init| init.metadata.header.timestamp);
                let unix_ns = self.unix_ns();
                match timestamp {
                    Some(timestamp) if rules::is_ahead(timestamp, &self.head.block, unix_ns) => {
                        let ahead = timestamp.saturating_sub(unix_ns / 1_000_000_000);
                        return format!("is {ahead} s ahead of our clock");
                    }
                    _ if value.body.is_none() => "is not whole",
                    _ => "waits for its verdict",
                }
            }
        };
        text.to_owned()
    }

    fn describe_tips(&self) -> String {
        if self.peers.is_empty() {
            return "no peer is connected".to_owned();
        }
        let tips: Vec<String> = self
            .peers
            .tips()
            .iter()
            .take(NAMED_MAX)
            .map(Height::to_string)
            .collect();
        let tips = if tips.is_empty() {
            "who have told no height".to_owned()
        } else {
            format!("at {}", tips.join(", "))
        };
        format!("{} peers {tips}", self.peers.len())
    }

    fn describe_heard(&self) -> String {
        let set = &self.config.validators;
        let others = set.iter().filter(|(address, _)| **address != self.address);
        let silent: Vec<String> = others
            .filter(|(address, _)| !self.peers.is_connected(address))
            .map(|(address, _)| address.to_string())
            .collect();
        if silent.is_empty() {
            return "all are connected".to_owned();
        }
        let more = silent.len().saturating_sub(NAMED_MAX);
        let named: Vec<String> = silent.into_iter().take(NAMED_MAX).collect();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("not connected: {}{more}", named.join(", "))
    }

    fn describe_disk(&self) -> String {
        format!("{} messages wait for its log as well", self.gate.len())
    }

    /// The power of the validators that are connected, with our own.
    fn connected_power(&self) -> u64 {
        let set = &self.config.validators;
        let here = set
            .iter()
            .filter(|(address, _)| **address == self.address || self.peers.is_connected(address));
        here.fold(0u64, |sum, (_, validator)| sum.saturating_add(validator.power))
    }
}
