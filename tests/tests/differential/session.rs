//! A conversation with one broker, taken down.
//!
//! Requests and answers are JSON whose names are those of the shapes in `protocol`: `{"topics": [{"name": "t"}]}`. Fields
//! that a request leaves out are 0, null or empty, and those that a version has not are left out of it. A string that
//! begins with `id:` is an id, one that begins with `bytes:` bytes in hexadecimal.

use crate::transcript::Transcript;
use esker_protocol::api::Api;
use esker_protocol::samples::{self, Value};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what Kafka has answered may take to be so everywhere in it.
const SETTLING: Duration = Duration::from_millis(400);

/// See the head of this file.
pub(crate) struct Session {
    address: String,
    is_kafka: bool,
    connections: BTreeMap<String, TcpStream>,
    /// The connection that is spoken on.
    current: String,
    correlation: i32,
    transcript: Transcript,
}

impl Session {
    /// A conversation with the broker at `address`, in which `names` are known: topics by id.
    pub(crate) fn new(address: &str, is_kafka: bool, names: BTreeMap<String, String>) -> Session {
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("host:port");
        Session {
            address: address.to_owned(),
            is_kafka,
            connections: BTreeMap::new(),
            current: String::new(),
            correlation: 0,
            transcript: Transcript::new(port, is_kafka, names),
        }
    }

    pub(crate) fn finish(self) -> Transcript {
        self.transcript
    }

    /// Goes on on another connection, which is opened if there is none of this name.
    pub(crate) fn on(&mut self, connection: &str) -> &mut Session {
        connection.clone_into(&mut self.current);
        self
    }

    /// Asks, and takes the answer down.
    pub(crate) fn ask(&mut self, what: &str, api: &str, version: i16, request: Json) -> Json {
        self.send(api, version, &request);
        self.hear(what, api, version)
    }

    /// Asks in every version that Esker has.
    pub(crate) fn each(&mut self, what: &str, api: &str, request: Json) {
        self.from(what, api, 0, request);
    }

    /// Asks in every version from `oldest` on that Esker has.
    pub(crate) fn from(&mut self, what: &str, api: &str, oldest: i16, request: Json) {
        let api = find(api);
        for version in api.accepted_from.max(oldest)..=api.newest {
            self.ask(what, api.name, version, request.clone());
        }
    }

    /// Asks for a change, takes the answer down, and lets it take effect.
    pub(crate) fn change(&mut self, what: &str, api: &str, version: i16, request: Json) -> Json {
        let answer = self.ask(what, api, version, request);
        self.settle();
        answer
    }

    /// Asks without taking the answer down.
    pub(crate) fn quietly(&mut self, api: &str, version: i16, request: Json) -> Json {
        self.send(api, version, &request);
        self.answer(api, version).expect("an answer")
    }

    /// Waits until the other broker, which does things in the background, has done them.
    pub(crate) fn settle(&mut self) {
        if self.is_kafka {
            std::thread::sleep(SETTLING);
        }
    }

    /// Creates a topic and waits until it can be used; its id.
    pub(crate) fn topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let configs: Vec<Json> = configs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let topic = json!({"name": name, "num_partitions": partitions, "replication_factor": 1, "configs": configs});
        let answer = self.quietly("CreateTopics", 7, json!({"topics": [topic], "timeout_ms": 10_000}));
        assert_eq!(answer["topics"][0]["error_code"], 0, "{answer}");
        self.settle();
        let id = answer["topics"][0]["topic_id"].as_str().unwrap().to_owned();
        self.transcript.name(&id, name);
        id
    }

    /// Sends a request without waiting for its answer, which [`Session::hear`] takes down.
    pub(crate) fn send(&mut self, api: &str, version: i16, request: &Json) {
        let api = find(api);
        let body = samples::request_of(api, version, &to_value(request));
        let body = body.unwrap_or_else(|error| panic!("{} {version}: {error}", api.name));
        self.send_body(api.name, version, &body);
    }

    /// Sends a request with this body, whatever it is.
    pub(crate) fn send_body(&mut self, api: &str, version: i16, body: &[u8]) {
        self.correlation += 1;
        let frame = samples::frame(find(api), version, self.correlation, body);
        self.connection().write_all(&frame).expect("the broker reads");
    }

    /// Sends a frame of any key and version, with a header of version 1.
    pub(crate) fn send_frame_of(&mut self, key: i16, version: i16, body: &[u8]) {
        self.correlation += 1;
        let rest = [&key.to_be_bytes()[..], &version.to_be_bytes(), &self.correlation.to_be_bytes(), b"\0\x02me", body];
        let rest = rest.concat();
        let frame = [&(rest.len() as u32).to_be_bytes()[..], &rest].concat();
        self.connection().write_all(&frame).expect("the broker reads");
    }

    /// Takes down whether the connection is closed.
    pub(crate) fn hear_end(&mut self, what: &str) {
        let ended = matches!(self.connection().read(&mut [0]), Ok(0) | Err(_));
        let current = self.current.clone();
        self.connections.remove(&current);
        self.transcript.note(what, "", 0, json!(if ended { "closed" } else { "an answer" }));
    }

    /// Takes down the next answer on this connection, or that there is none because it is closed.
    pub(crate) fn hear(&mut self, what: &str, api: &str, version: i16) -> Json {
        let answer = self.answer(api, version).unwrap_or_else(|| json!("closed"));
        self.transcript.note(what, api, version, answer.clone());
        answer
    }

    /// The next answer on this connection, for a script that must look at it before [`Session::note`] takes it down.
    pub(crate) fn answer_to(&mut self, api: &str, version: i16) -> Json {
        self.answer(api, version).expect("an answer")
    }

    /// Takes an answer down.
    pub(crate) fn note(&mut self, what: &str, api: &str, version: i16, answer: Json) {
        self.transcript.note(what, api, version, answer);
    }

    /// Whether nothing is answered for a while, taken down.
    pub(crate) fn hear_nothing(&mut self, what: &str, api: &str, version: i16) {
        let connection = self.connection();
        connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let answer = match connection.peek(&mut [0]) {
            Ok(0) => "closed",
            Ok(_) => "an answer",
            Err(_) => "silence",
        };
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        self.transcript.note(what, api, version, json!(answer));
    }

    fn answer(&mut self, api: &str, version: i16) -> Option<Json> {
        let api = find(api);
        let (mut length, asked) = ([0; 4], Instant::now());
        let connection = self.connection();
        if connection.read_exact(&mut length).is_err() {
            let current = self.current.clone();
            self.connections.remove(&current);
            return None;
        }
        if asked.elapsed() > Duration::from_secs(1) {
            eprintln!("{} {version} took {:?}", api.name, asked.elapsed());
        }
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        connection.read_exact(&mut frame).expect("a whole answer");
        let header = 4 + usize::from(api.response_header_version(version) >= 1);
        let (header, body) = frame.split_at(header);
        assert!(header.get(4).is_none_or(|tags| *tags == 0), "no tags in the header");
        // Told that its version does not exist, a client is told so in version 0.
        let unsupported = api.name == "ApiVersions" && body.starts_with(&35_i16.to_be_bytes());
        let version = if unsupported { 0 } else { version };
        let fields = samples::response_fields(api, version, body);
        let fields = fields.unwrap_or_else(|error| panic!("{} {version}: {error}: {body:02x?}", api.name));
        Some(to_json(fields))
    }

    fn connection(&mut self) -> &mut TcpStream {
        let address = &self.address;
        self.connections.entry(self.current.clone()).or_insert_with(|| {
            let stream = TcpStream::connect(address).expect("the broker listens");
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
    }
}

fn find(name: &str) -> &'static Api {
    let found = esker_protocol::api::APIS.iter().find(|api| api.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("bytes:{}", digits.collect::<String>())
}

fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Number((*flag).into()),
        Json::Number(number) => Value::Number(number.as_i64().expect("a whole number")),
        Json::String(text) => {
            if let Some(id) = text.strip_prefix("id:") {
                Value::Id(Uuid::parse_str(id).expect("an id"))
            } else if let Some(hex) = text.strip_prefix("bytes:") {
                let digits = hex.as_bytes().chunks(2);
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                Value::Bytes(digits.map(byte).collect())
            } else {
                Value::Text(text.clone())
            }
        }
        Json::Array(list) => Value::List(list.iter().map(to_value).collect()),
        Json::Object(fields) => {
            Value::Fields(fields.iter().map(|(name, value)| (name.clone(), to_value(value))).collect())
        }
    }
}

fn to_json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Number(number) => json!(number),
        Value::Id(id) => json!(format!("id:{id}")),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(hex(&bytes)),
        Value::List(list) => list.into_iter().map(to_json).collect(),
        Value::Fields(fields) => {
            let fields: Map<String, Json> = fields.into_iter().map(|(name, value)| (name, to_json(value))).collect();
            Json::Object(fields)
        }
    }
}
