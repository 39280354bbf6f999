"""Kafka's tools for consumer groups: what they change is read back from the broker, beside what they print."""

import contextlib
import datetime
import math
import time

from . import wire
from .adapters import Adapter, Failed
from .case import record
from .clients import STEWARD
from .processes import Process, wait_for
from .tools import expect, expect_none, registering

GROUP_TOOLS = {}
tool = registering(GROUP_TOOLS)
HOUR = 3_600_000


def groups(run, *arguments, **more):
    return run.at("consumer.group.ConsumerGroupCommand", *arguments, **more)


def reset(run, group, *arguments, **more):
    return groups(run, "--reset-offsets", "--group", group, *arguments, **more)


def expect_committed(run, group, topic, offsets):
    found = wire.committed(run.bootstrap, group, topic, len(offsets))
    if found != offsets:
        raise Failed(f"{group} has committed {found}, not {offsets}")


def row(group, topic, partition, offset):
    """A line of what --reset-offsets prints."""
    return rf"(?m)^{group}\s+{topic}\s+{partition}\s+{offset}\s*$"


@contextlib.contextmanager
def member(run, group, topic, protocol, partitions, records):
    """A consumer that has all partitions of a topic, and has committed all records of them."""
    command = run.java("org.apache.kafka.tools.VerifiableConsumer", "--bootstrap-server", run.bootstrap, "--topic", topic,
                       "--group-id", group, "--group-protocol", protocol, "--reset-policy", "earliest")
    with Process(command, run.log) as process:
        def is_done():
            # Before it joined there is nobody to coordinate the group yet.
            with contextlib.suppress(ValueError):
                return sum(at or 0 for at in wire.committed(run.bootstrap, group, topic, partitions)) == records

        wait_for(f"{records} records committed", is_done, process)
        yield


@tool("kafka-consumer-groups --describe, --list; kafka-groups")
def members(run):
    """Of both protocols, with a member that is connected, and what is refused because it is."""
    for protocol, assignor in (("classic", "range"), ("consumer", "uniform")):
        topic = run.topic(f"members-{protocol}", 2)
        run.fill(topic, 20)
        group = f"{topic}-group"
        with member(run, group, topic, protocol, 2, 20):
            offsets = wire.committed(run.bootstrap, group, topic, 2)
            found = groups(run, "--describe", "--group", group, "--offsets")
            for partition, offset in enumerate(offsets):
                expect(found, rf"(?m)^{group}\s+{topic}\s+{partition}\s+{offset}\s+{offset}\s+0\s+\S+\s+/127\.0\.0\.1\s+\S")
            found = groups(run, "--describe", "--group", group, "--members", "--verbose")
            expect(found, rf"(?m)^{group}\s+\S+\s+/127\.0\.0\.1\s+\S+\s+2\b.*{topic}:0,1\b")
            found = groups(run, "--describe", "--group", group, "--state")
            expect(found, rf"(?m)^{group}\s+127\.0\.0\.1:\d+\s+\(1\)\s+{assignor}\s+Stable\s+1\s*$")
            listed = rf"(?m)^{group}\b"
            expect(groups(run, "--list", "--state", "Stable"), listed)
            expect_none(groups(run, "--list", "--state", "Empty"), listed)
            expect(groups(run, "--list", "--type", protocol), listed)
            expect_none(groups(run, "--list", "--type", "classic" if protocol == "consumer" else "consumer"), listed)
            expect(run.at("GroupsCommand", "--list"), rf"(?m)^{group}\s+{protocol.capitalize()}\s+consumer\s*$")
            # What its members do is theirs.
            found = groups(run, "--delete", "--group", group, may_fail=True)
            expect(found, rf"Group '{group}' could not be deleted due to: .*GroupNotEmptyException")
            found = groups(run, "--delete-offsets", "--group", group, "--topic", topic, may_fail=True)
            expect(found, rf"(?m)^{topic}\s+0\s+Error: .*actively subscribed")
            found = reset(run, group, "--topic", topic, "--to-earliest", "--execute", may_fail=True)
            expect(found, rf"can only be reset if the group '{group}' is inactive, but the current state is Stable")
            expect_committed(run, group, topic, offsets)
        # It left, and the group stays.
        found = groups(run, "--describe", "--group", group, "--state")
        expect(found, rf"(?m)^{group}\s+.*\s+Empty\s+0\s*$")
        expect(groups(run, "--list", "--state", "Empty"), rf"(?m)^{group}\b")


@tool("kafka-consumer-groups --delete, --delete-offsets")
def deletes(run):
    topic = run.topic("forgets", 2)
    run.fill(topic, 40)
    first, second = f"{topic}-first", f"{topic}-second"
    for group in (first, second):
        reset(run, group, "--topic", topic, "--to-offset", 5, "--execute")
        expect_committed(run, group, topic, [5, 5])
    found = groups(run, "--delete-offsets", "--group", first, "--topic", f"{topic}:1")
    expect(found, rf"(?m)^{topic}\s+1\s+Successful")
    expect_committed(run, first, topic, [5, None])
    found = groups(run, "--delete-offsets", "--group", second, "--topic", topic)
    expect(found, rf"(?m)^{topic}\s+0\s+Successful", rf"(?m)^{topic}\s+1\s+Successful")
    expect_committed(run, second, topic, [None, None])
    expect_committed(run, first, topic, [5, None])

    found = groups(run, "--delete", "--group", first)
    expect(found, rf"Deletion of requested consumer groups \('{first}'\) was successful")
    expect_committed(run, first, topic, [None, None])
    expect_none(groups(run, "--list"), rf"(?m)^{first}$")
    expect(groups(run, "--describe", "--group", first, may_fail=True), rf"{first}.*(does not exist|not found)")
    found = groups(run, "--delete", "--group", first, may_fail=True)
    expect(found, rf"Group '{first}' could not be deleted due to: .*GroupIdNotFoundException")


def timed(run, name):
    """A topic with 100 and 50 records, one for each 30 s from an hour ago on, the first ten of which are deleted."""
    topic = run.topic(name, 2)
    base = int(time.time() * 1000) - HOUR
    steward = Adapter(STEWARD.command(run.installed), run.bootstrap, run.log)
    records = [record(b"v", partition=partition, timestamp=base + at * 30_000)
               for partition, count in enumerate((100, 50)) for at in range(count)]
    steward.call("produce", topic=topic, codec="none", idempotent=False, records=records)
    steward.stop()
    expect(run.delete_records(topic, 0, 10), r"low_watermark: 10")
    return topic, base


@tool("kafka-consumer-groups --reset-offsets")
def resets(run):
    topic, base = timed(run, "resets")
    group = f"{topic}-group"
    between = datetime.datetime.fromtimestamp((base + 50.5 * 30_000) / 1000, datetime.timezone.utc)
    date = between.strftime("%Y-%m-%dT%H:%M:%S.") + f"{between.microsecond // 1000:03}"
    offsets = None
    # The group comes to be with the first of them; what lies outside of the log is cut to its ends.
    for how, where, expected in (
        (["--to-earliest"], [topic], [10, 0]),
        (["--to-offset", 30], [topic], [30, 30]),
        (["--to-current"], [topic], [30, 30]),
        (["--shift-by", 15], [topic], [45, 45]),
        (["--shift-by", -20], [topic], [25, 25]),
        (["--shift-by", 7], [f"{topic}:1"], [25, 32]),
        (["--to-offset", 40], [f"{topic}:0"], [40, 32]),
        (["--to-offset", 20], [f"{topic}:0,1"], [20, 20]),
        (["--to-datetime", date], [topic], [51, 50]),
        (["--to-latest"], [topic], [100, 50]),
        (["--shift-by", -45], None, [55, 5]),
        (["--shift-by", -1000], None, [10, 0]),
        (["--to-offset", 1000], None, [100, 50]),
    ):
        places = ["--all-topics"] if where is None else ["--topic", *where]
        for carefully in (["--dry-run"], []) if how[0] == "--to-offset" else ():
            found = reset(run, group, *places, *how, *carefully)
            expect(found, *(row(group, topic, partition, offset) for partition, offset in enumerate(expected)
                            if offsets is None or offset != offsets[partition]))
            expect_committed(run, group, topic, offsets)
        found = reset(run, group, *places, *how, "--execute")
        for partition, offset in enumerate(expected):
            is_named = where is None or ":" not in where[0] or str(partition) in where[0].rsplit(":", 1)[1]
            (expect if is_named else expect_none)(found, row(group, topic, partition, offset))
        expect_committed(run, group, topic, expected)
        offsets = expected

    before = time.time() * 1000
    reset(run, group, "--topic", topic, "--by-duration", "PT45M", "--execute")
    after = time.time() * 1000
    earliest, latest = (math.ceil((now - 0.75 * HOUR - base) / 30_000) for now in (before, after))
    found = wire.committed(run.bootstrap, group, topic, 2)
    if not all(earliest <= offset <= latest for offset in found):
        raise Failed(f"45 minutes back: {found}, not {earliest} to {latest}")


@tool("kafka-consumer-groups --export, --from-file, --all-groups")
def plans(run):
    topic, _ = timed(run, "plans")
    one, two = f"{topic}-one", f"{topic}-two"
    for group, offset in ((one, 20), (two, 33)):
        reset(run, group, "--topic", topic, "--to-offset", offset, "--execute")

    def export(*chosen):
        found = groups(run, "--reset-offsets", *chosen, "--all-topics", "--to-current", "--export", "--dry-run")
        return "".join(f"{line}\n" for line in found.splitlines() if topic in line)

    # Of one group: topic, partition, offset. Of several: with the group before.
    single, several = export("--group", one), export("--group", one, "--group", two)
    expect(single, rf'(?m)^"?{topic}"?,0,20$', rf'(?m)^"?{topic}"?,1,20$')
    expect(several, rf'(?m)^"?{one}"?,"?{topic}"?,1,20$', rf'(?m)^"?{two}"?,"?{topic}"?,0,33$')
    for plan, chosen, expected in ((single, ["--group", one], ([20, 20], [100, 50])),
                                   (several, ["--group", one, "--group", two], ([20, 20], [33, 33]))):
        for group in (one, two):
            reset(run, group, "--topic", topic, "--to-latest", "--execute")
            expect_committed(run, group, topic, [100, 50])
        file = run.file(f"{len(chosen)}.csv", plan)
        # Of the plan for several groups the tool prints a stack trace, tries the other format, and goes on.
        groups(run, "--reset-offsets", *chosen, "--from-file", file, "--execute", may_fail=True)
        for group, offsets in zip((one, two), expected):
            expect_committed(run, group, topic, offsets)

    # Others have groups here as well, which may be in any state.
    found = groups(run, "--describe", "--all-groups", "--offsets", may_fail=True)
    expect(found, rf"(?m)^{one}\s+{topic}\s+0\s+20\s+100\s+80\b", rf"(?m)^{two}\s+{topic}\s+1\s+33\s+50\s+17\b")
    found = groups(run, "--reset-offsets", "--all-groups", "--topic", topic, "--to-offset", 12, "--dry-run", may_fail=True)
    expect(found, *(row(group, topic, partition, 12) for group in (one, two) for partition in (0, 1)))
    for group, offsets in ((one, [20, 20]), (two, [33, 33])):
        expect_committed(run, group, topic, offsets)
