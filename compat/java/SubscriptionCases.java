import com.qcloud.cmq.Account;
import com.qcloud.cmq.Queue;
import com.qcloud.cmq.Subscription;
import com.qcloud.cmq.SubscriptionMeta;
import com.qcloud.cmq.Topic;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Vector;
import java.util.function.Consumer;

/** What the SDK's functions for subscriptions must do against our server, a method per promise. */
final class SubscriptionCases {
    private static final String NOWHERE = TopicCases.NOWHERE;
    private static final String NO_SUBSCRIPTION = "(10560)subscription is not existed";
    private static final String NO_JSON = "(10640)notifyContentFormat of protocol queue must be SIMPLIFIED";

    /** Attributes to set: the SDK sends the strategy and the format unless they are empty. */
    private static SubscriptionMeta changes(Consumer<SubscriptionMeta> attributes) {
        SubscriptionMeta meta = new SubscriptionMeta();
        meta.NotifyStrategy = "";
        meta.NotifyContentFormat = "";
        attributes.accept(meta);
        return meta;
    }

    private static List<Object> strategyFormatAndTags(Subscription subscription) throws Exception {
        SubscriptionMeta found = subscription.getSubscriptionAttributes();
        return List.of(found.NotifyStrategy, found.NotifyContentFormat, found.FilterTag);
    }

    static void a_subscription_is_made_with_its_attributes(World world) throws Exception {
        String topic = world.name(world.topic());
        long before = System.currentTimeMillis() / 1000;
        String endpoint = "http://127.0.0.1:1/a/b?c=d&e=%20";
        world.account.createSubscribe(
                topic, "sub", endpoint, "http", List.of("red", "blue"), null, World.DECAY, World.SIMPLIFIED);
        SubscriptionMeta found = world.account.getSubscription(topic, "sub").getSubscriptionAttributes();
        Expect.equal(List.of(found.Protocal, found.Endpoint), List.of("http", endpoint));
        Expect.equal(List.of(found.NotifyStrategy, found.NotifyContentFormat), List.of(World.DECAY, World.SIMPLIFIED));
        Expect.equal(found.FilterTag, List.of("red", "blue"));
        Expect.equal(found.bindingKey, null);
        Expect.equal(found.msgCount, 0);
        Expect.holds(Math.abs(found.CreateTime - before) < 60, found.CreateTime);
        Expect.holds(Math.abs(found.LastModifyTime - before) < 60, found.LastModifyTime);
    }

    static void a_queue_is_subscribed_with_binding_keys(World world) throws Exception {
        Queue queue = world.queue();
        Subscription subscription = world.subscribe(world.routed(), queue, null, List.of("a.*", "#.b"));
        SubscriptionMeta found = subscription.getSubscriptionAttributes();
        Expect.equal(List.of(found.Protocal, found.Endpoint), List.of("queue", world.name(queue)));
        Expect.equal(found.NotifyContentFormat, World.SIMPLIFIED);
        Expect.equal(found.FilterTag, List.of());
        Expect.equal(found.bindingKey, List.of("a.*", "#.b"));
    }

    /** The short form asks for back-off and JSON, which a queue must refuse. */
    static void the_short_form_is_for_http_only(World world) throws Exception {
        String topic = world.name(world.topic());
        String queue = world.name(world.queue());
        Expect.refused(4000, NO_JSON, () -> world.account.createSubscribe(topic, "sub", queue, "queue"));
        world.account.createSubscribe(topic, "sub", NOWHERE, "http");
        Subscription subscription = world.account.getSubscription(topic, "sub");
        Expect.equal(strategyFormatAndTags(subscription), List.of(World.BACK_OFF, World.JSON, List.of()));
    }

    static void bad_subscriptions_are_refused(World world) throws Exception {
        Account account = world.account;
        String topic = world.name(world.topic());
        String routed = world.name(world.routed());
        List<String> six = World.numbered(6);
        account.createSubscribe(topic, "taken", NOWHERE, "http");
        Expect.refused(
                4490,
                "(10470)subscribtion is already existed",
                () -> account.createSubscribe(topic, "taken", NOWHERE, "http"));
        Expect.refused(
                4000, "(10510)undefined protocol", () -> account.createSubscribe(topic, "sub", NOWHERE, "pigeon"));
        Expect.refused(
                4000,
                "(10500)endpoint format error",
                () -> account.createSubscribe(topic, "sub", "ftp://127.0.0.1/", "http"));
        Expect.refused(
                4510,
                "(10570)url connot contain any blank characters",
                () -> account.createSubscribe(topic, "sub", NOWHERE + "a b", "http"));
        Expect.refused(
                4440,
                QueueCases.NO_QUEUE,
                () -> account.createSubscribe(
                        topic, "sub", world.queueName("none"), "queue", null, null, World.DECAY, World.SIMPLIFIED));
        Expect.refused(
                4000,
                "(10520)undefined notify retry stragety",
                () -> account.createSubscribe(topic, "sub", NOWHERE, "http", null, null, "NEVER", World.JSON));
        Expect.refused(
                4000,
                "(10530)undefined notify content format",
                () -> account.createSubscribe(topic, "sub", NOWHERE, "http", null, null, World.DECAY, "XML"));
        Expect.refused(
                4000,
                "(10710)parameters lack of bindingKey",
                () -> account.createSubscribe(routed, "sub", NOWHERE, "http"));
        Expect.refused(
                4000,
                "(10680)too many bindingKey",
                () -> account.createSubscribe(routed, "sub", NOWHERE, "http", null, six, World.DECAY, World.JSON));
        Expect.refusedByTheClient(
                "Invalid parameter: Tag number > 5",
                () -> account.createSubscribe(topic, "sub", NOWHERE, "http", six, null, World.DECAY, World.JSON));
    }

    static void attributes_that_are_given_are_changed_and_others_kept(World world) throws Exception {
        Topic topic = world.topic();
        Subscription subscription = world.subscribe(topic, world.receiver(), List.of("red", "blue"), null);
        Expect.equal(strategyFormatAndTags(subscription), List.of(World.BACK_OFF, World.JSON, List.of("red", "blue")));
        subscription.SetSubscriptionAttributes(changes(meta -> meta.NotifyStrategy = World.DECAY));
        subscription.SetSubscriptionAttributes(changes(meta -> meta.NotifyContentFormat = World.SIMPLIFIED));
        Expect.equal(
                strategyFormatAndTags(subscription), List.of(World.DECAY, World.SIMPLIFIED, List.of("red", "blue")));
        subscription.SetSubscriptionAttributes(changes(meta -> meta.FilterTag = new Vector<>(List.of("green"))));
        Expect.equal(strategyFormatAndTags(subscription), List.of(World.DECAY, World.SIMPLIFIED, List.of("green")));
        subscription.ClearFilterTags();
        Expect.equal(strategyFormatAndTags(subscription), List.of(World.DECAY, World.SIMPLIFIED, List.of()));
        // What a fresh object says of strategy and format is sent.
        subscription.SetSubscriptionAttributes(new SubscriptionMeta());
        Expect.equal(strategyFormatAndTags(subscription), List.of(World.BACK_OFF, World.JSON, List.of()));
    }

    static void binding_keys_are_replaced_and_never_cleared(World world) throws Exception {
        Subscription subscription = world.subscribe(world.routed(), world.receiver(), null, List.of("a", "b"));
        subscription.SetSubscriptionAttributes(changes(meta -> meta.bindingKey = new Vector<>(List.of("c"))));
        Expect.equal(subscription.getSubscriptionAttributes().bindingKey, List.of("c"));
        subscription.ClearFilterTags();
        Expect.equal(subscription.getSubscriptionAttributes().bindingKey, List.of("c"));
    }

    static void subscriptions_are_listed_page_by_page(World world) throws Exception {
        Topic topic = world.topic();
        Expect.equal(topic.ListSubscription(0, 20, "", new ArrayList<>()), 0);
        List<String> names = List.of("one", "other", "two");
        for (String name : names) {
            world.account.createSubscribe(world.name(topic), name, NOWHERE, "http");
        }
        List<String> found = new ArrayList<>();
        for (int offset : List.of(0, 2)) {
            Expect.equal(topic.ListSubscription(offset, 2, null, found), 3);
        }
        Collections.sort(found);
        Expect.equal(found, names);
        found.clear();
        Expect.equal(topic.ListSubscription(-1, -1, "ther", found), 1);
        Expect.equal(found, List.of("other"));
    }

    static void a_subscription_that_is_not_there(World world) throws Exception {
        Topic topic = world.topic();
        Subscription subscription = world.subscribe(topic, world.queue());
        String name = world.name(subscription);
        world.account.deleteSubscribe(world.name(topic), name);
        List<Expect.Call> calls =
                List.of(
                        subscription::getSubscriptionAttributes,
                        () -> subscription.SetSubscriptionAttributes(changes(meta -> {})),
                        subscription::ClearFilterTags,
                        () -> world.account.deleteSubscribe(world.name(topic), name));
        for (Expect.Call call : calls) {
            Expect.refused(4000, NO_SUBSCRIPTION, call);
        }
    }

    private SubscriptionCases() {}
}
