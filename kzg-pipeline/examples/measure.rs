//! Prints our verifier beside `c-kzg`, and where our time goes; with the word `paths`, every way to do a stage instead.
//! First argument: seconds to measure for (default 10).

use ultramarine_kzg_pipeline::measure;

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(10.0);
    if std::env::args().nth(2).as_deref() == Some("paths") {
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
    println!("{}: {}", report.cpu, report.path);
    println!("{:>6} {:>10} {:>10} {:>6}", "blobs", "ours µs", "c-kzg µs", "ratio");
    for row in &report.rows {
        println!(
            "{:>6} {:>10.1} {:>10.1} {:>6.2}",
            row.blobs,
            row.ours_us,
            row.ckzg_us,
            row.ratio()
        );
    }
    for row in &report.stages {
        println!("{:>12} {:>8.1} µs a blob, of 64", row.stage, row.us);
    }
}
