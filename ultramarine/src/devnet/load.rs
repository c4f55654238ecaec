//! This file knows how to keep a network supplied with blobs: one publisher a node, as execution clients without peers
//! do not pass transactions on.

use std::path::Path;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use ultramarine_node::genesis::execution::dev_account;

use crate::devnet::DevnetOptions;
use crate::devnet::layout::Layout;
use crate::devnet::voice::complain;
use crate::publish::{Content, Prover, PublisherOptions, publish};

/// What is published, for whoever reads the figures of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Description {
    /// Whether blobs come again: what a node has verified before costs it nothing.
    pub repeats: bool,
    /// Where fresh blobs come from; a run with it has the same ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The files that are published round and round, as people read their path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
}

impl Description {
    /// As asked for; without files, fresh blobs.
    pub fn of(options: &DevnetOptions) -> Self {
        match &options.blobs {
            Some(path) => Self {
                repeats: true,
                seed: None,
                files: Some(path.display().to_string()),
            },
            None => Self {
                repeats: false,
                seed: Some(options.seed.unwrap_or_else(rand::random)),
                files: None,
            },
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match (&self.files, self.seed) {
            (Some(path), _) => {
                format!("publishing {path} round and round: blobs repeat, and a node verifies each once")
            }
            (None, seed) => format!("publishing fresh blobs (--seed {})", seed.unwrap_or_default()),
        }
    }
}

#[derive(Debug)]
pub struct Load {
    cancel: CancellationToken,
    publishers: JoinSet<()>,
}

impl Load {
    /// Starts a publisher for each node; `files` are those described.
    pub fn start(description: &Description, files: Option<&Path>, layout: &Layout) -> Self {
        let prover = Prover::new(std::thread::available_parallelism().map_or(1, usize::from));
        let cancel = CancellationToken::new();
        let mut publishers = JoinSet::new();
        let validators = u32::try_from(layout.nodes().len()).unwrap_or(u32::MAX);
        for node in layout.nodes() {
            let content = match files {
                Some(path) => Content::Files {
                    path: path.to_owned(),
                    prover: prover.clone(),
                },
                None => Content::Fresh {
                    seed: description.seed.unwrap_or_default(),
                    publisher: node.id as u64,
                },
            };
            let options = PublisherOptions {
                rpc: node.rpc(),
                // Account 0 is for people: `blob put` uses it.
                signer: dev_account(1 + node.id),
                content,
                blobs_per_block: layout.blobs_per_block(),
                validators,
            };
            let (cancel, id) = (cancel.clone(), node.id);
            publishers.spawn(async move {
                if let Err(error) = publish(options, cancel).await {
                    let causes = crate::program::causes(&error);
                    complain(format_args!("publishing through node{id} ended: {causes}"));
                }
            });
        }
        Self { cancel, publishers }
    }

    pub async fn stop(mut self) {
        self.cancel.cancel();
        // They may be waiting for a proof or a client; nothing is lost with them.
        self.publishers.shutdown().await;
    }
}
