"""kcat, on Debian's librdkafka: each request is a run of the program, each member of a group one that stays.

It has no functions for topics. A member cannot commit what it is told: it commits what it read when it ends, after `limit`
records if there is one.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from adapter import Absent, Told, decode, headers_of, read, serve

LIMIT = 30
# What ends a key, and a record, on kcat's standard input.
KEY, RECORD = "\x01~key~\x01", "\x01~record~\x01"
FORMAT = "%p %o %T %K %S %h\\n%k%s\\n"


class Member:
    """A kcat in a group, and what it printed so far."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lock = threading.Lock()
        self.found, self.assigned, self.lost, self.error = [], set(), [], None
        threading.Thread(target=self.read, daemon=True).start()
        threading.Thread(target=self.listen, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            one = json.loads(line)
            with self.lock:
                self.found.append(read(one["partition"], one["offset"], one["ts"], None,
                                       None if one["payload"] is None else one["payload"].encode(), []))

    def listen(self):
        for line in self.process.stderr:
            text = line.decode(errors="replace")
            sys.stderr.write(text)
            partitions = {int(number) for number in re.findall(r" \[(\d+)\]", text.rsplit("):", 1)[-1])}
            with self.lock:
                if "rebalanced" in text and "assign" in text:
                    self.assigned |= partitions
                elif "rebalanced" in text:
                    self.assigned -= partitions
                    self.lost += partitions
                elif "ERROR" in text:
                    self.error = text.strip()


class Kcat:
    def __init__(self, bootstrap):
        self.base = ["kcat", "-b", bootstrap]
        self.members = {}

    def run(self, arguments, data=b"", seconds=LIMIT):
        try:
            done = subprocess.run(self.base + arguments, input=data, capture_output=True, timeout=seconds)
        except subprocess.TimeoutExpired as late:
            raise Told("Timeout", f"{late.stderr}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            # "% ERROR: where: Broker: what", with an explanation below it now and then.
            what = next((line for line in said if "rror" in line or "failed" in line), said[-1])
            raise Told(what.rsplit(": ", 1)[-1], what)
        return done.stdout

    def produce(self, topic, codec, idempotent, records, extra=()):
        with tempfile.TemporaryDirectory() as folder:
            # One run for records that have the same settings on the command line.
            for number, group in enumerate(grouped(records)):
                first = group[0]
                arguments = ["-P", "-t", topic, "-z", codec, "-X", f"enable.idempotence={str(idempotent).lower()}",
                             "-X", "message.timeout.ms=20000", "-X", "message.max.bytes=2000000",
                             "-X", "linger.ms=50", *extra]
                if first["partition"] is not None:
                    arguments += ["-p", str(first["partition"])]
                for name, data in headers_of(first):
                    arguments += ["-H", name + "=" + data.decode("utf-8", "surrogateescape")]
                key, value = decode(first["key"]), decode(first["value"])
                if len(value or b"") > 10_000:
                    path = f"{folder}/{number}"
                    with open(path, "wb") as file:
                        file.write(value)
                    self.run(arguments + ["-k", key.decode(), path])
                    continue
                # -Z makes null of what is empty; no key delimiter, no key.
                arguments += ["-D", RECORD] + (["-Z"] if value is None else []) + (["-K", KEY] if key is not None else [])
                self.run(arguments, RECORD.encode().join(
                    (b"" if key is None else decode(one["key"]) + KEY.encode()) + (decode(one["value"]) or b"")
                    for one in group) + RECORD.encode())
        return None

    def consume(self, topic, count, reset, **start):
        found = []
        for partition, offset in start["from"].items():
            most = count - len(found) if len(start["from"]) == 1 else count // len(start["from"])
            reset = "error" if reset == "none" else reset
            output = self.run(["-C", "-q", "-t", topic, "-p", partition, "-o", str(offset), "-c", str(most), "-f", FORMAT,
                               "-X", f"topic.auto.offset.reset={reset}"])
            found += parse(output)
        return found

    def time(self, topic, partition, timestamp):
        output = self.run(["-Q", "-t", f"{topic}:{partition}:{timestamp}"]).decode()
        offset = int(output.split("offset")[1].split()[0])
        return offset if offset >= 0 else None

    def join(self, member, group, topic, protocol, assignor, instance, limit):
        if protocol != "classic":
            raise Absent("librdkafka 2.0.2 has no group.protocol=consumer")
        if assignor == "sticky":
            raise Absent("librdkafka has no eager sticky assignor")
        command = self.base + ["-J", "-u", "-G", group, "-X", f"partition.assignment.strategy={assignor}",
                               "-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=10000"]
        if instance:
            command += ["-X", f"group.instance.id={instance}"]
        if limit:
            command += ["-c", str(limit)]
        self.members[member] = Member(command + [topic])

    def poll(self, member):
        one = self.members[member]
        time.sleep(0.2)
        with one.lock:
            if one.error:
                raise Told("kcat", one.error)
            found, one.found = one.found, []
            lost, one.lost = one.lost, []
            return {"records": found, "assigned": sorted(one.assigned), "lost": lost}

    def commit(self, member, offsets):
        self.members[member].process.wait(LIMIT)

    def leave(self, member):
        process = self.members.pop(member).process
        process.send_signal(signal.SIGINT)
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def ancient(self, topic):
        record = {"partition": 0, "key": None, "value": "dg==", "headers": [], "timestamp": 0}
        self.produce(topic, "none", False, [record], ["-X", "api.version.request=false", "-X",
                                                      "broker.version.fallback=0.9.0", "-X", "message.timeout.ms=5000"])


def grouped(records):
    """Neighbours that need the same command line."""
    group = []
    for record in records:
        def settings(one):
            return one["partition"], one["headers"], one["key"] is None, one["value"] is None

        if group and settings(group[0]) != settings(record):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def parse(output):
    """What FORMAT printed."""
    found, at = [], 0
    while at < len(output):
        end = output.index(b"\n", at)
        partition, offset, timestamp, key_size, value_size, *headers = output[at:end].decode(errors="surrogateescape").split(" ", 5)
        at = end + 1
        key_size, value_size = int(key_size), int(value_size)
        key = None if key_size < 0 else output[at:at + key_size]
        at += max(key_size, 0)
        value = None if value_size < 0 else output[at:at + value_size]
        at += max(value_size, 0) + 1
        pairs = [pair.split("=", 1) for pair in headers[0].split(",")] if headers and headers[0] else []
        found.append(read(int(partition), int(offset), int(timestamp), key, value,
                          [(name, data.encode("utf-8", "surrogateescape")) for name, data in pairs]))
    return found


version = re.search(r"Version (\S+).*librdkafka (\S+)", subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout)
serve("kcat", f"{version[1]} (librdkafka {version[2]})", Kcat(sys.argv[1]), timestamps=False)
