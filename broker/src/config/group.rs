//! A consumer group's settings (KIP-848): three keys that override the brokers', within bounds that brokers set.

use super::ConfigError;
use super::group_keys::{ASSIGNMENT, HEARTBEAT, SESSION};
use super::key::Key;
use super::layers::{BrokerReader, Candidate, Layers, Read, Source, Values, effective};
use super::registry::{Scope, find};
use std::time::Duration;

/// What a consumer group's keys resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupTimeouts {
    /// How long a member may be silent.
    pub session: Duration,
    /// How often it is asked to say that it is alive.
    pub heartbeat: Duration,
    /// How long an assignment holds before another one is computed.
    pub assignment: Duration,
}

/// The values of a group's keys, most specific first.
pub(super) fn candidates<'a>(key: &'static Key, overrides: &'a Values, layers: &'a Layers) -> Vec<Candidate<'a>> {
    layers.candidates(key, overrides, Source::Group)
}

/// Reads a group's keys.
struct Reader<'a> {
    overrides: &'a Values,
    layers: &'a Layers,
}

impl Read for Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let key = find(Scope::Group, name).ok()?;
        effective(&candidates(key, self.overrides, self.layers)).map(|(_, text)| text)
    }
}

/// The bounds that brokers set for a group's key: the names of the keys, and their values.
fn bounds(key: &str, layers: &Layers) -> [(&'static str, u64); 2] {
    let [min, max] = match key {
        ASSIGNMENT => ["group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"],
        HEARTBEAT => ["group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"],
        _ => ["group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"],
    };
    [min, max].map(|name| (name, BrokerReader(layers).count(name)))
}

impl GroupTimeouts {
    /// What a group with these `overrides` goes by. Bounds that have changed since cut what was set before.
    pub fn resolve(overrides: &Values, layers: &Layers) -> GroupTimeouts {
        let read = |key| {
            let [(_, min), (_, max)] = bounds(key, layers);
            Duration::from_millis(Reader { overrides, layers }.count(key).max(min).min(max.max(min)))
        };
        GroupTimeouts { session: read(SESSION), heartbeat: read(HEARTBEAT), assignment: read(ASSIGNMENT) }
    }
}

/// Whether a group may be set to these `overrides`.
///
/// # Errors
/// The first key that is not known or value that is not taken.
pub fn check_group_values(overrides: &Values, layers: &Layers) -> Result<(), ConfigError> {
    for (name, value) in overrides {
        let key = find(Scope::Group, name)?;
        key.validate(value)?;
        let [(min_key, min), (max_key, max)] = bounds(key.name, layers);
        let own = Reader { overrides, layers }.count(key.name);
        if !(min..=max).contains(&own) {
            let reason = format!("must be between {min_key} ({min}) and {max_key} ({max})");
            return Err(ConfigError::Invalid { name: key.name, value: value.clone(), reason });
        }
    }
    let read = Reader { overrides, layers };
    let (heartbeat, session) = (read.count(HEARTBEAT), read.count(SESSION));
    if !overrides.is_empty() && heartbeat >= session {
        let reason = format!("must be less than {SESSION}, which is {session}");
        return Err(ConfigError::Invalid { name: HEARTBEAT, value: heartbeat.to_string(), reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_group_overrides_its_brokers_within_their_bounds() {
        let layers = Layers::fixed(values(&[("group.consumer.heartbeat.interval.ms", "6000")]));
        let timeouts = |pairs: &[(&str, &str)]| {
            let GroupTimeouts { session, heartbeat, .. } = GroupTimeouts::resolve(&values(pairs), &layers);
            (session.as_millis(), heartbeat.as_millis())
        };
        assert_eq!(timeouts(&[]), (45_000, 6000));
        assert_eq!(timeouts(&[(SESSION, "50000"), (HEARTBEAT, "7000")]), (50_000, 7000));
        assert_eq!(timeouts(&[(SESSION, "1"), (HEARTBEAT, "90000")]), (45_000, 15_000), "cut");
        let interval = |pairs: &[(&str, &str)]| GroupTimeouts::resolve(&values(pairs), &layers).assignment.as_millis();
        assert_eq!(
            (interval(&[]), interval(&[(ASSIGNMENT, "0")]), interval(&[(ASSIGNMENT, "99999")])),
            (1000, 0, 15_000)
        );
        let check = |pairs: &[(&str, &str)]| check_group_values(&values(pairs), &layers).map_err(|e| e.to_string());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[(SESSION, "60000"), (HEARTBEAT, "5000")]), Ok(()));
        for wrong in [(SESSION, "60001"), (SESSION, "44999"), (HEARTBEAT, "4999"), (HEARTBEAT, "x"), (SESSION, "-1")] {
            assert!(check(&[wrong]).unwrap_err().starts_with("Invalid value "), "{wrong:?}");
        }
        assert!(check(&[("consumer.sesion.timeout.ms", "1")]).unwrap_err().contains(SESSION), "the nearest name");
    }
}
