//! This file knows how to ask a node's HTTP interface.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use bytes::Bytes;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use ultramarine_node::board::{DecisionSummary, Snapshot};
use ultramarine_node::http::decided::HEIGHTS_PER_PAGE_MAX;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer read: a page of decisions is 400 kB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct NodeClient {
    http: HyperClient<HttpConnector, Empty<Bytes>>,
}

impl Default for NodeClient {
    fn default() -> Self {
        Self::new()
    }
}

impl NodeClient {
    /// Makes no connection yet.
    pub fn new() -> Self {
        Self {
            http: HyperClient::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub async fn status(&self, node: &str) -> anyhow::Result<Snapshot> {
        self.get(&format!("{node}/status")).await
    }

    /// Everything a node has decided, from height 1.
    pub async fn decided(&self, node: &str) -> anyhow::Result<Vec<DecisionSummary>> {
        let mut all: Vec<DecisionSummary> = Vec::new();
        loop {
            let from = all.last().map_or(1, |decision| decision.height.0 + 1);
            let to = from + HEIGHTS_PER_PAGE_MAX - 1;
            let page: Vec<DecisionSummary> = self
                .get(&format!("{node}/ultramarine/v1/decided?from={from}&to={to}"))
                .await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// A node's stage histograms, in nanoseconds.
    pub async fn histograms(&self, node: &str) -> anyhow::Result<BTreeMap<String, Histogram<u64>>> {
        let encoded: BTreeMap<String, String> = self.get(&format!("{node}/histograms")).await?;
        let mut deserializer = Deserializer::new();
        encoded
            .into_iter()
            .map(|(stage, text)| {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
                let histogram = deserializer
                    .deserialize(&mut bytes.as_slice())
                    .map_err(|error| anyhow::anyhow!("histogram of stage {stage}: {error}"))?;
                Ok((stage, histogram))
            })
            .collect()
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> anyhow::Result<T> {
        let uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let asking = async {
            let response = self.http.get(uri).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(anyhow::Error::from_boxed)?;
            Ok::<_, anyhow::Error>((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(TIMEOUT, asking)
            .await
            .with_context(|| format!("{url}: no answer within {} s", TIMEOUT.as_secs()))?
            .with_context(|| format!("cannot ask {url}"))?;
        ensure!(
            status.is_success(),
            "{url} answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).with_context(|| format!("{url} answered something unexpected"))
    }
}

/// Adds histograms of several nodes, stage by stage.
pub fn merge(
    into: &mut BTreeMap<String, Histogram<u64>>,
    more: BTreeMap<String, Histogram<u64>>,
) -> anyhow::Result<()> {
    for (stage, histogram) in more {
        match into.get_mut(&stage) {
            Some(sum) => sum
                .add(&histogram)
                .map_err(|error| anyhow::anyhow!("stage {stage}: {error}"))?,
            None => {
                into.insert(stage, histogram);
            }
        }
    }
    Ok(())
}
