//! This file knows how to tell callers what is decided, as it is decided: the Beacon API's stream of events.
//!
//! ```text
//!   Board: newest height ──wakes──▶ a task for each stream ──one piece at a time──▶ socket
//!                                    └ reads the heights that its caller has not been told of from the store
//! ```
//!
//! Nothing is kept for a caller but the next height to tell. A slow one falls behind, and is cut by its seat's patience
//! ([`crate::http::seats`]). Every decided height is told, in order, from the one after the newest on.
//!
//! Each height has the events of its blobs, then `head`, then `finalized_checkpoint`: a decided block is final. An
//! epoch is one slot here ([`crate::http::spec`]), so each block begins one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use ultramarine_types::sidecar::{self, BeaconBlockHeader};
use ultramarine_types::storage::Source;
use ultramarine_types::{Hash, Height, KzgCommitment};

use crate::http::HttpState;
use crate::http::beacon::is_optimistic;
use crate::http::error::ApiError;
use crate::http::index::versioned_hash;
use crate::http::query::{Query, quoted};

/// Where the stream is.
pub const URL: &str = "/eth/v1/events";

/// A stream without events says something this often: proxies end connections that are silent, and a caller that has
/// gone is only noticed by what is sent to it.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A comment, which callers skip.
const NOTHING: Bytes = Bytes::from_static(b":\n\n");
/// Bytes of a piece at which the next one begins.
const PIECE_BYTES: usize = 16 * 1024;
/// Asks reverse proxies not to collect the answer before they pass it on.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Topic {
    BlobSidecar,
    Head,
    FinalizedCheckpoint,
}

impl Topic {
    const ALL: [Self; 3] = [Self::BlobSidecar, Self::Head, Self::FinalizedCheckpoint];

    const fn name(self) -> &'static str {
        match self {
            Self::BlobSidecar => "blob_sidecar",
            Self::Head => "head",
            Self::FinalizedCheckpoint => "finalized_checkpoint",
        }
    }

    /// Reads `topics=head,blob_sidecar`.
    fn read(query: &Query) -> Result<Vec<Self>, ApiError> {
        query.only_lists(&["topics"])?;
        let known = || Self::ALL.map(Self::name).join(", ");
        if query.values("topics").all(str::is_empty) {
            let wanted = format!("topics is missing; name some of {}", known());
            return Err(ApiError::bad_request(wanted));
        }
        let names = query.list("topics", "a topic", |text| Some(text.to_owned()))?;
        let topic = |name: &String| {
            let found = Self::ALL.into_iter().find(|topic| topic.name() == name);
            found.ok_or_else(|| {
                ApiError::bad_request(format!(
                    "no topic `{}` is told here; there are {}",
                    quoted(name),
                    known()
                ))
            })
        };
        names.iter().map(topic).collect()
    }

    /// An event of this topic, as the stream has it.
    fn event(self, data: &Value) -> String {
        format!("event: {}\ndata: {data}\n\n", self.name())
    }
}

/// `GET /eth/v1/events?topics=head,finalized_checkpoint,blob_sidecar`.
pub async fn events(State(state): State<HttpState>, query: Query) -> Result<Response, ApiError> {
    let topics = Topic::read(&query)?;
    let news = state.board.heights();
    let next = news.borrow().next();
    let (told, body) = mpsc::channel(1);
    let teller = Teller {
        state,
        topics,
        next,
        told,
    };
    tokio::spawn(teller.run(news));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        UNBUFFERED,
    ];
    Ok((headers, Body::new(Told(body))).into_response())
}

/// The body: pieces of text as they come.
struct Told(mpsc::Receiver<Bytes>);

impl HttpBody for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The caller has gone.
struct Gone;

/// Tells one caller.
struct Teller {
    state: HttpState,
    topics: Vec<Topic>,
    next: Height,
    told: mpsc::Sender<Bytes>,
}

impl Teller {
    /// Goes on until the caller or the node has gone.
    async fn run(mut self, mut news: watch::Receiver<Height>) {
        loop {
            let newest = *news.borrow_and_update();
            while self.next <= newest {
                if self.tell_next().await.is_err() {
                    return;
                }
            }
            let is_over = tokio::select! {
                () = self.told.closed() => true,
                changed = news.changed() => changed.is_err(),
                () = tokio::time::sleep(self.state.keep_alive) => self.send(NOTHING).await.is_err(),
            };
            if is_over {
                return;
            }
        }
    }

    async fn tell_next(&mut self) -> Result<(), Gone> {
        let height = self.next;
        self.next = height.next();
        let (source, genesis_time) = (self.state.source.clone(), self.state.chain.params.genesis_time);
        let wants_blobs = self.topics.contains(&Topic::BlobSidecar);
        let read = ApiError::off_core(move || Ok(ToldBlock::read(source.as_ref(), genesis_time, height, wants_blobs)));
        let Ok(Some(block)) = read.await else {
            let excuse = format!(": height {height} cannot be read here\n\n");
            return self.send(excuse.into()).await;
        };
        let optimistic = is_optimistic(&self.state, height);
        let mut piece = String::new();
        for topic in Topic::ALL.into_iter().filter(|topic| self.topics.contains(topic)) {
            let count = match topic {
                Topic::BlobSidecar => block.commitments.len(),
                Topic::Head | Topic::FinalizedCheckpoint => 1,
            };
            for index in 0..count {
                let data = match topic {
                    Topic::BlobSidecar => block.blob_sidecar(index),
                    Topic::Head => block.head(optimistic),
                    Topic::FinalizedCheckpoint => block.finalized_checkpoint(optimistic),
                };
                piece.push_str(&topic.event(&data));
                if piece.len() >= PIECE_BYTES {
                    self.send(std::mem::take(&mut piece).into()).await?;
                }
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.send(piece.into()).await
    }

    /// Waits until the caller has taken the piece before.
    async fn send(&self, piece: Bytes) -> Result<(), Gone> {
        self.told.send(piece).await.map_err(|_| Gone)
    }
}

/// What events say of a block.
struct ToldBlock {
    header: BeaconBlockHeader,
    /// Root of the newest block at the end of the slot before the last.
    before_last: Hash,
    commitments: Vec<KzgCommitment>,
}

impl ToldBlock {
    /// `None` if it cannot be read.
    fn read(source: &dyn Source, genesis_time: u64, height: Height, wants_blobs: bool) -> Option<Self> {
        let header_of = |height| {
            let decided = source.decided(height)?;
            Some((
                sidecar::header(&decided.init.metadata, genesis_time),
                decided.init.metadata.blobs_count,
            ))
        };
        let (header, blobs_count) = header_of(height)?;
        // The first block has no parent with a header.
        let parent = (height > Height(1)).then(|| header_of(height.prev())).flatten();
        let before_last = root_before_last(&header, parent.map(|(parent, _)| parent).as_ref());
        let commitments = match wants_blobs && blobs_count > 0 {
            true => source.decided_payload(height)?.lists.commitments.clone(),
            false => Vec::new(),
        };
        Some(Self {
            header,
            before_last,
            commitments,
        })
    }

    fn blob_sidecar(&self, index: usize) -> Value {
        let commitment = self.commitments.get(index);
        json!({
            "block_root": self.header.root(),
            "index": index.to_string(),
            "slot": self.header.slot.to_string(),
            "kzg_commitment": commitment,
            "versioned_hash": commitment.map(versioned_hash),
        })
    }

    fn head(&self, optimistic: bool) -> Value {
        json!({
            "slot": self.header.slot.to_string(),
            "block": self.header.root(),
            "state": self.header.state_root,
            "epoch_transition": true,
            "previous_duty_dependent_root": self.before_last,
            "current_duty_dependent_root": self.header.parent_root,
            "execution_optimistic": optimistic,
        })
    }

    fn finalized_checkpoint(&self, optimistic: bool) -> Value {
        json!({
            "block": self.header.root(),
            "state": self.header.state_root,
            "epoch": self.header.slot.to_string(),
            "execution_optimistic": optimistic,
        })
    }
}

/// Root of the newest block at the end of the slot before the last. If the last slot has the parent, it is the parent's
/// parent.
fn root_before_last(header: &BeaconBlockHeader, parent: Option<&BeaconBlockHeader>) -> Hash {
    match parent {
        Some(parent) if parent.slot + 1 == header.slot => parent.parent_root,
        _ => header.parent_root,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duties_depend_on_the_block_of_the_slot_before_the_last_or_the_one_below() {
        let header = |slot, parent| BeaconBlockHeader {
            slot,
            proposer_index: 0,
            parent_root: Hash([parent; 32]),
            state_root: Hash::ZERO,
            body_root: Hash::ZERO,
        };
        let ours = header(9, 7);
        assert_eq!(root_before_last(&ours, Some(&header(8, 6))), Hash([6; 32]));
        assert_eq!(root_before_last(&ours, Some(&header(7, 6))), Hash([7; 32]));
        assert_eq!(root_before_last(&ours, None), Hash([7; 32]));
    }
}
