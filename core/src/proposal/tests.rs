use ultramarine_types::{Height, Nanos, Round, ValueId, ValueKey};

use super::Proposer;

const H: Height = Height(3);

fn id(proposer: &mut Proposer, round: Round) -> Option<ValueId> {
    proposer.chosen(H, round).map(|choice| choice.id)
}

#[test]
fn the_same_round_always_gets_the_same_value() {
    let mut proposer = Proposer::default();
    assert_eq!(id(&mut proposer, Round(0)), None);
    proposer.choose(H, Round(0), ValueId([1; 32]));
    proposer.choose(H, Round(0), ValueId([2; 32]));
    let first = Some(ValueId([1; 32]));
    assert_eq!(id(&mut proposer, Round(0)), first, "the first choice stands");
    assert_eq!(id(&mut proposer, Round(1)), None);
}

#[test]
fn what_the_log_says_comes_before_what_was_found_stored() {
    let mut proposer = Proposer::default();
    proposer.choose(H, Round(0), ValueId([1; 32]));
    proposer.remember(H, Round(0), ValueId([2; 32]));
    proposer.choose(H, Round(0), ValueId([3; 32]));
    assert_eq!(id(&mut proposer, Round(0)), Some(ValueId([2; 32])));
}

#[test]
fn only_the_build_that_was_asked_for_counts() {
    let mut proposer = Proposer::default();
    proposer.begin(H, Round(1), Nanos(10));
    assert_eq!(proposer.built(H, Round(0)), None);
    assert_eq!(proposer.built(H, Round(1)), Some(Nanos(10)));
    assert_eq!(proposer.built(H, Round(1)), None, "once");
}

#[test]
fn choices_are_kept_until_their_height_is_done() {
    let mut proposer = Proposer::default();
    let key = ValueKey {
        height: H,
        id: ValueId([1; 32]),
    };
    proposer.choose(H, Round(0), key.id).asked = true;
    proposer.choose(H, Round(3), key.id);
    assert!(proposer.stream(key) && !proposer.stream(key), "its bytes are sent once");
    proposer.check_whole(H.prev());
    proposer.commit(H);
    proposer.check_whole(H);
    assert_eq!(id(&mut proposer, Round(0)), None);
    assert!(proposer.stream(key));
}

#[test]
fn a_build_that_fails_after_its_round_was_given_up_leaves_no_deadline() {
    let mut proposer = Proposer::default();
    proposer.want(H, Round(0));
    proposer.begin(H, Round(0), Nanos(10));
    proposer.give_up();
    assert_eq!(proposer.built(H, Round(0)), Some(Nanos(10)));
    proposer.retry(Nanos(20));
    assert_eq!(
        proposer.deadline(),
        None,
        "nobody would take it up, and the core be woken without end"
    );
    proposer.want(H, Round(1));
    proposer.retry(Nanos(30));
    assert_eq!(proposer.deadline(), Some(Nanos(30)));
}

#[test]
fn a_choice_ends_the_wait_for_another_build() {
    let mut proposer = Proposer::default();
    proposer.want(H, Round(1));
    proposer.retry(Nanos(7));
    assert_eq!(proposer.deadline(), Some(Nanos(7)));
    proposer.choose(H, Round(1), ValueId([1; 32]));
    assert_eq!(proposer.deadline(), None, "nothing wakes a core that waits for its log");
}
