import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Java's kafka-clients: one source for all its versions, so it calls only what 2.8 and 4.x both have. The requests are
 * described in matrix/adapters.py.
 */
public final class Adapter {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<String, String> ASSIGNORS = Map.of(
            "range", "RangeAssignor",
            "roundrobin", "RoundRobinAssignor",
            "sticky", "StickyAssignor",
            "cooperative-sticky", "CooperativeStickyAssignor");
    private static final long LIMIT_MS = 30_000;

    private final String bootstrap;
    private final Admin admin;
    private final Map<String, KafkaConsumer<byte[], byte[]>> members = new HashMap<>();
    private final Map<String, List<Integer>> lost = new HashMap<>();

    private Adapter(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        var adapter = new Adapter(args[0]);
        out.println(JSON.createObjectNode().put("client", "kafka-clients").put("version", version()));
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        while ((line = in.readLine()) != null) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                answer.set("ok", adapter.answer(JSON.readTree(line)));
            } catch (Absent absent) {
                answer.put("absent", absent.getMessage());
            } catch (NullPointerException | ClassCastException | IndexOutOfBoundsException | NoSuchElementException slip) {
                slip.printStackTrace();
                answer.put("broken", slip.toString());
            } catch (Exception error) {
                Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
                answer.put("error", cause.getClass().getSimpleName()).put("message", cause.getMessage());
            }
            out.println(answer);
        }
        System.exit(0);
    }

    private JsonNode answer(JsonNode request) throws Exception {
        String topic = request.path("topic").asText();
        switch (request.get("op").asText()) {
            case "create":
                var made = new NewTopic(topic, Optional.of(request.get("partitions").asInt()), Optional.empty());
                done(admin.createTopics(List.of(made.configs(strings(request.get("configs"))))).all());
                return null;
            case "describe":
                return describe(topic);
            case "configure":
                List<AlterConfigOp> changes = new ArrayList<>();
                strings(request.get("configs")).forEach((key, value) ->
                        changes.add(new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET)));
                done(admin.incrementalAlterConfigs(Map.of(resource(topic), changes)).all());
                return null;
            case "grow":
                var grown = NewPartitions.increaseTo(request.get("partitions").asInt());
                done(admin.createPartitions(Map.of(topic, grown)).all());
                return null;
            case "delete":
                done(admin.deleteTopics(List.of(topic)).all());
                return null;
            case "produce":
                return produce(topic, request);
            case "consume":
                return consume(topic, request);
            case "time":
                return time(topic, request);
            case "join":
                join(topic, request);
                return null;
            case "poll":
                return poll(request.get("member").asText());
            case "commit":
                var member = members.get(request.get("member").asText());
                String committed = member.assignment().iterator().next().topic();
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                request.get("offsets").fields().forEachRemaining(one -> offsets.put(
                        new TopicPartition(committed, Integer.parseInt(one.getKey())),
                        new OffsetAndMetadata(one.getValue().asLong())));
                member.commitSync(offsets);
                return null;
            case "leave":
                members.remove(request.get("member").asText()).close();
                return null;
            default:
                throw new Absent("the client follows what the broker says it supports");
        }
    }

    private JsonNode describe(String topic) throws Exception {
        ObjectNode configs = JSON.createObjectNode();
        for (ConfigEntry entry : done(admin.describeConfigs(List.of(resource(topic))).all()).get(resource(topic)).entries()) {
            configs.put(entry.name(), entry.value());
        }
        try (var consumer = consumer(Map.of())) {
            ObjectNode found = JSON.createObjectNode().put("partitions", consumer.partitionsFor(topic).size());
            found.set("configs", configs);
            return found;
        }
    }

    private JsonNode produce(String topic, JsonNode request) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("compression.type", request.get("codec").asText());
        config.put("enable.idempotence", request.get("idempotent").asBoolean());
        config.put("acks", "all");
        config.put("linger.ms", 50);
        config.put("max.block.ms", 10_000);
        config.put("delivery.timeout.ms", 20_000);
        config.put("request.timeout.ms", 15_000);
        config.put("max.request.size", 2_000_000);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (JsonNode one : request.get("records")) {
                Integer partition = one.get("partition").isNull() ? null : one.get("partition").asInt();
                var record = new ProducerRecord<>(
                        topic, partition, one.get("timestamp").asLong(), decode(one.get("key")), decode(one.get("value")));
                for (JsonNode header : one.get("headers")) {
                    record.headers().add(header.get(0).asText(), decode(header.get(1)));
                }
                sent.add(producer.send(record));
            }
            ArrayNode answers = JSON.createArrayNode();
            for (Future<RecordMetadata> one : sent) {
                RecordMetadata at = one.get();
                answers.addArray().add(at.partition()).add(at.offset());
            }
            return answers;
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(Map.of(
                "bootstrap.servers", bootstrap,
                "enable.auto.commit", "false",
                "check.crcs", "true",
                "max.poll.records", "100"));
        config.putAll(more);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private JsonNode consume(String topic, JsonNode request) {
        try (var consumer = consumer(Map.of("auto.offset.reset", request.get("reset").asText()))) {
            Map<TopicPartition, Long> start = new HashMap<>();
            request.get("from").fields().forEachRemaining(one ->
                    start.put(new TopicPartition(topic, Integer.parseInt(one.getKey())), one.getValue().asLong()));
            consumer.assign(start.keySet());
            start.forEach(consumer::seek);
            ArrayNode found = JSON.createArrayNode();
            long deadline = System.currentTimeMillis() + LIMIT_MS;
            int count = request.get("count").asInt();
            while (found.size() < count && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    if (found.size() < count) {
                        found.add(show(record));
                    }
                }
            }
            return found;
        }
    }

    private JsonNode time(String topic, JsonNode request) {
        try (var consumer = consumer(Map.of())) {
            var where = new TopicPartition(topic, request.get("partition").asInt());
            var found = consumer.offsetsForTimes(Map.of(where, request.get("timestamp").asLong())).get(where);
            return found == null ? null : JSON.getNodeFactory().numberNode(found.offset());
        }
    }

    private void join(String topic, JsonNode request) {
        Map<String, Object> config = new HashMap<>();
        config.put("group.id", request.get("group").asText());
        config.put("auto.offset.reset", "earliest");
        if (!request.get("instance").isNull()) {
            config.put("group.instance.id", request.get("instance").asText());
        }
        String assignor = request.get("assignor").asText();
        if (request.get("protocol").asText().equals("classic")) {
            config.put("session.timeout.ms", "10000");
            config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + ASSIGNORS.get(assignor));
        } else if (version().startsWith("2.")) {
            throw new Absent("kafka-clients 2.8 has no group.protocol=consumer");
        } else {
            config.put("group.protocol", "consumer");
            config.put("group.remote.assignor", assignor);
        }
        var consumer = consumer(config);
        List<Integer> given = new ArrayList<>();
        consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                partitions.forEach(partition -> given.add(partition.partition()));
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                // The assignment is looked at as a whole.
            }
        });
        members.put(request.get("member").asText(), consumer);
        lost.put(request.get("member").asText(), given);
    }

    private JsonNode poll(String member) {
        var consumer = members.get(member);
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode records = answer.putArray("records");
        consumer.poll(Duration.ofMillis(200)).forEach(record -> records.add(show(record)));
        ArrayNode assigned = answer.putArray("assigned");
        var sorted = new TreeSet<Integer>();
        consumer.assignment().forEach(partition -> sorted.add(partition.partition()));
        sorted.forEach(assigned::add);
        ArrayNode given = answer.putArray("lost");
        lost.get(member).forEach(given::add);
        lost.get(member).clear();
        return answer;
    }

    private static ObjectNode show(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode shown = JSON.createObjectNode()
                .put("partition", record.partition())
                .put("offset", record.offset())
                .put("timestamp", record.timestamp())
                .put("key", record.key())
                .put("value", record.value());
        ArrayNode headers = shown.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(header.value());
        }
        return shown;
    }

    /** As the jar says; the class that tells it is not in the same package in all versions. */
    private static String version() {
        var told = new Properties();
        try (var in = Admin.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            told.load(in);
        } catch (IOException unreadable) {
            throw new UncheckedIOException(unreadable);
        }
        return told.getProperty("version");
    }

    private static <T> T done(KafkaFuture<T> future) throws Exception {
        return future.get();
    }

    private static ConfigResource resource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private static Map<String, String> strings(JsonNode node) {
        Map<String, String> found = new HashMap<>();
        node.fields().forEachRemaining(one -> found.put(one.getKey(), one.getValue().asText()));
        return found;
    }

    private static byte[] decode(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    /** The client does not offer this. */
    private static final class Absent extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Absent(String reason) {
            super(reason);
        }
    }
}
