"""What a feature is tried with: a `Case` is one client, one topic, and the members that joined a group."""

import base64
import re
import time

from . import wire
from .adapters import Failed, Refused

# How long members may take to share partitions, in seconds: two session timeouts of a busy machine.
PATIENCE = 60
# An hour ago: a timestamp of long ago would have retention delete the record.
BASE_TIME = int(time.time()) * 1000 - 3_600_000


class Case:
    """One client, one feature, topics of its own."""

    def __init__(self, name, client, steward, prefix, tiered):
        self.name = name
        self.client = client
        self.steward = steward
        self.bootstrap = client.bootstrap
        self.topic = prefix
        self.tiered = tiered
        self.members = []
        # What each member was told to give up, as far as anybody looked.
        self.lost = {}

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
        self.client.call("join", member=member, group=group or self.group, topic=self.topic,
                         protocol=protocol, assignor=assignor, instance=instance, limit=limit)

    def leave(self, member):
        self.members.remove(member)
        self.client.call("leave", member=member)

    @property
    def group(self):
        return f"{self.topic}-group"

    def settle(self, counts, seen, watch=None):
        """Polls all members until they have so many partitions each; what they read goes into `seen`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            held = {}
            for member in self.members:
                polled = self.client.call("poll", member=member)
                seen.extend(polled["records"])
                held[member] = polled["assigned"]
                if "lost" in polled:
                    self.lost.setdefault(member, []).extend(polled["lost"])
                if watch is not None:
                    watch(member, polled["assigned"])
            if sorted(len(partitions or []) for partitions in held.values()) == sorted(counts):
                return held
            if time.monotonic() > deadline:
                raise Failed(f"members hold {held}, not {counts}, after {PATIENCE} s")

    def close(self):
        """All members leave; one that cannot is a failure of the cell."""
        for member in list(self.members):
            self.leave(member)

    def abandon(self):
        """The same for a cell that has failed already, whose members may be in any state."""
        for member in list(self.members):
            try:
                self.leave(member)
            except Exception as error:
                print(f"{member} does not leave: {error!r}", file=self.client.log)
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
