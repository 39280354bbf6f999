//! Topics of requests that name them, or, in newer versions, give their ids (KIP-848).

use crate::coordinators::group::TopicsImage;
use kafka_protocol::messages::TopicName;
use uuid::Uuid;

/// What a topic of a request is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named(Option<String>);

impl Named {
    /// The topic that a request names, or whose id it gives if `by_id`.
    pub(super) fn new(image: &dyn TopicsImage, by_id: bool, name: &TopicName, id: Uuid) -> Named {
        if !by_id {
            return Named(Some(name.as_str().to_owned()));
        }
        Named(image.name_of(id).map(|name| name.to_string()))
    }

    /// Its name; `None` for an id that no topic has: UNKNOWN_TOPIC_ID.
    pub(super) fn known(&self) -> Option<&str> {
        self.0.as_deref()
    }
}
