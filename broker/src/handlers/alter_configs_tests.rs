//! Tests of both requests that change settings.

use super::super::alter_configs;
use super::super::wire::text;
use super::*;
use crate::config::Values;
use crate::controller::testing::{Bench, Fault, Node, block_on};
use crate::handlers::testing::{create, encodes};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::{AlterConfigsRequest, alter_configs_request};

/// Kind and name of a resource; key, operation and value of each change.
type Change<'a> = (i8, &'a str, &'a [(&'a str, i8, Option<&'a str>)]);

fn incremental(resources: &[Change<'_>]) -> IncrementalAlterConfigsRequest {
    let resources = resources.iter().map(|(kind, name, configs)| {
        let configs = configs.iter().map(|(key, operation, value)| {
            AlterableConfig::default()
                .with_name(text(*key))
                .with_config_operation(*operation)
                .with_value(value.map(text))
        });
        AlterConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(text(*name))
            .with_configs(configs.collect())
    });
    IncrementalAlterConfigsRequest::default().with_resources(resources.collect())
}

fn replacing(kind: i8, name: &str, configs: &[(&str, &str)]) -> AlterConfigsRequest {
    let configs = configs.iter().map(|(key, value)| {
        alter_configs_request::AlterableConfig::default().with_name(text(*key)).with_value(Some(text(*value)))
    });
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    AlterConfigsRequest::default().with_resources(vec![resource])
}

fn loggers(level: &LogLevel) -> Loggers<'_> {
    Loggers { node: BrokerId::new(1), level }
}

fn configs(node: &Node, topic: &str) -> Values {
    node.publisher.image().topic(topic).unwrap().configs.clone()
}

#[test]
fn one_bad_resource_does_not_spoil_the_others() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        create(&node, "a", 1).await;
        create(&node, "b", 1).await;
        for version in 0..=1 {
            let request = incremental(&[
                (2, "a", &[("retention.ms", 0, Some("5")), ("cleanup.policy", 2, Some("compact"))]),
                (2, "nope", &[("retention.ms", 0, Some("5"))]),
                (2, "b", &[("retention.ms", 9, Some("5"))]),
                (8, "2", &[("root", 0, Some("DEBUG"))]),
                (2, "b", &[("retention.ms", 0, Some("6"))]),
                (4, "", &[("log.retention.ms", 0, Some("7"))]),
                (4, "1", &[("num.partitions", 0, Some("7"))]),
            ]);
            let answer = handle(&request, &node.publisher, &node.controller, loggers(&LogLevel::default())).await;
            encodes(&answer, version);
            let codes: Vec<i16> = answer.responses.iter().map(|r| r.error_code).collect();
            let invalid = ResponseError::InvalidRequest.code();
            let unknown = ResponseError::UnknownTopicOrPartition.code();
            assert_eq!(codes, [0, unknown, invalid, invalid, 0, 0, invalid]);
            assert_eq!(answer.responses[4].resource_name.as_str(), "b");
            let a = configs(&node, "a");
            assert_eq!((a["retention.ms"].as_str(), a["cleanup.policy"].as_str()), ("5", "delete,compact"));
            assert_eq!(configs(&node, "b")["retention.ms"], "6");
        }
        let image = node.publisher.image();
        let dry = incremental(&[(2, "a", &[("retention.ms", 1, None)])]).with_validate_only(true);
        assert_eq!(
            handle(&dry, &node.publisher, &node.controller, loggers(&LogLevel::default())).await.responses[0]
                .error_code,
            0
        );
        assert_eq!(node.publisher.image().version(), image.version());
    });
}

#[test]
fn the_older_request_replaces_everything() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        create(&node, "a", 1).await;
        for version in 0..=2 {
            for (key, value) in [("retention.ms", "5"), ("segment.ms", "6")] {
                let answer =
                    alter_configs::handle(&replacing(2, "a", &[(key, value)]), &node.publisher, &node.controller).await;
                encodes(&answer, version);
                assert_eq!(answer.responses[0].error_code, 0);
                assert_eq!(configs(&node, "a"), Values::from([(key.to_owned(), value.to_owned())]));
            }
            let answer =
                alter_configs::handle(&replacing(2, "a", &[("segment.ms", "x")]), &node.publisher, &node.controller)
                    .await;
            encodes(&answer, version);
            assert_eq!(answer.responses[0].error_code, ResponseError::InvalidConfig.code());
            assert_eq!(configs(&node, "a").len(), 1);
        }
        let answer = alter_configs::handle(&replacing(2, "a", &[]), &node.publisher, &node.controller).await;
        assert_eq!((answer.responses[0].error_code, configs(&node, "a").len()), (0, 0));
    });
}

#[test]
fn a_store_that_is_away_is_a_time_out() {
    block_on(async {
        let bench = Bench::new(&[("metadata.commit.timeout.ms", "50")]);
        let node = bench.start().await;
        create(&node, "a", 1).await;
        bench.store.set(Fault::Away);
        let request = incremental(&[(2, "a", &[("retention.ms", 0, Some("5"))]), (8, "", &[])]);
        let codes: Vec<i16> = handle(&request, &node.publisher, &node.controller, loggers(&LogLevel::default()))
            .await
            .responses
            .iter()
            .map(|r| r.error_code)
            .collect();
        assert_eq!(codes, [ResponseError::RequestTimedOut.code(), ResponseError::InvalidRequest.code()]);
    });
}

#[test]
fn the_level_of_the_log_is_set_and_nothing_else_of_it() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        let told = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        let hears = std::sync::Arc::clone(&told);
        let level = LogLevel::new(tracing::level_filters::LevelFilter::INFO, move |level| {
            hears.lock().push(level.to_string());
            Ok(())
        });
        let ask = async |changes: &[(&str, i8, Option<&str>)], validate_only: bool| {
            let request = incremental(&[(8, "1", changes)]).with_validate_only(validate_only);
            let answer = handle(&request, &node.publisher, &node.controller, loggers(&level)).await;
            (answer.responses[0].error_code, level.name())
        };
        let (request, config) = (ResponseError::InvalidRequest.code(), ResponseError::InvalidConfig.code());
        assert_eq!(ask(&[("root", 0, Some("DEBUG"))], true).await, (0, "INFO"));
        assert_eq!(ask(&[("root", 0, Some("DEBUG"))], false).await, (0, "DEBUG"));
        assert_eq!(ask(&[("root", 0, Some("loud"))], false).await, (config, "DEBUG"));
        assert_eq!(ask(&[("root", 0, None)], false).await, (config, "DEBUG"));
        assert_eq!(ask(&[("kafka.server", 0, Some("WARN"))], false).await, (config, "DEBUG"));
        assert_eq!(ask(&[("root", 1, None)], false).await, (request, "DEBUG"));
        assert_eq!(ask(&[("root", 2, Some("WARN"))], false).await, (request, "DEBUG"));
        assert_eq!(ask(&[("root", 0, Some("WARN")), ("root", 3, Some("WARN"))], false).await, (request, "DEBUG"));
        assert_eq!(*told.lock(), ["debug"]);
    });
}
