//! This file knows what a seed needs so that a bug can show in it.

use ultramarine_sim::RunConfig;
use ultramarine_sim::adversaries::AdversaryKind;
use ultramarine_sim::engine::Mood;
use ultramarine_sim::faults::FaultKind;
use ultramarine_types::Nanos;

pub fn as_they_are(config: RunConfig) -> RunConfig {
    config
}

pub fn with_moods(config: RunConfig) -> RunConfig {
    assert!(Mood::ALL.contains(&Mood::StaleHead), "the mood that readiness is about");
    RunConfig {
        fault_kinds: vec![FaultKind::ElMood],
        fault_every: Some(Nanos::from_millis(500)),
        adversaries: Vec::new(),
        ..config
    }
}

pub fn with_crashes(config: RunConfig) -> RunConfig {
    RunConfig {
        fault_kinds: vec![FaultKind::Crash, FaultKind::CrashBetween, FaultKind::CrashAll],
        adversaries: Vec::new(),
        ..config
    }
}

fn with(kind: AdversaryKind, config: RunConfig) -> RunConfig {
    RunConfig {
        adversaries: vec![(1, kind)],
        ..config
    }
}

pub fn with_rule_breaker(config: RunConfig) -> RunConfig {
    with(AdversaryKind::RuleBreaker, config)
}

pub fn with_equivocator(config: RunConfig) -> RunConfig {
    with(AdversaryKind::Equivocator, config)
}

pub fn with_bad_relay(config: RunConfig) -> RunConfig {
    with(AdversaryKind::BadRelay, config)
}

pub fn with_relaunch(config: RunConfig) -> RunConfig {
    with(AdversaryKind::Relaunch, config)
}

/// A liar is asked when somebody has to catch up.
pub fn with_liar(config: RunConfig) -> RunConfig {
    RunConfig {
        fault_kinds: vec![FaultKind::LongAway],
        ..with(AdversaryKind::Liar, config)
    }
}

/// Decided heights rot. A client that lost its blocks would wait for the rotten ones, and with it the chain.
pub fn with_rot(config: RunConfig) -> RunConfig {
    RunConfig {
        rot_every: Some(Nanos::from_millis(500)),
        fault_kinds: vec![FaultKind::Reset],
        adversaries: Vec::new(),
        ..config
    }
}

pub fn with_rot_and_bad_relay(config: RunConfig) -> RunConfig {
    RunConfig {
        rot_every: Some(Nanos::from_millis(500)),
        ..with(AdversaryKind::BadRelay, config)
    }
}

/// Strangers claim tips, and validators are away for long.
pub fn with_rising_tips(config: RunConfig) -> RunConfig {
    let first = config.validators;
    RunConfig {
        full_nodes: 4,
        adversaries: (first..first + 4)
            .map(|stranger| (stranger, AdversaryKind::RisingTip))
            .collect(),
        fault_kinds: vec![FaultKind::LongAway],
        ..config
    }
}

pub fn with_bans(config: RunConfig) -> RunConfig {
    RunConfig { bans: true, ..config }
}
