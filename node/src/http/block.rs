//! This file knows which height a Beacon API block id means.

use std::str::FromStr;
use std::sync::Arc;

use ultramarine_types::sidecar::SECONDS_PER_SLOT;
use ultramarine_types::storage::{Absent, Source};
use ultramarine_types::{Hash, Height};

use crate::http::HttpState;
use crate::http::error::ApiError;
use crate::http::query;

/// A block id. Every decided block is final.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockId {
    /// `head`, `finalized` or `justified`: the newest decided block.
    Head,
    Genesis,
    /// A slot: seconds since the genesis. Slot 0 is the genesis' own.
    Slot(u64),
    /// `0x…`: the root of a block's sidecar header, or the hash of its execution block.
    Root(Hash),
}

impl FromStr for BlockId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "head" | "finalized" | "justified" => Ok(Self::Head),
            "genesis" => Ok(Self::Genesis),
            _ => {
                let root = || text.starts_with("0x").then(|| text.parse().ok()).flatten();
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let slot = || digits.then(|| text.parse().ok()).flatten();
                slot()
                    .map(Self::Slot)
                    .or_else(|| root().map(Self::Root))
                    .ok_or_else(|| {
                        query::no(
                            text,
                            "block id",
                            "head, finalized, justified, genesis, a slot number, or 0x and 64 hex digits",
                        )
                    })
            }
        }
    }
}

impl BlockId {
    /// The height that it means here. Height 0 is the genesis. Other heights may not be decided yet.
    pub async fn height(self, state: &HttpState) -> Result<Height, ApiError> {
        let source = Arc::clone(&state.source);
        match self {
            Self::Head => Ok(source.head()),
            Self::Genesis | Self::Slot(0) => Ok(Height::GENESIS),
            Self::Slot(slot) => {
                let genesis_time = state.chain.params.genesis_time;
                ApiError::off_core(move || {
                    height_in(source.as_ref(), genesis_time, slot).ok_or_else(|| no_block_in(source.as_ref(), slot))
                })
                .await
            }
            Self::Root(root) => {
                let by_hash = ApiError::off_core(move || Ok(source.height_of_block(&root))).await?;
                let found = match by_hash {
                    Some(height) => Some(height),
                    None => state.find_recent(|index| index.height_of_root(&root)).await?,
                };
                found.ok_or_else(|| {
                    ApiError::not_found(format!("no block with root or execution hash {root} is known here"))
                })
            }
        }
    }
}

/// Why a slot's block cannot be named.
fn no_block_in(source: &dyn Source, slot: u64) -> ApiError {
    let damaged = source.damaged();
    if let Some(height) = damaged.into_iter().find(|height| source.entry(*height).is_none()) {
        // It may be the one.
        return ApiError::absent(height, Absent::Damaged);
    }
    ApiError::not_found(format!(
        "no block of slot {slot} is decided here: a slot is a block's time less genesis_time, in seconds, and not \
         each has a block"
    ))
}

/// The height of the block that a slot has, if one is decided here.
fn height_in(source: &dyn Source, genesis_time: u64, slot: u64) -> Option<Height> {
    let since_genesis = slot.checked_mul(SECONDS_PER_SLOT)?;
    source.height_at(genesis_time.checked_add(since_genesis)?)
}
