import com.qcloud.cmq.Account;
import com.qcloud.cmq.Queue;
import com.qcloud.cmq.json.JSONObject;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Keys, the envelope of requests and answers, and what the SDK checks before it asks. */
@SuppressWarnings("deprecation") // The older half of the SDK is driven, too.
final class AccountCases {
    /** The server refuses even good signatures for a second after twenty bad ones within a second. */
    private static void notLikeAGuesser() throws InterruptedException {
        Thread.sleep(500);
    }

    static void a_wrong_key_is_refused(World world) throws Exception {
        notLikeAGuesser();
        Queue queue = world.queue();
        Account stranger = world.connect(config -> config.setSecretKey("not-the-secret"));
        Queue same = stranger.getQueue(world.name(queue));
        Expect.refused(4100, Expect.FAILED, same::getQueueAttributes);
        Expect.refused(4100, Expect.FAILED, () -> same.sendMessage("x"));
        Expect.refused(4100, Expect.FAILED, () -> same.receiveMessage(0));
        Expect.refused(4100, Expect.FAILED, () -> stranger.listTopic("", new ArrayList<>(), 0, 20));
        Expect.equal(queue.getQueueAttributes().activeMsgNum, 0);
    }

    static void an_unknown_key_is_refused(World world) throws Exception {
        Account nobody = world.connect(config -> config.setSecretId("COMPAT-ID-NOBODY"));
        Expect.refused(
                4100, "(10270)secret id is not existed", () -> nobody.listQueue("", 0, 20, new ArrayList<>()));
    }

    static void the_algorithm_of_signatures_can_be_changed(World world) throws Exception {
        Account account = world.connect(config -> {});
        for (String algorithm : List.of("sha256", "sha1")) {
            account.setSignMethod(algorithm);
            account.listQueue("", 0, 20, new ArrayList<>());
        }
        Expect.refusedByTheClient("Only support sha256 or sha1", () -> account.setSignMethod("md5"));
    }

    static void every_way_to_make_an_account_works(World world) throws Exception {
        Queue queue = world.queue();
        String method = world.mode.method();
        String[] key = world.key.split(":");
        Account brief = new Account(world.endpoint, key[0], key[1]);
        // Here the endpoint comes last of the three.
        Account full = new Account(key[0], key[1], world.endpoint, "/v2/index.php", method);
        for (Account account : List.of(brief, full)) {
            account.getQueue(world.name(queue)).getQueueAttributes();
        }
    }

    static void an_endpoint_with_a_slash_works(World world) throws Exception {
        Account account = world.connect(config -> config.setEndpoint(world.endpoint + "/"));
        account.listQueue("", 0, 20, new ArrayList<>());
    }

    static void an_unknown_action_is_refused(World world) throws Exception {
        JSONObject answer = world.ask("MakeCoffee", Map.of());
        Expect.equal(answer.getInt("code"), 4000);
        Expect.equal(answer.getString("message"), "(10430)action name MakeCoffee is not existed");
    }

    static void an_answer_has_the_documented_envelope(World world) throws Exception {
        Queue queue = world.queue();
        JSONObject answer = world.ask("GetQueueAttributes", Map.of("queueName", world.name(queue)));
        Expect.equal(answer.getInt("code"), 0);
        Expect.equal(answer.getString("message"), "");
        Expect.holds(answer.getString("requestId").matches("\\d+"), answer);
        Expect.equal(answer.getInt("rewindMsgNum"), answer.getInt("rewindmsgNum"));
    }

    static void a_server_that_is_not_there_is_an_error_of_the_network(World world) throws Exception {
        Account nobody = world.connect(config -> config.setEndpoint("http://127.0.0.1:1"));
        try {
            nobody.listQueue("", 0, 20, new ArrayList<>());
        } catch (IOException expected) {
            return;
        }
        throw new AssertionError("port 1 answered");
    }

    static void the_client_refuses_empty_names(World world) throws Exception {
        Account account = world.account;
        String queue = "Invalid parameter:queueName is empty";
        Expect.refusedByTheClient(queue, () -> account.createQueue("", World.meta(meta -> {})));
        Expect.refusedByTheClient(queue, () -> account.deleteQueue(""));
        String topic = "Invalid parameter:topicName is empty";
        Expect.refusedByTheClient(topic, () -> account.createTopic("", World.DEFAULT_SIZE));
        Expect.refusedByTheClient(topic, () -> account.deleteTopic(""));
        Expect.refusedByTheClient(topic, () -> account.deleteSubscribe("", "sub"));
        String subscription = "Invalid parameter:subscriptionName is empty";
        Expect.refusedByTheClient(subscription, () -> account.deleteSubscribe("topic", ""));
    }

    private AccountCases() {}
}
