"""What a client does not offer, and why: the only cells that may be empty.

An adapter that says otherwise, either way, fails its cell: a slip in it, or a client that can do more than it could, would
pass for something that nobody misses.
"""

NO_CONSUMER = "it has no group.protocol=consumer"
NO_STICKY = "it has no eager sticky assignor"
FOLLOWS = "it only ever speaks versions that the broker says it has"


def all_of(reason, *features):
    return dict.fromkeys(features, reason)


def consumer(reason=NO_CONSUMER):
    return all_of(reason, "group-consumer-uniform", "group-consumer-range")


ABSENT = {
    "kcat": {
        **all_of("it has no functions for topics", "topic-create", "topic-describe", "topic-configure", "topic-grow",
                 "topic-delete"),
        **all_of(NO_STICKY, "group-sticky"),
        **consumer("librdkafka 2.0.2 has no group.protocol=consumer"),
    },
    "confluent-kafka": all_of(NO_STICKY, "group-sticky"),
    "rust-rdkafka": all_of(NO_STICKY, "group-sticky"),
    "kafka-python": consumer(),
    "aiokafka": {
        **all_of("it has no cooperative assignor", "group-cooperative-sticky"),
        **consumer(),
        **all_of(FOLLOWS, "error-unsupported-version"),
    },
    "java-4": all_of(FOLLOWS, "error-unsupported-version"),
    "java-3.9": all_of(FOLLOWS, "error-unsupported-version"),
    "java-2.8": {**consumer(), **all_of(FOLLOWS, "error-unsupported-version")},
    "sarama": consumer(),
    "kafka-go": {
        **all_of("it has no idempotent producer", "produce-idempotent"),
        **all_of("it has only range and round robin", "group-sticky", "group-cooperative-sticky"),
        **consumer(),
        **all_of("it has no static members", "group-static"),
    },
    "kafkajs": {
        **all_of("it has only round robin", "group-range", "group-sticky", "group-cooperative-sticky"),
        **consumer(),
        **all_of("it has no static members", "group-static"),
        **all_of("it always resets", "error-out-of-range"),
        **all_of(FOLLOWS, "error-unsupported-version"),
    },
    "platformatic": all_of("it has only round robin and cooperative sticky", "group-range", "group-sticky"),
}


def checked(client, feature, outcome, remark):
    """A cell's outcome and remark, in the light of what the client is known not to offer."""
    reason = ABSENT.get(client, {}).get(feature)
    if outcome == "absent" and reason is None:
        return "fail", f"the adapter says that the client does not offer it, which absent.py does not know: {remark}"
    if outcome == "pass" and reason is not None:
        return "fail", f"it works, though absent.py says: {reason}"
    return outcome, reason if outcome == "absent" else remark
