//! How far a long command has come, as people see it: a bar on a terminal, plain lines where there is none.
//!
//! The command is `blob put`, which proves a file's blobs before it asks anybody. The terminal is one of util-linux's
//! `script`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ultramarine_runtime::affinity::cores;

use crate::harness::turn::Turn;
use crate::harness::{Process, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
const COLUMNS: usize = 80;
/// To the first column, and away with what stands in the row.
const CLEAR: &str = "\r\x1b[2K";
/// Blobs of the file: more than one core proves within the seconds that the slower test looks.
const BLOBS: usize = 600;

/// A file that takes long to be published.
fn large_file(folder: &Path) -> PathBuf {
    let path = folder.join("file");
    // No two pieces are alike: what was proven once is not proven again.
    let words = (0..BLOBS as u32 * 30_000).map(|word| word.wrapping_mul(2_654_435_761));
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    std::fs::write(&path, bytes).expect("there is room");
    path
}

/// One core of this machine, by its number: with many the file is proven too soon.
fn core() -> String {
    cores().first().expect("this thread runs somewhere").to_string()
}

/// All that comes out of a pipe, as it comes.
fn follow(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let shown = Arc::clone(&said);
    std::thread::spawn(move || {
        let (mut bytes, mut pending) = ([0; 4096], Vec::new());
        while let Ok(count @ 1..) = pipe.read(&mut bytes) {
            pending.extend_from_slice(&bytes[..count]);
            let whole = match std::str::from_utf8(&pending) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            let text: Vec<u8> = pending.drain(..whole).collect();
            shown
                .lock()
                .expect("no panic")
                .push_str(&String::from_utf8_lossy(&text));
        }
    });
    said
}

/// Whether a text is `N/s, T left` at its end, with a time that is known.
fn ends_with_a_time(text: &str) -> bool {
    let time = text.rsplit(", ").next().unwrap_or_default();
    text.contains("/s, ") && time.ends_with(" left") && time.starts_with(|first: char| first.is_ascii_digit())
}

#[test]
fn a_terminal_of_80_columns_shows_a_bar_with_percent_and_the_time_left() {
    let _turn = Turn::shared();
    let temporary = tempfile::tempdir().expect("temporary directory");
    let file = large_file(temporary.path());
    let program = env!("CARGO_BIN_EXE_ultramarine");
    // Two of one account and one client would wait for each other.
    let put = format!("blob put {} --rpc http://127.0.0.1:1", file.display());
    let line = format!(
        "stty rows 24 cols {COLUMNS}; exec taskset -c {} {program} {put}",
        core()
    );
    let mut child = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("util-linux has `script`");
    let mut keyboard = child.stdin.take().expect("piped");
    let said = follow(child.stdout.take().expect("piped"));
    let mut process = Process(child);
    let rows = || -> Vec<String> {
        let said = said.lock().expect("no panic").clone();
        said.split(CLEAR).map(str::to_owned).collect()
    };
    // What follows on the newest row may still come.
    let seen = wait_for("a bar with the time left", PATIENCE, || {
        let rows = rows();
        let whole = &rows[..rows.len() - 1];
        whole.iter().find(|row| ends_with_a_time(row)).cloned()
    });
    let (bar, words) = seen
        .strip_prefix("proving [")
        .and_then(|rest| rest.split_once("] "))
        .unwrap_or_else(|| panic!("no bar: {seen}"));
    let cells = bar.chars().count();
    assert!((4..=24).contains(&cells), "{seen}");
    assert!(bar.trim_start_matches('#').chars().all(|cell| cell == '·'), "{seen}");
    let (percent, words) = words.split_once(" %, ").unwrap_or_else(|| panic!("no percent: {seen}"));
    let (done, words) = words.split_once(" of ").expect(&seen);
    let (total, _) = words.split_once(" blobs, ").expect(&seen);
    let number = |text: &str| {
        text.parse::<usize>()
            .unwrap_or_else(|error| panic!("{text}, {error}: {seen}"))
    };
    assert!((1..number(total)).contains(&number(done)), "{seen}");
    assert_eq!(number(percent), 100 * number(done) / number(total), "{seen}");
    let full = bar.chars().filter(|cell| *cell == '#').count();
    assert_eq!(full, cells * number(done) / number(total), "{seen}");

    // It ends as asked, and leaves no bar behind.
    std::io::Write::write_all(&mut keyboard, b"\x03").expect("it reads");
    process.ended(PATIENCE);
    let rows = wait_for("the reason", PATIENCE, || {
        let rows = rows();
        rows.last()
            .is_some_and(|row| row.contains("nothing was sent"))
            .then_some(rows)
    });
    for row in &rows[1..rows.len() - 1] {
        assert!(row.chars().count() < COLUMNS, "it would go to the next row: {row:?}");
        assert!(!row.contains('\n'), "a bar stays in its row: {row:?}");
    }
}

#[test]
fn without_a_terminal_lines_say_it_and_no_control_character_is_written() {
    let _turn = Turn::shared();
    let temporary = tempfile::tempdir().expect("temporary directory");
    let file = large_file(temporary.path());
    let mut child = Command::new("taskset")
        .args(["-c", &core(), env!("CARGO_BIN_EXE_ultramarine")])
        .args(["blob", "put", "--rpc", "http://127.0.0.1:2"])
        .arg(&file)
        .stdin(Stdio::null())
        .env("TERM", "xterm")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("util-linux has `taskset`");
    let stdout = follow(child.stdout.take().expect("piped"));
    let stderr = follow(child.stderr.take().expect("piped"));
    let mut process = Process(child);
    let text = |said: &Arc<Mutex<String>>| said.lock().expect("no panic").clone();
    let line = wait_for("a line with the time left", PATIENCE, || {
        let said = text(&stderr);
        said.lines().find(|line| ends_with_a_time(line)).map(str::to_owned)
    });
    assert!(line.starts_with("proving: ") && line.contains(" blobs, "), "{line}");
    process.interrupt();
    process.ended(PATIENCE);
    wait_for("the reason", PATIENCE, || {
        text(&stderr).contains("nothing was sent").then_some(())
    });
    for said in [text(&stdout), text(&stderr)] {
        let plain = |character: char| character == '\n' || !character.is_control();
        assert!(said.chars().all(plain), "{said:?}");
    }
    assert_eq!(text(&stdout), "");
}
