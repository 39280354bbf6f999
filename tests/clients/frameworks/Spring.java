import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.util.backoff.FixedBackOff;

/**
 * Spring Kafka: topics declared to its admin, a template that sends, a container of three threads that listens, retries a
 * record that fails, and sends it to the dead letter topic in the end.
 *
 * <p>BOOTSTRAP TOPIC; ends with 0 if all of it happened.
 */
public final class Spring {
    private static final int COUNT = 90;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        String topic = args[1];
        var admin = new KafkaAdmin(Map.of("bootstrap.servers", bootstrap));
        admin.createOrModifyTopics(new NewTopic(topic, 3, (short) 1), new NewTopic(topic + "-dlt", 3, (short) 1));

        Map<String, Object> producing = Map.of("bootstrap.servers", bootstrap, "acks", "all");
        var producers = new DefaultKafkaProducerFactory<>(producing, new StringSerializer(), new StringSerializer());
        var template = new KafkaTemplate<>(producers);

        Map<String, Object> consuming = new HashMap<>(Map.of(
                "bootstrap.servers", bootstrap, "group.id", topic + "-group", "auto.offset.reset", "earliest"));
        var consumers = new DefaultKafkaConsumerFactory<>(consuming, new StringDeserializer(), new StringDeserializer());
        Set<String> seen = ConcurrentHashMap.newKeySet();
        var all = new CountDownLatch(COUNT - 1);
        var properties = new ContainerProperties(topic);
        properties.setMessageListener((MessageListener<String, String>) record -> {
            if (record.value().equals("value 13")) {
                throw new IllegalStateException("this one always fails");
            }
            if (seen.add(record.value())) {
                all.countDown();
            }
        });
        var container = new ConcurrentMessageListenerContainer<>(consumers, properties);
        container.setConcurrency(3);
        container.setCommonErrorHandler(
                new DefaultErrorHandler(new DeadLetterPublishingRecoverer(template), new FixedBackOff(100, 2)));
        container.start();
        for (int i = 0; i < COUNT; i++) {
            template.send(topic, "key " + i, "value " + i).get(30, TimeUnit.SECONDS);
        }
        expect(all.await(60, TimeUnit.SECONDS), "only " + seen.size() + " records were heard");

        try (var consumer = consumers.createConsumer(topic + "-reader", null)) {
            consumer.subscribe(List.of(topic + "-dlt"));
            ConsumerRecord<String, String> dead = null;
            long deadline = System.currentTimeMillis() + 60_000;
            while (dead == null && System.currentTimeMillis() < deadline) {
                for (var record : consumer.poll(java.time.Duration.ofMillis(200))) {
                    dead = record;
                }
            }
            expect(dead != null && dead.value().equals("value 13"), "no dead letter");
            expect(dead.headers().lastHeader("kafka_dlt-original-offset") != null, "a dead letter without headers");
        }
        container.stop();
        producers.destroy();
        System.out.println("done");
        System.exit(0);
    }

    private static void expect(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }
}
