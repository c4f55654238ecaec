//! Whose turn it is: a network of processes has the machine for itself, and what is smaller shares it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

struct Running {
    is_alone: bool,
    shared: usize,
}

static RUNNING: Mutex<Running> = Mutex::new(Running {
    is_alone: false,
    shared: 0,
});
static ENDED: Condvar = Condvar::new();

/// Held while a test uses the machine. A test that shares may hold several.
#[derive(Debug)]
pub struct Turn {
    is_alone: bool,
}

impl Turn {
    /// Waits until nothing else runs: two networks on a small machine would measure each other.
    pub fn alone() -> Self {
        let mut running = lock();
        while running.is_alone || running.shared > 0 {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        running.is_alone = true;
        Self { is_alone: true }
    }

    /// Waits until no network runs.
    pub fn shared() -> Self {
        let mut running = lock();
        while running.is_alone {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        running.shared += 1;
        Self { is_alone: false }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = lock();
        if self.is_alone {
            running.is_alone = false;
        } else {
            running.shared -= 1;
        }
        drop(running);
        ENDED.notify_all();
    }
}

/// A test that failed has ended what it ran on the way out.
fn lock() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
