"""Frameworks on Kafka: each cell starts the framework as its users do, lets it work, and stops and restarts it."""

import http.client
import json
import subprocess
import time

from . import wire
from .adapters import Failed
from .broker import free_ports
from .clients import HERE
from .processes import Process, wait_for
from .tools import expect, registering

FRAMEWORKS = {}
framework = registering(FRAMEWORKS)


def ask(port, method, path, body=None):
    """Connect's REST interface; None while it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if text else None
    except (OSError, ValueError, http.client.HTTPException):
        # Not there yet, or a page that says so.
        return None
    finally:
        connection.close()


def properties(path, values):
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    return path


@framework("Connect, distributed")
def connect(run):
    """A file source and a file sink over a topic; the worker is restarted between two halves of the file."""
    (port,) = free_ports(1)
    name = f"{run.prefix}-connect"
    source, sink = run.folder / f"{name}-source.txt", run.folder / f"{name}-sink.txt"
    converter = "org.apache.kafka.connect.storage.StringConverter"
    internal = {f"{kind}.storage.topic": f"{name}-{kind}" for kind in ("offset", "config", "status")}
    single = {f"{kind}.storage.replication.factor": 1 for kind in ("offset", "config", "status")}
    config = properties(run.folder / f"{name}.properties", {
        "bootstrap.servers": run.bootstrap, "group.id": name, "key.converter": converter, "value.converter": converter,
        **internal, **single, "offset.flush.interval.ms": 500, "listeners": f"http://127.0.0.1:{port}",
        "plugin.discovery": "only_scan"})
    run.at("TopicCommand", "--create", "--topic", f"{name}-lines", "--partitions", 1)
    command = run.java("org.apache.kafka.connect.cli.ConnectDistributed", config)
    wanted = []

    def work(process, number, connectors):
        wait_for("Connect's REST interface", lambda: (ask(port, "GET", "/connectors") or [0])[0] == 200, process)
        for connector, settings in connectors.items():
            put = f"/connectors/{connector}/config"
            wait_for(f"connector {connector}", lambda: (ask(port, "PUT", put, settings) or [0])[0] in (200, 201), process)
        lines = [f"line {i}" for i in range(number, number + 100)]
        wanted.extend(lines)
        with open(source, "a") as file:
            file.writelines(f"{line}\n" for line in lines)
        wait_for("all lines in the sink", lambda: sink.exists() and len(sink.read_text().splitlines()) >= len(wanted), process)
        if sink.read_text().splitlines() != wanted:
            raise Failed("the sink has other lines than the source")

    stream = "org.apache.kafka.connect.file.FileStream"
    with Process(command, run.log) as process:
        work(process, 0, {
            "source": {"connector.class": f"{stream}SourceConnector", "file": str(source), "topic": f"{name}-lines"},
            "sink": {"connector.class": f"{stream}SinkConnector", "file": str(sink), "topics": f"{name}-lines"},
        })
        # The source's offset is flushed by the clock.
        time.sleep(2)
    with Process(command, run.log) as process:
        work(process, 100, {})


@framework("MirrorMaker 2")
def mirror(run):
    """From this broker to a second one: records, the topic's settings, and a group's offsets."""
    other = run.another()
    try:
        (port,) = free_ports(1)
        topic = f"{run.prefix}-mirrored"
        run.at("TopicCommand", "--create", "--topic", topic, "--partitions", 2, "--config", "retention.ms=7200000")
        run.fill(topic, 100)
        run.at("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 100, "--group", f"{topic}-group")
        every = {f"{key}.interval.seconds": 1 for key in ("refresh.topics", "refresh.groups", "sync.topic.configs",
                                                           "emit.checkpoints", "sync.group.offsets", "emit.heartbeats")}
        ones = {f"{key}.replication.factor": 1 for key in ("", "checkpoints.topic", "heartbeats.topic", "offset-syncs.topic",
                                                            "offset.storage", "status.storage", "config.storage")}
        settings = {"clusters": "a, b", "a.bootstrap.servers": run.bootstrap, "b.bootstrap.servers": other.bootstrap,
                    "a->b.enabled": "true", "a->b.topics": topic, "a->b.groups": f"{topic}-group", "b->a.enabled": "false",
                    "a->b.sync.group.offsets.enabled": "true", "tasks.max": 1, "listeners": f"http://127.0.0.1:{port}",
                    "a->b.offset.lag.max": 0, **every, **{key.lstrip("."): value for key, value in ones.items()}}
        config = properties(run.folder / f"{topic}.properties", settings)
        there = run.elsewhere(other.bootstrap)
        with Process(run.java("org.apache.kafka.connect.mirror.MirrorMaker", config), run.log) as process:
            wait_for("100 mirrored records", lambda: wire.records_in(there.bootstrap, f"a.{topic}", 2) == 100, process)
            expect(there.at("TopicCommand", "--describe", "--topic", f"a.{topic}"), r"PartitionCount: 2")
            wait_for("the topic's settings", lambda: "retention.ms=7200000" in there.at(
                "kafka.admin.ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", f"a.{topic}"), process)
            wait_for("the group's offsets", lambda: f"a.{topic}" in there.at(
                "consumer.group.ConsumerGroupCommand", "--describe", "--group", f"{topic}-group", may_fail=True), process)
    finally:
        other.stop()


@framework("Kafka Streams, at least once")
def streams(run):
    """Counts words; is restarted without its local state, which it gets back from the changelog."""
    name = f"{run.prefix}-streams"
    source, target = f"{name}-words", f"{name}-counts-out"
    for topic in (source, target):
        run.at("TopicCommand", "--create", "--topic", topic, "--partitions", 2)

    def counted(state, words):
        words_seen.extend(words)
        command = run.java("Streams", run.bootstrap, name, source, target, run.folder / state)
        with Process(command, run.log, leaves_by_itself=True) as process:
            run.at("ConsoleProducer", "--topic", source, given="".join(f"{word}\n" for word in words))

            wait_for("all counts", lambda: wire.records_in(run.bootstrap, target, 2) >= len(words_seen), process)

    words_seen = []
    counted("first", ["apple", "pear", "apple"])
    counted("second", ["pear", "apple", "plum"])
    text = run.at("consumer.ConsoleConsumer", "--topic", target, "--from-beginning", "--max-messages", 6,
                  "--formatter-property", "print.key=true", "--timeout-ms", 30000)
    found = sorted(line for line in text.splitlines() if "\t" in line)
    if found != ["apple\t1", "apple\t2", "apple\t3", "pear\t1", "pear\t2", "plum\t1"]:
        raise Failed(f"the counts are {found}")
    topics = run.at("TopicCommand", "--list")
    expect(topics, f"{name}-counts-changelog", f"{name}-counts-repartition")
    described = run.at("TopicCommand", "--describe", "--topic", f"{name}-counts-changelog")
    expect(described, r"cleanup.policy=compact")


@framework("Spring Kafka")
def spring(run):
    command = run.java("Spring", run.bootstrap, f"{run.prefix}-spring")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        raise Failed("it did not end within 180 s") from None
    run.log.write(done.stdout + done.stderr)
    if done.returncode:
        raise Failed(next((line for line in done.stderr.splitlines() if "Exception" in line), f"status {done.returncode}"))


@framework("a schema registry's group (protocol type sr)")
def registry(run):
    """Two members agree on a primary; it leaves, and the other one takes over."""
    group = f"{run.prefix}-registry"

    def start(name):
        path = run.folder / f"{group}-{name}.txt"
        return path, Process([run.installed / "python/bin/python", HERE / "python/registry.py", run.bootstrap, group, name], open(path, "w"),
                             leaves_by_itself=True)

    first_says, first = start("a")
    with first:
        wait_for("the first one to be primary", lambda: "primary a" in first_says.read_text(), first)
        second_says, second = start("b")
        with second:
            wait_for("the second one to follow it", lambda: second_says.read_text().splitlines()[-1:] == ["primary a"], second)
            expect(run.at("GroupsCommand", "--list"), rf"{group}\s+Classic\s+sr")
            first.stop()
            wait_for("the second one to take over", lambda: second_says.read_text().splitlines()[-1:] == ["primary b"], second)
