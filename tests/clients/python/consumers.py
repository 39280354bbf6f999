"""Consumer groups (KIP-848) with confluent-kafka: one story, told by a line per chapter.

    alone 6                 a member of the consumer protocol has the topic's six partitions
    shared 3 3              a second one joins, and they share
    returned 6              it leaves, and the first has everything again
    committed 6             what both committed is there
    static 3 ...            a static member that is back has its partitions, and the other one does not notice
    upgraded 3 3            a classic member and one of the consumer protocol share
    downgraded 6            the latter leaves: a classic group again
"""

import time

LIMIT = 60


class Story:
    def __init__(self, bootstrap, topic):
        self.bootstrap = bootstrap
        self.topic = topic

    def consumer(self, group, protocol, instance=None, told=None):
        from confluent_kafka import Consumer

        config = {"bootstrap.servers": self.bootstrap, "group.id": group, "group.protocol": protocol,
                  "auto.offset.reset": "earliest", "enable.auto.commit": False}
        if protocol == "classic":
            config["partition.assignment.strategy"] = "cooperative-sticky"
        if instance:
            config["group.instance.id"] = instance
        consumer = Consumer(config)
        heard = [] if told is None else told
        consumer.subscribe([self.topic], on_assign=lambda _, got: heard.append(("assigned", len(got))),
                           on_revoke=lambda _, gone: heard.append(("revoked", len(gone))))
        return consumer

    def settle(self, members, counts):
        """Polls until the members have so many partitions each."""
        deadline = time.monotonic() + LIMIT
        while [len(member.assignment()) for member in members] != counts:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {counts} in time: {[member.assignment() for member in members]}")
            for member in members:
                record = member.poll(0.1)
                if record is not None and record.error():
                    raise RuntimeError(record.error())

    def sharing(self):
        from confluent_kafka import TopicPartition

        first = self.consumer("shared", "consumer")
        self.settle([first], [6])
        print("alone 6")
        second = self.consumer("shared", "consumer")
        self.settle([first, second], [3, 3])
        print("shared 3 3")
        for member in (first, second):
            at = [TopicPartition(one.topic, one.partition, 7) for one in member.assignment()]
            member.commit(offsets=at, asynchronous=False)
        second.close()
        self.settle([first], [6])
        print("returned 6")
        committed = first.committed(first.assignment(), LIMIT)
        print("committed", sum(at.offset == 7 for at in committed))
        first.close()

    def static_members(self):
        told = []
        witness = self.consumer("static", "consumer", told=told)
        first = self.consumer("static", "consumer", "instance")
        self.settle([witness, first], [3, 3])
        before = len(told)
        first.close()
        second = self.consumer("static", "consumer", "instance")
        self.settle([witness, second], [3, 3])
        print("static 3", "without a rebalance" if len(told) == before else f"after a rebalance: {told[before:]}")
        second.close()
        witness.close()

    def migration(self):
        classic = self.consumer("migrates", "classic")
        self.settle([classic], [6])
        modern = self.consumer("migrates", "consumer")
        self.settle([classic, modern], [3, 3])
        print("upgraded 3 3")
        modern.close()
        self.settle([classic], [6])
        print("downgraded 6")
        classic.close()


def tell(bootstrap, topic):
    story = Story(bootstrap, topic)
    story.sharing()
    story.static_members()
    story.migration()
