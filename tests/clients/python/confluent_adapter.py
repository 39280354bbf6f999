"""confluent-kafka: the newest librdkafka, from Python."""

import sys
import time

import confluent_kafka
from adapter import Absent, Told, decode, headers_of, read, serve
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   ResourceType)

LIMIT = 30


def told(error):
    return Told(error.name(), error.str())


class Confluent:
    def __init__(self, bootstrap):
        self.base = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.base)
        self.members = {}
        self.lost = {}

    def one(self, futures):
        for future in futures.values():
            try:
                return future.result(LIMIT)
            except KafkaException as error:
                raise told(error.args[0]) from error

    def create(self, topic, partitions, configs):
        self.one(self.admin.create_topics([NewTopic(topic, partitions, config=configs)]))

    def describe(self, topic):
        configs = self.one(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        found = self.admin.list_topics(topic, LIMIT).topics[topic]
        if found.error:
            raise told(found.error)
        return {"partitions": len(found.partitions), "configs": {key: entry.value for key, entry in configs.items()}}

    def configure(self, topic, configs):
        entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in configs.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self.one(self.admin.incremental_alter_configs([resource]))

    def grow(self, topic, partitions):
        self.one(self.admin.create_partitions([NewPartitions(topic, partitions)]))

    def delete(self, topic):
        self.one(self.admin.delete_topics([topic]))

    def produce(self, topic, codec, idempotent, records, **more):
        producer = Producer({**self.base, "enable.idempotence": idempotent, "compression.type": codec, "linger.ms": 50,
                             "message.timeout.ms": 20000, "message.max.bytes": 2_000_000, **more})
        answers, errors = [None] * len(records), []

        def answered(number):
            def take(error, message):
                if error:
                    errors.append(error)
                else:
                    answers[number] = [message.partition(), message.offset()]
            return take

        for number, record in enumerate(records):
            where = {} if record["partition"] is None else {"partition": record["partition"]}
            producer.produce(topic, value=decode(record["value"]), key=decode(record["key"]), headers=headers_of(record),
                             timestamp=record["timestamp"], on_delivery=answered(number), **where)
        producer.flush(LIMIT)
        if errors:
            raise told(errors[0])
        if None in answers:
            raise Told("unanswered", f"{answers.count(None)} records")
        return answers

    def consumer(self, **more):
        return Consumer({**self.base, "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "earliest",
                         "check.crcs": True, **more})

    def records(self, consumer, most, seconds):
        for message in consumer.consume(most, seconds):
            if message.error():
                raise told(message.error())
            yield read(message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value(),
                       message.headers())

    def consume(self, topic, count, reset, **start):
        consumer = self.consumer(**{"auto.offset.reset": "error" if reset == "none" else reset})
        try:
            consumer.assign([TopicPartition(topic, int(partition), offset) for partition, offset in start["from"].items()])
            found, end = [], time.monotonic() + LIMIT
            while len(found) < count and time.monotonic() < end:
                found += self.records(consumer, count - len(found), 0.5)
            return found
        finally:
            consumer.close()

    def time(self, topic, partition, timestamp):
        consumer = self.consumer()
        try:
            (found,) = consumer.offsets_for_times([TopicPartition(topic, partition, timestamp)], LIMIT)
            return found.offset if found.offset >= 0 else None
        finally:
            consumer.close()

    def join(self, member, group, topic, protocol, assignor, instance, limit):
        more = {"group.id": group, "group.protocol": protocol, "auto.offset.reset": "earliest"}
        if protocol == "classic":
            if assignor == "sticky":
                raise Absent("librdkafka has no eager sticky assignor")
            more |= {"partition.assignment.strategy": assignor, "session.timeout.ms": 10000}
        else:
            more["group.remote.assignor"] = assignor
        if instance:
            more["group.instance.id"] = instance
        self.members[member], self.lost[member] = self.consumer(**more), []

        def lose(_, partitions):
            self.lost[member] += [one.partition for one in partitions]

        self.members[member].subscribe([topic], on_revoke=lose, on_lost=lose)

    def poll(self, member):
        consumer = self.members[member]
        found = list(self.records(consumer, 100, 0.2))
        lost, self.lost[member] = self.lost[member], []
        return {"records": found, "assigned": sorted(one.partition for one in consumer.assignment()), "lost": lost}

    def commit(self, member, offsets):
        consumer = self.members[member]
        topic = consumer.assignment()[0].topic
        consumer.commit(offsets=[TopicPartition(topic, int(partition), offset) for partition, offset in offsets.items()],
                        asynchronous=False)

    def leave(self, member):
        self.members.pop(member).close()

    def ancient(self, topic):
        record = {"partition": 0, "key": None, "value": "dg==", "headers": [], "timestamp": 0}
        self.produce(topic, "none", False, [record], **{"api.version.request": False, "broker.version.fallback": "0.9.0",
                                                        "message.timeout.ms": 5000})


serve("confluent-kafka", f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})", Confluent(sys.argv[1]))
