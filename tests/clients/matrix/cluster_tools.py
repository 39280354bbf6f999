"""Kafka's tools for the cluster as a whole, on one broker: what there is to say of it, and what cannot be done with it."""

import json
import re

from .adapters import Failed
from .tools import expect, expect_none, registering

CLUSTER_TOOLS = {}
tool = registering(CLUSTER_TOOLS)
GROUP_ID = "kafka-configs-group"


@tool("kafka-leader-election")
def leader_election(run):
    topic = run.topic("elects", 2)

    def elect(*arguments, **more):
        return run.at("LeaderElectionCommand", *arguments, **more)

    for kind in ("preferred", "unclean"):
        found = elect("--election-type", kind, "--topic", topic, "--partition", 1)
        expect(found, rf"Valid replica already elected for partitions {topic}-1")
    plan = run.file("elects.json", {"partitions": [{"topic": topic, "partition": index} for index in (0, 1)]})
    found = elect("--election-type", "preferred", "--path-to-json-file", plan)
    expect(found, r"Valid replica already elected for partitions ", f"{topic}-0", f"{topic}-1")
    # Of all partitions those are told whose leader changed, or should have.
    expect_none(elect("--election-type", "preferred", "--all-topic-partitions"), r"elect")
    found = elect("--election-type", "preferred", "--topic", topic, "--partition", 7, may_fail=True)
    expect(found, rf"Error completing leader election \(PREFERRED\) for partition: {topic}-7: .*UnknownTopicOrPartitionException",
           r"1 replica\(s\) could not be elected")


@tool("kafka-reassign-partitions")
def reassign(run):
    topic = run.topic("moves", 2)

    def move(*arguments, **more):
        return run.at("reassign.ReassignPartitionsCommand", *arguments, **more)

    chosen = run.file("moves-topics.json", {"version": 1, "topics": [{"topic": topic}]})
    found = move("--generate", "--topics-to-move-json-file", chosen, "--broker-list", 1)
    current, proposed = (json.loads(line) for line in found.splitlines() if line.startswith("{"))
    wanted = [{"topic": topic, "partition": index, "replicas": [1]} for index in (0, 1)]
    for plan in (current, proposed):
        there = sorted(plan["partitions"], key=lambda one: one["partition"])
        if [{key: one[key] for key in ("topic", "partition", "replicas")} for one in there] != wanted:
            raise Failed(f"the plan is {plan}")
    plan = run.file("moves.json", proposed)
    found = move("--execute", "--reassignment-json-file", plan)
    expect(found, rf"Successfully started partition reassignments for {topic}-0,{topic}-1")
    found = move("--verify", "--reassignment-json-file", plan)
    expect(found, rf"Reassignment of partition {topic}-0 is completed", rf"Reassignment of partition {topic}-1 is completed",
           r"Clearing broker-level throttles on broker 1", rf"Clearing topic-level throttles on topic {topic}")
    expect(move("--list"), r"No partition reassignments found")
    expect(move("--cancel", "--reassignment-json-file", plan), r"None of the specified partition reassignments are active")
    # There is no broker 2, and no second copy on one broker.
    for replicas, refusal in (([2], r"Unknown broker id 2"), ([1, 1], r"contains duplicate|duplicate")):
        moved = [{"topic": topic, "partition": 0, "replicas": replicas}]
        plan = run.file("moves-away.json", {"version": 1, "partitions": moved})
        expect(move("--execute", "--reassignment-json-file", plan, may_fail=True), refusal)


@tool("kafka-transactions list, describe-producers, find-hanging")
def transactions(run):
    topic = run.topic("producers")
    run.fill(topic, 10)
    listed = run.at("TransactionsCommand", "list")
    expect(listed, r"TransactionalId\s+Coordinator\s+ProducerId\s+TransactionState")
    expect_none(listed, run.prefix)
    # The console's producer is idempotent: one batch, or several, with sequences from 0 to 9.
    found = run.at("TransactionsCommand", "describe-producers", "--topic", topic, "--partition", 0)
    expect(found, r"ProducerId\s+ProducerEpoch\s+LatestCoordinatorEpoch\s+LastSequence\s+LastTimestamp\s+CurrentTransaction",
           r"(?m)^\d+\s+0\s+-1\s+9\s+\d{13}\s+None\s*$")
    found = run.at("TransactionsCommand", "find-hanging", "--topic", topic)
    expect(found, r"Topic\s+Partition\s+ProducerId\s+ProducerEpoch\s+CoordinatorEpoch\s+StartOffset\s+LastTimestamp\s+Duration")
    expect_none(found, topic)


def field(text, name):
    """The value behind a name and a colon."""
    found = re.search(rf"(?m)^{name}:\s+(.*?)\s*$", text)
    if not found:
        raise Failed(f"no {name} in: {text}")
    return found[1]


@tool("kafka-metadata-quorum, kafka-cluster")
def quorum(run):
    status = run.at("MetadataQuorumCommand", "describe", "--status")
    expect(status, r"(?m)^LeaderId:\s+1$", r"(?m)^LeaderEpoch:\s+[1-9]\d*$", r"(?m)^HighWatermark:\s+[1-9]\d*$",
           r"(?m)^MaxFollowerLag:\s+0$", r"(?m)^MaxFollowerLagTimeMs:\s+0$", r'(?m)^CurrentVoters:\s+\[\{"id": 1, [^{]*\}\]$',
           r"(?m)^CurrentObservers:\s+\[\]$")
    found = run.at("MetadataQuorumCommand", "describe", "--replication")
    expect(found, r"(?m)^NodeId\s+DirectoryId\s+LogEndOffset\s+Lag\s+LastFetchTimestamp\s+LastCaughtUpTimestamp\s+Status\s*$",
           r"(?m)^1\s+\S+\s+[1-9]\d*\s+0\s+\d{13}\s+\d{13}\s+Leader\s*$")
    found = run.at("MetadataQuorumCommand", "describe", "--replication", "--human-readable")
    expect(found, r"(?m)^1\s.*\d ms ago\s+\d+ ms ago\s+Leader")
    # What was committed since is seen.
    run.topic("quorum")
    later = run.at("MetadataQuorumCommand", "describe", "--status")
    if int(field(later, "HighWatermark")) <= int(field(status, "HighWatermark")):
        raise Failed("the metadata's high watermark does not move")

    cluster = run.run("ClusterTool", "cluster-id", "--bootstrap-server", run.bootstrap)
    if field(cluster, "Cluster ID") != field(status, "ClusterId"):
        raise Failed(f"{cluster} is not the id of {status}")
    host, port = run.bootstrap.rsplit(":", 1)
    for more in ([], ["--include-fenced-brokers"]):
        found = run.run("ClusterTool", "list-endpoints", "--bootstrap-server", run.bootstrap, *more)
        expect(found, rf"(?m)^1\s+{re.escape(host)}\s+{port}\s+null\s+unfenced\s+broker\s*$")


@tool("kafka-features")
def features(run):
    described = run.at("FeatureCommand", "describe")
    for name, level, shown in (("metadata.version", 30, r"4\.3-IV0"), ("group.version", 1, "1")):
        expect(described, rf"(?m)^Feature: {name}\s+SupportedMinVersion: \S+\s+SupportedMaxVersion: {shown}\s+"
                          rf"FinalizedVersionLevel: {shown}\s+Epoch: \d+")
        found = run.at("FeatureCommand", "upgrade", "--feature", f"{name}={level}", "--dry-run")
        expect(found, rf"{name} can be upgraded to {level}")
    for command, feature, reason in (
        ("upgrade", "metadata.version=999", r"Can not upgrade metadata\.version to 999\. .*Invalid update version 999"),
        ("upgrade", "group.version=7", r"Can not upgrade group\.version to 7\. .*Invalid update version 7 for feature group\.version"),
        ("upgrade", "no.such.feature=1", r"Can not upgrade no\.such\.feature to 1\. "),
        ("downgrade", "metadata.version=999", r"Can not downgrade metadata\.version to 999\. .*Invalid update version 999"),
    ):
        expect(run.at("FeatureCommand", command, "--feature", feature, "--dry-run", may_fail=True), reason)


@tool("kafka-configs, of groups")
def group_configs(run):
    group = f"{run.prefix}-{GROUP_ID}"
    entity = ("--entity-type", "groups", "--entity-name", group)

    def configs(*arguments, **more):
        return run.at("kafka.admin.ConfigCommand", *arguments, **more)

    def described():
        return configs("--describe", *entity)

    expect_none(configs("--describe", "--entity-type", "groups"), group)
    expect_none(described(), r"\w=")
    configs("--alter", *entity, "--add-config", "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=6000")
    key = r"consumer\.session\.timeout\.ms"
    expect(described(), rf"{key}=50000 sensitive=false synonyms=\{{DYNAMIC_GROUP_CONFIG:{key}=50000", r"consumer\.heartbeat\.interval\.ms=6000")
    expect(configs("--describe", "--entity-type", "groups"), group, r"consumer\.session\.timeout\.ms=50000")
    for value, refusal in (("consumer.session.timeout.ms=1", r"InvalidConfigurationException|InvalidRequestException"),
                           ("no.such.key=1", r"InvalidConfigurationException|InvalidRequestException")):
        expect(configs("--alter", *entity, "--add-config", value, may_fail=True), refusal)
    configs("--alter", *entity, "--delete-config", "consumer.session.timeout.ms,consumer.heartbeat.interval.ms")
    expect_none(described(), r"\w=")
    expect_none(configs("--describe", "--entity-type", "groups"), group)
