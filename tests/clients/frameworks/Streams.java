import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Kafka Streams, at least once: counts words into a store with a changelog, over a repartition topic.
 *
 * <p>BOOTSTRAP APPLICATION INPUT OUTPUT STATE_FOLDER; runs until its standard input ends.
 */
public final class Streams {
    public static void main(String[] args) throws Exception {
        var builder = new StreamsBuilder();
        builder.stream(args[2], Consumed.with(Serdes.String(), Serdes.String()))
                .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
                .count(Materialized.as("counts"))
                .toStream()
                .mapValues(count -> Long.toString(count))
                .to(args[3], Produced.with(Serdes.String(), Serdes.String()));
        var config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("application.id", args[1]);
        config.put("state.dir", args[4]);
        config.put("replication.factor", "1");
        config.put("commit.interval.ms", "500");
        config.put("statestore.cache.max.bytes", "0");
        config.put("auto.offset.reset", "earliest");
        try (var streams = new KafkaStreams(builder.build(), config)) {
            streams.setUncaughtExceptionHandler(failure -> {
                failure.printStackTrace();
                System.exit(1);
                return null;
            });
            streams.start();
            while (System.in.read() >= 0) {
                // Told to go on.
            }
        }
        System.out.write("closed\n".getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }
}
