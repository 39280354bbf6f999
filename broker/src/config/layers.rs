//! Layers: the values of a topic, of this broker, of the whole cluster, of the command line, and the defaults, looked
//! through from the most specific to the least.

use super::key::Key;
use super::registry::{Scope, find};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a value comes from, with the number that the protocol gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set for this topic.
    Topic = 1,
    /// Set in the metadata for this broker.
    Broker = 2,
    /// Set in the metadata for all brokers.
    ClusterDefault = 3,
    /// The process was started with it.
    Static = 4,
    /// Nobody set it.
    Default = 5,
    /// Set for this group.
    Group = 8,
}

/// Texts by key.
pub type Values = BTreeMap<String, String>;

/// Where a broker's keys get their values, before the defaults.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// What the metadata sets for this broker alone.
    pub broker: Arc<Values>,
    /// What the metadata sets for all brokers.
    pub cluster: Arc<Values>,
    /// What this process was started with.
    pub fixed: Arc<Values>,
}

/// One value that a key would have, were there not a more specific one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) key: &'static Key,
    pub(super) value: Option<&'a str>,
    pub(super) source: Source,
    /// What the value is multiplied by to have the unit of the key that was asked for.
    pub(super) factor: i64,
}

impl Layers {
    /// Only what a process was started with.
    pub fn fixed(values: Values) -> Layers {
        Layers { fixed: Arc::new(values), ..Layers::default() }
    }

    /// Everything that could be the value of broker key `name`, the most specific first.
    pub(super) fn broker_candidates(&self, key: &'static Key) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        self.add(key, 1, &mut candidates);
        for (synonym, factor) in key.synonyms {
            if let Ok(synonym) = find(Scope::Broker, synonym) {
                self.add(synonym, *factor, &mut candidates);
            }
        }
        candidates
    }

    /// Everything that could be the value of topic key `key` of a topic with these `overrides`.
    pub(super) fn topic_candidates<'a>(&'a self, key: &'static Key, overrides: &'a Values) -> Vec<Candidate<'a>> {
        self.candidates(key, overrides, Source::Topic)
    }

    /// Everything that could be the value of `key` of something with these `overrides`, which count as `source`.
    pub(super) fn candidates<'a>(
        &'a self,
        key: &'static Key,
        overrides: &'a Values,
        source: Source,
    ) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::new();
        if let Some(value) = overrides.get(key.name) {
            candidates.push(Candidate { key, value: Some(value), source, factor: 1 });
        }
        for (synonym, factor) in key.synonyms {
            if let Ok(synonym) = find(Scope::Broker, synonym) {
                self.add(synonym, *factor, &mut candidates);
            }
        }
        if key.synonyms.is_empty() {
            candidates.push(Candidate { key, value: key.default, source: Source::Default, factor: 1 });
        }
        candidates
    }

    /// The layers of one broker key, its default last.
    fn add<'a>(&'a self, key: &'static Key, factor: i64, candidates: &mut Vec<Candidate<'a>>) {
        let layers =
            [(&self.broker, Source::Broker), (&self.cluster, Source::ClusterDefault), (&self.fixed, Source::Static)];
        for (values, source) in layers {
            if let Some(value) = values.get(key.name) {
                candidates.push(Candidate { key, value: Some(value), source, factor });
            }
        }
        if let Some(default) = key.default {
            candidates.push(Candidate { key, value: Some(default), source: Source::Default, factor });
        }
    }
}

impl Candidate<'_> {
    /// The value in the unit of the key that was asked for. A value that its key would refuse today counts as absent:
    /// the defaults are always valid, so that resolving never fails.
    pub(super) fn text(&self) -> Option<String> {
        let value = self.value?;
        self.key.validate(value).ok()?;
        if self.factor == 1 {
            return Some(value.to_owned());
        }
        let number: i64 = value.trim().parse().ok()?;
        // Negative numbers are sentinels, which have no unit.
        let scaled = if number < 0 { number } else { number.saturating_mul(self.factor) };
        Some(scaled.to_string())
    }
}

/// The first candidate that has a valid value, with that value.
pub(super) fn effective<'a>(candidates: &[Candidate<'a>]) -> Option<(Candidate<'a>, String)> {
    candidates.iter().find_map(|candidate| candidate.text().map(|text| (*candidate, text)))
}

/// Typed reading of resolved texts. Each value was validated, so the zeros below stand for nothing that can happen.
pub(super) trait Read {
    /// The text of a key, if it has a value.
    fn text(&self, name: &str) -> Option<String>;

    /// A BOOLEAN.
    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
    }

    /// An INT or LONG.
    fn number(&self, name: &str) -> i64 {
        self.text(name).and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    /// A DOUBLE.
    fn decimal(&self, name: &str) -> f64 {
        self.text(name).and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    /// An INT or LONG that its check keeps at zero or above.
    fn count(&self, name: &str) -> u64 {
        u64::try_from(self.number(name)).unwrap_or_default()
    }

    /// An INT that its check keeps at zero or above.
    fn small(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or_default()
    }

    /// A number whose -1 means "no limit".
    fn limit(&self, name: &str) -> Option<u64> {
        u64::try_from(self.number(name)).ok()
    }
}

/// A broker's keys.
pub(super) struct BrokerReader<'a>(pub(super) &'a Layers);

impl Read for BrokerReader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let key = find(Scope::Broker, name).ok()?;
        effective(&self.0.broker_candidates(key)).map(|(_, text)| text)
    }
}

/// A topic's keys.
pub(super) struct TopicReader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) overrides: &'a Values,
}

impl Read for TopicReader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let key = find(Scope::Topic, name).ok()?;
        effective(&self.layers.topic_candidates(key, self.overrides)).map(|(_, text)| text)
    }
}
