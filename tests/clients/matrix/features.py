"""The features of the matrix: what each means, once for all clients.

A feature is a function of a `Case`. It returns a remark for the report, or raises `Failed`, `Absent`, or what went wrong.
Topics are made by the `steward`, an adapter that is known to work, unless making them is what is tried; and what a client
produced is also read by the steward, and looked at as it is stored.
"""

import base64
import hashlib
import re
import time

from . import wire
from .adapters import Absent, Failed, Refused

FEATURES = {}
# How long members may take to share partitions, in seconds: two session timeouts of a busy machine.
PATIENCE = 60
# An hour ago: a timestamp of long ago would have retention delete the record.
BASE_TIME = int(time.time()) * 1000 - 3_600_000
# Incompressible, so that segments fill whatever the codec.
TIERED_RECORDS = 6000


def feature(name):
    def register(function):
        FEATURES[name] = function
        return function
    return register


class Case:
    """One client, one feature, topics of its own."""

    def __init__(self, client, steward, prefix, tiered):
        self.client = client
        self.steward = steward
        self.bootstrap = client.bootstrap
        self.topic = prefix
        self.tiered = tiered
        self.members = []

    def make(self, partitions=1, **configs):
        configs = {key.replace("_", "."): str(value) for key, value in configs.items()}
        self.steward.call("create", topic=self.topic, partitions=partitions, configs=configs)
        # Apache Kafka answers before it knows the topic itself, and some clients give up at once.
        deadline = time.monotonic() + 10
        while True:
            try:
                self.steward.call("describe", topic=self.topic)
                return
            except Refused:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def produce(self, records, codec="none", idempotent=False, by=None):
        return (by or self.client).call("produce", topic=self.topic, codec=codec, idempotent=idempotent, records=records)

    def consume(self, count, start=None, by=None, reset="earliest", topic=None):
        start = {str(partition): offset for partition, offset in (start or {0: 0}).items()}
        return (by or self.client).call("consume", topic=topic or self.topic, **{"from": start}, count=count, reset=reset)

    def round_trip(self, records, codec="none", idempotent=False):
        """Produced by the client; read by it and by the steward; the same, and stored as it was asked for."""
        self.produce(records, codec, idempotent)
        for reader in (self.client, self.steward):
            who = "the client" if reader is self.client else "another client"
            found = self.consume(len(records), by=reader)
            compare(records, found, who, self.client.hello.get("timestamps", True), reader.hello.get("empty", True))
        stored = wire.batches(self.bootstrap, self.topic, 0)
        codecs = sorted({batch.codec for batch in stored})
        expect(codecs == [codec], f"asked for {codec}, stored {codecs}")
        return stored

    def join(self, member, protocol="classic", assignor=None, instance=None, group=None, limit=None):
        self.members.append(member)
        assignor = assignor or self.client.hello.get("assignor", "range")
        self.client.call("join", member=member, group=group or f"{self.topic}-group", topic=self.topic,
                         protocol=protocol, assignor=assignor, instance=instance, limit=limit)

    def leave(self, member):
        self.members.remove(member)
        self.client.call("leave", member=member)

    def settle(self, counts, seen, watch=None):
        """Polls all members until they have so many partitions each; what they read goes into `seen`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            held = {}
            for member in self.members:
                polled = self.client.call("poll", member=member)
                seen.extend(polled["records"])
                held[member] = polled["assigned"]
                if watch is not None:
                    watch(member, polled["assigned"])
            if sorted(len(partitions or []) for partitions in held.values()) == sorted(counts):
                return held
            if time.monotonic() > deadline:
                raise Failed(f"members hold {held}, not {counts}, after {PATIENCE} s")

    def close(self):
        for member in list(self.members):
            try:
                self.leave(member)
            except (Failed, Refused, Absent):
                pass
        self.members.clear()


def expect(condition, otherwise):
    if not condition:
        raise Failed(otherwise)


def encode(data):
    return None if data is None else base64.b64encode(data).decode()


def decode(text):
    return None if text is None else base64.b64decode(text)


def record(value, key=None, partition=0, headers=(), timestamp=BASE_TIME):
    return {"partition": partition, "key": encode(key), "value": encode(value), "timestamp": timestamp,
            "headers": [[name, encode(data)] for name, data in headers]}


def compare(sent, found, reader, timestamps, empty):
    """In order, within partition 0; `empty`: the reader tells what is empty from what is null."""
    def plain(value):
        if isinstance(value, list):
            return [plain(one) for one in value]
        return None if value == "" and not empty else value

    expect(len(found) == len(sent), f"{reader} read {len(found)} of {len(sent)}")
    for number, (one, other) in enumerate(zip(sent, found)):
        expect(other["offset"] == number, f"{reader}: record {number} has offset {other['offset']}")
        for field in ("key", "value", "headers") + (("timestamp",) if timestamps else ()):
            expect(plain(one[field]) == plain(other[field]),
                   f"{reader}: record {number} has {field} {shown(other[field])}, not {shown(one[field])}")


def shown(value):
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def refusal(words, call):
    """What the client called the error, if it says one of `words`."""
    try:
        call()
    except Refused as refused:
        said = re.sub("[^a-z]", "", f"{refused.name} {refused.message}".lower())
        expect(any(word in said for word in words), f"reported as {refused}")
        return refused.name
    raise Failed("no error was reported")


# ---- topics

@feature("topic-create")
def topic_create(case):
    arguments = {"topic": case.topic, "partitions": 3, "configs": {"retention.ms": "7200000"}}
    case.client.call("create", **arguments)
    found = case.steward.call("describe", topic=case.topic)
    expect(found["partitions"] == 3, f"{found['partitions']} partitions")
    expect(found["configs"]["retention.ms"] == "7200000", f"retention.ms={found['configs']['retention.ms']}")
    return "again: " + refusal(["exists"], lambda: case.client.call("create", **arguments))


@feature("topic-describe")
def topic_describe(case):
    case.make(3, retention_ms=7_200_000)
    found = case.client.call("describe", topic=case.topic)
    expect(found["partitions"] == 3, f"{found['partitions']} partitions")
    if found["configs"] is None:
        return "partitions only"
    expect(found["configs"].get("retention.ms") == "7200000", f"retention.ms={found['configs'].get('retention.ms')}")
    return None


@feature("topic-configure")
def topic_configure(case):
    case.make(1, retention_ms=7_200_000)
    case.client.call("configure", topic=case.topic, configs={"retention.ms": "3600000"})
    found = case.steward.call("describe", topic=case.topic)["configs"]
    expect(found["retention.ms"] == "3600000", f"retention.ms={found['retention.ms']}")
    if "topic-configure" in case.client.hello.get("unheard", []):
        return "an unknown key: the client does not report it"
    refused = refusal(["invalid", "unrecognized"],
                      lambda: case.client.call("configure", topic=case.topic, configs={"no.such.key": "1"}))
    return f"an unknown key: {refused}"


@feature("topic-grow")
def topic_grow(case):
    case.make(1)
    case.client.call("grow", topic=case.topic, partitions=4)
    found = case.steward.call("describe", topic=case.topic)
    expect(found["partitions"] == 4, f"{found['partitions']} partitions")
    refused = refusal(["invalidpartition", "partitionsisinvalid"], lambda: case.client.call("grow", topic=case.topic, partitions=2))
    return f"to fewer: {refused}"


@feature("topic-delete")
def topic_delete(case):
    case.make(1)
    case.client.call("delete", topic=case.topic)
    deadline = time.monotonic() + 10
    while True:
        try:
            case.steward.call("describe", topic=case.topic)
        except Refused as refused:
            expect("UNKNOWN_TOPIC" in refused.name, str(refused))
            break
        expect(time.monotonic() < deadline, "it is still there")
        time.sleep(0.2)
    return "again: " + refusal(["unknowntopic", "notexist"], lambda: case.client.call("delete", topic=case.topic))


# ---- produce

def codec(name):
    def produce(case):
        case.make(1)
        records = [record(f"value {i} ".encode() * 20, f"key {i}".encode(), timestamp=BASE_TIME + i) for i in range(200)]
        case.round_trip(records, name)
    return produce


for name in wire.CODECS:
    feature(f"produce-{name}")(codec(name))


@feature("produce-keys")
def produce_keys(case):
    case.make(1)
    case.round_trip([record(b"v", key) for key in (None, b"", b"text", bytes(range(256)), "schlüssel".encode())])


@feature("produce-partitioner")
def produce_partitioner(case):
    case.make(6)
    records = [record(b"v", f"key {i % 20}".encode(), partition=None) for i in range(100)]
    told = case.produce(records)
    found = case.consume(100, {partition: 0 for partition in range(6)}, by=case.steward)
    homes = {}
    for one in found:
        homes.setdefault(one["key"], set()).add(one["partition"])
    expect(all(len(home) == 1 for home in homes.values()), "one key lies in two partitions")
    expect(len({min(home) for home in homes.values()}) > 1, "all keys lie in one partition")
    expect(len(found) == 100 and (told is None or len(told) == 100), f"{len(found)} of 100 arrived")


@feature("produce-headers")
def produce_headers(case):
    case.make(1)
    headers = [("a", b"1"), ("b", b"\xff\xfe"), ("a", b"2"), ("empty", b"")]
    try:
        case.round_trip([record(b"v", b"k", headers=headers)])
    except Absent:
        # Clients that keep headers as a map cannot keep the order between names.
        headers.sort(key=lambda header: header[0])
        case.round_trip([record(b"v", b"k", headers=headers)])
        return "sorted by name"


@feature("produce-nulls")
def produce_nulls(case):
    case.make(1)
    case.round_trip([record(None, b"deleted"), record(b"", b"empty"), record(b"v", b"there")])


@feature("produce-large")
def produce_large(case):
    case.make(1)
    case.round_trip([record(hashlib.shake_128(b"large").digest(1_000_000), b"k")])


@feature("produce-idempotent")
def produce_idempotent(case):
    case.make(1)
    stored = case.round_trip([record(f"value {i}".encode(), timestamp=BASE_TIME + i) for i in range(500)], idempotent=True)
    expect(all(batch.producer_id >= 0 for batch in stored), "the batches have no producer id")


# ---- consume

@feature("consume-assigned")
def consume_assigned(case):
    case.make(3)
    records = [record(f"{i}".encode(), partition=i % 3) for i in range(90)]
    case.produce(records, by=case.steward)
    found = case.consume(90, {0: 0, 1: 0, 2: 0})
    for partition in range(3):
        values = [decode(one["value"]) for one in found if one["partition"] == partition]
        expect(values == [f"{i}".encode() for i in range(partition, 90, 3)], f"partition {partition} has {len(values)} records")


@feature("consume-seek")
def consume_seek(case):
    case.make(1)
    case.produce([record(f"{i}".encode()) for i in range(100)], codec="lz4", by=case.steward)
    stored = wire.batches(case.bootstrap, case.topic, 0)
    expect(len(stored) == 1, f"{len(stored)} batches: nothing lies inside one")
    found = case.consume(63, {0: 37})
    expect(found[0]["offset"] == 37, f"the first record has offset {found[0]['offset']}")
    expect(len(found) == 63, f"{len(found)} of 63 records")


@feature("consume-time")
def consume_time(case):
    case.make(1)
    case.produce([record(b"v", timestamp=BASE_TIME + i * 1000) for i in range(100)], by=case.steward)
    between = case.client.call("time", topic=case.topic, partition=0, timestamp=BASE_TIME + 50_500)
    expect(between == 51, f"50.5 s after the first record: offset {between}, not 51")
    after = case.client.call("time", topic=case.topic, partition=0, timestamp=BASE_TIME + 100_000)
    # Some clients answer with the end where the broker said none.
    expect(after in (None, 100), f"after the last record: offset {after}")


@feature("consume-tiered")
def consume_tiered(case):
    local = wire.earliest_local(case.bootstrap, case.tiered, 0)
    expect(local > 0, "everything is still on the broker's disk")
    found = case.consume(TIERED_RECORDS, topic=case.tiered)
    expect(len(found) == TIERED_RECORDS, f"{len(found)} of {TIERED_RECORDS} records")
    for number, one in enumerate(found):
        expect(one["offset"] == number and decode(one["value"]) == tiered_value(number), f"record {number} differs")


def tiered_value(number):
    return hashlib.shake_128(f"{number}".encode()).digest(1000)


# ---- groups

@feature("group-commit")
def group_commit(case):
    case.make(1)
    case.produce([record(f"{i}".encode()) for i in range(100)], by=case.steward)

    def read(member, count):
        case.join(member, limit=count)
        deadline, found = time.monotonic() + PATIENCE, []
        while len(found) < count:
            expect(time.monotonic() < deadline, f"only {len(found)} of {count} records in {PATIENCE} s")
            found += case.client.call("poll", member=member)["records"]
        return found[:count]

    first = read("first", 50)
    case.client.call("commit", member="first", offsets={"0": 50})
    case.leave("first")
    second = read("second", 50)
    expect(first[0]["offset"] == 0, f"the first member began at {first[0]['offset']}")
    expect(second[0]["offset"] == 50, f"the second member resumed at {second[0]['offset']}, not at 50")


def sharing(protocol, assignor):
    def share(case):
        case.make(6)
        case.produce([record(f"{i}".encode(), partition=i % 6) for i in range(60)], by=case.steward)
        seen = []
        case.join("one", protocol, assignor)
        case.settle([6], seen)
        case.join("two", protocol, assignor)
        held = case.settle([3, 3], seen)
        expect(not set(held["one"]) & set(held["two"]), f"a partition has two owners: {held}")
        case.leave("one")
        case.settle([6], seen)
        deadline = time.monotonic() + PATIENCE
        while len({(one["partition"], one["offset"]) for one in seen}) < 60:
            expect(time.monotonic() < deadline, f"only {len(seen)} of 60 records were read")
            seen += case.client.call("poll", member="two")["records"]
    return share


for name in ("range", "roundrobin", "sticky", "cooperative-sticky"):
    feature(f"group-{name}")(sharing("classic", name))
feature("group-consumer-protocol")(sharing("consumer", "uniform"))


@feature("group-static")
def group_static(case):
    case.make(6)
    changes, seen = [], []

    def watch(member, assigned):
        if member == "witness" and (not changes or changes[-1] != assigned):
            changes.append(assigned)

    case.join("witness", instance="witness")
    case.join("static", instance="static")
    before = case.settle([3, 3], seen, watch)
    changes.clear()
    case.leave("static")
    case.join("static", instance="static")
    after = case.settle([3, 3], seen, watch)
    expect(after["static"] == before["static"], f"it had {before['static']}, and has {after['static']}")
    expect(len(changes) == 1, f"the other member saw a rebalance: {changes}")


# ---- errors

@feature("error-unknown-topic")
def error_unknown_topic(case):
    # Most clients ask for metadata until they lose patience, and then say that.
    words = ["unknowntopic", "notpresentinmetadata", "timedout", "timeout", "doesnothost", "unabletoassign", "notexist"]
    return refusal(words, lambda: case.produce([record(b"v")]))


@feature("error-too-large")
def error_too_large(case):
    case.make(1, max_message_bytes=2000)
    name = refusal(["toolarge", "sizetoolarge", "largerthan"], lambda: case.produce([record(bytes(5000))]))
    case.produce([record(b"small enough")])
    expect(len(case.consume(1, by=case.steward)) == 1, "nothing can be produced afterwards")
    return name


@feature("error-out-of-range")
def error_out_of_range(case):
    case.make(1)
    case.produce([record(b"v")], by=case.steward)
    return refusal(["outofrange", "outsidetherange", "nooffset"], lambda: case.consume(1, {0: 1000}, reset="none"))


@feature("error-unsupported-version")
def error_unsupported_version(case):
    case.make(1)
    try:
        case.client.call("ancient", topic=case.topic)
    except Refused as refused:
        return refused.name
    raise Failed("no error was reported")
