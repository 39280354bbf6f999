//! The page is whole by itself: it asks nobody for anything, and what a run was called cannot break it.

use super::*;
use crate::results::{FailureKind, sample};

/// Everything that makes a browser ask for something, or run what a name brought along.
fn requests(page: &str) -> Vec<String> {
    let lower = page.to_ascii_lowercase();
    let asks = ["http:", "https:", "//", " src=", "<link", "@import", "url(", "<iframe", "<img", "<object", "fetch("];
    let found = asks.iter().filter(|ask| {
        // A comment of the script is no address.
        let mut places = lower.match_indices(**ask).map(|(at, _)| at);
        places.any(|at| !(**ask == "//" && lower[..at].ends_with('\n')))
    });
    found.map(|ask| (*ask).to_owned()).collect()
}

#[test]
fn it_asks_nobody_for_anything() {
    let page = page(&sample::report());
    assert_eq!(requests(&page), Vec::<String>::new());
    // The check itself sees what it is for.
    let spoiled = page.replace("<main>", "<main><img src=\"https://example.org/a.png\">");
    assert_eq!(requests(&spoiled), ["https:", "//", " src=", "<img"]);
}

#[test]
fn tags_are_closed_and_names_are_text() {
    let mut report = sample::report();
    report.runs[0].name = "<script>alert('x')</script>".to_owned();
    report.runs[0].disclosure.work.parameters.insert("\"><b>".to_owned(), "&".to_owned());
    let page = page(&report);
    assert!(!page.contains("alert('x')") && page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    for tag in ["main", "section", "table", "figure", "svg", "details", "script", "style", "p", "td", "tr"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "a figure is no number");
}

#[test]
fn it_shows_curves_figures_and_disclosure() {
    let page = page(&sample::report());
    // Two latencies by percentile, two throughputs, two latencies over time, processors, memory, disk, network.
    assert_eq!(page.matches("<svg ").count(), 10);
    assert_eq!(page.matches("class=\"line s0").count(), 13, "memory, disk and network have two lines a run");
    for told in [
        "synced before the answer",
        "p50 231 us, p99 322 us",
        "esker-bench e2e --rate 1000",
        "2.00x <span>worse",
        "read from disk",
        "received by all interfaces",
        "esker, written",
        "esker, received",
    ] {
        assert!(page.contains(told), "{told}");
    }
    assert!(!page.contains("<b>failed</b>"));
    let mut failed = sample::report();
    failed.runs[0].repeats[0].fail(FailureKind::Error, "it ended");
    failed.runs[0].repeats[1].notes.push("the load was slow".to_owned());
    let page = super::page(&failed);
    assert_eq!(page.matches("<b>failed</b> esker: it ended").count(), 1);
    assert_eq!(page.matches("<b>note</b> esker: the load was slow").count(), 1);
}
