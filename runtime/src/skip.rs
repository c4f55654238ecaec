//! This file knows how a test says that it did not run: on standard error itself, which the test harness does not
//! capture. So nobody takes a skipped test for a passed one.

use std::io::Write;

use crate::ring::{self, RingRefusal};

/// Set to 1 where io_uring must work, as `.ci/run` does where the kernel allows it. A test that would be skipped
/// without io_uring fails there.
const REQUIRE_URING: &str = "ULTRAMARINE_REQUIRE_URING";

/// Says what was skipped, and why.
pub fn say(what: &str) {
    // If standard error is closed, its owner does not want to know.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// Whether a test has to skip `what`, because io_uring is refused here; says so.
///
/// # Panics
///
/// If it is refused where `ULTRAMARINE_REQUIRE_URING` is 1.
pub fn without_ring(what: &str) -> bool {
    let is_required = std::env::var_os(REQUIRE_URING).is_some_and(|value| value == "1");
    let excuse = excuse(ring::probe(), is_required, what);
    excuse.as_deref().inspect(|excuse| say(excuse)).is_some()
}

fn excuse(probed: Result<(), RingRefusal>, is_required: bool, what: &str) -> Option<String> {
    let refusal = probed.err()?;
    assert!(!is_required, "{REQUIRE_URING} is 1 and {what} cannot run: {refusal}");
    Some(format!("{what}: {refusal}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<(), RingRefusal> {
        Err(RingRefusal::of(&std::io::Error::from_raw_os_error(libc::EPERM)))
    }

    #[test]
    fn a_skip_says_what_and_why() {
        assert_eq!(excuse(Ok(()), true, "all"), None);
        let excuse = excuse(refused(), false, "the ring").expect("it is skipped");
        assert!(excuse.contains("the ring") && excuse.contains("io_uring is refused"));
    }

    #[test]
    #[should_panic(expected = "ULTRAMARINE_REQUIRE_URING is 1 and the ring cannot run")]
    fn a_skip_is_a_failure_where_the_ring_is_required() {
        let _ = excuse(refused(), true, "the ring");
    }
}
