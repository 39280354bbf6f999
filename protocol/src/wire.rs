//! What numbers in messages mean: the sentinels and enumerations that Kafka writes as plain integers.
//!
//! Sentinels end here: a handler asks for an [`OffsetQuery`] or an [`IsolationLevel`] and never compares with -2. Each
//! `from_wire` refuses what it does not know with the error that the client gets; each `to_wire` is the number for a
//! response.

use crate::error_code::ErrorCode;
use kafka_protocol::messages::FetchRequest;

/// Which offset a ListOffsets request asks for, by its "timestamp".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first record at or after this time, in milliseconds since 1970.
    AtOrAfter(i64),
    /// -1: the high watermark, or the last stable offset for `read_committed`.
    Latest,
    /// -2: the log start.
    Earliest,
    /// -3, since version 7: the record with the greatest timestamp (KIP-734).
    GreatestTimestamp,
    /// -4, since version 8: the local start (KIP-405).
    EarliestLocal,
    /// -5, since version 9: the last tiered offset (KIP-1005).
    LatestTiered,
}

impl OffsetQuery {
    /// From the request's timestamp.
    ///
    /// # Errors
    /// UNSUPPORTED_VERSION for a sentinel that `version` does not have, or that nobody has.
    pub fn from_wire(timestamp: i64, version: i16) -> Result<OffsetQuery, ErrorCode> {
        match timestamp {
            0.. => Ok(OffsetQuery::AtOrAfter(timestamp)),
            -1 => Ok(OffsetQuery::Latest),
            -2 => Ok(OffsetQuery::Earliest),
            -3 if version >= 7 => Ok(OffsetQuery::GreatestTimestamp),
            -4 if version >= 8 => Ok(OffsetQuery::EarliestLocal),
            -5 if version >= 9 => Ok(OffsetQuery::LatestTiered),
            _ => Err(ErrorCode::UNSUPPORTED_VERSION),
        }
    }
}

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident: unknown is $error:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// From its number.
            ///
            /// # Errors
            #[doc = concat!(stringify!($error), " for a number that is not known.")]
            pub const fn from_wire(number: i8) -> Result<$name, ErrorCode> {
                match number {
                    $($number => Ok($name::$variant),)*
                    _ => Err(ErrorCode::$error),
                }
            }

            /// Its number.
            pub const fn to_wire(self) -> i8 {
                match self {
                    $($name::$variant => $number,)*
                }
            }
        }
    };
}

wire_enum! {
    /// What a consumer wants to see of transactions (Fetch, ListOffsets).
    IsolationLevel: unknown is INVALID_REQUEST {
        /// Everything below the high watermark.
        ReadUncommitted = 0,
        /// Everything below the last stable offset, without aborted records.
        ReadCommitted = 1,
    }
}

wire_enum! {
    /// Whose coordinator FindCoordinator looks for.
    CoordinatorKey: unknown is INVALID_REQUEST {
        /// A group's.
        Group = 0,
        /// A transactional id's.
        Transaction = 1,
        /// A share group's partition's (KIP-932).
        Share = 2,
    }
}

wire_enum! {
    /// What a configuration belongs to (DescribeConfigs, AlterConfigs, IncrementalAlterConfigs).
    ConfigResource: unknown is INVALID_REQUEST {
        /// A topic.
        Topic = 2,
        /// A broker, or with an empty name all of them.
        Broker = 4,
        /// A broker's log levels.
        BrokerLogger = 8,
        /// A subscription to clients' metrics (KIP-714).
        ClientMetrics = 16,
        /// A group.
        Group = 32,
    }
}

wire_enum! {
    /// Where a configuration's value comes from (DescribeConfigs, CreateTopics).
    ConfigSource: unknown is INVALID_REQUEST {
        /// Set for the topic.
        DynamicTopic = 1,
        /// Set for one broker at run time.
        DynamicBroker = 2,
        /// Set for all brokers at run time.
        DynamicDefaultBroker = 3,
        /// From the broker's configuration file.
        StaticBroker = 4,
        /// The built-in default.
        Default = 5,
        /// Set for a broker's log levels.
        DynamicBrokerLogger = 6,
        /// Set for a subscription to clients' metrics.
        ClientMetrics = 7,
        /// Set for a group.
        Group = 8,
    }
}

wire_enum! {
    /// What a configuration's value looks like (DescribeConfigs since version 3).
    ConfigType: unknown is INVALID_REQUEST {
        /// `true` or `false`.
        Boolean = 1,
        /// Any text.
        String = 2,
        /// 32 bits.
        Int = 3,
        /// 16 bits.
        Short = 4,
        /// 64 bits.
        Long = 5,
        /// A floating-point number.
        Double = 6,
        /// Texts with commas between them.
        List = 7,
        /// The name of a Java class.
        Class = 8,
        /// Text that is never shown.
        Password = 9,
    }
}

wire_enum! {
    /// What IncrementalAlterConfigs does to a value (KIP-339).
    ConfigOperation: unknown is INVALID_REQUEST {
        /// Set it.
        Set = 0,
        /// Back to the default.
        Delete = 1,
        /// Add to a list.
        Append = 2,
        /// Take from a list.
        Subtract = 3,
    }
}

/// In place of a set of authorized operations: the client did not ask.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// The broker as which a Fetch request comes, if it comes from a follower; clients send a negative id. It moved into a
/// tagged field in version 15 (KIP-903).
pub fn fetching_replica(request: &FetchRequest, version: i16) -> Option<u32> {
    let id = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    u32::try_from(id.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::fetch_request::ReplicaState;

    #[test]
    fn offset_queries_know_their_versions() {
        use OffsetQuery::*;
        for (timestamp, since, query) in [
            (0, 1, AtOrAfter(0)),
            (i64::MAX, 1, AtOrAfter(i64::MAX)),
            (-1, 1, Latest),
            (-2, 1, Earliest),
            (-3, 7, GreatestTimestamp),
            (-4, 8, EarliestLocal),
            (-5, 9, LatestTiered),
        ] {
            assert_eq!(OffsetQuery::from_wire(timestamp, since), Ok(query));
            if since > 1 {
                assert_eq!(OffsetQuery::from_wire(timestamp, since - 1), Err(ErrorCode::UNSUPPORTED_VERSION));
            }
        }
        assert_eq!(OffsetQuery::from_wire(-6, 10), Err(ErrorCode::UNSUPPORTED_VERSION));
        assert_eq!(OffsetQuery::from_wire(i64::MIN, 10), Err(ErrorCode::UNSUPPORTED_VERSION));
    }

    #[test]
    fn numbers_come_back_as_they_were() {
        for number in i8::MIN..=i8::MAX {
            assert!(IsolationLevel::from_wire(number).map_or(true, |known| known.to_wire() == number));
            assert!(CoordinatorKey::from_wire(number).map_or(true, |known| known.to_wire() == number));
            assert!(ConfigResource::from_wire(number).map_or(true, |known| known.to_wire() == number));
            assert!(ConfigOperation::from_wire(number).map_or(true, |known| known.to_wire() == number));
        }
        assert_eq!(IsolationLevel::from_wire(1), Ok(IsolationLevel::ReadCommitted));
        assert_eq!(IsolationLevel::from_wire(2), Err(ErrorCode::INVALID_REQUEST));
    }

    #[test]
    fn the_replica_moved_in_version_15() {
        let request = FetchRequest::default()
            .with_replica_id(3.into())
            .with_replica_state(ReplicaState::default().with_replica_id(4.into()));
        assert_eq!(fetching_replica(&request, 14), Some(3));
        assert_eq!(fetching_replica(&request, 15), Some(4));
        assert_eq!(fetching_replica(&FetchRequest::default(), 12), None);
        assert_eq!(fetching_replica(&FetchRequest::default(), 18), None);
    }
}
