//! This file knows how far a node is with what it has to make up for, and how long that will take: heights that it
//! lacks, that its client lacks, and that its disk has damaged.

use serde::{Deserialize, Serialize};
use ultramarine_runtime::Registry;
use ultramarine_runtime::progress::{Estimator, Unit};
use ultramarine_types::{Height, Nanos};

/// How often the log says how far it is.
const SAY_EVERY: Nanos = Nanos::from_millis(10_000);

/// What `/status` says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CatchUpStatus {
    pub height: Height,
    /// The highest height that is known to be decided. Of damaged heights: how many there are, and `height` is how many
    /// are restored.
    pub target: Height,
    /// Over the newest half minute; `None`: unknown.
    pub heights_per_minute: Option<u64>,
    /// `None`: unknown, or the target does not come nearer.
    pub seconds_left: Option<u64>,
}

/// What is made up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CatchUpKind {
    /// The node lacks heights.
    CatchUp,
    /// Its execution client lacks heights.
    Feeding,
    /// Its disk has damaged heights.
    Healing,
}

/// Shows how long each will take, as `left` says at each scrape.
pub fn show(registry: &Registry, left: impl Fn(CatchUpKind) -> Option<f64> + Clone + Send + 'static) {
    let shown = [
        (
            CatchUpKind::CatchUp,
            "ultramarine_sync_left_seconds",
            "How long the node will take to catch up with its chain; absent while it does not lag, and while that is \
             unknown.",
        ),
        (
            CatchUpKind::Feeding,
            "ultramarine_execution_feeding_left_seconds",
            "How long the execution client will take for the blocks that it lacks; absent while it lacks none, and \
             while that is unknown.",
        ),
        (
            CatchUpKind::Healing,
            "ultramarine_sync_healing_left_seconds",
            "How long the node will take to restore the heights that its disk has damaged; absent while there are \
             none, and while that is unknown.",
        ),
    ];
    for (kind, name, help) in shown {
        let left = left.clone();
        registry.probe_gauge(name, help, &[], move || left(kind));
    }
}

/// Follows a node's height and the highest one it knows of.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// `None`: it is not behind.
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    estimator: Estimator,
    said: Nanos,
}

impl CatchUp {
    /// The node is here now, and is behind or not. Answers what is worth a line: it began, or has gone on for a while.
    pub fn observe(&mut self, now: Nanos, height: Height, target: Height, is_behind: bool) -> Option<String> {
        if !is_behind {
            self.under_way = None;
            return None;
        }
        let is_new = self.under_way.is_none();
        let under_way = self.under_way.get_or_insert_with(|| UnderWay {
            estimator: Estimator::default(),
            said: now,
        });
        under_way.estimator.observe(now, height.0, Some(target.0));
        if !is_new && now.since(under_way.said) < SAY_EVERY {
            return None;
        }
        under_way.said = now;
        let estimate = under_way.estimator.estimate(now)?;
        Some(estimate.words(Unit::Heights).to_string())
    }

    /// How far it is; `None` if it is not behind.
    pub fn status(&self, now: Nanos) -> Option<CatchUpStatus> {
        let estimate = self.under_way.as_ref()?.estimator.estimate(now)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is not negative, and the cast saturates"
        )]
        let per_minute = |per_second: f64| (per_second * 60.0).round() as u64;
        Some(CatchUpStatus {
            height: Height(estimate.done),
            target: Height(estimate.total.unwrap_or(estimate.done)),
            heights_per_minute: estimate.per_second.map(per_minute),
            seconds_left: estimate.seconds_left,
        })
    }
}

/// How far the heights are restored that a disk has damaged.
#[derive(Debug, Default)]
pub struct HealingProgress {
    progress: CatchUp,
    /// How many were damaged at one time, since none was.
    most: u64,
}

impl HealingProgress {
    /// So many heights are damaged now. Answers what is worth a line, as [`CatchUp::observe`] does.
    pub fn observe(&mut self, now: Nanos, damaged_count: u64) -> Option<String> {
        self.most = self.most.max(damaged_count);
        let (restored, most) = (Height(self.most - damaged_count), Height(self.most));
        if damaged_count == 0 {
            self.most = 0;
        }
        self.progress.observe(now, restored, most, damaged_count > 0)
    }

    /// How far it is; `None` if none is damaged.
    pub fn status(&self, now: Nanos) -> Option<CatchUpStatus> {
        self.progress.status(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Nanos {
        Nanos::from_millis(1000 * seconds)
    }

    #[test]
    fn a_node_that_lags_says_when_it_will_be_there_and_no_longer_when_it_is() {
        let mut catch_up = CatchUp::default();
        assert_eq!(catch_up.observe(at(0), Height(5), Height(6), false), None);
        assert_eq!(catch_up.status(at(0)), None);
        let mut lines = Vec::new();
        // 20 heights a second after a chain that makes one.
        for second in 0..=30 {
            let (height, target) = (Height(20 * second), Height(1000 + second));
            lines.extend(catch_up.observe(at(second), height, target, true));
        }
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines[0], "0 of 1000 heights, time left unknown");
        assert_eq!(lines[3], "600 of 1030 heights, 20.0/s, 23 s left");
        let expected = CatchUpStatus {
            height: Height(600),
            target: Height(1030),
            heights_per_minute: Some(1200),
            seconds_left: Some(23),
        };
        assert_eq!(catch_up.status(at(30)), Some(expected));
        assert_eq!(catch_up.observe(at(31), Height(1030), Height(1031), false), None);
        assert_eq!(catch_up.status(at(31)), None);
    }
}
