//! Tests of DescribeConfigs, version by version.

use super::*;
use crate::config::{GroupTimeouts, Scope, Values, check_topic_values};
use crate::controller::testing::{Bench, Node, block_on};
use crate::controller::{AlterConfigs, AlterOperation, ConfigAlteration};
use crate::handlers::testing::{create, encodes};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

fn resource_of(kind: i8, name: &str) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None)
}

fn ask(node: &Node, resources: Vec<DescribeConfigsResource>, version: i16) -> DescribeConfigsResponse {
    let request = DescribeConfigsRequest::default()
        .with_resources(resources)
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    let level = LogLevel::default();
    // It waits for nothing but its turn.
    let mut answer = pin!(handle(&request, version, &node.publisher, &node.config, &level));
    let mut cx = Context::from_waker(futures_util::task::noop_waker_ref());
    let answer = loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut cx) {
            break answer;
        }
    };
    encodes(&answer, version);
    answer
}

#[test]
fn all_keys_of_topics_and_brokers_in_every_version() {
    block_on(async {
        let bench = Bench::new(&[("log.retention.hours", "1")]);
        let node = bench.start().await;
        create(&node, "a", 1).await;
        for version in 1..=4 {
            let answer = ask(&node, vec![resource_of(2, "a"), resource_of(4, "1")], version);
            for (result, scope) in answer.results.iter().zip([Scope::Topic, Scope::Broker]) {
                assert_eq!((result.error_code, &result.error_message), (0, &None));
                let names: Vec<_> = result.configs.iter().map(|config| config.name.as_str()).collect();
                assert_eq!(names, scope.keys().iter().map(|key| key.name).collect::<Vec<_>>());
                for config in &result.configs {
                    assert_eq!(config.config_type != 0, version >= 3);
                    assert_eq!(config.documentation.as_ref().is_some_and(|d| !d.is_empty()), version >= 3);
                }
            }
            let topic = &answer.results[0].configs;
            let retention = topic.iter().find(|config| config.name.as_str() == "retention.ms").unwrap();
            assert_eq!(retention.value.as_ref().unwrap().as_str(), "3600000");
            assert_eq!((retention.config_source, retention.synonyms.len()), (4, 2));
            assert!(topic.iter().all(|config| config.value.is_some() && !config.read_only));
            // What was read is taken back.
            let values: Values = topic
                .iter()
                .map(|config| (config.name.to_string(), config.value.as_ref().unwrap().to_string()))
                .collect();
            check_topic_values(&values, &node.config.layers).unwrap();
        }
        let request = DescribeConfigsRequest::default().with_resources(vec![resource_of(2, "a")]);
        let answer = handle(&request, 4, &node.publisher, &node.config, &LogLevel::default()).await;
        encodes(&answer, 4);
        assert!(answer.results[0].configs.iter().all(|c| c.synonyms.is_empty() && c.documentation.is_none()));
    });
}

#[test]
fn only_the_keys_that_are_asked_for() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        create(&node, "a", 1).await;
        let keys = |keys: &[&'static str]| {
            let keys = keys.iter().map(|key| text(*key)).collect();
            let answer = ask(&node, vec![resource_of(2, "a").with_configuration_keys(Some(keys))], 4);
            answer.results[0].configs.iter().map(|c| c.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            keys(&["retention.ms", "message.format.version", "cleanup.policy"]),
            ["cleanup.policy", "retention.ms"]
        );
        assert_eq!(keys(&[]).len(), Scope::Topic.keys().len());
    });
}

#[test]
fn what_is_not_there_has_its_error() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        use ResponseError::*;
        for (kind, name, error) in [
            (2, "nope", UnknownTopicOrPartition),
            (2, "no pe", InvalidTopicException),
            (4, "2", InvalidRequest),
            (4, "one", InvalidRequest),
            (4, "-1", InvalidRequest),
            (8, "2", InvalidRequest),
            (8, "", InvalidRequest),
            (16, "x", InvalidRequest),
        ] {
            let answer = ask(&node, vec![resource_of(kind, name)], 4);
            assert_eq!(answer.results[0].error_code, error.code(), "{kind} {name}");
            assert!(answer.results[0].error_message.is_some() && answer.results[0].configs.is_empty());
        }
    });
}

#[test]
fn the_default_of_all_brokers_is_what_was_set_for_them() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        let default = || ask(&node, vec![resource_of(4, "")], 4).results.remove(0);
        assert_eq!((default().error_code, default().configs.len()), (0, 0));
        for (id, value) in [(None, "5"), (Some(node.config.node_id), "6")] {
            let operations = vec![("log.retention.ms".to_owned(), AlterOperation::Set, Some(value.to_owned()))];
            let alteration = ConfigAlteration { resource: ResourceName::Broker(id), replace: false, operations };
            let command = AlterConfigs { resources: vec![alteration], validate_only: false };
            node.controller.submit(command, None).await.unwrap().answer.remove(0).unwrap();
        }
        let configs = default().configs;
        assert_eq!(configs.len(), 1);
        assert_eq!((configs[0].value.as_ref().unwrap().as_str(), configs[0].config_source), ("5", 3));
        let own = ask(&node, vec![resource_of(4, "1")], 4).results.remove(0);
        let own = own.configs.into_iter().find(|config| config.name.as_str() == "log.retention.ms").unwrap();
        assert_eq!((own.value.as_ref().unwrap().as_str(), own.config_source, own.read_only), ("6", 2, false));
    });
}

#[test]
fn groups_have_their_own_settings() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        let alter = |pairs: &[(&str, Option<&str>)]| {
            let operations = pairs
                .iter()
                .map(|(key, value)| {
                    let operation = if value.is_some() { AlterOperation::Set } else { AlterOperation::Delete };
                    ((*key).to_owned(), operation, value.map(str::to_owned))
                })
                .collect();
            let resource = ResourceName::Group("g".to_owned());
            let alteration = ConfigAlteration { resource, replace: false, operations };
            node.controller.submit(AlterConfigs { resources: vec![alteration], validate_only: false }, None)
        };
        let session = |answer: &DescribeConfigsResponse| {
            let config = &answer.results[0].configs[2];
            assert_eq!(config.name.as_str(), "consumer.session.timeout.ms");
            (config.value.clone().unwrap().to_string(), config.config_source)
        };
        for version in 1..=4 {
            let answer = ask(&node, vec![resource_of(32, "g")], version);
            assert_eq!(session(&answer), ("45000".to_owned(), 5));
        }
        let settled = alter(&[("consumer.session.timeout.ms", Some("50000"))]).await.unwrap();
        assert!(settled.answer[0].is_ok());
        assert_eq!(session(&ask(&node, vec![resource_of(32, "g")], 4)), ("50000".to_owned(), 8));
        let own = node.publisher.image().group_configs("g").cloned().unwrap();
        assert_eq!(GroupTimeouts::resolve(&own, &node.config.layers).session, Duration::from_millis(50_000));
        let refused = alter(&[("consumer.session.timeout.ms", Some("60001"))]).await.unwrap();
        assert_eq!(refused.answer[0].as_ref().unwrap_err().error, ResponseError::InvalidConfig);
        alter(&[("consumer.session.timeout.ms", None)]).await.unwrap();
        assert!(node.publisher.image().group_configs("g").is_none());
        let nameless = ask(&node, vec![resource_of(32, "")], 4);
        assert_eq!(nameless.results[0].error_code, ResponseError::InvalidRequest.code());
    });
}

#[test]
fn what_is_asked_for_a_thousand_times_is_answered_as_far_as_there_is_room() {
    block_on(async {
        let bench = Bench::new(&[]);
        let node = bench.start().await;
        let answer = ask(&node, vec![resource_of(4, "1"); 5000], 4);
        let answered = answer.results.iter().take_while(|result| result.error_code == 0).count();
        assert!((100..4000).contains(&answered), "{answered} answered");
        let rest = answer.results.iter().skip(answered);
        assert!(rest.clone().all(|result| result.error_code == ResponseError::InvalidRequest.code()));
        assert_eq!(rest.count() + answered, 5000);
        assert!(answer.results.last().unwrap().configs.is_empty());
    });
}

#[test]
fn the_log_is_a_logger() {
    block_on(async {
        let node = Bench::new(&[]).start().await;
        for version in 1..=4 {
            let answer = ask(&node, vec![resource_of(8, "1")], version).results.remove(0);
            assert_eq!((answer.error_code, answer.configs.len()), (0, 1));
            let root = &answer.configs[0];
            assert_eq!((root.name.as_str(), root.value.as_ref().unwrap().as_str()), ("root", "INFO"));
            assert_eq!((root.config_source, root.read_only, root.synonyms.len()), (6, false, 0));
        }
    });
}
