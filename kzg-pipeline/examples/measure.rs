//! Prints our verifier beside others, where our time goes, what lanes take, and how long the last blob of a block
//! waits.
//!
//! The first argument is the seconds to measure for (default 20). The second may be `--json` for the same as JSON, the
//! name of a lesser processor to play, or `paths` for every way to do a stage instead.

use ultramarine_kzg_pipeline::measure::{self, Processor};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(20.0);
    let form = arguments.next();
    if form.as_deref() == Some("paths") {
        let samples = measure::samples(64);
        for row in measure::paths(&samples, seconds) {
            println!(
                "{:>10} {:>18} {:>8.1} µs a blob, of {}",
                row.stage, row.path, row.us, row.blobs
            );
        }
        return;
    }
    let named = Processor::ALL
        .into_iter()
        .find(|processor| Some(processor.name()) == form.as_deref());
    if let (None, Some(other)) = (named, form.as_deref().filter(|form| *form != "--json")) {
        println!("`{other}` is neither `paths` nor `--json` nor a processor");
        return;
    }
    let Some(report) = measure::report(seconds, named.unwrap_or_default()) else {
        println!("this processor lacks what that one has");
        return;
    };
    if form.as_deref() == Some("--json") {
        println!("{}", serde_json::to_string(&report).expect("figures and names"));
        return;
    }
    print!("{report}");
}
