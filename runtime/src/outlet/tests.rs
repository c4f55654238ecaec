//! Claims about outputs that work, fail, block, and come back.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// What an output of a test does with each write: it asks for a permit first, if it has somebody to ask.
#[derive(Clone, Default)]
struct Paper {
    text: Arc<Mutex<Vec<u8>>>,
    /// Error number of every write, while it is not 0.
    errno: Arc<AtomicI32>,
    /// Bytes taken before a write fails.
    room: Arc<Mutex<Option<usize>>>,
    permits: Option<Arc<Mutex<Receiver<()>>>>,
}

impl Paper {
    /// An output that takes a write for each permit, and blocks without.
    fn blocked() -> (Self, Sender<()>) {
        let (sender, receiver) = channel();
        let permits = Some(Arc::new(Mutex::new(receiver)));
        let paper = Self {
            permits,
            ..Self::default()
        };
        (paper, sender)
    }

    fn text(&self) -> String {
        String::from_utf8(self.text.lock().expect("no writer panics").clone()).expect("tests write text")
    }

    fn fail_with(&self, errno: i32) {
        self.errno.store(errno, Ordering::SeqCst);
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(permits) = &self.permits {
            let _ = permits.lock().expect("one writer").recv();
        }
        let errno = self.errno.load(Ordering::SeqCst);
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let mut room = self.room.lock().expect("one writer");
        let taken = room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if let Some(room) = room.as_mut() {
            *room -= taken;
        }
        if taken == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.text
            .lock()
            .expect("no reader panics")
            .extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn outlet(paper: &Paper) -> Outlet {
    let notice: LossNotice = |lost| format!("[{lost} lost]\n");
    Outlet::with_sink("paper", Some(Descriptor::Stderr), paper.clone(), Some(notice))
}

fn push(outlet: &Outlet, text: &str) {
    outlet.push(format!("{text}\n").into_bytes());
}

/// Waits until all is written or lost, and looks whether it is.
fn flushed(outlet: &Outlet) -> bool {
    let is_flushed = outlet.flush(PATIENCE);
    if is_flushed {
        outlet.check_whole();
    }
    is_flushed
}

/// Waits until the writer has taken every line: a blocked paper holds up the last.
fn wait_until_taken(outlet: &Outlet) {
    let until = Instant::now() + PATIENCE;
    while !outlet.shared.lines.is_empty() {
        assert!(Instant::now() < until, "the writer takes nothing");
        thread::sleep(FLUSH_INTERVAL);
    }
}

#[test]
fn lines_are_written_in_order() {
    let paper = Paper::default();
    let outlet = outlet(&paper);
    for number in 0..100 {
        push(&outlet, &number.to_string());
    }
    assert!(flushed(&outlet));
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    assert_eq!((paper.text(), outlet.lost()), (expected, 0));
}

#[test]
fn a_failing_output_costs_its_lines_and_is_told_how_many_when_it_works_again() {
    let paper = Paper::default();
    let outlet = outlet(&paper);
    push(&outlet, "a");
    assert!(flushed(&outlet));
    paper.fail_with(libc::ENOSPC);
    push(&outlet, "b");
    push(&outlet, "c");
    assert!(flushed(&outlet), "a failing output holds nobody up");
    assert_eq!(outlet.lost(), 2);
    assert_eq!(
        outlet.trouble().and_then(|error| error.raw_os_error()),
        Some(libc::ENOSPC)
    );
    paper.fail_with(0);
    push(&outlet, "d");
    assert!(flushed(&outlet));
    assert_eq!(paper.text(), "a\n[2 lost]\nd\n");
    assert!(outlet.trouble().is_none());
    push(&outlet, "e");
    assert!(flushed(&outlet));
    assert_eq!(paper.text(), "a\n[2 lost]\nd\ne\n", "and is told once");
}

#[test]
fn a_stuck_output_holds_nobody_up_and_the_notice_stands_where_lines_are_missing() {
    let (paper, permits) = Paper::blocked();
    let outlet = outlet(&paper);
    push(&outlet, "first");
    wait_until_taken(&outlet);
    for number in 0..LINES_MAX + 10 {
        push(&outlet, &number.to_string());
    }
    assert!(!outlet.flush(Duration::from_millis(1)), "it is stuck");
    assert_eq!(outlet.lost(), 10);
    drop(permits);
    assert!(flushed(&outlet));
    push(&outlet, "after");
    assert!(flushed(&outlet));
    let kept: String = (0..LINES_MAX).map(|number| format!("{number}\n")).collect();
    let expected = format!("first\n{kept}[10 lost]\nafter\n");
    assert_eq!(paper.text(), expected);
}

#[test]
fn losses_are_told_although_nothing_more_is_said() {
    let (paper, permits) = Paper::blocked();
    let outlet = outlet(&paper);
    for _ in 0..LINES_MAX + 10 {
        push(&outlet, "x");
    }
    drop(permits);
    let until = Instant::now() + PATIENCE;
    while !paper.text().contains(" lost]") {
        assert!(Instant::now() < until, "no notice");
        thread::sleep(FLUSH_INTERVAL);
    }
}

#[test]
fn waiting_bytes_are_bounded() {
    let (paper, permits) = Paper::blocked();
    let outlet = outlet(&paper);
    let line = vec![b'x'; 64 * 1024];
    for _ in 0..2 * BYTES_MAX / line.len() {
        outlet.push(line.clone());
    }
    let kept = 2 * BYTES_MAX / line.len() - usize::try_from(outlet.lost()).expect("a few");
    assert!(
        kept * line.len() <= BYTES_MAX + line.len(),
        "the writer holds one more: {kept}"
    );
    drop(permits);
    assert!(flushed(&outlet));
    outlet.push(vec![b'x'; BYTES_MAX]);
    assert!(flushed(&outlet));
    assert_eq!(
        paper.text().matches('x').count(),
        kept * line.len() + BYTES_MAX,
        "there is room again"
    );
}

#[test]
fn last_words_are_taken_although_the_queue_is_full() {
    let (paper, permits) = Paper::blocked();
    let outlet = outlet(&paper);
    for _ in 0..LINES_MAX + 10 {
        push(&outlet, "x");
    }
    outlet.push_urgent(b"last words\n".to_vec());
    drop(permits);
    assert!(flushed(&outlet));
    assert!(paper.text().contains("last words\n"));
    let (paper, _permits) = Paper::blocked();
    let outlet = self::outlet(&paper);
    for _ in 0..LINES_MAX + 100 * URGENT_MAX {
        outlet.push_urgent(b"x\n".to_vec());
    }
    assert!(
        outlet.lost() >= 98 * URGENT_MAX as u64,
        "they are bounded too: {}",
        outlet.lost()
    );
}

#[test]
fn a_line_that_is_being_written_is_waited_for() {
    let (paper, permits) = Paper::blocked();
    let outlet = outlet(&paper);
    push(&outlet, "only");
    wait_until_taken(&outlet);
    assert!(!outlet.flush(20 * FLUSH_INTERVAL), "it is not written yet");
    drop(permits);
    assert!(flushed(&outlet));
    assert_eq!(paper.text(), "only\n");
}

/// Flushes its own outlet before it writes, as a panic of the outlet's thread would, and says what it found there.
struct Reflexive {
    outlet: Arc<OnceLock<Outlet>>,
    found: Sender<(bool, bool)>,
}

impl Write for Reflexive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_flushed = self.outlet.wait().flush(PATIENCE);
        let has_signals = [signals::Signal::INT, signals::Signal::TERM, signals::Signal::HUP]
            .into_iter()
            .any(|signal| !signals::is_blocked(signal));
        let _ = self.found.send((is_flushed, has_signals));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_thread_of_an_output_takes_no_signals_and_does_not_wait_for_itself() {
    let outlet = Arc::new(OnceLock::new());
    let (found, finding) = channel();
    let paper = Reflexive {
        outlet: Arc::clone(&outlet),
        found,
    };
    outlet.set(Outlet::onto("reflexive", paper)).expect("it is set once");
    push(outlet.wait(), "x");
    let finding = finding.recv_timeout(PATIENCE / 2);
    assert_eq!(finding, Ok((false, false)), "flushed, and takes signals");
}

#[test]
fn a_line_cut_short_spoils_no_other() {
    let paper = Paper::default();
    let outlet = outlet(&paper);
    *paper.room.lock().expect("nobody panics") = Some(3);
    push(&outlet, "whole");
    assert!(flushed(&outlet));
    *paper.room.lock().expect("nobody panics") = None;
    push(&outlet, "next");
    assert!(flushed(&outlet));
    assert_eq!(paper.text(), "who\n[1 lost]\nnext\n");
}

#[test]
fn a_notice_is_worded_as_the_lines_around_it() {
    let object: fn(&str) -> String = |text| format!("{{{text}}}\n");
    let (plain, worded) = (notice_as(3, None), notice_as(3, Some(&object)));
    assert!(plain.starts_with(" WARN 3 log lines were lost here: "), "{plain}");
    assert!(
        worded.starts_with("{3 log lines were lost here: ") && worded.ends_with("}\n"),
        "{worded}"
    );
}
