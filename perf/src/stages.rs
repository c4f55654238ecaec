//! This file knows how to read the nodes' stage histograms and to merge them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use ultramarine_types::Stage;

/// One distribution per stage, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    by_stage: BTreeMap<Stage, Histogram<u64>>,
    /// Of those that wait for the execution client, how long calls to it were open.
    client: BTreeMap<Stage, Histogram<u64>>,
}

/// What follows a stage's name where the client's share of it is told.
const CLIENT: &str = "_client";

impl Stages {
    /// Reads what `GET /histograms` answers: `{"<stage>": "<base64 of the V2 encoding>"}`. A stage this program does
    /// not know is left out. `<stage>_client` is the execution client's share of a stage.
    pub fn read(json: &str) -> Result<Self> {
        let encoded: BTreeMap<String, String> =
            serde_json::from_str(json).context("the histograms are no JSON object of texts")?;
        let mut stages = Self::default();
        for stage in Stage::ALL {
            if let Some(text) = encoded.get(stage.name()) {
                add(&mut stages.by_stage, stage, &decode(stage.name(), text)?);
            }
            let share = format!("{}{CLIENT}", stage.name());
            if let Some(text) = encoded.get(&share) {
                add(&mut stages.client, stage, &decode(&share, text)?);
            }
        }
        Ok(stages)
    }

    /// The document that [`read`](Self::read) takes.
    pub fn to_json(&self) -> Result<String> {
        let stages = self.by_stage.iter().map(|(stage, all)| (stage.name().to_owned(), all));
        let shares = self
            .client
            .iter()
            .map(|(stage, all)| (format!("{}{CLIENT}", stage.name()), all));
        let mut encoded = BTreeMap::new();
        for (name, histogram) in stages.chain(shares) {
            let mut bytes = Vec::new();
            V2Serializer::new()
                .serialize(histogram, &mut bytes)
                .map_err(|error| anyhow::anyhow!("stage {name} cannot be encoded: {error:?}"))?;
            encoded.insert(name, base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        serde_json::to_string(&encoded).context("texts have a JSON form")
    }

    /// Adds all of another node's.
    pub fn merge(&mut self, other: &Self) {
        for (stage, histogram) in &other.by_stage {
            add(&mut self.by_stage, *stage, histogram);
        }
        for (stage, histogram) in &other.client {
            add(&mut self.client, *stage, histogram);
        }
    }

    /// A stage's distribution, if anything was recorded.
    pub fn get(&self, stage: Stage) -> Option<&Histogram<u64>> {
        self.by_stage.get(&stage).filter(|histogram| !histogram.is_empty())
    }

    /// How long calls to the execution client were open in a stage, if it waits for the client and anything was
    /// recorded.
    pub fn client(&self, stage: Stage) -> Option<&Histogram<u64>> {
        self.client.get(&stage).filter(|histogram| !histogram.is_empty())
    }

    /// Stages with at least one record, in the order a block passes them.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, &Histogram<u64>)> {
        Stage::ALL
            .into_iter()
            .filter_map(|stage| Some((stage, self.get(stage)?)))
    }
}

fn decode(name: &str, text: &str) -> Result<Histogram<u64>> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .with_context(|| format!("stage {name} is no base64"))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("stage {name} is no V2 histogram: {error:?}"))
}

fn add(to: &mut BTreeMap<Stage, Histogram<u64>>, stage: Stage, histogram: &Histogram<u64>) {
    let sum = to.entry(stage).or_insert_with(|| {
        let mut empty = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are legal constants");
        empty.auto(true);
        empty
    });
    sum.add(histogram).expect("a histogram that resizes takes any value");
}

/// A quantile in nanoseconds; `None` if nothing was recorded.
pub fn quantile_ns(stages: &Stages, stage: Stage, quantile: f64) -> Option<u64> {
    stages.get(stage).map(|histogram| histogram.value_at_quantile(quantile))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A distribution as a node keeps it.
    pub fn histogram(values_ns: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds");
        values_ns
            .into_iter()
            .for_each(|value| histogram.saturating_record(value));
        histogram
    }

    /// Stages with these distributions, and these shares of the client.
    pub fn stages_of(stages: &[(Stage, Histogram<u64>)], shares: &[(Stage, Histogram<u64>)]) -> Stages {
        let mut all = Stages::default();
        stages
            .iter()
            .for_each(|(stage, histogram)| add(&mut all.by_stage, *stage, histogram));
        shares
            .iter()
            .for_each(|(stage, histogram)| add(&mut all.client, *stage, histogram));
        all
    }

    /// The document a node serves.
    pub fn document(stages: &[(&str, Histogram<u64>)]) -> String {
        let encoded: BTreeMap<&str, String> = stages
            .iter()
            .map(|(name, histogram)| {
                let mut bytes = Vec::new();
                V2Serializer::new().serialize(histogram, &mut bytes).expect("encoded");
                (*name, base64::engine::general_purpose::STANDARD.encode(bytes))
            })
            .collect();
        serde_json::to_string(&encoded).expect("JSON")
    }

    #[test]
    fn a_node_reads_back_as_it_recorded() {
        let vote = histogram([1_000_000, 2_000_000, 40_000_000_000]);
        let document = document(&[
            ("vote", vote.clone()),
            ("unheard-of", vote.clone()),
            ("build_client", vote.clone()),
        ]);
        let stages = Stages::read(&document).expect("read");
        assert_eq!(stages.iter().count(), 1);
        let read = stages.get(Stage::Vote).expect("recorded");
        assert_eq!(
            (read.len(), read.max(), read.value_at_quantile(0.5)),
            (3, vote.max(), vote.value_at_quantile(0.5))
        );
        let again = Stages::read(&stages.to_json().expect("encoded")).expect("read");
        assert_eq!(again.get(Stage::Vote), stages.get(Stage::Vote));
        assert!(stages.client(Stage::Build).is_some() && again.client(Stage::Build) == stages.client(Stage::Build));
        assert_eq!(again.client(Stage::Vote), None);
    }

    #[test]
    fn nodes_are_merged_by_stage() {
        let mut all = Stages::read(&document(&[("vote", histogram([1_000_000]))])).expect("read");
        let other = document(&[
            ("vote", histogram([3_000_000])),
            ("build", histogram([5_000_000])),
            ("import", histogram([])),
        ]);
        all.merge(&Stages::read(&other).expect("read"));
        assert_eq!(all.get(Stage::Vote).map(Histogram::len), Some(2));
        assert_eq!(
            all.iter().map(|(stage, _)| stage).collect::<Vec<_>>(),
            [Stage::Build, Stage::Vote]
        );
        assert_eq!(
            quantile_ns(&all, Stage::Import, 0.5),
            None,
            "an empty stage has no quantile"
        );
    }

    #[test]
    fn a_broken_document_is_an_error_that_names_the_stage() {
        assert!(Stages::read("[]").is_err());
        assert!(
            Stages::read("{\"vote\": \"!\"}")
                .expect_err("no base64")
                .to_string()
                .contains("vote")
        );
        assert!(
            Stages::read("{\"vote\": \"AAAA\"}")
                .expect_err("no histogram")
                .to_string()
                .contains("vote")
        );
    }
}
