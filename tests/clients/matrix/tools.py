"""Kafka's own command line tools: each cell is what an operator does with one of them, checked by what it prints."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from .adapters import Failed

# Of frameworks/pom.xml.
VERSION = "Kafka 4.3.1, Spring Kafka 4.1.2"
LIMIT = 120


def registering(cells):
    """A decorator that puts a function among `cells`, by its name in the report."""
    def named(name):
        def register(function):
            cells[name] = function
            return function
        return register
    return named


TOOLS = {}
tool = registering(TOOLS)


@dataclass
class Tools:
    """The tools, and what else a cell needs to start a framework, against one broker."""

    installed: Path
    bootstrap: str
    prefix: str
    folder: Path
    log: TextIO
    # Starts a second broker.
    another: Callable

    def java(self, main, *arguments):
        return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
                f"{self.installed}/frameworks/classes:{self.installed}/frameworks/lib/*", main, *map(str, arguments)]

    def elsewhere(self, bootstrap):
        return replace(self, bootstrap=bootstrap)

    def run(self, main, *arguments, given=None, may_fail=False):
        """What it printed; a failure is a status other than zero, or an exception on either stream."""
        command = self.java(main if main.startswith(("kafka.", "org.")) else f"org.apache.kafka.tools.{main}", *arguments)
        try:
            done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise Failed(f"{main} did not end within {LIMIT} s") from None
        self.log.write(f"$ {' '.join(command[6:])}\n{done.stdout}{done.stderr}\n")
        said = done.stdout + done.stderr
        if not may_fail and (done.returncode or "Exception" in said or "ERROR" in said):
            line = next((line for line in said.splitlines() if "Exception" in line or "rror" in line), said.strip()[-200:])
            raise Failed(f"{main.rsplit('.', 1)[-1]} ended with {done.returncode}: {line}")
        return said

    def at(self, main, *arguments, **more):
        return self.run(main, "--bootstrap-server", self.bootstrap, *arguments, **more)

    def topic(self, name, partitions=1):
        topic = f"{self.prefix}-{name}"
        self.at("TopicCommand", "--create", "--topic", topic, "--partitions", partitions)
        return topic

    def fill(self, topic, count):
        lines = "".join(f"key {i}:value {i}\n" for i in range(count))
        self.at("ConsoleProducer", "--topic", topic, "--reader-property", "parse.key=true", "--reader-property",
                "key.separator=:", given=lines)

    def file(self, name, content):
        """A file for a tool to read."""
        path = self.folder / f"{self.prefix}-{name}"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def delete_records(self, topic, partition, before):
        plan = {"version": 1, "partitions": [{"topic": topic, "partition": partition, "offset": before}]}
        return self.at("DeleteRecordsCommand", "--offset-json-file", self.file(f"{topic}.json", plan))


def expect(text, *patterns):
    for pattern in patterns:
        if not re.search(pattern, text):
            raise Failed(f"no {pattern!r} in: {' '.join(text.split())[-200:]}")


def expect_none(text, *patterns):
    for pattern in patterns:
        if found := re.search(pattern, text):
            raise Failed(f"it says {found[0]!r}")


@tool("kafka-topics")
def topics(run):
    topic = run.topic("topics", 2)
    expect(run.at("TopicCommand", "--list"), rf"(?m)^{topic}$")
    run.at("TopicCommand", "--alter", "--topic", topic, "--partitions", 3)
    expect(run.at("TopicCommand", "--describe", "--topic", topic), r"PartitionCount: 3", r"Partition: 2\s+Leader: \d")
    run.at("TopicCommand", "--delete", "--topic", topic)
    expect(run.at("TopicCommand", "--describe", "--topic", topic, may_fail=True), r"does not exist as expected")


@tool("kafka-configs")
def configs(run):
    topic = run.topic("configs")
    entity = ("--entity-type", "topics", "--entity-name", topic)
    run.at("kafka.admin.ConfigCommand", "--alter", *entity, "--add-config", "retention.ms=7200000,cleanup.policy=[compact,delete]")
    found = run.at("kafka.admin.ConfigCommand", "--describe", *entity)
    expect(found, r"retention.ms=7200000", r"cleanup.policy=compact,delete")
    run.at("kafka.admin.ConfigCommand", "--alter", *entity, "--delete-config", "retention.ms")
    expect(run.at("kafka.admin.ConfigCommand", "--describe", "--all", *entity), r"retention.ms=604800000")
    expect(run.at("kafka.admin.ConfigCommand", "--describe", "--all", "--entity-type", "brokers", "--entity-name", 1), r"log.retention")


@tool("kafka-console-producer, kafka-console-consumer")
def console(run):
    topic = run.topic("console")
    run.fill(topic, 50)
    found = run.at("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 50,
                   "--formatter-property", "print.key=true", "--formatter-property", "print.offset=true")
    expect(found, r"Offset:0\tkey 0\tvalue 0", r"Offset:49\tkey 49\tvalue 49")


@tool("kafka-get-offsets")
def offsets(run):
    topic = run.topic("offsets")
    run.fill(topic, 10)
    for time_, offset in ((-1, 10), (-2, 0), (-3, r"\d"), (-4, 0)):
        expect(run.at("GetOffsetShell", "--topic", topic, "--time", time_), rf"{topic}:0:{offset}\b")


@tool("kafka-delete-records")
def delete_records(run):
    topic = run.topic("deletes")
    run.fill(topic, 10)
    expect(run.delete_records(topic, 0, 4), r"low_watermark: 4")
    expect(run.at("GetOffsetShell", "--topic", topic, "--time", -2), rf"{topic}:0:4\b")


@tool("kafka-log-dirs")
def log_dirs(run):
    topic = run.topic("dirs")
    run.fill(topic, 10)
    found = run.at("LogDirsCommand", "--describe", "--topic-list", topic)
    (line,) = [line for line in found.splitlines() if line.startswith("{")]
    (replica,) = [one for broker in json.loads(line)["brokers"] for folder in broker["logDirs"] for one in folder["partitions"]]
    if replica["partition"] != f"{topic}-0" or replica["size"] <= 0:
        raise Failed(str(replica))


@tool("kafka-producer-perf-test, kafka-consumer-perf-test")
def perf(run):
    topic = run.topic("perf", 3)
    found = run.run("ProducerPerformance", "--topic", topic, "--num-records", 5000, "--record-size", 200, "--throughput", -1,
                    "--bootstrap-server", run.bootstrap)
    expect(found, r"5000 records sent")
    found = run.at("ConsumerPerformance", "--topic", topic, "--num-records", 5000)
    expect(found, r", 5\d\d\d, ")


@tool("kafka-broker-api-versions")
def api_versions(run):
    expect(run.at("BrokerApiVersionsCommand"), r"Produce\(0\): 0 to \d+", r"Fetch\(1\): 4 to \d+")


@tool("kafka-verifiable-producer, kafka-verifiable-consumer")
def verifiable(run):
    topic = run.topic("verifiable")
    found = run.at("VerifiableProducer", "--topic", topic, "--max-messages", 100)
    expect(found, r'"name":"tool_data".*', r'"acked":100')
    # It consumes for ever once it has read what it was asked for, unless it is told to stop.
    command = run.java("org.apache.kafka.tools.VerifiableConsumer", "--bootstrap-server", run.bootstrap, "--topic", topic,
                       "--group-id", f"{topic}-group", "--max-messages", 100)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=run.log, text=True)
    read, deadline = 0, time.monotonic() + LIMIT
    try:
        for line in process.stdout:
            run.log.write(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("name") == "records_consumed":
                read += event["count"]
            if event.get("name") == "offsets_committed" and not event.get("success"):
                raise Failed(f"a commit failed: {event}")
            if read >= 100 or time.monotonic() > deadline:
                break
    finally:
        process.terminate()
        process.wait()
    if read < 100:
        raise Failed(f"{read} of 100 records were read")
