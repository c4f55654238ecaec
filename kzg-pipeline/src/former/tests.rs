use super::*;
use bytes::Bytes;
use ultramarine_types::{Height, KzgCommitment, KzgProof, ValueId, ValueKey};

const MS: u64 = 1_000_000;

fn ticket(sender: u8, index: u16, urgency: Urgency, last: bool) -> Input {
    let job = VerifyJob {
        key: ValueKey {
            height: Height(1),
            id: ValueId::ZERO,
        },
        index,
        sender: Some(PeerId([sender; 32])),
        urgency,
        last,
        blob: Bytes::new(),
        commitment: KzgCommitment::ZERO,
        proof: KzgProof::ZERO,
    };
    Input::Job(Ticket { client: 0, job })
}

fn current(sender: u8, index: u16) -> Input {
    ticket(sender, index, Urgency::Current, false)
}

fn small() -> Former {
    Former::new(Policy {
        current_blobs_max: 4,
        sync_blobs_max: 2,
        ..Policy::default()
    })
}

/// Feeds inputs at one moment and returns the batches as (sender, index) pairs.
fn feed(former: &mut Former, now: u64, inputs: impl IntoIterator<Item = Input>) -> Vec<Vec<(u8, u16)>> {
    let mut out = Outbox::new();
    for input in inputs {
        former.handle(Nanos(now), input, &mut out);
    }
    names(&mut out)
}

fn wake(former: &mut Former, now: u64) -> Vec<Vec<(u8, u16)>> {
    let mut out = Outbox::new();
    former.wake(Nanos(now), &mut out);
    names(&mut out)
}

fn names(out: &mut Outbox<Batch>) -> Vec<Vec<(u8, u16)>> {
    let name = |ticket: &Ticket| (ticket.job.sender.map_or(0, |peer| peer.0[0]), ticket.job.index);
    out.drain()
        .map(|batch| batch.tickets.iter().map(name).collect())
        .collect()
}

#[test]
fn a_job_waits_for_company_and_no_longer_than_its_wait() {
    let mut former = small();
    assert!(feed(&mut former, 0, [Input::LaneFree, current(1, 0)]).is_empty());
    assert_eq!(former.deadline(), Some(Nanos(MS)));
    assert!(feed(&mut former, MS / 2, [current(1, 1)]).is_empty());
    assert!(wake(&mut former, MS - 1).is_empty(), "waking early changes nothing");
    assert_eq!(wake(&mut former, MS), [[(1, 0), (1, 1)]]);
    assert_eq!(former.deadline(), None);
}

#[test]
fn the_last_blob_lets_its_batch_go_at_once() {
    let mut former = small();
    let batches = feed(
        &mut former,
        5,
        [
            Input::LaneFree,
            current(1, 0),
            current(1, 1),
            ticket(1, 2, Urgency::Current, true),
        ],
    );
    assert_eq!(batches, [[(1, 0), (1, 1), (1, 2)]]);
}

#[test]
fn a_full_batch_goes_at_once() {
    let mut former = small();
    let batches = feed(
        &mut former,
        0,
        [Input::LaneFree]
            .into_iter()
            .chain((0..6).map(|index| current(1, index))),
    );
    assert_eq!(batches, [[(1, 0), (1, 1), (1, 2), (1, 3)]]);
    assert_eq!(former.waiting(), 2);
}

#[test]
fn nothing_goes_before_a_lane_is_free() {
    let mut former = small();
    assert!(feed(&mut former, 0, (0..9).map(|index| current(1, index))).is_empty());
    assert_eq!(former.deadline(), None, "only an input can change anything");
    assert_eq!(feed(&mut former, 3, [Input::LaneFree, Input::LaneFree]).len(), 2);
    assert!(wake(&mut former, 10 * MS).is_empty());
    assert_eq!(
        feed(&mut former, 11 * MS, [Input::LaneFree]),
        [[(1, 8)]],
        "its wait was over long ago"
    );
}

#[test]
fn the_current_height_goes_before_sync_whenever_both_are_due() {
    let mut former = small();
    feed(
        &mut former,
        0,
        (0..4).map(|index| ticket(1, index, Urgency::Sync, false)),
    );
    feed(&mut former, 1, [current(2, 0), ticket(2, 1, Urgency::Current, true)]);
    let batches = feed(&mut former, 2, [Input::LaneFree, Input::LaneFree, Input::LaneFree]);
    assert_eq!(
        batches,
        [vec![(2, 0), (2, 1)], vec![(1, 0), (1, 1)], vec![(1, 2), (1, 3)]]
    );
}

#[test]
fn a_current_job_that_still_waits_for_company_does_not_hold_up_sync() {
    let mut former = small();
    feed(&mut former, 0, [current(2, 0)]);
    let batches = feed(&mut former, 1, [ticket(1, 0, Urgency::Sync, true), Input::LaneFree]);
    assert_eq!(batches, [[(1, 0)]]);
}

#[test]
fn a_flooding_sender_delays_another_by_less_than_a_batch() {
    let mut former = small();
    feed(&mut former, 0, (0..100).map(|index| current(1, index)));
    feed(&mut former, 1, [current(2, 0), current(2, 1)]);
    let batches = feed(&mut former, 2, [Input::LaneFree]);
    assert_eq!(batches, [[(1, 0), (2, 0), (1, 1), (2, 1)]]);
}

#[test]
fn every_job_leaves_once_and_a_senders_jobs_leave_in_order() {
    let mut seeded = crate::fixtures::Seeded(7);
    let mut former = small();
    let (mut sent, mut left) = ([0u16; 4], Vec::new());
    for step in 0..3000u64 {
        let now = step * MS / 7;
        let input = if seeded.below(5) == 0 {
            Input::LaneFree
        } else {
            let sender = seeded.below(4);
            sent[sender] += 1;
            current(sender as u8 + 1, sent[sender] - 1)
        };
        left.extend(feed(&mut former, now, [input]).concat());
    }
    while former.waiting() > 0 {
        left.extend(feed(&mut former, u64::MAX / 2, [Input::LaneFree]).concat());
    }
    for (sender, count) in sent.into_iter().enumerate() {
        let indices: Vec<_> = left
            .iter()
            .filter(|(who, _)| usize::from(*who) == sender + 1)
            .map(|(_, index)| *index)
            .collect();
        assert_eq!(indices, (0..count).collect::<Vec<_>>(), "sender {sender}");
    }
    assert!(former.current.senders.is_empty() && former.current.turns.is_empty() && former.current.lasts == 0);
}
