import com.qcloud.cmq.Message;
import com.qcloud.cmq.Queue;
import com.qcloud.cmq.Topic;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** What becomes of a published message: refused, or in the queues whose subscriptions match. */
@SuppressWarnings("deprecation") // The older half of the SDK is driven, too.
final class PublishCases {
    private static final String NO_SUBSCRIPTION =
            "(10650)topic has no subscription, please create a subscription before publishing message";
    private static final String NO_MATCH = "(10730)no bindingKey or filterTag matches the routingKey or msgTag";
    private static final String NO_KEY = "(10700)parameters lack of routingKey";
    private static final List<String> X = List.of("x");

    static void nobody_has_subscribed(World world) throws Exception {
        Topic topic = world.topic();
        Expect.refused(6030, NO_SUBSCRIPTION, () -> topic.publishMessage("x"));
        Expect.refused(6030, NO_SUBSCRIPTION, () -> topic.batchPublishMessage(X));
    }

    static void no_subscription_matches(World world) throws Exception {
        Topic tagged = world.topic();
        world.subscribe(tagged, world.queue(), List.of("red"), null);
        List<String> others = List.of("blue", "Red", "re");
        Expect.refused(6030, NO_MATCH, () -> tagged.publishMessage("x"));
        Expect.refused(6030, NO_MATCH, () -> tagged.publishMessage("x", others, null));
        Expect.refused(6030, NO_MATCH, () -> tagged.batchPublishMessage(X, others, null));
        Topic routed = world.routed();
        world.subscribe(routed, world.queue(), null, List.of("a.*"));
        for (String key : List.of("a", "b.a", "A.b", "a.b.c")) {
            Expect.refused(6030, NO_MATCH, () -> routed.publishMessage("x", key));
            Expect.refused(6030, NO_MATCH, () -> routed.batchPublishMessage(X, key));
        }
    }

    static void a_routing_key_is_required_and_limited(World world) throws Exception {
        Topic topic = world.routed();
        world.subscribe(topic, world.queue(), null, List.of("#"));
        Expect.refused(4000, NO_KEY, () -> topic.publishMessage("x"));
        Expect.refused(4000, NO_KEY, () -> topic.batchPublishMessage(X));
        String said = Expect.refusedCode(4000, () -> topic.publishMessage("x", "x".repeat(65)));
        Expect.holds(said.startsWith("(10350)"), said);
        topic.publishMessage("x", "x".repeat(64));
    }

    static void bodies_and_tags_to_publish_are_limited(World world) throws Exception {
        Topic topic = world.topic("t", 1024, World.TAGS);
        world.subscribe(topic, world.queue());
        String large = "x".repeat(1025);
        Expect.refused(4000, "(10120)message body can't be empty", () -> topic.publishMessage(""));
        Expect.refused(4400, MessageCases.TOO_LARGE, () -> topic.publishMessage(large));
        Expect.refused(4400, MessageCases.TOO_LARGE, () -> topic.batchPublishMessage(List.of("fits", large)));
        List<String> six = World.numbered(6);
        Expect.refused(4000, "(10720)too many msgTag", () -> topic.publishMessage("x", six, null));
        for (int count : List.of(0, 17)) {
            List<String> bodies = Collections.nCopies(count, "x");
            String said = Expect.refusedCode(4000, () -> topic.batchPublishMessage(bodies));
            Expect.holds(said.startsWith("(10370)") || said.startsWith("(10390)"), said);
        }
    }

    static void a_published_message_comes_to_the_queue(World world) throws Exception {
        Topic topic = world.topic();
        Queue queue = world.queue();
        world.subscribe(topic, queue);
        String sent = topic.publishMessage("hello");
        Expect.holds(sent.matches("\\d+"), sent);
        Message message = queue.receiveMessage(10);
        Expect.equal(List.of(message.msgBody, message.dequeueCount), List.of("hello", 1));
    }

    static void every_character_survives_publishing(World world) throws Exception {
        Topic topic = world.topic();
        Queue queue = world.queue();
        world.subscribe(topic, queue);
        for (String body : Bodies.SPECIAL) {
            topic.publishMessage(body);
        }
        World.allDelivered(topic);
        List<String> wanted = Bodies.SPECIAL.stream().sorted().collect(Collectors.toList());
        Expect.equal(World.bodiesIn(queue), wanted);
    }

    static void a_full_batch_is_published(World world) throws Exception {
        Topic topic = world.topic();
        Queue queue = world.queue();
        world.subscribe(topic, queue);
        Expect.equal(new HashSet<>(topic.batchPublishMessage(World.numbered(16))).size(), 16);
        World.allDelivered(topic);
        Expect.equal(World.bodiesIn(queue), World.numbered(16));
    }

    static void tags_choose(World world) throws Exception {
        Topic topic = world.topic();
        Queue everything = world.queue();
        Queue red = world.queue();
        Queue both = world.queue();
        world.subscribe(topic, everything);
        world.subscribe(topic, red, List.of("red"), null);
        world.subscribe(topic, both, List.of("red", "blue"), null);
        topic.publishMessage("none");
        topic.publishMessage("tagged red", List.of("red"), null);
        topic.publishMessage("tagged both", List.of("blue", "red", "green"), null);
        topic.batchPublishMessage(List.of("batch 1", "batch 2"), List.of("blue"), null);
        World.allDelivered(topic);
        Expect.equal(
                World.bodiesIn(everything), List.of("batch 1", "batch 2", "none", "tagged both", "tagged red"));
        Expect.equal(World.bodiesIn(red), List.of("tagged both", "tagged red"));
        Expect.equal(World.bodiesIn(both), List.of("batch 1", "batch 2", "tagged both", "tagged red"));
    }

    static void routing_keys_choose(World world) throws Exception {
        Topic topic = world.routed();
        Map<String, List<String>> wanted = new LinkedHashMap<>();
        wanted.put("system.common", List.of("system.common"));
        wanted.put("*.common", List.of("app.common", "system.common"));
        wanted.put("a.*.c", List.of("a.b.c"));
        wanted.put("#.common", List.of("1", "2", "app.common", "common", "system.common"));
        wanted.put("a.#", List.of("a", "a.b.c"));
        Map<String, Queue> queues = new LinkedHashMap<>();
        for (String key : wanted.keySet()) {
            queues.put(key, world.queue());
            world.subscribe(topic, queues.get(key), null, List.of(key));
        }
        for (String key : List.of("system.common", "app.common", "common", "a", "a.b.c")) {
            topic.publishMessage(key, key);
        }
        topic.batchPublishMessage(List.of("1", "2"), "x.y.common");
        World.allDelivered(topic);
        for (Map.Entry<String, Queue> entry : queues.entrySet()) {
            Expect.equal(World.bodiesIn(entry.getValue()), wanted.get(entry.getKey()));
        }
    }

    private PublishCases() {}
}
