//! This file knows the work that needs a task of its own. The conductor orders it, and the tile starts it.
//!
//! Tasks call the conductor, so the conductor cannot name them. An order breaks that circle.

use std::rc::Rc;

use ultramarine_types::network::OfferId;
use ultramarine_types::{PeerId, ValueKey};

use crate::connection::session::Session;
use crate::streaming::Missing;
use crate::switch::StreamSwitch;
use crate::wire::message::ValueRequest;

/// The work of one new task.
pub(crate) enum TaskOrder {
    /// Stream a stored value to each receiver.
    Stream { key: ValueKey, receivers: Vec<Rc<Session>> },
    /// Ask a peer for parts of a value, all of them if `missing` is `None`. The answer is named `stream`.
    Parts {
        stream: OfferId,
        switch: Rc<StreamSwitch>,
        peer: PeerId,
        key: ValueKey,
        missing: Option<Missing>,
    },
    /// Ask a peer for a decided height.
    Sync {
        peer: PeerId,
        request: ValueRequest,
        /// If not, whatever comes is offered as a package without blobs.
        wants_blobs: bool,
    },
}
