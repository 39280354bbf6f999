"""The few requests that the matrix sends itself, to see what no client shows.

A client can be told to compress and silently not do it, or read from the local disk what was meant to come from the tier.
So the batches are looked at as they are stored, and the broker is asked where its local log begins.
"""

import socket
import struct
from dataclasses import dataclass

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# Timestamps with a meaning.
END, EARLIEST_LOCAL = -1, -4


@dataclass
class Batch:
    """The head of a stored batch."""

    base_offset: int
    codec: str
    producer_id: int
    count: int


class Answer:
    """An answer's bytes, read from the front."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self, kind):
        """By its letter in `struct`."""
        (value,) = struct.unpack_from(">" + kind, self.data, self.at)
        self.at += struct.calcsize(">" + kind)
        return value

    def take(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def text(self):
        """With a size of two bytes; None where that is -1."""
        size = self.number("h")
        return None if size < 0 else self.take(size).decode()

    def size(self):
        """A compact size: a varint, one more than what it says; None where it is 0."""
        value, shift = 0, 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - 1 if value else None

    def compact(self):
        size = self.size()
        return None if size is None else self.take(size).decode()


def text(value):
    """As `Answer.text` reads it."""
    return struct.pack(">h", len(value)) + value.encode()


class Connection:
    """One connection, one request at a time."""

    def __init__(self, bootstrap):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 30)

    def close(self):
        self.socket.close()

    def call(self, key, version, body, flexible=False):
        head = struct.pack(">hhih", key, version, 1, 6) + b"matrix" + (b"\0" if flexible else b"")
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (size,) = struct.unpack(">i", self.read(4))
        return self.read(size)[5 if flexible else 4:]

    def read(self, size):
        parts = []
        while size:
            part = self.socket.recv(size)
            if not part:
                raise ConnectionError("the broker closed the connection")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def ask(bootstrap, key, version, body, flexible=False):
    connection = Connection(bootstrap)
    try:
        return Answer(connection.call(key, version, body, flexible))
    finally:
        connection.close()


def batches(bootstrap, topic, partition):
    """The heads of the batches of a partition, from offset 0; of one fetch of up to 50 MB."""
    name = topic.encode()
    body = struct.pack(">iiiibi", -1, 500, 1, 50 << 20, 0, 1) + struct.pack(">h", len(name)) + name
    body += struct.pack(">iiqi", 1, partition, 0, 50 << 20)
    connection = Connection(bootstrap)
    answer = connection.call(1, 4, body)
    connection.close()
    at = 4 + 4 + 2 + len(name) + 4
    _, error, _, _, aborted = struct.unpack_from(">ihqqi", answer, at)
    if error:
        raise ValueError(f"fetch of {topic}-{partition}: error {error}")
    at += 26 + 16 * max(aborted, 0)
    (size,) = struct.unpack_from(">i", answer, at)
    data = answer[at + 4:at + 4 + size]
    found = []
    while len(data) >= 61:
        base, length = struct.unpack_from(">qi", data)
        (attributes,) = struct.unpack_from(">h", data, 21)
        producer, _, _, count = struct.unpack_from(">qhii", data, 43)
        found.append(Batch(base, CODECS[attributes & 7], producer, count))
        data = data[12 + length:]
    return found


def offset_at(bootstrap, topic, partition, timestamp):
    """The offset that ListOffsets answers to a timestamp, or to one of the special ones above."""
    name = topic.encode()
    body = struct.pack(">ib", -1, 0) + b"\x02" + bytes([len(name) + 1]) + name + b"\x02"
    body += struct.pack(">iiq", partition, -1, timestamp) + b"\0\0\0"
    connection = Connection(bootstrap)
    answer = connection.call(2, 8, body, flexible=True)
    connection.close()
    _, error, _, offset = struct.unpack_from(">ihqq", answer, 4 + 1 + 1 + len(name) + 1)
    if error:
        raise ValueError(f"offset of {topic}-{partition}: error {error}")
    return offset


def earliest_local(bootstrap, topic, partition):
    """The first offset that is (also) on the broker's disk."""
    return offset_at(bootstrap, topic, partition, EARLIEST_LOCAL)


def records_in(bootstrap, topic, partitions):
    """How many records were ever appended; none where there is no such topic."""
    try:
        return sum(offset_at(bootstrap, topic, partition, END) for partition in range(partitions))
    except ValueError:
        return 0


def committed(bootstrap, group, topic, partitions):
    """The offset that a group committed for each of so many partitions, or None (OffsetFetch 1)."""
    indexes = struct.pack(f">i{partitions}i", partitions, *range(partitions))
    answer = ask(bootstrap, 9, 1, text(group) + struct.pack(">i", 1) + text(topic) + indexes)
    found = {}
    for _ in range(answer.number("i")):
        answer.text()
        for _ in range(answer.number("i")):
            index, offset = answer.number("i"), answer.number("q")
            answer.text()
            error = answer.number("h")
            if error:
                raise ValueError(f"offset of {group} in {topic}-{index}: error {error}")
            found[index] = None if offset < 0 else offset
    return [found[index] for index in range(partitions)]


def group_type(bootstrap, group):
    """`classic` or `consumer`, or None if there is no such group (ListGroups 5)."""
    answer = ask(bootstrap, 16, 5, b"\x01\x01\x00", flexible=True)
    _, error, count = answer.number("i"), answer.number("h"), answer.size()
    if error:
        raise ValueError(f"the groups: error {error}")
    for _ in range(count):
        name, _, _, kind = (answer.compact() for _ in range(4))
        answer.take(1)
        if name == group:
            return kind.lower()
    return None


def classic_assignor(bootstrap, group):
    """The protocol that the members of a classic group agreed on (DescribeGroups 0)."""
    answer = ask(bootstrap, 15, 0, struct.pack(">i", 1) + text(group))
    _, error = answer.number("i"), answer.number("h")
    if error:
        raise ValueError(f"group {group}: error {error}")
    _, _, _, protocol = (answer.text() for _ in range(4))
    return protocol


def consumer_assignor(bootstrap, group):
    """The assignor of a consumer group (ConsumerGroupDescribe 0)."""
    name = group.encode()
    if len(name) > 126:
        raise ValueError(f"{group} is too long a name for a size of one byte")
    answer = ask(bootstrap, 69, 0, b"\x02" + bytes([len(name) + 1]) + name + b"\x00\x00", flexible=True)
    _, _, error = answer.number("i"), answer.size(), answer.number("h")
    if error:
        raise ValueError(f"group {group}: error {error}")
    for _ in range(3):
        answer.compact()
    answer.take(8)
    return answer.compact()
