//! rust-rdkafka, with the librdkafka that it bundles. `matrix/adapters.py` says what each request means.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message, OwnedHeaders, ToBytes};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// Why there is no answer.
enum Refusal {
    Absent(&'static str),
    Error(String, String),
}

impl From<KafkaError> for Refusal {
    fn from(error: KafkaError) -> Self {
        let name = error.rdkafka_error_code().map_or_else(|| "KafkaError".to_owned(), |code| format!("{code:?}"));
        Self::Error(name, error.to_string())
    }
}

impl From<(String, RDKafkaErrorCode)> for Refusal {
    fn from((what, code): (String, RDKafkaErrorCode)) -> Self {
        Self::Error(format!("{code:?}"), format!("{what}: {code}"))
    }
}

type Answer = Result<Value, Refusal>;

/// What became of each record, by its number.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<HashMap<usize, Result<(i32, i64), KafkaError>>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let told = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().unwrap().insert(*number, told);
    }
}

/// The partitions that a member was told to give up.
#[derive(Default)]
struct Lost(Mutex<Vec<i32>>);

impl ClientContext for Lost {}

impl ConsumerContext for Lost {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.0.lock().unwrap().extend(partitions.elements().iter().map(|one| one.partition()));
        }
    }
}

struct Adapter {
    base: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
    members: HashMap<String, (BaseConsumer<Lost>, String)>,
}

fn text<'a>(request: &'a Value, field: &str) -> &'a str {
    request[field].as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|text| STANDARD.decode(text).expect("base64"))
}

fn encode<T: ToBytes + ?Sized>(bytes: Option<&T>) -> Value {
    bytes.map_or(Value::Null, |bytes| STANDARD.encode(bytes.to_bytes()).into())
}

fn offsets<'a>(topic: &str, from: &'a Value) -> impl Iterator<Item = (String, i32, Offset)> + 'a {
    let topic = topic.to_owned();
    let pairs = from.as_object().expect("an object").iter();
    pairs.map(move |(partition, at)| (topic.clone(), partition.parse().expect("a number"), Offset::Offset(number(at))))
}

fn list(topic: &str, from: &Value) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in offsets(topic, from) {
        list.add_partition_offset(&topic, partition, offset).expect("a good offset");
    }
    list
}

fn shown(message: &BorrowedMessage<'_>) -> Value {
    let headers: Vec<Value> = message
        .headers()
        .map(|headers| headers.iter().map(|one| json!([one.key, encode(one.value)])).collect())
        .unwrap_or_default();
    json!({"partition": message.partition(), "offset": message.offset(), "timestamp": message.timestamp().to_millis(),
           "key": encode(message.key()), "value": encode(message.payload()), "headers": headers})
}

impl Adapter {
    fn new(bootstrap: &str) -> Self {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", bootstrap);
        let admin = base.create().expect("an admin client");
        Self { base, admin, members: HashMap::new() }
    }

    fn answer(&mut self, request: &Value) -> Answer {
        let topic = text(request, "topic");
        match text(request, "op") {
            "create" => {
                let partitions = number(&request["partitions"]) as i32;
                let mut made = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
                for (key, value) in request["configs"].as_object().expect("an object") {
                    made = made.set(key, value.as_str().expect("text"));
                }
                self.first(block_on(self.admin.create_topics([&made], &AdminOptions::new()))?)
            }
            "describe" => self.describe(topic),
            "configure" => {
                let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
                for (key, value) in request["configs"].as_object().expect("an object") {
                    change = change.set(key, value.as_str().expect("text"));
                }
                match block_on(self.admin.alter_configs([&change], &AdminOptions::new()))?.remove(0) {
                    Ok(_) => Ok(Value::Null),
                    Err((_, code)) => Err((topic.to_owned(), code).into()),
                }
            }
            "grow" => {
                let count = number(&request["partitions"]) as usize;
                let grown = NewPartitions::new(topic, count);
                self.first(block_on(self.admin.create_partitions([&grown], &AdminOptions::new()))?)
            }
            "delete" => self.first(block_on(self.admin.delete_topics(&[topic], &AdminOptions::new()))?),
            "produce" => self.produce(request, &[]),
            "consume" => self.consume(topic, request),
            "time" => {
                let consumer: BaseConsumer = self.consumer(&[]).create()?;
                let at = json!({(request["partition"].to_string()): request["timestamp"]});
                let found = consumer.offsets_for_times(list(topic, &at), LIMIT)?;
                Ok(match found.elements()[0].offset() {
                    Offset::Offset(offset) => offset.into(),
                    _ => Value::Null,
                })
            }
            "join" => self.join(topic, request),
            "poll" => self.poll(text(request, "member")),
            "commit" => {
                let (consumer, topic) = &self.members[text(request, "member")];
                consumer.commit(&list(topic, &request["offsets"]), CommitMode::Sync)?;
                Ok(Value::Null)
            }
            "leave" => {
                // A consumer leaves its group when it is dropped.
                self.members.remove(text(request, "member"));
                Ok(Value::Null)
            }
            "ancient" => {
                let record = json!({"partition": 0, "key": null, "value": "dg==", "headers": [], "timestamp": 0});
                let request = json!({"topic": topic, "codec": "none", "idempotent": false, "records": [record]});
                self.produce(
                    &request,
                    &[
                        ("api.version.request", "false"),
                        ("broker.version.fallback", "0.9.0"),
                        ("message.timeout.ms", "5000"),
                    ],
                )
            }
            _ => Err(Refusal::Absent("the client has no such function")),
        }
    }

    fn first(&self, results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Answer {
        results.into_iter().next().expect("a result per topic")?;
        Ok(Value::Null)
    }

    fn describe(&self, topic: &str) -> Answer {
        let described =
            block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new()))?.remove(0);
        let described = described.map_err(|code| Refusal::from((topic.to_owned(), code)))?;
        let configs: Map<String, Value> =
            described.entries.into_iter().map(|one| (one.name, one.value.into())).collect();
        let metadata = self.admin.inner().fetch_metadata(Some(topic), LIMIT)?;
        Ok(json!({"partitions": metadata.topics()[0].partitions().len(), "configs": configs}))
    }

    fn produce(&self, request: &Value, more: &[(&str, &str)]) -> Answer {
        let mut config = self.base.clone();
        config.set("enable.idempotence", request["idempotent"].to_string());
        config.set("compression.type", text(request, "codec"));
        config.set("linger.ms", "50").set("message.timeout.ms", "20000").set("message.max.bytes", "2000000");
        for (key, value) in more {
            config.set(*key, *value);
        }
        let deliveries = Deliveries::default();
        let producer: ThreadedProducer<Deliveries> = config.create_with_context(deliveries.clone())?;
        let records = request["records"].as_array().expect("records");
        for (at, one) in records.iter().enumerate() {
            let mut headers = OwnedHeaders::new();
            for pair in one["headers"].as_array().expect("headers") {
                let value = decode(&pair[1]);
                headers = headers.insert(Header { key: pair[0].as_str().expect("a name"), value: value.as_ref() });
            }
            let (key, value) = (decode(&one["key"]), decode(&one["value"]));
            let mut record = BaseRecord::<[u8], [u8], Box<usize>>::with_opaque_to(text(request, "topic"), Box::new(at));
            record = record.timestamp(number(&one["timestamp"])).headers(headers);
            record.partition = one["partition"].as_i64().map(|partition| partition as i32);
            record.key = key.as_deref();
            record.payload = value.as_deref();
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(LIMIT)?;
        let told = deliveries.0.lock().unwrap();
        let each = (0..records.len()).map(|at| match told.get(&at) {
            Some(Ok(place)) => Ok(json!([place.0, place.1])),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(Refusal::Error("unanswered".to_owned(), format!("record {at}"))),
        });
        each.collect::<Result<Vec<Value>, Refusal>>().map(Value::from)
    }

    fn consumer(&self, more: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("group.id", "none").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("check.crcs", "true");
        for (key, value) in more {
            config.set(*key, *value);
        }
        config
    }

    fn consume(&self, topic: &str, request: &Value) -> Answer {
        let reset = if text(request, "reset") == "none" { "error" } else { "earliest" };
        let consumer: BaseConsumer = self.consumer(&[("auto.offset.reset", reset)]).create()?;
        consumer.assign(&list(topic, &request["from"]))?;
        let count = number(&request["count"]) as usize;
        let (mut found, end) = (Vec::new(), Instant::now() + LIMIT);
        while found.len() < count && Instant::now() < end {
            if let Some(message) = consumer.poll(Duration::from_millis(500)) {
                found.push(shown(&message?));
            }
        }
        Ok(found.into())
    }

    fn join(&mut self, topic: &str, request: &Value) -> Answer {
        let (group, assignor) = (text(request, "group"), text(request, "assignor"));
        let mut config = self.consumer(&[("group.id", group)]);
        if text(request, "protocol") == "consumer" {
            config.set("group.protocol", "consumer").set("group.remote.assignor", assignor);
        } else if assignor == "sticky" {
            return Err(Refusal::Absent("librdkafka has no eager sticky assignor"));
        } else {
            config.set("partition.assignment.strategy", assignor).set("session.timeout.ms", "10000");
        }
        if let Some(instance) = request["instance"].as_str() {
            config.set("group.instance.id", instance);
        }
        let consumer: BaseConsumer<Lost> = config.create_with_context(Lost::default())?;
        consumer.subscribe(&[topic])?;
        self.members.insert(text(request, "member").to_owned(), (consumer, topic.to_owned()));
        Ok(Value::Null)
    }

    fn poll(&self, member: &str) -> Answer {
        let (consumer, _) = &self.members[member];
        let (mut found, end) = (Vec::new(), Instant::now() + Duration::from_millis(200));
        while found.len() < 100 && Instant::now() < end {
            if let Some(message) = consumer.poll(Duration::from_millis(50)) {
                found.push(shown(&message?));
            }
        }
        let mut assigned: Vec<i32> = consumer.assignment()?.elements().iter().map(|one| one.partition()).collect();
        assigned.sort_unstable();
        let lost = std::mem::take(&mut *consumer.context().0.lock().unwrap());
        Ok(json!({"records": found, "assigned": assigned, "lost": lost}))
    }
}

fn main() {
    let bootstrap = std::env::args().nth(1).expect("BOOTSTRAP");
    let mut adapter = Adapter::new(&bootstrap);
    let mut out = std::io::stdout();
    let mut say = |answer: Value| {
        writeln!(out, "{answer}").and_then(|()| out.flush()).expect("somebody listens");
    };
    let version = format!("0.39.0 (librdkafka {})", rdkafka::util::get_rdkafka_version().1);
    // Its result of alter_configs has no room for the broker's refusal.
    say(json!({"client": "rust-rdkafka", "version": version, "unheard": ["topic-configure"]}));
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        say(match adapter.answer(&request) {
            Ok(value) => json!({"ok": value}),
            Err(Refusal::Absent(why)) => json!({"absent": why}),
            Err(Refusal::Error(name, message)) => json!({"error": name, "message": message}),
        });
    }
}
