//! The names of a numbered log's objects: `<prefix>/log/<20 digits>` and `<prefix>/snapshot/<20 digits>`.

/// Digits of a number in a key: enough for every 64-bit number, so that the order of keys is that of numbers.
pub const MAX_NUMBER_DIGITS: usize = 20;

/// Which log: the prefix of its keys, such as `cluster`, and of which cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogName {
    /// The prefix of its keys, without a slash at the end.
    pub prefix: String,
    /// The cluster that it belongs to, written into every object.
    pub cluster: uuid::Uuid,
}

impl LogName {
    /// The log under `prefix` of `cluster`.
    pub fn new(prefix: &str, cluster: uuid::Uuid) -> LogName {
        LogName { prefix: prefix.to_owned(), cluster }
    }

    /// What the keys of all commits begin with.
    pub fn commits(&self) -> String {
        format!("{}/log/", self.prefix)
    }

    /// What the keys of all snapshots begin with.
    pub fn snapshots(&self) -> String {
        format!("{}/snapshot/", self.prefix)
    }

    /// The key of commit `number`.
    pub fn commit(&self, number: u64) -> String {
        format!("{}/log/{number:020}", self.prefix)
    }

    /// The key of the snapshot of the state after commit `number`.
    pub fn snapshot(&self, number: u64) -> String {
        format!("{}/snapshot/{number:020}", self.prefix)
    }

    /// The number of a commit, from its key; `None` if it is no commit's key.
    pub fn parse_commit(&self, key: &str) -> Option<u64> {
        parse_number(key.strip_prefix(self.commits().as_str())?)
    }

    /// The number of a snapshot, from its key; `None` if it is no snapshot's key.
    pub fn parse_snapshot(&self, key: &str) -> Option<u64> {
        parse_number(key.strip_prefix(self.snapshots().as_str())?)
    }
}

fn parse_number(digits: &str) -> Option<u64> {
    let well_formed = digits.len() == MAX_NUMBER_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    if well_formed { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_parse_to_the_numbers_they_were_made_of(number: u64, other: u64) {
            let name = LogName::new("cluster", uuid::Uuid::nil());
            prop_assert_eq!(name.parse_commit(&name.commit(number)), Some(number));
            prop_assert_eq!(name.parse_snapshot(&name.snapshot(number)), Some(number));
            prop_assert_eq!(name.parse_commit(&name.snapshot(number)), None);
            prop_assert_eq!(name.commit(number).cmp(&name.commit(other)), number.cmp(&other));
        }

        #[test]
        fn other_names_do_not_parse(text in "[0-9a-z+ ]{0,24}") {
            let name = LogName::new("t", uuid::Uuid::nil());
            let key = format!("t/log/{text}");
            if let Some(number) = name.parse_commit(&key) {
                prop_assert_eq!(name.commit(number), key);
            }
        }
    }
}
