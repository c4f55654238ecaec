//! This file knows how to watch a network: one live line for people, and the end when it comes.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ultramarine_node::board::Snapshot;
use ultramarine_node::conditions;
use ultramarine_runtime::print::Unprinted;
use ultramarine_types::{Height, Stage};

use crate::devnet::DevnetOptions;
use crate::devnet::child::Child;
use crate::devnet::client::{NodeClient, merge};
use crate::devnet::layout::{Layout, NodeHome};
use crate::devnet::voice::{Voice, complain};
use crate::program;

/// How often every node is asked for its status.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// How often every node is asked for its histograms.
const LATENCY_INTERVAL: Duration = Duration::from_secs(2);
/// How often a line is written where there is no terminal to rewrite one on.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(5);
/// A network that decides nothing for this long is called stalled, if its blocks are not large; see [`patience`].
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Blobs of a block from which it may take longer.
const LARGE_BLOCK_BLOBS: u32 = 256;
/// Heights over which the block time is averaged.
const BLOCK_TIME_HEIGHTS: usize = 20;

/// How a run came to its end.
#[derive(Debug)]
pub enum Ending {
    /// Somebody asked.
    Asked,
    /// Nobody reads what it says any more, or it cannot be said.
    Unheard(Unprinted),
    /// Every node has decided the wanted height.
    Reached(u64),
    /// It will not be reached; why.
    Stalled(String),
}

/// How long nothing may move in a chain of such blocks: a block of many blobs takes an execution client long to build,
/// and so it takes everybody.
pub fn patience(small: Duration, blobs_per_block: u32) -> Duration {
    small.mul_f64((f64::from(blobs_per_block) / f64::from(LARGE_BLOCK_BLOBS)).max(1.0))
}

/// Watches nodes by URL, so that a node that was killed and started again by hand is seen again.
pub struct NetworkWatch<'a> {
    options: &'a DevnetOptions,
    voice: &'a Voice,
    nodes: &'a [NodeHome],
    client: &'a NodeClient,
    children: &'a mut [Child],
    told: Vec<bool>,
    last: Vec<Option<Snapshot>>,
    /// When each of the newest heights was first seen.
    seen: VecDeque<(u64, Instant)>,
    moved: Instant,
    commit_ms: Option<(f64, f64)>,
    patience: Duration,
}

impl<'a> NetworkWatch<'a> {
    pub fn new(
        options: &'a DevnetOptions,
        voice: &'a Voice,
        layout: &'a Layout,
        client: &'a NodeClient,
        children: &'a mut [Child],
    ) -> Self {
        let nodes = layout.nodes();
        Self {
            patience: patience(STALL_TIMEOUT, layout.blobs_per_block()),
            options,
            voice,
            nodes,
            client,
            children,
            told: vec![false; nodes.len()],
            last: vec![None; nodes.len()],
            seen: VecDeque::new(),
            moved: Instant::now(),
            commit_ms: None,
        }
    }

    /// Watches until the wanted height is reached or nothing more can come. Without a wanted height it ends only when
    /// no node is left.
    pub async fn run(mut self) -> anyhow::Result<Ending> {
        let live = self.voice.is_live();
        let (mut latency_due, mut line_due) = (Instant::now(), Instant::now());
        loop {
            self.look().await?;
            let now = Instant::now();
            if now >= latency_due {
                self.commit_ms = self.commit_latency().await;
                latency_due = now + LATENCY_INTERVAL;
            }
            let ending = self.ending()?;
            if live || now >= line_due || ending.is_some() {
                self.show(live, ending.is_some());
                line_due = now + PLAIN_LINE_INTERVAL;
            }
            if let Some(ending) = ending {
                return Ok(ending);
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            let before = self.last[index].as_ref().map(|snapshot| snapshot.height);
            match self.client.status(&node.http()).await {
                Ok(snapshot) => {
                    if before.is_none_or(|before| before < snapshot.height) && self.is_awaited(before) {
                        self.moved = Instant::now();
                    }
                    self.last[index] = Some(snapshot);
                    self.told[index] = false;
                }
                Err(error) => self.tell_gone(index, &error)?,
            }
        }
        let height = self.heights().max().unwrap_or_default();
        if self.seen.back().is_none_or(|(newest, _)| height > *newest) {
            self.seen.push_back((height, Instant::now()));
            if self.seen.len() > BLOCK_TIME_HEIGHTS {
                self.seen.pop_front();
            }
        }
        Ok(())
    }

    /// Whether a node last seen at this height has still to come to the wanted one. Only such a node's steps are
    /// progress: those of the others would hide that it never comes.
    fn is_awaited(&self, before: Option<Height>) -> bool {
        let wanted = self.options.until_height;
        wanted.is_none_or(|wanted| before.is_none_or(|before| before.0 < wanted))
    }

    /// Says once that a node does not answer. Its last known height stays: it will be asked again.
    fn tell_gone(&mut self, index: usize, error: &anyhow::Error) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.told[index], true) {
            return Ok(());
        }
        let node = &self.nodes[index];
        match self.children[index].ended()? {
            Some(status) => complain(format_args!(
                "node{} ended ({status}); its log is {}. The others go on; start it again with\n  {} start --home {}",
                node.id,
                node.log.display(),
                program::name(),
                node.home.display()
            )),
            None => complain(format_args!(
                "node{} does not answer: {}",
                node.id,
                program::causes(error)
            )),
        }
        Ok(())
    }

    fn heights(&self) -> impl Iterator<Item = u64> {
        self.last
            .iter()
            .map(|snapshot| snapshot.as_ref().map_or(0, |snapshot| snapshot.height.0))
    }

    fn ending(&mut self) -> anyhow::Result<Option<Ending>> {
        if let Some(wanted) = self.options.until_height
            && self.heights().all(|height| height >= wanted)
        {
            return Ok(Some(Ending::Reached(wanted)));
        }
        let mut all_gone = self.told.iter().all(|gone| *gone);
        for child in self.children.iter_mut() {
            all_gone &= child.ended()?.is_some();
        }
        if !is_stalled(
            self.moved.elapsed(),
            self.patience,
            all_gone,
            self.options.until_height.is_some(),
        ) {
            return Ok(None);
        }
        let states: Vec<String> = self
            .nodes
            .iter()
            .zip(&self.last)
            .zip(&self.told)
            .map(|((node, last), gone)| state(node, last.as_ref(), *gone))
            .collect();
        let reason = format!(
            "nothing moved for {} s: {}",
            self.moved.elapsed().as_secs(),
            states.join("; ")
        );
        Ok(Some(Ending::Stalled(reason)))
    }

    async fn commit_latency(&self) -> Option<(f64, f64)> {
        let mut stages = BTreeMap::new();
        for node in self.nodes {
            if let Ok(more) = self.client.histograms(&node.http()).await {
                merge(&mut stages, more).ok()?;
            }
        }
        let commit = stages.get(Stage::Commit.name()).filter(|commit| !commit.is_empty())?;
        let ms = |quantile| commit.value_at_quantile(quantile) as f64 / 1e6;
        Some((ms(0.5), ms(0.99)))
    }

    fn show(&self, live: bool, last: bool) {
        let line = self.line();
        if !live {
            return self.voice.line(line);
        }
        self.voice.live_line(&line);
        if last {
            self.voice.line("");
        }
    }

    fn line(&self) -> String {
        let known = || self.last.iter().flatten();
        let blobs = known().map(|snapshot| snapshot.blobs_total).max().unwrap_or_default();
        let bytes = known().map(|snapshot| snapshot.bytes_total).max().unwrap_or_default();
        let late = known()
            .map(|snapshot| snapshot.rounds_above_zero)
            .max()
            .unwrap_or_default();
        let answering = self.told.iter().filter(|gone| !**gone).count();
        let mut line = format!(
            "height {}  blobs {blobs}  {:.1} MB  block {}  commit {}  nodes {answering}/{}",
            self.heights().max().unwrap_or_default(),
            bytes as f64 / 1e6,
            self.block_time()
                .map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64())),
            self.commit_ms.map_or_else(
                || "-".to_owned(),
                |(p50, p99)| format!("p50 {p50:.0} ms p99 {p99:.0} ms")
            ),
            self.nodes.len(),
        );
        if late > 0 {
            line.push_str(&format!("  late rounds {late}"));
        }
        if let Some(reason) = self.first_reason() {
            line.push_str(&format!("  {reason}"));
        }
        line
    }

    /// Why a node should not be relied on: of the first that has a reason.
    fn first_reason(&self) -> Option<String> {
        let answering = self
            .nodes
            .iter()
            .zip(&self.last)
            .zip(&self.told)
            .filter(|(_, gone)| !**gone);
        let mut reasons = answering.filter_map(|((node, last), _)| {
            let why = conditions::unready(last.as_ref()?).into_iter().next()?;
            Some(format!("node{}: {why}", node.id))
        });
        reasons.next()
    }

    fn block_time(&self) -> Option<Duration> {
        let ((first, since), (last, until)) = (self.seen.front()?, self.seen.back()?);
        let blocks = u32::try_from(last - first).ok().filter(|blocks| *blocks > 0)?;
        Some(until.duration_since(*since) / blocks)
    }
}

/// Whether a network in which nothing has moved for so long is given up.
fn is_stalled(still: Duration, patience: Duration, all_gone: bool, has_goal: bool) -> bool {
    // Without a wanted height, the operator may be restarting nodes by hand.
    if all_gone {
        still >= STALL_TIMEOUT / 4
    } else {
        has_goal && still >= patience
    }
}

fn state(node: &NodeHome, last: Option<&Snapshot>, gone: bool) -> String {
    match last {
        None => format!("node{} never answered", node.id),
        Some(snapshot) if gone => format!(
            "node{} last seen at height {}, does not answer now",
            node.id, snapshot.height
        ),
        Some(snapshot) => {
            let reasons = conditions::unready(snapshot);
            let why = if reasons.is_empty() {
                format!("in round {}", snapshot.round)
            } else {
                reasons.join(", ")
            };
            format!("node{} at height {} ({why})", node.id, snapshot.height)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_given_up_when_it_stands_still_and_somebody_waits_for_a_height() {
        let seconds = Duration::from_secs;
        let is_stalled = |still, all_gone, has_goal| is_stalled(seconds(still), STALL_TIMEOUT, all_gone, has_goal);
        assert!(!is_stalled(59, false, true));
        assert!(is_stalled(60, false, true));
        assert!(!is_stalled(3600, false, false));
        for has_goal in [false, true] {
            assert!(!is_stalled(14, true, has_goal));
            assert!(is_stalled(15, true, has_goal));
        }
    }

    #[test]
    fn a_chain_of_large_blocks_has_longer() {
        for (blobs, expected) in [(6, 60), (256, 60), (512, 120), (1024, 240)] {
            assert_eq!(patience(STALL_TIMEOUT, blobs), Duration::from_secs(expected), "{blobs}");
        }
    }
}
