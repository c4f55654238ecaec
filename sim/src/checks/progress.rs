//! I14: a connected quorum of honest validators whose clients answer decides within a bound that follows from timeouts
//! and bytes, whatever all others do.
//!
//! The checker looks a few times a second. It watches the validators of one quorum: as long as nothing befalls them or
//! the links between them, one of them must decide within the bound. What befalls others changes nothing. A liveness
//! run demands more, of each member and sooner (`liveness.rs`).

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::{Height, Nanos};

use super::CheckOutcome;

/// What is seen of a validator that is able to take part. Another life is another validator here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Able {
    pub life: u32,
    /// Of its execution client.
    pub el_life: u32,
    /// Most blobs that its client puts into a block. The bound follows its bytes.
    pub blobs_max: u32,
    pub head: Height,
}

/// What the checker sees at one moment.
#[derive(Default, Debug)]
pub struct Sight {
    /// Honest validators that run, with clients that answer the truth, and disks and clocks that are right.
    pub able: BTreeMap<usize, Able>,
    /// Connections between them, lower position first, each with its number.
    pub links: BTreeMap<(usize, usize), u64>,
    /// All validators.
    pub validators: usize,
}

/// A quorum that is whole since a moment.
#[derive(Debug)]
struct Watched {
    sight: Sight,
    since: Nanos,
    due: Nanos,
}

/// See the file's words.
#[derive(Default, Debug)]
pub struct ProgressCheck {
    watched: Option<Watched>,
}

impl Sight {
    /// The same of some validators alone.
    fn of(&self, members: &BTreeSet<usize>) -> Self {
        let is_member = |node: &usize| members.contains(node);
        let able = self.able.iter().filter(|(node, _)| is_member(node));
        let links = self.links.iter().filter(|((a, b), _)| is_member(a) && is_member(b));
        Self {
            able: able.map(|(node, able)| (*node, *able)).collect(),
            links: links.map(|(link, epoch)| (*link, *epoch)).collect(),
            validators: self.validators,
        }
    }

    /// The validators that are able, hang together over links, and are most.
    fn largest(&self) -> BTreeSet<usize> {
        let mut largest = BTreeSet::new();
        let mut linked: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let is_able = |(a, b): &&(usize, usize)| self.able.contains_key(a) && self.able.contains_key(b);
        for (a, b) in self.links.keys().filter(is_able) {
            linked.entry(*a).or_default().push(*b);
            linked.entry(*b).or_default().push(*a);
        }
        for first in self.able.keys() {
            if largest.contains(first) {
                continue;
            }
            let (mut reached, mut next) = (BTreeSet::from([*first]), vec![*first]);
            while let Some(node) = next.pop() {
                let far = linked.get(&node).into_iter().flatten();
                next.extend(far.filter(|far| reached.insert(**far)));
            }
            if reached.len() > largest.len() {
                largest = reached;
            }
        }
        largest
    }

    fn is_quorum(&self, members: usize) -> bool {
        members * 3 > self.validators * 2
    }

    fn tip(&self) -> Height {
        self.able.values().map(|able| able.head).max().unwrap_or_default()
    }

    /// Whether what was seen before is there still: the same validators in the same lives, and each of their links.
    fn has_all_of(&self, before: &Self) -> bool {
        let same = |(node, able): (&usize, &Able)| {
            let now = self.able.get(node);
            now.is_some_and(|now| {
                Able {
                    head: able.head,
                    ..*now
                } == *able
            })
        };
        before.able.iter().all(same)
            && before
                .links
                .iter()
                .all(|(link, epoch)| self.links.get(link) == Some(epoch))
    }
}

impl ProgressCheck {
    /// Looks; `within` is the bound for a quorum of these members.
    pub fn look(&mut self, now: Nanos, sight: &Sight, within: impl FnOnce(&BTreeSet<usize>) -> Nanos) -> CheckOutcome {
        if let Some(watched) = &self.watched
            && sight.has_all_of(&watched.sight)
        {
            let members: BTreeSet<usize> = watched.sight.able.keys().copied().collect();
            let seen = sight.of(&members);
            if seen.tip() <= watched.sight.tip() {
                if now <= watched.due {
                    return Ok(());
                }
                let what = format!(
                    "the validators {members:?} are whole and connected for {:?}, and height {} is not decided within \
                     {:?}",
                    now.since(watched.since),
                    seen.tip().next(),
                    watched.due.since(watched.since),
                );
                return Err(("I14", what));
            }
        }
        let members = sight.largest();
        self.watched = sight.is_quorum(members.len()).then(|| Watched {
            sight: sight.of(&members),
            since: now,
            due: now + within(&members),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(able: &[usize], links: &[(usize, usize)], head: u64) -> Sight {
        let able = able.iter().map(|node| {
            let seen = Able {
                life: 0,
                el_life: 0,
                blobs_max: 6,
                head: Height(head),
            };
            (*node, seen)
        });
        Sight {
            able: able.collect(),
            links: links.iter().map(|link| (*link, 1)).collect(),
            validators: 4,
        }
    }

    const LINE: &[(usize, usize)] = &[(0, 1), (1, 2)];
    const BOUND: Nanos = Nanos(10);

    fn seen(progress: &mut ProgressCheck, at: u64, sight: &Sight) -> CheckOutcome {
        progress.look(Nanos(at), sight, |_| BOUND)
    }

    #[test]
    fn a_connected_quorum_that_stands_still_is_found() {
        let (mut progress, whole) = (ProgressCheck::default(), sight(&[0, 1, 2], LINE, 3));
        assert_eq!(seen(&mut progress, 0, &whole), Ok(()));
        assert_eq!(seen(&mut progress, 10, &whole), Ok(()));
        assert_eq!(seen(&mut progress, 11, &whole).map_err(|(name, _)| name), Err("I14"));
    }

    #[test]
    fn what_decides_or_is_no_quorum_owes_nothing() {
        let mut progress = ProgressCheck::default();
        for at in 0..9 {
            assert_eq!(seen(&mut progress, 10 * at, &sight(&[0, 1, 2], LINE, at)), Ok(()));
        }
        for at in 9..20 {
            assert_eq!(
                seen(&mut progress, 10 * at, &sight(&[0, 1, 2], &[(0, 1)], 9)),
                Ok(()),
                "not connected"
            );
            assert_eq!(
                seen(
                    &mut progress,
                    10 * at + 1,
                    &sight(&[0, 1], &[(0, 1), (1, 2), (2, 3)], 9)
                ),
                Ok(()),
                "connected to others that are not able"
            );
            assert_eq!(
                seen(&mut progress, 10 * at, &sight(&[0, 1], LINE, 9)),
                Ok(()),
                "too few"
            );
        }
    }

    #[test]
    fn what_befalls_others_changes_nothing_and_what_befalls_a_member_begins_anew() {
        let mut progress = ProgressCheck::default();
        let all = sight(&[0, 1, 2, 3], &[(0, 1), (0, 2), (0, 3), (1, 2)], 3);
        assert_eq!(seen(&mut progress, 0, &sight(&[0, 1, 2], LINE, 3)), Ok(()));
        assert_eq!(seen(&mut progress, 8, &all), Ok(()));
        assert!(seen(&mut progress, 11, &all).is_err(), "another one came");
        let mut reset = sight(&[0, 1, 2], LINE, 3);
        reset.links.insert((0, 1), 2);
        assert_eq!(seen(&mut progress, 12, &reset), Ok(()));
        let mut started = sight(&[0, 1, 2], LINE, 3);
        started.links.insert((0, 1), 2);
        started.able.entry(1).and_modify(|able| able.life += 1);
        assert_eq!(seen(&mut progress, 22, &started), Ok(()));
        assert_eq!(seen(&mut progress, 32, &started), Ok(()));
        assert!(seen(&mut progress, 33, &started).is_err());
    }

    #[test]
    fn larger_blocks_of_a_member_have_a_bound_of_their_own() {
        let mut progress = ProgressCheck::default();
        let mut larger = sight(&[0, 1, 2], LINE, 3);
        assert_eq!(seen(&mut progress, 0, &larger), Ok(()));
        larger.able.entry(1).and_modify(|able| able.blobs_max = 1024);
        assert_eq!(progress.look(Nanos(1), &larger, |_| Nanos(100)), Ok(()));
        assert_eq!(
            seen(&mut progress, 101, &larger),
            Ok(()),
            "the bound is that of its bytes"
        );
        assert!(seen(&mut progress, 102, &larger).is_err());
    }
}
