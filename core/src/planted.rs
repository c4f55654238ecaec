//! This file knows the bugs that tests plant to prove that the simulator finds them. It is never compiled into a node.

use ultramarine_types::storage::Recovered;
use ultramarine_types::{ChainIdentity, ValueKey};

use crate::admission::PROOFS_MISFIT;
use crate::rules::BrokenRule;
use crate::timers::Durations;
use crate::values::{KnownValue, Values};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// Propose and judge though the execution client has not confirmed the head.
    SkipReadiness,
    /// Accept a block whose blob gas is not that of its commitments.
    WrongBlobCount,
    /// Look a value's bytes up by round instead of by id.
    BytesByRound,
    /// Call a value invalid because a relay sent a bad part of it.
    RelayBlamed,
    /// Sign from a log whose newer half is ignored.
    StaleLog,
    /// Prevote for a value before it was executed.
    PrevoteBeforeExecution,
    /// Leave the chain's identity out of what votes and proposals sign.
    AnyChainsVotes,
    /// Admit a value with blobs whose list of proofs is empty.
    ProofsUncounted,
    /// Take the newest `Init` of a value for its own, without a look at its signatures.
    InitReplaced,
    /// Accept a block whose `parentBeaconBlockRoot` proves nothing about the parent.
    AnyBeaconRoot,
    /// Take any `VALID` to `forkchoiceUpdated` on our head for its confirmation.
    AnyValidHead,
    /// Build another block in each round, whatever is valid and stored here.
    NothingRepeated,
    /// Wait for every proposer alike, whatever it says of itself.
    EveryProposerAwaited,
    /// Wait for validators that have signed nothing for many rounds as for all others.
    SilentAwaited,
    /// Withhold a block that is ahead of our clock, though none may be earlier.
    ParentPlusOneWithheld,
    /// Take a client that fails on one payload for one that has lost our head.
    PayloadErrorCloses,
    /// Take no notice of damaged heights.
    DamageIgnored,
    /// Pass no vote and no proposal on.
    NothingRelayed,
    /// Neither answer nor pass on the calls of validators that start.
    CallsUnheard,
    /// Let all calls of a listener that a peer brings rest as if they were one.
    CallsRestTogether,
    /// Begin the first height after a restart though the client has not replayed.
    BegunUnready,
    /// Tell and keep the messages of all rounds of a height.
    EverythingTold,
    /// Give claimed tips the places of heights, as many as are claimed.
    TipsAmongHeights,
    /// Wait for the peer that was asked for a height until its time is up.
    NoSecondPeer,
    /// Ask a second peer by the clock alone, however slow our own line is.
    LineUnmeasured,
    /// Ask whoever claims to hold a value before the validator that built it.
    ClaimsFirst,
    /// Throw away a block that was built too late for its round.
    LateBuildsDropped,
    /// Take a proposer that we are not connected to for one that is away.
    UnlinkedAway,
    /// Wait for our own client's next block after it built one that nobody would take.
    SpoiltAwaited,
    /// Propose a bundle whatever its number of proofs is.
    AnyProofCount,
    /// End the waits that passed while the process stood still before what came meanwhile is read.
    PauseUnseen,
    /// Take a deadline that passed while the process stood still for the peer's fault.
    PauseCharged,
    /// Forget what a peer has earned when its connection ends.
    FailuresForgotten,
    /// Sign in an empty directory without listening first.
    WipedSigns,
    /// Listen to the end of the time though everybody has answered.
    AllListenedOut,
    /// Let messages leave before their record is durable.
    GateOpen,
    /// Take a height without its blobs though it is within retention.
    BlobsWaived,
    /// Keep the other values of a height that is decided.
    OthersKept,
    /// Have every round wait as long as the first.
    RoundsAlike,
}

impl Planted {
    /// The identity in the domains of votes and proposals: [`Planted::AnyChainsVotes`] has none.
    pub fn voting_chain(planted: Option<Self>, chain: &ChainIdentity) -> ChainIdentity {
        if planted == Some(Self::AnyChainsVotes) {
            ChainIdentity::ZERO
        } else {
            *chain
        }
    }
}

/// What [`Planted::WrongBlobCount`] and [`Planted::AnyBeaconRoot`] leave of the rules.
pub(crate) fn overlook(planted: Option<Planted>, kept: Result<(), BrokenRule>) -> Result<(), BrokenRule> {
    match kept {
        Err(BrokenRule::BlobGas { .. }) if planted == Some(Planted::WrongBlobCount) => Ok(()),
        Err(BrokenRule::BeaconRoot { .. }) if planted == Some(Planted::AnyBeaconRoot) => Ok(()),
        kept => kept,
    }
}

/// What [`Planted::ProofsUncounted`] leaves of an `Init`'s roots.
pub(crate) fn miscount(planted: Option<Planted>, kept: Result<(), &'static str>) -> Result<(), &'static str> {
    match kept {
        Err(PROOFS_MISFIT) if planted == Some(Planted::ProofsUncounted) => Ok(()),
        kept => kept,
    }
}

/// What [`Planted::StaleLog`] leaves of the log.
pub(crate) fn outdate(planted: Option<Planted>, mut recovered: Recovered) -> Recovered {
    if let Some(log) = recovered.log.as_mut()
        && planted == Some(Planted::StaleLog)
    {
        log.records.truncate(log.records.len() / 2);
    }
    recovered
}

/// What [`Planted::RoundsAlike`] leaves of the steps' waits.
pub(crate) fn keep_short(planted: Option<Planted>, durations: Durations) -> Durations {
    Durations {
        grow: durations.grow && planted != Some(Planted::RoundsAlike),
        ..durations
    }
}

impl Values {
    /// The values that [`Planted::OthersKept`] does not forget.
    pub(crate) fn others(&self, decided: &ValueKey) -> Vec<(ValueKey, KnownValue)> {
        let others = self.at(decided.height).filter(|(key, _)| *key != decided);
        others.map(|(key, value)| (*key, value.clone())).collect()
    }

    /// Some value that was built in the same round: [`Planted::BytesByRound`] takes it for the one asked for.
    pub(crate) fn mistaken(&self, planted: Option<Planted>, key: &ValueKey) -> Option<&KnownValue> {
        let round = |value: &KnownValue| value.init.as_ref().map(|init| init.metadata.origin_round);
        let wanted = round(self.get(key)?)?;
        let mut of_round = self.at(key.height).filter(|(_, value)| round(value) == Some(wanted));
        of_round
            .next()
            .map(|(_, value)| value)
            .filter(|_| planted == Some(Planted::BytesByRound))
    }
}
