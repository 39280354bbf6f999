//! The shapes of the requests that we accept: one [`Shape`] per API, for every version in the table of APIs.
//!
//! A field stands in the order of the wire and names the versions that have it; a field with a tag stands after those
//! without. What a shape says about a version that the table does not support is not tested and never asked.

pub(crate) use super::admin_request_shapes::*;
use super::shape::{
    Shape, blob, boolean, int8, int16, int32, int64, list, list_of_int32, list_of_text, nested, optional, text, uuid,
};

pub(crate) static PRODUCE: Shape = Shape(&[
    text("transactional_id").nullable(),
    int16("acks"),
    int32("timeout_ms"),
    list(
        "topic_data",
        &[
            text("name").until(12),
            uuid("topic_id").since(13),
            list("partition_data", &[int32("index"), blob("records").nullable()]),
        ],
    ),
]);

pub(crate) static FETCH: Shape = Shape(&[
    int32("replica_id").until(14),
    int32("max_wait_ms"),
    int32("min_bytes"),
    int32("max_bytes"),
    int8("isolation_level"),
    int32("session_id").since(7),
    int32("session_epoch").since(7),
    list(
        "topics",
        &[
            text("topic").until(12),
            uuid("topic_id").since(13),
            list(
                "partitions",
                &[
                    int32("partition"),
                    int32("current_leader_epoch").since(9),
                    int64("fetch_offset"),
                    int32("last_fetched_epoch").since(12),
                    int64("log_start_offset").since(5),
                    int32("partition_max_bytes"),
                    uuid("replica_directory_id").since(17).tag(0),
                    int64("high_watermark").since(18).tag(1),
                ],
            ),
        ],
    ),
    list("forgotten_topics_data", &[text("topic").until(12), uuid("topic_id").since(13), list_of_int32("partitions")])
        .since(7),
    text("rack_id").since(11),
    text("cluster_id").nullable().since(12).tag(0),
    nested("replica_state", &[int32("replica_id"), int64("replica_epoch")]).since(15).tag(1),
]);

pub(crate) static LIST_OFFSETS: Shape = Shape(&[
    int32("replica_id"),
    int8("isolation_level").since(2),
    list(
        "topics",
        &[
            text("name"),
            list("partitions", &[int32("partition_index"), int32("current_leader_epoch").since(4), int64("timestamp")]),
        ],
    ),
    int32("timeout_ms").since(10),
]);

pub(crate) static METADATA: Shape = Shape(&[
    list("topics", &[uuid("topic_id").since(10), text("name").nullable()]).nullable(),
    boolean("allow_auto_topic_creation").since(4),
    boolean("include_cluster_authorized_operations").since(8).until(10),
    boolean("include_topic_authorized_operations").since(8),
]);

pub(crate) static OFFSET_COMMIT: Shape = Shape(&[
    text("group_id"),
    int32("generation_id_or_member_epoch"),
    text("member_id"),
    text("group_instance_id").nullable().since(7),
    int64("retention_time_ms").until(4),
    list(
        "topics",
        &[
            text("name").until(9),
            uuid("topic_id").since(10),
            list(
                "partitions",
                &[
                    int32("partition_index"),
                    int64("committed_offset"),
                    int32("committed_leader_epoch").since(6),
                    text("committed_metadata").nullable(),
                ],
            ),
        ],
    ),
]);

pub(crate) static OFFSET_FETCH: Shape = Shape(&[
    text("group_id").until(7),
    list("topics", &[text("name"), list_of_int32("partition_indexes")]).nullable().until(7),
    list(
        "groups",
        &[
            text("group_id"),
            text("member_id").nullable().since(9),
            int32("member_epoch").since(9),
            list("topics", &[text("name").until(9), uuid("topic_id").since(10), list_of_int32("partition_indexes")])
                .nullable(),
        ],
    )
    .since(8),
    boolean("require_stable").since(7),
]);

pub(crate) static FIND_COORDINATOR: Shape =
    Shape(&[text("key").until(3), int8("key_type").since(1), list_of_text("coordinator_keys").since(4)]);

pub(crate) static JOIN_GROUP: Shape = Shape(&[
    text("group_id"),
    int32("session_timeout_ms"),
    int32("rebalance_timeout_ms").since(1),
    text("member_id"),
    text("group_instance_id").nullable().since(5),
    text("protocol_type"),
    list("protocols", &[text("name"), blob("metadata")]),
    text("reason").nullable().since(8),
]);

pub(crate) static HEARTBEAT: Shape = Shape(&[
    text("group_id"),
    int32("generation_id"),
    text("member_id"),
    text("group_instance_id").nullable().since(3),
]);

pub(crate) static LEAVE_GROUP: Shape = Shape(&[
    text("group_id"),
    text("member_id").until(2),
    list("members", &[text("member_id"), text("group_instance_id").nullable(), text("reason").nullable().since(5)])
        .since(3),
]);

pub(crate) static SYNC_GROUP: Shape = Shape(&[
    text("group_id"),
    int32("generation_id"),
    text("member_id"),
    text("group_instance_id").nullable().since(3),
    text("protocol_type").nullable().since(5),
    text("protocol_name").nullable().since(5),
    list("assignments", &[text("member_id"), blob("assignment")]),
]);

pub(crate) static DESCRIBE_GROUPS: Shape =
    Shape(&[list_of_text("groups"), boolean("include_authorized_operations").since(3)]);

pub(crate) static LIST_GROUPS: Shape =
    Shape(&[list_of_text("states_filter").since(4), list_of_text("types_filter").since(5)]);

pub(crate) static API_VERSIONS: Shape =
    Shape(&[text("client_software_name").since(3), text("client_software_version").since(3)]);

pub(crate) static CREATE_TOPICS: Shape = Shape(&[
    list(
        "topics",
        &[
            text("name"),
            int32("num_partitions"),
            int16("replication_factor"),
            list("assignments", &[int32("partition_index"), list_of_int32("broker_ids")]),
            list("configs", &[text("name"), text("value").nullable()]),
        ],
    ),
    int32("timeout_ms"),
    boolean("validate_only"),
]);

pub(crate) static DELETE_TOPICS: Shape = Shape(&[
    list("topics", &[text("name").nullable(), uuid("topic_id")]).since(6),
    list_of_text("topic_names").until(5),
    int32("timeout_ms"),
]);

pub(crate) static DELETE_RECORDS: Shape = Shape(&[
    list("topics", &[text("name"), list("partitions", &[int32("partition_index"), int64("offset")])]),
    int32("timeout_ms"),
]);

pub(crate) static INIT_PRODUCER_ID: Shape = Shape(&[
    text("transactional_id").nullable(),
    int32("transaction_timeout_ms"),
    int64("producer_id").since(3),
    int16("producer_epoch").since(3),
]);

pub(crate) static OFFSET_FOR_LEADER_EPOCH: Shape = Shape(&[
    int32("replica_id").since(3),
    list(
        "topics",
        &[
            text("topic"),
            list("partitions", &[int32("partition"), int32("current_leader_epoch"), int32("leader_epoch")]),
        ],
    ),
]);

pub(crate) static DESCRIBE_CONFIGS: Shape = Shape(&[
    list("resources", &[int8("resource_type"), text("resource_name"), list_of_text("configuration_keys").nullable()]),
    boolean("include_synonyms"),
    boolean("include_documentation").since(3),
]);

pub(crate) static ALTER_CONFIGS: Shape = Shape(&[
    list(
        "resources",
        &[int8("resource_type"), text("resource_name"), list("configs", &[text("name"), text("value").nullable()])],
    ),
    boolean("validate_only"),
]);

pub(crate) static DESCRIBE_LOG_DIRS: Shape =
    Shape(&[list("topics", &[text("topic"), list_of_int32("partitions")]).nullable()]);

pub(crate) static CREATE_PARTITIONS: Shape = Shape(&[
    list("topics", &[text("name"), int32("count"), list("assignments", &[list_of_int32("broker_ids")]).nullable()]),
    int32("timeout_ms"),
    boolean("validate_only"),
]);

pub(crate) static DELETE_GROUPS: Shape = Shape(&[list_of_text("groups_names")]);

pub(crate) static INCREMENTAL_ALTER_CONFIGS: Shape = Shape(&[
    list(
        "resources",
        &[
            int8("resource_type"),
            text("resource_name"),
            list("configs", &[text("name"), int8("config_operation"), text("value").nullable()]),
        ],
    ),
    boolean("validate_only"),
]);

pub(crate) static DESCRIBE_CLUSTER: Shape = Shape(&[
    boolean("include_cluster_authorized_operations"),
    int8("endpoint_type").since(1),
    boolean("include_fenced_brokers").since(2),
]);

pub(crate) static DESCRIBE_TOPIC_PARTITIONS: Shape = Shape(&[
    list("topics", &[text("name")]),
    int32("response_partition_limit"),
    optional("cursor", &[text("topic_name"), int32("partition_index")]),
]);

pub(crate) static OFFSET_DELETE: Shape =
    Shape(&[text("group_id"), list("topics", &[text("name"), list("partitions", &[int32("partition_index")])])]);

pub(crate) static CONSUMER_GROUP_HEARTBEAT: Shape = Shape(&[
    text("group_id"),
    text("member_id"),
    int32("member_epoch"),
    text("instance_id").nullable(),
    text("rack_id").nullable(),
    int32("rebalance_timeout_ms"),
    list_of_text("subscribed_topic_names").nullable(),
    text("subscribed_topic_regex").nullable().since(1),
    text("server_assignor").nullable(),
    list("topic_partitions", &[uuid("topic_id"), list_of_int32("partitions")]).nullable(),
]);

pub(crate) static CONSUMER_GROUP_DESCRIBE: Shape =
    Shape(&[list_of_text("group_ids"), boolean("include_authorized_operations")]);
