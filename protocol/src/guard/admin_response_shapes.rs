//! The shapes of the responses to tools that look at a cluster, or change it as a whole: see `response_shapes`, which has
//! the others and names all of them.

use super::shape::{Field, Shape, boolean, int8, int16, int32, int64, list, list_of_int32, list_of_text, text, uuid};

pub(crate) static DESCRIBE_ACLS: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    text("error_message").nullable(),
    list(
        "resources",
        &[
            int8("resource_type"),
            text("resource_name"),
            int8("pattern_type"),
            list("acls", &[text("principal"), text("host"), int8("operation"), int8("permission_type")]),
        ],
    ),
]);

pub(crate) static CREATE_ACLS: Shape =
    Shape(&[int32("throttle_time_ms"), list("results", &[int16("error_code"), text("error_message").nullable()])]);

pub(crate) static DELETE_ACLS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "filter_results",
        &[
            int16("error_code"),
            text("error_message").nullable(),
            list(
                "matching_acls",
                &[
                    int16("error_code"),
                    text("error_message").nullable(),
                    int8("resource_type"),
                    text("resource_name"),
                    int8("pattern_type"),
                    text("principal"),
                    text("host"),
                    int8("operation"),
                    int8("permission_type"),
                ],
            ),
        ],
    ),
]);

pub(crate) static ELECT_LEADERS: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code").since(1),
    list(
        "replica_election_results",
        &[
            text("topic"),
            list("partition_result", &[int32("partition_id"), int16("error_code"), text("error_message").nullable()]),
        ],
    ),
]);

pub(crate) static ALTER_PARTITION_REASSIGNMENTS: Shape = Shape(&[
    int32("throttle_time_ms"),
    boolean("allow_replication_factor_change").since(1),
    int16("error_code"),
    text("error_message").nullable(),
    list(
        "responses",
        &[
            text("name"),
            list("partitions", &[int32("partition_index"), int16("error_code"), text("error_message").nullable()]),
        ],
    ),
]);

pub(crate) static LIST_PARTITION_REASSIGNMENTS: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    text("error_message").nullable(),
    list(
        "topics",
        &[
            text("name"),
            list(
                "partitions",
                &[
                    int32("partition_index"),
                    list_of_int32("replicas"),
                    list_of_int32("adding_replicas"),
                    list_of_int32("removing_replicas"),
                ],
            ),
        ],
    ),
]);

pub(crate) static DESCRIBE_CLIENT_QUOTAS: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    text("error_message").nullable(),
    list(
        "entries",
        &[
            list("entity", &[text("entity_type"), text("entity_name").nullable()]),
            list("values", &[text("key"), int64("value")]),
        ],
    )
    .nullable(),
]);

pub(crate) static DESCRIBE_USER_SCRAM_CREDENTIALS: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    text("error_message").nullable(),
    list(
        "results",
        &[
            text("user"),
            int16("error_code"),
            text("error_message").nullable(),
            list("credential_infos", &[int8("mechanism"), int32("iterations")]),
        ],
    ),
]);

/// What DescribeQuorum says of a voter, and of an observer.
const REPLICA_STATES: &[Field] = &[
    int32("replica_id"),
    uuid("replica_directory_id").since(2),
    int64("log_end_offset"),
    int64("last_fetch_timestamp").since(1),
    int64("last_caught_up_timestamp").since(1),
];

pub(crate) static DESCRIBE_QUORUM: Shape = Shape(&[
    int16("error_code"),
    text("error_message").nullable().since(2),
    list(
        "topics",
        &[
            text("topic_name"),
            list(
                "partitions",
                &[
                    int32("partition_index"),
                    int16("error_code"),
                    text("error_message").nullable().since(2),
                    int32("leader_id"),
                    int32("leader_epoch"),
                    int64("high_watermark"),
                    list("current_voters", REPLICA_STATES),
                    list("observers", REPLICA_STATES),
                ],
            ),
        ],
    ),
    list("nodes", &[int32("node_id"), list("listeners", &[text("name"), text("host"), int16("port")])]).since(2),
]);

pub(crate) static UPDATE_FEATURES: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    text("error_message").nullable(),
    list("results", &[text("feature"), int16("error_code"), text("error_message").nullable()]).until(1),
]);

pub(crate) static DESCRIBE_PRODUCERS: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "topics",
        &[
            text("name"),
            list(
                "partitions",
                &[
                    int32("partition_index"),
                    int16("error_code"),
                    text("error_message").nullable(),
                    list(
                        "active_producers",
                        &[
                            int64("producer_id"),
                            int32("producer_epoch"),
                            int32("last_sequence"),
                            int64("last_timestamp"),
                            int32("coordinator_epoch"),
                            int64("current_txn_start_offset"),
                        ],
                    ),
                ],
            ),
        ],
    ),
]);

pub(crate) static LIST_TRANSACTIONS: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    list_of_text("unknown_state_filters"),
    list("transaction_states", &[text("transactional_id"), int64("producer_id"), text("transaction_state")]),
]);

pub(crate) static LIST_CONFIG_RESOURCES: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    list("config_resources", &[text("resource_name"), int8("resource_type").since(1)]),
]);
