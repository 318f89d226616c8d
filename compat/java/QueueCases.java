import com.qcloud.cmq.Account;
import com.qcloud.cmq.Queue;
import com.qcloud.cmq.QueueMeta;
import com.qcloud.cmq.json.JSONObject;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/** What the SDK's functions for queues themselves must do against our server, a method per promise. */
@SuppressWarnings("deprecation") // The older half of the SDK is driven, too.
final class QueueCases {
    static final String NO_QUEUE = "(10100)queue is not existed, or deleted";

    static void a_queue_is_created_with_its_attributes(World world) throws Exception {
        long before = System.currentTimeMillis() / 1000;
        QueueMeta found =
                world.queue(
                                meta -> {
                                    meta.pollingWaitSeconds = 3;
                                    meta.visibilityTimeout = 45;
                                    meta.maxMsgSize = 2048;
                                    meta.msgRetentionSeconds = 7200;
                                    meta.rewindSeconds = 3600;
                                    meta.maxMsgHeapNum = 2000000;
                                })
                        .getQueueAttributes();
        Expect.equal(found.pollingWaitSeconds, 3);
        Expect.equal(found.visibilityTimeout, 45);
        Expect.equal(found.maxMsgSize, 2048);
        Expect.equal(found.msgRetentionSeconds, 7200);
        Expect.equal(found.rewindSeconds, 3600);
        Expect.equal(found.maxMsgHeapNum, 2000000);
        Expect.equal(List.of(found.activeMsgNum, found.inactiveMsgNum), List.of(0, 0));
        Expect.equal(List.of(found.delayMsgNum, found.rewindmsgNum), List.of(0, 0));
        Expect.holds(Math.abs(found.createTime - before) < 60, found.createTime);
        Expect.holds(Math.abs(found.lastModifyTime - before) < 60, found.lastModifyTime);
    }

    static void a_queue_has_the_defaults_of_the_client(World world) throws Exception {
        QueueMeta found = world.queue().getQueueAttributes();
        Expect.equal(found.maxMsgSize, QueueMeta.DEFAULT_MAX_MSG_SIZE);
        Expect.equal(found.msgRetentionSeconds, QueueMeta.DEFAULT_MSG_RETENTION_SECONDS);
        Expect.equal(found.visibilityTimeout, QueueMeta.DEFAULT_VISIBILITY_TIMEOUT);
        Expect.equal(found.pollingWaitSeconds, QueueMeta.DEFAULT_POLLING_WAIT_SECONDS);
        Expect.equal(List.of(found.rewindSeconds, found.maxMsgHeapNum), List.of(0, 100000000));
    }

    static void a_queue_has_the_documented_defaults(World world) throws Exception {
        String name = world.queueName("plain");
        JSONObject created = world.ask("CreateQueue", Map.of("queueName", name));
        Expect.equal(created.getInt("code"), 0);
        QueueMeta found = world.account.getQueue(name).getQueueAttributes();
        Expect.equal(List.of(found.maxMsgSize, found.msgRetentionSeconds), List.of(65536, 345600));
    }

    static void attributes_are_changed(World world) throws Exception {
        Queue queue = world.queue();
        QueueMeta wanted =
                World.meta(
                        meta -> {
                            meta.pollingWaitSeconds = 1;
                            meta.visibilityTimeout = 100;
                            meta.maxMsgSize = 65536;
                            meta.msgRetentionSeconds = 86400;
                            meta.rewindSeconds = 60;
                        });
        queue.setQueueAttributes(wanted);
        QueueMeta found = queue.getQueueAttributes();
        Expect.equal(found.pollingWaitSeconds, 1);
        Expect.equal(found.visibilityTimeout, 100);
        Expect.equal(found.maxMsgSize, 65536);
        Expect.equal(found.msgRetentionSeconds, 86400);
        Expect.equal(found.rewindSeconds, 60);
        Expect.equal(found.maxMsgHeapNum, 100000000);
    }

    static void attributes_out_of_range_are_refused_and_change_nothing(World world) throws Exception {
        Queue queue = world.queue();
        Map<String, List<Consumer<QueueMeta>>> wrong =
                Map.of(
                        "visibilityTimeout", List.of(meta -> meta.visibilityTimeout = 43201),
                        "pollingWaitSeconds", List.of(meta -> meta.pollingWaitSeconds = 31),
                        "maxMsgSize", List.of(meta -> meta.maxMsgSize = 1023, meta -> meta.maxMsgSize = 1048577),
                        "msgRetentionSeconds",
                                List.of(
                                        meta -> meta.msgRetentionSeconds = 59,
                                        meta -> meta.msgRetentionSeconds = 1296001),
                        "maxMsgHeapNum", List.of(meta -> meta.maxMsgHeapNum = 999999));
        for (Map.Entry<String, List<Consumer<QueueMeta>>> entry : wrong.entrySet()) {
            String message = "(10350)parameter " + entry.getKey() + " value or length is out of range";
            for (Consumer<QueueMeta> change : entry.getValue()) {
                Expect.refused(4000, message, () -> queue.setQueueAttributes(World.meta(change)));
            }
        }
        Consumer<QueueMeta> rewound =
                meta -> {
                    meta.msgRetentionSeconds = 60;
                    meta.rewindSeconds = 61;
                };
        String message = "(10700)rewindSeconds cannot be greater than msgRetentionSeconds";
        Expect.refused(4000, message, () -> queue.setQueueAttributes(World.meta(rewound)));
        Expect.equal(queue.getQueueAttributes().visibilityTimeout, 30);
    }

    static void a_name_is_taken_whatever_its_case(World world) throws Exception {
        String taken = world.name(world.queue());
        for (String name : List.of(taken, taken.toUpperCase())) {
            String said =
                    Expect.refusedCode(4460, () -> world.account.createQueue(name, World.meta(meta -> {})));
            Expect.holds(said.startsWith("(10210)queue is already existed"), said);
        }
    }

    static void bad_names_are_refused(World world) throws Exception {
        for (String name : List.of("1digit", "-dash", "a b", "a/b", "../x", "\u961f\u5217", "x".repeat(65), "a.b")) {
            String said =
                    Expect.refusedCode(4000, () -> world.account.createQueue(name, World.meta(meta -> {})));
            Expect.holds(said.startsWith("(10020)") || said.startsWith("(10350)"), name + " " + said);
        }
    }

    static void a_deleted_queue_is_gone(World world) throws Exception {
        Queue queue = world.queue();
        queue.sendMessage("x");
        Account account = world.account;
        account.deleteQueue(world.name(queue));
        List<Expect.Call> calls =
                List.of(
                        queue::getQueueAttributes,
                        () -> queue.setQueueAttributes(World.meta(meta -> {})),
                        () -> account.deleteQueue(world.name(queue)),
                        () -> queue.rewindQueue((int) (System.currentTimeMillis() / 1000)),
                        () -> queue.sendMessage("x"),
                        () -> queue.send("x"),
                        () -> queue.batchSendMessage(List.of("x")),
                        () -> queue.batchSend(List.of("x")),
                        queue::receiveMessage,
                        () -> queue.receiveMessage(0),
                        () -> queue.batchReceiveMessage(16),
                        () -> queue.batchReceiveMessage(16, 0),
                        () -> queue.deleteMessage("1"),
                        () -> queue.batchDeleteMessage(List.of("1")));
        for (Expect.Call call : calls) {
            Expect.refused(4440, NO_QUEUE, call);
        }
    }

    static void queues_are_listed_page_by_page(World world) throws Exception {
        String hint = world.hint("list");
        List<String> names = new ArrayList<>();
        for (int count = 0; count < 5; count += 1) {
            names.add(world.name(world.queue(hint, meta -> {})));
        }
        // The SDK adds each page to the caller's list.
        List<String> found = new ArrayList<>();
        for (int offset = 0; offset < 6; offset += 2) {
            Expect.equal(world.account.listQueue(hint, offset, 2, found), 5);
            Expect.equal(found.size(), Math.min(offset + 2, 5));
        }
        Collections.sort(found);
        Collections.sort(names);
        Expect.equal(found, names);
    }

    static void a_search_finds_parts_of_names(World world) throws Exception {
        String hint = world.hint("find");
        String name = world.name(world.queue(hint, meta -> {}));
        List<String> found = new ArrayList<>();
        Expect.equal(world.account.listQueue(hint, 0, 20, found), 1);
        Expect.equal(found, List.of(name));
        Expect.equal(world.account.listQueue("nothing-has-this-name", 0, 20, new ArrayList<>()), 0);
        // Without any number, and with more than a page may have.
        for (int limit : List.of(-1, 100)) {
            found.clear();
            Expect.holds(world.account.listQueue("", -1, limit, found) >= 1, found);
            Expect.holds(!found.isEmpty(), found);
        }
    }

    private QueueCases() {}
}
