//! One HTML page: figures, curves, and the disclosure, without a request to anywhere.
//!
//! A [`Section`] shows runs of one workload over each other; of two, the second in proportion to the first. Curves are
//! drawn here as SVG ([`chart`]); the script only reads values off where one points, and the page is whole without it.

mod chart;
mod curves;

use super::ratios::{self, Judgement};
use super::{disclosed, figures};
use crate::results::{Report, Run};
use std::fmt::Write;

/// Colours, type and layout, for light and dark.
const STYLE: &str = include_str!("style.css");
/// Reads values off the curves.
const SCRIPT: &str = include_str!("script.js");

/// Runs that are shown over each other.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// What it is.
    pub(crate) title: String,
    /// A goal that was set, and whether it was met.
    pub(crate) verdicts: Vec<(String, bool)>,
    /// The runs.
    pub(crate) runs: Vec<Run>,
}

impl Section {
    /// Of these runs, named after their workload.
    pub(crate) fn of_runs(runs: Vec<Run>) -> Self {
        let title = runs.first().map(|run| run.disclosure.work.name.clone()).unwrap_or_default();
        Self { title, verdicts: Vec::new(), runs }
    }
}

/// The page of a report: runs of one workload share a section.
pub fn page(report: &Report) -> String {
    let mut sections: Vec<Section> = Vec::new();
    for run in &report.runs {
        match sections.iter_mut().find(|section| section.title == run.disclosure.work.name) {
            Some(section) => section.runs.push(run.clone()),
            None => sections.push(Section::of_runs(vec![run.clone()])),
        }
    }
    let names: Vec<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
    document(&names.join(" and "), &sections)
}

/// A page with these sections.
pub(crate) fn document(title: &str, sections: &[Section]) -> String {
    let mut out = String::new();
    let _ = write_document(title, sections, &mut out);
    out
}

fn write_document(title: &str, sections: &[Section], out: &mut String) -> std::fmt::Result {
    let title = escape(title);
    writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(out, "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>")?;
    writeln!(out, "<style>\n{STYLE}</style>\n</head>\n<body>\n<main>")?;
    let date = sections.iter().flat_map(|section| &section.runs).map(|run| run.disclosure.date.as_str()).max();
    writeln!(out, "<header><p class=\"kind\">esker-bench</p><h1>{title}</h1>")?;
    writeln!(out, "<p class=\"muted\">{}</p></header>", escape(date.unwrap_or_default()))?;
    if sections.len() > 1 {
        write!(out, "<nav>")?;
        for (at, section) in sections.iter().enumerate() {
            write!(out, "<a href=\"#s{at}\">{}</a> ", escape(&section.title))?;
        }
        writeln!(out, "</nav>")?;
    }
    for (at, section) in sections.iter().enumerate() {
        writeln!(out, "<section id=\"s{at}\">")?;
        write_section(section, out)?;
        writeln!(out, "</section>")?;
    }
    writeln!(out, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>")
}

fn write_section(section: &Section, out: &mut String) -> std::fmt::Result {
    let Section { title, verdicts, runs } = section;
    writeln!(out, "<h2>{}</h2>", escape(title))?;
    write!(out, "<p class=\"legend\">")?;
    for (at, run) in runs.iter().enumerate() {
        write!(out, "<span><i class=\"swatch s{}\"></i>{}</span> ", at % chart::COLOURS, escape(&run.name))?;
    }
    writeln!(out, "</p>")?;
    for (what, is_met) in verdicts {
        let (class, word) = if *is_met { ("good", "met") } else { ("bad", "not met") };
        writeln!(out, "<p class=\"verdict {class}\"><b>{word}</b> {}</p>", escape(what))?;
    }
    for run in runs {
        for failure in run.failures() {
            let text = escape(&format!("{}: {}", run.name, failure.why));
            writeln!(out, "<p class=\"verdict bad\"><b>failed</b> {text}</p>")?;
        }
    }
    let warnings = match &runs[..] {
        [a, b] => ratios::warnings(a, b),
        _ => runs.iter().flat_map(disclosed::doubts).collect(),
    };
    for warning in warnings.iter().filter(|warning| !warning.contains(" failed: ")) {
        writeln!(out, "<p class=\"verdict warn\"><b>note</b> {}</p>", escape(warning))?;
    }
    write_figures(runs, out)?;
    curves::write(runs, out)?;
    write_disclosure(runs, out)
}

/// The figures as a table, a column for each run and, of two, one for the ratio.
fn write_figures(runs: &[Run], out: &mut String) -> std::fmt::Result {
    let columns: Vec<Vec<figures::Figure>> = runs.iter().map(figures::of).collect();
    let mut rows: Vec<(&str, &str, &str)> = Vec::new();
    for figure in columns.iter().flatten() {
        let key = (figure.group.as_str(), figure.name.as_str(), figure.unit.as_str());
        if !rows.contains(&key) {
            rows.push(key);
        }
    }
    let shares = match runs {
        [a, b] => ratios::rows(a, b),
        _ => Vec::new(),
    };
    writeln!(out, "<div class=\"wide\"><table class=\"figures\"><thead><tr><th></th>")?;
    for run in runs {
        writeln!(out, "<th>{}</th>", escape(&run.name))?;
    }
    if runs.len() == 2 {
        writeln!(out, "<th>ratio</th>")?;
    }
    writeln!(out, "</tr></thead>")?;
    let mut last = "";
    for (group, name, unit) in rows {
        if group != last {
            writeln!(out, "<tbody><tr class=\"group\"><th colspan=\"{}\">{}</th></tr>", runs.len() + 2, escape(group))?;
            last = group;
        }
        write!(out, "<tr><th scope=\"row\">{} <span class=\"muted\">{}</span></th>", escape(name), escape(unit))?;
        for column in &columns {
            let figure = column.iter().find(|figure| (figure.group.as_str(), figure.name.as_str()) == (group, name));
            write_figure(figure, out)?;
        }
        if runs.len() == 2 {
            write_ratio(shares.iter().find(|row| (row.a.group.as_str(), row.a.name.as_str()) == (group, name)), out)?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

fn write_figure(figure: Option<&figures::Figure>, out: &mut String) -> std::fmt::Result {
    let Some(figure) = figure else { return write!(out, "<td>-</td>") };
    let (spread, decimals) = (figure.spread, figures::decimals(figure.spread.median));
    write!(out, "<td>{:.decimals$}", spread.median)?;
    if spread.count > 1 {
        write!(out, " <span class=\"muted\">{:.decimals$}&ndash;{:.decimals$}</span>", spread.low, spread.high)?;
    }
    write!(out, "</td>")
}

fn write_ratio(row: Option<&ratios::Row>, out: &mut String) -> std::fmt::Result {
    let Some((row, ratio)) = row.and_then(|row| Some((row, row.ratio?))) else { return write!(out, "<td>-</td>") };
    let class = match row.judgement {
        Judgement::Better => "good",
        Judgement::Worse => "bad",
        Judgement::Same => "muted",
    };
    write!(out, "<td class=\"{class}\">{ratio:.2}x <span>{}</span></td>", row.judgement.word())
}

/// The disclosure, a column for each run; what differs and matters stands out.
fn write_disclosure(runs: &[Run], out: &mut String) -> std::fmt::Result {
    let columns: Vec<Vec<disclosed::Row>> = runs.iter().map(|run| disclosed::rows(&run.disclosure)).collect();
    let Some(first) = columns.first() else { return Ok(()) };
    writeln!(out, "<h3>What was measured</h3><div class=\"wide\"><table class=\"disclosure\">")?;
    let mut last = "";
    for row in first {
        if row.group != last {
            writeln!(out, "<tr class=\"group\"><th colspan=\"{}\">{}</th></tr>", runs.len() + 1, row.group)?;
            last = row.group;
        }
        let find = |column: &[disclosed::Row]| {
            let found = column.iter().find(|other| (other.group, other.name) == (row.group, row.name));
            found.map_or_else(|| "-".to_owned(), |row| row.value.clone())
        };
        let values: Vec<String> = columns.iter().map(|column| find(column)).collect();
        let is_same = values.iter().all(|value| *value == row.value);
        let class = if row.matters && !is_same { " class=\"differs\"" } else { "" };
        write!(out, "<tr{class}><th scope=\"row\">{}</th>", escape(row.name))?;
        if is_same && runs.len() > 1 {
            write!(out, "<td colspan=\"{}\">{}</td>", runs.len(), escape(&row.value))?;
        } else {
            values.iter().try_for_each(|value| write!(out, "<td>{}</td>", escape(value)))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table></div>")?;
    for run in runs {
        let broker = &run.disclosure.broker;
        let configs = broker.configs.iter().map(|(key, value)| ("broker", key, value));
        let configs = configs.chain(broker.topic_configs.iter().map(|(key, value)| ("topic", key, value)));
        writeln!(out, "<details><summary>Configurations of {}</summary><pre>", escape(&run.name))?;
        for (of, key, value) in configs {
            writeln!(out, "{of} {}={}", escape(key), escape(value))?;
        }
        writeln!(out, "</pre></details>")?;
    }
    Ok(())
}

/// Text that can stand between tags and in attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
