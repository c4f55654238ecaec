//! This file knows `ultramarine top`: nodes live, in a terminal.
//!
//! ```text
//!   node ──▶ watch ──▶ TopApp ◀── keys        draw(&TopApp) ──▶ cells ──▶ screen, or plain text (--once)
//! ```
//!
//! - `watch` asks each node for its live view, and keeps the reason where it does not get one.
//! - [`TopApp`](app::TopApp) is what is shown: readings, the page, what the keys chose. It knows no clock, no terminal.
//! - `draw` turns it into cells, and is tested by captured screens.
//!
//! What a node answers is foreign: it is bounded in bytes and time, and its texts are made printable.

pub mod app;
mod draw;
pub mod keys;
mod screen;
mod text;
pub mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use ultramarine_runtime::print;

use app::TopApp;
use screen::Screen;
use text::Glyphs;
use watch::{NodeAddress, Reading};

/// Screens are drawn at most this often, however many nodes answer.
const FRAME_INTERVAL: Duration = Duration::from_millis(200);
/// What `--once` draws on: a small terminal's width, and as many lines as a screen could need.
const ONCE_COLUMNS: u16 = 80;
const ONCE_ROWS: u16 = 400;
/// Readings and keys that may wait for the loop.
const WAITING_MAX: usize = 64;

/// What the command was asked for.
#[derive(Debug)]
pub struct TopOptions {
    pub nodes: Vec<NodeAddress>,
    /// How often each node is asked.
    pub every: Duration,
    /// Print one frame as plain text and end.
    pub once: bool,
    pub color: bool,
}

/// Shows the nodes until the user has seen enough.
pub async fn run(options: TopOptions) -> anyhow::Result<()> {
    let glyphs = Glyphs::of_locale(|name| std::env::var(name).ok());
    if options.once {
        return once(&options, glyphs).await;
    }
    let screen = Screen::open(options.color)?;
    watch_live(options, glyphs, screen).await
}

/// One frame, as text. An error if no node answered.
async fn once(options: &TopOptions, glyphs: Glyphs) -> anyhow::Result<()> {
    let mut app = TopApp::new(&options.nodes, glyphs);
    (app.has_keys, app.is_whole) = (false, true);
    let mut asking = tokio::task::JoinSet::new();
    for (node, address) in options.nodes.iter().cloned().enumerate() {
        asking.spawn(async move { (node, watch::ask_once(&address).await) });
    }
    while let Some(asked) = asking.join_next().await {
        let (node, reading) = asked?;
        app.heard(node, reading);
    }
    let area = Rect::new(0, 0, ONCE_COLUMNS, ONCE_ROWS);
    let mut cells = Buffer::empty(area);
    draw::draw(&app, &mut cells);
    print::text(screen::plain(&cells))?;
    let unreachable = app.nodes.iter().filter_map(|node| node.trouble.as_deref());
    let first = unreachable.clone().next();
    match first {
        Some(why) if unreachable.count() == app.nodes.len() => anyhow::bail!("no node answers: {}", text::clean(why)),
        _ => Ok(()),
    }
}

/// Redraws when a node has answered, a key was pressed or the terminal has another size.
async fn watch_live(options: TopOptions, glyphs: Glyphs, mut screen: Screen) -> anyhow::Result<()> {
    let mut app = TopApp::new(&options.nodes, glyphs);
    let (told, mut readings) = mpsc::channel::<(usize, Reading)>(WAITING_MAX);
    for (node, address) in options.nodes.iter().cloned().enumerate() {
        tokio::spawn(watch::keep_asking(node, address, options.every, told.clone()));
    }
    let mut pressed = keys::listen(WAITING_MAX);
    let mut resized = signal(SignalKind::window_change()).context("listening for the terminal's size")?;
    let mut ending = Ending::listen()?;
    let mut due = Instant::now();
    loop {
        screen.draw(|cells| draw::draw(&app, cells))?;
        let earliest = due + FRAME_INTERVAL;
        let is_at_once = tokio::select! {
            Some((node, reading)) = readings.recv() => {
                app.heard(node, reading);
                false
            }
            key = pressed.recv() => match key {
                Some(key) => {
                    if app.press(key) {
                        return Ok(());
                    }
                    true
                }
                // The terminal is gone.
                None => return Ok(()),
            },
            _ = resized.recv() => {
                screen.forget();
                true
            }
            () = ending.asked() => return Ok(()),
        };
        // Nodes that answer together are drawn together.
        if !is_at_once {
            while Instant::now() < earliest {
                tokio::select! {
                    () = tokio::time::sleep_until(earliest) => break,
                    Some((node, reading)) = readings.recv() => app.heard(node, reading),
                    () = ending.asked() => return Ok(()),
                }
            }
        }
        due = Instant::now();
    }
}

/// The signals that end the command with the terminal as it was.
struct Ending(BTreeMap<i32, tokio::signal::unix::Signal>);

impl Ending {
    fn listen() -> anyhow::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals = kinds.map(|kind| Ok((kind.as_raw_value(), signal(kind)?)));
        let signals: std::io::Result<_> = signals.into_iter().collect();
        Ok(Self(signals.context("listening for signals")?))
    }

    async fn asked(&mut self) {
        std::future::poll_fn(|context| {
            let come = self.0.values_mut().any(|signal| signal.poll_recv(context).is_ready());
            if come {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}
