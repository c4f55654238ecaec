//! This file knows how to put two runs side by side: every figure with its ratio, and whether the runs of the two sides
//! lie apart.
//!
//! A *side* is a folder that a run, or several runs of one kind, wrote. Of several runs a figure is the median, and its
//! *spread* goes from the least to the most. Two figures are *apart* when their spreads do not touch and each side has
//! [`RUNS_TO_JUDGE`] runs: less is not known to be more than chance.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::figures::{self, Figures};
use crate::folder;
use crate::stages::Stages;

/// Runs of a side, from which on its spread says something.
pub const RUNS_TO_JUDGE: usize = 3;
/// A list of figures is 4 KB a run; the histograms of a run are 2 MB.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One side.
#[derive(Debug)]
pub struct Side {
    /// The folder, as it was given.
    pub name: String,
    pub runs: Vec<Figures>,
    /// Of all runs together.
    pub stages: Stages,
}

/// A figure of one side.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
    pub runs: usize,
}

/// One figure of both sides.
#[derive(Clone, PartialEq, Debug)]
pub struct Pair {
    pub name: String,
    pub a: Option<Spread>,
    pub b: Option<Spread>,
}

/// Figures that belong together.
#[derive(Clone, PartialEq, Debug)]
pub struct FigureGroup {
    pub title: &'static str,
    pub pairs: Vec<Pair>,
}

/// All that is told.
#[derive(Debug)]
pub struct Comparison {
    pub a: Side,
    pub b: Side,
    /// Why figures of the two may differ though the program does not.
    pub differences: Vec<String>,
    pub groups: Vec<FigureGroup>,
}

impl Side {
    /// Reads what a run wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = read(&path.join(folder::FIGURES)).with_context(|| match above(path) {
            Some(above) => format!(
                "{name} is one run of several: name the folder above it, {}",
                above.display()
            ),
            None => format!("{name} is no folder that `ultramarine-perf devnet --out` wrote to its end"),
        })?;
        let runs: Vec<Figures> = serde_json::from_str(&text)
            .with_context(|| format!("{name}/{} was not written by ultramarine-perf", folder::FIGURES))?;
        ensure!(!runs.is_empty(), "{name}/{} tells of no run", folder::FIGURES);
        let mut stages = Stages::default();
        for number in 1..=runs.len() {
            let folder = folder::of_run(path, number, runs.len());
            let path = folder.join(folder::HISTOGRAMS);
            let text =
                read(&path).context("this run was made by an ultramarine-perf that kept no histograms, or moved")?;
            stages.merge(&Stages::read(&text).with_context(|| format!("reading {}", path.display()))?);
        }
        Ok(Self { name, runs, stages })
    }
}

/// The folder of all runs, if this is that of one of them.
fn above(path: &Path) -> Option<PathBuf> {
    let above = path.canonicalize().ok()?.parent()?.to_owned();
    above.join(folder::FIGURES).is_file().then_some(above)
}

fn read(path: &Path) -> Result<String> {
    let reading = || format!("reading {}", path.display());
    let bytes = fs::metadata(path).with_context(reading)?.len();
    ensure!(
        bytes <= FILE_BYTES_MAX,
        "{} has {bytes} bytes: ultramarine-perf writes none above {FILE_BYTES_MAX}",
        path.display()
    );
    fs::read_to_string(path).with_context(reading)
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        Some(Self {
            least: *all.first()?,
            median: figures::median(&all)?,
            most: *all.last()?,
            runs: all.len(),
        })
    }

    /// The median, and the spread if there is one.
    pub fn text(&self) -> String {
        let median = figures::short(self.median);
        match self.runs {
            1 => median,
            _ => format!(
                "{median} ({} to {})",
                figures::short(self.least),
                figures::short(self.most)
            ),
        }
    }
}

impl Pair {
    /// How many times the first the second is.
    pub fn ratio(&self) -> Option<f64> {
        let (a, b) = (self.a?.median, self.b?.median);
        (a > 0.0).then_some(b / a)
    }

    /// Whether the two are apart; `None` if too few runs tell.
    pub fn apart(&self) -> Option<bool> {
        let (a, b) = (self.a?, self.b?);
        (a.runs.min(b.runs) >= RUNS_TO_JUDGE).then_some(a.most < b.least || b.most < a.least)
    }

    /// The verdict, for a table.
    pub fn verdict(&self) -> &'static str {
        match self.apart() {
            Some(true) => "apart",
            Some(false) => "within the spread",
            None => "",
        }
    }
}

impl Comparison {
    pub fn of(a: Side, b: Side) -> Self {
        let both: Vec<Figures> = a.runs.iter().chain(&b.runs).cloned().collect();
        let groups = figures::groups(&both).into_iter().map(|(title, columns)| FigureGroup {
            title,
            pairs: columns
                .into_iter()
                .map(|(name, number)| Pair {
                    a: Spread::of(a.runs.iter().filter_map(&number)),
                    b: Spread::of(b.runs.iter().filter_map(&number)),
                    name,
                })
                .filter(|pair| pair.a.is_some() || pair.b.is_some())
                .collect(),
        });
        Self {
            groups: groups.collect(),
            differences: differences(&a, &b),
            a,
            b,
        }
    }

    /// In Markdown.
    pub fn table(&self) -> String {
        let mut lines = vec![format!("A is {}, B is {}.", self.a.name, self.b.name)];
        lines.extend(self.differences.iter().map(|difference| format!("Note: {difference}")));
        for FigureGroup { title, pairs } in &self.groups {
            lines.push(format!("\n{title}\n\n| | A | B | B / A | |\n|---|---|---|---|---|"));
            for pair in pairs {
                let text = |spread: Option<Spread>| spread.map_or_else(|| "–".to_owned(), |spread| spread.text());
                let ratio = pair
                    .ratio()
                    .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
                lines.push(format!(
                    "| {} | {} | {} | {ratio} | {} |",
                    pair.name,
                    text(pair.a),
                    text(pair.b),
                    pair.verdict()
                ));
            }
        }
        lines.join("\n") + "\n"
    }
}

/// What else than the program the two sides differ by, and what they do not tell.
fn differences(a: &Side, b: &Side) -> Vec<String> {
    type Text = fn(&Figures) -> String;
    let texts: [(&str, Text); 6] = [
        ("blobs a block at most", |run| run.blobs_per_block_max.to_string()),
        ("heights", |run| run.heights.to_string()),
        ("load", |run| run.load.line()),
        ("I/O asked for", |run| run.setting.io.clone()),
        ("processor", |run| run.setting.machine.cpu.clone()),
        ("cores", |run| run.setting.machine.cores.to_string()),
    ];
    let of = |side: &Side, text: Text| {
        let mut all: Vec<String> = side.runs.iter().map(text).collect();
        all.dedup();
        all.join(", then ")
    };
    let mut found: Vec<String> = texts
        .into_iter()
        .map(|(name, text)| (name, of(a, text), of(b, text)))
        .filter(|(_, a, b)| a != b)
        .map(|(name, a, b)| format!("the two differ in their {name}: A {a}; B {b}."))
        .collect();
    let few = a.runs.len().min(b.runs.len());
    if few < RUNS_TO_JUDGE {
        found.push(format!(
            "a side with {few} run{} tells nothing of chance: with --runs {RUNS_TO_JUDGE} or more on both it is said \
             which figures lie apart.",
            if few == 1 { "" } else { "s" }
        ));
    }
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::figures::Quantiles;
    use crate::machine::MachineFacts;
    use crate::stages::tests::{document, histogram, stages_of};
    use ultramarine_types::Stage;

    fn figures(rate: f64) -> Figures {
        Figures {
            blobs_per_block_max: 6,
            blobs_per_second: Some(rate),
            stages_ms: [("vote".to_owned(), Quantiles { p50: 4.0, p99: 9.0 })].into(),
            ..Figures::default()
        }
    }

    pub fn side(name: &str, rates: &[f64], vote_ms: u64) -> Side {
        let vote = histogram((0..50).map(|at| (vote_ms * 20 + at) * 50_000));
        Side {
            name: name.to_owned(),
            runs: rates.iter().copied().map(figures).collect(),
            stages: stages_of(&[(Stage::Vote, vote)], &[]),
        }
    }

    fn rate(comparison: &Comparison) -> &Pair {
        let pairs = &comparison.groups[0].pairs;
        pairs
            .iter()
            .find(|pair| pair.name == "blobs a second")
            .expect("a figure of every run")
    }

    #[test]
    fn only_spreads_that_do_not_touch_are_apart_and_only_of_three_runs() {
        let of = |a: &[f64], b: &[f64]| Comparison::of(side("a", a, 4), side("b", b, 4));
        let apart = of(&[10.0, 11.0, 12.0], &[20.0, 22.0, 25.0]);
        assert_eq!((rate(&apart).apart(), rate(&apart).ratio()), (Some(true), Some(2.0)));
        assert!(
            apart
                .table()
                .contains("| blobs a second | 11 (10 to 12) | 22 (20 to 25) | 2.00 | apart |")
        );
        let touching = of(&[10.0, 11.0, 20.0], &[20.0, 22.0, 25.0]);
        assert_eq!(rate(&touching).apart(), Some(false));
        let slower = of(&[20.0, 22.0, 25.0], &[10.0, 11.0, 12.0]);
        assert_eq!(rate(&slower).apart(), Some(true));
        let few = of(&[10.0], &[20.0, 22.0, 25.0]);
        assert_eq!(rate(&few).apart(), None);
        assert!(
            few.table().contains("a side with 1 run tells nothing of chance"),
            "{}",
            few.table()
        );
        let nothing = of(&[0.0, 0.0, 0.0], &[0.0, 0.0, 0.0]);
        assert_eq!(rate(&nothing).ratio(), None);
        assert!(!nothing.table().contains("NaN") && !nothing.table().contains("inf"));
    }

    #[test]
    fn what_else_differs_is_said() {
        let (a, mut b) = (side("a", &[1.0; 3], 4), side("b", &[1.0; 3], 4));
        assert_eq!(differences(&a, &b), [""; 0]);
        for run in &mut b.runs {
            run.blobs_per_block_max = 24;
            run.setting.machine = MachineFacts {
                cpu: "another".to_owned(),
                ..MachineFacts::default()
            };
        }
        let said = differences(&a, &b).join("\n");
        assert!(said.contains("blobs a block at most: A 6; B 24.") && said.contains("processor: A ; B another."));
    }

    pub fn write(folder: &Path, runs: usize, vote_ms: u64) {
        let all: Vec<Figures> = (0..runs).map(|_| figures(10.0)).collect();
        fs::create_dir_all(folder).expect("made");
        fs::write(folder.join(folder::FIGURES), serde_json::to_string(&all).expect("JSON")).expect("written");
        for number in 1..=runs {
            let of_run = folder::of_run(folder, number, runs);
            fs::create_dir_all(&of_run).expect("made");
            let text = document(&[("vote", histogram([vote_ms * 1_000_000]))]);
            fs::write(of_run.join(folder::HISTOGRAMS), text).expect("written");
        }
    }

    #[test]
    fn a_folder_that_no_run_wrote_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let read = |name: &str| format!("{:#}", Side::read(&dir.path().join(name)).expect_err("it is not whole"));
        assert!(read("none").contains("none is no folder that `ultramarine-perf devnet --out` wrote"));
        for (name, text) in [("text", "hello"), ("other", "{}"), ("empty", "[]")] {
            fs::create_dir(dir.path().join(name)).expect("made");
            fs::write(dir.path().join(name).join(folder::FIGURES), text).expect("written");
            let error = read(name);
            assert!(error.contains(&format!("{name}/figures.json")), "{error}");
        }
        write(&dir.path().join("several"), 3, 4);
        let error = read("several/run2");
        assert!(
            error.contains("several/run2 is one run of several: name the folder above it, ")
                && error.contains("/several:"),
            "{error}"
        );
        write(&dir.path().join("old"), 1, 4);
        fs::remove_file(dir.path().join("old").join(folder::HISTOGRAMS)).expect("removed");
        let error = read("old");
        assert!(
            error.contains("kept no histograms") && error.contains("old/histograms.json"),
            "{error}"
        );
    }
}
