//! This file knows where log lines go and which are wanted.
//!
//! ```text
//!   tile ──tracing──▶ filter ──▶ line ──▶ outlet::stderr(): a bounded queue, a thread of its own ──▶ standard error
//!                       ▲         └──────▶ another outlet, likewise ──▶ a file that rotates
//!            `ultramarine log-level`
//! ```
//!
//! No tile waits for a log line, or dies of one. Lost lines are counted (`ultramarine_log_lines_lost_total`), and told
//! of in the log itself when it can be written again. Panics go the same way, and are given a moment to arrive.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use ultramarine_node::config::{LogConfig, LogFormat, LogToFile};
use ultramarine_node::control::LogSwitch;
use ultramarine_node::metrics::show_file_losses;
use ultramarine_runtime::outlet::{self, Outlet};
use ultramarine_runtime::rotating::RotatingFile;
use ultramarine_runtime::{Registry, print};

use crate::terminal::can_move;

mod lines;

/// What libraries may say unless the operator asks for more, by the start of their names: Malachite tells every step of
/// every height. The embedded execution client has a list of its own.
const QUIET: &str = "arc_malachitebft=warn";

/// Whether what the process says past its log is JSON, as its log is.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// How long the end waits for the last lines of the file.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// Logs to standard error what `filter` asks for. A second call changes nothing.
pub fn start(filter: &str) -> anyhow::Result<()> {
    Log::start(filter, LogFormat::Text, None).map(drop)
}

/// What a node logs to, and by which filter.
pub struct Log {
    pub switch: LogSwitch,
    file: Option<&'static Outlet>,
}

impl Log {
    /// Logs as a node's configuration says.
    pub fn of_node(config: &LogConfig) -> anyhow::Result<Self> {
        Self::start(&config.filter, config.format, config.file.as_ref())
    }

    fn start(filter: &str, format: LogFormat, file: Option<&LogToFile>) -> anyhow::Result<Self> {
        let environment = |name| std::env::var_os(name);
        let colours = wants_colours(
            io::stderr().is_terminal(),
            environment("NO_COLOR").as_deref(),
            environment("TERM").as_deref(),
        );
        speak(format);
        let file = file.map(open);
        // Where there is no file, it loses no line.
        show_file_losses(&Registry::process(), move || file.map_or(0, Outlet::lost));
        let (wanted_lines, handle) = reload::Layer::new(wanted(filter)?);
        let _ = tracing_subscriber::registry()
            .with(wanted_lines)
            .with(lines::layer(format, Lines(outlet::stderr()), colours))
            .with(file.map(|file| lines::layer(format, Lines(file), false)))
            .try_init();
        let switch = LogSwitch::new(filter, move |filter| {
            let wanted = wanted(filter).map_err(|error| error.to_string())?;
            handle.reload(wanted).map_err(|error| error.to_string())
        });
        Ok(Self { switch, file })
    }

    /// Gives the last lines a moment to be written.
    pub fn finish(self) {
        if let Some(file) = self.file {
            file.flush(LAST_LINES_WAIT);
        }
    }
}

/// Has all that is said past the log be in this format from now on: panics, lost lines, and why the program ends.
pub fn speak(format: LogFormat) {
    let is_json = format == LogFormat::Json;
    IS_JSON.store(is_json, Ordering::Relaxed);
    if is_json {
        outlet::word_notices(|text| format!("{}\n", lines::object(Level::WARN, text)));
    }
}

/// A file for lines, written on a thread of its own as long as the process lives.
fn open(file: &LogToFile) -> &'static Outlet {
    // Past the log, which would hand the line to this file too.
    let say = |text: String| print::note(worded(Level::WARN, text));
    let writer = RotatingFile::new(file.path.clone(), file.share, say);
    Box::leak(Box::new(Outlet::onto("log-file", writer)))
}

/// What is said on standard error past the log, in the log's format.
fn worded(level: Level, text: String) -> String {
    worded_as(IS_JSON.load(Ordering::Relaxed), level, text)
}

fn worded_as(is_json: bool, level: Level, text: String) -> String {
    match is_json {
        true => lines::object(level, &text),
        false => text,
    }
}

/// Says why the program fails, in the format that it logs in.
pub fn reason(why: &str) {
    let is_json = IS_JSON.load(Ordering::Relaxed);
    let text = if is_json {
        why.to_owned()
    } else {
        format!("error: {why}")
    };
    print::reason(worded(Level::ERROR, text));
}

/// Has every panic say where and why on standard error, without waiting for ever where that is stuck. One over a
/// damaged page of the index is expected, and whoever reads it says so.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if !ultramarine_store::index::is_guarded() {
            print::reason(worded(Level::ERROR, last_words(panic)));
        }
    }));
}

fn last_words(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let mut text = format!("thread {name}: {panic}");
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => text.push_str(&format!("\n{backtrace}")),
        _ => text.push_str("\nRUST_BACKTRACE=1 in the environment shows how it came there"),
    }
    text
}

/// The operator's filter, with libraries kept quiet where it does not name them.
fn wanted(filter: &str) -> anyhow::Result<EnvFilter> {
    let quiet = directives(QUIET).chain(engine_directives());
    let everything = level_of_everything(filter);
    let mut all: Vec<&str> = quiet
        .filter(|directive| {
            let cap = directive.rsplit('=').next().and_then(|level| level.parse().ok());
            // A directive of ours must not show more than the operator asked of everything.
            cap.is_some_and(|cap: LevelFilter| cap < everything)
        })
        .collect();
    // Of two directives for one name the later holds, and the longer name wins: the operator's come last.
    all.extend(directives(filter));
    EnvFilter::builder()
        .parse(all.join(","))
        .with_context(|| format!("{filter:?} is no log filter; write one such as \"info,ultramarine_net=debug\""))
}

/// The level for whatever the filter does not name.
fn level_of_everything(filter: &str) -> LevelFilter {
    let levels = directives(filter).filter_map(|directive| directive.parse().ok());
    levels.last().unwrap_or(LevelFilter::OFF)
}

fn directives(filter: &str) -> impl Iterator<Item = &str> {
    filter
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
}

/// The embedded execution client only speaks when something is wrong with itself.
#[cfg(feature = "dev-el")]
fn engine_directives() -> impl Iterator<Item = &'static str> {
    directives(ultramarine_dev_el::LOG_DIRECTIVES)
}

/// Without an embedded execution client there is nothing to quieten.
#[cfg(not(feature = "dev-el"))]
fn engine_directives() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}

/// Colours are for terminals that know them and people who want them; see <https://no-color.org>.
fn wants_colours(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty) && can_move(term)
}

/// Hands each event of `tracing` to an output, as one line.
#[derive(Clone, Copy, Debug)]
struct Lines(&'static Outlet);

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
