import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Consumer groups (KIP-848) with Java's kafka-clients: the same story as python/consumers.py, whose head tells it. Besides,
 * what only Java can do: regular expressions of the server, and a description by its Admin.
 */
final class Consumers {
    private static final long LIMIT_MS = 60_000;

    private final String bootstrap;
    private final String topic;

    private Consumers(String bootstrap, String topic) {
        this.bootstrap = bootstrap;
        this.topic = topic;
    }

    static void tell(String bootstrap, String topic) throws Exception {
        Consumers story = new Consumers(bootstrap, topic);
        story.sharing();
        story.staticMembers();
        story.expressions();
        story.migration();
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group, String protocol, String instance) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", group);
        config.put("group.protocol", protocol);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        if (instance != null) {
            config.put("group.instance.id", instance);
        }
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void sharing() throws Exception {
        try (var first = consumer("shared", "consumer", null)) {
            first.subscribe(List.of(topic));
            settle(() -> first.assignment().size() == 6, first);
            System.out.println("alone 6");
            try (var second = consumer("shared", "consumer", null)) {
                second.subscribe(List.of(topic));
                settle(() -> first.assignment().size() == 3 && second.assignment().size() == 3, first, second);
                System.out.println("shared 3 3");
                for (var member : List.of(first, second)) {
                    Map<TopicPartition, OffsetAndMetadata> commit = new HashMap<>();
                    member.assignment().forEach(one -> commit.put(one, new OffsetAndMetadata(7)));
                    member.commitSync(commit);
                }
                describe();
            }
            settle(() -> first.assignment().size() == 6, first);
            System.out.println("returned 6");
            long committed = first.committed(first.assignment()).values().stream().filter(at -> at.offset() == 7).count();
            System.out.println("committed " + committed);
        }
    }

    private void describe() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            ConsumerGroupDescription group = admin.describeConsumerGroups(List.of("shared")).all().get().get("shared");
            boolean reached = group.members().stream().allMatch(member ->
                    member.targetAssignment().isPresent() && member.targetAssignment().get().equals(member.assignment()));
            System.out.println("described " + group.type() + " " + group.groupState() + " " + group.partitionAssignor()
                    + " " + group.members().size() + " " + reached);
        }
    }

    private void staticMembers() {
        String before;
        try (var first = consumer("static", "consumer", "instance")) {
            first.subscribe(List.of(topic));
            settle(() -> first.assignment().size() == 6, first);
            before = first.groupMetadata().generationId() + "";
        }
        try (var second = consumer("static", "consumer", "instance")) {
            second.subscribe(List.of(topic));
            settle(() -> second.assignment().size() == 6, second);
            boolean same = before.equals(second.groupMetadata().generationId() + "");
            System.out.println("static 6 " + (same ? "without a rebalance" : "after a rebalance"));
        }
    }

    private void expressions() {
        try (var member = consumer("regex", "consumer", null)) {
            member.subscribe(new SubscriptionPattern("no-such-topic|" + topic.substring(0, topic.length() - 1) + "."));
            settle(() -> member.assignment().size() == 6, member);
            System.out.println("regex 6");
        }
        try (var member = consumer("regex", "consumer", null)) {
            member.subscribe(new SubscriptionPattern("("));
            settle(() -> false, member);
        } catch (KafkaException refused) {
            System.out.println("refused " + refused.getClass().getSimpleName());
        }
    }

    private void migration() {
        try (var classic = consumer("migrates", "classic", null)) {
            classic.subscribe(List.of(topic));
            settle(() -> classic.assignment().size() == 6, classic);
            try (var modern = consumer("migrates", "consumer", null)) {
                modern.subscribe(List.of(topic));
                settle(() -> classic.assignment().size() == 3 && modern.assignment().size() == 3, classic, modern);
                classic.commitSync();
                modern.commitSync();
                System.out.println("upgraded 3 3");
            }
            settle(() -> classic.assignment().size() == 6, classic);
            classic.commitSync();
            System.out.println("downgraded 6");
        }
    }

    /** Polls until it is so. */
    @SafeVarargs
    private static void settle(BooleanSupplier isSo, KafkaConsumer<byte[], byte[]>... members) {
        long deadline = System.currentTimeMillis() + LIMIT_MS;
        while (!isSo.getAsBoolean()) {
            if (System.currentTimeMillis() > deadline) {
                StringBuilder had = new StringBuilder();
                for (var member : members) {
                    Collection<TopicPartition> assigned = member.assignment();
                    had.append(' ').append(assigned);
                }
                throw new IllegalStateException("not in time:" + had);
            }
            for (var member : members) {
                member.poll(Duration.ofMillis(100));
            }
        }
    }
}
