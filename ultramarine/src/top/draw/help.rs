//! This file knows what every key and every word on the screen means.

use ratatui_core::layout::Rect;

use super::super::app::HELP_PAGES;
use super::{BOLD, PLAIN, Pen, TITLE, columns, row};

/// Columns before a word, and before what it means.
const WORD: u16 = 2;
const MEANING: u16 = 15;

/// Keys, figures and lists.
const FIRST: [(&str, &str); 20] = [
    ("q, Ctrl-C", "end"),
    ("tab, right", "next node; left: node before; escape: all nodes"),
    ("up, down", "move the lists of tiles and peers"),
    ("space", "pause, and go on"),
    ("?", "this page, the next one, and back"),
    ("", ""),
    ("r0", "the round: above 0, a proposal was not decided in time"),
    ("behind", "heights that others decided and this node lacks"),
    ("busy", "share of the time in which a tile worked"),
    ("wait", "share in which it could work and had no CPU: give it more"),
    ("queue", "the fullest link into a tile: a full one holds up its sender"),
    ("kind", "val: a validator; list: in network.peers; any: anybody else"),
    ("ms", "of a peer: the round-trip time to it"),
    ("score", "points of a peer's faults: at 100 it is banned for a while"),
    ("tip", "the newest height that a peer says it has decided"),
    (
        "client",
        "ready: it confirms our head, so the gate is open and we propose",
    ),
    ("", "silent: a call waits for its answer; behind: blocks to import"),
    (
        "3.0/46 ms",
        "half of a call's answers came in 3.0 ms, 99 of 100 in 46 ms;",
    ),
    ("", "of the last 5 to 10 minutes"),
    ("growth", "what is stored anew in a second; \"full in\" follows from it"),
];

/// The picture of a height, and what lies on the disk.
const SECOND: [(&str, &str); 19] = [
    ("round", "bars: where each stage of the current height began and ended"),
    ("", "light: where it usually does; usual, worst: of the newest heights"),
    (
        "bars: 52",
        "nothing of the current height is here yet: the bars are height 52",
    ),
    ("12+", "milliseconds so far: the stage is under way"),
    (
        "build",
        "asked for a block, to payload and blobs in hand: our proposals",
    ),
    ("stream", "first part of a proposal seen, to the last one"),
    ("verify", "the last blob's last byte, to the last proof checked"),
    ("persist", "bytes handed to the store, to durable"),
    ("execute", "payload handed to the execution client, to its answer"),
    ("vote", "value valid here, to decision"),
    ("import", "decision, to the execution client's head"),
    ("commit", "the first round's proposal, to decision: lost rounds count"),
    ("by", "who built the block: the first digits of the address"),
    ("", ""),
    ("values", "on the disk: blobs of the heights; payloads: their blocks"),
    ("index", "where each height lies"),
    ("log", "what this node signed and heard, to take up after a crash"),
    ("free", "files that wait to be used again"),
    ("reserve", "room kept so that a full disk stops no decision"),
];

pub fn draw(pen: &mut Pen<'_>, area: Rect, page: usize) {
    let title = format!(" ultramarine top: help, page {page} of {HELP_PAGES}");
    pen.text(row(area, 0), &title, TITLE);
    let lines: &[(&str, &str)] = if page == 1 { &FIRST } else { &SECOND };
    for (at, (word, meaning)) in (2..).zip(lines) {
        pen.text(columns(row(area, at), WORD, MEANING - WORD - 1), word, BOLD);
        pen.text(columns(row(area, at), MEANING, area.width), meaning, PLAIN);
    }
}
