//! What a broker answered, without what is its own: topics' ids become the names of the topics, and ports,
//! member ids, producer ids and the time become words.

use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// What was asked.
    pub(crate) what: String,
    /// The API and its version.
    pub(crate) api: String,
    /// The answer's fields.
    pub(crate) answer: Json,
}

/// All answers of a script.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) cases: Vec<Case>,
    port: u16,
    is_kafka: bool,
    pub(crate) named: BTreeMap<String, String>,
    met: BTreeMap<&'static str, Vec<String>>,
}

/// How far from now a number of milliseconds may be to be the time.
const NOW: u128 = 24 * 60 * 60 * 1000;

impl Transcript {
    /// Of a broker that listens on `port`, some of whose topics have names already.
    pub(crate) fn new(port: u16, is_kafka: bool, named: BTreeMap<String, String>) -> Transcript {
        Transcript { port, is_kafka, named, ..Transcript::default() }
    }

    /// A topic has this id.
    pub(crate) fn name(&mut self, id: &str, topic: &str) {
        self.named.insert(id.trim_start_matches("id:").to_owned(), topic.to_owned());
    }

    pub(crate) fn note(&mut self, what: &str, api: &str, version: i16, answer: Json) {
        let answer = self.neutral("", answer);
        self.cases.push(Case { what: what.to_owned(), api: format!("{api} {version}"), answer });
    }

    fn neutral(&mut self, field: &str, json: Json) -> Json {
        match json {
            Json::Array(list) => list.into_iter().map(|item| self.neutral(field, item)).collect(),
            Json::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| {
                    let value = self.neutral(&name, value);
                    (name, value)
                });
                Json::Object(fields.collect::<Map<_, _>>())
            }
            Json::String(text) => json!(self.neutral_text(field, text)),
            Json::Number(number) => {
                let value = number.as_i64().unwrap_or_default();
                if field == "port" && value == i64::from(self.port) {
                    return json!("<port>");
                }
                if field == "producer_id" && value >= 0 {
                    return json!(self.meet("producer", value.to_string()));
                }
                // A group of Kafka's begins at epoch 1, one of ours at 0, and nobody can tell.
                if self.is_kafka && ["member_epoch", "group_epoch", "assignment_epoch"].contains(&field) && value > 1 {
                    return json!(value - 1);
                }
                if field == "session_id" && value > 0 {
                    return json!(self.meet("session", value.to_string()));
                }
                if u128::try_from(value).is_ok_and(|value| value.abs_diff(now()) < NOW) {
                    return json!("<now>");
                }
                Json::Number(number)
            }
            other => other,
        }
    }

    fn neutral_text(&mut self, field: &str, text: String) -> String {
        if text.starts_with("id:00000000-0000-0000-0000-000000000000") {
            return "id:none".to_owned();
        }
        if let Some(id) = text.strip_prefix("id:") {
            return self.named.get(id).map_or_else(|| "<an id>".to_owned(), |name| format!("<id of {name}>"));
        }
        if field == "cluster_id" && !text.is_empty() {
            return "<cluster>".to_owned();
        }
        if field == "log_dir" {
            return "<directory>".to_owned();
        }
        // A member's id that the broker made ends in a UUID, or is one in Kafka's own spelling.
        let tail = text.get(text.len().saturating_sub(36)..).unwrap_or_default();
        let is_short = text.len() == 22 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if ["member_id", "leader"].contains(&field) && (is_short || uuid::Uuid::parse_str(tail).is_ok()) {
            return self.meet("member", text);
        }
        text
    }

    /// `<kind n>`, the same for what was met before.
    fn meet(&mut self, kind: &'static str, what: String) -> String {
        let met = self.met.entry(kind).or_default();
        let place = met.iter().position(|met| *met == what).unwrap_or_else(|| {
            met.push(what);
            met.len() - 1
        });
        format!("<{kind} {}>", place + 1)
    }

    pub(crate) fn write(&self, file: &Path) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let lines = self.cases.iter().map(|case| {
            let line = json!({"api": case.api, "what": case.what, "answer": case.answer});
            format!("{line}\n")
        });
        std::fs::write(file, lines.collect::<String>()).unwrap();
    }

    pub(crate) fn read(file: &Path) -> Transcript {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let case = |line: &str| {
            let mut line: Json = serde_json::from_str(line).unwrap();
            let text = |value: &Json| value.as_str().unwrap().to_owned();
            Case { what: text(&line["what"]), api: text(&line["api"]), answer: line["answer"].take() }
        };
        Transcript { cases: text.lines().map(case).collect(), ..Transcript::default() }
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}
