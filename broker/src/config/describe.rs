//! Describing: every key of a topic or a broker with its value, its source and the chain of its synonyms, as
//! DescribeConfigs answers it (KIP-133, KIP-226, KIP-569).

use super::group::candidates;
use super::key::Key;
use super::layers::{Candidate, Layers, Source, Values, effective};
use super::registry::Scope;

/// One place that a key's value could come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The key there.
    pub name: &'static str,
    /// Its value, in that key's own unit; `None` if the key is sensitive.
    pub value: Option<String>,
    /// Where it is set.
    pub source: Source,
}

/// A key with what it resolves to.
#[derive(Clone, Debug)]
pub struct Described {
    /// The key.
    pub key: &'static Key,
    /// Its value; `None` if it has none, or must not be shown.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Whether AlterConfigs would refuse it.
    pub read_only: bool,
    /// Every place that was looked at and had a value, the one that won first.
    pub synonyms: Vec<Synonym>,
}

/// Every key of a topic that has these `overrides`, in the order of their names.
pub fn describe_topic(overrides: &Values, layers: &Layers) -> Vec<Described> {
    Scope::Topic.keys().iter().map(|key| describe(key, false, &layers.topic_candidates(key, overrides))).collect()
}

/// Every key of a group that has these `overrides`, in the order of their names.
pub fn describe_group(overrides: &Values, layers: &Layers) -> Vec<Described> {
    Scope::Group.keys().iter().map(|key| describe(key, false, &candidates(key, overrides, layers))).collect()
}

/// Every key of a broker, in the order of their names.
pub fn describe_broker(layers: &Layers) -> Vec<Described> {
    Scope::Broker.keys().iter().map(|key| describe(key, !key.dynamic, &layers.broker_candidates(key))).collect()
}

fn describe(key: &'static Key, read_only: bool, candidates: &[Candidate<'_>]) -> Described {
    let (value, source) = match effective(candidates) {
        Some((winner, text)) => (Some(text), winner.source),
        None => (None, Source::Default),
    };
    let synonyms = candidates
        .iter()
        .filter(|candidate| candidate.text().is_some())
        .map(|candidate| Synonym {
            name: candidate.key.name,
            value: candidate.value.filter(|_| !candidate.key.sensitive).map(str::to_owned),
            source: candidate.source,
        })
        .collect();
    Described { key, value: value.filter(|_| !key.sensitive), source, read_only, synonyms }
}
