//! Claims about what stands on the screen, as captured screens.
//!
//! `ULTRAMARINE_CAPTURE=1 cargo test --release --lib top::draw` writes them anew; look at the difference before it is
//! committed.

use std::path::Path;

use ratatui_core::backend::TestBackend;
use ratatui_core::terminal::Terminal;

use super::super::app::TopApp;
use super::super::keys::Key;
use super::super::screen::plain;
use super::super::text::Glyphs;
use super::super::watch::{NodeAddress, Reading};
use super::fixture::{live, troubled};
use super::*;

fn app(readings: Vec<Reading>, glyphs: Glyphs) -> TopApp {
    let address = |number: usize| NodeAddress {
        name: format!("node{number}"),
        url: format!("http://127.0.0.1:{}", 8_580 + number),
    };
    let addresses: Vec<NodeAddress> = (0..readings.len()).map(address).collect();
    let mut app = TopApp::new(&addresses, glyphs);
    for (node, reading) in readings.into_iter().enumerate() {
        app.heard(node, reading);
    }
    app
}

fn named(mut live: Live, number: usize) -> Reading {
    live.identity.name = format!("node{number}");
    live.height -= number as u64;
    Ok(Box::new(live))
}

/// What a terminal of this size shows.
fn screen(app: &TopApp, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal.draw(|frame| draw(app, frame.buffer_mut())).expect("memory");
    plain(terminal.backend().buffer())
}

fn holds(name: &str, screen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/top/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("ULTRAMARINE_CAPTURE").is_some() {
        std::fs::write(&path, screen).expect("the folder is writable");
    }
    let captured = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        captured == screen,
        "{} is another screen than was captured; is that meant?\n{screen}",
        path.display()
    );
}

#[test]
fn a_node_that_does_well() {
    holds(
        "well_80x24",
        &screen(&app(vec![Ok(Box::new(live()))], Glyphs::UNICODE), 80, 24),
    );
}

#[test]
fn a_node_in_trouble_says_what_is_wrong_and_what_to_do() {
    let app = app(vec![Ok(Box::new(troubled()))], Glyphs::UNICODE);
    holds("troubled_80x24", &screen(&app, 80, 24));
    holds("troubled_132x40", &screen(&app, 132, 40));
}

#[test]
fn a_terminal_without_unicode_reads_the_same() {
    let shown = screen(&app(vec![Ok(Box::new(troubled()))], Glyphs::ASCII), 80, 24);
    assert!(shown.is_ascii());
    holds("troubled_ascii_80x24", &shown);
}

#[test]
fn four_nodes_stand_side_by_side() {
    let readings = vec![
        named(live(), 0),
        named(troubled(), 1),
        Err("cannot connect to 127.0.0.1:8582: Connection refused (os error 111)".to_owned()),
        named(live(), 3),
    ];
    let mut app = app(readings, Glyphs::UNICODE);
    holds("four_80x24", &screen(&app, 80, 24));
    app.press(Key::Next);
    app.press(Key::Next);
    app.press(Key::Next);
    assert!(screen(&app, 80, 24).contains("unreachable: cannot connect"));
}

#[test]
fn help_explains_every_key_and_word() {
    let mut app = app(vec![named(live(), 0), named(live(), 1)], Glyphs::UNICODE);
    app.press(Key::Help);
    app.is_paused = true;
    holds("help_80x24", &screen(&app, 80, 24));
}

#[test]
fn a_node_that_is_asked_for_the_first_time() {
    let node = NodeAddress {
        name: "n".to_owned(),
        url: "http://127.0.0.1:8580".to_owned(),
    };
    let shown = screen(&TopApp::new(&[node], Glyphs::ASCII), 80, 24);
    assert!(shown.contains("asking http://127.0.0.1:8580"), "{shown}");
}

#[test]
fn what_was_known_of_a_node_that_is_gone_stays_beside_the_reason() {
    let mut app = app(vec![Ok(Box::new(live()))], Glyphs::UNICODE);
    app.heard(0, Err("refused".to_owned()));
    app.heard(0, Err("refused".to_owned()));
    let shown = screen(&app, 80, 24);
    assert!(
        shown.contains("unreachable (2 times): refused") && shown.contains("height 4211"),
        "{shown}"
    );
}

#[test]
fn no_size_and_no_answer_breaks_the_screen() {
    let mut hostile = troubled();
    let text = "\x1b[2J\u{202e}\u{200b}字".repeat(300);
    for peer in &mut hostile.peers {
        peer.peer.clone_from(&text);
        peer.round_trip_ms = f64::NAN;
        peer.tip = Some(u64::MAX);
        peer.score = u64::MAX;
    }
    for tile in &mut hostile.tiles {
        tile.tile.clone_from(&text);
        tile.busy = f64::INFINITY;
        tile.queued = -1.0;
        tile.silent_s = 0;
        tile.links[0].items = u64::MAX;
        tile.links[0].capacity = 0;
    }
    for block in hostile.heights.iter_mut().chain([&mut hostile.current]) {
        block.height = u64::MAX;
        block.proposer.clone_from(&text);
        block.began_ms_ago = Some(f64::MAX);
        for span in &mut block.spans {
            (span.begin_ms, span.end_ms) = (f64::MIN, Some(f64::NAN));
        }
    }
    hostile.height = u64::MAX;
    hostile.unix_ms = 0;
    hostile.rates.bytes = f64::MAX;
    hostile.disk.days_left = Some(f64::MAX);
    hostile.disk.growth = Some(-1e300);
    hostile.identity.name.clone_from(&text);
    for condition in &mut hostile.conditions {
        condition.what.clone_from(&text);
        condition.since_unix_s = Some(u64::MAX);
    }
    for readings in [
        vec![Ok(Box::new(hostile.clone()))],
        vec![Ok(Box::new(hostile.clone())), Ok(Box::new(hostile))],
    ] {
        for glyphs in [Glyphs::UNICODE, Glyphs::ASCII] {
            let mut app = app(readings.clone(), glyphs);
            app.scroll = 300;
            for (width, height) in [(1, 1), (59, 24), (60, 16), (61, 17), (80, 24), (400, 200)] {
                let shown = screen(&app, width, height);
                let is_calm = |character: char| character == '\n' || !character.is_control();
                assert!(shown.chars().all(is_calm) && !shown.contains('\u{202e}'), "{shown}");
            }
        }
    }
}
