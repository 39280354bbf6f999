//! Kafka's `server.properties`: Java's properties format, as `java.util.Properties.load` reads it, and `key=value` from
//! the command line.
//!
//! A line is `key=value`, `key:value` or `key value`; `#` and `!` start comments; a backslash at the end continues the
//! line, without the white space that the next one begins with; `\t`, `\n`, `\r`, `\f`, `\uXXXX` and a backslash before any other
//! character are escapes. Unlike Java we refuse a key that is set twice: one of the two is a mistake.

use super::error::ConfigError;
use super::layers::Values;

/// The values of a properties file. Whether their keys are known is not looked at here.
///
/// # Errors
/// [`ConfigError::Syntax`] or [`ConfigError::Duplicate`], with the line.
pub fn parse_properties(text: &str) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate();
    while let Some((index, first)) = lines.next() {
        let start = first.trim_start_matches([' ', '\t', '\u{c}']);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while ends_in_backslash(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches([' ', '\t', '\u{c}']));
        }
        let (key, value) = split(&logical);
        let line = index + 1;
        let key = unescape(key, line)?;
        if key.is_empty() {
            return Err(ConfigError::Syntax { line, reason: "a key is expected".to_owned() });
        }
        let value = unescape(value, line)?.trim_end().to_owned();
        if values.insert(key.clone(), value).is_some() {
            return Err(ConfigError::Duplicate { line, name: key });
        }
    }
    Ok(values)
}

/// The key and the value of a `--set key=value`.
///
/// # Errors
/// [`ConfigError::Syntax`] if there is no `=`, or nothing before it.
pub fn parse_set(text: &str) -> Result<(String, String), ConfigError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(ConfigError::Syntax { line: 1, reason: format!("{text:?} is not key=value") }),
    }
}

/// An odd number of backslashes at the end continues the line; an even one is backslashes.
fn ends_in_backslash(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or white space that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\u{c}');
            escaped = !escaped && *c == '\\';
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches([' ', '\t', '\u{c}']);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches([' ', '\t', '\u{c}']))
}

fn unescape(text: &str, line: usize) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let valid = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| valid);
                let escaped = code
                    .and_then(char::from_u32)
                    .ok_or_else(|| ConfigError::Syntax { line, reason: format!("\\u{digits} is no character") })?;
                out.push(escaped);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod tests;
