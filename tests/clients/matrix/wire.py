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
