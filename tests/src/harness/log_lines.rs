//! A broker's log lines: which of them a person would have to look at.

/// The WARN and ERROR lines, and panics, of `log` that contain none of the `announced` texts.
pub(super) fn unannounced<'a>(log: &'a str, announced: &[String]) -> Vec<&'a str> {
    log.lines()
        .filter(|line| {
            let alarming = line.split_ascii_whitespace().any(|word| matches!(word, "WARN" | "ERROR" | "level=warn"))
                || line.contains("panicked at");
            alarming && !announced.iter().any(|text| line.contains(text))
        })
        .collect()
}

/// `text` without the colours of a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        // ESC [ numbers letter
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        rest = &after[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_announced_is_reported() {
        let log = "2026-01-01T00:00:00Z  INFO esker: started\n\
                   2026-01-01T00:00:01Z  WARN esker::tier: the store is away\n\
                   2026-01-01T00:00:02Z ERROR esker::log: rot\n\
                   thread 'main' panicked at src/main.rs:1:1:\n";
        assert_eq!(unannounced(log, &[]).len(), 3);
        let left = unannounced(log, &["the store is away".to_owned()]);
        assert_eq!(left.len(), 2);
        assert!(left[0].contains("rot"));
        let colours = "\u{1b}[2m2026\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m esker: hm";
        assert_eq!(unannounced(&plain(colours), &[]), ["2026  WARN esker: hm"]);
    }
}
