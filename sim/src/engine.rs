//! This file knows a scripted execution client: a tree of blocks in memory, the answers of the Engine API, and the
//! moods in which a client answers something else.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::canonical::sha256;
use ultramarine_types::execution::{EngineCall, EngineReply, Executed, ParentBlock, PayloadStatus};
use ultramarine_types::{Address, ChainParams, Hash, Init, Nanos};

use crate::block::{self, Recipe};
use crate::dice::Dice;

/// What a build typically takes.
pub const BUILD: Nanos = Nanos::from_millis(15);
/// What the execution of a block typically takes.
pub const EXECUTE: Nanos = Nanos::from_millis(7);
/// What a forkchoice update typically takes.
pub const FORKCHOICE: Nanos = Nanos::from_millis(4);

/// How a client answers for a while, in place of the truth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mood {
    /// No answer: connection refused, a time-out, an error code.
    Unavailable,
    /// It answers `SYNCING` to everything.
    Syncing,
    /// `ACCEPTED` to payloads, `SYNCING` to forkchoice updates.
    Accepted,
    /// `INVALID` to the next payload it has not seen, once.
    InvalidOnce,
    /// An error code to the next payload it has not seen, whenever it is executed.
    PayloadError,
    /// `VALID` to forkchoice updates, with the head's parent as the latest valid hash.
    StaleHead,
    /// `VALID` to forkchoice updates, with a hash that nobody asked about. Its newest number is that of the block that
    /// it was asked about.
    OtherHead,
    /// It builds blocks that nobody takes: above the gas limit, or with a proof too many for each blob.
    BadBuild,
    /// It answers the truth, but late.
    Slow,
}

impl Mood {
    /// Those that a fault picks from. [`ScriptedEl::fall_into`] takes one like it now and then.
    pub const ALL: [Self; 6] = [
        Self::Unavailable,
        Self::Syncing,
        Self::Accepted,
        Self::InvalidOnce,
        Self::StaleHead,
        Self::Slow,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "el-unavailable",
            Self::Syncing => "el-syncing",
            Self::Accepted => "el-accepted",
            Self::InvalidOnce => "el-invalid",
            Self::PayloadError => "el-payload-error",
            Self::StaleHead => "el-stale-head",
            Self::OtherHead => "el-other-head",
            Self::BadBuild => "el-bad-build",
            Self::Slow => "el-slow",
        }
    }
}

/// A block the client knows.
#[derive(Clone, Debug)]
struct Known {
    parent: Hash,
    number: u64,
}

/// One node's execution client.
pub struct ScriptedEl {
    blocks: BTreeMap<Hash, Known>,
    invalid: BTreeSet<Hash>,
    /// Blocks that it answers with an error whenever they are executed.
    spurned: BTreeSet<Hash>,
    head: Hash,
    running: bool,
    /// Counts starts, so that calls in flight over a restart are answered with an error.
    life: u32,
    mood: Option<(Mood, Nanos)>,
    /// The gas limit of its blocks, until [`calm`](Self::calm).
    pub gas_limit: u64,
    /// Its bundles have a proof too many for each blob, until [`calm`](Self::calm).
    pub doubles_proofs: bool,
    /// How much longer than usual it executes a payload, until [`calm`](Self::calm).
    pub execute_extra: Nanos,
    /// How much longer than usual it builds a block, until [`calm`](Self::calm).
    pub build_extra: Nanos,
    /// How many answers the moods changed, by name.
    pub lies: BTreeMap<&'static str, u64>,
    /// Counts blocks built, so that no two are alike.
    built: u64,
    builder: u64,
    fee_recipient: Address,
    dice: Dice,
    mood_dice: Dice,
    /// Blobs a block carries, low and high.
    blobs_range: (u32, u32),
}

impl ScriptedEl {
    /// A client at genesis.
    pub fn new(seed: u64, node: usize, blobs_range: (u32, u32)) -> Self {
        let mut this = Self {
            blocks: BTreeMap::new(),
            invalid: BTreeSet::new(),
            spurned: BTreeSet::new(),
            head: Hash::ZERO,
            running: true,
            life: 0,
            mood: None,
            gas_limit: block::GAS_LIMIT,
            doubles_proofs: false,
            execute_extra: Nanos::ZERO,
            build_extra: Nanos::ZERO,
            lies: BTreeMap::new(),
            built: 0,
            builder: node as u64,
            fee_recipient: Address([node as u8 + 1; 20]),
            dice: Dice::of(seed, &format!("engine {node}")),
            mood_dice: Dice::of(seed, &format!("moods {node}")),
            blobs_range,
        };
        this.forget();
        this
    }

    /// The process ends; what it knew is lost, as with every client that keeps its chain in memory.
    pub fn stop(&mut self) {
        self.running = false;
        self.life += 1;
        self.forget();
    }

    /// The process starts again, at genesis.
    pub fn start(&mut self) {
        self.running = true;
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// The life a call of now belongs to.
    pub fn life(&self) -> u32 {
        self.life
    }

    /// Falls into a mood that a fault picked, or into one like it.
    pub fn fall_into(&mut self, mood: Mood, until: Nanos) {
        // In thousandths. An answer of `INVALID` needs a payload that is new to the client, so it comes about seldom.
        let (other, likely) = match mood {
            Mood::StaleHead => (Mood::OtherHead, 600),
            Mood::InvalidOnce => (Mood::PayloadError, 200),
            // Few builds fall into a mood, so three moods make this one.
            Mood::Accepted | Mood::Unavailable | Mood::Slow => (Mood::BadBuild, 600),
            Mood::Syncing => (mood, 600),
            Mood::OtherHead | Mood::PayloadError | Mood::BadBuild => (mood, 600),
        };
        let mood = if self.mood_dice.chance(likely) { other } else { mood };
        self.set_mood(mood, until);
    }

    /// Answers in a mood until a moment.
    pub fn set_mood(&mut self, mood: Mood, until: Nanos) {
        self.mood = Some((mood, until));
    }

    /// Whether it runs, and answers the truth as soon as it can.
    pub fn answers(&self, now: Nanos) -> bool {
        let is_usual = self.gas_limit == block::GAS_LIMIT && !self.doubles_proofs && self.spurned.is_empty();
        self.running && self.mood(now).is_none() && is_usual
    }

    /// Most blobs of a block that it builds.
    pub const fn blobs_max(&self) -> u32 {
        self.blobs_range.1
    }

    /// Blocks built from here on carry so many blobs, low and high.
    pub fn set_blobs(&mut self, blobs_range: (u32, u32)) {
        self.blobs_range = blobs_range;
    }

    /// Back to the truth.
    pub fn calm(&mut self) {
        self.mood = None;
        (self.execute_extra, self.build_extra) = (Nanos::ZERO, Nanos::ZERO);
        (self.gas_limit, self.doubles_proofs) = (block::GAS_LIMIT, false);
        self.spurned.clear();
    }

    /// Number of its head.
    pub fn head_number(&self) -> u64 {
        self.blocks.get(&self.head).map_or(0, |block| block.number)
    }

    /// Hash of its head.
    pub fn head(&self) -> Hash {
        self.head
    }

    /// Whether it has executed a block and found it good.
    pub fn knows(&self, hash: &Hash) -> bool {
        self.blocks.contains_key(hash)
    }

    /// How long a call takes that starts now.
    pub fn latency(&mut self, now: Nanos, call: &EngineCall) -> Nanos {
        let typical = match call {
            EngineCall::Build { .. } => BUILD,
            EngineCall::Execute { .. } | EngineCall::Import { .. } => EXECUTE,
            EngineCall::Forkchoice { .. } => FORKCHOICE,
            EngineCall::Inspect { .. } | EngineCall::Newest => Nanos::from_millis(1),
        };
        let extra = match self.mood(now) {
            Some(Mood::Slow) => {
                self.lie(Mood::Slow);
                self.dice.millis(100, 3000)
            }
            Some(Mood::Unavailable) => self.dice.millis(1, 500),
            _ => Nanos::ZERO,
        };
        let slow = match call {
            EngineCall::Build { .. } => self.build_extra,
            EngineCall::Execute { .. } => self.execute_extra,
            EngineCall::Import { .. }
            | EngineCall::Forkchoice { .. }
            | EngineCall::Inspect { .. }
            | EngineCall::Newest => Nanos::ZERO,
        };
        self.dice.latency(typical) + extra + slow
    }

    /// Answers a call that was made in `life`.
    pub fn answer(&mut self, now: Nanos, life: u32, call: EngineCall, chain: &ChainParams) -> EngineReply {
        let away = !self.running || life != self.life || self.mood(now) == Some(Mood::Unavailable);
        if self.mood(now) == Some(Mood::Unavailable) {
            self.lie(Mood::Unavailable);
        }
        let unavailable = || PayloadStatus::Unavailable {
            reason: "connection refused".to_owned(),
        };
        match call {
            EngineCall::Forkchoice { head, .. } => EngineReply::Forkchoice {
                head,
                status: if away {
                    unavailable()
                } else {
                    self.forkchoice(now, head)
                },
            },
            EngineCall::Build {
                height,
                round,
                parent,
                parent_beacon_block_root,
                timestamp,
            } => {
                let result = if away {
                    Err("connection refused".to_owned())
                } else {
                    self.build(now, parent, parent_beacon_block_root, timestamp, chain)
                };
                EngineReply::Built {
                    height,
                    round,
                    result: result.map(Box::new),
                }
            }
            EngineCall::Execute {
                key,
                init,
                lists,
                payload,
            } => {
                let outcome = match block::inspect(&init, &lists, &payload) {
                    Err(reason) => Executed::Broken { reason },
                    Ok(()) if away => Executed::Answered(unavailable()),
                    Ok(()) if self.spurns(now, &init.metadata.header.block_hash) => {
                        Executed::Answered(PayloadStatus::Unavailable {
                            reason: "error -32603: Internal error".to_owned(),
                        })
                    }
                    Ok(()) => Executed::Answered(self.new_payload(now, &init)),
                };
                EngineReply::Executed { key, outcome }
            }
            EngineCall::Inspect {
                key,
                init,
                lists,
                payload,
            } => EngineReply::Inspected {
                key,
                result: block::inspect(&init, &lists, &payload),
            },
            EngineCall::Import {
                height,
                init,
                lists,
                payload,
            } => {
                // The driver sends what is stored; a mismatch here is the node's own fault and shows as an invalid
                // block.
                let payload = match block::inspect(&init, &lists, &payload) {
                    Err(reason) => PayloadStatus::Invalid { latest: None, reason },
                    Ok(()) if away => unavailable(),
                    Ok(()) => match self.new_payload(now, &init) {
                        // A decided block is never the one a moody client calls invalid: that would rightly stop the
                        // node.
                        PayloadStatus::Invalid { .. } if !self.invalid.contains(&init.metadata.header.block_hash) => {
                            PayloadStatus::Syncing
                        }
                        status => status,
                    },
                };
                let forkchoice = if away {
                    unavailable()
                } else {
                    self.forkchoice(now, init.metadata.header.block_hash)
                };
                EngineReply::Imported {
                    height,
                    payload,
                    forkchoice,
                }
            }
            EngineCall::Newest => EngineReply::Newest {
                number: (!away).then(|| self.head_number()),
            },
        }
    }

    fn forget(&mut self) {
        let genesis = block::genesis();
        self.blocks.clear();
        self.invalid.clear();
        self.spurned.clear();
        self.blocks.insert(
            genesis.hash,
            Known {
                parent: Hash::ZERO,
                number: 0,
            },
        );
        self.head = genesis.hash;
    }

    fn mood(&self, now: Nanos) -> Option<Mood> {
        self.mood.filter(|(_, until)| now < *until).map(|(mood, _)| mood)
    }

    fn lie(&mut self, mood: Mood) {
        *self.lies.entry(mood.name()).or_default() += 1;
    }

    fn forkchoice(&mut self, now: Nanos, head: Hash) -> PayloadStatus {
        match self.mood(now) {
            Some(mood @ (Mood::Syncing | Mood::Accepted)) => {
                self.lie(mood);
                return PayloadStatus::Syncing;
            }
            Some(Mood::StaleHead) => {
                if let Some(parent) = self
                    .blocks
                    .get(&head)
                    .map(|block| block.parent)
                    .filter(|parent| *parent != Hash::ZERO)
                {
                    self.lie(Mood::StaleHead);
                    return PayloadStatus::Valid { latest: Some(parent) };
                }
            }
            _ => {}
        }
        if !self.blocks.contains_key(&head) {
            return PayloadStatus::Syncing;
        }
        self.head = head;
        let latest = match self.mood(now) {
            Some(Mood::OtherHead) => {
                self.lie(Mood::OtherHead);
                sha256(&head.0)
            }
            _ => head,
        };
        PayloadStatus::Valid { latest: Some(latest) }
    }

    fn spurns(&mut self, now: Nanos, hash: &Hash) -> bool {
        if self.mood(now) == Some(Mood::PayloadError) && !self.blocks.contains_key(hash) {
            self.mood = None;
            self.spurned.insert(*hash);
        }
        let is_spurned = self.spurned.contains(hash);
        if is_spurned {
            self.lie(Mood::PayloadError);
        }
        is_spurned
    }

    fn new_payload(&mut self, now: Nanos, init: &Init) -> PayloadStatus {
        let header = &init.metadata.header;
        match self.mood(now) {
            Some(Mood::Syncing) => {
                self.lie(Mood::Syncing);
                return PayloadStatus::Syncing;
            }
            Some(Mood::Accepted) => {
                self.lie(Mood::Accepted);
                return PayloadStatus::Accepted;
            }
            Some(Mood::InvalidOnce) if !self.blocks.contains_key(&header.block_hash) => {
                self.mood = None;
                self.lie(Mood::InvalidOnce);
                return PayloadStatus::Invalid {
                    latest: Some(header.parent_hash),
                    reason: "spurious".to_owned(),
                };
            }
            _ => {}
        }
        if !self.blocks.contains_key(&header.parent_hash) {
            return PayloadStatus::Syncing;
        }
        if header.state_root != block::state_root(&header.parent_hash, header.number) {
            self.invalid.insert(header.block_hash);
            return PayloadStatus::Invalid {
                latest: Some(header.parent_hash),
                reason: "state root".to_owned(),
            };
        }
        self.blocks.insert(
            header.block_hash,
            Known {
                parent: header.parent_hash,
                number: header.number,
            },
        );
        PayloadStatus::Valid {
            latest: Some(header.block_hash),
        }
    }

    fn build(
        &mut self,
        now: Nanos,
        parent: ParentBlock,
        sidecar_root: Hash,
        timestamp: u64,
        chain: &ChainParams,
    ) -> Result<ultramarine_types::execution::Built, String> {
        if matches!(self.mood(now), Some(Mood::Syncing | Mood::Accepted)) {
            self.lie(Mood::Syncing);
            return Err("the client is syncing".to_owned());
        }
        if !self.blocks.contains_key(&parent.hash) {
            return Err("unknown parent".to_owned());
        }
        self.built += 1;
        let recipe = Recipe {
            parent,
            sidecar_root,
            timestamp,
            fee_recipient: self.fee_recipient,
            salt: self.builder << 32 | u64::from(self.life) << 20 | self.built,
            blobs_count: self
                .dice
                .between(u64::from(self.blobs_range.0), u64::from(self.blobs_range.1)) as u32,
            // One block in ten spans several chunks.
            filler_bytes: if self.dice.chance(100) { 70_000 } else { 300 },
            gas_limit: self.gas_limit,
        };
        let mut recipe = recipe;
        let mut doubles_proofs = self.doubles_proofs;
        if self.mood(now) == Some(Mood::BadBuild) {
            self.lie(Mood::BadBuild);
            doubles_proofs |= recipe.blobs_count > 0 && self.mood_dice.chance(500);
            if !doubles_proofs {
                recipe.gas_limit = chain.gas_limit_max + 1;
            }
        }
        let mut built = block::build(&recipe, chain);
        if doubles_proofs {
            built.lists.proofs.extend_from_within(..);
        }
        self.blocks.insert(
            built.header.block_hash,
            Known {
                parent: parent.hash,
                number: built.header.number,
            },
        );
        Ok(built)
    }
}
