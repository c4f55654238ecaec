//! This file knows how to print: results on standard output, reasons on standard error, whatever state those are in.
//!
//! The macros of the standard library panic where an output is closed or full. Here a result that cannot be printed is
//! an error of the command. What goes to standard error is said if it can be, without waiting for ever.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use crate::outlet::{self, Descriptor};

/// How long a reason may take to reach standard error; a reader that has not come by then does not come.
const REASON_WAIT: Duration = Duration::from_secs(2);

/// Why standard output did not take what a command printed.
#[derive(Debug, thiserror::Error)]
pub enum Unprinted {
    /// Its reader has gone and wants no more: a quiet end.
    #[error("standard output was closed by its reader")]
    Abandoned,
    /// Something is wrong with it.
    #[error("cannot write to standard output: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for Unprinted {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Abandoned,
            _ => Self::Failed(error),
        }
    }
}

/// Prints text as it is to standard output. Waits for a slow reader, as every command of a pipeline does.
pub fn text(text: impl Display) -> Result<(), Unprinted> {
    Ok(Descriptor::Stdout.write_all(text.to_string().as_bytes())?)
}

/// Prints a line to standard output.
pub fn line(text: impl Display) -> Result<(), Unprinted> {
    self::text(format_args!("{text}\n"))
}

/// Prints a line to standard output, or ends the process: for programs that have nothing to tidy up.
pub fn line_or_end(text: impl Display) {
    if let Err(unprinted) = line(text) {
        if matches!(unprinted, Unprinted::Abandoned) {
            std::process::exit(0);
        }
        reason(format_args!("error: {unprinted}"));
        std::process::exit(1);
    }
}

/// Says a line on standard error and waits until it is said, for a bounded time.
pub fn reason(text: impl Display) {
    let stderr = outlet::stderr();
    stderr.push_urgent(format!("{text}\n").into_bytes());
    stderr.flush(REASON_WAIT);
}

/// Gives what was said on standard error a moment to arrive: the last thing a program does.
pub fn finish() {
    outlet::stderr().flush(REASON_WAIT);
}

/// Says a line on standard error, without waiting.
pub fn note(text: impl Display) {
    outlet::stderr().push(format!("{text}\n").into_bytes());
}

/// Whether an error, given with its causes, is no more than a reader that went away.
pub fn is_quiet<'a>(mut causes: impl Iterator<Item = &'a (dyn Error + 'static)>) -> bool {
    causes.any(|cause| matches!(cause.downcast_ref(), Some(Unprinted::Abandoned)))
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[test]
    fn only_a_reader_who_went_away_is_a_quiet_end() {
        let unprinted = |errno| Unprinted::from(io::Error::from_raw_os_error(errno));
        let is_quiet = |error: &Unprinted| super::is_quiet([error as &(dyn Error + 'static)].into_iter());
        assert!(is_quiet(&unprinted(libc::EPIPE)));
        let (context, cause) = (fmt::Error, unprinted(libc::EPIPE));
        let chain: [&(dyn Error + 'static); 2] = [&context, &cause];
        assert!(super::is_quiet(chain.into_iter()), "whatever was being done");
        for errno in [libc::ENOSPC, libc::EIO, libc::EFBIG, libc::EBADF] {
            let error = unprinted(errno);
            assert!(!is_quiet(&error));
            assert!(error.to_string().contains("standard output"), "{error}");
        }
    }
}
