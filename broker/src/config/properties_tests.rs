//! Tests of the properties reader.

use super::*;
use proptest::prelude::*;

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn reads_what_java_reads() {
    let text = "# comment\n! another\n\n  \t\nlisteners=PLAINTEXT://:9092,\\\n    OUTSIDE://:9093\r\nlog.dirs : /a\\ b\n\
                broker.id\t7\nempty=\nalone\nk\\=ey=v=w\nu=\\u0041\\tB\\\\\\q\nspaces = x y \n";
    assert_eq!(
        parse_properties(text).unwrap(),
        values(&[
            ("listeners", "PLAINTEXT://:9092,OUTSIDE://:9093"),
            ("log.dirs", "/a b"),
            ("broker.id", "7"),
            ("empty", ""),
            ("alone", ""),
            ("k=ey", "v=w"),
            ("u", "A\tB\\q"),
            ("spaces", "x y"),
        ])
    );
}

#[test]
fn names_the_line() {
    let duplicate = parse_properties("a=1\r\nb=2\r\na=3\r\n").unwrap_err();
    assert_eq!(duplicate, ConfigError::Duplicate { line: 3, name: "a".into() });
    assert!(matches!(parse_properties("a=1\n\n=3"), Err(ConfigError::Syntax { line: 3, .. })));
    assert!(matches!(parse_properties("a=\\u12"), Err(ConfigError::Syntax { line: 1, .. })));
    assert!(matches!(parse_properties("a=\\u+123"), Err(ConfigError::Syntax { line: 1, .. })));
    assert!(matches!(parse_properties("a=\\ud800"), Err(ConfigError::Syntax { line: 1, .. })));
}

#[test]
fn continues_at_the_end_of_the_file() {
    assert_eq!(parse_properties("a=1\\").unwrap(), values(&[("a", "1")]));
    assert_eq!(parse_properties("a=1\\\\\nb=2").unwrap(), values(&[("a", "1\\"), ("b", "2")]));
}

#[test]
fn set_needs_a_key() {
    assert_eq!(parse_set("a.b= c=d ").unwrap(), ("a.b".to_owned(), "c=d".to_owned()));
    assert!(parse_set("a.b").is_err());
    assert!(parse_set("=b").is_err());
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC*") {
        let _ = parse_properties(&text);
    }

    #[test]
    fn escaped_values_come_back(value in "[ -~]{0,40}") {
        let escaped: String = value.chars().flat_map(|c| ['\\', c]).collect();
        // `\t`, `\n`, `\r`, `\f` and `\u` mean something else.
        prop_assume!(!value.contains(['t', 'n', 'r', 'f', 'u']));
        let read = parse_properties(&format!("key={escaped}")).unwrap();
        prop_assert_eq!(read.get("key").map(String::as_str), Some(value.trim_end()));
    }
}
