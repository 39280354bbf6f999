//! The shapes of the responses that our client side decodes: one [`Shape`] per API, for every version in the table.
//!
//! The benchmark, the tests and later the followers read responses of other processes, which deserve no more trust
//! than requests. The same shapes fill the responses on which the encoder's tests run.

pub(crate) use super::admin_response_shapes::*;
pub(crate) use super::group_response_shapes::*;
use super::shape::{
    Shape, blob, boolean, int8, int16, int32, int64, list, list_of_int32, nested, optional, text, uuid,
};

pub(crate) static PRODUCE: Shape = Shape(&[
    list(
        "responses",
        &[
            text("name").until(12),
            uuid("topic_id").since(13),
            list(
                "partition_responses",
                &[
                    int32("index"),
                    int16("error_code"),
                    int64("base_offset"),
                    int64("log_append_time_ms"),
                    int64("log_start_offset").since(5),
                    list("record_errors", &[int32("batch_index"), text("batch_index_error_message").nullable()])
                        .since(8),
                    text("error_message").nullable().since(8),
                    nested("current_leader", &[int32("leader_id"), int32("leader_epoch")]).since(10).tag(0),
                ],
            ),
        ],
    ),
    int32("throttle_time_ms"),
    list("node_endpoints", &[int32("node_id"), text("host"), int32("port"), text("rack").nullable()]).since(10).tag(0),
]);

pub(crate) static FETCH: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code").since(7),
    int32("session_id").since(7),
    list(
        "responses",
        &[
            text("topic").until(12),
            uuid("topic_id").since(13),
            list(
                "partitions",
                &[
                    int32("partition_index"),
                    int16("error_code"),
                    int64("high_watermark"),
                    int64("last_stable_offset"),
                    int64("log_start_offset").since(5),
                    list("aborted_transactions", &[int64("producer_id"), int64("first_offset")]).nullable(),
                    int32("preferred_read_replica").since(11),
                    blob("records").nullable(),
                    nested("diverging_epoch", &[int32("epoch"), int64("end_offset")]).since(12).tag(0),
                    nested("current_leader", &[int32("leader_id"), int32("leader_epoch")]).since(12).tag(1),
                    nested("snapshot_id", &[int64("end_offset"), int32("epoch")]).since(12).tag(2),
                ],
            ),
        ],
    ),
    list("node_endpoints", &[int32("node_id"), text("host"), int32("port"), text("rack").nullable()]).since(16).tag(0),
]);

pub(crate) static LIST_OFFSETS: Shape = Shape(&[
    int32("throttle_time_ms").since(2),
    list(
        "topics",
        &[
            text("name"),
            list(
                "partitions",
                &[
                    int32("partition_index"),
                    int16("error_code"),
                    int64("timestamp"),
                    int64("offset"),
                    int32("leader_epoch").since(4),
                ],
            ),
        ],
    ),
]);

pub(crate) static METADATA: Shape = Shape(&[
    int32("throttle_time_ms").since(3),
    list("brokers", &[int32("node_id"), text("host"), int32("port"), text("rack").nullable().since(1)]),
    text("cluster_id").nullable().since(2),
    int32("controller_id").since(1),
    list(
        "topics",
        &[
            int16("error_code"),
            text("name").nullable(),
            uuid("topic_id").since(10),
            boolean("is_internal").since(1),
            list(
                "partitions",
                &[
                    int16("error_code"),
                    int32("partition_index"),
                    int32("leader_id"),
                    int32("leader_epoch").since(7),
                    list_of_int32("replica_nodes"),
                    list_of_int32("isr_nodes"),
                    list_of_int32("offline_replicas").since(5),
                ],
            ),
            int32("topic_authorized_operations").since(8),
        ],
    ),
    int32("cluster_authorized_operations").since(8).until(10),
    int16("error_code").since(13),
]);

pub(crate) static API_VERSIONS: Shape = Shape(&[
    int16("error_code"),
    list("api_keys", &[int16("api_key"), int16("min_version"), int16("max_version")]),
    int32("throttle_time_ms").since(1),
    list("supported_features", &[text("name"), int16("min_version"), int16("max_version")]).since(3).tag(0),
    int64("finalized_features_epoch").since(3).tag(1),
    list("finalized_features", &[text("name"), int16("max_version_level"), int16("min_version_level")]).since(3).tag(2),
    boolean("zk_migration_ready").since(3).tag(3),
]);

pub(crate) static CREATE_TOPICS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "topics",
        &[
            text("name"),
            uuid("topic_id").since(7),
            int16("error_code"),
            text("error_message").nullable(),
            int32("num_partitions").since(5),
            int16("replication_factor").since(5),
            list(
                "configs",
                &[
                    text("name"),
                    text("value").nullable(),
                    boolean("read_only"),
                    int8("config_source"),
                    boolean("is_sensitive"),
                ],
            )
            .nullable()
            .since(5),
            int16("topic_config_error_code").since(5).tag(0),
        ],
    ),
]);

pub(crate) static DELETE_TOPICS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "responses",
        &[
            text("name").nullable(),
            uuid("topic_id").since(6),
            int16("error_code"),
            text("error_message").nullable().since(5),
        ],
    ),
]);

pub(crate) static DELETE_RECORDS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "topics",
        &[text("name"), list("partitions", &[int32("partition_index"), int64("low_watermark"), int16("error_code")])],
    ),
]);

pub(crate) static INIT_PRODUCER_ID: Shape =
    Shape(&[int32("throttle_time_ms"), int16("error_code"), int64("producer_id"), int16("producer_epoch")]);

pub(crate) static OFFSET_FOR_LEADER_EPOCH: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "topics",
        &[
            text("topic"),
            list("partitions", &[int16("error_code"), int32("partition"), int32("leader_epoch"), int64("end_offset")]),
        ],
    ),
]);

pub(crate) static DESCRIBE_CONFIGS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "results",
        &[
            int16("error_code"),
            text("error_message").nullable(),
            int8("resource_type"),
            text("resource_name"),
            list(
                "configs",
                &[
                    text("name"),
                    text("value").nullable(),
                    boolean("read_only"),
                    int8("config_source"),
                    boolean("is_sensitive"),
                    list("synonyms", &[text("name"), text("value").nullable(), int8("source")]),
                    int8("config_type").since(3),
                    text("documentation").nullable().since(3),
                ],
            ),
        ],
    ),
]);

pub(crate) static ALTER_CONFIGS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "responses",
        &[int16("error_code"), text("error_message").nullable(), int8("resource_type"), text("resource_name")],
    ),
]);

pub(crate) static DESCRIBE_LOG_DIRS: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code").since(3),
    list(
        "results",
        &[
            int16("error_code"),
            text("log_dir"),
            list(
                "topics",
                &[
                    text("name"),
                    list(
                        "partitions",
                        &[
                            int32("partition_index"),
                            int64("partition_size"),
                            int64("offset_lag"),
                            boolean("is_future_key"),
                        ],
                    ),
                ],
            ),
            int64("total_bytes").since(4),
            int64("usable_bytes").since(4),
            boolean("is_cordoned").since(5),
        ],
    ),
]);

pub(crate) static CREATE_PARTITIONS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list("results", &[text("name"), int16("error_code"), text("error_message").nullable()]),
]);

pub(crate) static INCREMENTAL_ALTER_CONFIGS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "responses",
        &[int16("error_code"), text("error_message").nullable(), int8("resource_type"), text("resource_name")],
    ),
]);

pub(crate) static DESCRIBE_CLUSTER: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    text("error_message").nullable(),
    int8("endpoint_type").since(1),
    text("cluster_id"),
    int32("controller_id"),
    list(
        "brokers",
        &[int32("broker_id"), text("host"), int32("port"), text("rack").nullable(), boolean("is_fenced").since(2)],
    ),
    int32("cluster_authorized_operations"),
]);

pub(crate) static DESCRIBE_TOPIC_PARTITIONS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "topics",
        &[
            int16("error_code"),
            text("name").nullable(),
            uuid("topic_id"),
            boolean("is_internal"),
            list(
                "partitions",
                &[
                    int16("error_code"),
                    int32("partition_index"),
                    int32("leader_id"),
                    int32("leader_epoch"),
                    list_of_int32("replica_nodes"),
                    list_of_int32("isr_nodes"),
                    list_of_int32("eligible_leader_replicas").nullable(),
                    list_of_int32("last_known_elr").nullable(),
                    list_of_int32("offline_replicas"),
                ],
            ),
            int32("topic_authorized_operations"),
        ],
    ),
    optional("next_cursor", &[text("topic_name"), int32("partition_index")]),
]);
