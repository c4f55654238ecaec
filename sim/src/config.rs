//! This file knows what a run is made of: how many nodes, which chain, which faults how often; all of it drawn from a
//! seed.

use ultramarine_net::bounds::OTHER_PLACES;
use ultramarine_net::{Roster, Statuses};
use ultramarine_types::{ChainIdentity, ChainParams, Nanos};

use crate::adversaries::AdversaryKind;
use crate::block;
use crate::dice::Dice;
use crate::faults::FaultKind;
use crate::lines::{NodeLines, Rates};
use crate::network::Weather;
#[cfg(feature = "planted")]
use crate::planted::PlantedBug;
use crate::shown::Shown;
use crate::uplink::Uplink;

#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Everything random follows from it.
    pub seed: u64,
    pub validators: usize,
    /// Full nodes behind them, strangers among them.
    pub full_nodes: usize,
    pub chain: ChainParams,
    /// Blobs of a block, low and high.
    pub blobs_range: (u32, u32),
    /// Faults go on until this height is decided somewhere.
    pub target: u64,
    /// The network while faults last.
    pub weather: Weather,
    /// The lines between the nodes.
    pub lines: NodeLines,
    /// Mean time between two faults; `None`: only those a script makes.
    pub fault_every: Option<Nanos>,
    /// Kinds of fault of this run.
    pub fault_kinds: Vec<FaultKind>,
    /// Mean time between two decided heights that rot on a disk; `None`: none does.
    pub rot_every: Option<Nanos>,
    /// Adversaries, by position: validators, and strangers behind them.
    pub adversaries: Vec<(usize, AdversaryKind)>,
    /// Heights of blobs that nodes keep; `None`: all.
    pub retention: Option<u64>,
    /// Places of a node beside those of validators' first nodes.
    pub places: usize,
    /// Full nodes that all others have configured.
    pub listed: Vec<usize>,
    /// Whether nodes ban peers for their faults.
    pub bans: bool,
    /// Largest difference of a monotonic clock's rate, in parts per million.
    pub skew_ppm_max: u64,
    /// Whether late rounds are as short as the first, so that thousands of them take hours and not months.
    pub short_rounds: bool,
    /// More events than the run needs: beyond it something spins.
    pub events_max: u64,
    /// Whether cores verify the votes of a burst together. It changes nothing but the time that a run takes.
    pub bursts: bool,
    /// Whether machines look through all they hold after each input. That changes nothing but the time a run takes.
    pub checks_whole: bool,
    /// What of it is printed as it happens.
    pub shown: Option<Shown>,
    /// A bug put into every honest node on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<PlantedBug>,
}

impl RunConfig {
    /// A quiet run of four validators.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            validators: 4,
            full_nodes: 0,
            chain: ChainParams {
                chain_id: 4844,
                execution_genesis_hash: block::genesis().hash,
                blobs_per_block_max: 6,
                block_interval_ms: 300,
                blob_retention_heights_min: 16,
                gas_limit_min: 5_000_000,
                gas_limit_max: 60_000_000,
                genesis_time: block::GENESIS_SECONDS,
                prague_time: None,
            },
            blobs_range: (0, 6),
            target: 20,
            weather: Weather::CALM,
            lines: NodeLines::default(),
            fault_every: None,
            fault_kinds: Vec::new(),
            rot_every: None,
            adversaries: Vec::new(),
            retention: None,
            places: OTHER_PLACES,
            listed: Vec::new(),
            bans: false,
            skew_ppm_max: 0,
            short_rounds: false,
            events_max: 6_000_000,
            bursts: true,
            checks_whole: true,
            shown: None,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// The run of a seed: everything that can go wrong, as much as the seed says.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed, "config");
        let mut this = Self::quiet(seed);
        this.validators = dice.between(4, 7) as usize;
        this.full_nodes = usize::from(dice.chance(250));
        this.chain.block_interval_ms = dice.between(100, 600);
        // Some chains cross a fork on their way.
        this.chain.prague_time = match dice.below(3) {
            0 => None,
            1 => Some(0),
            _ => Some(block::GENESIS_SECONDS + dice.between(5, 60)),
        };
        this.weather = Weather {
            loss: dice.between(0, 40) as u32,
            duplicate: dice.between(0, 50) as u32,
            detour: dice.between(0, 30) as u32,
            stream_break: dice.between(0, 15) as u32,
            latency: dice.micros(100, 30_000),
            is_steady: false,
            bytes_per_ms: dice.between(20_000, 1_000_000),
        };
        this.fault_every = Some(dice.millis(400, 4000));
        this.skew_ppm_max = dice.between(0, 1000);
        if dice.chance(300) {
            this.retention = Some(dice.between(this.chain.blob_retention_heights_min, 18));
        }
        if dice.chance(700) {
            // A liar finds few listeners in one run: peers that answered falsely once are asked last.
            let mut kinds = AdversaryKind::ALL.to_vec();
            kinds.extend([AdversaryKind::Liar, AdversaryKind::RuleBreaker]);
            let kind = *dice.pick(&kinds);
            let count = if this.validators == 7 && dice.chance(500) { 2 } else { 1 };
            let first = dice.below(this.validators);
            this.adversaries = (0..count)
                .map(|step| ((first + 3 * step) % this.validators, kind))
                .collect();
        }
        // Each run has most kinds of fault, not all: a mix of everything hides what only two together do.
        this.fault_kinds = FaultKind::ALL.iter().copied().filter(|_| dice.chance(700)).collect();
        // Liars and old packages are heard when somebody has to catch up.
        let is_asked = |kind: &AdversaryKind| matches!(kind, AdversaryKind::Liar | AdversaryKind::Relaunch);
        if this.adversaries.iter().any(|(_, kind)| is_asked(kind)) {
            this.fault_kinds.extend([FaultKind::LongAway; 8]);
        }
        // Of dice of their own, so that all else of a seed stays as it is.
        this.lines = NodeLines::draw(&mut Dice::of(seed, "lines"), this.nodes());
        // Whoever plays the chain's past is banned at once, and then plays no more.
        let is_relaunched = this
            .adversaries
            .iter()
            .any(|(_, kind)| *kind == AdversaryKind::Relaunch);
        this.bans = !is_relaunched && Dice::of(seed, "bans").chance(250);
        if Dice::of(seed, "lost logs").chance(150) {
            this.fault_kinds.push(FaultKind::LoseLog);
        }
        if Dice::of(seed, "pauses").chance(300) {
            this.fault_kinds.push(FaultKind::Pause);
        }
        let mut rot_dice = Dice::of(seed, "rot config");
        if rot_dice.chance(400) {
            this.rot_every = Some(rot_dice.millis(500, 8000));
        }
        let mut stranger_dice = Dice::of(seed, "strangers");
        if stranger_dice.chance(300) {
            let kind = *stranger_dice.pick(&AdversaryKind::STRANGERS);
            let strangers = stranger_dice.between(1, 3) as usize;
            let first = this.nodes();
            this.full_nodes += strangers;
            this.adversaries
                .extend((first..this.nodes()).map(|stranger| (stranger, kind)));
        }
        if this.fault_kinds.is_empty() {
            this.fault_kinds.push(FaultKind::Crash);
        }
        this
    }

    /// What a node sends over its line, of which nothing has left.
    pub(crate) fn uplink(&self, node: usize) -> Uplink {
        #[cfg_attr(not(feature = "planted"), expect(unused_mut, reason = "a bug may be planted"))]
        let mut uplink = Uplink::new(self.rates(node).out, self.chain.limits().propose_timeout());
        #[cfg(feature = "planted")]
        {
            uplink.turns_waived = self.planted == Some(PlantedBug::TurnsWaived);
        }
        uplink
    }

    /// Who has places at a node.
    pub(crate) fn roster(&self) -> Roster {
        #[cfg_attr(not(feature = "planted"), expect(unused_mut, reason = "a bug may be planted"))]
        let mut roster = Roster::new(self.places);
        #[cfg(feature = "planted")]
        {
            roster.nobody_gives_way = self.planted == Some(PlantedBug::NobodyGivesWay);
        }
        roster
    }

    /// The statuses that wait at a node.
    pub(crate) fn statuses(&self) -> Statuses {
        #[cfg_attr(not(feature = "planted"), expect(unused_mut, reason = "a bug may be planted"))]
        let mut statuses = Statuses::default();
        #[cfg(feature = "planted")]
        {
            statuses.nothing_waits = self.planted == Some(PlantedBug::StatusesUnmerged);
        }
        statuses
    }

    /// How fast a node's line is.
    pub fn rates(&self, node: usize) -> Rates {
        let own = self.lines.rates.get(&node).copied();
        own.unwrap_or(Rates::even(self.weather.bytes_per_ms))
    }

    /// Whether no validator is an adversary.
    pub fn is_power_honest(&self) -> bool {
        self.adversaries
            .iter()
            .all(|(position, _)| *position >= self.validators)
    }

    pub fn nodes(&self) -> usize {
        self.validators + self.full_nodes
    }

    /// The identity in the domains of votes and proposals: the chain's own, unless a bug is planted.
    pub(crate) fn voting_chain(&self, chain: &ChainIdentity) -> ChainIdentity {
        #[cfg(feature = "planted")]
        return ultramarine_core::Planted::voting_chain(self.planted.and_then(PlantedBug::of_core), chain);
        #[cfg(not(feature = "planted"))]
        *chain
    }

    /// The identity in hellos and attestations, likewise.
    pub(crate) fn attesting_chain(&self, chain: &ChainIdentity) -> ChainIdentity {
        #[cfg(feature = "planted")]
        if self.planted == Some(PlantedBug::AnyChainsHellos) {
            return ChainIdentity::ZERO;
        }
        *chain
    }
}
