"""kafka-python: a client written in Python alone."""

import sys
import time

import kafka
from adapter import Absent, decode, headers_of, read, serve
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import for_code

LIMIT = 30
ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor,
             "sticky": StickyPartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}


class Lost(ConsumerRebalanceListener):
    """The partitions that a member was told to give up."""

    def __init__(self):
        self.partitions = []

    def on_partitions_revoked(self, revoked):
        self.partitions += [one.partition for one in revoked]

    def on_partitions_lost(self, lost):
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned):
        pass


class KafkaPython:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.made = None
        self.members = {}
        self.lost = {}

    @property
    def admin(self):
        self.made = self.made or KafkaAdminClient(bootstrap_servers=self.bootstrap)
        return self.made

    def create(self, topic, partitions, configs):
        self.admin.create_topics({topic: {"num_partitions": partitions, "configs": configs}})

    def describe(self, topic):
        (found,) = self.admin.describe_topics([topic])
        if found["error_code"]:
            raise for_code(found["error_code"])(topic)
        configs = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        (entries,) = configs["topic"].values()
        return {"partitions": len(found["partitions"]), "configs": {key: entry["value"] for key, entry in entries.items()}}

    def configure(self, topic, configs):
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])

    def grow(self, topic, partitions):
        self.admin.create_partitions({topic: partitions})

    def delete(self, topic):
        self.admin.delete_topics([topic])

    def produce(self, topic, codec, idempotent, records, **more):
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=50, enable_idempotence=idempotent,
                                 compression_type=None if codec == "none" else codec, max_request_size=2_000_000,
                                 max_block_ms=10000, delivery_timeout_ms=20000, request_timeout_ms=15000, **more)
        try:
            sent = [producer.send(topic, value=decode(record["value"]), key=decode(record["key"]),
                                  headers=headers_of(record), partition=record["partition"],
                                  timestamp_ms=record["timestamp"]) for record in records]
            producer.flush(LIMIT)
            return [[done.partition, done.offset] for done in (future.get(LIMIT) for future in sent)]
        finally:
            producer.close(5)

    def consumer(self, **more):
        return KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False, check_crcs=True, **more)

    def records(self, consumer, most, milliseconds):
        for batch in consumer.poll(timeout_ms=milliseconds, max_records=most).values():
            for one in batch:
                yield read(one.partition, one.offset, one.timestamp, one.key, one.value, one.headers)

    def consume(self, topic, count, reset, **start):
        consumer = self.consumer(auto_offset_reset=reset)
        try:
            at = {TopicPartition(topic, int(partition)): offset for partition, offset in start["from"].items()}
            consumer.assign(list(at))
            for partition, offset in at.items():
                consumer.seek(partition, offset)
            found, end = [], time.monotonic() + LIMIT
            while len(found) < count and time.monotonic() < end:
                found += self.records(consumer, count - len(found), 500)
            return found
        finally:
            consumer.close()

    def time(self, topic, partition, timestamp):
        consumer = self.consumer()
        try:
            where = TopicPartition(topic, partition)
            found = consumer.offsets_for_times({where: timestamp})[where]
            return found.offset if found else None
        finally:
            consumer.close()

    def join(self, member, group, topic, protocol, assignor, instance, limit):
        if protocol != "classic":
            raise Absent("kafka-python has no group.protocol=consumer")
        self.members[member] = consumer = self.consumer(
            group_id=group, group_instance_id=instance, auto_offset_reset="earliest", session_timeout_ms=10000,
            partition_assignment_strategy=[ASSIGNORS[assignor]])
        self.lost[member] = Lost()
        consumer.subscribe([topic], listener=self.lost[member])

    def poll(self, member):
        consumer = self.members[member]
        # A first join that outlives its poll may never be taken up: see KafkaPython.poll in scenario.py.
        found = list(self.records(consumer, 100, 200 if consumer.assignment() else 2000))
        lost, self.lost[member].partitions = self.lost[member].partitions, []
        return {"records": found, "assigned": sorted(one.partition for one in consumer.assignment()), "lost": lost}

    def commit(self, member, offsets):
        consumer = self.members[member]
        topic = next(iter(consumer.assignment())).topic
        consumer.commit({TopicPartition(topic, int(partition)): OffsetAndMetadata(offset, "", -1)
                         for partition, offset in offsets.items()})

    def leave(self, member):
        self.members.pop(member).close()

    def ancient(self, topic):
        record = {"partition": 0, "key": None, "value": "dg==", "headers": [], "timestamp": 0}
        self.produce(topic, "none", False, [record], api_version=(0, 9))


serve("kafka-python", kafka.__version__, KafkaPython(sys.argv[1]))
