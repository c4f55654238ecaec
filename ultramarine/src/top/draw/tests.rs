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
    app.press(Key::Help);
    holds("help_2_80x24", &screen(&app, 80, 24));
    for page in [1, 2] {
        app.help = page;
        assert!(!screen(&app, 80, 24).contains('…'), "a line of page {page} is cut");
    }
    let shown = [1, 2].map(|page| {
        app.help = page;
        screen(&app, 80, 24)
    });
    for stage in ultramarine_types::Stage::ALL {
        assert!(shown[1].contains(&format!("\n  {} ", stage.name())), "{stage:?}");
    }
}

#[test]
fn a_text_that_is_cut_says_so_and_once_prints_it_whole() {
    let mut long = troubled();
    let reason = "it answers SYNCING for our head ".repeat(12) + "THE END";
    long.conditions[0].what.clone_from(&reason);
    long.conditions[0].action = "look at the log ".repeat(14) + "AND WAIT";
    if let Some(gate) = &mut long.client.gate {
        gate.why.clone_from(&reason);
    }
    for (glyphs, mark) in [(Glyphs::UNICODE, '…'), (Glyphs::ASCII, '~')] {
        for count in [1, 2] {
            let readings = (0..count).map(|number| named(long.clone(), number)).collect();
            let mut app = app(readings, glyphs);
            let shown = screen(&app, 80, 24);
            assert!(shown.contains(mark) && !shown.contains("THE END"), "{shown}");
            (app.has_keys, app.is_whole) = (false, true);
            let whole = screen(&app, 80, 400);
            let words = whole.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(!whole.contains(mark), "{whole}");
            assert!(words.contains("THE END (for") && words.contains("AND WAIT"), "{whole}");
            assert!(whole.lines().all(|line| line.chars().count() <= 80), "{whole}");
            let of_client = words.matches("THE END").count();
            assert_eq!(
                of_client,
                if count == 1 { 2 } else { 1 },
                "the client's line as well: {whole}"
            );
        }
    }
}

#[test]
fn what_to_do_stands_beside_every_trouble_of_several_nodes_where_there_is_room() {
    let mut app = app(vec![named(live(), 0), named(troubled(), 1)], Glyphs::UNICODE);
    let shown = screen(&app, 80, 40);
    for condition in troubled().conditions {
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("→ {}", condition.action)), "{shown}");
    }
    (app.has_keys, app.is_whole) = (false, true);
    assert!(screen(&app, 80, 400).contains("→ free room, or add some"));
}

#[test]
fn a_client_that_does_not_answer_is_not_called_ready() {
    let mut silent = live();
    silent.client.waiting = Some("the execution client has not answered engine_newPayloadV4 for 31 s".to_owned());
    silent.client.lag = 10;
    let one = screen(&app(vec![Ok(Box::new(silent.clone()))], Glyphs::UNICODE), 80, 24);
    assert!(
        one.contains("client  silent, 10 behind  the execution client has not"),
        "{one}"
    );
    let several = screen(&app(vec![named(silent, 0), named(live(), 1)], Glyphs::UNICODE), 80, 24);
    assert!(several.contains("client       silent, 10 behind"), "{several}");
}

#[test]
fn what_is_over_is_not_said_to_last() {
    let mut paused = troubled();
    paused.conditions.truncate(1);
    paused.conditions[0].what = "nothing in this process ran for 60.0 s; 83 s ago".to_owned();
    paused.conditions[0].is_over = true;
    for count in [1, 2] {
        let readings = (0..count).map(|number| named(paused.clone(), number)).collect();
        let shown = screen(&app(readings, Glyphs::UNICODE), 80, 24);
        assert!(shown.contains("60.0 s; 83 s ago\n"), "{shown}");
    }
}

#[test]
fn the_height_of_the_bars_does_not_touch_the_figures() {
    for height in [83, 4_211, 1_234_567_890] {
        let mut early = live();
        early.current.spans.clear();
        early.current.height = height + 1;
        for (block, number) in early.heights.iter_mut().rev().zip(0..) {
            block.height = height - number;
        }
        let shown = screen(&app(vec![Ok(Box::new(early))], Glyphs::UNICODE), 80, 24);
        let head = shown
            .lines()
            .find(|line| line.starts_with("round "))
            .expect("the picture's head");
        assert!(head.contains("  usual  worst"), "{head}");
        assert!(height > 9_999 || head.contains(&format!(" bars: {height} ")), "{head}");
    }
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
    hostile.disk.seconds_left = Some(u64::MAX);
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
