//! This file knows the dispositions of signals: what a process inherits, and what it asks of the kernel. What a signal
//! means to a node stands in `node/src/signals.rs`.

pub use rustix::process::Signal;

/// Whether the kernel drops this signal: inherited from `nohup`, from a shell's background job, or asked for here.
#[allow(unsafe_code)]
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all zeroes is a valid `sigaction` (a handler of null is SIG_DFL), and the kernel only writes to it, as no new
    // action is given.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer for the new action leaves the disposition as it is; the old one has room in `action`.
    let asked = unsafe { libc::sigaction(signal.as_raw(), std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Has the kernel drop this signal from now on.
pub fn ignore(signal: Signal) {
    set(signal, libc::SIG_IGN);
}

/// Has the kernel do with this signal what it does by default: end the process, for most.
pub fn restore_default(signal: Signal) {
    set(signal, libc::SIG_DFL);
}

#[allow(unsafe_code)]
fn set(signal: Signal, disposition: libc::sighandler_t) {
    // SAFETY: both dispositions that reach this are constants of the kernel, so no code of ours runs in a handler. It fails
    // only for signals whose disposition nobody may change.
    unsafe { libc::signal(signal.as_raw(), disposition) };
}

/// A file that grows past RLIMIT_FSIZE is an error of the write from now on, with its reason, not a signal that ends the
/// process without a word.
pub fn make_file_size_an_error() {
    ignore(Signal::XFSZ);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disposition_reads_back_as_it_was_set() {
        // No other test and no library uses this one.
        let signal = Signal::USR2;
        assert!(!is_ignored(signal));
        ignore(signal);
        assert!(is_ignored(signal));
        restore_default(signal);
        assert!(!is_ignored(signal));
    }
}
