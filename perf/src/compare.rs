//! This file knows the command that puts two runs side by side: it reads both, prints a table, and writes a page.

use std::path::PathBuf;

use anyhow::Result;
use ultramarine_runtime::print;

use crate::folder::{self, FolderUse, ReportFolder};
use crate::report;
use crate::sides::{Comparison, Side};

/// Two runs, or two groups of runs, side by side.
#[derive(clap::Args, Debug)]
pub struct CompareOptions {
    /// The folder (--out) that the first run wrote
    a: PathBuf,
    /// The folder (--out) that the second run wrote
    b: PathBuf,
    /// Where the page goes; only what an earlier comparison wrote there is replaced
    #[arg(long, default_value = "perf-comparison")]
    out: PathBuf,
}

/// Compares, prints the table, and writes the page.
pub fn run(options: &CompareOptions) -> Result<()> {
    let comparison = Comparison::of(Side::read(&options.a)?, Side::read(&options.b)?);
    let mut out = ReportFolder::claim(&options.out, FolderUse::Comparison)?;
    let path = out.write(folder::COMPARISON, &report::comparison::render(&comparison))?;
    print::line(format_args!("{}\npage: {}", comparison.table(), path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sides::tests::write;

    #[test]
    fn folders_of_one_and_of_several_runs_are_read_and_a_page_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        write(&at("a"), 1, 4);
        write(&at("b"), 3, 9);
        let options = CompareOptions {
            a: at("a"),
            b: at("b"),
            out: at("out"),
        };
        run(&options).expect("both are there");
        run(&options).expect("it replaces its own");
        let page = fs::read_to_string(at("out").join(folder::COMPARISON)).expect("a page");
        assert!(page.contains("blobs a second") && page.contains("Distribution of vote"));
        let b = Side::read(&at("b")).expect("it is there");
        assert_eq!(
            b.stages
                .get(ultramarine_types::Stage::Vote)
                .map(hdrhistogram::Histogram::len),
            Some(3)
        );
    }
}
