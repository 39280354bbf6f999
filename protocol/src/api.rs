//! The APIs that Esker speaks: one table, from which the ApiVersions answer, the check of every request, the header
//! versions and the guards' shapes come.
//!
//! An [`Api`] has two ranges. The *advertised* one is what ApiVersions says; the *accepted* one is what is decoded.
//! They differ for Produce alone, which Kafka advertises from 0 on because librdkafka takes a higher minimum for "no
//! compression" (KAFKA-18659), and accepts from 3 on. All other minimums are those of Kafka 4 (KIP-896), since
//! clients compare only maximums; no maximum exceeds what the `kafka-protocol` crate decodes, or [`body`](crate::body)
//! by itself.

use crate::error_code::ErrorCode;
use crate::guard::shape::Shape;
use crate::guard::{request_shapes as requests, response_shapes as responses};
pub use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

/// One API: its key, its versions and what its messages look like.
#[derive(Debug)]
pub struct Api {
    /// Its number, by Kafka's name.
    pub key: ApiKey,
    /// Kafka's name, for logs and metrics.
    pub name: &'static str,
    /// The first version that ApiVersions names.
    pub advertised_from: i16,
    /// The first version that is decoded.
    pub accepted_from: i16,
    /// The last version, advertised and accepted.
    pub newest: i16,
    /// The first version in the compact form with tagged fields (KIP-482).
    flexible_from: i16,
    pub(crate) request: &'static Shape,
    pub(crate) response: &'static Shape,
}

impl Api {
    /// The API with `key`, unless Esker does not have it.
    pub fn of(key: ApiKey) -> Option<&'static Api> {
        Api::with_code(key as i16)
    }

    /// The API with the number `code`, unless Esker does not have it.
    pub fn with_code(code: i16) -> Option<&'static Api> {
        let found = APIS.binary_search_by_key(&code, |api| api.key as i16).ok()?;
        APIS.get(found)
    }

    /// Whether a request of this version is decoded; others close the connection, as in Kafka.
    pub fn accepts(&self, version: i16) -> bool {
        (self.accepted_from..=self.newest).contains(&version)
    }

    /// Whether messages of this version are in the compact form with tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// The version of a request's header: 2 has tagged fields, 1 has not.
    pub fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of a response's header: 1 has tagged fields, 0 has not. An ApiVersions response never has, since
    /// its reader may not know the version (KIP-511).
    pub fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && self.key != ApiKey::ApiVersions { 1 } else { 0 }
    }

    fn range(&self) -> ApiVersion {
        ApiVersion::default()
            .with_api_key(self.key as i16)
            .with_min_version(self.advertised_from)
            .with_max_version(self.newest)
    }
}

/// The answer to ApiVersions: every API that Esker has, and no features, which [`features`](crate::features) adds for
/// those who can read them.
pub fn versions() -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_api_keys(APIS.iter().map(Api::range).collect())
}

/// The answer to an ApiVersions request that is refused with `error`. To a version that we do not know it says, in
/// version 0, which ones we do (KIP-511).
pub fn versions_refused(error: ErrorCode) -> ApiVersionsResponse {
    let ranges = Api::of(ApiKey::ApiVersions).filter(|_| error == ErrorCode::UNSUPPORTED_VERSION);
    ApiVersionsResponse::default()
        .with_error_code(error.code())
        .with_api_keys(ranges.map(Api::range).into_iter().collect())
}

/// Whether a client's name or version of its software is one that Kafka accepts (KIP-511): letters and digits, with
/// dots and hyphens between them.
pub fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

macro_rules! apis {
    ($($name:ident $oldest:literal..=$newest:literal, flexible $flexible:literal, $shape:ident;)*) => {
        &[$(Api {
            key: ApiKey::$name,
            name: stringify!($name),
            advertised_from: if matches!(ApiKey::$name, ApiKey::Produce) { 0 } else { $oldest },
            accepted_from: $oldest,
            newest: $newest,
            flexible_from: $flexible,
            request: &requests::$shape,
            response: &responses::$shape,
        }),*]
    };
}

/// Every API that Esker has, by key.
pub static APIS: &[Api] = apis! {
    Produce 3..=13, flexible 9, PRODUCE;
    Fetch 4..=18, flexible 12, FETCH;
    ListOffsets 1..=11, flexible 6, LIST_OFFSETS;
    Metadata 0..=13, flexible 9, METADATA;
    OffsetCommit 2..=10, flexible 8, OFFSET_COMMIT;
    OffsetFetch 1..=10, flexible 6, OFFSET_FETCH;
    FindCoordinator 0..=6, flexible 3, FIND_COORDINATOR;
    JoinGroup 0..=9, flexible 6, JOIN_GROUP;
    Heartbeat 0..=4, flexible 4, HEARTBEAT;
    LeaveGroup 0..=5, flexible 4, LEAVE_GROUP;
    SyncGroup 0..=5, flexible 4, SYNC_GROUP;
    DescribeGroups 0..=6, flexible 5, DESCRIBE_GROUPS;
    ListGroups 0..=5, flexible 3, LIST_GROUPS;
    ApiVersions 0..=4, flexible 3, API_VERSIONS;
    CreateTopics 2..=7, flexible 5, CREATE_TOPICS;
    DeleteTopics 1..=6, flexible 4, DELETE_TOPICS;
    DeleteRecords 0..=2, flexible 2, DELETE_RECORDS;
    InitProducerId 0..=5, flexible 2, INIT_PRODUCER_ID;
    OffsetForLeaderEpoch 2..=4, flexible 4, OFFSET_FOR_LEADER_EPOCH;
    DescribeAcls 1..=3, flexible 2, DESCRIBE_ACLS;
    CreateAcls 1..=3, flexible 2, CREATE_ACLS;
    DeleteAcls 1..=3, flexible 2, DELETE_ACLS;
    DescribeConfigs 1..=4, flexible 4, DESCRIBE_CONFIGS;
    AlterConfigs 0..=2, flexible 2, ALTER_CONFIGS;
    DescribeLogDirs 1..=5, flexible 2, DESCRIBE_LOG_DIRS;
    CreatePartitions 0..=3, flexible 2, CREATE_PARTITIONS;
    DeleteGroups 0..=2, flexible 2, DELETE_GROUPS;
    ElectLeaders 0..=2, flexible 2, ELECT_LEADERS;
    IncrementalAlterConfigs 0..=1, flexible 1, INCREMENTAL_ALTER_CONFIGS;
    AlterPartitionReassignments 0..=1, flexible 0, ALTER_PARTITION_REASSIGNMENTS;
    ListPartitionReassignments 0..=0, flexible 0, LIST_PARTITION_REASSIGNMENTS;
    OffsetDelete 0..=0, flexible 32767, OFFSET_DELETE;
    DescribeClientQuotas 0..=1, flexible 1, DESCRIBE_CLIENT_QUOTAS;
    DescribeUserScramCredentials 0..=0, flexible 0, DESCRIBE_USER_SCRAM_CREDENTIALS;
    DescribeQuorum 0..=2, flexible 0, DESCRIBE_QUORUM;
    UpdateFeatures 0..=2, flexible 0, UPDATE_FEATURES;
    DescribeCluster 0..=2, flexible 0, DESCRIBE_CLUSTER;
    DescribeProducers 0..=0, flexible 0, DESCRIBE_PRODUCERS;
    ListTransactions 0..=2, flexible 0, LIST_TRANSACTIONS;
    ConsumerGroupHeartbeat 0..=1, flexible 0, CONSUMER_GROUP_HEARTBEAT;
    ConsumerGroupDescribe 0..=1, flexible 0, CONSUMER_GROUP_DESCRIBE;
    ListConfigResources 0..=1, flexible 0, LIST_CONFIG_RESOURCES;
    DescribeTopicPartitions 0..=0, flexible 0, DESCRIBE_TOPIC_PARTITIONS;
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    #[test]
    fn the_table_is_sorted_and_agrees_with_the_crate() {
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
        for api in APIS {
            assert_eq!(Api::of(api.key).map(|found| found.name), Some(api.name));
            assert_eq!(format!("{:?}", api.key), api.name);
            let known = api.key.valid_versions();
            let newest = body::newest_known(api.key).unwrap_or(known.max);
            assert!(known.min <= api.accepted_from && api.newest <= newest, "{} {known}", api.name);
            for version in api.accepted_from..=api.newest {
                assert_eq!(
                    api.request_header_version(version),
                    api.key.request_header_version(version),
                    "{}",
                    api.name
                );
                assert_eq!(
                    api.response_header_version(version),
                    api.key.response_header_version(version),
                    "{} {version}",
                    api.name
                );
            }
        }
        assert!(Api::with_code(-1).is_none() && Api::with_code(9999).is_none());
    }

    #[test]
    fn produce_is_advertised_from_0_and_accepted_from_3() {
        let produce = Api::of(ApiKey::Produce).unwrap();
        assert_eq!((produce.advertised_from, produce.newest), (0, 13));
        assert!(!produce.accepts(2) && produce.accepts(3) && produce.accepts(13) && !produce.accepts(14));
        assert!(APIS.iter().all(|api| api.key == ApiKey::Produce || api.advertised_from == api.accepted_from));
    }

    #[test]
    fn the_versions_answer_has_no_tagged_fields() {
        let response = versions();
        assert_eq!(response.api_keys.len(), APIS.len());
        let mut bytes = BytesMut::new();
        response.encode(&mut bytes, 3).unwrap();
        // Error, count + 1, seven bytes per API of which the last is its empty tag section, throttle time, no tags.
        assert_eq!(bytes.len(), 2 + 1 + APIS.len() * 7 + 4 + 1);
        assert_eq!(bytes.last(), Some(&0));
    }

    #[test]
    fn an_unknown_version_is_told_the_range() {
        let response = versions_refused(ErrorCode::UNSUPPORTED_VERSION);
        let mut bytes = BytesMut::new();
        response.encode(&mut bytes, 0).unwrap();
        assert_eq!(&bytes[..], [0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
        assert!(versions_refused(ErrorCode::INVALID_REQUEST).api_keys.is_empty());
    }

    #[test]
    fn software_names_are_matched_as_kafka_does() {
        for good in ["a", "7", "librdkafka", "apache-kafka-java", "2.0.2", "a--b", "a..b"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a.", "a b", "a_b", "\u{e9}", "a\n"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
