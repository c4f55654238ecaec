//! Claims to be connected to every validator, and is honest otherwise. Whoever believes it waits for the proposals of a
//! validator that is gone.

use super::{Adversary, Means};
use crate::wire::SimFrame;

/// See the file's words.
#[derive(Default)]
pub struct FalseLinks;

impl Adversary for FalseLinks {
    fn outgoing(&mut self, means: &mut Means<'_>, _to: usize, frame: SimFrame) -> Vec<SimFrame> {
        let SimFrame::Status(mut status) = frame else {
            return vec![frame];
        };
        means.count("false-link");
        let validators = u32::try_from(means.past.validators.len()).unwrap_or(u32::MAX);
        status.links = (0..validators).collect();
        vec![SimFrame::Status(status)]
    }
}
