use super::*;
use ultramarine_types::verify::Urgency;

type Sums = Account<u32, Vec<u32>>;

const POLICY: AccountPolicy = AccountPolicy {
    sum_claims: 4,
    claims_max: 12,
    wait: Nanos(100),
};

fn lot(number: u64, last: bool) -> Lot {
    Lot {
        urgency: Urgency::Current,
        number,
        last,
    }
}

fn settled(due: Option<Due<u32, Vec<u32>>>) -> Vec<u32> {
    match due {
        Some(Due::Settle(Settlement { sums, loose })) => [sums.concat(), loose].concat(),
        other => panic!("not a settlement: {other:?}"),
    }
}

fn piece(due: Option<Due<u32, Vec<u32>>>) -> Piece<u32> {
    match due {
        Some(Due::Sum(piece)) => piece,
        other => panic!("not a sum: {other:?}"),
    }
}

fn give_back(account: &mut Sums, piece: Piece<u32>) {
    account.put_sum(piece.claims.clone(), piece.claims.len(), piece.mark);
}

#[test]
fn claims_are_summed_as_they_fill_a_piece_and_settled_with_the_last() {
    let mut account = Sums::new(POLICY);
    account.put(Nanos(1), lot(1, false), vec![10, 11, 12]);
    assert_eq!(account.take_due(Nanos(1)), None);
    account.put(Nanos(2), lot(2, false), vec![13, 14]);
    let summed = piece(account.take_due(Nanos(2)));
    assert_eq!(summed.claims, [10, 11, 12, 13, 14]);
    assert_eq!(account.due_at(), None, "all of it is in a lane's hands");
    give_back(&mut account, summed);
    account.put(Nanos(3), lot(3, true), vec![15]);
    assert_eq!(account.due_at(), Some(Nanos::ZERO));
    assert_eq!(settled(account.take_due(Nanos(3))), [10, 11, 12, 13, 14, 15]);
    assert!(account.is_empty() && account.due_at().is_none());
}

#[test]
fn what_an_earlier_batch_gives_after_the_last_is_settled_as_it_comes() {
    let mut account = Sums::new(POLICY);
    account.put(Nanos(1), lot(3, true), vec![30]);
    assert_eq!(settled(account.take_due(Nanos(1))), [30]);
    account.put(Nanos(2), lot(2, false), vec![20]);
    assert_eq!(settled(account.take_due(Nanos(2))), [20]);
    account.put(Nanos(3), lot(4, false), vec![40]);
    assert_eq!(account.take_due(Nanos(3)), None, "a later batch is another block's");
    account.put(Nanos(4), lot(1, false), vec![]);
    assert_eq!(account.take_due(Nanos(4)), None, "nothing of it is left to settle");
}

#[test]
fn a_sum_that_comes_back_after_the_last_is_settled_as_it_comes() {
    let mut account = Sums::new(POLICY);
    account.put(Nanos(1), lot(1, false), vec![1, 2, 3, 4]);
    let summed = piece(account.take_due(Nanos(1)));
    account.put(Nanos(2), lot(2, true), vec![5]);
    assert_eq!(settled(account.take_due(Nanos(2))), [5]);
    give_back(&mut account, summed);
    assert_eq!(settled(account.take_due(Nanos(3))), [1, 2, 3, 4]);
}

#[test]
fn a_last_job_with_its_finding_already_completes_its_block_too() {
    let mut account = Sums::new(POLICY);
    account.put(Nanos(1), lot(1, false), vec![1]);
    account.put(Nanos(2), lot(2, true), vec![]);
    assert_eq!(settled(account.take_due(Nanos(2))), [1]);
}

#[test]
fn a_stalled_stream_keeps_a_claim_no_longer_than_the_wait() {
    let mut account = Sums::new(POLICY);
    account.put(Nanos(10), lot(1, false), vec![1, 2, 3, 4]);
    let summed = piece(account.take_due(Nanos(10)));
    account.put(Nanos(50), lot(2, false), vec![5]);
    assert_eq!(account.due_at(), Some(Nanos(150)));
    give_back(&mut account, summed);
    assert_eq!(account.due_at(), Some(Nanos(110)), "a sum is as old as its claims");
    assert_eq!(account.take_due(Nanos(109)), None);
    assert_eq!(settled(account.take_due(Nanos(110))), [1, 2, 3, 4, 5]);
}

#[test]
fn it_never_holds_more_than_its_bound_for_long() {
    let mut account = Sums::new(POLICY);
    for number in 1..=2 {
        let claims: Vec<u32> = (0..4).map(|at| 10 * number as u32 + at).collect();
        account.put(Nanos(number), lot(number, false), claims);
        let summed = piece(account.take_due(Nanos(number)));
        give_back(&mut account, summed);
    }
    assert_eq!(account.len(), 8);
    account.put(Nanos(3), lot(3, false), vec![30, 31, 32, 33]);
    assert_eq!(settled(account.take_due(Nanos(3))).len(), 12, "rather than summed");
}

#[test]
fn a_closed_account_settles_whatever_comes() {
    let mut account = Sums::new(POLICY);
    account.put(Nanos(1), lot(1, false), vec![1]);
    account.close();
    assert_eq!(settled(account.take_due(Nanos(1))), [1]);
    account.put(Nanos(2), lot(2, false), vec![2]);
    assert_eq!(settled(account.take_due(Nanos(2))), [2]);
}
