//! This file knows what a topology is: every tile and link in one table, checked, placed on cores, and printed.
//!
//! The table itself stands in the node's `topology.rs`; this is the paper it is written on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where a tile wants to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CorePolicy {
    /// A core of its own, when the machine has more cores than the node has tiles that want one.
    Dedicated,
    /// Wherever the kernel puts it.
    Floating,
    /// This core, whatever else runs there.
    Fixed(usize),
}

/// One tile of the table.
#[derive(Clone, Debug)]
pub struct TileSpec {
    /// Its name: the thread's, and the `tile` label's.
    pub name: &'static str,
    /// Where it wants to run.
    pub core: CorePolicy,
    /// Whether it spins before it sleeps; takes effect only on a dedicated core.
    pub spin: bool,
    /// What it does, in a few words.
    pub what: &'static str,
}

/// One link of the table.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// Its name: the `link` label's.
    pub name: &'static str,
    /// The tiles that give.
    pub from: &'static [&'static str],
    /// The tile that takes.
    pub to: &'static str,
    /// Most items it holds.
    pub depth: usize,
    /// What its items are.
    pub carries: &'static str,
}

/// Every tile and link of a node.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    pub tiles: Vec<TileSpec>,
    pub links: Vec<LinkSpec>,
}

/// What is wrong with a table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopologyError {
    /// Two tiles have one name.
    #[error("two tiles are named {0}")]
    TileTwice(&'static str),
    /// Two links have one name.
    #[error("two links are named {0}")]
    LinkTwice(&'static str),
    /// A link names a tile that does not exist.
    #[error("link {link} names tile {tile}, which does not exist")]
    NoSuchTile {
        link: &'static str,
        /// The name it gives.
        tile: &'static str,
    },
    /// A link that can hold nothing.
    #[error("link {0} holds no item")]
    NoDepth(&'static str),
    /// A tile's name does not fit the kernel's 15 bytes for a thread.
    #[error("tile name {0} is longer than the 15 bytes of a thread's name")]
    LongName(&'static str),
}

impl Topology {
    pub fn validate(&self) -> Result<(), TopologyError> {
        let mut tiles = BTreeSet::new();
        for tile in &self.tiles {
            if tile.name.len() > 15 {
                return Err(TopologyError::LongName(tile.name));
            }
            if !tiles.insert(tile.name) {
                return Err(TopologyError::TileTwice(tile.name));
            }
        }
        let mut links = BTreeSet::new();
        for link in &self.links {
            if !links.insert(link.name) {
                return Err(TopologyError::LinkTwice(link.name));
            }
            let ends = link.from.iter().copied().chain([link.to]);
            if let Some(tile) = ends.into_iter().find(|tile| !tiles.contains(tile)) {
                return Err(TopologyError::NoSuchTile { link: link.name, tile });
            }
            if link.depth == 0 {
                return Err(TopologyError::NoDepth(link.name));
            }
        }
        Ok(())
    }

    /// A tile of the table.
    pub fn tile(&self, name: &str) -> Option<&TileSpec> {
        self.tiles.iter().find(|tile| tile.name == name)
    }

    /// A link of the table.
    pub fn link(&self, name: &str) -> Option<&LinkSpec> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Places the tiles on `cores` (those this process may use).
    ///
    /// Dedicated cores are given only when there are more cores than tiles that want one. At least one core is then
    /// left for floating tiles and everything else on the machine. Otherwise they all float: two tiles that spin on
    /// one core would only steal from each other.
    ///
    /// # Panics
    ///
    /// If the table has a mistake: it is our own.
    pub fn place(&self, cores: &[usize]) -> Placement {
        self.validate().expect("a table without a mistake");
        let fixed: BTreeSet<usize> = self
            .tiles
            .iter()
            .filter_map(|tile| match tile.core {
                CorePolicy::Fixed(core) => Some(core),
                CorePolicy::Dedicated | CorePolicy::Floating => None,
            })
            .collect();
        let mut free: Vec<usize> = cores.iter().copied().filter(|core| !fixed.contains(core)).collect();
        // Taken from the end: the kernel's own work gathers on the first cores.
        free.sort_unstable_by(|a, b| b.cmp(a));
        let wanted = self
            .tiles
            .iter()
            .filter(|tile| tile.core == CorePolicy::Dedicated)
            .count();
        let dedicated = free.len() > wanted;
        let mut free = free.into_iter();
        let seats = self
            .tiles
            .iter()
            .map(|tile| {
                let seat = match tile.core {
                    CorePolicy::Fixed(core) => Seat {
                        core: Some(core),
                        spin: false,
                    },
                    CorePolicy::Dedicated if dedicated => Seat {
                        core: free.next(),
                        spin: tile.spin,
                    },
                    CorePolicy::Dedicated | CorePolicy::Floating => Seat {
                        core: None,
                        spin: false,
                    },
                };
                (tile.name, seat)
            })
            .collect();
        Placement {
            cores: cores.len(),
            seats,
        }
    }

    /// The table as an operator reads it, with the seats this machine gives.
    pub fn display<'a>(&'a self, placement: &'a Placement) -> impl fmt::Display + 'a {
        Sheet {
            topology: self,
            placement: Some(placement),
        }
    }
}

/// Where one tile runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seat {
    /// The core to pin to; `None` floats.
    pub core: Option<usize>,
    /// Whether its receivers spin before they sleep.
    pub spin: bool,
}

/// Where every tile runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    cores: usize,
    seats: BTreeMap<&'static str, Seat>,
}

impl Placement {
    /// A tile's seat; an unknown tile floats.
    pub fn seat(&self, tile: &str) -> Seat {
        self.seats.get(tile).copied().unwrap_or_default()
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sheet {
            topology: self,
            placement: None,
        }
        .fmt(f)
    }
}

struct Sheet<'a> {
    topology: &'a Topology,
    placement: Option<&'a Placement>,
}

impl fmt::Display for Sheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topology, placement } = self;
        let mut tiles = vec![[
            "tile".to_owned(),
            "core".to_owned(),
            "waits by".to_owned(),
            "does".to_owned(),
        ]];
        for tile in &topology.tiles {
            let (core, waits) = match placement.map(|placement| placement.seat(tile.name)) {
                Some(Seat { core: Some(core), spin }) => (core.to_string(), if spin { "spinning" } else { "sleeping" }),
                Some(Seat { core: None, .. }) => ("floats".to_owned(), "sleeping"),
                None => match tile.core {
                    CorePolicy::Dedicated => ("own".to_owned(), if tile.spin { "spinning" } else { "sleeping" }),
                    CorePolicy::Floating => ("floats".to_owned(), "sleeping"),
                    CorePolicy::Fixed(core) => (core.to_string(), "sleeping"),
                },
            };
            tiles.push([tile.name.to_owned(), core, waits.to_owned(), tile.what.to_owned()]);
        }
        write_table(f, &tiles)?;
        writeln!(f)?;
        let mut links = vec![[
            "link".to_owned(),
            "from → to".to_owned(),
            "depth".to_owned(),
            "carries".to_owned(),
        ]];
        for link in &topology.links {
            let way = format!("{} → {}", link.from.join(", "), link.to);
            links.push([
                link.name.to_owned(),
                way,
                link.depth.to_string(),
                link.carries.to_owned(),
            ]);
        }
        write_table(f, &links)?;
        if let Some(placement) = placement {
            let pinned = placement.seats.values().filter(|seat| seat.core.is_some()).count();
            let tiles = topology.tiles.len();
            writeln!(f)?;
            if pinned > 0 {
                writeln!(
                    f,
                    "{} cores: {pinned} of {tiles} tiles pinned, the others float.",
                    placement.cores
                )?;
            } else {
                writeln!(
                    f,
                    "{} cores, {tiles} tiles: no tile has a core to itself, so all float and none spins.",
                    placement.cores
                )?;
            }
        }
        Ok(())
    }
}

/// Writes rows in columns as wide as their widest cell; the last column is not padded.
fn write_table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for (at, row) in rows.iter().enumerate() {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(f, "{}", line.trim_end())?;
        if at == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            writeln!(f, "  {}", rule.join("  "))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(name: &'static str, core: CorePolicy) -> TileSpec {
        TileSpec {
            name,
            core,
            spin: true,
            what: "works",
        }
    }

    fn pair() -> Topology {
        Topology {
            tiles: vec![
                tile("net", CorePolicy::Dedicated),
                tile("store", CorePolicy::Dedicated),
                tile("http", CorePolicy::Floating),
            ],
            links: vec![LinkSpec {
                name: "put",
                from: &["net"],
                to: "store",
                depth: 64,
                carries: "assemblies",
            }],
        }
    }

    #[test]
    fn a_link_between_existing_tiles_is_valid() {
        assert_eq!(pair().validate(), Ok(()));
    }

    #[test]
    fn a_table_with_a_mistake_is_refused() {
        let mut unknown = pair();
        unknown.links[0].to = "disk";
        assert_eq!(
            unknown.validate(),
            Err(TopologyError::NoSuchTile {
                link: "put",
                tile: "disk"
            })
        );
        let mut empty = pair();
        empty.links[0].depth = 0;
        assert_eq!(empty.validate(), Err(TopologyError::NoDepth("put")));
        let mut twice = pair();
        twice.tiles.push(tile("net", CorePolicy::Floating));
        assert_eq!(twice.validate(), Err(TopologyError::TileTwice("net")));
        let mut links = pair();
        links.links.push(links.links[0].clone());
        assert_eq!(links.validate(), Err(TopologyError::LinkTwice("put")));
        let mut long = pair();
        long.tiles[0].name = "a-name-of-16-byt";
        assert_eq!(long.validate(), Err(TopologyError::LongName("a-name-of-16-byt")));
    }

    #[test]
    #[should_panic(expected = "NoDepth(\"put\")")]
    fn a_table_with_a_mistake_is_not_placed() {
        let mut empty = pair();
        empty.links[0].depth = 0;
        empty.place(&[0]);
    }

    #[test]
    fn dedicated_cores_need_one_core_more_than_tiles() {
        let roomy = pair().place(&[0, 1, 2]);
        assert_eq!(
            roomy.seat("net"),
            Seat {
                core: Some(2),
                spin: true
            }
        );
        assert_eq!(
            roomy.seat("store"),
            Seat {
                core: Some(1),
                spin: true
            }
        );
        assert_eq!(
            roomy.seat("http"),
            Seat {
                core: None,
                spin: false
            }
        );
        let tight = pair().place(&[0, 1]);
        for name in ["net", "store", "http"] {
            assert_eq!(tight.seat(name), Seat::default(), "{name} floats and never spins");
        }
    }

    #[test]
    fn no_two_dedicated_tiles_share_a_core_nor_take_a_fixed_one() {
        let mut topology = pair();
        topology.tiles.push(tile("core", CorePolicy::Fixed(3)));
        let placement = topology.place(&[0, 1, 2, 3]);
        let seats: Vec<_> = ["net", "store", "core"]
            .iter()
            .filter_map(|name| placement.seat(name).core)
            .collect();
        assert_eq!(seats.iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(
            placement.seat("core"),
            Seat {
                core: Some(3),
                spin: false
            }
        );
    }

    #[test]
    fn the_sheet_shows_every_tile_and_link() {
        let topology = pair();
        let text = topology.display(&topology.place(&[0, 1, 2])).to_string();
        for expected in [
            "net",
            "store",
            "http",
            "put",
            "net → store",
            "64",
            "assemblies",
            "spinning",
            "floats",
            "3 cores: 2 of 3 tiles pinned",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert!(
            topology
                .display(&topology.place(&[0]))
                .to_string()
                .contains("all float")
        );
        assert!(topology.to_string().contains("own"));
    }
}
