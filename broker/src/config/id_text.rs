//! Ids as Kafka writes them: 128 bits in 22 letters of URL-safe base64 without padding. Cluster ids are sent so.

use uuid::Uuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `id` in Kafka's spelling.
pub fn id_text(id: Uuid) -> String {
    // 22 letters carry 132 bits: the id, and four zeros at the end.
    let bits = id.as_u128();
    (0..22)
        .map(|letter| {
            let shift = 122 - 6 * letter;
            let six = if shift >= 0 { bits >> shift } else { bits << -shift };
            char::from(ALPHABET.get((six & 63) as usize).copied().unwrap_or(b'A'))
        })
        .collect()
}

/// The id that [`id_text`] spells as `text`; `None` for any other text.
pub fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0u128;
    for (index, letter) in text.bytes().enumerate() {
        let six = ALPHABET.iter().position(|known| *known == letter)? as u128;
        bits = if index < 21 {
            (bits << 6) | six
        } else if six & 15 == 0 {
            (bits << 2) | (six >> 4)
        } else {
            return None;
        };
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spells_as_kafka_does() {
        let id = Uuid::from_bytes([0xff; 16]);
        assert_eq!(id_text(id), "_____________________w");
        assert_eq!(id_text(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(parse_id("AAAAAAAAAAAAAAAAAAAAAR"), None);
        assert_eq!(parse_id("AAAAAAAAAAAAAAAAAAAAA="), None);
        assert_eq!(parse_id(""), None);
    }

    proptest! {
        #[test]
        fn parses_what_it_writes(bits: u128) {
            let id = Uuid::from_u128(bits);
            prop_assert_eq!(parse_id(&id_text(id)), Some(id));
        }

        #[test]
        fn writes_what_it_parses(text in "[A-Za-z0-9_-]{22}") {
            if let Some(id) = parse_id(&text) {
                prop_assert_eq!(id_text(id), text);
            }
        }
    }
}
