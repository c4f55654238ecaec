//! This file knows who is to blame when claims do not hold together: question by question, so that it can be put aside after any.
//!
//! ```text
//!   groups   runs of pieces, asked about by adding their sums          ─┐ one question each, the oldest first:
//!   shares   runs of claims in a piece that fails, summed afresh       ─┘ groups before shares
//! ```
//!
//! If a run fails, its left half is asked about; if that holds, the right half is known to fail and not asked. Runs are taken in the
//! order in which they were found, so the largest come first, and pieces that hold are told of before it is asked about any claim.
//!
//! Keeps: each claim is told of once; k pieces with n claims take fewer than 2k + 2n questions.

use std::collections::VecDeque;
use std::ops::Range;

use ultramarine_types::verify::Finding;

use crate::opening::{Opened, Summed};

/// Some claims of one piece that have their finding.
#[derive(Debug)]
pub struct Told<'a> {
    /// The position of the piece.
    pub piece: usize,
    /// The position in it of the first of them.
    pub first: usize,
    /// What is found, of each.
    pub finding: Finding,
    pub(crate) claims: &'a [Opened],
}

impl Told<'_> {
    /// Their positions in the piece.
    pub fn positions(&self) -> Range<usize> {
        self.first..self.first + self.claims.len()
    }
}

/// Whoever wants to know.
pub type Tell<'a> = dyn FnMut(Told<'_>) + 'a;

/// Claims in pieces, some of them not judged yet.
#[derive(Debug)]
pub struct Inquiry {
    pieces: Vec<Summed>,
    groups: VecDeque<Run>,
    /// With the position of their piece.
    shares: VecDeque<(usize, Run)>,
    claims_left: usize,
}

/// Pieces or claims side by side.
#[derive(Debug)]
struct Run {
    range: Range<usize>,
    /// Whether it is known that not all hold.
    fails: bool,
}

impl Inquiry {
    /// About all claims of these pieces.
    pub fn new(pieces: Vec<Summed>) -> Self {
        let claims_left = pieces.iter().map(Summed::len).sum();
        let all = Run {
            range: 0..pieces.len(),
            fails: false,
        };
        Self {
            pieces,
            groups: if claims_left > 0 { [all].into() } else { VecDeque::new() },
            shares: VecDeque::new(),
            claims_left,
        }
    }

    /// Claims that have no finding yet.
    pub fn claims_left(&self) -> usize {
        self.claims_left
    }

    /// Asks at most so many questions, the one or the other: whether these pieces hold, or these claims.
    pub(crate) fn ask(
        &mut self,
        questions_max: usize,
        pieces_hold: impl Fn(&[Summed]) -> bool,
        claims_hold: impl Fn(&[Opened]) -> bool,
        tell: &mut Tell<'_>,
    ) {
        let Self {
            pieces,
            groups,
            shares,
            claims_left,
        } = self;
        let mut told = |piece: usize, range: Range<usize>, finding| {
            let told = Told {
                piece,
                first: range.start,
                finding,
                claims: &pieces[piece].claims[range],
            };
            *claims_left -= told.claims.len();
            tell(told);
        };
        for _ in 0..questions_max {
            if let Some(group) = groups.pop_front() {
                let answer = group.ask(|range| pieces_hold(&pieces[range]));
                for piece in answer.holds {
                    told(piece, 0..pieces[piece].len(), Finding::Holds);
                }
                for group in answer.rest.into_iter().flatten() {
                    match group.culprit() {
                        Some(piece) => {
                            let share = Run {
                                range: 0..pieces[piece].len(),
                                fails: true,
                            };
                            sort(piece, share, shares, &mut told);
                        }
                        None => groups.push_back(group),
                    }
                }
            } else if let Some((piece, share)) = shares.pop_front() {
                let answer = share.ask(|range| claims_hold(&pieces[piece].claims[range]));
                if !answer.holds.is_empty() {
                    told(piece, answer.holds, Finding::Holds);
                }
                for share in answer.rest.into_iter().flatten() {
                    sort(piece, share, shares, &mut told);
                }
            } else {
                return;
            }
        }
    }

    /// Gives each claim the finding that `find` finds: for a judge who asks no questions.
    pub(crate) fn settle(&mut self, find: impl Fn(&Opened) -> Finding, tell: &mut Tell<'_>) {
        let claims: usize = self.pieces.iter().map(Summed::len).sum();
        assert_eq!(self.claims_left, claims, "no question was asked yet");
        self.groups.clear();
        self.claims_left = 0;
        for (piece, sum) in self.pieces.iter().enumerate() {
            for (first, claim) in sum.claims.iter().enumerate() {
                tell(Told {
                    piece,
                    first,
                    finding: find(claim),
                    claims: std::slice::from_ref(claim),
                });
            }
        }
    }
}

/// Tells of a claim that is found out, and keeps a longer run for later questions.
fn sort(
    piece: usize,
    share: Run,
    shares: &mut VecDeque<(usize, Run)>,
    told: &mut impl FnMut(usize, Range<usize>, Finding),
) {
    match share.culprit() {
        Some(claim) => told(piece, claim..claim + 1, Finding::Wrong),
        None => shares.push_back((piece, share)),
    }
}

/// What one question about a run gave.
struct Answer {
    /// What is known to hold now.
    holds: Range<usize>,
    /// What is not known yet.
    rest: [Option<Run>; 2],
}

impl Run {
    /// The only one, if it is known to fail.
    fn culprit(&self) -> Option<usize> {
        (self.fails && self.range.len() == 1).then_some(self.range.start)
    }

    /// Asks about all of it; if it is known to fail, about its left half.
    fn ask(self, holds: impl Fn(Range<usize>) -> bool) -> Answer {
        let Range { start, end } = self.range;
        let run = |range, fails| Some(Run { range, fails });
        if !self.fails {
            return if holds(start..end) {
                Answer {
                    holds: start..end,
                    rest: [None, None],
                }
            } else {
                Answer {
                    holds: start..start,
                    rest: [run(start..end, true), None],
                }
            };
        }
        let middle = start + (end - start) / 2;
        assert!(start < middle, "one alone that fails is found out already");
        if holds(start..middle) {
            // The whole fails and this half does not: no need to ask about the other.
            Answer {
                holds: start..middle,
                rest: [run(middle..end, true), None],
            }
        } else {
            Answer {
                holds: start..start,
                rest: [run(start..middle, true), run(middle..end, false)],
            }
        }
    }
}

#[cfg(test)]
mod tests;
