import com.qcloud.cmq.Account;
import com.qcloud.cmq.CMQClient;
import com.qcloud.cmq.CMQServerException;
import com.qcloud.cmq.Message;
import com.qcloud.cmq.Queue;
import com.qcloud.cmq.QueueMeta;
import com.qcloud.cmq.Subscription;
import com.qcloud.cmq.Topic;
import com.qcloud.cmq.entity.CmqConfig;
import com.qcloud.cmq.json.JSONObject;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** One case's view of the server: accounts, and queues, topics and receivers of its own, which it removes. */
final class World {
    /** A method of HTTP and a signature algorithm, in the SDK's words. */
    record Mode(String method, String algorithm) {}

    static final int TAGS = 1;
    static final int ROUTING = 2;
    static final int DEFAULT_SIZE = 65536;
    static final String SIMPLIFIED = "SIMPLIFIED";
    static final String JSON = "JSON";
    static final String BACK_OFF = "BACKOFF_RETRY";
    static final String DECAY = "EXPONENTIAL_DECAY_RETRY";

    private static final AtomicInteger NUMBERS = new AtomicInteger();

    final Mode mode;
    final Account account;
    final String endpoint;
    /** ID:SECRET. */
    final String key;
    private final String label;
    private final List<String> queues = new ArrayList<>();
    private final List<String> topics = new ArrayList<>();
    private final List<Receiver> receivers = new ArrayList<>();
    /** The SDK's objects do not tell their names. */
    private final Map<Object, String> names = new IdentityHashMap<>();

    World(String endpoint, String key, String label, Mode mode) {
        this.endpoint = endpoint;
        this.key = key;
        this.label = label;
        this.mode = mode;
        account = connect(config -> {});
    }

    /** Another account object; its settings may be changed. */
    Account connect(Consumer<CmqConfig> changes) {
        return new Account(config(changes));
    }

    private CmqConfig config(Consumer<CmqConfig> changes) {
        CmqConfig config = new CmqConfig();
        config.setEndpoint(endpoint);
        config.setSecretId(key.substring(0, key.indexOf(':')));
        config.setSecretKey(key.substring(key.indexOf(':') + 1));
        config.setMethod(mode.method());
        config.setSignMethod(mode.algorithm());
        changes.accept(config);
        return config;
    }

    /** The answer to any action with any parameters, for what the SDK has no words for. */
    JSONObject ask(String action, Map<String, String> parameters) throws Exception {
        return new JSONObject(new CMQClient(config(config -> {})).call(action, new TreeMap<>(parameters)));
    }

    private String unused(String hint) {
        return String.join("-", "compat", label, hint, "" + System.currentTimeMillis(), "" + NUMBERS.incrementAndGet());
    }

    /** A name of a queue that nobody has used. */
    String queueName(String hint) {
        queues.add(unused(hint));
        return queues.get(queues.size() - 1);
    }

    /** A name of a topic that nobody has used. */
    String topicName(String hint) {
        topics.add(unused(hint));
        return topics.get(topics.size() - 1);
    }

    /** A part of names that no other case uses. */
    String hint(String word) {
        return word + NUMBERS.incrementAndGet() + "x" + System.nanoTime();
    }

    /** The name of what this world has made. */
    String name(Object made) {
        return names.get(made);
    }

    Queue queue() throws Exception {
        return queue(meta -> {});
    }

    /** A new queue with these attributes. */
    Queue queue(Consumer<QueueMeta> attributes) throws Exception {
        return queue("q", attributes);
    }

    Queue queue(String hint, Consumer<QueueMeta> attributes) throws Exception {
        String name = queueName(hint);
        account.createQueue(name, meta(attributes));
        return found(account.getQueue(name), name);
    }

    static QueueMeta meta(Consumer<QueueMeta> attributes) {
        QueueMeta meta = new QueueMeta();
        attributes.accept(meta);
        return meta;
    }

    /** A new topic with tags. */
    Topic topic() throws Exception {
        return topic("t", DEFAULT_SIZE, TAGS);
    }

    /** A new topic with routing keys. */
    Topic routed() throws Exception {
        return topic("t", DEFAULT_SIZE, ROUTING);
    }

    Topic topic(String hint, int maxMsgSize, int filterType) throws Exception {
        String name = topicName(hint);
        account.createTopic(name, maxMsgSize, filterType);
        return found(account.getTopic(name), name);
    }

    private <T> T found(T made, String name) {
        names.put(made, name);
        return made;
    }

    /** A new HTTP endpoint; see Receiver. */
    Receiver receiver(Integer... statuses) throws Exception {
        Receiver receiver = new Receiver(List.of(statuses));
        receivers.add(receiver);
        return receiver;
    }

    /** A new subscription of a receiver or a queue, without filters. */
    Subscription subscribe(Topic topic, Object target) throws Exception {
        return subscribe(topic, target, null, null);
    }

    /** The same with tags or binding keys; null for none. */
    Subscription subscribe(Topic topic, Object target, List<String> tags, List<String> keys) throws Exception {
        String name = unused("s");
        String topicName = name(topic);
        if (target instanceof Receiver receiver) {
            account.createSubscribe(topicName, name, receiver.url(), "http", tags, keys, BACK_OFF, JSON);
        } else {
            account.createSubscribe(topicName, name, name(target), "queue", tags, keys, BACK_OFF, SIMPLIFIED);
        }
        return found(account.getSubscription(topicName, name), name);
    }

    /** Waits until no subscription of the topic has anything to come. */
    static void allDelivered(Topic topic) throws Exception {
        Expect.eventually("the topic is empty", () -> topic.getTopicAttributes().msgCount == 0);
    }

    /** Takes everything out of the queue: the bodies in alphabetical order. */
    static List<String> bodiesIn(Queue queue) throws Exception {
        List<String> found = new ArrayList<>();
        try {
            while (true) {
                // Without a number of seconds, so that the SDK keeps its connection.
                List<Message> received = queue.batchReceiveMessage(16);
                received.forEach(message -> found.add(message.msgBody));
                queue.batchDeleteMessage(handles(received));
            }
        } catch (CMQServerException end) {
            Expect.refused(7000, Expect.NO_MESSAGE, () -> { throw end; });
        }
        Collections.sort(found);
        return found;
    }

    static List<String> handles(List<Message> messages) {
        return messages.stream().map(message -> message.receiptHandle).collect(Collectors.toList());
    }

    static List<String> bodies(List<Message> messages) {
        return messages.stream().map(message -> message.msgBody).collect(Collectors.toList());
    }

    /** So many bodies, all different, in alphabetical order. */
    static List<String> numbered(int count) {
        return Stream.iterate(0, number -> number + 1).limit(count)
                .map(number -> String.format("number %02d", number)).collect(Collectors.toList());
    }

    void closeReceivers() {
        receivers.forEach(Receiver::close);
        receivers.clear();
    }

    /** Removes what the case has made. */
    void close() throws Exception {
        for (String name : topics) {
            ignoreMissing(() -> removeTopic(name));
        }
        for (String name : queues) {
            ignoreMissing(() -> account.deleteQueue(name));
        }
    }

    private void removeTopic(String name) throws Exception {
        List<String> subscriptions = new ArrayList<>();
        account.getTopic(name).ListSubscription(0, 100, "", subscriptions);
        for (String subscription : subscriptions) {
            account.deleteSubscribe(name, subscription);
        }
        account.deleteTopic(name);
    }

    private static void ignoreMissing(Expect.Call call) throws Exception {
        try {
            call.run();
        } catch (CMQServerException refusal) {
            Expect.refusedCode(4440, () -> { throw refusal; });
        }
    }
}
