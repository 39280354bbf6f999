import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Java's kafka-clients in the scenarios: the same commands and line format as python/scenario.py, whose head
 * describes both.
 */
public final class Scenario {
    private static final long LIMIT_MS = 60_000;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[1];
        String topic = args[2];
        switch (args[0]) {
            case "create" -> create(bootstrap, topic, Integer.parseInt(args[3]), args);
            case "produce" -> produce(bootstrap, topic, args[3], Path.of(args[4]));
            case "consume" -> consume(bootstrap, topic, Integer.parseInt(args[3]));
            case "group" -> group(bootstrap, topic, args[3], Integer.parseInt(args[4]));
            case "resume" -> resume(bootstrap, topic, args[3], Integer.parseInt(args[4]));
            case "consumers" -> Consumers.tell(bootstrap, topic);
            case "time" -> time(bootstrap, topic, Long.parseLong(args[3]));
            default -> throw new IllegalArgumentException("unknown command " + args[0]);
        }
    }

    private static void create(String bootstrap, String topic, int partitions, String[] args) throws Exception {
        Map<String, String> configs = new HashMap<>();
        for (int i = 4; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            configs.put(pair[0], pair[1]);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            NewTopic newTopic = new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(configs);
            admin.createTopics(List.of(newTopic)).all().get();
        }
    }

    private static void produce(String bootstrap, String topic, String codec, Path file) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("compression.type", codec);
        config.put("acks", "all");
        config.put("linger.ms", "20");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
                BufferedReader lines = Files.newBufferedReader(file)) {
            String line;
            while ((line = lines.readLine()) != null) {
                String[] fields = line.split("\t", -1);
                var record = new ProducerRecord<>(
                        topic, Integer.valueOf(fields[0]), Long.valueOf(fields[1]), decode(fields[2]), decode(fields[3]));
                if (!fields[4].isEmpty()) {
                    for (String header : fields[4].split(",", -1)) {
                        String[] pair = header.split(":", 2);
                        record.headers().add(pair[0], decode(pair[1]));
                    }
                }
                sent.add(producer.send(record));
            }
            producer.flush();
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String group) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("check.crcs", "true");
        if (group != null) {
            config.put("group.id", group);
        }
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, String topic) {
        List<TopicPartition> all = new ArrayList<>();
        for (PartitionInfo info : consumer.partitionsFor(topic)) {
            all.add(new TopicPartition(topic, info.partition()));
        }
        return all;
    }

    private static void consume(String bootstrap, String topic, int count) {
        try (var consumer = consumer(bootstrap, null); PrintWriter out = out()) {
            consumer.assign(partitions(consumer, topic));
            consumer.seekToBeginning(consumer.assignment());
            read(consumer, count, out);
        }
    }

    private static void resume(String bootstrap, String topic, String group, int count) {
        try (var consumer = consumer(bootstrap, group); PrintWriter out = out()) {
            consumer.subscribe(List.of(topic));
            long deadline = System.currentTimeMillis() + LIMIT_MS;
            int seen = 0;
            // Commits exactly what was printed, and leaves the rest to the next call.
            while (seen < count) {
                expectBefore(deadline, seen, count);
                Map<TopicPartition, OffsetAndMetadata> commit = new HashMap<>();
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    if (seen == count) {
                        break;
                    }
                    print(out, "", record);
                    seen++;
                    commit.put(
                            new TopicPartition(topic, record.partition()),
                            new OffsetAndMetadata(record.offset() + 1));
                }
                consumer.commitSync(commit);
            }
        }
    }

    private static void group(String bootstrap, String topic, String group, int count) throws Exception {
        AtomicInteger seen = new AtomicInteger();
        AtomicInteger holding = new AtomicInteger();
        List<Thread> members = new ArrayList<>();
        List<Throwable> failures = new ArrayList<>();
        PrintWriter out = out();
        for (int i = 0; i < 2; i++) {
            String name = i + "\t";
            Thread member = new Thread(() -> {
                try (var consumer = consumer(bootstrap, group)) {
                    boolean[] holds = new boolean[1];
                    consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                        @Override
                        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
                            if (holds[0] && !gone.isEmpty()) {
                                holds[0] = false;
                                holding.decrementAndGet();
                            }
                        }

                        @Override
                        public void onPartitionsAssigned(Collection<TopicPartition> got) {
                            consumer.pause(got);
                            if (!holds[0] && !got.isEmpty()) {
                                holds[0] = true;
                                holding.incrementAndGet();
                            }
                        }
                    });
                    long deadline = System.currentTimeMillis() + LIMIT_MS;
                    while (seen.get() < count) {
                        expectBefore(deadline, seen.get(), count);
                        // Nobody reads before both members hold partitions: the test is about sharing.
                        if (holding.get() == 2) {
                            consumer.resume(consumer.assignment());
                        }
                        var records = consumer.poll(Duration.ofMillis(100));
                        for (ConsumerRecord<byte[], byte[]> record : records) {
                            synchronized (out) {
                                print(out, name, record);
                            }
                            seen.incrementAndGet();
                        }
                        if (!records.isEmpty()) {
                            consumer.commitSync();
                        }
                    }
                } catch (Throwable failure) {
                    synchronized (failures) {
                        failures.add(failure);
                    }
                }
            });
            member.start();
            members.add(member);
        }
        for (Thread member : members) {
            member.join();
        }
        out.flush();
        for (Throwable failure : failures) {
            throw new IllegalStateException("a member failed", failure);
        }
    }

    private static void time(String bootstrap, String topic, long timestamp) {
        try (var consumer = consumer(bootstrap, null); PrintWriter out = out()) {
            Map<TopicPartition, Long> asked = new HashMap<>();
            for (TopicPartition partition : partitions(consumer, topic)) {
                asked.put(partition, timestamp);
            }
            Map<Integer, OffsetAndTimestamp> found = new TreeMap<>();
            consumer.offsetsForTimes(asked).forEach((partition, at) -> found.put(partition.partition(), at));
            found.forEach((partition, at) -> out.println(partition + "\t" + (at == null ? "-" : at.offset())));
        }
    }

    private static void read(KafkaConsumer<byte[], byte[]> consumer, int count, PrintWriter out) {
        long deadline = System.currentTimeMillis() + LIMIT_MS;
        int seen = 0;
        while (seen < count) {
            expectBefore(deadline, seen, count);
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                print(out, "", record);
                seen++;
            }
        }
    }

    private static void expectBefore(long deadline, int seen, int count) {
        if (System.currentTimeMillis() > deadline) {
            throw new IllegalStateException("only " + seen + " of " + count + " records in time");
        }
    }

    private static void print(PrintWriter out, String member, ConsumerRecord<byte[], byte[]> record) {
        StringBuilder headers = new StringBuilder();
        for (Header header : record.headers()) {
            headers.append(headers.length() == 0 ? "" : ",").append(header.key()).append(':').append(encode(header.value()));
        }
        out.println(member + record.partition() + "\t" + record.offset() + "\t" + record.timestamp() + "\t"
                + encode(record.key()) + "\t" + encode(record.value()) + "\t" + headers);
    }

    private static PrintWriter out() {
        return new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)));
    }

    private static byte[] decode(String text) {
        return text.equals("-") ? null : Base64.getDecoder().decode(text);
    }

    private static String encode(byte[] bytes) {
        return bytes == null ? "-" : Base64.getEncoder().encodeToString(bytes);
    }
}
