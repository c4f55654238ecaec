//! This file knows the dispositions of signals: what a process inherits, and what it asks of the kernel. What a signal
//! means to a node stands in `node/src/signals.rs`.

pub use rustix::process::Signal;

/// Whether the kernel drops this signal: inherited from `nohup`, from a shell's background job, or asked for here.
#[allow(unsafe_code)]
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all zeroes is a valid `sigaction` (a handler of null is SIG_DFL), and the kernel only writes to it, as
    // no new action is given.
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
    // SAFETY: both dispositions that reach this are constants of the kernel, so no code of ours runs in a handler. It
    // fails only for signals whose disposition nobody may change.
    unsafe { libc::signal(signal.as_raw(), disposition) };
}

/// A file that grows past RLIMIT_FSIZE is an error of the write from now on, with its reason, not a signal that ends
/// the process without a word.
pub fn make_file_size_an_error() {
    ignore(Signal::XFSZ);
}

/// While it lives, INT, TERM and HUP wait: for work that is short, and must be done whole or taken back. They count
/// for this thread and those it starts meanwhile.
#[derive(Debug)]
pub struct Deferred {
    before: libc::sigset_t,
    /// A mask belongs to its thread.
    _here: std::marker::PhantomData<*const ()>,
}

/// Lets INT, TERM and HUP wait until the answer is dropped.
#[allow(unsafe_code)]
pub fn defer() -> Deferred {
    // SAFETY: all zeroes is a valid set of signals, and the calls below only write to sets of ours.
    let (mut blocked, mut before) = unsafe { std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>() };
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        // SAFETY: the set is ours, and the number is a signal's.
        unsafe { libc::sigaddset(&raw mut blocked, signal.as_raw()) };
    }
    // SAFETY: both sets live on this stack for as long as the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, &raw mut before) };
    Deferred {
        before,
        _here: std::marker::PhantomData,
    }
}

impl Drop for Deferred {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the mask is one that the kernel gave us for this very thread, as the type cannot leave it.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Whether this signal waits for the calling thread.
#[cfg(test)]
pub fn is_blocked(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("every thread has one");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let mask = u64::from_str_radix(mask.expect("it has a mask").trim(), 16).expect("in hex");
    mask >> (signal.as_raw() - 1) & 1 == 1
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

    #[test]
    fn every_signal_that_asks_for_the_end_is_deferred_for_a_thread_and_those_it_starts() {
        let asks = [Signal::INT, Signal::TERM, Signal::HUP];
        let blocked = move || asks.map(is_blocked);
        let before = blocked();
        let deferred = defer();
        assert_eq!(blocked(), [true; 3]);
        let child = std::thread::spawn(blocked).join().expect("it lives");
        assert_eq!(child, [true; 3]);
        drop(deferred);
        assert_eq!(blocked(), before);
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_deferred_signal_waits_for_its_thread() {
        let pending = || {
            // SAFETY: all zeroes is a valid set of signals, and the kernel writes to ours alone.
            let mut set = unsafe { std::mem::zeroed::<libc::sigset_t>() };
            // SAFETY: the set is ours, and lives for as long as the call.
            unsafe { libc::sigpending(&raw mut set) };
            // SAFETY: the same.
            unsafe { libc::sigismember(&raw const set, libc::SIGHUP) == 1 }
        };
        // Dropped by the kernel when it is let through, as this process is to live on.
        ignore(Signal::HUP);
        std::thread::spawn(move || {
            let deferred = defer();
            // SAFETY: it sends to this very thread.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) };
            // Linux keeps a blocked signal, ignored or not: its disposition may change before it is let through.
            assert!(pending());
            drop(deferred);
            assert!(!pending());
        })
        .join()
        .expect("it lives");
        restore_default(Signal::HUP);
    }
}
