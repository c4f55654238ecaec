//! This file knows the percentile output format of HdrHistogram (`.hgrm`), as its plotters read it.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Reporting steps per halving of the distance to 100 %, as HdrHistogram's own tools use.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// The distribution in milliseconds.
pub fn render(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (milliseconds(step.value_iterated_to()), step.quantile_iterated_to());
        if quantile < 1.0 {
            let _ = writeln!(
                text,
                "{value:12.3} {quantile:2.12} {count:10} {:14.2}",
                1.0 / (1.0 - quantile)
            );
        } else {
            let _ = writeln!(text, "{value:12.3} {quantile:2.12} {count:10}");
        }
    }
    // The Java original prints how its counts are laid out; plotters skip the line, people compare it.
    let sub_buckets = (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let _ = writeln!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        histogram.mean() / 1e6,
        histogram.stdev() / 1e6
    );
    let _ = writeln!(
        text,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        milliseconds(histogram.max()),
        histogram.len()
    );
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]",
        histogram.buckets()
    );
    text
}

#[allow(clippy::cast_precision_loss)] // Nanoseconds up to 104 days are exact in a double.
fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::tests::histogram;

    #[test]
    fn the_file_has_the_columns_and_the_foot_that_plotters_read() {
        let text = render(&histogram((1..=1000).map(|step| step * 1_000_000)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert!(
            lines[lines.len() - 3].starts_with("#[Mean    =      500.4")
                || lines[lines.len() - 3].starts_with("#[Mean    =      500.5")
        );
        assert!(lines[lines.len() - 2].contains("Total count    =         1000]"));
        assert!(lines[lines.len() - 1].starts_with("#[Buckets =") && lines[lines.len() - 1].ends_with("2048]"));
    }

    #[test]
    fn values_and_percentiles_only_grow_and_end_at_the_whole() {
        let text = render(&histogram((1..=1000).map(|step| step * step * 10_000)));
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|cell| cell.parse().expect("a number"))
                    .collect()
            })
            .collect();
        assert!(rows.len() > 20);
        for pair in rows.windows(2) {
            assert!(pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]);
        }
        let last = rows.last().expect("a last row");
        assert_eq!(last[1..], [1.0, 1000.0], "the last row has no fourth column");
        for row in &rows[..rows.len() - 1] {
            assert!((row[3] - 1.0 / (1.0 - row[1])).abs() <= 0.01 * row[3]);
        }
    }
}
