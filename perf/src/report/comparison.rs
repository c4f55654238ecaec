//! This file knows how to tell two sides on one page.

use std::fmt::Write;

use hdrhistogram::Histogram;
use ultramarine_types::Stage;

use super::figures::{duration, escape, moment};
use super::tables::table;
use super::{begin_page, cards, distribution, end_page, meaning_of, section, title_of};
use crate::compare::{Comparison, Group, Pair, Side, Spread};

pub fn render(comparison: &Comparison) -> String {
    let Comparison { a, b, .. } = comparison;
    let mut page = begin_page("two runs");
    let _ = writeln!(
        page,
        "<header><p class=\"mark\">Ultramarine · two runs side by side</p><h1><span class=\"side-a\">A</span> {} \
         <span class=\"side-b\">B</span> {}</h1></header>",
        escape(&a.name),
        escape(&b.name),
    );
    section(
        &mut page,
        "The two sides",
        "Ratios travel between machines; absolute times do not.",
        &sides(comparison),
    );
    section(
        &mut page,
        "Stages",
        "All nodes and runs of a side together, from their HdrHistograms.",
        &stages(comparison),
    );
    let pictures = Stage::ALL.into_iter().filter_map(|stage| {
        let (a, b) = (a.stages.get(stage)?, b.stages.get(stage)?);
        Some((stage, distribution::render_two(stage, a, b)))
    });
    if let Some(pictures) = cards(pictures) {
        section(
            &mut page,
            "Distributions",
            "Time on a logarithmic axis. The area of each side is the same, however many blocks it had.",
            &pictures,
        );
    }
    for group in &comparison.groups {
        section(
            &mut page,
            group.title.trim_end_matches(':'),
            "The median of a side’s runs, and in brackets the least and the most. Two figures are apart when these do \
             not touch and each side has three runs.",
            &figures(group),
        );
    }
    end_page(page)
}

fn sides(comparison: &Comparison) -> String {
    let mut list = String::from("<dl class=\"card wide\">");
    for (name, side) in [("A", &comparison.a), ("B", &comparison.b)] {
        let _ = write!(list, "<dt>{name}</dt><dd>{}</dd>", escape(&about(side)));
    }
    for difference in &comparison.differences {
        let _ = write!(list, "<dt>Note</dt><dd>{}</dd>", escape(difference));
    }
    list.push_str("</dl>");
    list
}

/// One line on how a side was made, by its last run.
fn about(side: &Side) -> String {
    let runs = match side.runs.len() {
        1 => "1 run".to_owned(),
        runs => format!("{runs} runs"),
    };
    let Some(setting) = side.runs.last().map(|run| &run.setting) else {
        return runs;
    };
    let told = [
        setting.version.clone(),
        if setting.finished_unix > 0 {
            moment(setting.finished_unix)
        } else {
            String::new()
        },
        setting.machine.cpu.clone(),
        setting.command.clone(),
    ];
    let told = told.into_iter().filter(|text| !text.is_empty());
    std::iter::once(runs).chain(told).collect::<Vec<_>>().join(" · ")
}

fn stages(comparison: &Comparison) -> String {
    const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];
    let mut rows = String::new();
    let mut row = |title: String, about: &str, [a, b]: [Option<&Histogram<u64>>; 2]| {
        if a.is_none() && b.is_none() {
            return;
        }
        let _ = write!(rows, "<tr><th scope=\"row\" title=\"{about}\">{title}</th>");
        for (_, quantile) in QUANTILES {
            let [a, b] = [a, b].map(|histogram| histogram.map(|histogram| histogram.value_at_quantile(quantile)));
            let text = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), duration);
            #[allow(clippy::cast_precision_loss)] // Three digits are shown.
            let ratio = match (a, b) {
                (Some(a), Some(b)) if a > 0 => format!("{:.2}", b as f64 / a as f64),
                _ => "–".to_owned(),
            };
            let _ = write!(rows, "<td>{}</td><td>{}</td><td>{ratio}</td>", text(a), text(b));
        }
        rows.push_str("</tr>");
    };
    let sides = [&comparison.a.stages, &comparison.b.stages];
    for stage in Stage::ALL {
        row(title_of(stage), meaning_of(stage), sides.map(|side| side.get(stage)));
        row(
            format!("{}, the client’s share", title_of(stage)),
            "how long calls to the execution client were open",
            sides.map(|side| side.client(stage)),
        );
    }
    let heads = QUANTILES.map(|(name, _)| [format!("A {name}"), format!("B {name}"), "B / A".to_owned()]);
    let heads: Vec<String> = std::iter::once("Stage".to_owned())
        .chain(heads.into_iter().flatten())
        .collect();
    table(&heads.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

fn figures(group: &Group) -> String {
    let mut rows = String::new();
    for pair in &group.pairs {
        let Pair { name, a, b } = pair;
        let text = |spread: &Option<Spread>| spread.map_or_else(|| "–".to_owned(), |spread| spread.text());
        let ratio = pair
            .ratio()
            .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{ratio}</td><td>{}</td></tr>",
            escape(name),
            text(a),
            text(b),
            pair.verdict()
        );
    }
    table(&["", "A", "B", "B / A", "Verdict"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::side;

    #[test]
    fn both_sides_are_drawn_and_named_without_markup_of_theirs() {
        let comparison = Comparison::of(side("<i>a", &[10.0, 11.0, 12.0], 4), side("b", &[20.0, 22.0, 25.0], 9));
        let page = render(&comparison);
        assert!(page.contains("&lt;i&gt;a") && !page.contains("<i>"));
        assert!(
            page.contains("Distribution of vote: A median") && page.contains(">apart<"),
            "{page}"
        );
        assert!(page.contains("<td>11 (10 to 12)</td><td>22 (20 to 25)</td><td>2.00</td>"));
        super::super::tests::tags_close(&page);
        if let Some(path) = std::env::var_os("ULTRAMARINE_SAMPLE_COMPARISON") {
            std::fs::write(path, page).expect("the page is written");
        }
    }
}
