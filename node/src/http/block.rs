//! This file knows which height a Beacon API block id means.

use std::str::FromStr;

use ultramarine_types::sidecar::SECONDS_PER_SLOT;
use ultramarine_types::storage::Absent;
use ultramarine_types::{Hash, Height};

use crate::http::HttpState;
use crate::http::error::ApiError;

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
                slot().map(Self::Slot).or_else(|| root().map(Self::Root)).ok_or_else(|| {
                    ApiError::bad_request(
                        "block id must be head, finalized, justified, genesis, a slot number, or 0x and 64 hex digits",
                    )
                })
            }
        }
    }
}

impl BlockId {
    /// The height that it means here. Height 0 is the genesis. Other heights may not be decided yet.
    pub fn height(self, state: &HttpState) -> Result<Height, ApiError> {
        match self {
            Self::Head => Ok(state.source.head()),
            Self::Genesis => Ok(Height::GENESIS),
            Self::Slot(0) => Ok(Height::GENESIS),
            Self::Slot(slot) => height_in(state, slot).ok_or_else(|| {
                let source = &state.source;
                let damaged = source.damaged();
                if let Some(height) = damaged.into_iter().find(|height| source.decided(*height).is_none()) {
                    // It may be the one.
                    return ApiError::absent(height, Absent::Damaged);
                }
                ApiError::not_found(format!(
                    "no block of slot {slot} is decided here: a slot is a block's time less genesis_time, in seconds, \
                     and not each has a block"
                ))
            }),
            Self::Root(root) => state
                .source
                .height_of_block(&root)
                .or_else(|| state.with_index(|index| index.height_of_root(&root)))
                .ok_or_else(|| {
                    ApiError::not_found(format!("no block with root or execution hash {root} is known here"))
                }),
        }
    }
}

/// The height of the block that a slot has, if one is decided here.
fn height_in(state: &HttpState, slot: u64) -> Option<Height> {
    let since_genesis = slot.checked_mul(SECONDS_PER_SLOT)?;
    let timestamp = state.chain.params.genesis_time.checked_add(since_genesis)?;
    state.source.height_at(timestamp)
}
