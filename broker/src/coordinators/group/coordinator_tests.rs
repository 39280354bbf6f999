use super::*;

/// Values of Java's `"...".hashCode()`, absolute and modulo 50.
#[test]
fn groups_hash_as_in_kafka() {
    let cases = [
        ("", 0),
        ("a", 97 % 50),
        ("group", 98_629_247 % 50),
        ("hello", 99_162_322 % 50),
        // Negative hash: -862545276.
        ("Hello World", 862_545_276 % 50),
        // The one whose absolute value does not exist: i32::MIN.
        ("polygenelubricants", 0),
        // Outside of the basic plane Java hashes two units.
        ("\u{1F600}", (0xD83D * 31 + 0xDE00) % 50),
    ];
    for (group, expected) in cases {
        assert_eq!(partition_of(group, 50), Some(expected), "{group:?}");
    }
    assert_eq!(partition_of("group", 0), None);
}
