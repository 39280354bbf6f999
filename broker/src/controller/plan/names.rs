//! Topic names: what may be one, and which two cannot be there together.

use crate::controller::Refusal;
use crate::metadata::Image;
use kafka_protocol::ResponseError;

/// The longest topic name, in bytes.
const MAX_NAME: usize = 249;

/// Whether `name` can be a topic's, by Kafka's rules.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION.
pub fn check_topic_name(name: &str) -> Result<(), Refusal> {
    let message = if name.is_empty() {
        "Topic name is invalid: the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("Topic name is invalid: '{name}' is not allowed")
    } else if name.len() > MAX_NAME {
        format!("Topic name is invalid: its length is {}, more than {MAX_NAME}", name.len())
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        format!("Topic name is invalid: '{name}' contains other characters than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(Refusal::new(ResponseError::InvalidTopicException, message))
}

/// Whether no topic of `image` differs from `name` only in `.` for `_` or `_` for `.`: metric names replace one by the
/// other, and Kafka's clients count on such a pair being refused.
pub(super) fn check_collision(image: &Image, name: &str) -> Result<(), Refusal> {
    let Some(start) = name.find(['.', '_']) else { return Ok(()) };
    // Only topics that start with the same letters can collide, once with either of the two.
    let prefix = name.get(..start).unwrap_or_default();
    for separator in ['.', '_'] {
        let from = format!("{prefix}{separator}");
        let same = image.topics_from(&from).take_while(|topic| topic.name.starts_with(&from));
        for topic in same {
            if topic.name.len() == name.len() && *topic.name != *name && same_metric(&topic.name, name) {
                let message = format!("Topic '{name}' collides with existing topic: {}", topic.name);
                return Err(Refusal::new(ResponseError::InvalidTopicException, message));
            }
        }
    }
    Ok(())
}

fn same_metric(a: &str, b: &str) -> bool {
    let unify = |byte: u8| if byte == b'.' { b'_' } else { byte };
    a.bytes().map(unify).eq(b.bytes().map(unify))
}
