//! Features (KIP-584): what the cluster as a whole has agreed to do, as ApiVersions tells it from version 3 on.
//!
//! A feature is *supported* in a range of levels and *finalised* at one of them. The epoch says how new that is: clients
//! ignore it below 0. The answer has all this in tagged fields, which not every client can read: librdkafka before 2.4
//! takes the connection for broken if there is one. It asks with version 3 and has no use for features, so that no
//! librdkafka is told of them there. A level of 0 is named from version 4 on (KIP-1022).

use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::protocol::StrBytes;

/// A feature: its name, the levels that are supported, and the one that is finalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name for it.
    pub name: &'static str,
    /// The lowest level that can be finalised.
    pub lowest: i16,
    /// The highest one.
    pub highest: i16,
    /// The one that is.
    pub finalised: i16,
}

/// Every feature that this version has. They are finalised from the first start on: there is no older version to agree
/// with, and so none to go back to.
const FEATURES: [Feature; 2] = [
    // Consumer groups (KIP-848).
    Feature { name: "group.version", lowest: 1, highest: 1, finalised: 1 },
    // What tools take a cluster's version from. Our metadata is not Kafka's; to its clients we are as Kafka 4.3 is, which
    // calls this level 4.3-IV0.
    Feature { name: "metadata.version", lowest: 30, highest: 30, finalised: 30 },
];

/// The feature called `name`.
pub fn find(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// Adds the features to `response`, if a client of this software that asked with `version` can read them. `epoch` is the
/// version of the metadata.
pub fn add_features(
    response: &mut ApiVersionsResponse,
    version: i16,
    (software, software_version): (&str, &str),
    epoch: u64,
) {
    if version < 3 || (version == 3 && is_librdkafka(software, software_version)) {
        return;
    }
    response.supported_features = FEATURES
        .iter()
        .filter(|feature| feature.lowest > 0 || version >= 4)
        .map(|feature| {
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_static_str(feature.name))
                .with_min_version(feature.lowest)
                .with_max_version(feature.highest)
        })
        .collect();
    response.finalized_features_epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    response.finalized_features = FEATURES
        .iter()
        .map(|feature| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(feature.name))
                .with_min_version_level(feature.finalised)
                .with_max_version_level(feature.finalised)
        })
        .collect();
}

/// librdkafka itself, and its bindings, which name it in their version: `2.12.0-librdkafka-2.12.1`.
fn is_librdkafka(software: &str, version: &str) -> bool {
    software.contains("rdkafka") || version.contains("rdkafka") || software.starts_with("confluent-kafka")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;
    use bytes::BytesMut;
    use kafka_protocol::protocol::{Decodable, Encodable};

    fn answer(version: i16, software: (&str, &str)) -> ApiVersionsResponse {
        let mut response = api::versions();
        add_features(&mut response, version, software, 7);
        let mut bytes = BytesMut::new();
        response.encode(&mut bytes, version).unwrap();
        let mut bytes = bytes.freeze();
        let decoded = ApiVersionsResponse::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty());
        decoded
    }

    #[test]
    fn java_is_told_and_old_librdkafka_is_not() {
        let java = answer(4, ("apache-kafka-java", "4.3.1"));
        assert_eq!(java.finalized_features_epoch, 7);
        let supported = java.supported_features.iter();
        let supported: Vec<_> =
            supported.map(|feature| (feature.name.as_str(), feature.min_version, feature.max_version)).collect();
        assert_eq!(supported, [("group.version", 1, 1), ("metadata.version", 30, 30)]);
        let finalised = java.finalized_features.iter();
        let finalised: Vec<_> = finalised
            .map(|feature| (feature.name.as_str(), feature.min_version_level, feature.max_version_level))
            .collect();
        assert_eq!(finalised, [("group.version", 1, 1), ("metadata.version", 30, 30)]);
        for bindings in [
            ("librdkafka", "2.0.2"),
            ("confluent-kafka-python", "2.12.0-librdkafka-2.12.1"),
            ("confluent-kafka-go", "1.9.2"),
            ("rust-rdkafka", "0.39.0"),
        ] {
            let mut response = api::versions();
            add_features(&mut response, 3, bindings, 7);
            assert_eq!(response, api::versions(), "{bindings:?}");
        }
    }

    #[test]
    fn older_versions_have_what_they_can_say() {
        let third = answer(3, ("apache-kafka-java", "3.9.0"));
        assert_eq!((third.supported_features.len(), third.finalized_features.len()), (2, 2));
        assert_eq!(third.finalized_features_epoch, 7);
        for version in 0..3 {
            let old = answer(version, ("", ""));
            assert_eq!((old.finalized_features.len(), old.finalized_features_epoch), (0, -1));
        }
    }
}
