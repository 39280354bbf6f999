"""The features of the matrix: what each means, once for all clients.

A feature is a function of a `Case`. It returns a remark for the report, or raises `Failed`, `Absent`, or what went wrong.
Topics are made by the `steward`, an adapter that is known to work, unless making them is what is tried; and what a client
produced is also read by the steward, and looked at as it is stored.
"""

import hashlib
import time

from . import wire
from .adapters import Refused
from .case import BASE_TIME, PATIENCE, decode, expect, record, refusal

FEATURES = {}
# Incompressible, so that segments fill whatever the codec.
TIERED_RECORDS = 6000


def feature(name):
    def register(function):
        FEATURES[name] = function
        return function
    return register


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
    # Clients that keep headers as a map cannot keep the order between names.
    is_ordered = case.client.hello.get("ordered", True)
    if not is_ordered:
        headers.sort(key=lambda header: header[0])
    case.round_trip([record(b"v", b"k", headers=headers)])
    return None if is_ordered else "sorted by name"


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
        before = case.settle([6], seen)["one"]
        case.lost.clear()
        case.join("two", protocol, assignor)
        held = case.settle([3, 3], seen)
        expect(not set(held["one"]) & set(held["two"]), f"a partition has two owners: {held}")
        is_incremental = protocol == "consumer" or assignor == "cooperative-sticky"
        if is_incremental:
            expect_lost(case, "one", [one for one in before if one not in held["one"]])
        expect_group(case, protocol, assignor)
        if protocol == "consumer" and assignor == "range":
            expect(sorted(held.values()) == [[0, 1, 2], [3, 4, 5]], f"these are no ranges: {held}")
        case.lost.clear()
        case.leave("one")
        case.settle([6], seen)
        if is_incremental:
            expect_lost(case, "two", [])
        deadline = time.monotonic() + PATIENCE
        while len({(one["partition"], one["offset"]) for one in seen}) < 60:
            expect(time.monotonic() < deadline, f"only {len(seen)} of 60 records were read")
            seen += case.client.call("poll", member="two")["records"]
    return share


def expect_lost(case, member, partitions):
    """The member gave up these partitions on the way, and none that it has still."""
    expect(member in case.lost, "the adapter does not say what a member gives up")
    lost = sorted(case.lost[member])
    expect(lost == partitions, f"member {member} was told to give up {lost}, and not just {partitions}")


def expect_group(case, protocol, assignor):
    """The broker knows the group as what was asked for: a client can take another protocol or assignor, and say nothing."""
    kind = wire.group_type(case.bootstrap, case.group)
    expect(kind == protocol, f"the group is of type {kind}, not {protocol}")
    used = (wire.consumer_assignor if protocol == "consumer" else wire.classic_assignor)(case.bootstrap, case.group)
    # Some clients have a name of their own: RoundRobinAssigner.
    expect(used.lower().startswith(assignor), f"the group uses {used}, not {assignor}")


for name in ("range", "roundrobin", "sticky", "cooperative-sticky"):
    feature(f"group-{name}")(sharing("classic", name))
for name in ("uniform", "range"):
    feature(f"group-consumer-{name}")(sharing("consumer", name))


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


# How each client reports a broker that hangs up at a request of before 2017: few say more than that it does not answer.
HUNG_UP = {
    "kcat": "connectionsaredown", "confluent-kafka": "msgtimedout", "rust-rdkafka": "messagetimedout",
    "kafka-python": "kafkatimeout", "franz-go": "retriedtoomanytimes", "sarama": "eof", "kafka-go": "eof", "platformatic": "connectionclosed",
}


@feature("error-unsupported-version")
def error_unsupported_version(case):
    case.make(1)
    words = [HUNG_UP[case.name]] if case.name in HUNG_UP else []
    name = refusal(words, lambda: case.client.call("ancient", topic=case.topic))
    expect(not wire.batches(case.bootstrap, case.topic, 0), "the broker took it")
    case.produce([record(b"of today")])
    expect(len(case.consume(1, by=case.steward)) == 1, "nothing can be produced afterwards")
    return name
