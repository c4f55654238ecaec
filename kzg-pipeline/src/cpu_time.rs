//! This file knows how much processor time the calling thread has used.

use std::time::Duration;

/// CPU time of this thread since it began, to the nanosecond.
pub fn thread() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec through a valid pointer and keeps nothing.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "Linux has had this clock since 2.6.12");
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::thread;

    #[test]
    fn it_grows_with_this_threads_work_and_not_with_anothers() {
        let before = thread();
        while thread() == before {
            std::hint::black_box(before);
        }
        let worked = thread();
        assert!(worked > before);
        // A new thread has a clock of its own, that begins at its beginning: whatever this one has done, it has not.
        let mut spent = Vec::new();
        while thread().as_millis() < 20 {
            spent.push(std::hint::black_box(spent.len()));
            spent.truncate(1000);
        }
        let mine = thread();
        let fresh = std::thread::spawn(thread).join().expect("no panic");
        assert!(fresh < mine, "{fresh:?} and {mine:?}");
    }
}
