//! This file knows who is to blame when claims do not hold together. It works step by step, and can be put aside after
//! any step.
//!
//! ```text
//!   whole     all claims, by the sums at hand                  one question, if nobody is to blame
//!   senders   the claims of each, fewest first                 a sender of true claims only has its findings
//!   failing   a run that fails, halved until a claim is left   a wrong claim of each sender at fault ends its streams
//!   unknown   every other run, the oldest and largest first    the rest of what those at fault sent
//! ```
//!
//! A peer is *convicted* once [`WRONG_CLAIMS_MAX`] of its claims are named as wrong. Then its remaining claims in this
//! inquiry are not tested; they are reported as unjudged. A question takes a lane as long as several blobs, and costs a
//! liar nothing more. The foreman gives the peer's waiting jobs back too. Its claims in an account, in another inquiry,
//! in a lane's hands or on a link are judged like those of any peer.
//!
//! Senders come first because pieces mix them. Otherwise a wrong claim in each piece would hold up every finding until
//! all pieces are halved. A piece of one sender is tested by the sums that it has. The claims of mixed pieces are put
//! into *parcels* by sender, and summed afresh. A *step* is a question, or the sums of a parcel, which take as long.
//!
//! If a run fails, its left half is tested next. If that holds, the right half is known to fail and is not tested. It
//! is the same with senders: if all but one hold, that one is at fault.
//!
//! Keeps:
//!
//! - Each claim is reported once.
//! - Every claim is judged, unless its sender is convicted.
//! - No claim of a sender at fault is tested before every sender was tested once.
//! - n claims in k pieces of s senders take fewer than 2k + 2n + 2s questions, and n / 32 + s sums of parcels.
//! - A peer at fault costs no more than a few halvings of what it sent.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use ultramarine_types::PeerId;
use ultramarine_types::verify::{Finding, WRONG_CLAIMS_MAX};

use crate::opening::{OpenedClaim, Summed};

/// Claims whose sums take as long as a pairing: 0.7 ms on a Zen 4 core.
const PARCEL_CLAIMS: usize = 32;

/// Claims of one piece, side by side, that have their finding.
#[derive(Debug)]
pub struct Told<'a> {
    /// The position of the piece.
    pub piece: usize,
    /// The position in it of the first of them.
    pub first: usize,
    /// What is found of each of them.
    pub finding: Finding,
    pub(crate) claims: &'a [OpenedClaim],
}

impl Told<'_> {
    /// Their positions in the piece.
    pub fn positions(&self) -> Range<usize> {
        self.first..self.first + self.claims.len()
    }
}

/// Takes what is found, as it is found.
pub type Tell<'a> = dyn FnMut(Told<'_>) + 'a;

/// Takes sums and answers questions.
pub(crate) trait Judge {
    /// The sums of these claims, with fresh weights.
    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed;

    /// Whether all claims of these pieces hold, by their sums.
    fn pieces_hold(&self, pieces: &[&Summed]) -> bool;

    /// Whether all these claims hold, by sums with fresh weights.
    fn claims_hold(&self, claims: &[OpenedClaim]) -> bool;
}

/// What an inquiry is about.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Case {
    /// Claims that have no finding.
    pub claims_count: usize,
    /// The senders that are known to have sent a wrong claim.
    pub at_fault: Vec<Option<PeerId>>,
    /// Whether some sender has not been tested yet.
    pub others_wait: bool,
}

/// Claims in pieces, some of them not judged yet.
#[derive(Debug)]
pub struct Inquiry {
    /// The pieces as they came; once they fail together, each sender's side by side.
    parcels: Vec<Parcel>,
    /// Whether it was asked if all of them hold.
    asked: bool,
    /// Who was not asked about yet, and the positions of its parcels.
    senders: VecDeque<(Option<PeerId>, Range<usize>)>,
    /// Runs that are known to fail. The last goes on until one claim is left of it.
    failing: Vec<Run>,
    /// Runs of those at fault of which nothing is known.
    unknown: VecDeque<Run>,
    at_fault: Vec<Culprit>,
    claims_left: usize,
}

/// Who sent wrong claims, and how many of them are named.
#[derive(Clone, Copy, Debug)]
struct Culprit {
    sender: Option<PeerId>,
    named: usize,
}

impl Culprit {
    /// Which peer it is, if nothing more of what it sent is asked about.
    fn convicted(&self) -> Option<PeerId> {
        self.sender.filter(|_| self.named >= WRONG_CLAIMS_MAX)
    }
}

/// Claims with their sums, and where each came from.
#[derive(Debug)]
struct Parcel {
    summed: Summed,
    has_sums: bool,
    sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    piece: usize,
    position: usize,
    sender: Option<PeerId>,
}

/// Parcels side by side, or claims of one.
#[derive(Clone, Debug)]
enum Run {
    Parcels(Range<usize>),
    Claims(usize, Range<usize>),
}

impl Inquiry {
    /// About all claims of these pieces, of one sender.
    pub fn new(pieces: Vec<Summed>) -> Self {
        Self::of_senders(pieces, |_, _| None)
    }

    /// About all claims of these pieces. `sender` names the sender of a claim, by its piece and its position in it.
    pub fn of_senders(pieces: Vec<Summed>, sender: impl Fn(usize, usize) -> Option<PeerId>) -> Self {
        let claims_left = pieces.iter().map(Summed::len).sum();
        let parcel = |(piece, summed): (usize, Summed)| {
            let source = |position| Source {
                piece,
                position,
                sender: sender(piece, position),
            };
            Parcel {
                sources: (0..summed.len()).map(source).collect(),
                summed,
                has_sums: true,
            }
        };
        Self {
            parcels: pieces.into_iter().enumerate().map(parcel).collect(),
            asked: claims_left == 0,
            senders: VecDeque::new(),
            failing: Vec::new(),
            unknown: VecDeque::new(),
            at_fault: Vec::new(),
            claims_left,
        }
    }

    /// Claims that have no finding yet.
    pub fn claims_left(&self) -> usize {
        self.claims_left
    }

    /// What it is about by now.
    pub fn case(&self) -> Case {
        Case {
            claims_count: self.claims_left,
            at_fault: self.at_fault.iter().map(|culprit| culprit.sender).collect(),
            others_wait: !self.asked || !self.senders.is_empty(),
        }
    }

    pub fn convicted(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.at_fault.iter().filter_map(Culprit::convicted)
    }

    /// Takes at most `steps_max` steps.
    pub(crate) fn ask(&mut self, steps_max: usize, judge: &impl Judge, tell: &mut Tell<'_>) {
        for _ in 0..steps_max {
            if self.claims_left == 0 {
                return;
            }
            self.step(judge, tell);
        }
    }

    fn step(&mut self, judge: &impl Judge, tell: &mut Tell<'_>) {
        if !self.asked {
            self.asked = true;
            let all = Run::Parcels(0..self.parcels.len());
            if self.holds(&all, judge) {
                self.tell(&all, Finding::Holds, tell);
            } else {
                self.part_by_sender();
                self.blame_the_last(tell);
            }
        } else if let Some((sender, parcels)) = self.senders.pop_front() {
            let run = Run::Parcels(parcels.clone());
            if self.sum_one(&run, judge) {
                self.senders.push_front((sender, parcels));
            } else if self.holds(&run, judge) {
                self.tell(&run, Finding::Holds, tell);
                self.blame_the_last(tell);
            } else {
                self.blame(sender, run, tell);
            }
        } else if let Some(run) = self.failing.pop() {
            let (left, right) = run.halves();
            if self.sum_one(&left, judge) {
                self.failing.push(run);
            } else if self.holds(&left, judge) {
                // The whole fails and this half does not: no need to ask about the other.
                self.tell(&left, Finding::Holds, tell);
                self.fail(right, tell);
            } else {
                self.unknown.push_back(right);
                self.fail(left, tell);
            }
        } else if let Some(run) = self.unknown.pop_front() {
            if self.sum_one(&run, judge) {
                self.unknown.push_front(run);
            } else if self.holds(&run, judge) {
                self.tell(&run, Finding::Holds, tell);
            } else {
                self.fail(run, tell);
            }
        } else {
            unreachable!("a claim without a finding is in a run");
        }
    }

    /// Puts each sender's claims side by side, who has fewest first. Pieces of one sender stay what they are.
    fn part_by_sender(&mut self) {
        let mut parcels: BTreeMap<Option<PeerId>, Vec<Parcel>> = BTreeMap::new();
        let mut mixed: BTreeMap<Option<PeerId>, Vec<(Source, OpenedClaim)>> = BTreeMap::new();
        for parcel in std::mem::take(&mut self.parcels) {
            let Some(sender) = parcel.sources.first().map(|source| source.sender) else {
                continue;
            };
            if parcel.sources.iter().all(|source| source.sender == sender) {
                parcels.entry(sender).or_default().push(parcel);
            } else {
                for (source, claim) in parcel.sources.into_iter().zip(parcel.summed.claims) {
                    mixed.entry(source.sender).or_default().push((source, claim));
                }
            }
        }
        for (sender, claims) in mixed {
            let of_sender = parcels.entry(sender).or_default();
            let mut claims = claims.into_iter();
            while claims.len() > 0 {
                let (sources, claims) = claims.by_ref().take(PARCEL_CLAIMS).unzip();
                of_sender.push(Parcel {
                    summed: Summed::without_sums(claims),
                    has_sums: false,
                    sources,
                });
            }
        }
        let mut senders: Vec<_> = parcels.into_iter().collect();
        senders.sort_by_key(|(_, parcels)| parcels.iter().map(|parcel| parcel.sources.len()).sum::<usize>());
        for (sender, parcels) in senders {
            let first = self.parcels.len();
            self.parcels.extend(parcels);
            self.senders.push_back((sender, first..self.parcels.len()));
        }
    }

    /// If all senders but one hold, that one does not.
    fn blame_the_last(&mut self, tell: &mut Tell<'_>) {
        if self.at_fault.is_empty()
            && self.senders.len() == 1
            && let Some((sender, parcels)) = self.senders.pop_front()
        {
            self.blame(sender, Run::Parcels(parcels), tell);
        }
    }

    fn blame(&mut self, sender: Option<PeerId>, run: Run, tell: &mut Tell<'_>) {
        self.at_fault.push(Culprit { sender, named: 0 });
        self.fail(run, tell);
    }

    /// Keeps a run that is known to fail, or tells of the claim that it is.
    fn fail(&mut self, run: Run, tell: &mut Tell<'_>) {
        let run = match run {
            Run::Parcels(parcels) if parcels.len() == 1 => {
                Run::Claims(parcels.start, 0..self.parcels[parcels.start].sources.len())
            }
            run => run,
        };
        match &run {
            Run::Claims(parcel, claims) if claims.len() == 1 => {
                self.tell(&run, Finding::Wrong, tell);
                self.count_named(self.parcels[*parcel].sources[claims.start].sender, tell);
            }
            Run::Claims(..) | Run::Parcels(_) => self.failing.push(run),
        }
    }

    /// A wrong claim of this sender is named: it may be the last.
    fn count_named(&mut self, sender: Option<PeerId>, tell: &mut Tell<'_>) {
        let culprit = self.at_fault.iter_mut().find(|culprit| culprit.sender == sender);
        let culprit = culprit.expect("a sender is at fault before a claim of it is named");
        culprit.named += 1;
        if culprit.convicted().is_none() {
            return;
        }
        let parcels = &self.parcels;
        let is_theirs = |run: &Run| {
            parcels[run.parcel()]
                .sources
                .iter()
                .any(|source| source.sender == sender)
        };
        let theirs: Vec<Run> = self
            .failing
            .iter()
            .chain(&self.unknown)
            .filter(|run| is_theirs(run))
            .cloned()
            .collect();
        self.failing.retain(|run| !is_theirs(run));
        self.unknown.retain(|run| !is_theirs(run));
        for run in theirs {
            self.tell(&run, Finding::Unjudged, tell);
        }
    }

    /// Takes the sums of the first parcel of a run that has none; whether there was one.
    fn sum_one(&mut self, run: &Run, judge: &impl Judge) -> bool {
        let Run::Parcels(parcels) = run else { return false };
        let Some(parcel) = self.parcels[parcels.clone()].iter_mut().find(|parcel| !parcel.has_sums) else {
            return false;
        };
        parcel.summed = judge.sum(std::mem::take(&mut parcel.summed.claims));
        parcel.has_sums = true;
        true
    }

    fn holds(&self, run: &Run, judge: &impl Judge) -> bool {
        match run {
            Run::Parcels(parcels) => {
                let parcels = &self.parcels[parcels.clone()];
                assert!(
                    parcels.iter().all(|parcel| parcel.has_sums),
                    "asked about by their sums"
                );
                let pieces: Vec<_> = parcels.iter().map(|parcel| &parcel.summed).collect();
                judge.pieces_hold(&pieces)
            }
            Run::Claims(parcel, claims) => judge.claims_hold(&self.parcels[*parcel].summed.claims[claims.clone()]),
        }
    }

    fn tell(&mut self, run: &Run, finding: Finding, tell: &mut Tell<'_>) {
        let (parcels, claims) = match run {
            Run::Parcels(parcels) => (parcels.clone(), None),
            Run::Claims(parcel, claims) => (*parcel..*parcel + 1, Some(claims.clone())),
        };
        for parcel in &self.parcels[parcels] {
            let claims = claims.clone().unwrap_or(0..parcel.sources.len());
            self.claims_left -= claims.len();
            parcel.tell(claims, finding, tell);
        }
    }

    /// Gives each claim the finding that `find` finds: for a judge who asks no questions.
    pub(crate) fn settle(&mut self, find: impl Fn(&OpenedClaim) -> Finding, tell: &mut Tell<'_>) {
        assert!(!self.asked || self.claims_left == 0, "no question was asked yet");
        for parcel in std::mem::take(&mut self.parcels) {
            for (at, claim) in parcel.summed.claims.iter().enumerate() {
                parcel.tell(at..at + 1, find(claim), tell);
            }
        }
        self.asked = true;
        self.claims_left = 0;
    }
}

impl Parcel {
    /// Tells of some of its claims, those that lay side by side together.
    fn tell(&self, claims: Range<usize>, finding: Finding, tell: &mut Tell<'_>) {
        let mut from = claims.start;
        let beside = |one: &Source, next: &Source| one.piece == next.piece && one.position + 1 == next.position;
        for sources in self.sources[claims].chunk_by(beside) {
            tell(Told {
                piece: sources[0].piece,
                first: sources[0].position,
                finding,
                claims: &self.summed.claims[from..from + sources.len()],
            });
            from += sources.len();
        }
    }
}

impl Run {
    /// The position of its first parcel, or of the one it is in. All are of one sender once it is to blame.
    fn parcel(&self) -> usize {
        match self {
            Self::Parcels(parcels) => parcels.start,
            Self::Claims(parcel, _) => *parcel,
        }
    }

    /// Of a run of at least two, the left half and the right.
    fn halves(&self) -> (Self, Self) {
        let middle = |range: &Range<usize>| {
            assert!(range.len() > 1, "one alone that fails is found out already");
            range.start + range.len() / 2
        };
        match self {
            Self::Parcels(parcels) => {
                let middle = middle(parcels);
                (Self::Parcels(parcels.start..middle), Self::Parcels(middle..parcels.end))
            }
            Self::Claims(parcel, claims) => {
                let middle = middle(claims);
                (
                    Self::Claims(*parcel, claims.start..middle),
                    Self::Claims(*parcel, middle..claims.end),
                )
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
