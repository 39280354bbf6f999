//! Two transcripts, field by field.

use crate::exceptions::Excused;
use crate::transcript::Transcript;
use serde_json::Value as Json;

/// What is different, as lines; what [`Excused`] names is not.
pub(crate) fn compare(script: &str, kafka: &Transcript, esker: &Transcript, excused: &mut Excused) -> Vec<String> {
    let mut differences = Vec::new();
    if kafka.cases.len() != esker.cases.len() {
        differences.push(format!("{script}: {} answers, not {}", esker.cases.len(), kafka.cases.len()));
    }
    for (kafka, esker) in kafka.cases.iter().zip(&esker.cases) {
        let name = format!("{script} | {} | {}", esker.api, esker.what);
        if (&kafka.api, &kafka.what) != (&esker.api, &esker.what) {
            differences
                .push(format!("{name}: Kafka's transcript has {} | {} here: make it anew", kafka.api, kafka.what));
            break;
        }
        let mut found = Vec::new();
        walk("", &kafka.answer, &esker.answer, &mut found);
        found.retain(|(path, kafka, esker)| !excused.excuses(&name, path, kafka.as_ref(), esker.as_ref()));
        differences.extend(found.into_iter().map(|(path, kafka, esker)| {
            let shown = |json: Option<Json>| json.map_or_else(|| "nothing".to_owned(), |json| json.to_string());
            format!("{name} | {path}: Kafka says {}, Esker {}", shown(kafka), shown(esker))
        }));
    }
    differences
}

type Difference = (String, Option<Json>, Option<Json>);

fn walk(path: &str, kafka: &Json, esker: &Json, found: &mut Vec<Difference>) {
    match (kafka, esker) {
        (Json::Object(kafka), Json::Object(esker)) => {
            let names: std::collections::BTreeSet<&String> = kafka.keys().chain(esker.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                either(&path, kafka.get(name), esker.get(name), found);
            }
        }
        (Json::Array(kafka), Json::Array(esker)) => match (names(kafka), names(esker)) {
            // Elements with names are compared by name; their order is a difference of its own.
            (Some(in_kafka), Some(in_esker)) => {
                let common = |names: &[String], others: &[String]| -> Vec<String> {
                    names.iter().filter(|name| others.contains(name)).cloned().collect()
                };
                let (first, second) = (common(&in_kafka, &in_esker), common(&in_esker, &in_kafka));
                if first != second {
                    found.push((format!("{path}[order]"), Some(first.into()), Some(second.into())));
                }
                let all: std::collections::BTreeSet<&String> = in_kafka.iter().chain(&in_esker).collect();
                for name in all {
                    let of = |list: &[Json], names: &[String]| {
                        names.iter().position(|called| called == name).map(|place| list[place].clone())
                    };
                    let (kafka, esker) = (of(kafka, &in_kafka), of(esker, &in_esker));
                    either(&format!("{path}[{name}]"), kafka.as_ref(), esker.as_ref(), found);
                }
            }
            _ => {
                for place in 0..kafka.len().max(esker.len()) {
                    either(&format!("{path}[{place}]"), kafka.get(place), esker.get(place), found);
                }
            }
        },
        _ if kafka == esker => {}
        _ => found.push((path.to_owned(), Some(kafka.clone()), Some(esker.clone()))),
    }
}

fn either(path: &str, kafka: Option<&Json>, esker: Option<&Json>, found: &mut Vec<Difference>) {
    match (kafka, esker) {
        (Some(kafka), Some(esker)) => walk(path, kafka, esker, found),
        (kafka, esker) => found.push((path.to_owned(), kafka.cloned(), esker.cloned())),
    }
}

/// What the elements of a list are called, if each has a name of its own.
fn names(list: &[Json]) -> Option<Vec<String>> {
    let names: Option<Vec<String>> = list.iter().map(called).collect();
    let names = names?;
    let unique: std::collections::BTreeSet<&String> = names.iter().collect();
    (unique.len() == names.len()).then_some(names)
}

/// What an element of a list is called by.
fn called(element: &Json) -> Option<String> {
    let name = |field| match element.get(field) {
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    [
        "api_key",
        "name",
        "group_id",
        "resource_name",
        "topic",
        "topic_id",
        "partition_index",
        "partition",
        "index",
        "member_id",
    ]
    .into_iter()
    .find_map(name)
}
