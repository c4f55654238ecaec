//! This file knows how a process ends with the one that started it, however that one ends.

use anyhow::{Context, ensure};
use rustix::process::{getppid, set_parent_process_death_signal};
use ultramarine_runtime::signals::Signal;

/// Asks the kernel to send us `signal` when our parent, which must be the process `parent`, is gone.
pub fn end_with(parent: u32, signal: Signal) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(signal)).context("cannot ask to end with the parent process")?;
    // The parent may have gone before the request was in place.
    let found = getppid().map(|pid| pid.as_raw_nonzero().get());
    ensure!(
        found == i32::try_from(parent).ok(),
        "the parent process {parent} is gone"
    );
    Ok(())
}
