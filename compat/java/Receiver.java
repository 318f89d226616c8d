import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** An HTTP server on this machine that takes pushes, writes them down, and answers as told. */
final class Receiver {
    /** A request as it came; names of headers are found whatever their case. */
    record Push(String method, String path, Map<String, List<String>> headers, String body, long nanos) {
        /** The header's only value, or null if there is none. */
        String header(String name) {
            List<String> values = headers.getOrDefault(name, List.of());
            Expect.holds(values.size() <= 1, name + " " + values);
            return values.isEmpty() ? null : values.get(0);
        }
    }

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final List<Integer> statuses;
    private final List<Push> pushes = new ArrayList<>();

    /** Answers the first pushes with the given statuses, in this order, and all others with 200. */
    Receiver(List<Integer> statuses) throws IOException {
        this.statuses = new ArrayList<>(statuses);
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(threads);
        server.createContext("/", this::take);
        server.start();
    }

    String url() {
        return url("/push");
    }

    String url(String path) {
        return "http://127.0.0.1:" + server.getAddress().getPort() + path;
    }

    /** All pushes up to now, as soon as there are so many. */
    List<Push> pushes(int count) throws Exception {
        Expect.eventually(count + " pushes", 15, () -> taken().size() >= count);
        return taken();
    }

    void close() {
        server.stop(0);
        threads.shutdownNow();
    }

    private synchronized List<Push> taken() {
        return List.copyOf(pushes);
    }

    private void take(HttpExchange exchange) throws IOException {
        String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
        String path = exchange.getRequestURI().toString();
        int status = write(new Push(exchange.getRequestMethod(), path, exchange.getRequestHeaders(), body, System.nanoTime()));
        exchange.sendResponseHeaders(status, -1);
        exchange.close();
    }

    /** Writes the push down, and gives back what to answer. */
    private synchronized int write(Push push) {
        pushes.add(push);
        return statuses.isEmpty() ? 200 : statuses.remove(0);
    }
}
