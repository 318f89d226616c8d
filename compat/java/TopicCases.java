import com.qcloud.cmq.Account;
import com.qcloud.cmq.Subscription;
import com.qcloud.cmq.SubscriptionMeta;
import com.qcloud.cmq.Topic;
import com.qcloud.cmq.TopicMeta;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** What the SDK's functions for topics must do against our server, a method per promise. */
final class TopicCases {
    static final String NO_TOPIC = "(10600)topic is not existed, or deleted";
    static final String NOWHERE = "http://127.0.0.1:1/";

    static void a_topic_is_created_with_its_attributes(World world) throws Exception {
        long before = System.currentTimeMillis() / 1000;
        TopicMeta found = world.topic("t", 2048, World.ROUTING).getTopicAttributes();
        Expect.equal(List.of(found.maxMsgSize, found.filterType), List.of(2048, World.ROUTING));
        Expect.equal(List.of(found.msgRetentionSeconds, found.msgCount), List.of(86400, 0));
        Expect.holds(Math.abs(found.createTime - before) < 60, found.createTime);
        Expect.holds(Math.abs(found.lastModifyTime - before) < 60, found.lastModifyTime);
    }

    static void a_topic_has_tags_unless_told_otherwise(World world) throws Exception {
        String name = world.topicName("t");
        world.account.createTopic(name, World.DEFAULT_SIZE);
        Expect.equal(world.account.getTopic(name).getTopicAttributes().filterType, World.TAGS);
    }

    static void the_size_of_a_topic_is_changed(World world) throws Exception {
        Topic topic = world.routed();
        topic.setTopicAttributes(1048576);
        TopicMeta found = topic.getTopicAttributes();
        Expect.equal(List.of(found.maxMsgSize, found.filterType), List.of(1048576, World.ROUTING));
        for (int size : List.of(1023, 1048577)) {
            String create = "Invalid parameter: maxMsgSize > 1024KB or maxMsgSize < 1KB";
            Expect.refusedByTheClient(create, () -> world.account.createTopic("any", size));
            String change = "Invalid parameter maxMsgSize < 1KB or maxMsgSize > 1024KB";
            Expect.refusedByTheClient(change, () -> topic.setTopicAttributes(size));
        }
    }

    static void an_unknown_kind_of_filter_is_refused(World world) throws Exception {
        String message = "(10350)parameter filterType value or length is out of range";
        for (int kind : List.of(0, 3)) {
            Expect.refused(4000, message, () -> world.topic("t", World.DEFAULT_SIZE, kind));
        }
    }

    static void a_topic_name_is_taken_whatever_its_case(World world) throws Exception {
        String taken = world.name(world.topic());
        for (String name : List.of(taken, taken.toUpperCase())) {
            Expect.refused(
                    4460,
                    "(10550)topic is already existed",
                    () -> world.account.createTopic(name, World.DEFAULT_SIZE));
        }
    }

    static void bad_topic_names_are_refused(World world) throws Exception {
        for (String name : List.of("1digit", "-dash", "a b", "a/b", "\u4e3b\u9898", "x".repeat(65), "a.b")) {
            String said = Expect.refusedCode(4000, () -> world.account.createTopic(name, World.DEFAULT_SIZE));
            Expect.holds(said.startsWith("(10590)") || said.startsWith("(10350)"), name + " " + said);
        }
    }

    static void a_topic_that_is_not_there(World world) throws Exception {
        Account account = world.account;
        String name = world.topicName("none");
        Topic topic = account.getTopic(name);
        Subscription subscription = account.getSubscription(name, "any");
        List<Expect.Call> calls =
                List.of(
                        topic::getTopicAttributes,
                        () -> topic.setTopicAttributes(2048),
                        () -> account.deleteTopic(name),
                        () -> topic.ListSubscription(0, 20, "", new ArrayList<>()),
                        () -> topic.publishMessage("x"),
                        () -> topic.batchPublishMessage(List.of("x")),
                        () -> account.createSubscribe(name, "any", NOWHERE, "http"),
                        subscription::getSubscriptionAttributes,
                        () -> subscription.SetSubscriptionAttributes(new SubscriptionMeta()),
                        subscription::ClearFilterTags,
                        () -> account.deleteSubscribe(name, "any"));
        for (Expect.Call call : calls) {
            Expect.refused(4440, NO_TOPIC, call);
        }
    }

    static void a_topic_with_subscriptions_stays(World world) throws Exception {
        Topic topic = world.topic();
        String name = world.name(topic);
        Subscription subscription = world.subscribe(topic, world.queue());
        Expect.refused(
                4000,
                "(10540)there exists subscriptions under this topic,"
                        + " please unsubscribe all of them before DeleteTopic",
                () -> world.account.deleteTopic(name));
        world.account.deleteSubscribe(name, world.name(subscription));
        world.account.deleteTopic(name);
        Expect.refused(4440, NO_TOPIC, topic::getTopicAttributes);
    }

    static void topics_are_listed_page_by_page(World world) throws Exception {
        String hint = world.hint("list");
        List<String> names = new ArrayList<>();
        for (int count = 0; count < 5; count += 1) {
            names.add(world.name(world.topic(hint, World.DEFAULT_SIZE, World.TAGS)));
        }
        List<String> found = new ArrayList<>();
        for (int offset = 0; offset < 6; offset += 2) {
            // Unlike queues: the SDK empties the caller's list first.
            List<String> page = new ArrayList<>(List.of("emptied"));
            Expect.equal(world.account.listTopic(hint, page, offset, 2), 5);
            found.addAll(page);
        }
        Collections.sort(found);
        Collections.sort(names);
        Expect.equal(found, names);
        Expect.equal(world.account.listTopic("nothing-has-this-name", found, 0, 20), 0);
        Expect.equal(found, List.of());
    }

    private TopicCases() {}
}
