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
    }
}
