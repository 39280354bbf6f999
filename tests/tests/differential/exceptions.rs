//! Where Esker may answer otherwise than Kafka, and why.

use serde_json::Value as Json;

/// A difference that is meant.
struct Exception {
    /// What it is about: each a part of `script | API version | what was asked`; one of them is enough.
    cases: &'static [&'static str],
    /// The fields: ends of paths without the elements of lists (`brokers.rack`), or, with brackets, parts of whole paths
    /// (`api_keys[17]`).
    fields: &'static [&'static str],
    /// Which values may stand there.
    values: Values,
    /// Why it is so.
    why: &'static str,
}

/// What Kafka says, and what Esker says.
#[derive(Clone, Copy)]
enum Values {
    /// Whatever they are.
    Any,
    /// Two sentences, or one and null: for people.
    Sentences,
    /// Just these.
    Just(&'static str, &'static str),
    /// Kafka's is there, ours is not.
    OnlyKafka,
    /// Ours is there, Kafka's is not.
    OnlyEsker,
}

impl Values {
    fn are(self, kafka: Option<&Json>, esker: Option<&Json>) -> bool {
        let is_sentence = |json: Option<&Json>| json.is_some_and(|json| json.is_null() || json.is_string());
        let is = |json: Option<&Json>, wanted: &str| json.map(Json::to_string).as_deref() == Some(wanted);
        match self {
            Values::Any => true,
            Values::Sentences => is_sentence(kafka) && is_sentence(esker),
            Values::Just(first, second) => is(kafka, first) && is(esker, second),
            Values::OnlyKafka => kafka.is_some() && esker.is_none(),
            Values::OnlyEsker => kafka.is_none() && esker.is_some(),
        }
    }
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        cases: &[""],
        fields: &["error_message", "batch_index_error_message"],
        values: Values::Sentences,
        why: "Sentences are for people, and ours are our own; where nothing is wrong Kafka says \"\" or \"NONE\" here and null there.",
    },
    Exception {
        cases: &[""],
        fields: &["[order]"],
        values: Values::Any,
        why: "Kafka answers in the order of its hash tables, or what is refused first; we in the order of the request.",
    },
    Exception {
        cases: &["versions | ApiVersions"],
        fields: &[
            "api_keys[17]",
            "api_keys[24]",
            "api_keys[25]",
            "api_keys[26]",
            "api_keys[27]",
            "api_keys[28]",
            "api_keys[34]",
            "api_keys[36]",
            "api_keys[38]",
            "api_keys[39]",
            "api_keys[40]",
            "api_keys[41]",
            "api_keys[49]",
            "api_keys[51]",
            "api_keys[64]",
            "api_keys[65]",
            "api_keys[76]",
            "api_keys[77]",
            "api_keys[78]",
            "api_keys[79]",
            "api_keys[80]",
            "api_keys[81]",
            "api_keys[83]",
            "api_keys[84]",
            "api_keys[85]",
            "api_keys[86]",
            "api_keys[87]",
            "api_keys[88]",
            "api_keys[89]",
            "api_keys[90]",
            "api_keys[91]",
            "api_keys[92]",
        ],
        values: Values::OnlyKafka,
        why: "Transactions, SASL, delegation tokens, quotas, share and streams groups, and what changes a quorum are not there.",
    },
    Exception {
        cases: &["versions | ApiVersions"],
        fields: &[
            "supported_features",
            "finalized_features",
            "supported_features.min_version",
            "finalized_features_epoch",
        ],
        values: Values::Any,
        why: "A feature is published if it is there, at the levels that it can be set to; the epoch is the number of a commit.",
    },
    Exception {
        cases: &["a count that nothing backs"],
        fields: &[""],
        values: Values::Any,
        why: "Kafka takes any negative count for null.",
    },
    Exception {
        cases: &["| Metadata", "| DescribeCluster"],
        fields: &["brokers.rack"],
        values: Values::Just("\"rack-1\"", "null"),
        why: "The recorded Kafka is in a rack; a lone broker has no use for one.",
    },
    Exception {
        cases: &["Metadata 12 | by neither", "Metadata 13 | by neither"],
        fields: &["brokers", "cluster_id", "controller_id", "error_code", "topics.error_code"],
        values: Values::Any,
        why: "Kafka fails on a topic without name and id and says UNKNOWN_SERVER_ERROR of everything; we refuse the topic.",
    },
    Exception {
        cases: &["topics | DeleteTopics 6 |"],
        fields: &["responses", "responses.topic_id"],
        values: Values::Any,
        why: "A topic that is named once by name and once by id is refused by both.",
    },
    Exception {
        cases: &["topics | CreateTopics", "configs | DescribeConfigs"],
        fields: &["configs[tail.max.bytes]", "configs[tail.max.ms]"],
        values: Values::OnlyEsker,
        why: "Keys of our own.",
    },
    Exception {
        cases: &["topics | CreateTopics", "configs | DescribeConfigs"],
        fields: &["configs[file.delete.delay.ms].value"],
        values: Values::Just("\"60000\"", "\"0\""),
        why: "A deleted file is no safer for lying about; who reads it keeps it.",
    },
    Exception {
        cases: &["topics | CreateTopics", "configs | DescribeConfigs"],
        fields: &["configs[remote.storage.enable].value"],
        values: Values::Just("\"false\"", "\"true\""),
        why: "Here every topic is tiered that does not say otherwise.",
    },
    Exception {
        cases: &["topics | CreateTopics", "configs | DescribeConfigs"],
        fields: &["configs[min.insync.replicas]"],
        values: Values::Any,
        why: "Kafka sets it for the whole cluster when it is formatted (KIP-966).",
    },
    Exception {
        cases: &["configs | DescribeConfigs"],
        fields: &["configs[retention.ms].synonyms", "configs[log.retention.ms]"],
        values: Values::Any,
        why: "Kafka keeps quiet of where milliseconds come from if from log.retention.hours.",
    },
    Exception {
        cases: &["some keys of a broker"],
        fields: &["configs[node.id].synonyms[broker.id]"],
        values: Values::OnlyEsker,
        why: "We still take the older name for it.",
    },
    Exception {
        cases: &["key of a group", "no keys"],
        fields: &["configs[share.", "configs[streams."],
        values: Values::OnlyKafka,
        why: "There are no share and no streams groups.",
    },
    Exception {
        cases: &["an unknown operation"],
        fields: &["responses.error_code"],
        values: Values::Just("-1", "42"),
        why: "Kafka fails on an operation that it does not know.",
    },
    Exception {
        cases: &["no.such.key=2"],
        fields: &["responses.error_code"],
        values: Values::Just("0", "42"),
        why: "Kafka keeps what it does not know for plug-ins; we refuse what we do not honour.",
    },
    Exception {
        cases: &["Fetch 12 | replica_id 7"],
        fields: &["error_code", "responses"],
        values: Values::Any,
        why: "There is no other broker that could be a follower.",
    },
    Exception {
        cases: &["isolation_level 2"],
        fields: &["error_code", "responses"],
        values: Values::Any,
        why: "Kafka fails on a level that it does not know; we take it for read_uncommitted.",
    },
    Exception {
        cases: &["isolation_level 2", "max_bytes -1", "partition_max_bytes -1"],
        fields: &[
            "partitions.error_code",
            "partitions.high_watermark",
            "partitions.last_stable_offset",
            "partitions.log_start_offset",
            "partitions.records",
        ],
        values: Values::Any,
        why: "Kafka fails on a level that it does not know and on a limit below 0; we give nothing beyond the first batch.",
    },
    Exception {
        cases: &["fetch | Fetch", "offsets | Fetch"],
        fields: &["partitions.high_watermark", "partitions.last_stable_offset", "partitions.log_start_offset"],
        values: Values::Any,
        why: "Where an offset is out of range, we say where the log is.",
    },
    Exception {
        cases: &["fetch | Fetch"],
        fields: &["partitions.aborted_transactions"],
        values: Values::Just("[]", "null"),
        why: "Nobody looks for aborted transactions beside an error.",
    },
    Exception {
        cases: &["max_bytes 100"],
        fields: &["partitions.records"],
        values: Values::Any,
        why: "Kafka cuts a batch in the middle where the limit is; we end before it.",
    },
    Exception {
        cases: &["groups | ListGroups"],
        fields: &["groups[strange]"],
        values: Values::OnlyKafka,
        why: "Kafka keeps a group that nobody ever got into.",
    },
    Exception {
        cases: &["no partitions"],
        fields: &["topics[kept]", "responses[in]", "responses[<id of in>]", "topics[<id of kept>]"],
        values: Values::OnlyEsker,
        why: "A topic is echoed even if nothing of it was asked for.",
    },
    Exception {
        cases: &["one twice"],
        fields: &["topics.partitions"],
        values: Values::OnlyKafka,
        why: "A partition that is asked for twice is answered once: else a short request could have a very long answer.",
    },
    Exception {
        cases: &["offsets | DescribeLogDirs"],
        fields: &["partition_size", "total_bytes", "usable_bytes"],
        values: Values::Any,
        why: "Where the data is, and how much room it takes; a segment begins with a header here.",
    },
    Exception {
        cases: &["offsets | DescribeProducers"],
        fields: &["last_timestamp"],
        values: Values::Any,
        why: "A producer is forgotten by the broker's clock, not by that of its records.",
    },
    Exception {
        cases: &["listed 0 -1 -2"],
        fields: &["leader_epoch", "end_offset"],
        values: Values::Any,
        why: "There are no epochs below 0.",
    },
    Exception {
        cases: &["a byte too many", "log append time"],
        fields: &["base_offset", "error_code", "log_start_offset"],
        values: Values::Any,
        why: "What follows a batch, or claims the broker's clock, is refused; Kafka lets it pass.",
    },
    Exception {
        cases: &["magic 3", "an unknown codec", "records that are none"],
        fields: &["error_code", "record_errors"],
        values: Values::Any,
        why: "Kafka fails on these; to us they are INVALID_RECORD.",
    },
    Exception {
        cases: &["produce | Produce"],
        fields: &["log_start_offset"],
        values: Values::Any,
        why: "Where the log starts is of no use to whom it does not take.",
    },
    Exception {
        cases: &["the same again", "the second again"],
        fields: &["log_append_time_ms"],
        values: Values::Any,
        why: "Kafka has a duplicate's own time stand for the time of its appending; we have it only where that is the topic's rule.",
    },
    Exception {
        cases: &["tools | DescribeQuorum"],
        fields: &["nodes.listeners", "log_end_offset", "high_watermark", "leader_epoch", "replica_directory_id"],
        values: Values::Any,
        why: "The metadata log is another, and there is no listener for controllers.",
    },
    Exception {
        cases: &["consumer_groups | ConsumerGroupDescribe"],
        fields: &["members.subscribed_topic_names"],
        values: Values::Any,
        why: "We keep them sorted.",
    },
    Exception {
        cases: &["consumer_groups | ConsumerGroupDescribe"],
        fields: &["members.subscribed_topic_regex"],
        values: Values::Just("\"\"", "null"),
        why: "No expression is null.",
    },
    Exception {
        cases: &["| an expression"],
        fields: &["assignment.topic_partitions"],
        values: Values::Any,
        why: "Kafka matches expressions in the background, and assigns later.",
    },
    Exception {
        cases: &["expression \"a{2\""],
        fields: &["error_code", "assignment", "heartbeat_interval_ms", "member_epoch", "member_id"],
        values: Values::Any,
        why: "To RE2 an open brace may stand for itself; the regex crate refuses it.",
    },
];

/// The exceptions, and which of them were needed.
#[derive(Default)]
pub(crate) struct Excused {
    used: Vec<usize>,
}

impl Excused {
    /// Whether a difference is meant.
    pub(crate) fn excuses(&mut self, case: &str, path: &str, kafka: Option<&Json>, esker: Option<&Json>) -> bool {
        let plain = without_elements(path);
        let is_field = |field: &&str| match field.contains('[') {
            true => path.contains(field),
            false => plain == **field || plain.ends_with(&format!(".{field}")),
        };
        let is_meant = |exception: &Exception| {
            exception.cases.iter().any(|about| case.contains(about))
                && exception.fields.iter().any(is_field)
                && exception.values.are(kafka, esker)
        };
        let found = EXCEPTIONS.iter().position(is_meant);
        self.used.extend(found);
        found.is_some()
    }

    /// The exceptions that excused nothing.
    pub(crate) fn idle(&self) -> Vec<String> {
        let idle = EXCEPTIONS.iter().enumerate().filter(|(place, _)| !self.used.contains(place));
        idle.map(|(_, Exception { cases, fields, why, .. })| {
            format!("an exception that excuses nothing: {cases:?} {fields:?} ({why})")
        })
        .collect()
    }
}

/// `topics[a].partitions[0].error_code` -> `topics.partitions.error_code`.
fn without_elements(path: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0;
    for letter in path.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            letter if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    plain
}
