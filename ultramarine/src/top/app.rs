//! This file knows what is shown: the newest reading of each node, and what the keys chose.

use ultramarine_node::http::live::Live;

use super::keys::Key;
use super::text::Glyphs;
use super::watch::{NodeAddress, Reading};

/// A node, as far as it is known.
#[derive(Clone, Debug)]
pub struct WatchedNode {
    pub address: NodeAddress,
    /// The newest view of it; it may be old if there is trouble.
    pub live: Option<Box<Live>>,
    /// Why it cannot be reached now.
    pub trouble: Option<String>,
    /// How often in a row it could not be.
    pub failures: u64,
}

impl WatchedNode {
    /// What it is called: its own name, once it is known.
    pub fn name(&self) -> &str {
        let own = self.live.as_ref().map(|live| live.identity.name.as_str());
        own.filter(|name| !name.is_empty()).unwrap_or(&self.address.name)
    }
}

/// Everything that a screen shows.
#[derive(Clone, Debug)]
pub struct TopApp {
    pub nodes: Vec<WatchedNode>,
    pub glyphs: Glyphs,
    /// 0: all nodes, if there are several; then one page for each node.
    pub page: usize,
    /// Lines that the lists of the page were moved up.
    pub scroll: usize,
    pub is_paused: bool,
    /// The page of help that is shown; 0: none.
    pub help: usize,
    /// Whether texts are printed whole, however many lines that takes.
    pub is_whole: bool,
    /// Whether there is somebody who can press keys.
    pub has_keys: bool,
}

/// Pages of help.
pub const HELP_PAGES: usize = 2;
/// Lines that lists can be moved by: as many as the longest could have.
const SCROLL_MAX: usize = 512;

impl TopApp {
    pub fn new(nodes: &[NodeAddress], glyphs: Glyphs) -> Self {
        let nodes = nodes.iter().cloned();
        Self {
            nodes: nodes
                .map(|address| WatchedNode {
                    address,
                    live: None,
                    trouble: None,
                    failures: 0,
                })
                .collect(),
            glyphs,
            page: 0,
            scroll: 0,
            is_paused: false,
            help: 0,
            is_whole: false,
            has_keys: true,
        }
    }

    /// Takes a reading of a node. While the screen is paused, nothing on it changes.
    pub fn heard(&mut self, node: usize, reading: Reading) {
        if self.is_paused {
            return;
        }
        let Some(node) = self.nodes.get_mut(node) else { return };
        match reading {
            Ok(live) => {
                node.live = Some(live);
                node.trouble = None;
                node.failures = 0;
            }
            Err(why) => {
                node.trouble = Some(why);
                node.failures += 1;
            }
        }
    }

    /// Does what a key means. Returns whether that ends the command.
    pub fn press(&mut self, key: Key) -> bool {
        if self.help > 0 && key != Key::Quit {
            self.help = match key {
                Key::Help => (self.help + 1) % (HELP_PAGES + 1),
                _ => 0,
            };
            return false;
        }
        let pages = self.pages();
        match key {
            Key::Quit => return true,
            Key::Next => self.turn_to((self.page + 1) % pages),
            Key::Previous => self.turn_to((self.page + pages - 1) % pages),
            Key::Up => self.scroll = self.scroll.saturating_sub(1),
            Key::Down => self.scroll = (self.scroll + 1).min(SCROLL_MAX),
            Key::Pause => self.is_paused = !self.is_paused,
            Key::Help => self.help = 1,
            Key::Back => self.turn_to(0),
        }
        false
    }

    fn turn_to(&mut self, page: usize) {
        self.page = page;
        self.scroll = 0;
    }

    fn pages(&self) -> usize {
        match self.nodes.len() {
            0 | 1 => 1,
            several => 1 + several,
        }
    }

    /// The node of the page; `None`: the page of all nodes.
    pub fn shown(&self) -> Option<&WatchedNode> {
        match self.nodes.len() {
            1 => self.nodes.first(),
            _ => self.nodes.get(self.page.checked_sub(1)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(nodes: usize) -> TopApp {
        let address = |number: usize| NodeAddress {
            name: format!("n{number}"),
            url: format!("http://127.0.0.1:{number}"),
        };
        let addresses: Vec<NodeAddress> = (0..nodes).map(address).collect();
        TopApp::new(&addresses, Glyphs::ASCII)
    }

    #[test]
    fn keys_turn_the_pages_round_and_one_node_has_one_page() {
        let mut three = app(3);
        let mut pages = Vec::new();
        for _ in 0..5 {
            pages.push(three.shown().map(|node| node.name().to_owned()));
            assert!(!three.press(Key::Next));
        }
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(pages, [None, name("n0"), name("n1"), name("n2"), None]);
        three.press(Key::Back);
        three.press(Key::Previous);
        assert_eq!(three.shown().map(WatchedNode::name), Some("n2"));
        let mut one = app(1);
        one.press(Key::Next);
        assert_eq!(one.shown().map(WatchedNode::name), Some("n0"));
        assert!(one.press(Key::Quit));
    }

    #[test]
    fn help_has_pages_and_goes_with_any_other_key_and_lists_move_within_bounds() {
        let mut app = app(1);
        let pages: Vec<usize> = (0..4)
            .map(|_| {
                app.press(Key::Help);
                app.help
            })
            .collect();
        assert_eq!(pages, [1, 2, 0, 1]);
        app.press(Key::Down);
        assert!(app.help == 0 && app.scroll == 0, "the key only closed the help");
        for _ in 0..2 * SCROLL_MAX {
            app.press(Key::Down);
        }
        assert_eq!(app.scroll, SCROLL_MAX);
        app.press(Key::Up);
        assert_eq!(app.scroll, SCROLL_MAX - 1);
    }

    #[test]
    fn a_pause_keeps_the_screen_and_trouble_ends_with_the_next_answer() {
        let mut app = app(2);
        app.heard(1, Err("refused".to_owned()));
        app.heard(1, Err("refused".to_owned()));
        assert_eq!(
            (app.nodes[1].failures, app.nodes[1].trouble.as_deref()),
            (2, Some("refused"))
        );
        app.press(Key::Pause);
        app.heard(0, Err("late".to_owned()));
        assert_eq!(app.nodes[0].trouble, None);
        app.press(Key::Pause);
        app.heard(1, Ok(Box::new(super::super::draw::fixture::live())));
        assert_eq!((app.nodes[1].failures, app.nodes[1].trouble.as_deref()), (0, None));
        assert_eq!(app.nodes[1].name(), "node0");
        app.heard(9, Err("no such node".to_owned()));
    }
}
