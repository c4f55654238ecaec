//! Prints our verifier beside others, where our time goes, what lanes take, and how long the last blob of a block waits.
//! Arguments: seconds to measure for (default 20), and `--json` for the same as JSON, or `paths` for every way to do a
//! stage instead.

use ultramarine_kzg_pipeline::measure;

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
    let report = measure::report(seconds);
    if form.as_deref() == Some("--json") {
        println!("{}", serde_json::to_string(&report).expect("figures and names"));
        return;
    }
    println!("{}: {}", report.cpu, report.path);
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>10} {:>6}",
        "blobs", "ours µs", "c-kzg µs", "single µs", "eip4844 µs", "ratio"
    );
    for row in &report.rows {
        println!(
            "{:>6} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>6.2}",
            row.blobs, row.ours_us, row.ckzg_us, row.ckzg_single_us, row.eip4844_us, row.ratio
        );
    }
    for row in &report.stages {
        println!("{:>12} {:>8.1} µs a blob, of 64", row.stage, row.us);
    }
    for row in &report.lanes {
        println!(
            "{:>6} lanes take {:>6.0} blobs a second; a core for each, {:>6.0}",
            row.lanes, row.blobs_per_second, row.replayed_per_second
        );
    }
    println!("last byte to verdict, in ms; lanes with a core of their own, and real ones here");
    for row in &report.paced {
        println!(
            "{:>6} blobs at {:>5.0} a second: {:>5.2}   at {:>5.0} a second: best of {} {:>5.2}, median {:>5.2}",
            row.blobs,
            row.replayed_per_second,
            row.replayed_us / 1e3,
            row.blobs_per_second,
            row.repeats,
            row.best_us / 1e3,
            row.median_us / 1e3
        );
    }
}
