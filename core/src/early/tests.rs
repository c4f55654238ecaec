use ultramarine_types::{Address, ConsensusMessage, Height, Round, Signature, Vote, VoteKind};

use super::Early;

fn vote(height: u64, round: u32, voter: u8) -> ConsensusMessage {
    ConsensusMessage::Vote(Vote {
        kind: VoteKind::Prevote,
        height: Height(height),
        round: Round(round),
        value_id: None,
        voter: Address([voter; 20]),
        signature: Signature::ZERO,
    })
}

#[test]
fn votes_of_the_next_height_wait_for_it() {
    let mut early = Early::default();
    early.keep(Height(5), vote(5, 0, 1));
    early.keep(Height(5), vote(5, 0, 2));
    assert!(early.take(Height(4)).is_empty());
    assert_eq!(early.take(Height(5)), [vote(5, 0, 1), vote(5, 0, 2)]);
    assert_eq!(early.len(), 0);
}

#[test]
fn a_validator_counts_once_among_the_voters_of_a_height() {
    let mut early = Early::default();
    early.keep(Height(5), vote(5, 0, 1));
    early.keep(Height(5), vote(5, 1, 1));
    early.keep(Height(5), vote(5, 0, 2));
    assert_eq!(
        early.voters(Height(5)).into_iter().collect::<Vec<_>>(),
        [Address([1; 20]), Address([2; 20])]
    );
    assert!(early.voters(Height(6)).is_empty());
}

#[test]
fn nobody_can_fill_it() {
    let mut early = Early::default();
    for round in 0..10_000 {
        for voter in 0..4 {
            early.keep(Height(5), vote(5, round, voter));
            early.keep(Height(5), vote(5, round, voter));
        }
        early.keep(Height(5), vote(6 + u64::from(round), 0, 9));
    }
    assert_eq!(
        early.len(),
        4 * 4,
        "one message a voter and round, few rounds, one height"
    );
}

#[test]
fn a_new_height_drops_the_old_one() {
    let mut early = Early::default();
    early.keep(Height(5), vote(5, 0, 1));
    early.keep(Height(6), vote(6, 0, 1));
    assert!(early.take(Height(5)).is_empty());
    assert_eq!(early.take(Height(6)).len(), 1);
}
