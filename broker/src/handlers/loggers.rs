//! The BROKER_LOGGER resource of configuration requests (KIP-412): the levels of this process's loggers, of which there is
//! one, `root`. They are of the process that is asked, and end with it; nothing is committed.

use super::wire::text;
use crate::config::{BrokerId, LogLevel};
use crate::controller::Refusal;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;

const ROOT: &str = "root";
/// Where a logger's level comes from: `DYNAMIC_BROKER_LOGGER_CONFIG`.
const SOURCE: i8 = 6;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// The loggers of the broker called `name`, which must be this one.
///
/// # Errors
/// INVALID_REQUEST for another one.
pub(super) fn describe(
    log: &LogLevel,
    node: BrokerId,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    check_node(node, name)?;
    let root = DescribeConfigsResourceResult::default()
        .with_name(text(ROOT))
        .with_value(Some(text(log.name())))
        .with_config_source(SOURCE)
        .with_documentation(None);
    Ok(vec![root])
}

/// Changes levels, all or none.
///
/// # Errors
/// INVALID_REQUEST for another broker or an operation that loggers do not have, INVALID_CONFIG for a logger or a level that
/// does not exist.
pub(super) fn alter(
    log: &LogLevel,
    node: BrokerId,
    asked: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    check_node(node, &asked.resource_name)?;
    let mut wanted = None;
    for config in &asked.configs {
        let name = config.name.as_str();
        match config.config_operation {
            SET => {
                let level = config.value.as_deref().unwrap_or_default();
                if name != ROOT {
                    return Err(Refusal::new(ResponseError::InvalidConfig, format!("Logger {name} does not exist!")));
                }
                if !LogLevel::is_name(level) {
                    let known: Vec<&str> = LogLevel::names().collect();
                    let message = format!(
                        "Cannot set the log level of {name} to {level} as it is not a supported log level. Valid log levels \
                         are {}",
                        known.join(", ")
                    );
                    return Err(Refusal::new(ResponseError::InvalidConfig, message));
                }
                wanted = Some(level);
            }
            DELETE => {
                let message = "Removing the log level of the root logger is not allowed";
                return Err(Refusal::new(ResponseError::InvalidRequest, message));
            }
            _ => {
                let message = "Only SET is allowed for the BROKER_LOGGER resource";
                return Err(Refusal::new(ResponseError::InvalidRequest, message));
            }
        }
    }
    match wanted.filter(|_| !validate_only) {
        None => Ok(()),
        Some(level) => {
            log.set(level).map_err(|error| Refusal::new(ResponseError::InvalidRequest, error))?;
            tracing::info!(level, "the log has another level");
            Ok(())
        }
    }
}

fn check_node(node: BrokerId, name: &str) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(ResponseError::InvalidRequest, message));
    match name.parse::<i32>().ok() {
        None if name.is_empty() => refuse("Broker id must not be empty".to_owned()),
        None => refuse(format!("Node id must be an integer, but it is: {name}")),
        Some(id) if BrokerId::from_wire(id) == Some(node) => Ok(()),
        Some(id) => refuse(format!("Unexpected broker id, expected {node}, but received {id}")),
    }
}
