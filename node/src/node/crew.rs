//! This file knows the tiles that run: how each is started in its seat, and how all of them are brought home.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ultramarine_runtime::topology::Placement;
use ultramarine_runtime::{Halt, JoinHandle, Registry, Tile, TileContext};

use crate::node::NodeError;

/// How long a tile may take to end after the halt. The process then ends without it.
const JOIN_WAIT: Duration = Duration::from_secs(3);
/// How long all of them together may take: service managers kill what has not ended ten seconds after they asked.
const JOIN_WAIT_ALL: Duration = Duration::from_secs(6);

const _: () = assert!(JOIN_WAIT.as_secs() < JOIN_WAIT_ALL.as_secs());

#[derive(Debug)]
pub struct Crew {
    pub halt: Halt,
    /// Where their metrics go.
    pub registry: Arc<Registry>,
    placement: Placement,
    tiles: Vec<JoinHandle>,
}

impl Crew {
    /// A crew without tiles yet.
    pub fn new(halt: Halt, registry: Arc<Registry>, placement: Placement) -> Self {
        Self {
            halt,
            registry,
            placement,
            tiles: Vec::new(),
        }
    }

    /// Starts a tile in its seat.
    pub fn spawn(
        &mut self,
        name: &'static str,
        work: impl FnOnce(TileContext) -> Result<(), String> + Send + 'static,
    ) -> Result<(), NodeError> {
        let seat = self.placement.seat(name);
        let tile = Tile::spawn(&self.registry, name, seat, &self.halt, work).map_err(|error| NodeError::Start {
            what: "starting a tile",
            why: format!(
                "{name}: {error}; if no thread is to be had, allow more with `ulimit -u`, TasksMax= in the unit, or \
                 the container's limit on processes"
            ),
        })?;
        self.tiles.push(tile);
        Ok(())
    }

    /// Waits until all have ended, each at most for a while.
    pub fn join(self) {
        let until = Instant::now() + JOIN_WAIT_ALL;
        // Last started, first joined: the core stops asking before those it asks are gone.
        for tile in self.tiles.into_iter().rev() {
            let name = tile.name();
            let wait = JOIN_WAIT.min(until.saturating_duration_since(Instant::now()));
            if tile.join_within(wait).is_err() {
                tracing::warn!(tile = name, "did not end in time and was left behind");
            }
        }
    }
}

/// Runs a future on a current-thread tokio of its own: for tiles that are neither storage nor network.
pub fn on_tokio<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs three descriptors, and the limits were checked at start");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
