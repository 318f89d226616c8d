import com.qcloud.cmq.Message;
import com.qcloud.cmq.Queue;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** What takes its time: long polls, delays, leases that end, and a rewind. */
@SuppressWarnings("deprecation") // The older half of the SDK is driven, too.
final class WaitingCases {
    private static double secondsSince(long nanos) {
        return (System.nanoTime() - nanos) / 1e9;
    }

    private static void took(long begun, double least, double most) {
        double seconds = secondsSince(begun);
        Expect.holds(least <= seconds && seconds < most, seconds + " s");
    }

    @Once
    static void a_long_poll_waits_and_ends(World world) throws Exception {
        Queue queue = world.queue();
        long begun = System.nanoTime();
        Expect.nothingIn(queue, 2);
        took(begun, 1.8, 3.5);
        // A delay brings the message while the poll is open.
        queue.sendMessage("x", 1);
        begun = System.nanoTime();
        Expect.equal(queue.receiveMessage(10).msgBody, "x");
        took(begun, 0.5, 3);
    }

    @Once
    static void a_message_ends_the_polls_of_others(World world) throws Exception {
        Queue queue = world.queue();
        List<CompletableFuture<String>> polls = new ArrayList<>();
        for (int count = 0; count < 3; count += 1) {
            polls.add(CompletableFuture.supplyAsync(() -> received(queue)));
        }
        long begun = System.nanoTime();
        queue.batchSendMessage(World.numbered(3));
        List<String> found = new ArrayList<>();
        for (CompletableFuture<String> poll : polls) {
            found.add(poll.get());
        }
        took(begun, 0, 8);
        found.sort(null);
        Expect.equal(found, World.numbered(3));
    }

    private static String received(Queue queue) {
        try {
            return queue.receiveMessage(20).msgBody;
        } catch (Exception error) {
            throw new AssertionError(error);
        }
    }

    @Once
    static void the_queue_has_a_wait_of_its_own(World world) throws Exception {
        Queue queue = world.queue(meta -> meta.pollingWaitSeconds = 2);
        List<Expect.Call> patient = List.of(queue::receiveMessage, () -> queue.batchReceiveMessage(16));
        for (Expect.Call call : patient) {
            long begun = System.nanoTime();
            Expect.refused(7000, Expect.NO_MESSAGE, call);
            took(begun, 1.8, 3.5);
        }
        long begun = System.nanoTime();
        Expect.nothingIn(queue, 0);
        took(begun, 0, 1);
    }

    /** The SDK then asks for 30000 seconds. */
    @Once
    static void less_than_no_wait_is_the_longest(World world) throws Exception {
        Queue queue = world.queue();
        queue.sendMessage("one", 1);
        Expect.equal(queue.receiveMessage(-1).msgBody, "one");
        queue.sendMessage("two", 1);
        Expect.equal(World.bodies(queue.batchReceiveMessage(16, -1)), List.of("two"));
    }

    @Once
    static void a_delayed_message_waits(World world) throws Exception {
        Queue queue = world.queue();
        long begun = System.nanoTime();
        queue.sendMessage("later", 2);
        queue.send("later", 2);
        queue.batchSendMessage(List.of("also", "later"), 2);
        queue.batchSend(List.of("also"), 2);
        Expect.equal(queue.getQueueAttributes().delayMsgNum, 5);
        Expect.nothingIn(queue);
        int found = 0;
        while (found < 5) {
            found += queue.batchReceiveMessage(16, 5).size();
            took(begun, 2, 5);
        }
        Expect.equal(queue.getQueueAttributes().delayMsgNum, 0);
    }

    @Once
    static void a_message_becomes_visible_again(World world) throws Exception {
        Queue queue = world.queue(meta -> meta.visibilityTimeout = 2);
        queue.sendMessage("again");
        Message first = queue.receiveMessage();
        long begun = System.nanoTime();
        Expect.nothingIn(queue);
        Message second = queue.receiveMessage(5);
        took(begun, 1, 4);
        Expect.equal(List.of(second.msgId, second.msgBody, second.dequeueCount), List.of(first.msgId, "again", 2));
        Expect.equal(second.firstDequeueTime, first.firstDequeueTime);
        Expect.refused(4430, MessageCases.BAD_HANDLE, () -> queue.deleteMessage(first.receiptHandle));
        queue.deleteMessage(second.receiptHandle);
        Expect.nothingIn(queue, 3);
    }

    @Once
    static void a_rewind_brings_deleted_messages_back(World world) throws Exception {
        Queue queue = world.queue(meta -> meta.rewindSeconds = 600);
        queue.sendMessage("old");
        queue.deleteMessage(queue.receiveMessage().receiptHandle);
        Thread.sleep(2100);
        queue.batchSendMessage(List.of("one", "two"));
        List<Message> received = queue.batchReceiveMessage(16);
        queue.batchDeleteMessage(World.handles(received));
        Expect.equal(queue.getQueueAttributes().rewindmsgNum, 3);
        Expect.nothingIn(queue);
        queue.rewindQueue((int) received.get(0).enqueueTime);
        Expect.equal(World.bodiesIn(queue), List.of("one", "two"));
        Queue other = world.queue();
        int now = (int) (System.currentTimeMillis() / 1000);
        Expect.refused(6050, "(10670)your queue cannot be rewinded", () -> other.rewindQueue(now));
        // The SDK asks for nothing before 1970.
        other.rewindQueue(0);
    }

    private WaitingCases() {}
}
