//! This file knows what the core keeps: it asserts it after every input, and the costly rest when it is asked to.
//!
//! No peer, execution client, file or setting can make one of these fail: what they can cause is an error where it is
//! read. A failed assertion is a fault of ours, and the process stops before anything more leaves.
//!
//! Keeps:
//! - the execution client is led to our very head, and every value known is above it;
//! - consensus runs at the height after the head, and its timers run only while it does;
//! - nothing is signed without a key, nor at a height at or below the guard's watermark;
//! - the watermark covers the head, every silence that the store was asked for, and what this directory may have
//!   forgotten;
//! - a sync of the log is under way for everything parked at the gate;
//! - a core that stops in silence waits for that very silence.

use super::{Core, Phase};

impl Core {
    /// Asserts what holds after every input; costs as much however much is held.
    pub(super) fn check(&self) {
        let (head, current) = (self.head.height, self.current());
        let signs = self.host.is_enabled();
        assert!(self.head.at <= self.now, "the head was committed in the past");
        assert_eq!(
            self.execution.head(),
            (head, self.head.block.hash),
            "the execution client is led elsewhere"
        );
        if matches!(self.phase, Phase::Running | Phase::Committing) {
            assert_eq!(self.host.height(), current, "consensus runs at another height");
        }
        assert!(!signs || self.signer.is_some(), "a node without a key signs");
        let watermark = self.guard.watermark();
        assert!(
            self.stopped || self.phase != Phase::Running || !signs || watermark < current,
            "height {current} is signed at, and the watermark is {watermark}"
        );
        assert!(
            self.silence_asked <= watermark,
            "a silence that the guard does not know"
        );
        assert!(
            self.silence_kept <= self.silence_asked,
            "a silence is durable that nobody asked for"
        );
        assert!(
            self.forgotten <= watermark,
            "what may be forgotten is above the watermark"
        );
        assert!(
            self.listening_until.is_none() || self.signer.is_some(),
            "a node that signs nothing listens before it signs"
        );
        assert!(self.told_lag.0 <= self.told_lag.1, "the best tip is behind our own");
        self.check_log();
        if let Some((through, _)) = &self.stopping {
            assert!(self.stopped, "a core that runs waits for its stop");
            assert!(
                *through <= self.silence_asked,
                "the stop waits for a silence that nobody asked for"
            );
        }
        if !self.stopped {
            self.contest.check(&self.phase, signs);
        }
        assert!(
            self.stopped || self.phase == Phase::Running || self.timers.deadline().is_none(),
            "a timer outlived its height"
        );
        self.guard.check(head);
        self.values.check(head);
        self.proposer.check(current);
        self.sync.check(head);
        self.healing.check(head);
        self.reputation.check();
        self.early.check(current, self.config.validators.len());
        self.execution.check();
        self.verifier.check();
        self.clocks.check(self.config.validators.len());
        self.gather.check();
        self.stall.check(self.now);
        self.readiness.check(self.now);
    }

    fn check_log(&self) {
        assert!(
            self.phase != Phase::Off || self.gate.is_empty(),
            "a message waits in a core that was told nothing yet"
        );
        assert!(
            self.sync_asked <= self.lsn,
            "a sync was asked for beyond the newest record"
        );
        if let Some(wanted) = self.gate.wanted() {
            assert!(wanted <= self.lsn, "a message waits for a record that was not appended");
            assert!(
                self.stopped || wanted <= self.sync_asked,
                "a message waits for a record that no sync covers"
            );
        }
    }

    /// Asserts the rest, which costs as much as is held: for tests and the simulator, after every input.
    pub fn check_whole(&self) {
        self.check();
        self.contest.check_whole(self.current(), &self.address);
        self.gate.check_whole();
        self.values.check_whole();
        self.proposer.check_whole(self.head.height);
        self.peers.check_whole();
        self.sync.check_whole(self.now, self.head.height, &self.peers);
        self.reputation.check_whole();
        assert!(
            self.links.fit(self.config.validators.len()),
            "a link to a validator that the set does not have"
        );
        self.healing.check_whole(&self.peers);
        self.early.check_whole();
        self.relay.check_whole();
        self.hearings.check_whole();
        self.timers.check_whole();
        self.pace.check_whole(&self.config.validators);
        self.execution.check_whole();
        self.clocks.check_whole(&self.config.validators);
        for (signer, message) in &self.seen {
            assert_eq!(message.signer(), *signer, "a message under another's name");
        }
    }
}
