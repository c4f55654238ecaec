//! This file knows how much processor time the calling thread has used.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread since it began, to the nanosecond.
pub fn thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
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
