//! The shapes of the requests of tools that look at a cluster, or change it as a whole: see `request_shapes`, which has the
//! others and names all of them.

use super::shape::{
    Shape, boolean, int8, int16, int32, int64, list, list_of_int8, list_of_int32, list_of_int64, list_of_text, text,
};

pub(crate) static DESCRIBE_ACLS: Shape = Shape(&[
    int8("resource_type_filter"),
    text("resource_name_filter").nullable(),
    int8("pattern_type_filter"),
    text("principal_filter").nullable(),
    text("host_filter").nullable(),
    int8("operation"),
    int8("permission_type"),
]);

pub(crate) static CREATE_ACLS: Shape = Shape(&[list(
    "creations",
    &[
        int8("resource_type"),
        text("resource_name"),
        int8("resource_pattern_type"),
        text("principal"),
        text("host"),
        int8("operation"),
        int8("permission_type"),
    ],
)]);

pub(crate) static DELETE_ACLS: Shape = Shape(&[list(
    "filters",
    &[
        int8("resource_type_filter"),
        text("resource_name_filter").nullable(),
        int8("pattern_type_filter"),
        text("principal_filter").nullable(),
        text("host_filter").nullable(),
        int8("operation"),
        int8("permission_type"),
    ],
)]);

pub(crate) static ELECT_LEADERS: Shape = Shape(&[
    int8("election_type").since(1),
    list("topic_partitions", &[text("topic"), list_of_int32("partitions")]).nullable(),
    int32("timeout_ms"),
]);

pub(crate) static ALTER_PARTITION_REASSIGNMENTS: Shape = Shape(&[
    int32("timeout_ms"),
    boolean("allow_replication_factor_change").since(1),
    list(
        "topics",
        &[text("name"), list("partitions", &[int32("partition_index"), list_of_int32("replicas").nullable()])],
    ),
]);

pub(crate) static LIST_PARTITION_REASSIGNMENTS: Shape =
    Shape(&[int32("timeout_ms"), list("topics", &[text("name"), list_of_int32("partition_indexes")]).nullable()]);

pub(crate) static DESCRIBE_CLIENT_QUOTAS: Shape = Shape(&[
    list("components", &[text("entity_type"), int8("match_type"), text("match").nullable()]),
    boolean("strict"),
]);

pub(crate) static DESCRIBE_USER_SCRAM_CREDENTIALS: Shape = Shape(&[list("users", &[text("name")]).nullable()]);

pub(crate) static DESCRIBE_QUORUM: Shape =
    Shape(&[list("topics", &[text("topic_name"), list("partitions", &[int32("partition_index")])])]);

pub(crate) static UPDATE_FEATURES: Shape = Shape(&[
    int32("timeout_ms"),
    list(
        "feature_updates",
        &[
            text("feature"),
            int16("max_version_level"),
            boolean("allow_downgrade").until(0),
            int8("upgrade_type").since(1),
        ],
    ),
    boolean("validate_only").since(1),
]);

pub(crate) static DESCRIBE_PRODUCERS: Shape =
    Shape(&[list("topics", &[text("name"), list_of_int32("partition_indexes")])]);

pub(crate) static LIST_TRANSACTIONS: Shape = Shape(&[
    list_of_text("state_filters"),
    list_of_int64("producer_id_filters"),
    int64("duration_filter").since(1),
    text("transactional_id_pattern").nullable().since(2),
]);

pub(crate) static LIST_CONFIG_RESOURCES: Shape = Shape(&[list_of_int8("resource_types").since(1)]);
