use bytes::Bytes;
use ultramarine_types::verify::Refutation as Why;
use ultramarine_types::{Hash, KzgProof};

use super::*;
use crate::fixtures;

/// A claim is its index and a sum a list of them.
type Book = Accounts<u16, Vec<u16>>;

const POLICY: AccountPolicy = AccountPolicy {
    sum_claims: 4,
    values_max: 2,
    blobs_max: 12,
};

fn job(height: u64, index: u16, blobs_count: u16) -> VerifyJob {
    VerifyJob {
        blob: Bytes::from(vec![index as u8; 8]),
        digest: Some(Hash([index as u8; 32])),
        ..fixtures::job(height, 1, index, blobs_count)
    }
}

fn begin(book: &mut Book, job: VerifyJob) -> Ticket {
    let name = book.begin(0, &job);
    Ticket {
        name,
        is_wanted: true,
        job,
    }
}

/// A right blob comes and is opened.
fn fill(book: &mut Book, height: u64, index: u16, blobs_count: u16) -> Name {
    let ticket = begin(book, job(height, index, blobs_count));
    let name = ticket.name;
    assert_eq!(book.put(ticket, Opening::Open(index)), None);
    book.check_whole();
    name
}

fn one(mut whole: Vec<WholeValue<u16, Vec<u16>>>) -> WholeValue<u16, Vec<u16>> {
    assert_eq!(whole.len(), 1);
    whole.remove(0)
}

#[test]
fn claims_are_summed_as_they_fill_a_piece_and_settled_with_the_last() {
    let mut book = Book::new(POLICY);
    (0..4).for_each(|index| _ = fill(&mut book, 1, index, 6));
    let (name, piece) = book.take_piece(Urgency::Current).expect("four are loose");
    assert_eq!(piece, [0, 1, 2, 3]);
    assert_eq!(book.take_piece(Urgency::Current), None);
    fill(&mut book, 1, 4, 6);
    fill(&mut book, 1, 5, 6);
    assert!(book.take_whole(Urgency::Current).is_empty(), "a sum is not back");
    book.put_sums(&name, piece);
    assert!(book.take_whole(Urgency::Sync).is_empty());
    let whole = one(book.take_whole(Urgency::Current));
    assert_eq!((whole.sums, whole.loose), (vec![vec![0, 1, 2, 3]], vec![4, 5]));
    assert!(book.take_whole(Urgency::Current).is_empty(), "it is settled once");
    assert!(book.settled(&whole.name, true));
    assert_eq!(book.blobs_count(), 0);
}

#[test]
fn the_first_right_bytes_fill_a_place() {
    let mut book = Book::new(POLICY);
    let tickets = [0, 0, 0].map(|index| begin(&mut book, job(1, index, 1)));
    let [wrong, first, second] = tickets;
    let name = first.name;
    book.put(wrong, Opening::Hashed);
    assert!(book.wants(&name, 0));
    book.put(first, Opening::Open(10));
    assert!(!book.wants(&name, 0));
    book.put(second, Opening::Open(20));
    book.check_whole();
    assert_eq!(one(book.take_whole(Urgency::Current)).loose, [10]);
}

#[test]
fn wrong_bytes_alone_leave_nothing_behind() {
    let mut book = Book::new(POLICY);
    let tickets = [0, 1].map(|index| begin(&mut book, job(1, index, 2)));
    for ticket in tickets {
        book.put(ticket, Opening::Hashed);
        book.check_whole();
    }
    assert!(book.accounts.is_empty());
}

#[test]
fn values_are_settled_apart_and_few_share_a_pairing() {
    let mut book = Book::new(POLICY);
    for index in 0..2 {
        (1..=3).for_each(|height| _ = fill(&mut book, height, index, 2));
        fill(&mut book, 4, index, 3);
    }
    let mut whole = book.take_whole(Urgency::Current);
    assert_eq!(whole.len(), 2);
    whole.extend(book.take_whole(Urgency::Current));
    assert!(whole.iter().all(|value| value.loose == [0, 1]));
    let heights: Vec<_> = whole.iter().map(|value| value.name.key.height.0).collect();
    assert_eq!(heights, [1, 2, 3], "the fourth is not whole");
}

#[test]
fn a_value_with_a_claim_that_fails_is_neither_summed_nor_settled_but_doubted() {
    let mut book = Book::new(POLICY);
    let ticket = begin(&mut book, job(1, 5, 6));
    book.put(ticket, Opening::Settled(Err(Why::Wrong)));
    (0..4).for_each(|index| _ = fill(&mut book, 1, index, 6));
    assert_eq!(book.take_piece(Urgency::Current), None);
    assert!(book.take_doubt().is_none(), "a blob is missing");
    let name = fill(&mut book, 1, 4, 6);
    assert!(book.take_whole(Urgency::Current).is_empty());
    let (doubted, doubt) = book.take_doubt().expect("it is whole");
    assert_eq!(doubted, name);
    let indices: Vec<_> = doubt.blobs().iter().map(|job| job.index).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5], "in order");
    assert!(book.take_doubt().is_none(), "it is in a lane's hands");
    assert_eq!(book.confirmed(&name, ControlFlow::Continue(doubt)), None);
    assert!(book.take_doubt().is_some());
    let outcome = ValueOutcome::Fails {
        index: 5,
        why: Why::Wrong,
        proof: KzgProof::ZERO,
    };
    assert_eq!(book.confirmed(&name, ControlFlow::Break(outcome)), Some(outcome));
    assert_eq!(book.blobs_count(), 0);
}

#[test]
fn a_value_that_does_not_hold_is_doubted() {
    let mut book = Book::new(POLICY);
    let name = fill(&mut book, 1, 0, 1);
    book.take_whole(Urgency::Current);
    assert!(!book.settled(&name, false));
    assert!(book.take_doubt().is_some());
}

/// At each stage, what a lane gives back of a value that was forgotten counts for nothing, even if it began again.
#[test]
fn forgetting_frees_everything_at_every_stage() {
    for again in [false, true] {
        let mut book = Book::new(POLICY);
        let mut tickets = Vec::new();
        let mut forget = |book: &mut Book| {
            book.forget(0, job(1, 0, 4).key);
            assert_eq!((book.blobs_count(), book.accounts.len()), (0, 0));
            if again {
                // Begun, and nothing of it is there.
                tickets.push(begin(book, job(1, 0, 4)));
            }
            book.check_whole();
        };
        let early = begin(&mut book, job(1, 3, 4));
        fill(&mut book, 1, 0, 4);
        forget(&mut book);
        assert!(!book.wants(&early.name, 3), "a job of the earlier account");
        book.put(early, Opening::Open(3));
        assert_eq!(book.blobs_count(), 0, "a job of the earlier account");

        book.forget(0, job(1, 0, 4).key);
        (0..4).for_each(|index| _ = fill(&mut book, 2, index, 5));
        let (name, piece) = book.take_piece(Urgency::Current).expect("four are loose");
        book.forget(0, name.key);
        book.put_sums(&name, piece);
        assert_eq!(book.blobs_count(), 0);

        let name = fill(&mut book, 1, 0, 1);
        book.take_whole(Urgency::Current);
        forget(&mut book);
        assert!(!book.settled(&name, true), "its client waits for no verdict");

        book.forget(0, job(1, 0, 4).key);
        let name = fill(&mut book, 1, 0, 1);
        book.take_whole(Urgency::Current);
        book.settled(&name, false);
        let (_, doubt) = book.take_doubt().expect("it fails");
        forget(&mut book);
        assert_eq!(book.confirmed(&name, ControlFlow::Continue(doubt)), None);
        assert!(book.take_doubt().is_none());
        book.check_whole();
    }
}

#[test]
fn a_client_forgets_its_own_value_alone() {
    let mut book = Book::new(POLICY);
    let name = fill(&mut book, 1, 0, 2);
    book.forget(1, name.key);
    assert_eq!(book.blobs_count(), 1);
    let other = book.begin(1, &job(1, 0, 2));
    assert!(
        book.wants(&other, 0),
        "the same value of another client has its own places"
    );
    assert!(!book.wants(&name, 0));
}

#[test]
fn the_value_that_began_first_gives_way_when_too_many_blobs_are_kept() {
    let mut book = Book::new(POLICY);
    let empty = begin(&mut book, job(9, 0, 2));
    let first = fill(&mut book, 1, 0, 2);
    (0..11).for_each(|index| _ = fill(&mut book, 2, index, 20));
    let ticket = begin(&mut book, job(3, 0, 2));
    assert_eq!(book.put(ticket, Opening::Open(0)), Some(first));
    book.check_whole();
    assert_eq!(book.blobs_count(), 12);
    assert!(book.wants(&empty.name, 0), "it has nothing to give");
}

#[test]
fn the_urgency_is_that_of_the_most_urgent_job() {
    let mut book = Book::new(POLICY);
    for (index, urgency) in [(0, Urgency::Sync), (1, Urgency::Current), (2, Urgency::Sync)] {
        let job = VerifyJob {
            urgency,
            ..job(1, index, 3)
        };
        let ticket = begin(&mut book, job);
        book.put(ticket, Opening::Open(index));
    }
    assert!(book.take_whole(Urgency::Sync).is_empty());
    assert_eq!(book.take_whole(Urgency::Current).len(), 1);
}
