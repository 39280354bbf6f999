//! Source text reduced to its code: comments, literals and test-only items become blanks of the same length.
//!
//! Lines keep their numbers, so that counts stay true. This is a scanner, not a parser: it knows comments (nested),
//! strings (escaped, raw, byte), character literals against lifetimes, and where an item ends.

/// `text` with comments and the contents of literals blanked; line breaks stay.
pub fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        match end {
            Some(end) => {
                let end = end.min(bytes.len());
                blank(&mut out[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `code` (already without literals) with every item under `#[cfg(test)]` blanked.
pub fn blank_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find(MARK) {
        let start = from + found;
        let end = item_end(code.as_bytes(), start + MARK.len());
        blank(&mut out[start..end]);
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The number of lines of `text` that are not in test-only items, comments and blank lines of production included.
pub fn production_lines(text: &str) -> usize {
    let code = blank_literals(text);
    let kept = blank_tests(&code);
    // A line is test-only if it held code before and holds none after, or if it lies between two such lines.
    let mut count = 0;
    let mut in_tests = false;
    for (before, after) in code.lines().zip(kept.lines()) {
        let (had, has) = (!before.trim().is_empty(), !after.trim().is_empty());
        if had {
            in_tests = !has;
        }
        if !in_tests {
            count += 1;
        }
    }
    count
}

/// The identifiers and punctuation of `code`, in order; `::` is one token.
pub fn tokens(code: &str) -> Vec<&str> {
    let bytes = code.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_whitespace() || !byte.is_ascii() {
            at += 1;
            continue;
        }
        let start = at;
        if is_word(byte) {
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
        } else if bytes[at..].starts_with(b"::") {
            at += 2;
        } else {
            at += 1;
        }
        out.push(&code[start..at]);
    }
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Where the comment or literal that starts at `at` ends, if one does.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(comment_end(bytes, at));
    }
    let after_word = at > 0 && is_word(bytes[at - 1]);
    if !after_word && let Some(end) = raw_string_end(bytes, at) {
        return Some(end);
    }
    match rest[0] {
        b'"' => Some(quoted_end(bytes, at, b'"')),
        b'\'' => char_end(bytes, at),
        _ => None,
    }
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    if bytes.get(at) == Some(&b'b') {
        at += 1;
    }
    if bytes.get(at) != Some(&b'r') {
        return None;
    }
    at += 1;
    let hashes = bytes[at..].iter().take_while(|b| **b == b'#').count();
    at += hashes;
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    let body = &bytes[at + 1..];
    let length = body.windows(closing.len()).position(|w| w == closing).unwrap_or(body.len());
    Some(at + 1 + length + closing.len())
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A character literal's end; `None` for a lifetime.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start + 1)? {
        b'\\' => Some(quoted_end(bytes, start, b'\'')),
        first => {
            let width = match first {
                0x00..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            (bytes.get(start + 1 + width) == Some(&b'\'')).then_some(start + 2 + width)
        }
    }
}

/// Where the item that starts at `start` ends: after its `;` or its closing brace.
fn item_end(code: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(start) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_go_and_lines_stay() {
        let text = "let a = \"unsafe \\\" // x\"; // unsafe\n/* use /* crate::x */ */ let b = r#\"unsafe \"# ;\nlet c: &'a str = '\\'';";
        let code = blank_literals(text);
        assert!(!code.contains("unsafe") && !code.contains("crate"), "{code}");
        assert_eq!(code.lines().count(), 3);
        assert!(code.contains("&'a str"), "a lifetime is not a literal: {code}");
        assert!(code.contains("let b"), "{code}");
    }

    #[test]
    fn test_modules_do_not_count() {
        let text =
            "//! Head.\n\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    fn b() { if true {} }\n}\n";
        assert_eq!(production_lines(text), 4);
        assert_eq!(production_lines("//! Head.\nfn a() {}\n#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\n"), 2);
        assert_eq!(production_lines("fn a() {}\n#[cfg(test)]\nfn t() {}\nfn b() {}\n"), 2);
    }

    #[test]
    fn tokens_split_paths() {
        assert_eq!(tokens("use crate::a::{b, c as d};").join(" "), "use crate :: a :: { b , c as d } ;");
    }
}
