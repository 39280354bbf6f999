//! A key: its name, Kafka's type, its default, the check of its values, and a sentence of documentation.

use super::ConfigError;

/// Kafka's type of a value, with the number that DescribeConfigs gives it (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// A number of 32 bits.
    Int = 3,
    /// A number of 64 bits.
    Long = 5,
    /// A decimal number.
    Double = 6,
    /// Texts separated by commas.
    List = 7,
    /// The name of a class, or of what stands for one here.
    Class = 8,
    /// A text that is never shown.
    Password = 9,
}

/// What a value must satisfy beyond its type.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Nothing.
    Any,
    /// A number not below this one.
    AtLeast(i64),
    /// A number in this range, both ends included.
    Between(i64, i64),
    /// One of these texts; of a list, every item.
    OneOf(&'static [&'static str]),
    /// A list with at least one item.
    NotEmpty,
    /// Whatever this function says: an `Err` completes "Invalid value: ".
    By(fn(&str) -> Result<(), String>),
}

/// The longest value that any key takes: the metadata log keeps values for ever.
const MAX_VALUE: usize = 4096;

/// A configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kafka's name, or ours where Kafka has none.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// The value when nobody set one; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// What a value must satisfy beyond its type.
    pub check: Check,
    /// Whether it can be changed while brokers run. Topic keys always can.
    pub dynamic: bool,
    /// Whether its value must not be shown.
    pub sensitive: bool,
    /// What it does, with its unit.
    pub doc: &'static str,
    /// The broker keys that give its value when it is not set itself, in this order, each with the factor that turns
    /// its unit into this key's.
    pub synonyms: &'static [(&'static str, i64)],
}

/// A number from 0 to 1.
pub(super) fn check_ratio(text: &str) -> Result<(), String> {
    let ratio = text.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio));
    if ratio { Ok(()) } else { Err("must be between 0 and 1".to_owned()) }
}

/// A number above 0.
pub(super) fn check_positive(text: &str) -> Result<(), String> {
    let positive = text.parse::<f64>().is_ok_and(|number| number > 0.0);
    if positive { Ok(()) } else { Err("must be more than 0".to_owned()) }
}

/// The items of a LIST value, trimmed, without empty ones.
pub fn list_items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl Key {
    /// A key of `kind` whose `default` is valid, without a check of its own and read-only.
    pub(super) const fn new(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
        let sensitive = matches!(kind, Kind::Password);
        Key { name, kind, default, check: Check::Any, dynamic: false, sensitive, doc, synonyms: &[] }
    }

    /// The same key with a check.
    pub(super) const fn check(self, check: Check) -> Key {
        Key { check, ..self }
    }

    /// The same key, changeable while brokers run.
    pub(super) const fn dynamic(self) -> Key {
        Key { dynamic: true, ..self }
    }

    /// The same key, falling back to broker keys.
    pub(super) const fn falls_back_to(self, synonyms: &'static [(&'static str, i64)]) -> Key {
        Key { synonyms, ..self }
    }

    /// Whether the key takes `value`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with what it should have been.
    pub fn validate(&self, value: &str) -> Result<(), ConfigError> {
        self.problem(value).map_or(Ok(()), |reason| {
            let value =
                if self.sensitive { "(hidden)".to_owned() } else { value.chars().take(256).collect::<String>() };
            Err(ConfigError::Invalid { name: self.name, value, reason })
        })
    }

    fn problem(&self, value: &str) -> Option<String> {
        if value.len() > MAX_VALUE {
            return Some(format!("must not be longer than {MAX_VALUE} bytes"));
        }
        let text = value.trim();
        let number = match self.kind {
            Kind::Boolean if !text.eq_ignore_ascii_case("true") && !text.eq_ignore_ascii_case("false") => {
                return Some("must be true or false".to_owned());
            }
            Kind::Int => match text.parse::<i32>() {
                Ok(number) => Some(i64::from(number)),
                Err(_) => return Some("must be a 32-bit number".to_owned()),
            },
            Kind::Long => match text.parse::<i64>() {
                Ok(number) => Some(number),
                Err(_) => return Some("must be a 64-bit number".to_owned()),
            },
            Kind::Double => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => None,
                _ => return Some("must be a decimal number".to_owned()),
            },
            Kind::Boolean | Kind::String | Kind::List | Kind::Class | Kind::Password => None,
        };
        match (self.check, number) {
            (Check::Any, _) => None,
            (Check::AtLeast(low), Some(number)) => (number < low).then(|| format!("must be at least {low}")),
            (Check::Between(low, high), Some(number)) => {
                (number < low || number > high).then(|| format!("must be between {low} and {high}"))
            }
            (Check::AtLeast(_) | Check::Between(..), None) => None,
            (Check::OneOf(allowed), _) => {
                let ok = match self.kind {
                    Kind::List => list_items(value).all(|item| allowed.contains(&item)),
                    _ => allowed.contains(&text),
                };
                (!ok).then(|| format!("must be one of {}", allowed.join(", ")))
            }
            (Check::NotEmpty, _) => list_items(value).next().is_none().then(|| "must not be empty".to_owned()),
            (Check::By(check), _) => check(text).err(),
        }
    }
}
