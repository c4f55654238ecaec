//! This file knows how to write docs/METRICS.md: every metric that a node registers, and every condition.

use std::fmt::Write;
use std::sync::Arc;

use ultramarine_runtime::{MetricFamily, Registry, outlet, tile};

use crate::archive::progress::ArchiveProgress;
use crate::catch_up;
use crate::conditions::{self, CATALOGUE};
use crate::metrics::{CoreMetrics, process, show_file_losses};
use crate::opening;
use crate::{disk, http, topology};

const HEAD: &str = "\
# Metrics and conditions

A node's numbers, as `/metrics` shows them. `ultramarine metrics-reference` prints this page from what the \
node registers, and
a test holds the two together. Some series appear only once there is something to count.

Histograms have a second form: `/histograms` answers HdrHistograms of a block's stages, `/histograms?of=all` of all. The
rules, alerts and dashboards that read these names stand in `perf/prometheus` and `perf/grafana`.
";

const CONDITIONS: &str = "
## Conditions

`ultramarine_condition{condition, severity}` is 1 while a condition lasts. `/health` has its words \
and what to do, and each has
an alert of the same words. `…` stands for what is filled in. Where a critical condition lasts, `/health` answers 503.

| condition | severity | words | what to do |
|---|---|---|---|
";

/// Whatever a node can register, with everything in it that can be chosen.
pub fn registry() -> Arc<Registry> {
    let registry = Registry::new();
    let _core = CoreMetrics::new(&registry);
    ultramarine_net::register_metrics(&registry);
    ultramarine_kzg_pipeline::register_metrics(&registry);
    ultramarine_store::register_metrics(&registry);
    ultramarine_engine::register_metrics(&registry);
    http::register_metrics(&registry);
    conditions::register_metrics(&registry);
    disk::show(&registry, || None);
    let _archive = ArchiveProgress::new(String::new(), &registry);
    process::show(&registry);
    outlet::count_losses(&registry);
    show_file_losses(&registry, || 0);
    catch_up::show(&registry, |_| None);
    opening::show(&registry, || None);
    tile::register_metrics(&registry, topology::CORE);
    registry
}

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut subsystem = "";
    for family in registry().families() {
        let name = family.name.strip_prefix("ultramarine_").unwrap_or(family.name);
        let own = name.split('_').next().unwrap_or(name);
        if own != subsystem {
            subsystem = own;
            let _ = write!(
                page,
                "\n## `{own}`\n\n| metric | type | labels | unit | |\n|---|---|---|---|---|\n"
            );
        }
        write_row(&mut page, &family);
    }
    page.push_str(CONDITIONS);
    for entry in &CATALOGUE {
        let severity = entry.severity.name();
        let _ = writeln!(
            page,
            "| `{}` | {severity} | {} | {} |",
            entry.id, entry.words, entry.action
        );
    }
    page
}

fn write_row(page: &mut String, family: &MetricFamily) {
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let _ = writeln!(
        page,
        "| `{}` | {} | {} | {} | {} |",
        family.name,
        family.kind,
        labels.join(", "),
        unit(family.name),
        family.help.replace('|', "\\|")
    );
}

/// The unit that a name ends in.
fn unit(name: &str) -> &str {
    let is_total = name.ends_with("_total");
    let name = name.strip_suffix("_total").unwrap_or(name);
    if name.ends_with("_timestamp_seconds") {
        return "unix seconds";
    }
    match name.rsplit('_').next().unwrap_or(name) {
        unit @ ("seconds" | "bytes") => unit,
        "condition" | "troubled" | "signing" => "0 or 1",
        _ if name.ends_with("_gate_open") => "0 or 1",
        _ if is_total => "events",
        "items" => "number",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_in_docs_is_what_the_registry_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
        let written = std::fs::read_to_string(path).expect("docs/METRICS.md is there");
        let page = page();
        let differing = page.lines().zip(written.lines()).find(|(new, old)| new != old);
        assert!(
            page == written,
            "docs/METRICS.md is of another registry: write it anew with `ultramarine metrics-reference`; first \
             difference: {differing:?}"
        );
    }

    #[test]
    fn every_metric_has_a_help_that_is_a_sentence_and_a_unit() {
        for family in registry().families() {
            assert!(family.help.ends_with('.'), "{}: {}", family.name, family.help);
            assert!(!unit(family.name).is_empty(), "{}", family.name);
            let is_counter = family.kind == "counter";
            assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
        }
    }

    /// What `promtool check metrics` has to say of names, also of those that a node shows rarely.
    #[test]
    fn a_name_has_a_base_unit_and_no_end_of_another_kind() {
        for family in registry().families() {
            let name = family.name;
            let of_histograms = ["_count", "_sum", "_bucket", "_info"];
            assert!(!of_histograms.iter().any(|end| name.ends_with(end)), "{name}");
            let small = [
                "milliseconds",
                "microseconds",
                "nanoseconds",
                "minutes",
                "hours",
                "kilobytes",
                "percent",
            ];
            assert!(!name.split('_').any(|word| small.contains(&word)), "{name}");
        }
    }

    #[test]
    fn every_name_in_the_sources_is_on_the_page() {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let known: BTreeSet<&str> = registry().families().iter().map(|family| family.name).collect();
        let mut missing = BTreeSet::new();
        for part in [
            "runtime",
            "net",
            "kzg-pipeline",
            "store",
            "engine",
            "node",
            "ultramarine",
        ] {
            in_sources(&root.join(part).join("src"), &mut |text| {
                let names = text.split('"').filter(|name| is_metric(name) && !known.contains(name));
                missing.extend(names.map(str::to_owned));
            });
        }
        assert_eq!(missing, BTreeSet::new(), "registered, and on no page");
    }

    fn is_metric(text: &str) -> bool {
        let letters = text.strip_prefix("ultramarine_").unwrap_or_default();
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit();
        let is_crate = ["core", "net", "store", "engine", "node", "types", "runtime", "sim"].contains(&letters);
        letters.contains('_') && letters.chars().all(is_name) && !is_crate && !letters.contains("_test_")
    }

    /// Hands the text of every file that is no test to `each`, up to where its own tests begin.
    fn in_sources(folder: &std::path::Path, each: &mut impl FnMut(&str)) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
            if is_test {
                continue;
            }
            if path.is_dir() {
                in_sources(&path, each);
            } else {
                let text = std::fs::read_to_string(&path).expect("sources are text");
                each(text.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
    }
}
