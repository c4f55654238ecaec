//! This file knows which cores a thread may run on: a pinned tile its own, whatever the tile starts those of the
//! process.
//!
//! Linux gives a new thread the cores of the thread that makes it. A pinned tile that has work done elsewhere, so as
//! not to do it on its own core, must therefore say so: through one of the functions here.

use std::io;
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::task::JoinHandle;

/// What the process might use before its first thread was pinned; empty while none is.
static PROCESS: OnceLock<CpuSet> = OnceLock::new();

/// Cores the calling thread may use, lowest first. Before anything is pinned they are the process's.
pub fn cores() -> Vec<usize> {
    sched_getaffinity(None).map_or_else(
        |_| Vec::new(),
        |cores| (0..CpuSet::MAX_CPU).filter(|core| cores.is_set(*core)).collect(),
    )
}

/// Gives the calling thread this core and no other.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let before = sched_getaffinity(None)?;
    PROCESS.get_or_init(|| before);
    let mut own = CpuSet::new();
    own.set(core);
    Ok(sched_setaffinity(None, &own)?)
}

/// Gives the calling thread the process's cores, if a pinned tile made it. To be the first thing a thread of its own
/// does.
pub fn roam() {
    if let Some(process) = PROCESS.get() {
        // Refused only if none of these cores is left to the process; then there is nothing better than what it has.
        let _ = sched_setaffinity(None, process);
    }
}

/// Does what starts threads with the process's cores, which they inherit; the caller then has its own again.
pub(crate) fn roaming<R>(start: impl FnOnce() -> R) -> R {
    let own = sched_getaffinity(None);
    roam();
    let started = start();
    if let Ok(own) = own {
        // As for `roam`.
        let _ = sched_setaffinity(None, &own);
    }
    started
}

/// `tokio::task::spawn_blocking` off the caller's core. A hook of the runtime would not do: tokio-uring makes its own
/// and lets nobody set one.
pub fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    tokio::task::spawn_blocking(move || {
        roam();
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halt::Halt;
    use crate::medium::run_on_ring;
    use crate::metrics::Registry;
    use crate::ring::{Io, block_on_net};
    use crate::skip;
    use crate::tile::Tile;
    use crate::topology::Seat;

    /// What `work` returns on a tile with a core to itself.
    fn pinned<R: Send + 'static>(core: usize, work: impl FnOnce() -> R + Send + 'static) -> R {
        let (sender, result) = std::sync::mpsc::channel();
        let seat = Seat {
            core: Some(core),
            spin: false,
        };
        Tile::spawn(&Registry::new(), "pinned", seat, &Halt::new(), move |_| {
            sender.send(work()).map_err(|error| error.to_string())
        })
        .expect("a thread")
        .join();
        result.recv().expect("the work ends")
    }

    #[test]
    fn a_pinned_tile_has_its_core_and_no_other() {
        for core in cores() {
            assert_eq!(pinned(core, cores), [core]);
        }
    }

    #[test]
    fn blocking_work_of_a_pinned_tile_has_the_process_s_cores() {
        let all = cores();
        for io in [Io::Fallback, Io::Uring] {
            if io == Io::Uring && skip::without_ring("blocking work beside tokio-uring") {
                continue;
            }
            let (tile, blocking) = pinned(all[0], move || {
                let blocking = block_on_net(io, |_| async { spawn_blocking(cores).await.expect("no panic") });
                (cores(), blocking)
            });
            assert_eq!(tile, [all[0]], "{io:?}");
            assert_eq!(blocking, all, "{io:?}");
        }
    }

    #[test]
    fn blocking_work_of_a_pinned_glommio_has_the_process_s_cores() {
        if skip::without_ring("blocking work beside glommio") {
            return;
        }
        let all = cores();
        let (tile, blocking) = pinned(all[0], || {
            let blocking = run_on_ring(async { glommio::executor().spawn_blocking(cores).await });
            (cores(), blocking.expect("glommio starts where the probe passes"))
        });
        assert_eq!(tile, [all[0]]);
        assert_eq!(blocking, all);
    }
}
