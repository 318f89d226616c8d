import com.qcloud.cmq.Topic;
import com.qcloud.cmq.json.JSONObject;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Vector;
import java.util.function.Function;

/** What an HTTP endpoint that the SDK has subscribed gets to see of messages that it publishes. */
final class PushCases {
    private static final String AGENT = "Qcloud Notification Service Agent";
    private static final String TEXT = "h\u00e9llo \ud83d\ude00";

    private static void checkHeaders(Receiver.Push push, String msgId, String tags) {
        Expect.equal(push.method(), "POST");
        Expect.equal(push.header("Content-Type"), "text/plain");
        Expect.equal(push.header("User-Agent"), AGENT);
        Expect.equal(push.header("X-Cmq-Message-Id"), msgId);
        Expect.holds(push.header("X-Cmq-Request-Id") != null, push);
        Expect.equal(push.header("X-Cmq-Message-Tag"), tags);
    }

    static void a_push_in_json(World world) throws Exception {
        Topic topic = world.topic();
        Receiver receiver = world.receiver();
        String subscription = world.name(world.subscribe(topic, receiver));
        String sent = topic.publishMessage(TEXT);
        Receiver.Push push = receiver.pushes(1).get(0);
        checkHeaders(push, sent, null);
        Expect.equal(push.path(), "/push");
        JSONObject body = new JSONObject(push.body());
        Expect.equal(body.getString("msgBody"), TEXT);
        Expect.equal(body.getString("msgId"), sent);
        Expect.equal(body.getString("topicName"), world.name(topic));
        Expect.equal(body.getString("subscriptionName"), subscription);
        Expect.holds(Math.abs(body.getLong("publishTime") - System.currentTimeMillis() / 1000) < 60, push);
        World.allDelivered(topic);
        Expect.equal(receiver.pushes(1).size(), 1);
    }

    static void a_push_of_the_bare_body(World world) throws Exception {
        Topic topic = world.topic();
        Receiver receiver = world.receiver();
        world.account.createSubscribe(
                world.name(topic), "bare", receiver.url(), "http", null, null, World.DECAY, World.SIMPLIFIED);
        String sent = topic.publishMessage(TEXT, new Vector<>(List.of("red", "blue")), null);
        Receiver.Push push = receiver.pushes(1).get(0);
        checkHeaders(push, sent, "red, blue");
        Expect.equal(push.body(), TEXT);
    }

    private static Map<String, String> bodies(Receiver receiver, Function<String, String> read) throws Exception {
        Map<String, String> found = new HashMap<>();
        for (Receiver.Push push : receiver.pushes(Bodies.SPECIAL.size())) {
            found.put(push.header("X-Cmq-Message-Id"), read.apply(push.body()));
        }
        return found;
    }

    static void every_character_survives_pushing(World world) throws Exception {
        Topic topic = world.topic();
        Receiver receiver = world.receiver();
        Receiver bare = world.receiver();
        world.subscribe(topic, receiver);
        world.account.createSubscribe(
                world.name(topic), "bare", bare.url(), "http", null, null, World.DECAY, World.SIMPLIFIED);
        Map<String, String> wanted = new HashMap<>();
        for (String body : Bodies.SPECIAL) {
            wanted.put(topic.publishMessage(body), body);
        }
        Expect.equal(bodies(receiver, body -> new JSONObject(body).getString("msgBody")), wanted);
        Expect.equal(bodies(bare, body -> body), wanted);
    }

    static void a_routed_message_is_pushed(World world) throws Exception {
        Topic topic = world.routed();
        Receiver receiver = world.receiver();
        String path = "/a/b%20c?x=1&y=%26";
        world.account.createSubscribe(
                world.name(topic), "sub", receiver.url(path), "http", null, List.of("news.#"), World.DECAY, World.JSON);
        topic.publishMessage("x", "news.today");
        Receiver.Push push = receiver.pushes(1).get(0);
        Expect.equal(List.of(push.path(), new JSONObject(push.body()).getString("msgBody")), List.of(path, "x"));
    }

    @Once
    static void a_failure_is_pushed_again(World world) throws Exception {
        Topic topic = world.topic();
        Receiver receiver = world.receiver(500);
        world.account.createSubscribe(
                world.name(topic), "sub", receiver.url(), "http", null, null, World.DECAY, World.JSON);
        String sent = topic.publishMessage("again");
        List<Receiver.Push> pushes = receiver.pushes(2);
        double seconds = (pushes.get(1).nanos() - pushes.get(0).nanos()) / 1e9;
        Expect.holds(seconds >= 0.9, seconds + " s");
        for (Receiver.Push push : pushes) {
            checkHeaders(push, sent, null);
            Expect.equal(push.body(), pushes.get(0).body());
        }
        World.allDelivered(topic);
        Expect.equal(receiver.pushes(2).size(), 2);
    }

    private PushCases() {}
}
