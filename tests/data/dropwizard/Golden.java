import com.codahale.metrics.*;
import com.codahale.metrics.health.*;
import com.codahale.metrics.json.*;
import com.fasterxml.jackson.databind.*;
import java.nio.file.*;
import java.util.Locale;
import java.util.concurrent.TimeUnit;

/** Writes what the real library says of known metrics, by a clock that is turned by hand. */
public class Golden {
    static long now = 0;

    static class ByHand extends Clock {
        @Override public long getTick() { return now; }
        @Override public long getTime() { return now / 1_000_000; }
    }

    static void write(String folder, String name, ObjectMapper mapper, Object value)
            throws Exception {
        Files.write(Paths.get(folder, name + ".json"), mapper.writer().writeValueAsBytes(value));
        Files.write(Paths.get(folder, name + ".pretty.json"),
                mapper.writerWithDefaultPrettyPrinter().writeValueAsBytes(value));
    }

    public static void main(String[] args) throws Exception {
        Clock clock = new ByHand();
        MetricRegistry registry = new MetricRegistry();
        Meter meter = new Meter(clock);
        registry.register("requests", meter);
        registry.register("idle", new Meter(clock));
        // The lossless reservoir: the others give other values than were measured.
        registry.register("flush-timer", new Timer(new SlidingWindowReservoir(100_000), clock));
        registry.register("sizes", new Histogram(new SlidingWindowReservoir(100_000)));
        registry.register("unused", new Timer(new SlidingWindowReservoir(10), clock));
        registry.register("depth", (Gauge<Integer>) () -> 17);
        registry.register("share", (Gauge<Double>) () -> 0.25);
        registry.register("added", new Counter());
        registry.counter("added").inc(42);
        Timer timer = registry.timer("flush-timer");
        StringBuilder rates = new StringBuilder("[");
        long marks = 0;
        for (int tick = 1; tick <= 240; tick++) {  // 20 minutes
            now = (tick - 1) * 5_000_000_000L + 2_000_000_000L;
            int n = tick <= 60 ? 10 + tick % 7 : tick % 60 == 0 ? 600 : 0;
            meter.mark(n);
            for (int i = 1; i <= 5; i++) {
                timer.update(tick * 1_000_000L + i * 1000L, TimeUnit.NANOSECONDS);
                registry.histogram("sizes").update(tick * i);
            }
            now = tick * 5_000_000_000L + 1;  // it looks whether more than 5 s have gone by
            rates.append(tick == 1 ? "" : ",\n").append(String.format(Locale.ROOT,
                    "[%d, %s, %s, %s, %s]", n, meter.getOneMinuteRate(),
                    meter.getFiveMinuteRate(), meter.getFifteenMinuteRate(),
                    meter.getMeanRate()));
        }
        ObjectMapper mapper = new ObjectMapper().registerModule(
                new MetricsModule(TimeUnit.SECONDS, TimeUnit.SECONDS, false));
        write(args[0], "metrics", mapper, registry);
        Files.write(Paths.get(args[0], "rates.json"), rates.append("]\n").toString().getBytes());
        HealthCheckRegistry checks = new HealthCheckRegistry();
        checks.register("pump", new HealthCheck() {
            @Override protected Result check() { return Result.healthy(); } });
        checks.register("exporter", new HealthCheck() {
            @Override protected Result check() { return Result.unhealthy("it is down"); } });
        ObjectMapper healthMapper = new ObjectMapper().registerModule(new HealthCheckModule());
        write(args[0], "healthcheck", healthMapper, checks.runHealthChecks());
    }
}
