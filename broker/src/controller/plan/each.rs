//! Items of one request, each decided on the image as those before it leave it.

use super::Plan;
use crate::controller::Refusal;
use crate::metadata::{Delta, Image, Record};
use kafka_protocol::ResponseError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Decides about `topics` one after the other; an answer for each, in their order. A name that is there twice is refused
/// each time. With `validate_only` the answers are the same, and nothing is to be committed.
pub(super) fn plan_each<T, A>(
    image: &Image,
    topics: &[T],
    name: impl Fn(&T) -> &str,
    validate_only: bool,
    decide: impl Fn(&Image, &T) -> Result<(Record, A), Refusal>,
) -> Plan<Vec<Result<A, Refusal>>> {
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for topic in topics {
        *times.entry(name(topic)).or_default() += 1;
    }
    let mut delta = Delta::new(Arc::new(image.clone()));
    let mut plan = Plan { records: Vec::new(), answer: Vec::with_capacity(topics.len()) };
    for topic in topics {
        let decided = if times.get(name(topic)).is_some_and(|times| *times > 1) {
            Err(Refusal::new(ResponseError::InvalidRequest, "Duplicate topic name."))
        } else {
            decide(delta.image(), topic).and_then(|(record, answer)| {
                // Refuses an id that is there already; later topics see this one.
                delta
                    .apply(&record)
                    .map_err(|error| Refusal::new(ResponseError::UnknownServerError, error.to_string()))?;
                plan.records.push(record);
                Ok(answer)
            })
        };
        plan.answer.push(decided);
    }
    if validate_only {
        plan.records.clear();
    }
    plan
}
