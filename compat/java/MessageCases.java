import com.qcloud.cmq.Message;
import com.qcloud.cmq.Queue;
import com.qcloud.cmq.entity.CmqResponse;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** What becomes of messages that are sent, one by one and in batches. */
@SuppressWarnings("deprecation") // The older half of the SDK is driven, too.
final class MessageCases {
    static final String BAD_HANDLE = "(10260)receipt handle is invalid";
    static final String TOO_LARGE = "(10230)exceed maximum message size";
    private static final String TOO_LONG_TO_GET = "URL length is larger than 2K when use GET method";

    static void a_message_is_sent_received_and_deleted(World world) throws Exception {
        Queue queue = world.queue(meta -> meta.visibilityTimeout = 40);
        long before = System.currentTimeMillis() / 1000;
        String sent = queue.sendMessage("hello");
        Expect.holds(sent.matches("\\d+"), sent);
        Message message = queue.receiveMessage(1);
        Expect.equal(List.of(message.msgBody, message.msgId, message.dequeueCount), List.of("hello", sent, 1));
        Expect.holds(message.receiptHandle.matches("\\d+"), message.receiptHandle);
        Expect.holds(Math.abs(message.enqueueTime - before) <= 5, message.enqueueTime);
        Expect.holds(Math.abs(message.firstDequeueTime - before) <= 5, message.firstDequeueTime);
        long lease = message.nextVisibleTime - message.firstDequeueTime;
        Expect.holds(38 <= lease && lease <= 42, lease);
        Expect.nothingIn(queue);
        String request = queue.deleteMessage(message.receiptHandle).getRequestId();
        Expect.holds(request.matches("\\d+"), request);
        Expect.refused(4430, BAD_HANDLE, () -> queue.deleteMessage(message.receiptHandle));
        Expect.equal(queue.getQueueAttributes().inactiveMsgNum, 0);
    }

    static void a_send_says_which_request_it_was(World world) throws Exception {
        Queue queue = world.queue();
        CmqResponse sent = queue.send("one");
        Expect.equal(sent.getCode(), 0);
        Expect.holds(sent.getRequestId().matches("\\d+"), sent.getRequestId());
        List<CmqResponse> batch = queue.batchSend(List.of("two", "three"));
        Expect.equal(batch.size(), 2);
        Message message = queue.receiveMessage();
        Expect.equal(List.of(message.msgId, message.msgBody), List.of(sent.getMsgId(), "one"));
        Expect.holds(message.requestId.matches("\\d+"), message.requestId);
        List<Message> others = queue.batchReceiveMessage(16);
        Expect.equal(World.bodies(others), List.of("two", "three"));
        for (int at = 0; at < 2; at += 1) {
            Expect.equal(others.get(at).msgId, batch.get(at).getMsgId());
            Expect.holds(others.get(at).requestId.matches("\\d+"), others.get(at).requestId);
        }
    }

    static void every_character_survives(World world) throws Exception {
        Queue queue = world.queue();
        for (String body : Bodies.SPECIAL) {
            queue.sendMessage(body);
            Message message = queue.receiveMessage();
            Expect.equal(message.msgBody, body);
            queue.deleteMessage(message.receiptHandle);
        }
    }

    static void every_character_survives_in_a_batch(World world) throws Exception {
        Queue queue = world.queue();
        List<String> sent = queue.batchSendMessage(Bodies.SPECIAL);
        Map<String, String> wanted = new HashMap<>();
        for (int at = 0; at < sent.size(); at += 1) {
            wanted.put(sent.get(at), Bodies.SPECIAL.get(at));
        }
        Map<String, String> found = new HashMap<>();
        while (found.size() < wanted.size()) {
            for (Message message : queue.batchReceiveMessage(16)) {
                found.put(message.msgId, message.msgBody);
            }
        }
        Expect.equal(found, wanted);
    }

    static void a_full_batch_goes_and_comes(World world) throws Exception {
        Queue queue = world.queue();
        List<String> sent = queue.batchSendMessage(World.numbered(16));
        Expect.equal(new HashSet<>(sent).size(), 16);
        List<Message> received = queue.batchReceiveMessage(16, 1);
        Expect.equal(World.bodies(received), World.numbered(16));
        Expect.equal(queue.getQueueAttributes().inactiveMsgNum, 16);
        queue.batchDeleteMessage(World.handles(received));
        Expect.equal(queue.getQueueAttributes().inactiveMsgNum, 0);
        Expect.refused(7000, Expect.NO_MESSAGE, () -> queue.batchReceiveMessage(16, 0));
    }

    static void a_batch_of_none_or_too_many_is_refused(World world) throws Exception {
        Queue queue = world.queue();
        String refusal = "Error: message size is empty or more than 16";
        for (List<String> bodies : List.of(World.numbered(0), World.numbered(17))) {
            Expect.refusedByTheClient(refusal, () -> queue.batchSendMessage(bodies));
            Expect.refusedByTheClient(refusal, () -> queue.batchSend(bodies));
        }
        for (int count : List.of(0, 17)) {
            String said = Expect.refusedCode(4000, () -> queue.batchReceiveMessage(count));
            Expect.holds(said.startsWith("(10350)") || said.startsWith("(10370)"), said);
        }
        String said = Expect.refusedCode(4000, () -> queue.batchDeleteMessage(Collections.nCopies(17, "1")));
        Expect.holds(said.startsWith("(10370)"), said);
        // The SDK asks nobody to delete nothing.
        queue.batchDeleteMessage(List.of());
        Expect.equal(queue.getQueueAttributes().activeMsgNum, 0);
    }

    static void a_batch_delete_says_that_some_failed(World world) throws Exception {
        Queue queue = world.queue();
        queue.batchSendMessage(List.of("a", "b"));
        List<String> handles = World.handles(queue.batchReceiveMessage(16, 1));
        queue.deleteMessage(handles.get(0));
        String partly = "(10150)delete message partially failed";
        Expect.refused(6010, partly, () -> queue.batchDeleteMessage(handles));
        Expect.refused(6020, "(10290)batch delete message failed", () -> queue.batchDeleteMessage(handles));
        Expect.equal(queue.getQueueAttributes().inactiveMsgNum, 0);
    }

    static void empty_and_large_bodies_are_refused(World world) throws Exception {
        Queue queue = world.queue(meta -> meta.maxMsgSize = 1024);
        Expect.refused(4000, "(10120)message body can't be empty", () -> queue.sendMessage(""));
        queue.sendMessage("x".repeat(1024));
        Expect.refused(4400, TOO_LARGE, () -> queue.sendMessage("x".repeat(1025)));
        Expect.refused(4400, TOO_LARGE, () -> queue.batchSendMessage(List.of("fits", "x".repeat(1025))));
        if (world.mode.method().equals("POST")) {
            // A character of three bytes counts as three.
            Expect.refused(4400, TOO_LARGE, () -> queue.sendMessage("\u4e16".repeat(342)));
        }
        Expect.equal(queue.getQueueAttributes().activeMsgNum, 1);
    }

    static void a_megabyte_survives(World world) throws Exception {
        Queue queue = world.queue();
        String body = "\u4e16&=+%".repeat(149796);
        if (world.mode.method().equals("GET")) {
            Expect.refusedByTheClient(TOO_LONG_TO_GET, () -> queue.sendMessage(body));
            return;
        }
        queue.sendMessage(body);
        Expect.holds(queue.receiveMessage().msgBody.equals(body), "another body");
    }

    static void a_handle_that_is_none_is_refused(World world) throws Exception {
        Queue queue = world.queue();
        Queue other = world.queue();
        Expect.refused(4000, "(10470)receiptHandle error", () -> queue.deleteMessage("not a handle!"));
        Expect.refused(4430, BAD_HANDLE, () -> queue.deleteMessage("1234567890123"));
        queue.sendMessage("x");
        String handle = queue.receiveMessage().receiptHandle;
        Expect.refused(4430, BAD_HANDLE, () -> other.deleteMessage(handle));
        queue.deleteMessage(handle);
    }

    static void a_delay_out_of_range_is_refused(World world) throws Exception {
        Queue queue = world.queue();
        for (int delay : List.of(-1, 6048001)) {
            String said = Expect.refusedCode(4000, () -> queue.sendMessage("x", delay));
            Expect.holds(said.matches("(?s)\\((10692|10350|10360)\\).*"), said);
        }
        Expect.equal(queue.getQueueAttributes().delayMsgNum, 0);
    }

    static void threads_may_share_an_account(World world) throws Exception {
        Queue queue = world.queue();
        ExecutorService threads = Executors.newFixedThreadPool(8);
        List<Callable<String>> sends = new ArrayList<>();
        for (String body : World.numbered(64)) {
            sends.add(() -> queue.sendMessage(body));
        }
        try {
            HashSet<String> sent = new HashSet<>();
            for (Future<String> one : threads.invokeAll(sends)) {
                sent.add(one.get());
            }
            Expect.equal(sent.size(), 64);
        } finally {
            threads.shutdown();
        }
        Expect.equal(World.bodiesIn(queue), World.numbered(64));
    }

    private MessageCases() {}
}
