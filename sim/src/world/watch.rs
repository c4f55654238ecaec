//! This file knows what the checker of I14 sees of a world, and the bound that it holds a quorum to.

use std::collections::BTreeSet;

use ultramarine_types::{Height, Nanos};

use super::{Node, World};
use crate::checks::progress::{Able, Sight};
use crate::liveness::quorum::Quorum;
use crate::liveness::reckon::{Reckoning, Start};

/// A clock that is no more wrong than this keeps nobody's block out.
const CLOCK_NS: u64 = 7_000_000_000;

/// Between two looks at least, for each pair of validators.
const LOOK_REST: Nanos = Nanos(100_000);

impl World {
    /// Looks whether a quorum that is whole decides in time. A look costs as much as there are pairs, so large networks
    /// are looked at less often: a hundred validators once a second, four whenever one is told the time.
    pub(crate) fn watch_progress(&mut self) {
        let validators = self.config.validators as u64;
        let rest = Nanos(LOOK_REST.0 * validators * validators);
        if self.now < self.watched_at + rest {
            return;
        }
        self.watched_at = self.now;
        let sight = self.sight();
        let mut progress = std::mem::take(&mut self.checks.progress);
        let checked = progress.look(self.now, &sight, |members| self.bound(members));
        self.checks.progress = progress;
        let member = sight.able.keys().next().copied().unwrap_or(0);
        self.checks.note(self.now, member, checked);
    }

    fn sight(&self) -> Sight {
        let validators = self.config.validators;
        let able = |node: &&Node| {
            node.is_honest()
                && node.is_running()
                && self.now >= node.stands_until
                && node.fuse.is_none()
                && node.el.answers(self.now)
                && self.now >= node.disk.slow_until.max(node.disk.full_until)
                && !node.disk.fail_next
                && node.disk.rotten().next().is_none()
                && self.now >= node.lanes_lie_until
                && node.clock.error_ns(self.now).unsigned_abs() <= CLOCK_NS
        };
        let seen = self
            .nodes
            .iter()
            .take(validators)
            .enumerate()
            .filter(|(_, node)| able(node));
        let able = seen.map(|(position, node)| {
            let seen = Able {
                life: node.life,
                el_life: node.el.life(),
                blobs_max: node.el.blobs_max(),
                head: node.head(),
            };
            (position, seen)
        });
        let pairs = (0..validators).flat_map(|a| (a + 1..validators).map(move |b| (a, b)));
        let stands = |(a, b): (usize, usize)| {
            let is_cut = self.network.is_blocked(a, b) || self.network.is_blocked(b, a);
            let is_seen = self.nodes[a].sees.contains_key(&b) && self.nodes[b].sees.contains_key(&a);
            let epoch = self.network.epoch(a, b)?;
            (is_seen && !is_cut).then_some(((a, b), epoch))
        };
        Sight {
            able: able.collect(),
            links: pairs.filter_map(stands).collect(),
            validators,
        }
    }

    /// Within which time these validators decide a height, whatever they have to make up for, and whatever the weather
    /// loses: a lost message is told again after a status, and a round may be lost with it.
    fn bound(&self, members: &BTreeSet<usize>) -> Nanos {
        let validators: Vec<usize> = (0..self.config.validators).collect();
        let links = |a: usize, b: usize| self.network.epoch(a, b).is_some();
        let quorum = Quorum::seen(&validators, members, links);
        let reckoning = Reckoning::of(self, &quorum, &quorum.others);
        let heads = || members.iter().map(|node| self.nodes[*node].head());
        let (lowest, tip) = (heads().min().unwrap_or_default(), heads().max().unwrap_or_default());
        let next: Height = tip.next();
        let able = reckoning.recovered(tip, tip.0 - lowest.0);
        let start = Start {
            height: next,
            round: reckoning.round_after((self.checks.bounds.rounds(next) - 1) as u32, able),
            is_amid: true,
            told: reckoning.told(),
            unnoticed: reckoning.noticed(),
            spare: reckoning.lost_by_weather(),
        };
        able + Nanos::from_millis(self.config.chain.block_interval_ms) + reckoning.decides(&start)
    }
}
