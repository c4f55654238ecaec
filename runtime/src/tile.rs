//! This file knows how to run a tile: one named, optionally pinned thread whose failure stops the node.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ultramarine_types::Nanos;

use crate::affinity;
use crate::clock::Clock;
use crate::halt::{Halt, Reason};
use crate::metrics::{Counter, Histogram, Registry};
use crate::pulse::Pulse;
use crate::topology::Seat;
use crate::watch::Watch;

/// A thread that owns its I/O and carries out what its machine asks.
#[derive(Clone, Copy, Debug)]
pub struct Tile;

impl Tile {
    /// Starts a thread named `name` in its seat, whose metrics go to `registry`.
    ///
    /// If `work` panics or returns an error the whole node stops, with that as the reason.
    pub fn spawn(
        registry: &Arc<Registry>,
        name: &'static str,
        seat: Seat,
        halt: &Halt,
        work: impl FnOnce(TileContext) -> Result<(), String> + Send + 'static,
    ) -> io::Result<JoinHandle> {
        let (halt, registry) = (halt.clone(), Arc::clone(registry));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(core) = seat.core {
                pin_to(name, core);
            }
            watch_cpu_time(&registry, name);
            let mut context = TileContext::new(name, &halt, &registry);
            context.spin = seat.spin;
            let pulse = context.pulse.clone();
            let outcome = catch_unwind(AssertUnwindSafe(|| work(context)));
            pulse.rest();
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(what)) => halt.stop(Reason::Failed { tile: name, what }),
                Err(panic) => halt.stop(Reason::Failed {
                    tile: name,
                    what: format!("panicked: {}", message_of(&*panic)),
                }),
            }
        })?;
        Ok(JoinHandle { name, thread })
    }
}

#[derive(Debug)]
pub struct JoinHandle {
    name: &'static str,
    thread: std::thread::JoinHandle<()>,
}

impl JoinHandle {
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the tile has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the tile to end. Its failure, if any, is in the [`Halt`].
    pub fn join(self) {
        // The thread's body catches panics, so there is no second reason to report here.
        let _ = self.thread.join();
    }

    /// Waits at most `timeout`; the handle back if the tile still runs.
    pub fn join_within(self, timeout: Duration) -> Result<(), Self> {
        let until = Instant::now() + timeout;
        while !self.is_finished() {
            if Instant::now() >= until {
                return Err(self);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.join();
        Ok(())
    }
}

/// What a tile is given.
#[derive(Debug)]
pub struct TileContext {
    pub name: &'static str,
    pub clock: Clock,
    /// A tile looks at it between two pieces of work.
    pub halt: Halt,
    /// Where the tile's metrics go.
    pub registry: Arc<Registry>,
    /// The tile's working time.
    pub busy: Busy,
    /// Shows that it takes turns.
    pub pulse: Pulse,
    /// Whether it has a core to itself, and spins a moment before it sleeps.
    pub spin: bool,
}

impl TileContext {
    /// A context for work that runs on the caller's thread: tests, and tiles inside another executor.
    pub fn new(name: &'static str, halt: &Halt, registry: &Arc<Registry>) -> Self {
        let clock = Clock::start();
        Self {
            name,
            clock,
            halt: halt.clone(),
            registry: Arc::clone(registry),
            busy: Busy {
                clock,
                entered: Cell::new(None),
                counted: OnceCell::new(),
                registry: Arc::clone(registry),
                name,
            },
            pulse: registry.pulse(name),
            spin: false,
        }
    }
}

/// Adds up the time a tile works, and keeps a histogram of its turns. The share over any span is the counter's rate.
/// Tiles that are executors of their own do not use it, and show no such metrics.
#[derive(Debug)]
pub struct Busy {
    clock: Clock,
    entered: Cell<Option<Nanos>>,
    counted: OnceCell<(Counter, Histogram)>,
    registry: Arc<Registry>,
    name: &'static str,
}

impl Busy {
    /// Work begins. Entering twice counts from the first.
    pub fn enter(&self) {
        if self.entered.get().is_none() {
            self.entered.set(Some(self.clock.now()));
        }
    }

    /// Work ends; without an `enter` before it, nothing happens.
    pub fn leave(&self) {
        if let Some(entered) = self.entered.take() {
            let took = self.clock.now().since(entered);
            let (total, turns) = self.counted.get_or_init(|| self.counted());
            total.add(took.0);
            turns.record(took);
        }
    }

    fn counted(&self) -> (Counter, Histogram) {
        let total = self.registry.seconds_counter(
            "ultramarine_tile_busy_seconds_total",
            "Time the tile spent on work rather than waiting; its rate is the busy share.",
            &[("tile", self.name)],
        );
        let turns = self.registry.coarse_histogram(
            "ultramarine_tile_turn_seconds",
            "Time of one turn of the tile's loop that had work: what everything else in it waits for.",
            &[("tile", self.name)],
        );
        (total, turns)
    }

    /// Counts the time `work` takes.
    pub fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        self.enter();
        let result = work();
        self.leave();
        result
    }
}

/// Registers what a tile of this name shows, also what it shows only once it has worked.
pub fn register_metrics(registry: &Arc<Registry>, name: &'static str) {
    let context = TileContext::new(name, &Halt::new(), registry);
    context.busy.counted();
    watch_cpu_time(registry, name);
    Watch::default().look(registry);
}

/// Pins the calling thread, or says that the system refused: a container's cpuset is a reason to float, not to stop.
fn pin_to(name: &str, core: usize) {
    if let Err(error) = affinity::pin(core) {
        tracing::warn!(
            "tile {name} could not be pinned to core {core} and floats: {error}; is the core outside this process's \
             cpuset?"
        );
    }
}

/// Shows the thread's CPU time as the kernel counts it: for async tiles, which have no single place to measure their
/// working time.
fn watch_cpu_time(registry: &Registry, name: &'static str) {
    let path = format!(
        "/proc/self/task/{}/schedstat",
        rustix::thread::gettid().as_raw_nonzero()
    );
    // "schedstats" in the kernel's documentation of the scheduler: time on a CPU, time waiting for one, turns.
    let field = |position: usize| {
        let path = path.clone();
        move || {
            let text = std::fs::read_to_string(&path).ok()?;
            text.split_whitespace().nth(position)?.parse().ok().map(Nanos)
        }
    };
    registry.probe_seconds_counter(
        "ultramarine_tile_cpu_seconds_total",
        "CPU time of the tile's thread as the kernel counts it.",
        &[("tile", name)],
        field(0),
    );
    registry.probe_seconds_counter(
        "ultramarine_tile_queued_seconds_total",
        "Time in which the tile's thread could run and had no CPU, as the kernel counts it.",
        &[("tile", name)],
        field(1),
    );
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "with a payload that is no text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_tile_stops_the_node_with_its_reason() {
        let (halt, registry) = (Halt::new(), Registry::new());
        let tile = Tile::spawn(&registry, "failing", Seat::default(), &halt, |_| {
            Err("no disk".to_owned())
        })
        .expect("a thread");
        tile.join();
        assert_eq!(
            halt.reason(),
            Some(Reason::Failed {
                tile: "failing",
                what: "no disk".to_owned()
            })
        );
    }

    #[test]
    fn a_panic_in_a_tile_stops_the_node_with_its_message() {
        let (halt, registry) = (Halt::new(), Registry::new());
        let tile = Tile::spawn(&registry, "panicking", Seat::default(), &halt, |_| {
            panic!("broken at {}", 7)
        })
        .expect("a thread");
        tile.join();
        assert_eq!(
            halt.reason(),
            Some(Reason::Failed {
                tile: "panicking",
                what: "panicked: broken at 7".to_owned()
            })
        );
    }

    #[test]
    fn a_tile_that_ends_well_leaves_the_node_running() {
        let (halt, registry) = (Halt::new(), Registry::new());
        Tile::spawn(
            &registry,
            "quiet",
            Seat {
                core: Some(0),
                spin: true,
            },
            &halt,
            |_| Ok(()),
        )
        .expect("a thread")
        .join();
        assert!(!halt.is_stopped());
    }

    #[test]
    fn every_tile_ends_after_a_stop() {
        let (halt, registry) = (Halt::new(), Registry::new());
        let (sender, mut receiver) = crate::link::link::<u8>("idle", 4).expect("a link");
        let blocking = Tile::spawn(&registry, "blocking", Seat::default(), &halt, move |context| {
            while !context.halt.is_stopped() {
                receiver.recv_until(None, &context.clock);
            }
            Ok(())
        });
        let asynchronous = Tile::spawn(&registry, "async", Seat::default(), &halt, |context| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| e.to_string())?;
            runtime.block_on(context.halt.stopped());
            Ok(())
        });
        halt.stop(Reason::Asked);
        for tile in [blocking, asynchronous] {
            tile.expect("a thread")
                .join_within(Duration::from_secs(2))
                .expect("it ends within two seconds");
        }
        drop(sender);
    }

    #[test]
    fn busy_time_is_counted_between_enter_and_leave() {
        let (halt, registry) = (Halt::new(), Registry::new());
        let context = TileContext::new("worker", &halt, &registry);
        context.busy.leave();
        assert!(!registry.render().contains("ultramarine_tile_busy"));
        context.busy.during(|| {
            let from = context.clock.now();
            while context.clock.now().since(from) < Nanos::from_millis(2) {}
        });
        let (total, turns) = context.busy.counted.get().expect("there was work");
        assert!(total.get() >= 2_000_000);
        assert_eq!(turns.len(), 1);
        assert!(
            registry
                .render()
                .contains("ultramarine_tile_busy_seconds_total{tile=\"worker\"}")
        );
    }

    #[test]
    fn the_kernel_counts_a_tiles_cpu_time() {
        let (halt, registry) = (Halt::new(), Registry::new());
        let (sender, mut receiver) = crate::link::link::<()>("go", 1).expect("a link");
        let tile = Tile::spawn(&registry, "burner", Seat::default(), &halt, move |context| {
            while !context.halt.is_stopped() && !receiver.is_closed() {
                receiver.recv_until(None, &context.clock);
            }
            Ok(())
        })
        .expect("a thread");
        // The probe is registered by the thread itself.
        let until = Instant::now() + Duration::from_secs(10);
        while !registry
            .render()
            .contains("ultramarine_tile_cpu_seconds_total{tile=\"burner\"}")
        {
            assert!(Instant::now() < until, "the tile's CPU time never appeared");
            std::thread::yield_now();
        }
        drop(sender);
        tile.join();
    }
}
