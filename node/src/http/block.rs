//! This file knows which height a Beacon API block id means.

use std::str::FromStr;

use ultramarine_types::{Hash, Height};

use crate::http::HttpState;
use crate::http::error::ApiError;

/// A block id. Our slots are heights, and every decided block is final.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockId {
    /// `head`, `finalized` or `justified`: the newest decided block.
    Head,
    Genesis,
    /// A slot number, which is a height here.
    Slot(Height),
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
                slot().map(|slot| Self::Slot(Height(slot))).or_else(|| root().map(Self::Root)).ok_or_else(|| {
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
            Self::Slot(height) => Ok(height),
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
