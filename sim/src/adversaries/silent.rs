//! Follows the chain, says that it could propose, and signs nothing that anybody hears.

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// See the file's words.
#[derive(Default)]
pub struct Silent;

impl Adversary for Silent {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        if matches!(frame, SimFrame::Message(_)) {
            means.count("unsaid");
            return vec![];
        }
        vec![frame]
    }
}
