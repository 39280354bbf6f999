"""aiokafka: kafka-python's sibling on asyncio. Its loop runs in a thread, so that members beat while none is asked."""

import asyncio
import sys
import threading
import time

import aiokafka
from adapter import Absent, Told, decode, headers_of, read, serve
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import for_code

LIMIT = 30
ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor, "sticky": StickyPartitionAssignor}


def check(code, message=""):
    if code:
        raise Told(for_code(code).__name__, message or "")


class Operations:
    """All of it, as coroutines."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.made = None
        self.members = {}

    async def admin(self):
        if self.made is None:
            self.made = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await self.made.start()
        return self.made

    async def create(self, topic, partitions, configs):
        admin = await self.admin()
        answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        for one in answer.topic_errors:
            check(one[1], one[2] if len(one) > 2 else "")

    async def describe(self, topic):
        admin = await self.admin()
        (found,) = await admin.describe_topics([topic])
        check(found["error_code"])
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        code, message, _, _, entries = answer.resources[0]
        check(code, message)
        return {"partitions": len(found["partitions"]), "configs": {entry[0]: entry[1] for entry in entries}}

    async def configure(self, topic, configs):
        admin = await self.admin()
        (answer,) = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
        for one in answer.resources:
            check(one[0], one[1])

    async def grow(self, topic, partitions):
        admin = await self.admin()
        answer = await admin.create_partitions({topic: NewPartitions(partitions)})
        for one in answer.topic_errors:
            check(one[1], one[2])

    async def delete(self, topic):
        admin = await self.admin()
        answer = await admin.delete_topics([topic])
        for _, code in answer.topic_error_codes:
            check(code)

    async def produce(self, topic, codec, idempotent, records):
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=50,
                                    enable_idempotence=idempotent, compression_type=None if codec == "none" else codec,
                                    max_request_size=2_000_000, request_timeout_ms=10000)
        await producer.start()
        try:
            sent = [await producer.send(topic, value=decode(record["value"]), key=decode(record["key"]),
                                        headers=headers_of(record), partition=record["partition"],
                                        timestamp_ms=record["timestamp"]) for record in records]
            return [[done.partition, done.offset] for done in await asyncio.gather(*sent)]
        finally:
            await producer.stop()

    def consumer(self, *topics, **more):
        return AIOKafkaConsumer(*topics, bootstrap_servers=self.bootstrap, enable_auto_commit=False, check_crcs=True, **more)

    async def records(self, consumer, most, milliseconds):
        found = await consumer.getmany(timeout_ms=milliseconds, max_records=most)
        return [read(one.partition, one.offset, one.timestamp, one.key, one.value, one.headers)
                for batch in found.values() for one in batch]

    async def consume(self, topic, count, reset, **start):
        consumer = self.consumer(auto_offset_reset=reset)
        await consumer.start()
        try:
            at = {TopicPartition(topic, int(partition)): offset for partition, offset in start["from"].items()}
            consumer.assign(list(at))
            for partition, offset in at.items():
                consumer.seek(partition, offset)
            found, end = [], time.monotonic() + LIMIT
            while len(found) < count and time.monotonic() < end:
                found += await self.records(consumer, count - len(found), 500)
            return found
        finally:
            await consumer.stop()

    async def time(self, topic, partition, timestamp):
        consumer = self.consumer()
        await consumer.start()
        try:
            where = TopicPartition(topic, partition)
            found = (await consumer.offsets_for_times({where: timestamp}))[where]
            return found.offset if found else None
        finally:
            await consumer.stop()

    async def join(self, member, group, topic, protocol, assignor, instance, limit):
        if protocol != "classic":
            raise Absent("aiokafka has no group.protocol=consumer")
        if assignor not in ASSIGNORS:
            raise Absent("aiokafka has no cooperative assignor")
        consumer = self.consumer(topic, group_id=group, group_instance_id=instance, auto_offset_reset="earliest",
                                 session_timeout_ms=10000, partition_assignment_strategy=[ASSIGNORS[assignor]])
        self.members[member] = consumer
        await consumer.start()

    async def poll(self, member):
        consumer = self.members[member]
        found = await self.records(consumer, 100, 200)
        return {"records": found, "assigned": sorted(one.partition for one in consumer.assignment())}

    async def commit(self, member, offsets):
        consumer = self.members[member]
        topic = next(iter(consumer.assignment())).topic
        await consumer.commit({TopicPartition(topic, int(partition)): offset for partition, offset in offsets.items()})

    async def leave(self, member):
        await self.members.pop(member).stop()


class Aiokafka:
    """The same, waited for."""

    def __init__(self, bootstrap):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.operations = Operations(bootstrap)

    def __getattr__(self, name):
        operation = getattr(Operations, name, None)
        if operation is None:
            return None

        def call(**arguments):
            return asyncio.run_coroutine_threadsafe(operation(self.operations, **arguments), self.loop).result()
        return call


serve("aiokafka", aiokafka.__version__, Aiokafka(sys.argv[1]))
