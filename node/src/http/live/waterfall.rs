//! This file knows how the moments of a height become a waterfall: every stage, from the height's beginning here.

use ultramarine_runtime::{Mark, StageLog, StageTime};
use ultramarine_types::{Height, Nanos, Stage};

use super::LiveSpan;
use super::latency::rounded;

/// When the height began here: its first round, or what was seen of it first.
pub fn began(log: &StageLog, height: Height) -> Option<Nanos> {
    if let Some(round) = log.of(Mark::Round, height) {
        return Some(round.began);
    }
    let stages = Stage::ALL.into_iter().map(Mark::Stage);
    let marks = stages.filter_map(|mark| log.of(mark, height));
    marks.map(|moment| moment.began).min()
}

/// Stages of a height that are over, and those under way if it is being decided and `ours` says whether we propose.
pub fn spans(log: &StageLog, height: Height, began: Nanos, under_way: Option<Proposing>) -> Vec<LiveSpan> {
    let offset = |moment: Nanos| rounded((moment.0 as f64 - began.0 as f64) / 1e6);
    let done = |stage| log.of(Mark::Stage(stage), height);
    let span = |stage| match (done(stage), under_way) {
        (Some(StageTime { began, ended }), _) => Some((stage, began, Some(ended))),
        (None, Some(proposing)) => since(log, height, stage, proposing).map(|began| (stage, began, None)),
        (None, None) => None,
    };
    let spans = Stage::ALL.into_iter().filter_map(span);
    spans
        .map(|(stage, began, ended)| LiveSpan {
            stage: stage.name().to_owned(),
            begin_ms: offset(began),
            end_ms: ended.map(offset),
        })
        .collect()
}

/// Who proposes in the current round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proposing {
    We,
    Another,
}

/// Since when a stage is under way, as far as the marks tell.
fn since(log: &StageLog, height: Height, stage: Stage, proposing: Proposing) -> Option<Nanos> {
    let ended = |stage| log.of(Mark::Stage(stage), height).map(|moment| moment.ended);
    let built = || ended(Stage::Build);
    match stage {
        Stage::Build if proposing == Proposing::We => log.of(Mark::Round, height).map(|round| round.ended),
        Stage::Stream => log.of(Mark::Offer, height).map(|offer| offer.ended),
        // Our own block is stored as soon as it is built.
        Stage::Persist => built().or_else(|| ended(Stage::Verify).or_else(|| ended(Stage::Stream))),
        Stage::Execute => log.of(Mark::Payload, height).map(|payload| payload.ended),
        Stage::Vote => {
            let stored = ended(Stage::Persist)?;
            let valid = ended(Stage::Execute).or_else(built)?;
            Some(stored.max(valid))
        }
        Stage::Build | Stage::Verify | Stage::Import | Stage::Commit => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Height = Height(7);

    fn ms(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    fn note(log: &StageLog, stage: Stage, began: u64, ended: u64) {
        let moment = StageTime {
            began: ms(began),
            ended: ms(ended),
        };
        log.note(Mark::Stage(stage), H, moment);
    }

    fn shown(log: &StageLog, proposing: Proposing) -> Vec<(String, f64, Option<f64>)> {
        let began = began(log, H).expect("something is noted");
        let spans = spans(log, H, began, Some(proposing)).into_iter();
        spans.map(|span| (span.stage, span.begin_ms, span.end_ms)).collect()
    }

    #[test]
    fn a_waterfall_says_what_is_over_and_what_is_under_way() {
        let log = StageLog::default();
        log.happens(Mark::Round, H, ms(100));
        assert_eq!(shown(&log, Proposing::Another), []);
        assert_eq!(shown(&log, Proposing::We), [("build".to_owned(), 0.0, None)]);
        log.happens(Mark::Offer, H, ms(120));
        assert_eq!(shown(&log, Proposing::Another), [("stream".to_owned(), 20.0, None)]);
        note(&log, Stage::Stream, 90, 150);
        note(&log, Stage::Verify, 150, 160);
        log.happens(Mark::Payload, H, ms(130));
        assert_eq!(
            shown(&log, Proposing::Another),
            [
                ("stream".to_owned(), -10.0, Some(50.0)),
                ("verify".to_owned(), 50.0, Some(60.0)),
                ("persist".to_owned(), 60.0, None),
                ("execute".to_owned(), 30.0, None),
            ]
        );
        note(&log, Stage::Persist, 160, 170);
        note(&log, Stage::Execute, 130, 180);
        let vote = shown(&log, Proposing::Another).pop();
        assert_eq!(vote, Some(("vote".to_owned(), 80.0, None)));
    }

    #[test]
    fn what_is_decided_has_nothing_under_way_and_a_synced_height_begins_with_what_was_seen_first() {
        let log = StageLog::default();
        note(&log, Stage::Stream, 50, 90);
        note(&log, Stage::Persist, 90, 95);
        let began = began(&log, H).expect("something is noted");
        assert_eq!(began, ms(50));
        assert_eq!(spans(&log, H, began, None).len(), 2);
    }
}
