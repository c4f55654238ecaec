use ultramarine_types::verify::VerifyJob;

use super::*;
use crate::account::Accounts;
use crate::fixtures::{Seeded, job};
use crate::foreman::Policy;

fn ticket(sender: u8, index: u16, urgency: Urgency) -> Ticket {
    let job = VerifyJob {
        urgency,
        ..job(1, sender, index, u16::MAX)
    };
    let name = Accounts::<(), ()>::new(Policy::default().accounts).begin(0, &job);
    let is_wanted = true;
    Ticket { name, is_wanted, job }
}

fn current(sender: u8, index: u16) -> Ticket {
    ticket(sender, index, Urgency::Current)
}

fn names(batch: Option<Batch>) -> Vec<(u8, u16)> {
    let name = |ticket: &Ticket| (ticket.job.sender.map_or(0, |peer| peer.0[0]), ticket.job.index);
    batch.map_or(Vec::new(), |batch| batch.tickets.iter().map(name).collect())
}

#[test]
fn a_batch_is_of_one_urgency_and_no_larger_than_asked() {
    let mut former = Former::default();
    (0..6).for_each(|index| former.push(current(1, index)));
    former.push(ticket(1, 9, Urgency::Sync));
    assert_eq!(
        names(former.take(Urgency::Current, 4)),
        [(1, 0), (1, 1), (1, 2), (1, 3)]
    );
    assert_eq!((former.waiting(), former.waiting_of(Urgency::Current)), (3, 2));
    assert_eq!(names(former.take(Urgency::Sync, 4)), [(1, 9)]);
    assert_eq!(names(former.take(Urgency::Current, 4)), [(1, 4), (1, 5)]);
    assert!(former.take(Urgency::Current, 4).is_none() && former.take(Urgency::Sync, 4).is_none());
}

#[test]
fn a_flooding_sender_delays_another_by_less_than_a_batch() {
    let mut former = Former::default();
    (0..100).for_each(|index| former.push(current(1, index)));
    (0..2).for_each(|index| former.push(current(2, index)));
    assert_eq!(
        names(former.take(Urgency::Current, 4)),
        [(1, 0), (2, 0), (1, 1), (2, 1)]
    );
}

#[test]
fn every_job_leaves_once_and_a_senders_jobs_leave_in_order() {
    let mut seeded = Seeded(7);
    let mut former = Former::default();
    let (mut sent, mut left) = ([0u16; 4], Vec::new());
    for _ in 0..3000 {
        if seeded.below(5) == 0 {
            left.extend(names(former.take(Urgency::Current, 4)));
        } else {
            let sender = seeded.below(4);
            sent[sender] += 1;
            former.push(current(sender as u8 + 1, sent[sender] - 1));
        }
        former.check_whole();
    }
    while former.waiting() > 0 {
        left.extend(names(former.take(Urgency::Current, 4)));
    }
    for (sender, count) in sent.into_iter().enumerate() {
        let indices: Vec<_> = left
            .iter()
            .filter(|(who, _)| usize::from(*who) == sender + 1)
            .map(|(_, index)| *index)
            .collect();
        assert_eq!(indices, (0..count).collect::<Vec<_>>(), "sender {sender}");
    }
    assert!(former.current.senders.is_empty() && former.current.turns.is_empty());
}
