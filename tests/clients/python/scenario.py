"""kafka-python and confluent-kafka in the scenarios: one command per call, records as lines.

    scenario.py CLIENT create  BOOTSTRAP TOPIC PARTITIONS [key=value ...]
    scenario.py CLIENT produce BOOTSTRAP TOPIC CODEC FILE   sends the records of FILE, waits for every answer
    scenario.py CLIENT consume BOOTSTRAP TOPIC COUNT        by assignment, from the beginning
    scenario.py CLIENT group   BOOTSTRAP TOPIC GROUP COUNT  two members share the topic, and commit
    scenario.py CLIENT resume  BOOTSTRAP TOPIC GROUP COUNT  one member reads COUNT, and commits just that
    scenario.py CLIENT time    BOOTSTRAP TOPIC TIMESTAMP    the first offset at or after it, per partition
    scenario.py CLIENT consumers BOOTSTRAP TOPIC            groups of the consumer protocol: see consumers.py

CLIENT is `kafka-python` or `confluent`. A line to produce is

    partition TAB timestamp TAB key TAB value TAB headers

and a line that was consumed

    [member TAB] partition TAB offset TAB timestamp TAB key TAB value TAB headers

with bytes as base64, `-` for null, and headers as `name:value,name:value`. `time` prints partition TAB offset.
Whoever calls compares; a failure or 60 s without the records asked for ends with a traceback and status 1.
"""

import base64
import sys
import threading
import time

LIMIT = 60


def decode(text):
    return None if text == "-" else base64.b64decode(text)


def encode(data):
    return "-" if data is None else base64.b64encode(data).decode()


def records(path):
    with open(path) as lines:
        for line in lines:
            partition, timestamp, key, value, headers = line.rstrip("\n").split("\t")
            pairs = [header.split(":", 1) for header in headers.split(",")] if headers else []
            yield (int(partition), int(timestamp), decode(key), decode(value),
                   [(name, decode(data)) for name, data in pairs])


def show(partition, offset, timestamp, key, value, headers, member=None):
    shown = ",".join(f"{name}:{encode(data)}" for name, data in headers or [])
    fields = [partition, offset, timestamp, encode(key), encode(value), shown]
    if member is not None:
        fields.insert(0, member)
    # One write per line: two members share the output.
    sys.stdout.write("\t".join(map(str, fields)) + "\n")


class Deadline:
    def __init__(self, count):
        self.end = time.monotonic() + LIMIT
        self.count = count

    def check(self, seen):
        if time.monotonic() > self.end:
            raise TimeoutError(f"only {seen} of {self.count} records in time")


class KafkaPython:
    """kafka-python: a client written in Python alone."""

    def create(self, bootstrap, topic, partitions, configs):
        from kafka.admin import KafkaAdminClient, NewTopic

        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.create_topics([NewTopic(topic, partitions, -1, topic_configs=configs)])
        admin.close()

    def produce(self, bootstrap, topic, codec, path):
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20,
                                 compression_type=None if codec == "none" else codec)
        sent = [producer.send(topic, value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp)
                for partition, timestamp, key, value, headers in records(path)]
        producer.flush(LIMIT)
        for future in sent:
            future.get(LIMIT)
        producer.close()

    def consumer(self, bootstrap, group=None, topic=None):
        from kafka import KafkaConsumer

        topics = [topic] if topic else []
        return KafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                             enable_auto_commit=False, check_crcs=True)

    def partitions(self, consumer, topic):
        from kafka import TopicPartition

        deadline = Deadline(1)
        while not (found := consumer.partitions_for_topic(topic)):
            deadline.check(0)
        return [TopicPartition(topic, partition) for partition in sorted(found)]

    def poll(self, consumer, most=None):
        # Far longer than a join takes: a join that new metadata made, and that outlives its poll, is forgotten. To
        # kafka-python (3.0.12) the leader's new snapshot of the metadata says that nothing is left to do, and the
        # assignment in the answer is never taken up. A poll returns as soon as there are records.
        for batch in consumer.poll(timeout_ms=2000, max_records=most).values():
            yield from batch

    def show(self, record, member=None):
        show(record.partition, record.offset, record.timestamp, record.key, record.value, record.headers, member)

    def consume(self, bootstrap, topic, count):
        consumer = self.consumer(bootstrap)
        partitions = self.partitions(consumer, topic)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        seen, deadline = 0, Deadline(count)
        while seen < count:
            deadline.check(seen)
            for record in self.poll(consumer):
                self.show(record)
                seen += 1
        consumer.close()

    def resume(self, bootstrap, topic, group, count):
        consumer = self.consumer(bootstrap, group, topic)
        seen, deadline = 0, Deadline(count)
        while seen < count:
            deadline.check(seen)
            for record in self.poll(consumer, count - seen):
                self.show(record)
                seen += 1
            consumer.commit()
        consumer.close()

    def member(self, name, bootstrap, topic, group, state):
        from kafka import ConsumerRebalanceListener

        consumer = self.consumer(bootstrap, group)

        class Listener(ConsumerRebalanceListener):
            def on_partitions_revoked(self, _):
                state.holds(name, False)

            def on_partitions_assigned(self, assigned):
                consumer.pause(*assigned)
                state.holds(name, bool(assigned))

        consumer.subscribe([topic], listener=Listener())
        while state.seen < state.count:
            state.check()
            if state.shared():
                consumer.resume(*consumer.assignment())
            got = list(self.poll(consumer))
            with state.lock:
                for record in got:
                    self.show(record, name)
                state.seen += len(got)
            if got:
                consumer.commit()
        consumer.close()

    def time(self, bootstrap, topic, timestamp):
        consumer = self.consumer(bootstrap)
        found = consumer.offsets_for_times({p: timestamp for p in self.partitions(consumer, topic)})
        for partition, at in sorted(found.items(), key=lambda item: item[0].partition):
            print(partition.partition, at.offset if at else "-", sep="\t")
        consumer.close()


class Confluent:
    """confluent-kafka: librdkafka from Python."""

    def create(self, bootstrap, topic, partitions, configs):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": bootstrap})
        for future in admin.create_topics([NewTopic(topic, partitions, config=configs)]).values():
            future.result(LIMIT)

    def produce(self, bootstrap, topic, codec, path):
        from confluent_kafka import Producer

        failures = []
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20,
                             "compression.type": codec, "message.max.bytes": 2_000_000})
        for partition, timestamp, key, value, headers in records(path):
            producer.produce(topic, value=value, key=key, partition=partition, timestamp=timestamp, headers=headers,
                             on_delivery=lambda error, _: failures.append(error) if error else None)
            producer.poll(0)
        left = producer.flush(LIMIT)
        if failures or left:
            raise RuntimeError(f"{len(failures)} failed, first {failures[:1]}, {left} unanswered")

    def consumer(self, bootstrap, group="none"):
        from confluent_kafka import Consumer

        return Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "check.crcs": True})

    def partitions(self, consumer, topic, offset):
        from confluent_kafka import TopicPartition

        found = consumer.list_topics(topic, LIMIT).topics[topic].partitions
        return [TopicPartition(topic, partition, offset) for partition in sorted(found)]

    def poll(self, consumer, most=500):
        for record in consumer.consume(most, 0.1):
            if record.error():
                raise RuntimeError(record.error())
            yield record

    def show(self, record, member=None):
        show(record.partition(), record.offset(), record.timestamp()[1], record.key(), record.value(),
             record.headers(), member)

    def consume(self, bootstrap, topic, count):
        from confluent_kafka import OFFSET_BEGINNING

        consumer = self.consumer(bootstrap)
        consumer.assign(self.partitions(consumer, topic, OFFSET_BEGINNING))
        seen, deadline = 0, Deadline(count)
        while seen < count:
            deadline.check(seen)
            for record in self.poll(consumer):
                self.show(record)
                seen += 1
        consumer.close()

    def resume(self, bootstrap, topic, group, count):
        consumer = self.consumer(bootstrap, group)
        consumer.subscribe([topic])
        seen, deadline = 0, Deadline(count)
        while seen < count:
            deadline.check(seen)
            got = list(self.poll(consumer, count - seen))
            for record in got:
                self.show(record)
            seen += len(got)
            if got:
                consumer.commit(asynchronous=False)
        consumer.close()

    def member(self, name, bootstrap, topic, group, state):
        consumer = self.consumer(bootstrap, group)

        def on_assign(consumer, assigned):
            consumer.assign(assigned)
            consumer.pause(assigned)
            state.holds(name, bool(assigned))

        def on_revoke(consumer, _):
            state.holds(name, False)
            consumer.unassign()

        consumer.subscribe([topic], on_assign=on_assign, on_revoke=on_revoke)
        while state.seen < state.count:
            state.check()
            if state.shared():
                consumer.resume(consumer.assignment())
            got = list(self.poll(consumer))
            with state.lock:
                for record in got:
                    self.show(record, name)
                state.seen += len(got)
            if got:
                consumer.commit(asynchronous=False)
        consumer.close()

    def time(self, bootstrap, topic, timestamp):
        consumer = self.consumer(bootstrap)
        for at in consumer.offsets_for_times(self.partitions(consumer, topic, timestamp), LIMIT):
            print(at.partition, at.offset if at.offset >= 0 else "-", sep="\t")
        consumer.close()


class Shared:
    """What the two members of a group know of each other: nobody reads before both hold partitions."""

    def __init__(self, count):
        self.lock = threading.Lock()
        self.count = count
        self.seen = 0
        self.held = set()
        self.deadline = Deadline(count)
        self.failed = None

    def check(self):
        if self.failed:
            raise RuntimeError("the other member failed")
        self.deadline.check(self.seen)

    def holds(self, name, held):
        with self.lock:
            (self.held.add if held else self.held.discard)(name)

    def shared(self):
        return len(self.held) == 2


def group(client, bootstrap, topic, name, count):
    state = Shared(count)

    def run(member):
        try:
            client.member(member, bootstrap, topic, name, state)
        except BaseException as failure:
            state.failed = state.failed or failure

    members = [threading.Thread(target=run, args=(member,)) for member in range(2)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    if state.failed:
        raise state.failed


def main():
    clients = {"kafka-python": KafkaPython, "confluent": Confluent}
    client = clients[sys.argv[1]]()
    command, bootstrap, topic, *rest = sys.argv[2:]
    if command == "create":
        client.create(bootstrap, topic, int(rest[0]), dict(pair.split("=", 1) for pair in rest[1:]))
    elif command == "produce":
        client.produce(bootstrap, topic, rest[0], rest[1])
    elif command == "group":
        group(client, bootstrap, topic, rest[0], int(rest[1]))
    elif command == "resume":
        client.resume(bootstrap, topic, rest[0], int(rest[1]))
    elif command == "consumers":
        import consumers

        consumers.tell(bootstrap, topic)
    elif command in ("consume", "time"):
        getattr(client, command)(bootstrap, topic, int(rest[0]))
    else:
        raise ValueError(f"unknown command {command}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
