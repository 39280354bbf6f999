//! The shapes of the responses of the group APIs: see `response_shapes`, which has the others and names all of them.

use super::shape::{
    Field, Shape, blob, boolean, int8, int16, int32, int64, list, list_of_int32, list_of_text, nested, optional, text,
    uuid,
};

pub(crate) static OFFSET_COMMIT: Shape = Shape(&[
    int32("throttle_time_ms").since(3),
    list(
        "topics",
        &[
            text("name").until(9),
            uuid("topic_id").since(10),
            list("partitions", &[int32("partition_index"), int16("error_code")]),
        ],
    ),
]);

/// What OffsetFetch says of a topic: of the one group of older versions, and of each group since.
const COMMITTED: &[Field] = &[
    text("name").until(9),
    uuid("topic_id").since(10),
    list(
        "partitions",
        &[
            int32("partition_index"),
            int64("committed_offset"),
            int32("committed_leader_epoch").since(5),
            text("metadata").nullable(),
            int16("error_code"),
        ],
    ),
];

pub(crate) static OFFSET_FETCH: Shape = Shape(&[
    int32("throttle_time_ms").since(3),
    list("topics", COMMITTED).until(7),
    int16("error_code").since(2).until(7),
    list("groups", &[text("group_id"), list("topics", COMMITTED), int16("error_code")]).since(8),
]);

pub(crate) static FIND_COORDINATOR: Shape = Shape(&[
    int32("throttle_time_ms").since(1),
    int16("error_code").until(3),
    text("error_message").nullable().since(1).until(3),
    int32("node_id").until(3),
    text("host").until(3),
    int32("port").until(3),
    list(
        "coordinators",
        &[
            text("key"),
            int32("node_id"),
            text("host"),
            int32("port"),
            int16("error_code"),
            text("error_message").nullable(),
        ],
    )
    .since(4),
]);

pub(crate) static JOIN_GROUP: Shape = Shape(&[
    int32("throttle_time_ms").since(2),
    int16("error_code"),
    int32("generation_id"),
    text("protocol_type").nullable().since(7),
    text("protocol_name").nullable(),
    text("leader"),
    boolean("skip_assignment").since(9),
    text("member_id"),
    list("members", &[text("member_id"), text("group_instance_id").nullable().since(5), blob("metadata")]),
]);

pub(crate) static HEARTBEAT: Shape = Shape(&[int32("throttle_time_ms").since(1), int16("error_code")]);

pub(crate) static LEAVE_GROUP: Shape = Shape(&[
    int32("throttle_time_ms").since(1),
    int16("error_code"),
    list("members", &[text("member_id"), text("group_instance_id").nullable(), int16("error_code")]).since(3),
]);

pub(crate) static SYNC_GROUP: Shape = Shape(&[
    int32("throttle_time_ms").since(1),
    int16("error_code"),
    text("protocol_type").nullable().since(5),
    text("protocol_name").nullable().since(5),
    blob("assignment"),
]);

pub(crate) static DESCRIBE_GROUPS: Shape = Shape(&[
    int32("throttle_time_ms").since(1),
    list(
        "groups",
        &[
            int16("error_code"),
            text("error_message").nullable().since(6),
            text("group_id"),
            text("group_state"),
            text("protocol_type"),
            text("protocol_data"),
            list(
                "members",
                &[
                    text("member_id"),
                    text("group_instance_id").nullable().since(4),
                    text("client_id"),
                    text("client_host"),
                    blob("member_metadata"),
                    blob("member_assignment"),
                ],
            ),
            int32("authorized_operations").since(3),
        ],
    ),
]);

pub(crate) static LIST_GROUPS: Shape = Shape(&[
    int32("throttle_time_ms").since(1),
    int16("error_code"),
    list(
        "groups",
        &[text("group_id"), text("protocol_type"), text("group_state").since(4), text("group_type").since(5)],
    ),
]);

pub(crate) static DELETE_GROUPS: Shape =
    Shape(&[int32("throttle_time_ms"), list("results", &[text("group_id"), int16("error_code")])]);

pub(crate) static OFFSET_DELETE: Shape = Shape(&[
    int16("error_code"),
    int32("throttle_time_ms"),
    list("topics", &[text("name"), list("partitions", &[int32("partition_index"), int16("error_code")])]),
]);

pub(crate) static CONSUMER_GROUP_HEARTBEAT: Shape = Shape(&[
    int32("throttle_time_ms"),
    int16("error_code"),
    text("error_message").nullable(),
    text("member_id").nullable(),
    int32("member_epoch"),
    int32("heartbeat_interval_ms"),
    optional("assignment", &[list("topic_partitions", &[uuid("topic_id"), list_of_int32("partitions")])]),
]);

pub(crate) static CONSUMER_GROUP_DESCRIBE: Shape = Shape(&[
    int32("throttle_time_ms"),
    list(
        "groups",
        &[
            int16("error_code"),
            text("error_message").nullable(),
            text("group_id"),
            text("group_state"),
            int32("group_epoch"),
            int32("assignment_epoch"),
            text("assignor_name"),
            list(
                "members",
                &[
                    text("member_id"),
                    text("instance_id").nullable(),
                    text("rack_id").nullable(),
                    int32("member_epoch"),
                    text("client_id"),
                    text("client_host"),
                    list_of_text("subscribed_topic_names"),
                    text("subscribed_topic_regex").nullable(),
                    nested("assignment", CONSUMER_ASSIGNMENT),
                    nested("target_assignment", CONSUMER_ASSIGNMENT),
                    int8("member_type").since(1),
                ],
            ),
            int32("authorized_operations"),
        ],
    ),
]);

const CONSUMER_ASSIGNMENT: &[Field] =
    &[list("topic_partitions", &[uuid("topic_id"), text("topic_name"), list_of_int32("partitions")])];
