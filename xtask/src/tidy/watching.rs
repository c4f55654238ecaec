//! This file knows what people watch nodes by: whether rules, alerts and dashboards name what exists, and say enough.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Complaint;
use crate::tree::Tree;

const REFERENCE: &str = "docs/METRICS.md";
const RULES: &str = "perf/prometheus/rules.yml";
const ALERTS: &str = "perf/prometheus/alerts.yml";
const ALERTS_TESTS: &str = "perf/prometheus/alerts_test.yml";
/// Where all of them stand.
const FOLDERS: [&str; 2] = ["perf/prometheus/", "perf/grafana/"];
/// Latency heatmaps that our users expect.
const HEATMAPS_MIN: usize = 8;
/// Alerts that our operators expect.
const ALERTS_MIN: usize = 20;

/// Metrics stand in the reference, and recorded names among the rules.
pub fn every_metric_that_people_watch_exists(tree: &Tree) -> Vec<Complaint> {
    let metrics: BTreeSet<&str> = tree.files.get(REFERENCE).map(|text| rows(text)).unwrap_or_default();
    let rules = tree.files.get(RULES).map_or("", String::as_str);
    let recorded: BTreeSet<&str> = rules.lines().filter_map(|line| value_of(line, "- record")).collect();
    let mut wrong = Vec::new();
    for (path, text) in watched(tree) {
        for (index, line) in text.lines().enumerate() {
            for name in names(line) {
                let exists = if name.contains(':') {
                    recorded.contains(name)
                } else {
                    metrics.contains(name) || metrics.contains(of_histogram(name))
                };
                if !exists {
                    let what = format!("names the metric {name}, which is neither in {REFERENCE} nor recorded");
                    wrong.push(Complaint::new(path, index + 1, what));
                }
            }
        }
    }
    wrong
}

/// Each panel of each dashboard has a sentence that says what is normal.
pub fn every_panel_says_what_is_normal(tree: &Tree) -> Vec<Complaint> {
    let (mut wrong, mut heatmaps, mut dashboards) = (Vec::new(), 0, 0);
    for (path, text) in watched(tree).filter(|(path, _)| path.ends_with(".json")) {
        let Ok(dashboard) = serde_json::from_str::<Value>(text) else {
            wrong.push(Complaint::new(path, 0, "is no JSON"));
            continue;
        };
        dashboards += 1;
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            heatmaps += usize::from(panel["type"] == "heatmap");
            let said = panel["description"].as_str().unwrap_or_default();
            if !said.contains("Normal: ") {
                let what = format!(
                    "the panel {} does not say what is normal (\"Normal: …\")",
                    panel["title"]
                );
                wrong.push(Complaint::new(path, 0, what));
            }
        }
    }
    if dashboards > 0 && heatmaps < HEATMAPS_MIN {
        let what = format!("all dashboards have {heatmaps} heatmaps; {HEATMAPS_MIN} are wanted");
        wrong.push(Complaint::new(FOLDERS[1], 0, what));
    }
    wrong
}

/// Each alert has a summary, an action, and a test of its name.
pub fn every_alert_says_what_to_do_and_is_tested(tree: &Tree) -> Vec<Complaint> {
    let Some(text) = tree.files.get(ALERTS) else {
        return Vec::new();
    };
    let tests = tree.files.get(ALERTS_TESTS).map_or("", String::as_str);
    let tested: BTreeSet<&str> = tests.lines().filter_map(|line| value_of(line, "alertname")).collect();
    let lines: Vec<&str> = text.lines().collect();
    let alerts: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter_map(|(index, line)| Some((index, value_of(line, "- alert")?)))
        .collect();
    let mut wrong = Vec::new();
    for (nth, (begin, name)) in alerts.iter().enumerate() {
        let end = alerts.get(nth + 1).map_or(lines.len(), |(next, _)| *next);
        let lacks = |key: &str| !lines[*begin..end].iter().any(|line| value_of(line, key).is_some());
        for key in ["summary", "action", "severity"] {
            if lacks(key) {
                wrong.push(Complaint::new(ALERTS, begin + 1, format!("{name} has no {key}")));
            }
        }
        if !tested.contains(name) {
            wrong.push(Complaint::new(
                ALERTS,
                begin + 1,
                format!("{name} has no test in {ALERTS_TESTS}"),
            ));
        }
    }
    if alerts.len() < ALERTS_MIN {
        let what = format!("has {} alerts; {ALERTS_MIN} are wanted", alerts.len());
        wrong.push(Complaint::new(ALERTS, 0, what));
    }
    wrong
}

fn watched(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    let files = tree.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    files.filter(|(path, _)| {
        FOLDERS.iter().any(|folder| path.starts_with(folder)) && (path.ends_with(".yml") || path.ends_with(".json"))
    })
}

/// The names that begin the rows of a page's tables.
fn rows(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect()
}

/// The value of a line of YAML with this key.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    Some(line.trim().strip_prefix(key)?.strip_prefix(':')?.trim())
}

/// Names of metrics in a line, ours alone.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    line.split(move |letter| !is_name(letter))
        .map(|word| word.trim_end_matches(':'))
        .filter(|word| word.starts_with("ultramarine_") || word.starts_with("ultramarine:"))
}

/// The histogram of which a name is a series.
fn of_histogram(name: &str) -> &str {
    let suffixes = ["_bucket", "_sum", "_count"];
    let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    base.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    const PAGE: &str = "| `ultramarine_a_seconds` | histogram |\n";

    #[test]
    fn a_metric_that_nobody_registers_is_told() {
        let rules = "- record: ultramarine:a:p50\n  expr: ultramarine_a_seconds_bucket{x=\"y\"}\n";
        let dashboard = "{\"expr\": \"ultramarine:a:p50 + ultramarine_b_total + ultramarine:c:p50\"}\n";
        let tree = tree_of(&[(REFERENCE, PAGE), (RULES, rules), ("perf/grafana/a.json", dashboard)]);
        let complaints = every_metric_that_people_watch_exists(&tree);
        let told: Vec<_> = complaints.iter().map(|one| (one.path.as_str(), one.line)).collect();
        assert_eq!(told, [("perf/grafana/a.json", 1); 2], "{complaints:?}");
        assert!(complaints[0].what.contains("ultramarine_b_total"), "{complaints:?}");
    }

    #[test]
    fn a_panel_without_its_sentence_is_told() {
        let panels = |panels: &str| format!("{{\"panels\": [{panels}]}}");
        let good = "{\"type\": \"heatmap\", \"title\": \"a\", \"description\": \"Normal: flat.\"}";
        let whole = panels(&[good; HEATMAPS_MIN].join(","));
        assert_eq!(
            every_panel_says_what_is_normal(&tree_of(&[("perf/grafana/a.json", &whole)])),
            []
        );
        let bad = panels(&([good; HEATMAPS_MIN - 1].join(",") + ",{\"title\": \"b\"}"));
        let complaints = every_panel_says_what_is_normal(&tree_of(&[("perf/grafana/a.json", &bad)]));
        assert_eq!(complaints.len(), 2, "the panel, and the heatmaps: {complaints:?}");
    }

    #[test]
    fn an_alert_without_action_or_test_is_told() {
        let alert =
            |number: usize| format!("- alert: A{number}\n  severity: warning\n  summary: \"s\"\n  action: \"a\"\n");
        let test = |number: usize| format!("alertname: A{number}\n");
        let all: String = (0..ALERTS_MIN).map(alert).collect();
        let tests: String = (0..ALERTS_MIN).map(test).collect();
        let told = |alerts: &str, tests: &str| {
            every_alert_says_what_to_do_and_is_tested(&tree_of(&[(ALERTS, alerts), (ALERTS_TESTS, tests)])).len()
        };
        assert_eq!(told(&all, &tests), 0);
        assert_eq!(told(&all.replacen("  action: \"a\"\n", "", 1), &tests), 1);
        assert_eq!(told(&all, &tests.replacen("A0", "B0", 1)), 1);
        let fewer: String = (1..ALERTS_MIN).map(alert).collect();
        assert_eq!(told(&fewer, &tests), 1, "one too few");
    }
}
